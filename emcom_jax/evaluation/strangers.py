"""Agents of several runs, brought together: who can play with whom, and on what."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import architectures, data, losses
from emcom_jax.config import get
from emcom_jax.evaluation.cross_play import Group
from emcom_jax.evaluation.setting import Setting, read_agents
from emcom_jax.games import Games
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.tables import look_up
from emcom_jax.types import Bank, Source

# What a message is, and what is asked about it. How symbols were drawn in training (channel.kind)
# may differ: in evaluation all of them are the likeliest ones.
_MESSAGES = (
    'game.name',
    'channel.vocab_size',
    'channel.length',
    'channel.variable_length',
    'channel.shuffled',
)
_WORLD = (
    'data.seed',
    'data.num_attributes',
    'data.num_values',
    'data.held_out',
    'data.num_features',
    'data.feature_noise',
    'data.image_size',
    'data.num_images',
)
# What makes another program of an agent; the loss of the speaker, for one, does not.
_ARCHITECTURE = (
    'game',
    'channel',
    'speaker',
    'listener',
    'loss.listener',
    'evaluation.symbols_from',
)


class Gathering(NamedTuple):
    """Who plays, and on what.

    groups: a population each, by run and replica.
    runs: for each group, the run directory, the replica and the step of its checkpoint.
    evaluation: the evaluation group by which they are judged.
    source: the name of the data.
    """

    groups: list[Group]
    runs: list[dict[str, Any]]
    evaluation: ConfigDict
    source: str


def gather(
    run_dirs: Sequence[str],
    split: str,
    data_name: str | None = None,
    data_path: str | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> Gathering:
    """Brings the populations of runs together; everything that could be wrong is said at once.

    Args:
      run_dirs: the runs, all of one game with messages of one kind, on the same data.
      split: of which the referents are.
      data_name: another dataset, for zero-shot transfer: a key of `data.SOURCES`.
      data_path: where the data lie, unless where they lay in training.
      evaluation: what differs from the evaluation group of the runs. Of runs that differ in it, all
        numbers of candidates are played and the most redraws are made.

    Raises:
      RunDirectoryError, ValueError, OSError: with one sentence.
    """
    if len({Path(run_dir).resolve() for run_dir in run_dirs}) < len(run_dirs):
        raise ValueError('a run is given twice: its agents would be strangers to themselves')
    configs = [_load(run_dir, data_name, data_path, evaluation or {}) for run_dir in run_dirs]
    _check_origins(run_dirs)
    for run_dir, config in zip(run_dirs, configs, strict=True):
        _check_alike(run_dirs[0], configs[0], run_dir, config, other_data=data_name is not None)
    sources: dict[Any, Source] = {}
    settings = []
    for config in configs:
        own = (config.data.name, config.data.path, config.data.listener_path)
        if own not in sources:
            sources[own] = data.load(config.data)
        settings.append(Setting(config, sources[own]))
    other = None
    if data_name is not None:
        there = ConfigDict(configs[0].data.to_dict())
        there.update(name=data_name, path=data_path)
        other = data.load(there)
    for run_dir, setting in zip(run_dirs, settings, strict=True):
        _check_referents(run_dirs[0], settings[0], run_dir, setting, split, other)
    evaluated = ConfigDict(configs[0].evaluation.to_dict())
    evaluated.num_candidates = tuple(
        sorted({count for config in configs for count in config.evaluation.num_candidates})
    )
    evaluated.redraws = max(config.evaluation.redraws for config in configs)
    evaluated.batch_size = min(config.evaluation.batch_size for config in configs)
    groups, runs = _groups(run_dirs, settings, split, other)
    return Gathering(groups, runs, evaluated, (other or settings[0].source).name)


def _load(
    run_dir: str, data_name: str | None, data_path: str | None, evaluation: Mapping[str, Any]
) -> ConfigDict:
    config = ConfigDict(RunDirectory(run_dir).load_config().to_dict())
    config.evaluation.update(evaluation)
    if data_name is None and data_path is not None:
        config.data.path = data_path
    return config


def _check_origins(run_dirs: Sequence[str]) -> None:
    """Refuses runs of which one was started from the other, or both from the same."""
    lines = [_origins(run_dir) for run_dir in run_dirs]
    for (one, ours), (two, theirs) in itertools.combinations(zip(run_dirs, lines, strict=True), 2):
        common = next((origin for origin in ours if origin in theirs), None)
        if common is not None:
            raise ValueError(
                f'agents of {one} and {two} are no strangers: both have begun as those of {common} '
                '(from_run); leave one out'
            )


def _origins(run_dir: str) -> list[Path]:
    """A run, that from which it was started, and so on, as far as they can be found."""
    origins: list[Path] = []
    path: Path | None = Path(run_dir).resolve()
    while path is not None and path not in origins:
        origins.append(path)
        run = RunDirectory(path)
        before = run.load_config().from_run if run.config.exists() else None
        path = None if before is None else Path(before).resolve()
    return origins


def _check_alike(
    one: str, config: ConfigDict, two: str, other: ConfigDict, other_data: bool
) -> None:
    keys = [*_MESSAGES, *_WORLD, *(() if other_data else ('data.name',))]
    if 'continuous' in (config.channel.kind, other.channel.kind):
        keys.append('channel.kind')  # Real vectors are no symbols.
    if config.channel.kind == 'drawing':
        keys += ['channel.stroke', 'channel.gates']
    tasks = [
        look_up(losses.LISTENER_LOSSES, each.loss.listener.name, 'listener loss').labels
        for each in (config, other)
    ]
    if tasks[0] != tasks[1]:
        keys.append('loss.listener.name')
    elif tasks[0]:
        keys.append('loss.listener.label')
    differing = [key for key in keys if get(config, key) != get(other, key)]
    if differing:
        shown = ', '.join(
            f'{key} is {get(config, key)!r} in {one} and {get(other, key)!r} in {two}'
            for key in differing
        )
        raise ValueError(f'agents of {one} and {two} cannot play with each other: {shown}')


def _check_referents(
    one: str, first: Setting, run_dir: str, setting: Setting, split: str, other: Source | None
) -> None:
    source = other or setting.source
    inputs = look_up(source.splits, split, 'split').inputs
    fits = setting.source.splits['train'].inputs.shape[1]
    if inputs.shape[1] != fits:
        raise ValueError(
            f'{source.name} has {inputs.shape[1]} features, but the agents of {run_dir} see '
            f'{fits}: choose data of that size'
        )
    if setting.game.has_candidates and len(inputs) < 2:
        raise ValueError(
            f'split {split!r} of {source.name} has {len(inputs)} example: to pick one among '
            'candidates needs at least 2'
        )
    if not setting.game.has_candidates:
        label = setting.config.loss.listener.label
        known, theirs = source.num_values.get(label), setting.source.num_values[label]
        shape = setting.source.splits['train'].labels[label].shape[1:]
        if known is None or known > theirs or source.splits[split].labels[label].shape[1:] != shape:
            raise ValueError(
                f'{source.name} has no label {label!r} like that which the listeners of {run_dir} '
                f'name, of {theirs} values'
            )
    if other is None and source is not first.source:
        same = first.source.splits[split].inputs
        if inputs.shape != same.shape or not np.array_equal(inputs, same):
            raise ValueError(
                f'split {split!r} of {source.name} is not the same for {run_dir} '
                f'(data.path={setting.config.data.path!r}) as for {one} '
                f'({first.config.data.path!r}): name one with --data_path'
            )


def _groups(
    run_dirs: Sequence[str], settings: Sequence[Setting], split: str, other: Source | None
) -> tuple[list[Group], list[dict[str, Any]]]:
    names = [Path(run_dir).resolve().name for run_dir in run_dirs]
    if len(set(names)) < len(names):
        names = [str(run_dir) for run_dir in run_dirs]
    games: dict[str, Games] = {}
    banks: dict[Any, Bank] = {}
    groups, runs = [], []
    for name, run_dir, setting in zip(names, run_dirs, settings, strict=True):
        config = setting.config
        program = repr([setting.source.num_values, *(get(config, key) for key in _ARCHITECTURE)])
        game = games.setdefault(program, setting.games)
        # A split can be the larger part of a device's memory.
        shown = (config.data.dtype, config.data.standardize, config.data.channels)
        view = (id(setting.source), *shown, config.game.views, config.game.distractors)
        if view not in banks:
            banks[view] = setting.bank(split, other)
        kinds = (architectures.kinds(config, 'speaker'), architectures.kinds(config, 'listener'))
        step, agents = read_agents(run_dir, setting.shapes())
        for replica in range(config.replicas):
            one = jax.device_put(jax.tree.map(lambda leaf, r=replica: leaf[r], agents))
            suffix = f'#{replica}' if config.replicas > 1 else ''
            groups.append(Group(name + suffix, game, banks[view], kinds=kinds, **one))
            runs.append({'run': str(run_dir), 'replica': replica, 'step': step})
    return groups, runs
