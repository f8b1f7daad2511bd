"""Images as features, with descriptions of their classes: the files of Evtimova et al. 2018.

A folder holds for each split an HDF5 file (or an .npz with the same names of arrays), called train,
dev and test, and perhaps others such as ood:

    Target       int [N], the label id of each image
    avgpool_512  [N, 1, 512] features, or others of the kind [N, (1,) D]
    layer4_2     [N, 1, channels, h, w], a map of features
    fc           [N, 1, 1000], the context that goes with a map

descriptions.csv has a line `label id,label,description` for each class, without a header, where the
description may contain commas; descriptions_<split>.csv has the classes of another split that are
not in it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emcom_jax import types

CONTEXT, TARGET = 'fc', 'Target'
_SPLITS = {'dev': 'valid'}  # What files call a split otherwise.
_NEEDED = ('train', 'dev', 'test')


def load(config: Any) -> types.Source:
    """Loads features with descriptions: inputs [N, D] float32, label 'class', by the order of
    classes in the descriptions.

    Reads the keys `path` and `features` (which array) of the data group.

    Raises:
      ValueError, OSError: a file is missing, malformed, or lacks what it should have.
    """
    if config.path is None:
        raise ValueError("data.path must name the folder of data.name='dialogue_files'")
    folder = Path(config.path)
    files = {path.stem: path for kind in ('npz', 'hdf5', 'h5') for path in folder.glob(f'*.{kind}')}
    for name in _NEEDED:
        if name not in files:
            raise FileNotFoundError(f'{folder} has no {name}.hdf5 (or .npz)')
    classes = read_descriptions(folder / 'descriptions.csv')
    for name in sorted(files):
        more = folder / f'descriptions_{name}.csv'
        if more.exists():
            classes |= {**read_descriptions(more), **classes}
    number = {label: place for place, label in enumerate(classes)}
    splits, shapes = {}, set()
    for name, path in files.items():
        inputs, targets, shape = _read(path, config.features)
        unknown = sorted({target for target in targets.tolist() if target not in number})
        if unknown:
            raise ValueError(
                f'{path}: {len(unknown)} of its labels are not described: {_few(unknown)}'
            )
        labels = np.array([number[target] for target in targets.tolist()], np.int32)
        splits[_SPLITS.get(name, name)] = types.Split(inputs, {'class': labels})
        shapes.add((inputs.shape[1], shape))
    if len(shapes) > 1:
        raise ValueError(f'{folder}: {config.features!r} has another shape in some of its files')
    return types.Source(
        'dialogue_files',
        splits,
        {'class': len(classes)},
        class_descriptions=tuple(text for _, text in classes.values()),
        map_shape=shapes.pop()[1],
    )


def read_descriptions(path: Path) -> dict[int, tuple[str, str]]:
    """Label id -> (label, description), in the order of the file.

    Raises:
      OSError: there is no such file.
      ValueError: lines are malformed, or a label comes twice; all are counted, some are named.
    """
    classes: dict[int, tuple[str, str]] = {}
    wrong = []
    with open(path, encoding='utf-8') as lines:
        for line_number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            parts = [part.strip() for part in line.rstrip('\n').split(',', 2)]
            whole = len(parts) == 3 and all(parts) and parts[0].isdigit()
            if not whole or int(parts[0]) in classes:
                wrong.append(line_number)
                continue
            classes[int(parts[0])] = (parts[1], parts[2])
    if wrong or not classes:
        what = f'{len(wrong)} lines are' if wrong else 'no line is'
        verb = 'not ' if wrong else ''
        raise ValueError(
            f'{path}: {what} {verb}`label id,label,description` with an id of their own: '
            f'{_few(wrong)}'
        )
    return classes


def _read(path: Path, name: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int] | None]:
    """Inputs [N, D] float32, targets int [N], and the shape of the map, if it is one."""
    wanted = [name, TARGET]
    arrays = _arrays(path, [*wanted, CONTEXT])
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise ValueError(f'{path} has no {" and no ".join(map(repr, missing))}')
    features, targets = np.asarray(arrays[name], np.float32), np.asarray(arrays[TARGET]).ravel()
    if len(features) != len(targets):
        raise ValueError(f'{path} has {len(features)} of {name!r}, but {len(targets)} targets')
    if features.ndim < 4:
        return features.reshape(len(features), -1), targets, None
    channels = features.shape[-3]
    cells = np.moveaxis(features.reshape(len(features), channels, -1), 1, 2)
    parts = [cells.reshape(len(cells), -1)]
    if CONTEXT in arrays:
        context = np.asarray(arrays[CONTEXT], np.float32)
        parts.append(context.reshape(len(context), -1))
    return np.concatenate(parts, axis=1), targets, (cells.shape[1], channels)


def _arrays(path: Path, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    if path.suffix == '.npz':
        with open(path, 'rb') as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file.files}
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{path} needs h5py to be read: pip install 'emcom_jax[hdf5]'") from None
    with h5py.File(path, 'r') as file:
        return {name: file[name][()] for name in names if name in file}


def _few(values: Sequence[Any]) -> str:
    shown = ', '.join(map(str, values[:5]))
    return f'{shown} and {len(values) - 5} more' if len(values) > 5 else shown
