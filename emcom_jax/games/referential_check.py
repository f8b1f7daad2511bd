"""What a config of a referential game says that cannot be."""

from ml_collections import ConfigDict

from emcom_jax import channels, losses
from emcom_jax.agents.sequence import HEADS
from emcom_jax.config import get, require
from emcom_jax.tables import look_up

TEMPERATURES = ('fixed', 'scheduled', 'learned')
REWARDS = ('success', 'log_likelihood')


def check_message(config: ConfigDict) -> None:
    """Refuses messages, and losses of them, that do not fit together; raises ValueError with one
    sentence."""
    channel, loss = config.channel, config.loss
    differentiable = look_up(channels.DIFFERENTIABLE, channel.kind, 'channel kind')
    speaker_loss = look_up(losses.SPEAKER_LOSSES, loss.speaker.name, 'speaker loss')
    noisy = channel.noise or config.evaluation.channel_noise
    smallest = 3 if channel.variable_length and noisy else 2
    fits = (differentiable, None)
    right = [name for name, one in losses.SPEAKER_LOSSES.items() if one.differentiable in fits]
    heads = [
        name
        for name in speaker_loss.heads
        if HEADS[name][0] or not (loss.speaker.name == 'reinforce' and loss.speaker.baseline)
    ]
    # The real vectors of a continuous message are no policy and have no symbols.
    for key in (
        'channel.noise',
        'channel.variable_length',
        'evaluation.channel_noise',
        'updates.imitate.every',
        'loss.speaker.entropy',
        'loss.speaker.kl',
    ):
        means_something = channel.kind != 'continuous' or not get(config, key)
        require(config, key, means_something, "must be off for channel.kind='continuous'")
    for key in ('loss.speaker.entropy', 'loss.speaker.kl', 'loss.speaker.length_cost'):
        read = loss.speaker.name != 'none' or not get(config, key)
        require(config, key, read, "must be off for loss.speaker.name='none'")
    for key, holds, sentence in (
        ('channel.vocab_size', channel.vocab_size >= smallest, f'must be at least {smallest}'),
        ('channel.length', channel.length >= 1, 'must be at least 1'),
        ('channel.noise', 0 <= channel.noise <= 1, 'is a rate: it must lie in [0, 1]'),
        ('channel.temperature', channel.temperature > 0, 'must be above 0'),
        ('channel.temperature_end', channel.temperature_end > 0, 'must be above 0'),
        (
            'channel.temperature_mode',
            channel.temperature_mode in TEMPERATURES,
            f'must be one of {TEMPERATURES}',
        ),
        (
            'channel.temperature_mode',
            channel.temperature_mode == 'fixed' or channel.kind in ('gumbel', 'gumbel_st'),
            f'has no meaning for channel.kind={channel.kind!r}: it must be fixed',
        ),
        ('game.input_noise', config.game.input_noise >= 0, 'must not be negative'),
        ('loss.listener.temperature', loss.listener.temperature > 0, 'must be above 0'),
        ('loss.speaker.reward', loss.speaker.reward in REWARDS, f'must be one of {REWARDS}'),
        (
            'loss.speaker.name',
            speaker_loss.differentiable in fits,
            f'does not fit channel.kind={channel.kind!r}: it must be one of {right}',
        ),
        (
            'loss.speaker.reward',
            loss.speaker.reward == 'success' or not differentiable,
            f'is not read with loss.speaker.name={loss.speaker.name!r}: leave it unset',
        ),
        (
            'loss.speaker.length_cost',
            loss.speaker.length_cost == 0 or channel.variable_length,
            'changes nothing where all messages have one length: set channel.variable_length',
        ),
        (
            'loss.speaker.length_cost_power',
            loss.speaker.length_cost_power == 0 or loss.speaker.length_cost > 0,
            'changes nothing with loss.speaker.length_cost=0.0: set that',
        ),
        (
            'loss.speaker.length_cost_power',
            loss.speaker.length_cost_power >= 0,
            'must not be negative',
        ),
        (
            'speaker.head',
            config.speaker.head in heads,
            f'does not serve loss.speaker.name={loss.speaker.name!r}: it must be one of {heads}',
        ),
        (
            'speaker.torso',
            config.speaker.torso in ('identity', 'mlp'),
            "must be 'identity' or 'mlp'",
        ),
    ):
        require(config, key, holds, sentence)
