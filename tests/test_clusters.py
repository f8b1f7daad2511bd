"""k-means as a communicator: symbols are the nearest centroids."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from emcom_jax.metrics.clusters import fit_centroids, nearest_centroid


@pytest.fixture(scope='module')
def clustered():
    """Four clusters far apart, of 100 examples each, and the cluster of each example."""
    rng = np.random.default_rng(0)
    centres = 20.0 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]])
    labels = np.repeat(np.arange(4), 100)
    return (centres[labels] + rng.standard_normal((400, 3))).astype(np.float32), labels


def test_clusters_far_apart_are_symbols_of_their_own(clustered):
    features, labels = clustered
    symbols = nearest_centroid(features, fit_centroids(features, 4, seed=0))
    assert symbols.dtype == np.int32 and symbols.shape == (400,)
    assert len({*zip(symbols.tolist(), labels.tolist(), strict=True)}) == 4
    assert set(symbols.tolist()) == set(range(4))


def test_of_all_examples_centroids_are_those_of_scikit_learn(clustered):
    features, _ = clustered
    theirs = KMeans(7, n_init=1, random_state=3).fit(features)
    centroids = fit_centroids(features, 7, seed=3, share=1.0)
    np.testing.assert_allclose(centroids, theirs.cluster_centers_, rtol=1e-6)
    others = np.random.default_rng(1).standard_normal((50, 3)) * 20
    predicted = theirs.predict(others.astype(np.float32))
    np.testing.assert_array_equal(nearest_centroid(others, centroids), predicted)


def test_the_nearest_is_nearest(clustered):
    features, _ = clustered
    centroids = fit_centroids(features, 9, seed=0)
    distances = np.linalg.norm(features[:, None] - centroids[None], axis=-1)
    np.testing.assert_array_equal(nearest_centroid(features, centroids), distances.argmin(1))


def test_a_tenth_is_read_which_the_seed_alone_decides(clustered):
    features, _ = clustered
    # As many clusters as examples that are read: the centroids are those examples.
    one, same, other = (fit_centroids(features, 40, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    rows = [
        {np.linalg.norm(features - centroid, axis=1).argmin() for centroid in each}
        for each in (one, other)
    ]
    assert len(rows[0]) == len(rows[1]) == 40 and rows[0] != rows[1]
    assert np.ptp(list(rows[0])) > 200  # Not the first ones.


@pytest.mark.parametrize('count', [0, 41])
def test_more_clusters_than_examples_are_refused(clustered, count):
    with pytest.raises(ValueError, match=f'^{count} clusters need .* 0.1 of 400 is 40'):
        fit_centroids(clustered[0], count, seed=0)
