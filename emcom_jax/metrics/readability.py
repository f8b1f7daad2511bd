"""Whether drawings can be read by who never saw one: by what things look like, and by where lines
are.

That the drawings of a class are alike says nothing of this: an arbitrary code is alike, too. After
Mihai & Hare 2021, Learning to draw, who asked people; what is measured here needs nobody, but the
outlines of what is drawn.

Drawings and outlines are pictures in [0, 1], black (0) on white (1).
"""

from collections.abc import Callable

import chex
import numpy as np
from scipy.ndimage import distance_transform_edt

from emcom_jax.data.described import gradients

_AT_ONCE = 512  # Pictures.


def make_reader(outlines: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Makes a reader, who has seen nothing but outlines of things and knows what these are.

    A linear discriminant analysis (Fisher 1936), the covariance shrunk as Ledoit & Wolf 2004 do, of
    histograms of oriented gradients (Dalal & Triggs 2005). The share of drawings whose class it
    names is their zero-shot accuracy.

    Args:
      outlines: [M, H, W], sides multiples of 4.
      labels: int [M], their classes.

    Returns:
      Of drawings [N, H, W] the classes that the reader takes them for, int [N].
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # Slow to import.

    chex.assert_rank([outlines, labels], [3, 1])
    reader = LinearDiscriminantAnalysis(solver='lsqr', shrinkage='auto')
    reader.fit(_gradients(outlines), labels)
    return lambda drawings: reader.predict(_gradients(drawings))


def _gradients(pictures: np.ndarray) -> np.ndarray:
    """Features [N, D] of pictures [N, H, W]."""
    chex.assert_rank(pictures, 3)
    grey = (255 * pictures).round().astype(np.uint8)[..., None]
    parts = (grey[first : first + _AT_ONCE] for first in range(0, len(grey), _AT_ONCE))
    return np.concatenate([gradients(part) for part in parts])


def contour_distance(drawings: np.ndarray, outlines: np.ndarray) -> np.ndarray:
    """How far apart the lines of two pictures are: the chamfer distance (Barrow, Tenenbaum, Bolles
    & Wolf 1977, Parametric correspondence and chamfer matching), both ways.

    The mean distance of the ink of the one to the nearest line of the other, and the same the other
    way round, halved. There is a line where there is more than half of the ink that there can be.

    Args:
      drawings, outlines: [N, H, W].

    Returns:
      [N], in sides of the picture (of heights H); nan where one of the two has no line.
    """
    chex.assert_rank([drawings, outlines], 3)
    chex.assert_equal_shape([drawings, outlines])
    pairs = zip(1 - drawings, 1 - outlines, strict=True)
    return np.array([(_to(*pair) + _to(*reversed(pair))) / 2 for pair in pairs])


def _to(ink: np.ndarray, lines: np.ndarray) -> float:
    """The mean distance of ink [H, W] to lines, in heights."""
    there = lines > 0.5
    if not (there.any() and (ink > 0.5).any()):
        return float('nan')
    return float(np.average(distance_transform_edt(~there), weights=ink) / len(ink))


def contour_excess(
    drawings: np.ndarray, outlines: np.ndarray, labels: np.ndarray, seed: int = 0
) -> np.ndarray:
    """`contour_distance` of drawings to the outlines of what they are of, less that to the outlines
    of another example of the same class.

    It is below 0 on average just if drawings show how this thing stands here. All that the drawings
    of a class have in common, an arbitrary code or a picture of the class as such, leaves it at 0.

    Args:
      drawings: [N, H, W], of what `outlines` [N, H, W] show.
      labels: int [N], classes.
      seed: draws the other example of each.

    Returns:
      [N], in sides of the picture; nan where there is no other example, or nothing is drawn.
    """
    chex.assert_rank([drawings, outlines, labels], [3, 3, 1])
    rng = np.random.default_rng(seed)
    mates = (labels[:, None] == labels[None]) & ~np.eye(len(labels), dtype=bool)
    # Of each row one of the columns that are True, drawn.
    other = np.argmax(mates * (1 + rng.random(mates.shape)), axis=1)
    apart = contour_distance(drawings, outlines[other])
    own: np.ndarray = contour_distance(drawings, outlines)
    return np.where(mates.any(axis=1), own - apart, np.nan)


def decoded(
    drawings: np.ndarray, values: np.ndarray, others: np.ndarray, values_of_others: np.ndarray
) -> float:
    """How well a linear decoder tells from drawings the value of an attribute: balanced accuracy,
    the mean over values of the share that is told right, so scaled that 0 is chance and 1 all.

    The decoder is a shrunk linear discriminant analysis, as in `make_reader`, but of pixels: what
    it finds need not be legible, nor even look like anything.

    Args:
      drawings: [M, H, W] to learn from, and values: int [M], of an attribute of what they show.
      others: [N, H, W] to be told, and values_of_others: int [N]; those whose value none of the
        first has do not count.

    Returns:
      At most 1; nan if there is but one value.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    chex.assert_rank([drawings, values, others, values_of_others], [3, 1, 3, 1])
    known = np.isin(values_of_others, values)
    others, truth = others[known], values_of_others[known]
    count = len(np.unique(truth))
    if min(count, len(np.unique(values))) < 2:
        return float('nan')
    decoder = LinearDiscriminantAnalysis(solver='lsqr', shrinkage='auto')
    decoder.fit(drawings.reshape(len(drawings), -1), values)
    right = decoder.predict(others.reshape(len(others), -1)) == truth
    share = np.mean([right[truth == value].mean() for value in np.unique(truth)])
    return float((share - 1 / count) / (1 - 1 / count))
