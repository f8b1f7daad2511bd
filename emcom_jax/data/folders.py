"""Where data lies, and who may write there."""

import contextlib
import fcntl
import pathlib
import re
import sys
from collections.abc import Iterator

import emcom_datasets


def data_folder(path: str | None) -> pathlib.Path:
    """Returns `config.data.path` as a path, or the default folder where it is None."""
    return pathlib.Path(path).expanduser() if path else emcom_datasets.DATA_FOLDER


def newest_version(name: str, folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder of the newest version of a dataset that TFDS prepared, if it is there.

    name: of the dataset, with its configuration if it has any ('voc/2007').
    folder: that which holds `<name>/`, or `<name>/` itself, or the folder of a version.
    """
    if (folder / 'features.json').exists():
        return folder
    for parent in (folder / name, folder):
        versions = [
            path.parent
            for path in parent.glob('*/features.json')
            if re.fullmatch(r'\d+\.\d+\.\d+', path.parent.name)
        ]
        if versions:
            return max(versions, key=lambda path: [int(x) for x in path.name.split('.')])
    return None


@contextlib.contextmanager
def exclusive(folder: pathlib.Path, name: str) -> Iterator[None]:
    """Lets one process at a time prepare `name` in `folder`; others wait here until it is done.

    The lock goes with its process, so none is left behind by a killed one.

    Raises:
      OSError: `folder` cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / f'.{name}.lock', 'w')
    except OSError as error:
        raise OSError(
            f'{name} cannot be prepared in {folder} ({error.strerror}); set --config.data.path to '
            'a folder that can be written to.'
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'waiting for another process that prepares {name} in {folder}', file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
