"""Which images there are in a folder of class folders, and which of them can be read."""

import os
import pathlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from emcom_jax.data import decoding, index_files

_SUFFIXES = ('.jpeg', '.jpg', '.png', '.gif', '.bmp', '.webp', '.tif', '.tiff', '.ppm')


class Found(NamedTuple):
    """Images of one folder of class folders.

    names: bytes [N], paths below the folder.
    classes: int32 [N], positions in `folders`.
    folders: [K] str, paths of the class folders: 'n01440764', 'a/abbey'; not all need have images.
    """

    names: np.ndarray
    classes: np.ndarray
    folders: np.ndarray

    def class_names(self) -> set[str]:
        return set(self.folders[np.unique(self.classes)].tolist())

    def keep(self, rows: np.ndarray) -> 'Found':
        return self._replace(names=self.names[rows], classes=self.classes[rows])


def scan(folder: pathlib.Path, config: Any, without: Sequence[str] = ()) -> Found:
    """Returns the readable images below `folder`, by an index that is kept there.

    The index is current as long as no file came, went or was renamed. Whether contents changed is
    not looked at: that would take as long as making it.

    without: folders directly inside that are no part.
    """
    whole = config.bad_files == 'refuse'
    arrays = index_files.indexed(
        folder,
        'image_index_whole' if whole else 'image_index',
        lambda known: _is_current(folder, known, without),
        lambda: _index(folder, without, whole),
    )
    names, bad = arrays['names'], np.flatnonzero(arrays['faults'] != b'')
    faults = [arrays['faults'][i].decode() for i in bad]
    index_files.report_bad(
        str(folder), [os.fsdecode(names[i]) for i in bad], faults, len(names), config
    )
    if len(bad) == len(names):
        raise ValueError(
            f'{folder} holds no readable image in class folders; files must be '
            f'<class>/<image>{", ".join(_SUFFIXES[:3])} or the like.'
        )
    paths = np.array([os.fsdecode(name) for name in arrays['folders']])
    return Found(names, arrays['classes'], paths).keep(arrays['faults'] == b'')


def _is_current(folder: pathlib.Path, known: index_files.Arrays, without: Sequence[str]) -> bool:
    """Whether an index is of what there is: a folder's time changes when a file comes or goes.

    Only the folders are looked at, not the files in them, of which there may be millions.
    """
    paths = [os.fsdecode(path) for path in known['folders']]
    if _children(folder, without)[0] != sorted(path for path in paths if '/' not in path):
        return False
    times = [os.stat(folder / path).st_mtime_ns for path in paths]
    return times == known['times'].tolist()


def _index(folder: pathlib.Path, without: Sequence[str], whole: bool) -> index_files.Arrays:
    """Looks at every image: their paths, their class folders, and what is wrong with them."""
    paths: list[str] = []
    times, images = [], []
    for path, time, files in _walk(folder, '', without, set()):
        images += [(len(paths), f'{path}/{file}') for file in files]
        paths.append(path)
        times.append(time)

    def look(image: tuple[int, str]) -> str:
        try:
            with open(folder / image[1], 'rb') as file:
                return decoding.fault(file, whole)
        except OSError as error:
            return f'it cannot be read ({error.strerror})'

    what = f'{folder.name}: looking at images'
    with warnings.catch_warnings():  # A sentence of our own says it.
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        faults = [fault.encode() for fault in decoding.in_threads(look, images, what)]
    return {
        'folders': _as_bytes(paths),
        'times': np.array(times, np.int64),
        'names': _as_bytes([name for _, name in images]),
        'classes': np.array([number for number, _ in images], np.int32),
        'faults': np.array(faults, dtype=bytes),
    }


def _as_bytes(paths: Sequence[str]) -> np.ndarray:
    return np.array([os.fsencode(path) for path in paths], dtype=bytes)


def _walk(
    root: pathlib.Path, below: str, without: Sequence[str], above: set[tuple[int, int]]
) -> Iterator[tuple[str, int, list[str]]]:
    """Yields every folder below a folder: its path, its time of change, the images in it."""
    folder = root / below
    status = folder.stat()
    place = (status.st_dev, status.st_ino)
    if place in above:  # A link to a folder in which it lies.
        return
    inside, files = _children(folder, () if below else without)
    if below:
        yield below, status.st_mtime_ns, files
    elif files:
        raise ValueError(
            f'{folder} holds images such as {files[0]} that are in no class folder; move each into '
            'a folder of its class.'
        )
    for child in inside:
        yield from _walk(root, f'{below}/{child}' if below else child, without, above | {place})


def _children(folder: pathlib.Path, without: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the folders and the images that lie in a folder, sorted; hidden ones are no part."""
    inside, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.') or entry.name in without:
                continue
            if entry.is_dir():
                inside.append(entry.name)
            elif entry.name.lower().endswith(_SUFFIXES):
                files.append(entry.name)
    return sorted(inside), sorted(files)
