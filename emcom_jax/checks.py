"""Refuses impossible settings before anything compiles: the key, its value, what would be right."""

import math
from collections.abc import Collection

import numpy as np
from ml_collections import ConfigDict

from emcom_jax import losses, metrics
from emcom_jax.agents.networks import CORES
from emcom_jax.config import get, require
from emcom_jax.games import GAMES
from emcom_jax.metrics import language
from emcom_jax.tables import look_up
from emcom_jax.types import EvalRecord, Source


def check(config: ConfigDict, source: Source, num_devices: int | None) -> None:
    """Checks a config against itself, the data and the devices.

    num_devices: over which a batch is divided in training; None: nothing is trained.

    Raises:
      ValueError: one sentence about the first thing that is wrong.
    """
    _check_finite(config)
    _check_counts(config)
    _check_optimizers(config)
    _check_batch(config, source, num_devices or 1)
    _check_population(config)
    look_up(GAMES, config.game.name, 'game').check(config, source)
    _check_evaluation(config, source)
    if num_devices is not None:
        _check_best(config, source)


def _check_finite(config: ConfigDict, group: str = '') -> None:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            _check_finite(value, f'{group}{name}.')
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'{group}{name}={value!r} must be a finite number')


def _check_counts(config: ConfigDict) -> None:
    """Numbers that must be positive."""
    for key in (
        'training_steps',
        'replicas',
        'log_train_data_interval',
        'save_checkpoint_interval',
        'max_checkpoints_to_keep',
        'data.batch_size',
        'speaker.hidden_size',
        'speaker.embed_size',
        'speaker.num_layers',
        'speaker.num_heads',
        'listener.hidden_size',
        'listener.embed_size',
        'listener.num_layers',
        'listener.num_heads',
        'population.num_speakers',
        'population.num_listeners',
        'population.pairs_per_step',
        'population.updates_per_call',
        'evaluation.redraws',
        'evaluation.batch_size',
    ):
        require(config, key, get(config, key) >= 1, 'must be at least 1')
    for key in ('speaker.torso_sizes', 'speaker.head_sizes', 'listener.projection_sizes'):
        good = all(type(size) is int and size >= 1 for size in get(config, key))
        require(config, key, good, 'must hold whole numbers of at least 1')
    require(config, 'training_steps', config.training_steps < 2**31, f'must be less than {2**31:,}')
    needed = config.speaker.torso != 'mlp' or len(config.speaker.torso_sizes) > 0
    require(config, 'speaker.torso_sizes', needed, "must not be empty for speaker.torso='mlp'")
    full = len(config.listener.projection_sizes) > 0
    require(config, 'listener.projection_sizes', full, 'must not be empty')
    require(
        config, 'interval_type', config.interval_type in ('steps', 'secs'), _one('steps', 'secs')
    )


def _check_optimizers(config: ConfigDict) -> None:
    for role in ('speaker', 'listener', 'shared'):
        group, at = config.optimizer[role], f'optimizer.{role}'
        require(config, f'{at}.learning_rate', group.learning_rate > 0, 'must be above 0')
        warm = 0 <= group.warmup_steps <= config.training_steps
        within = f'must lie between 0 and training_steps={config.training_steps}'
        require(config, f'{at}.warmup_steps', warm, within)
        # optax takes a decay to nothing for no decay at all.
        exponential = group.schedule == 'exponential'
        ends = group.end_factor > 0 or (group.end_factor == 0 and not exponential)
        lowest = 'must be above 0' if exponential else 'must not be negative'
        require(config, f'{at}.end_factor', ends, f'{lowest} for schedule={group.schedule!r}')
        clips = group.clip_norm is None or group.clip_norm > 0
        require(config, f'{at}.clip_norm', clips, 'must be above 0')
        for name in ('b1', 'b2', 'momentum', 'decay'):
            good = group[name] is None or 0 <= group[name] < 1
            require(config, f'{at}.{name}', good, 'must lie in [0, 1)')
        for name in ('eps', 'weight_decay'):
            good = group[name] is None or group[name] >= 0
            require(config, f'{at}.{name}', good, 'must not be negative')
    for name in ('entropy', 'kl', 'length_cost'):
        positive = config.loss.speaker[name] >= 0
        require(config, f'loss.speaker.{name}', positive, 'must not be negative')


