"""What a config of a dialogue says that cannot be."""

import math

from ml_collections import ConfigDict

from emcom_jax import channels, losses
from emcom_jax.agents.dialogue import MIXES
from emcom_jax.config import get, one_of, require
from emcom_jax.games.referential_check import REWARDS, TEMPERATURES
from emcom_jax.tables import look_up
from emcom_jax.types import Source


def check(config: ConfigDict, source: Source) -> None:
    """Refuses settings that do not fit together; raises ValueError with one sentence."""
    channel, loss, game = config.channel, config.loss, "for game.name='dialogue'"
    differentiable = look_up(channels.BITS, channel.kind, 'channel kind of dialogues')
    speaker_loss = look_up(losses.SPEAKER_LOSSES, loss.speaker.name, 'speaker loss')
    fits = 'pathwise' if differentiable else 'reinforce'
    described = source.class_descriptions
    labels = source.splits['train'].labels
    features = source.splits['train'].inputs.ndim == 2
    sentence = f'sees features, not the images of {source.name!r}'
    require(config, 'game.name', features, sentence)
    sentence = f'needs descriptions of classes, which {source.name!r} has not'
    require(config, 'game.name', described is not None, sentence)
    named = 'class' in labels and len(described or ()) == source.num_values['class']
    require(config, 'game.name', named, f'needs a description for each class of {source.name!r}')
    for key, right, why in (
        ('loss.listener.name', 'classification', 'whose listeners name the class'),
        ('loss.listener.label', 'class', 'whose descriptions are of classes'),
        ('loss.speaker.kl', 0.0, 'which has no EMA speaker'),
        ('game.views', 'same', 'whose listeners do not see'),
        ('listener.impatient', False, 'whose listeners decide for themselves when to guess'),
        ('updates.imitate.every', None, 'which has no imitation'),
        ('updates.generations.transmit_steps', 0, 'which has no imitation'),
        ('speaker.trunk.name', None, 'whose agents see features'),
        ('listener.trunk.name', None, 'whose agents see features'),
    ):
        sentence = f'must be {right!r} {game}, {why}'
        require(config, key, get(config, key) == right, sentence)
    names = (fits, 'none')
    require(
        config,
        'loss.speaker.name',
        loss.speaker.name in names,
        f'does not fit channel.kind={channel.kind!r}: it must be one of {names}',
    )
    assert speaker_loss.differentiable in (differentiable, None)
    for key in ('channel.noise', 'evaluation.channel_noise', 'loss.speaker.bit_cost'):
        means_something = channel.kind != 'continuous' or not get(config, key)
        require(config, key, means_something, "must be off for channel.kind='continuous'")
    rate = 0 <= channel.noise <= 1
    scheduled = channel.temperature_mode in TEMPERATURES and channel.temperature_mode != 'learned'
    samples = not differentiable or loss.speaker.reward == 'success'
    costs = loss.speaker.length_cost == 0 or channel.variable_length
    places = source.map_shape[0] if source.map_shape else 0
    for key, holds, sentence in (
        ('channel.vocab_size', channel.vocab_size >= 1, 'is the bits of a turn: at least 1'),
        ('channel.length', channel.length >= 1, 'is the turns of a dialogue: at least 1'),
        ('channel.noise', rate, 'is a rate: it must lie in [0, 1]'),
        ('channel.temperature', channel.temperature > 0, 'must be above 0'),
        ('channel.temperature_end', channel.temperature_end > 0, 'must be above 0'),
        ('channel.temperature_mode', scheduled, one_of('fixed', 'scheduled')),
        ('game.input_noise', config.game.input_noise >= 0, 'must not be negative'),
        ('loss.speaker.reward', loss.speaker.reward in REWARDS, one_of(*REWARDS)),
        (
            'loss.speaker.reward',
            samples,
            f'is not read with channel.kind={channel.kind!r}: leave it unset',
        ),
        (
            'loss.speaker.length_cost',
            costs,
            'changes nothing where all turns are played: set channel.variable_length',
        ),
        (
            'loss.speaker.length_cost_power',
            loss.speaker.length_cost_power == 0 or loss.speaker.length_cost > 0,
            'changes nothing with loss.speaker.length_cost=0.0: set that',
        ),
        ('loss.speaker.length_cost_power', loss.speaker.length_cost_power >= 0, 'is negative'),
        ('loss.speaker.bit_cost', loss.speaker.bit_cost >= 0, 'must not be negative'),
        ('loss.listener.entropy', loss.listener.entropy >= 0, 'must not be negative'),
        ('loss.listener.stop_entropy', loss.listener.stop_entropy >= 0, 'must not be negative'),
        (
            'loss.listener.stop_entropy',
            loss.listener.stop_entropy == 0 or channel.variable_length,
            'changes nothing where nobody decides to stop: set channel.variable_length',
        ),
        ('speaker.mix', config.speaker.mix in MIXES, one_of(*MIXES)),
        ('speaker.baseline_size', config.speaker.baseline_size >= 1, 'must be at least 1'),
        ('listener.baseline_size', config.listener.baseline_size >= 1, 'must be at least 1'),
        ('listener.word_size', config.listener.word_size >= 1, 'must be at least 1'),
        (
            'speaker.attention',
            config.speaker.attention is None or source.map_shape is not None,
            f'needs a map of features, which {source.name!r} has not',
        ),
        (
            'listener.sees',
            not config.listener.sees or math.isqrt(places) ** 2 == places > 1,
            f'needs a square map of features, which {source.name!r} has not',
        ),
    ):
        require(config, key, holds, sentence)
    for key in ('speaker.attention', 'listener.word_attention'):
        size = get(config, key)
        require(config, key, size is None or size >= 1, 'must be at least 1')
