"""k-means as a communicator that sees and does not talk (Dessì et al. 2021): the symbol of an
example is the centroid that is nearest to its features."""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin


def fit_centroids(features: np.ndarray, count: int, seed: int, share: float = 0.1) -> np.ndarray:
    """Returns the centroids [count, D] float32 of a random part of the training examples.

    Args:
      features: [M, D], of the training split.
      count: number of clusters; the paper has as many as classes, and as many as symbols.
      seed: of the part, and of the first centroids (k-means++).
      share: of the examples that are read, in (0, 1].

    Raises:
      ValueError: there are more clusters than examples to read.
    """
    number = round(share * len(features))
    if not 1 <= count <= number:
        raise ValueError(
            f'{count} clusters need at least one and as many examples: a share of {share} of '
            f'{len(features)} is {number}'
        )
    rows = np.random.default_rng(seed).choice(len(features), number, replace=False)
    chosen = np.asarray(features[np.sort(rows)], np.float32)
    found = KMeans(count, n_init=1, random_state=seed).fit(chosen)
    centroids: np.ndarray = found.cluster_centers_
    return centroids


def nearest_centroid(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Returns the number of the nearest centroid of each example, [N, D] and [k, D] -> int32 [N] in
    [0, k); the first of those equally near."""
    nearest: np.ndarray = pairwise_distances_argmin(np.asarray(features, np.float32), centroids)
    return nearest.astype(np.int32)