def _check_batch(config: ConfigDict, source: Source, num_devices: int) -> None:
    batch = config.data.batch_size
    size = len(source.splits['train'].inputs)
    require(
        config,
        'data.batch_size',
        batch % num_devices == 0,
        f'must be a multiple of the number of devices, which is {num_devices}',
    )
    require(
        config,
        'data.batch_size',
        batch <= size,
        f'must be at most {size}, the number of training examples of {source.name}',
    )
    listener = config.loss.listener
    others = (batch if listener.across_devices else batch // num_devices) - 1
    distractors = listener.num_distractors
    picks = _picks(config)
    require(
        config,
        'data.batch_size',
        others >= 1 or not picks,
        'leaves a listener no other candidate: it must be larger',
    )
    require(
        config,
        'loss.listener.num_distractors',
        distractors is None or picks,
        f'means nothing for loss.listener.name={listener.name!r}: leave it unset',
    )
    require(
        config,
        'loss.listener.num_distractors',
        distractors is None or 1 <= distractors <= others,
        f'must lie between 1 and {others}, the number of other candidates in a batch',
    )
    require(
        config,
        'data.dtype',
        config.data.dtype in ('float16', 'float32'),
        _one('float16', 'float32'),
    )


def _check_population(config: ConfigDict) -> None:
    group = config.population
    pairings, modes = ('matching', 'independent', 'fixed'), ('auto', 'vmap', 'map', 'unroll')
    require(config, 'population.pairing', group.pairing in pairings, _one(*pairings))
    require(config, 'population.execution', group.execution in modes, _one(*modes))
    fewer = min(group.num_speakers, group.num_listeners)
    if group.pairing == 'matching':
        require(
            config,
            'population.pairs_per_step',
            group.pairs_per_step <= fewer,
            f'must be at most {fewer}: under matching every agent plays at most once a step',
        )
    if group.pairing == 'fixed':
        require(config, 'population.pairs', bool(group.pairs), 'must list pairs for pairing=fixed')
        require(
            config,
            'population.pairs_per_step',
            group.pairs_per_step == len(group.pairs),
            f'must be {len(group.pairs)}, the number of population.pairs',
        )
        require(config, 'population.graph', group.graph is None, 'is not read with pairing=fixed')
    else:
        require(config, 'population.pairs', group.pairs is None, 'is read only with pairing=fixed')
    _check_structure(config)
    _check_paces(config)
    imitate = config.updates.imitate
    teachers = ('best', 'worst', 'random')
    require(config, 'updates.imitate.teacher', imitate.teacher in teachers, _one(*teachers))
    if imitate.every is not None:
        require(config, 'updates.imitate.every', imitate.every >= 1, 'must be at least 1')
        most = max(1, group.num_speakers - 1)
        require(
            config,
            'updates.imitate.num_students',
            1 <= imitate.num_students <= most,
            f'must lie between 1 and {most}, as there are {group.num_speakers} speakers',
        )
    reset, whom = config.updates.reset, ('speaker', 'listener', 'pair', 'all')
    require(config, 'updates.reset.who', reset.who in whom, _one(*whom))
    if reset.every is not None:
        require(config, 'updates.reset.every', reset.every >= 1, 'must be at least 1')
    if config.loss.speaker.name == 'none':
        frozen = "with loss.speaker.name='none' the speakers are frozen"
        require(config, 'updates.imitate.every', imitate.every is None, f'must be unset: {frozen}')
        resets = reset.every is not None and reset.who != 'listener'
        require(config, 'updates.reset.who', not resets, f"must be 'listener': {frozen}")
    ema = config.optimizer.target_ema
    require(config, 'optimizer.target_ema', 0 <= ema <= 1, 'is a decay: it must lie in [0, 1]')


def _check_structure(config: ConfigDict) -> None:
    group = config.population
    structures = ('mixing', 'partitioned', 'isolated')
    require(config, 'population.structure', group.structure in structures, _one(*structures))
    if group.structure == 'mixing':
        return
    same = group.num_speakers == group.num_listeners
    sentence = 'needs as many listeners as speakers, to each its own'
    require(config, 'population.structure', same, sentence)
    for key in ('graph', 'pairs') if group.structure == 'isolated' else ('listener_learns',):
        sentence = f'cannot be set with population.structure={group.structure!r}, which sets it'
        require(config, f'population.{key}', group[key] is None, sentence)


def _check_paces(config: ConfigDict) -> None:
    """What differs between the agents of one role."""
    for role in ('speaker', 'listener'):
        count = config.population[f'num_{role}s']
        for name, most in (('speeds', math.inf), ('chances', 1.0)):
            values = config.population[f'{role}_{name}']
            good = values is None or (
                len(values) == count
                and all(isinstance(x, int | float) and 0 <= x <= most for x in values)
                and all(map(math.isfinite, values))
            )
            kind = 'probability' if name == 'chances' else 'number, 0 or more'
            sentence = f'must hold a {kind}, for each of the {count} {role}s'
            require(config, f'population.{role}_{name}', good, sentence)


def _check_evaluation(config: ConfigDict, source: Source) -> None:
    group = config.evaluation
    require(config, 'evaluation.every', group.every >= 0, 'must be 0 (at the end only) or more')
    require(
        config,
        'evaluation.num_candidates',
        len(group.num_candidates) > 0
        and all(type(count) is int and count >= 2 for count in group.num_candidates),
        'must hold whole numbers of at least 2',
    )
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
    picks = _picks(config)
    for name, split in source.splits.items():
        if picks and len(split.inputs) < 2:
            raise ValueError(
                f'split {name!r} of {source.name} has {len(split.inputs)} example: to pick one '
                'among candidates needs at least 2'
            )
    limit = language.MAX_EXAMPLES
    fits = 2 <= group.max_examples <= limit
    require(config, 'evaluation.max_examples', fits, f'must lie between 2 and {limit}')
    for role in ('speaker', 'listener'):
        core = config[role]
        require(config, f'{role}.core', core.core in CORES, _one(*CORES))
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


def _check_best(config: ConfigDict, source: Source) -> None:
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
    require(config, 'evaluation.best_metric', group.best_metric in known, _one(*known))


def _values(
    config: ConfigDict, source: Source, names: Collection[str], several: bool = False
) -> list[str]:
    """The names of the numbers that metrics will have; `several`: of a larger population."""
    values = metrics.compute(_example_record(config, source, several), names)
    return [key for key, value in values.items() if not isinstance(value, list)]


def _example_record(config: ConfigDict, source: Source, several: bool) -> EvalRecord:
    """A record such as an evaluation makes, of four referents: to see what values there will be."""
    picks = _picks(config)
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
        messages=symbols if kind == 'symbols' else real,
        lengths=np.full((speakers, 4), config.channel.length, np.int32),
        meanings=np.asarray(split.inputs[rows], np.float32),
        labels={name: np.asarray(label[rows]) for name, label in split.labels.items()},
        num_candidates=counts,
        correct=played,
        loss=played,
        vote=played[:, :, 0],
    )


def _picks(config: ConfigDict) -> bool:
    """Whether listeners pick the referent among candidates, rather than name it."""
    return look_up(losses.LISTENER_LOSSES, config.loss.listener.name, 'listener loss').labels == 0


def _kind(config: ConfigDict) -> str:
    """The kind of message that a record holds."""
    return 'continuous' if config.channel.kind == 'continuous' else 'symbols'


def _one(*names: str) -> str:
    return 'must be one of ' + ', '.join(names)
