"""Images that mean nothing keep what they should of meaning's statistics, and no more."""

import jax
import numpy as np
import pytest
import scipy.stats

from emcom_jax.data import augmentation, noise

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion('strict'):
        yield


def random_images(*shape):
    """Not white: channels, rows and columns go together."""
    drawn = np.random.default_rng(0).random(shape, dtype=np.float32)
    return (drawn + drawn.mean(-1, keepdims=True) + np.roll(drawn, 1, axis=1)) / 3


def spectra(images):
    return np.fft.fft2(np.asarray(images, np.float64), axes=(1, 2))


def normal(values):
    """Whether values are draws of N(0, 1), by Kolmogorov and Smirnov."""
    return scipy.stats.kstest(np.ravel(values), 'norm').pvalue > 1e-4


def test_blobs_are_normal_and_independent():
    blobs = np.asarray(noise.gaussian(KEY, 40, 16))
    assert blobs.shape == (40, 16, 16, 3) and blobs.dtype == np.float32
    assert normal(blobs)
    assert abs(blobs.mean()) < 4 / np.sqrt(blobs.size)
    assert abs(blobs.var() - 1) < 4 * np.sqrt(2 / blobs.size)
    for axis in range(4):
        neighbours = np.mean(blobs * np.roll(blobs, 1, axis))
        assert abs(neighbours) < 4 / np.sqrt(blobs.size), axis


@pytest.mark.parametrize('k, size', [(1, 16), (4, 16), (3, 10), (7, 10)])
def test_grids_are_cells_of_one_colour(k, size):
    images = np.asarray(noise.grid(KEY, 200, size, k))
    assert images.shape == (200, size, size, 3) and images.dtype == np.float32
    cell = [int(pixel * k / size) for pixel in range(size)]
    first = [cell.index(i) for i in range(k)]
    cells = images[:, first][:, :, first]
    np.testing.assert_array_equal(images, cells[:, cell][:, :, cell])
    assert len(np.unique(cells)) > 0.99 * cells.size and normal(cells)


def test_a_grid_of_pixels_is_plain_noise():
    np.testing.assert_array_equal(noise.grid(KEY, 3, 8, 8), noise.gaussian(KEY, 3, 8))


@pytest.mark.parametrize('k', [0, 9])
def test_grids_of_impossible_cells_are_refused(k):
    with pytest.raises(ValueError, match='cells.*8 pixels'):
        noise.grid(KEY, 3, 8, k)


@pytest.mark.parametrize('height, width', [(8, 8), (9, 12), (6, 7)])
def test_phase_scrambling_keeps_spectra_means_and_the_relation_of_channels(height, width):
    images = random_images(4, height, width, 3)
    scrambled = np.asarray(noise.phase_scrambled(KEY, images))
    assert scrambled.shape == images.shape and scrambled.dtype == np.float32
    before, after = spectra(images), spectra(scrambled)
    np.testing.assert_allclose(np.abs(after), np.abs(before), atol=1e-4)
    np.testing.assert_allclose(scrambled.mean((1, 2)), images.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(
        after[..., 0] * after[..., 1].conj(), before[..., 0] * before[..., 1].conj(), atol=1e-3
    )
    assert np.abs(scrambled - images).max((1, 2, 3)).min() > 0.05


def test_phases_are_uniform_and_each_image_has_its_own():
    points = np.zeros((400, 6, 6, 3), np.float32)
    points[:, 0, 0] = 1  # All amplitudes 1, all phases 0.
    turns = spectra(noise.phase_scrambled(KEY, points))[..., 0]
    np.testing.assert_allclose(turns[:, 0, 0], 1, atol=1e-5)
    others = turns.reshape(400, -1)[:, 1:]
    assert np.abs(others.mean(0)).max() < 4 / np.sqrt(400)
    angles = np.angle(turns[:, 1:3, 1:3]).ravel()
    assert scipy.stats.kstest(angles, scipy.stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-4


def test_scrambling_and_normalizing_commute():
    images = random_images(3, 8, 8, 3)

    def normalized(images):
        return augmentation.normalize(images, *augmentation.IMAGENET)

    np.testing.assert_allclose(
        noise.phase_scrambled(KEY, normalized(images)),
        normalized(noise.phase_scrambled(KEY, images)),
        atol=1e-5,
    )


def tiles(image, patch):
    """The patches of an image, sorted."""
    rows, columns = image.shape[0] // patch, image.shape[1] // patch
    return sorted(
        image[patch * i : patch * (i + 1), patch * j : patch * (j + 1)].tobytes()
        for i in range(rows)
        for j in range(columns)
    )


@pytest.mark.parametrize('patch', [1, 2, 4])
def test_shuffling_keeps_the_patches_and_moves_them(patch):
    images = random_images(4, 8, 12, 3)
    shuffled = np.asarray(noise.patch_shuffled(KEY, images, patch))
    for before, after in zip(images, shuffled, strict=True):
        assert tiles(before, patch) == tiles(after, patch)
        assert not np.array_equal(before, after)
    same = np.broadcast_to(images[:1], images.shape)
    assert len(np.unique(np.asarray(noise.patch_shuffled(KEY, same, patch)), axis=0)) == 4


def test_one_patch_is_the_image():
    images = random_images(4, 8, 8, 3)
    np.testing.assert_array_equal(noise.patch_shuffled(KEY, images, 8), images)


@pytest.mark.parametrize('patch', [0, 3, 16])
def test_patches_that_do_not_tile_are_refused(patch):
    with pytest.raises(ValueError, match=f'{patch} pixels do not tile images of 8 x 12'):
        noise.patch_shuffled(KEY, random_images(2, 8, 12, 3), patch)


def test_ladder_has_the_rungs():
    grids = [f'grid_{k}' for k in (1, 2, 4, 8, 16)]
    assert list(noise.LADDER) == [*grids, 'gaussian', 'phase_scrambled', 'patch_shuffled']


@pytest.mark.parametrize('name', noise.LADDER)
def test_ladder(name):
    images = random_images(3, 16, 16, 3)
    drawn = np.asarray(noise.LADDER[name](KEY, images))
    assert drawn.shape == images.shape and drawn.dtype == np.float32
    assert np.isfinite(drawn).all()
    np.testing.assert_array_equal(noise.LADDER[name](KEY, images), drawn)
    np.testing.assert_allclose(noise.LADDER[name](KEY, images[:2]), drawn[:2], atol=1e-6)
    other = np.asarray(noise.LADDER[name](jax.random.key(1), images))
    assert np.abs(other - drawn).max((1, 2, 3)).min() > 0.01
    cells = {f'grid_{k}': k for k in (1, 2, 4, 8, 16)} | {'gaussian': 16}
    if name in cells:
        np.testing.assert_array_equal(drawn, noise.grid(KEY, 3, 16, cells[name]))
    if name == 'patch_shuffled':
        np.testing.assert_array_equal(drawn, noise.patch_shuffled(KEY, images, 4))
