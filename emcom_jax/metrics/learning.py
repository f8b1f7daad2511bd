"""Learning in numbers: curves, and what of a loss is due to the language."""

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


def information_loss(fresh: np.ndarray) -> np.ndarray:
    """The loss that the best listener for a language would have, of each referent; nats.

    The mean loss of fresh listeners, trained on the language of frozen speakers until they learn no
    more (Rita et al. 2022, Emergent communication: generalization and overfitting in Lewis games).
    Where they could learn more it is too large, and on what they learnt by heart too small.

    Args:
      fresh: float [S, K, N], losses of the K listeners of each speaker.

    Returns:
      [N], each 0 or more.
    """
    return _by_referent(fresh)


def co_adaptation(own: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """The loss that is due to the listeners and not to the language, of each referent; nats.

    The loss of the listeners that were trained together with the speakers, less that of fresh ones
    (Rita et al. 2022). Below 0 where the own listeners understand better: on what was trained on,
    as they agreed with their speakers on it; on unseen referents, fresh ones did not learn enough.

    Args:
      own: float [S, M, N], losses of the M listeners that learnt with each speaker; nan for one
        that did not.
      fresh: float [S, K, N], with the same candidates.

    Returns:
      [N], of either sign.
    """
    if own.ndim != 3 or own.shape[::2] != fresh.shape[::2]:
        raise ValueError(
            f'losses must be [S, M, N] and [S, K, N], of the same speakers and referents, got '
            f'{own.shape} and {fresh.shape}.'
        )
    return _by_referent(own) - information_loss(fresh)


def _by_referent(losses: np.ndarray) -> np.ndarray:
    """The mean over the listeners of each speaker, then over speakers: [S, K, N] -> [N]."""
    losses = np.asarray(losses, np.float64)
    if losses.ndim != 3 or 0 in losses.shape:
        raise ValueError(f'losses must be [S, K, N], none of them empty, got {losses.shape}.')
    return np.nanmean(losses, axis=1).mean(axis=0)


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
