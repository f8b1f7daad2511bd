"""Features of one's own, from a NumPy file: `.npz` with splits and labels, or a single `.npy`."""

import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from emcom_jax import types

_SPLITS = ('train', 'valid', 'test')
_MOST_VALUES = 10**6  # A head that names a label has as many outputs.
_LABELS = {'class': 1, 'attributes': 2}  # Name -> rank.


def load(config: Any) -> types.Source:
    """Loads the file at `path`; nothing in it is ever unpickled.

    Reads the keys `path, listener_path, seed` of the data group. `listener_path` is another file:
    what listeners see of the same referents, row by row; labels are those of `path`.
    `.npz`: arrays 'train', 'valid', 'test' and perhaps more splits, each float [N, D]; optionally,
    for all splits alike, '<split>_class' int [N] and '<split>_attributes' int [N, A], from 0 up.
    `.npy`: one float array [N, D], split 80/10/10 at random by `seed`.
    float16 is kept, other floats become float32.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it does not hold what it should.
    """
    if not config.path:
        raise ValueError(
            'data.name=features reads a file of yours: set --config.data.path to an .npz or .npy.'
        )
    path = pathlib.Path(config.path).expanduser()
    arrays, splits = _read_splits(path, config.seed)
    others: dict[str, np.ndarray] = {}
    if config.listener_path:
        other = pathlib.Path(config.listener_path).expanduser()
        _, others = _read_splits(other, config.seed)
        for name, inputs in splits.items():
            if name not in others or len(others[name]) != len(inputs):
                raise ValueError(
                    f"{other} must have an array '{name}' with the {len(inputs)} rows of {path}: "
                    'row by row they are the same referents.'
                )
    labels: dict[str, dict[str, np.ndarray]] = {name: {} for name in splits}
    num_values = {}
    for label in _LABELS:
        if any(key.endswith(f'_{label}') for key in arrays):
            columns = _labels(path, label, arrays, splits)
            for name, column in columns.items():
                labels[name][label] = column
            num_values[label] = 1 + max(int(column.max()) for column in columns.values())
    return types.Source(
        'features',
        {
            name: types.Split(inputs, labels[name], others.get(name))
            for name, inputs in splits.items()
        },
        num_values,
    )


def _read_splits(
    path: pathlib.Path, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns all arrays of a file, and of them the features by split."""
    arrays = _read(path)
    if '' in arrays:
        arrays = _split(path, arrays[''], seed)
    splits = {
        name: _features(path, name, array)
        for name, array in arrays.items()
        if not name.endswith(tuple(f'_{label}' for label in _LABELS))
    }
    reserved = {'step', 'best_step', 'stopped', 'wall_s'} & splits.keys()
    if reserved:
        raise ValueError(f"{path}: no split can be called '{reserved.pop()}'; rename the array.")
    missing = [name for name in _SPLITS if name not in splits]
    if missing:
        raise ValueError(
            f"{path} has no array '{missing[0]}'; it needs train, valid and test, float [N, D]."
        )
    for name, inputs in splits.items():
        if inputs.shape[1] != splits['train'].shape[1]:
            raise ValueError(
                f"{path}: '{name}' has {inputs.shape[1]} features and 'train' "
                f'{splits["train"].shape[1]}; every split needs the same number.'
            )
    return arrays, splits


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` by name, or that of an `.npy` under the name ''."""
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} was not found; data.path (or listener_path) must be an .npz or .npy file.'
        )
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {'': content}
        with content:
            arrays = dict(content)
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError('it has members that are no arrays')
        return arrays
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f'{path} is not a readable .npz or .npy of plain numbers (objects are never unpickled).'
        ) from error


def _split(path: pathlib.Path, features: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Splits [N, D] into train, valid and test, 80/10/10 at random."""
    count = len(features) if features.ndim else 0
    if count < 3:
        raise ValueError(f'{path} holds {count} examples; three splits need at least 3.')
    tenth = max(1, round(count / 10))
    order = np.random.default_rng(seed).permutation(count)
    bounds = {'valid': (0, tenth), 'test': (tenth, 2 * tenth), 'train': (2 * tenth, count)}
    return {name: features[np.sort(order[slice(*bounds[name])])] for name in _SPLITS}


def _features(path: pathlib.Path, name: str, array: np.ndarray) -> np.ndarray:
    where = f"{path}, array '{name}'"
    if array.ndim != 2 or not array.size or array.dtype.kind != 'f':
        raise ValueError(
            f'{where}: features must be float [N, D], not {array.dtype} {list(array.shape)}.'
        )
    if array.dtype != np.float16:
        with np.errstate(over='ignore'):
            array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f'{where}: every feature must be finite, and some is NaN or infinite.')
    return array


def _labels(
    path: pathlib.Path, label: str, arrays: dict[str, np.ndarray], splits: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns split -> int32 [N] or [N, A], after checking them against the splits."""
    for key in arrays:
        if key.endswith(f'_{label}') and key.removesuffix(f'_{label}') not in splits:
            raise ValueError(f"{path}, array '{key}': there is no split of that name.")
    keys = {name: f'{name}_{label}' for name in splits}
    for key in keys.values():
        if key not in arrays:
            raise ValueError(f"{path} has no array '{key}'; a label is given for all splits.")
    columns = {}
    for name, inputs in splits.items():
        key, array = keys[name], arrays[keys[name]]
        shape = [len(inputs), *arrays[f'train_{label}'].shape[1:]]
        if array.ndim != _LABELS[label] or list(array.shape) != shape:
            wanted = '[N]' if label == 'class' else '[N, A]'
            raise ValueError(
                f"{path}, array '{key}': labels must be {wanted} with N={len(inputs)} and the same "
                f'A in every split, not {list(array.shape)}.'
            )
        whole = array.size and array.dtype.kind in 'iub'
        if not whole or array.min() < 0 or array.max() >= _MOST_VALUES:
            raise ValueError(
                f"{path}, array '{key}': labels must be integers from 0 up to {_MOST_VALUES - 1:,}."
            )
        columns[name] = array.astype(np.int32)
    return columns
