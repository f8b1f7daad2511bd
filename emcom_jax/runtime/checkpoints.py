"""Checkpoints: jaxline's checkpointer over Orbax, one directory a step.

A checkpoint is a flat dict of arrays, 'speakers/agent/params/.../w' -> array, so that it can be
compared with a config leaf by leaf, read in part, and opened by Orbax alone. Nothing is pickled.
Orbax writes into a temporary directory and renames it: a checkpoint is complete or not there.
"""

import shutil
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from emcom_jax.runtime import devices
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.types import Tree

_BIN = '.deleted'


class Checkpointer:
    """Saves and restores what jaxline trains; implements `jaxline.utils.Checkpointer`.

    The experiment (`state.experiment_module`) provides `snapshot_state() -> dict` of trees of
    arrays and Python numbers without a device axis, `restore_from_snapshot(dict)` (NumPy arrays),
    and `best_step`, the step of its best checkpoint (-1: none). The latest `max_to_keep`
    checkpoints and the best one are kept. There is one series: jaxline's 'latest' and 'best'
    differ only in what they restore.
    """

    def __init__(self, directory: Path, *, max_to_keep: int = 3, read_only: bool = False):
        """Args:
          directory: the checkpoints of a run.
          max_to_keep: number of latest checkpoints that are kept.
          read_only: for evaluation: touch nothing, and take 'latest', which is all that
            `jaxline.train.evaluate` asks for, to mean the best checkpoint, else the latest.

        Raises:
          ValueError: max_to_keep is not positive.
        """
        if max_to_keep < 1:
            raise ValueError(f'max_checkpoints_to_keep must be at least 1, got {max_to_keep}')
        self._directory = directory.absolute()
        self._read_only = read_only
        self._state = types.SimpleNamespace()
        writes = not read_only and jax.process_index() == 0
        if writes:
            self._directory.mkdir(parents=True, exist_ok=True)
        self._max_to_keep = max_to_keep
        self._manager = _open(self._directory, clean_up=writes)

    def get_experiment_state(self, ckpt_series: str) -> types.SimpleNamespace:
        """Returns the state that jaxline fills and `save` and `restore` work on."""
        del ckpt_series
        return self._state

    def save(self, ckpt_series: str = 'latest') -> None:
        """Saves at the current step, unless that step is saved already; returns when it is done.

        Raises:
          FloatingPointError: a float array is not finite; nothing is saved.
        """
        del ckpt_series
        step = self._state.global_step
        if jax.process_index() != 0 or self._read_only or step in self._manager.all_steps():
            return
        best_step = int(self._state.experiment_module.best_step)
        # Orbax needs the values on the host; there, checking them costs no compilation.
        flat = jax.device_get(_named(self._tree()))
        _check_finite(flat, step)
        arrays = {name: np.asarray(leaf) for name, leaf in flat.items() if np.size(leaf)}
        self._manager.save(
            step,
            args=ocp.args.PyTreeSave(arrays),
            custom_metadata={'best_step': best_step},
            force=True,
        )
        # Only now that the new one is complete.
        saved = sorted(self._manager.all_steps())
        for old in {*saved[: -self._max_to_keep]} - {best_step}:
            self._manager.delete(old)
        shutil.rmtree(self._directory / _BIN, ignore_errors=True)

    def can_be_restored(self, ckpt_series: str = 'latest') -> bool:
        """Whether there is a complete checkpoint."""
        return self.restore_path(ckpt_series) is not None

    def restore_path(self, ckpt_series: str = 'latest') -> str | None:
        """Returns the directory of the checkpoint that `restore` would take, or None."""
        self._manager.reload()  # Another process of a pod may have saved.
        step = _find_step(self._manager, 'best' if self._read_only else ckpt_series)
        return None if step is None else str(self._directory / str(step))

    def restore(self, ckpt_series: str = 'latest') -> None:
        """Restores the newest checkpoint, or for 'best' the one that the newest names as best.

        Raises:
          ValueError: there is no checkpoint, or it does not fit the experiment.
        """
        path = self.restore_path(ckpt_series)
        if path is None:
            raise ValueError(f'{self._directory} holds no checkpoint; train the run first')
        tree = _read(self._manager, int(Path(path).name), self._tree(), whole=True)
        self._state.global_step = tree.pop('global_step')
        self._state.train_step_rng = devices.bcast_local_devices(tree.pop('train_step_rng'))
        self._state.experiment_module.restore_from_snapshot(tree)

    def wait_for_checkpointing_to_finish(self) -> None:
        """Does nothing: `save` returns when the checkpoint is complete."""

    def _tree(self) -> dict[str, Tree]:
        key = self._state.train_step_rng  # None in evaluation.
        return {
            'global_step': int(self._state.global_step),
            'train_step_rng': jax.random.PRNGKey(0) if key is None else devices.first(key),
            **self._state.experiment_module.snapshot_state(),
        }


