"""A run is a directory: what lies where in it, and who may train into it.

config.json      the resolved configuration       checkpoints/<step>/  see `checkpoints.py`
metrics.jsonl    scalars, see `writers.py`        tensorboard/         the same for TensorBoard
summary.json     the final evaluation             records/<split>.npz  what metrics read
evaluations.jsonl  one-off evaluations              (of replica r: <split>.<r>.npz)
messages.jsonl   what was said, see `corpus.py`   pictures/            what was drawn
languages.json   language metrics, beside those of other languages
features/        what frozen trunks see of streamed images; only for training
sketches/<step>.npz  what was drawn of some referents in a validation
dialogues.jsonl  every turn of dialogues          human_games.jsonl    what people answered
source.json      what a report must know of the data
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ml_collections import ConfigDict

from emcom_jax import config as config_lib
from emcom_jax.runtime.files import read_json, strict, write_json


class RunDirectoryError(Exception):
    """A run directory cannot be used as asked. The message is one sentence for the user."""


class RunDirectory:
    """The paths of one run. Making it touches no file; `open_run` checks and makes the directory.

    path: the directory.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / 'config.json'
        self.metrics = self.path / 'metrics.jsonl'
        self.summary = self.path / 'summary.json'
        self.evaluations = self.path / 'evaluations.jsonl'
        self.checkpoints = self.path / 'checkpoints'
        self.records = self.path / 'records'
        self.pictures = self.path / 'pictures'
        self.sketches = self.path / 'sketches'
        self.languages = self.path / 'languages.json'
        self.features = self.path / 'features'
        self.tensorboard = self.path / 'tensorboard'
        self._lock: TextIO | None = None

    def __str__(self) -> str:
        return str(self.path)

    def record(self, split: str, replica: int | None = None) -> Path:
        """Returns where the record of a split lies, of one replica if there are several."""
        return self.records / (f'{split}.npz' if replica is None else f'{split}.{replica}.npz')

    def learning(self, experiment: str) -> Path:
        """Returns where the curves of an experiment with fresh agents lie."""
        return self.path / f'{experiment}.npz'

    def read_summary(self) -> dict[str, Any] | None:
        """Returns summary.json, or None if there is none yet."""
        return read_json(self.summary) if self.summary.exists() else None

    def has_checkpoint(self) -> bool:
        """Whether anything was saved (perhaps only in part)."""
        return self.checkpoints.is_dir() and any(
            path.name[0].isdigit() for path in self.checkpoints.iterdir()
        )

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json in one step; NaN and infinities become null.

        `summary['step']` says after how many steps, `summary['stopped']` why training ended early,
        if it did.
        """
        write_json(self.summary, summary)

    def add_evaluation(self, values: Mapping[str, Any]) -> None:
        """Adds the line of a one-off evaluation; NaN and infinities become null."""
        with self.evaluations.open('a') as file:
            file.write(json.dumps(strict(values), allow_nan=False) + '\n')

    def is_finished(self, training_steps: int) -> bool:
        """Whether the final evaluation is there, after `training_steps` or an early stop."""
        summary = self.read_summary()
        if summary is None:
            return False
        return bool(summary.get('stopped')) or summary['step'] >= training_steps

    def load_config(self) -> ConfigDict:
        """Returns the run's configuration, locked.

        Raises:
          RunDirectoryError: there is no run here.
        """
        if not self.config.exists():
            raise RunDirectoryError(f'{self} is not a run: it has no config.json')
        config = config_lib.base().unlock()
        _fill(config, read_json(self.config))
        return config.lock()

    def lock(self) -> None:
        """Claims the run for this process until it ends or calls `close`.

        Raises:
          RunDirectoryError: another process trains into it.
        """
        # The kernel drops the lock with the process, however it dies; the file itself stays.
        self._lock = (self.path / '.lock').open('w')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RunDirectoryError(
                f'another process is training into {self}; '
                'wait for it or choose another --config.run_dir'
            ) from None
        # A worker process that outlives this one must not hold on to the lock.
        os.register_at_fork(after_in_child=self.close)

    def close(self) -> None:
        """Lets other processes train into the run."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def open_run(
    config: ConfigDict, config_path: str, *, train: bool = True, chief: bool = True
) -> RunDirectory:
    """Returns the directory of a run, made or found, whose config.json is `config`.

    Args:
      config: the resolved configuration. Its `run_dir`, or by default
        runs/<recipe>[-<variant>], is the directory.
      config_path: the recipe as given on the command line, such as 'configs/lewis.py:debug'.
      train: claim the directory for this process; more `training_steps` than before are accepted
        and noted. False (evaluation): the run must exist and nothing is written or claimed;
        `training_steps` and the `evaluation` group may differ.
      chief: whether this is the process that writes; the others only get the paths.

    Raises:
      RunDirectoryError: another process trains there, the configuration there is another one, or
        there is no run to evaluate.
    """
    recipe, _, variant = config_path.partition(':')
    stem = Path(recipe).stem + (f'-{variant.replace(",", "-")}' if variant else '')
    run = RunDirectory(config.run_dir or Path('runs') / stem)
    if not chief:
        return run
    if train:
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f'cannot make the run directory {run}: {error.strerror}'
            ) from None
        run.lock()
    here = json.loads(json.dumps(strict(config.to_dict())))
    # Where nothing was saved there is nothing to protect: a refused first try can be corrected.
    kept = run.has_checkpoint() or run.summary.exists()
    if run.config.exists() and (kept or not train):
        there = read_json(run.config)
        try:
            _check_same(run, there, here, train)
        except RunDirectoryError:
            run.close()
            raise
    elif not train:
        raise RunDirectoryError(f'{run} is not a run: it has no config.json; train it first')
    if train:
        write_json(run.config, here)
    return run


def _check_same(run: RunDirectory, there: dict, here: dict, train: bool) -> None:
    old, new = flatten(there), flatten(here)
    differing = [
        key
        for key in sorted(old | new)
        if key not in ('run_dir', 'training_steps')
        and (train or not key.startswith('evaluation.'))
        and old.get(key, ...) != new.get(key, ...)
    ]
    if differing:
        shown = ', '.join(
            f'{key} is {_show(old, key)} there and {_show(new, key)} here' for key in differing[:5]
        )
        more = f' and {len(differing) - 5} more differ' if len(differing) > 5 else ''
        raise RunDirectoryError(
            f'{run} holds a run with another configuration: {shown}{more}; '
            'use the same configuration or another --config.run_dir'
        )
    if train and new['training_steps'] < old['training_steps']:
        raise RunDirectoryError(
            f'{run} was started with training_steps={old["training_steps"]}, which can only be '
            f'raised: use --config.training_steps={old["training_steps"]} or more, not '
            f'{new["training_steps"]}, or another --config.run_dir'
        )


def _show(flat: dict[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else 'absent'


def flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """{'group': {'key': value}} -> {'group.key': value}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[prefix + key] = value
    return flat


def _fill(config: ConfigDict, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(config.get(key), ConfigDict):
            _fill(config[key], value)
        else:
            config[key] = tuples(value)


def tuples(value: Any) -> Any:
    """A value of config.json as it is in a config, with tuples in the place of lists."""
    if isinstance(value, dict):
        return {key: tuples(x) for key, x in value.items()}
    return tuple(tuples(x) for x in value) if isinstance(value, list) else value
