"""Files that are never half-written, and JSON that every reader accepts."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file's content in one step, also if the machine stops in the middle.

    write: fills the new file, open for bytes.
    """
    temporary = path.with_name(path.name + '.tmp')
    with temporary.open('wb') as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def replace_text(path: Path, text: str) -> None:
    """Replaces a file's content by text, in one step."""
    replace_file(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Replaces a .npz file by arrays [...], by their names, in one step."""
    replace_file(path, lambda file: np.savez_compressed(file, **arrays))


def write_json(path: Path, value: Any) -> None:
    """Replaces a file by indented, sorted JSON; NaN and infinities become null."""
    replace_text(path, json.dumps(strict(value), indent=2, sort_keys=True, allow_nan=False) + '\n')


def read_json(path: Path) -> Any:
    """Reads a JSON file; a damaged one raises a ValueError that names it."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f'{path} is damaged ({error}): restore it, or remove it') from None


def strict(value: Any) -> Any:
    """Returns `value` with None for every float that JSON cannot say; arrays become lists."""
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: strict(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [strict(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