def read_checkpoint(
    run_dir: str | Path, like_tree: dict[str, Tree], series: str = 'best'
) -> tuple[int, dict[str, Tree]]:
    """Reads a checkpoint of another run, or a part of it.

    Args:
      run_dir: the run directory.
      like_tree: what is wanted of the experiment's snapshot, such as {'speakers': ...}; only the
        names, shapes and dtypes of its leaves count (`jax.eval_shape` makes such a tree).
      series: 'best' or 'latest', as in `Checkpointer.restore`.

    Returns:
      The checkpoint's step, and a tree like `like_tree` of NumPy arrays.

    Raises:
      ValueError: there is no checkpoint, or it does not have what is wanted.
    """
    directory = RunDirectory(run_dir).checkpoints.absolute()
    manager = _open(directory)
    step = _find_step(manager, series)
    if step is None:
        raise ValueError(f'{directory} holds no checkpoint; train the run first')
    return step, _read(manager, step, like_tree, whole=False)


def _open(directory: Path, clean_up: bool = False) -> ocp.CheckpointManager:
    # Every process reads for itself and only one writes: none waits for another.
    index = jax.process_index()
    options = ocp.CheckpointManagerOptions(
        create=False,
        cleanup_tmp_directories=clean_up,
        # Orbax deletes file by file; after a rename, no half-deleted checkpoint looks complete.
        todelete_subdir=_BIN,
        enable_async_checkpointing=False,
        save_root_metadata=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=index, active_processes={index}, barrier_sync_key_prefix=f'process{index}'
        ),
    )
    return ocp.CheckpointManager(
        directory, options=options, item_handlers=ocp.PyTreeCheckpointHandler()
    )


def _find_step(manager: ocp.CheckpointManager, series: str) -> int | None:
    steps = manager.all_steps()
    if not steps or series == 'latest':
        return max(steps, default=None)
    notes = manager.metadata(max(steps)).custom_metadata
    if not notes:
        raise ValueError(
            f'{manager.directory}/{max(steps)} is damaged (its _CHECKPOINT_METADATA is missing): '
            'remove it to go on from the checkpoint before'
        )
    best = notes['best_step']
    return best if best in steps else max(steps)


def _read(manager: ocp.CheckpointManager, step: int, like: Tree, whole: bool) -> Any:
    """Reads a tree like `like`; `whole`: the checkpoint must have nothing else."""
    names = _named(like)
    wanted = {name: _spec(leaf) for name, leaf in names.items()}
    stored = {name: _spec(leaf) for name, leaf in manager.item_metadata(step).tree.items()}
    # Orbax saves no empty arrays.
    needed = {name: spec for name, spec in wanted.items() if 0 not in spec[0]}
    _check_same(f'{manager.directory}/{step}', stored, needed, whole)
    arrays = manager.restore(
        step,
        args=ocp.args.PyTreeRestore(
            item=dict.fromkeys(needed, 0),
            restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in needed},
            partial_restore=True,
        ),
    )
    leaves = []
    for name, leaf in names.items():
        array = arrays[name] if name in needed else np.zeros(*wanted[name])
        leaves.append(type(leaf)(array) if isinstance(leaf, bool | int | float) else array)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree: Tree) -> dict[str, Any]:
    """'speakers/agent/params/.../w' -> leaf."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}


_Spec = tuple[tuple[int, ...], np.dtype]


def _spec(leaf: Any) -> _Spec:
    leaf = leaf if hasattr(leaf, 'dtype') else np.asarray(leaf)
    return tuple(leaf.shape), np.dtype(leaf.dtype)


def _check_same(path: str, stored: dict[str, _Spec], wanted: dict[str, _Spec], whole: bool) -> None:
    names = sorted(wanted.keys() | stored.keys() if whole else wanted)
    differing = [name for name in names if stored.get(name) != wanted.get(name)]
    if not differing:
        return

    def describe(specs: dict[str, _Spec], name: str) -> str:
        if name not in specs:
            return 'nothing'
        shape, dtype = specs[name]
        same_shape = name in stored and name in wanted and stored[name][0] == wanted[name][0]
        return f'{dtype} {[*shape]}' if same_shape else f'{[*shape]}'

    shown = '; '.join(
        f'{name}: checkpoint {describe(stored, name)}, this config {describe(wanted, name)}'
        for name in differing[:5]
    )
    more = f'; and {len(differing) - 5} more' if len(differing) > 5 else ''
    raise ValueError(f'the checkpoint {path} does not fit this config: {shown}{more}')


def _check_finite(flat: dict[str, Any], step: int) -> None:
    # Python numbers are the experiment's own notes, such as nan for 'no best value yet', which is
    # also the average accuracy of an agent that has not played.
    arrays = {name: leaf for name, leaf in flat.items() if isinstance(leaf, np.ndarray)}
    for name, array in arrays.items():
        is_number = jnp.issubdtype(array.dtype, jnp.inexact) and not name.endswith('/accuracy')
        if is_number and not np.isfinite(array).all():
            raise FloatingPointError(
                f'{name} is not finite at step {step}; '
                'nothing was saved, earlier checkpoints are kept'
            )
