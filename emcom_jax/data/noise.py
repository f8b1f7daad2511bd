"""Images that mean nothing: do agents that agree about photographs agree about these too?

Gaussian blobs are those of Bouchacourt & Baroni (2018), *How agents see things*, as Dessi et al.
(2021) use them; the ladder goes on to coarser noise and to images that keep part of a photograph.
What is returned goes into a network as it is: no normalisation, no augmentation.

Example i is drawn with a key folded from i, so that fewer examples are the first of more.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from emcom_jax.draws import example_keys
from emcom_jax.types import Array, Key


def gaussian(key: Key, n: int, size: int) -> Array:
    """Returns Gaussian blobs [n, size, size, 3]: every value from N(0, 1)."""
    return grid(key, n, size, size)


def grid(key: Key, n: int, size: int, k: int) -> Array:
    """Returns images [n, size, size, 3] of k x k cells, each of one colour from N(0, 1).

    Row y belongs to cell floor(y k / size); so do columns. With k = size it is `gaussian`.

    Raises:
      ValueError: more cells than pixels.
    """
    if not 1 <= k <= size:
        raise ValueError(f'a grid of {k} x {k} cells needs images of that size, not {size} pixels')
    keys = example_keys(key, jnp.arange(n))
    cells = jax.vmap(lambda one: jax.random.normal(one, (k, k, 3), jnp.float32))(keys)
    cell = jnp.arange(size) * k // size
    return cells[:, cell][:, :, cell]


def phase_scrambled(key: Key, images: Array) -> Array:
    """Returns images [N, H, W, 3] with the phases of their spatial frequencies turned at random.

    Each frequency turns by an angle of its own, the same in the three channels, so that amplitude
    spectra, the channels' means and the correlations between them stay. The angles are those of an
    image of Gaussian noise, which are uniform and odd in the frequency: the result is real. It may
    leave the range of the images; it is not clipped, which would change the spectrum. Scrambling a
    normalised image is normalising a scrambled one.
    """
    chex.assert_rank(images, 4)
    count, height, width, _ = images.shape

    def turns(one: Key) -> Array:
        spectrum = jnp.fft.rfft2(jax.random.normal(one, (height, width), jnp.float32))
        spectrum = spectrum.at[0, 0].set(1)  # The mean stays.
        return spectrum / jnp.abs(spectrum).astype(spectrum.dtype)

    turn = jax.vmap(turns)(example_keys(key, jnp.arange(count)))
    spectrum = jnp.fft.rfft2(images, axes=(1, 2))
    return jnp.fft.irfft2(spectrum * turn[..., None], s=(height, width), axes=(1, 2))


def patch_shuffled(key: Key, images: Array, patch: int) -> Array:
    """Returns images [N, H, W, 3] whose square patches of `patch` pixels a side changed places.

    Raises:
      ValueError: patches of that size do not tile the images.
    """
    chex.assert_rank(images, 4)
    count, height, width, channels = images.shape
    if patch < 1 or height % patch or width % patch:
        raise ValueError(f'patches of {patch} pixels do not tile images of {height} x {width}')
    rows, columns = height // patch, width // patch
    tiles = images.reshape(count, rows, patch, columns, patch, channels).swapaxes(2, 3)
    tiles = tiles.reshape(count, rows * columns, patch, patch, channels)

    def shuffled(one: Key, of_image: Array) -> Array:
        return of_image[jax.random.permutation(one, rows * columns)]

    tiles = jax.vmap(shuffled)(example_keys(key, jnp.arange(count)), tiles)
    tiles = tiles.reshape(count, rows, columns, patch, patch, channels).swapaxes(2, 3)
    return tiles.reshape(images.shape)


def _grid_like(k: int | None) -> Callable[[Key, Array], Array]:
    def draw(key: Key, images: Array) -> Array:
        count, size = images.shape[:2]
        return grid(key, count, size, k or size)

    return draw


def _sixteenths_shuffled(key: Key, images: Array) -> Array:
    return patch_shuffled(key, images, images.shape[1] // 4)


# Name -> (key, images [N, S, S, 3] as a network sees them) -> as many images without meaning: noise
# from coarse to fine, which reads only the shape, then parts of photographs. S is a multiple of 4,
# 16 at the least.
LADDER: dict[str, Callable[[Key, Array], Array]] = {
    **{f'grid_{k}': _grid_like(k) for k in (1, 2, 4, 8, 16)},
    'gaussian': _grid_like(None),
    'phase_scrambled': phase_scrambled,
    'patch_shuffled': _sixteenths_shuffled,
}
FROM_IMAGES = ('phase_scrambled', 'patch_shuffled')  # The others read only the shape.
