"""What a config of the sketching game says that cannot be."""

from ml_collections import ConfigDict

from emcom_jax.agents.sketching import POINTS
from emcom_jax.agents.vision import check_trunk
from emcom_jax.config import get, one_of, require
from emcom_jax.types import Source

LOSSES = ('hinge', 'cross_entropy')


def check(config: ConfigDict, source: Source) -> None:
    """Refuses settings that do not fit together; raises ValueError with one sentence."""
    images = source.splits['train'].inputs.ndim == 4
    require(config, 'game.name', images, f'sees images: {source.name} has features')
    alike = config.game.shared_trunk
    apart = alike or not config.game.shared_projection
    require(config, 'game.shared_projection', apart, 'must be False without game.shared_trunk')
    listener = config.loss.listener
    require(config, 'loss.listener.name', listener.name in LOSSES, one_of(*LOSSES))
    known = ('mean', 'sum')
    require(config, 'loss.listener.reduction', listener.reduction in known, one_of(*known))
    require(config, 'channel.stroke', config.channel.stroke in POINTS, one_of(*POINTS))
    channel, speaks = config.channel, config.loss.speaker.name in ('pathwise', 'none')
    require(config, 'loss.speaker.name', speaks, one_of('pathwise', 'none'))
    gates = 'needs channel.gates: else all strokes are drawn'
    free = config.loss.speaker.length_cost == 0 or channel.gates
    require(config, 'loss.speaker.length_cost', free, gates)
    power = config.loss.speaker.length_cost_power
    used = power == 0 or (power > 0 and config.loss.speaker.length_cost > 0)
    require(config, 'loss.speaker.length_cost_power', used, 'needs loss.speaker.length_cost')
    own = config.data.channels != 'own' or not config.data.standardize
    sentence = "must be 'imagenet' or 'plain': drawings are normalised as images are"
    require(config, 'data.channels', own, sentence)
    for key, right, why in (
        ('channel.kind', 'drawing', 'which is what passes in this game'),
        ('channel.vocab_size', 0, 'as a drawing has no vocabulary'),
        ('channel.variable_length', False, 'as strokes have no order: see channel.gates'),
        ('channel.noise', 0.0, 'as a drawing has no symbols'),
        ('channel.temperature_mode', 'fixed', 'as only gates have a temperature'),
        ('evaluation.channel_noise', 0.0, 'as a drawing has no symbols'),
        ('loss.speaker.entropy', 0.0, 'as a drawing has no policy'),
        ('loss.speaker.kl', 0.0, 'as a drawing has no policy'),
        ('loss.listener.memory', 0, 'as candidates are those of the game'),
        ('listener.impatient', False, 'as a drawing is seen at once'),
        ('updates.imitate.every', None, 'as nobody imitates drawings'),
    ):
        value = get(config, key)
        require(config, key, value == right, f'must be {right!r} {why}')
    for key in ('channel.length', 'game.latent_size'):
        require(config, key, get(config, key) >= 1, 'must be at least 1')
    for key in ('channel.sigma2', 'channel.sigma2_end', 'channel.temperature'):
        value = get(config, key)
        require(config, key, value is None or value > 0, 'must be above 0')
    require(config, 'loss.listener.temperature', listener.temperature > 0, 'must be above 0')
    require(config, 'game.input_noise', config.game.input_noise >= 0, 'must not be negative')
    _check_trunks(config)
    _check_likeness(config)
    whole = not config.speaker.attention or not config.game.shared_projection
    sentence = 'needs game.shared_projection=False: the speaker attends to what is projected'
    require(config, 'speaker.attention', whole, sentence)


def _check_trunks(config: ConfigDict) -> None:
    alike = config.game.shared_trunk
    apart = alike or config.population.execution != 'vmap'
    sentence = (
        "would group convolutions: with trunks of their own it must be 'auto', 'map' or 'unroll'"
    )
    require(config, 'population.execution', apart, sentence)
    check_trunk(config, 'speaker')
    if not alike:
        check_trunk(config, 'listener')
    for key in ('name', 'weights', 'frozen') if alike else ():
        unset = not config.listener.trunk[key]
        sentence = 'is not read: one trunk is shared; leave it unset'
        require(config, f'listener.trunk.{key}', unset, sentence)
    for role in ('speaker', 'listener'):
        if config[role].trunk.weights is None:
            continue
        keys = ['speaker.groups', 'listener.groups']
        if not alike:  # Fresh agents would not have them.
            keys += ['updates.reset.every', 'updates.generations.every']
        for key in keys:
            unset = get(config, key) is None
            require(config, key, unset, f'must be unset with {role}.trunk.weights')


def _check_likeness(config: ConfigDict) -> None:
    """The perceptual loss."""
    group, trunk = config.loss.perceptual, config.speaker.trunk
    positive = group.coefficient >= 0
    require(config, 'loss.perceptual.coefficient', positive, 'must not be negative')
    if not group.coefficient:
        return
    sentence = 'must be 0 unless speaker.trunk.frozen: a trunk that learns would learn to be blind'
    require(config, 'loss.perceptual.coefficient', trunk.frozen, sentence)
    blocks = 5 if trunk.name == 'vgg16' else 4
    fits = len(group.weights) == blocks and all(
        isinstance(weight, int | float) and weight >= 0 for weight in group.weights
    )
    sentence = f'must hold a number, 0 or more, for each of the {blocks} blocks of {trunk.name}'
    require(config, 'loss.perceptual.weights', fits, sentence)
