"""What a config says of evaluation, and of when training ends."""

from collections.abc import Collection

import numpy as np
from ml_collections import ConfigDict

from emcom_jax import channels, losses, metrics
from emcom_jax.agents.networks import CORES
from emcom_jax.config import one_of, require
from emcom_jax.metrics import language
from emcom_jax.tables import look_up
from emcom_jax.types import EvalRecord, Source


def check_evaluation(config: ConfigDict, source: Source) -> None:
    """The group `evaluation`."""
    group = config.evaluation
    require(config, 'evaluation.every', group.every >= 0, 'must be 0 (at the end only) or more')
    require(
        config,
        'evaluation.num_candidates',
        len(group.num_candidates) > 0
        and all(type(count) is int and count >= 2 for count in group.num_candidates),
        'must hold whole numbers of at least 2',
    )
    samples = group.exchange_samples >= 0
    require(config, 'evaluation.exchange_samples', samples, 'must not be negative')
    require(config, 'evaluation.input_noise', group.input_noise >= 0, 'must not be negative')
    require(
        config,
        'evaluation.channel_noise',
        0 <= group.channel_noise <= 1,
        'is a rate: it must lie in [0, 1]',
    )
    if group.patience is not None:
        require(config, 'evaluation.patience', group.patience >= 1, 'must be at least 1')
    kind = _kind(config)
    for name in group.metrics:
        fits = kind in look_up(metrics.METRICS, name, 'metric').kinds
        sentence = f'has {name!r}, which {kind} messages do not have: take it off the list'
        require(config, 'evaluation.metrics', fits, sentence)
    picks = picks_referent(config)
    for name, split in source.splits.items():
        if picks and len(split.inputs) < 2:
            raise ValueError(
                f'split {name!r} of {source.name} has {len(split.inputs)} example: to pick one '
                'among candidates needs at least 2'
            )
    _check_noise(config, source)
    limit = language.MAX_EXAMPLES
    fits = 2 <= group.max_examples <= limit
    require(config, 'evaluation.max_examples', fits, f'must lie between 2 and {limit}')
    for role in ('speaker', 'listener'):
        core = config[role]
        require(config, f'{role}.core', core.core in CORES, one_of(*CORES))
        if core.core == 'transformer':
            require(
                config,
                f'{role}.hidden_size',
                core.hidden_size % core.num_heads == 0,
                f'must be a multiple of {role}.num_heads={core.num_heads}',
            )
        else:
            require(
                config, f'{role}.num_layers', core.num_layers == 1, 'must be 1 unless a transformer'
            )


def _check_noise(config: ConfigDict, source: Source) -> None:
    """The noise ladder, for which there must be images and something to pick."""
    group, key = config.evaluation, 'evaluation.noise_ladder'
    if not group.noise_ladder:
        return
    test = source.splits['test']
    images = test.inputs.ndim == 4 and test.listener_inputs is None
    sentence = f'must be False: of {source.name}, agents do not see images'
    require(config, key, images, sentence)
    shape = test.inputs.shape[1:3]
    fits = shape[0] == shape[1] >= 16 and shape[0] % 4 == 0
    sentence = f'needs square images of 16, 20, 24, ... pixels, not {shape[0]} x {shape[1]}'
    require(config, key, fits, f'{sentence}: set it to False')
    sentence = 'must be False: noise has no labels that listeners could name'
    require(config, key, picks_referent(config), sentence)
    enough = group.noise_images >= max(group.num_candidates)
    sentence = f'must be at least the {max(group.num_candidates)} of evaluation.num_candidates'
    require(config, 'evaluation.noise_images', enough, sentence)


def check_best(config: ConfigDict, source: Source) -> None:
    """What decides which checkpoint is best, and when to stop."""
    group = config.evaluation
    for key in ('patience', 'threshold'):
        validates = group[key] is None or group.every > 0
        require(
            config, f'evaluation.{key}', validates, 'has no effect with evaluation.every=0: set it'
        )
    known = _values(config, source, group.metrics)
    if group.best_metric not in known:
        kind, several = _kind(config), 'needs a population of more than one'
        large = _values(config, source, group.metrics, several=True)
        require(config, 'evaluation.best_metric', group.best_metric not in large, several)
        for name, metric in metrics.METRICS.items():
            if name not in group.metrics and kind in metric.kinds:
                has = group.best_metric in _values(config, source, [name])
                sentence = f'must have {name!r} for evaluation.best_metric={group.best_metric!r}'
                require(config, 'evaluation.metrics', not has, sentence)
    require(config, 'evaluation.best_metric', group.best_metric in known, one_of(*known))


def _values(
    config: ConfigDict, source: Source, names: Collection[str], several: bool = False
) -> list[str]:
    """The names of the numbers that metrics will have; `several`: of a larger population."""
    values = metrics.compute(_example_record(config, source, several), names)
    return [key for key, value in values.items() if not isinstance(value, list)]


def _example_record(config: ConfigDict, source: Source, several: bool) -> EvalRecord:
    """A record such as an evaluation makes, of four referents: to see what values there will be."""
    picks = picks_referent(config)
    counts = tuple(sorted(set(config.evaluation.num_candidates))) if picks else (0,)
    speakers = 2 if several else min(2, config.population.num_speakers)
    listeners = 2 if several else min(2, config.population.num_listeners)
    split = source.splits['train']
    rows = np.arange(4) % len(split.inputs)
    played = np.zeros((len(counts), speakers, listeners, 4), np.float32)
    symbols = np.zeros((speakers, 4, config.channel.length), np.int32)
    real = np.zeros((*symbols.shape, config.channel.vocab_size), np.float32)
    kind = _kind(config)
    return EvalRecord(
        split='train',
        step=0,
        kind=kind,
        vocab_size=config.channel.vocab_size,
        variable_length=config.channel.variable_length,
        messages=symbols if kind == 'symbols' else real,
        lengths=np.full((speakers, 4), config.channel.length, np.int32),
        meanings=np.asarray(split.inputs[rows], np.float32).reshape(4, -1),
        labels={name: np.asarray(label[rows]) for name, label in split.labels.items()},
        num_candidates=counts,
        correct=played,
        loss=played,
        vote=played[:, :, 0],
        synsets=source.synsets or {},
    )


def picks_referent(config: ConfigDict) -> bool:
    """Whether listeners pick the referent among candidates, rather than name it."""
    return look_up(losses.LISTENER_LOSSES, config.loss.listener.name, 'listener loss').labels == 0


def _kind(config: ConfigDict) -> str:
    """The kind of message that a record holds."""
    kinds = {'continuous': 'continuous', 'drawing': 'drawings'} | dict.fromkeys(
        channels.BITS, 'bits'
    )
    return kinds.get(config.channel.kind, 'symbols')
