"""What was found out about many files, kept beside them until they change."""

import contextlib
import hashlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import emcom_datasets
from emcom_jax.data import folders
from emcom_jax.data.decoding import say

Arrays = dict[str, np.ndarray]


def indexed(
    folder: pathlib.Path, name: str, current: Callable[[Arrays], bool], make: Callable[[], Arrays]
) -> Arrays:
    """Returns what `make` returns, from the index file of an earlier call where that is current.

    The file lies in `folder`, or in the default data folder where that is read-only. One process at
    a time makes it. A damaged one is made anew, and nothing is ever unpickled.

    Args:
      folder: of the data.
      name: of the index; a folder may have several.
      current: says of the arrays of an earlier call whether they are still right.
      make: returns arrays of numbers or bytes.
    """
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    beside = folder / f'.{name}.npz'
    elsewhere = emcom_datasets.DATA_FOLDER / f'{folder.name}-{digest}' / f'{name}.npz'
    for path in (beside, elsewhere):
        if (found := _read(path, current)) is not None:
            return found
    path = beside if os.access(folder, os.W_OK) else elsewhere
    with folders.exclusive(path.parent, name):
        if (found := _read(path, current)) is not None:  # Another process has made it meanwhile.
            return found
        arrays = make()
        temporary = path.with_name(path.name + '.tmp')
        with open(temporary, 'wb') as file:  # Given a path, NumPy would append '.npz'.
            np.savez_compressed(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    return arrays


def report_bad(
    where: str, names: Sequence[str], faults: Sequence[str], total: int, config: Any
) -> None:
    """Refuses images that cannot be decoded, or says once that they are skipped."""
    if not names:
        return
    if config.bad_files == 'refuse':
        raise ValueError(
            f'{where}: {len(names):,} of {total:,} images cannot be decoded, the first of them '
            f'{names[0]}: {faults[0]}; remove them, or set --config.data.bad_files=skip.'
        )
    shown = ', '.join(names[:10]) + (f' and {len(names) - 10:,} more' if len(names) > 10 else '')
    say(
        f'{where}: skipped {len(names):,} of {total:,} images that cannot be decoded: {shown} '
        f'(the first: {faults[0]})'
    )


def _read(path: pathlib.Path, current: Callable[[Arrays], bool]) -> Arrays | None:
    """Returns the arrays of an index file, or None if it is not there, damaged or out of date."""
    damaged = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
    with contextlib.suppress(OSError, *damaged):
        with open(path, 'rb') as file, np.load(file, allow_pickle=False) as content:
            arrays = dict(content)
        if current(arrays):
            return arrays
    return None
