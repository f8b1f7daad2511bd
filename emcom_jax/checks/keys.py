"""Keys that only some games read: in others they must stay as they are, so that none is ignored."""

from ml_collections import ConfigDict

from emcom_jax.config import base, get, require

READ_BY: dict[str, tuple[str, ...]] = {
    'game.shared_projection': ('sketching',),
    'game.latent_size': ('sketching',),
    'channel.stroke': ('sketching',),
    'channel.gates': ('sketching',),
    'channel.sigma2': ('sketching',),
    'channel.sigma2_end': ('sketching',),
    'speaker.context': ('discrimination',),
    'speaker.attention': ('sketching', 'dialogue'),
    'speaker.mix': ('dialogue',),
    'speaker.deaf': ('dialogue',),
    'speaker.baseline_size': ('dialogue',),
    'listener.words': ('dialogue',),
    'listener.word_size': ('dialogue',),
    'listener.word_attention': ('dialogue',),
    'listener.sees': ('dialogue',),
    'listener.baseline_size': ('dialogue',),
    'loss.speaker.bit_cost': ('dialogue',),
    'loss.listener.memory': ('discrimination',),
    'loss.listener.entropy': ('dialogue',),
    'loss.listener.stop_entropy': ('dialogue',),
    'loss.perceptual.coefficient': ('sketching',),
    'evaluation.exchange_samples': ('dialogue',),
    'evaluation.symbols_from': ('simclr',),
}  # key -> names of games.


def check_keys(config: ConfigDict) -> None:
    """Refuses keys that the game does not read; raises ValueError with one sentence."""
    default = base()
    for key, games in READ_BY.items():
        left = get(default, key)
        read = config.game.name in games or get(config, key) == left
        names = ' and '.join(map(repr, games))
        sentence = f'is read by game.name={names} alone: leave it at {left!r}'
        require(config, key, read, sentence)
