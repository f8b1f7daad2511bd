"""How well scores rank: whether the right class comes first, and right examples before others."""

import numpy as np

_LEVELS = 11  # Of recall: 0, 0.1, ..., 1.


def among_first(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the right class is among the k with the largest scores; of equal scores that of the
    lower class counts as larger, as in `argmax`.

    Args:
      scores: float [N, n].
      labels: int [N]; one outside of [0, n) is never right.

    Returns:
      bool [N].
    """
    known = (labels >= 0) & (labels < scores.shape[1])
    places = np.where(known, labels, 0)
    own = np.take_along_axis(scores, places[:, None], axis=1)
    before = (scores == own) & (np.arange(scores.shape[1]) < places[:, None])
    right: np.ndarray = ((scores > own) | before).sum(axis=1) < k
    return right & known


def average_precision(
    scores: np.ndarray, labels: np.ndarray, eleven_points: bool = False
) -> np.ndarray:
    """How far the examples of a class come before the others when all are ranked by their scores.

    Args:
      scores: float [N, n], of each example for each of n classes.
      labels: [N, n] of 0 and 1.
      eleven_points: the definition of the VOC challenges to 2009 (Everingham et al. 2010, equation
        1): the mean over recalls 0, 0.1, ..., 1 of the largest precision at that recall or a
        higher one. Otherwise the sum of the precisions, each weighted by the recall that it adds,
        without interpolation. Examples with equal scores count at once.

    Returns:
      [n] in [0, 1]; nan for a class that no example has.
    """
    return np.array(
        [_of_class(*each, eleven_points) for each in zip(scores.T, labels.T, strict=True)]
    )


def _of_class(scores: np.ndarray, labels: np.ndarray, eleven_points: bool) -> float:
    order = np.argsort(-scores, kind='stable')
    falls = np.diff(scores[order]) != 0
    ends = np.flatnonzero(np.append(falls, True))  # Of each run of equal scores.
    found = np.cumsum(labels[order])[ends].astype(int)
    total = int(found[-1])
    if not total:
        return np.nan
    precision = found / (ends + 1)
    if not eleven_points:
        return float(np.sum(np.diff(found, prepend=0) * precision) / total)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # In whole numbers, for 0.3 is less than three tenths.
    first = np.searchsorted(found * (_LEVELS - 1), np.arange(_LEVELS) * total)
    return float(best[first].mean())
