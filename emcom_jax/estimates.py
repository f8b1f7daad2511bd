"""A value of a summary and how sure it is: what is called how there, as text and as a bar.

Beside `accuracy` may stand `accuracy_ci95`, a 95 % interval [low, high]; `accuracy_se`, the
standard error over replicas; and what it is the mean of, by replica (`_replicas`), draw of labels
(`_draws`) or other repeats (`_each`). In a file, nan is null.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

INTERVAL = '_ci95'
ERROR = '_se'
REPLICAS = '_replicas'
_BESIDE = (INTERVAL, ERROR, REPLICAS, '_draws', '_each')


def split_name(name: str) -> tuple[str, str]:
    """'accuracy_se' -> ('accuracy', '_se'); 'accuracy' -> ('accuracy', '')."""
    for end in _BESIDE:
        if name.endswith(end):
            return name.removesuffix(end), end
    return name, ''


def number(value: float | None) -> float:
    """A value of a JSON file, in which nan is null."""
    return float('nan') if value is None else float(value)


def text(values: Mapping[str, Any], name: str) -> str:
    """'0.913 [0.902, 0.921]', '0.913 ± 0.004', '1,797'; '–' for what is undefined or missing."""
    shown = _text(values.get(name))
    interval, error = values.get(name + INTERVAL), values.get(name + ERROR)
    if interval is not None:
        shown += f' [{_text(interval[0])}, {_text(interval[1])}]'
    # Errors of lists are not printed: they would be longer than what they belong to.
    if isinstance(error, float) and error == error:
        shown += f' ± {_text(error)}'
    return shown


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ', '.join(map(_text, value))
    if value is None or value != value:
        return '–'
    return f'{value:,.0f}' if value == int(value) and abs(value) > 1 else f'{value:.3f}'


def reach(values: Mapping[str, Any], name: str) -> np.ndarray:
    """How far the interval reaches below and above a value, float [2], or [2, n] for a list of n;
    else the standard error; 0 where neither is known."""
    value = _numbers(values.get(name))
    interval, error = values.get(name + INTERVAL), values.get(name + ERROR)
    bars = np.zeros((2, *value.shape))
    if interval is not None:
        low, high = np.moveaxis(_numbers(interval), -1, 0)
        bars = np.stack([value - low, high - value])
    elif error is not None:
        bars[:] = _numbers(error)
    return np.maximum(np.nan_to_num(bars), 0.0)


def _numbers(value: Any) -> np.ndarray:
    return np.array(np.vectorize(number, otypes=[float])(value))
