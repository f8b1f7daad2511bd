"""Curves of learning, in numbers."""

import numpy as np


def area_under_curve(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean height of curves from their first to their last step, by the trapezoid rule.

    Args:
      steps: increasing [M].
      values: float [M, n], n curves.

    Returns:
      [n], in the unit of the values; the value itself for M = 1.
    """
    steps, values = _checked(steps, values)
    if len(steps) == 1:
        return values[0]
    return np.trapezoid(values, steps, axis=0) / (steps[-1] - steps[0])


def value_at(steps: np.ndarray, values: np.ndarray, step: float) -> np.ndarray:
    """Curves [M, n] at a step between the first and the last, interpolated linearly; the first
    value before the first step. Returns [n]."""
    steps, values = _checked(steps, values)
    if step > steps[-1]:
        raise ValueError(f'the curves end at step {steps[-1]}, before {step}.')
    return np.array([np.interp(step, steps, curve) for curve in values.T])


def first_step_at(steps: np.ndarray, values: np.ndarray, level: float) -> np.ndarray:
    """The step at which each of the curves [M, n] first reaches a level, interpolated linearly; the
    first step where it is there from the beginning, nan where it never is. Returns [n]."""
    steps, values = _checked(steps, values)
    result = np.full(values.shape[1], np.nan)
    for i, curve in enumerate(values.T):
        for after in np.flatnonzero(curve >= level)[:1]:
            before = max(after - 1, 0)
            ends = [before, after]
            result[i] = np.interp(level, curve[ends], steps[ends]) if before < after else steps[0]
    return result


def _checked(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps, values = np.asarray(steps), np.asarray(values, np.float64)
    if steps.ndim != 1 or values.ndim != 2 or len(steps) != len(values) or not len(steps):
        raise ValueError(
            f'curves need steps [M] and values [M, n] with M > 0, got {steps.shape} and '
            f'{values.shape}.'
        )
    if (np.diff(steps) <= 0).any():
        raise ValueError('the steps of a curve must increase.')
    return steps, values
