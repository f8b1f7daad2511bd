"""Random views of images, per example, on the device: the augmentation of SimCLR.

The recipe is that of Dessi et al. (2021), *Interpretable agent communication from scratch*, after
Chen et al. (2020), *A simple framework for contrastive learning*, appendix A: random resized crop,
colour jitter, greyscale, blur, flip, in torchvision's sense of each.

`augment`, `resize` and `normalize` take images [B, H, W, 3]. What they are made of takes planes
[B, 3, H, W], since three channels next to each other in memory do not vectorise on a CPU.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import chex
import dm_pix
import jax
import jax.numpy as jnp
import numpy as np

from emcom_jax.types import Array, Key


class Augmentation(NamedTuple):
    """How views are drawn; the default is the published recipe.

    crop_scale: range of the crop's share of the image's area, or None for the whole image.
    crop_ratio: range of the crop's width over its height, uniform in the logarithm.
    flip: probability of a horizontal flip; 0 for none.
    jitter: strengths (b, c, s, h). Brightness, contrast and saturation are multiplied by factors
        from U(max(0, 1 - b), 1 + b) and so on, hue turns by U(-h, h) of a full turn, h <= .5. A
        strength of 0 leaves out its operation.
    jitter_rate: probability of colour jitter, of all four in random order; 0 for none.
    greyscale: probability of three channels that are all the luma; 0 for none.
    blur: probability of Gaussian blur; 0 for none.
    blur_sigma: range of its standard deviation, in pixels of the view.
    """

    crop_scale: tuple[float, float] | None = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    jitter_rate: float = 0.8
    greyscale: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)


# Mean and standard deviation of the channels: of ImageNet's photographs, and without knowledge.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

_TRIES = 10  # Of a crop that fits, before the whole image is taken.
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601. dm_pix's sum to .9999, which darkens greys.
_TRUNCATE = 4.0  # Radius of the blur, in its largest standard deviation.
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)  # Columns of the factors of `jitter`.
_PRECISE = jax.lax.Precision.HIGHEST  # Else accelerators round an image to ten bits or fewer.
_DRAWS = 2 * _TRIES + 12  # Uniform numbers for each example.


@functools.partial(jax.jit, static_argnames=('settings', 'size'))
def augment(keys: Key, images: Array, settings: Augmentation, size: int) -> Array:
    """Returns a random view of each image.

    An example's draws depend on its own key only, and each operation has its own draws: leaving one
    out does not change the others.

    Args:
      keys: [B], one for each example.
      images: [B, H, W, 3] float32 in [0, 1].
      settings: which views; static.
      size: side of the views, pixels; static.

    Returns:
      [B, size, size, 3] float32 in [0, 1].

    Raises:
      ValueError: a setting out of its range.
    """
    chex.assert_rank([keys, images], [1, 4])
    chex.assert_axis_dimension(images, 3, 3)
    wrong = fault(settings)
    if wrong is not None:
        name, right = wrong
        raise ValueError(f'{name}={getattr(settings, name)!r} of the augmentation {right}')
    batch, height, width, _ = images.shape
    drawn = jax.vmap(lambda key: jax.random.uniform(key, (_DRAWS,), jnp.float32))(keys)
    crops, drawn = drawn[:, : 2 * _TRIES + 2], drawn[:, 2 * _TRIES + 2 :]
    flip, jittered, order, grey, blurred, spread = drawn[:, :6].T

    boxes = _whole(batch, height, width)
    if settings.crop_scale is not None:
        boxes = crop_boxes(crops, settings.crop_scale, settings.crop_ratio, height, width)
    planes = crop(images, boxes, flip < settings.flip, size)
    if settings.jitter_rate and any(settings.jitter):
        factors = _factors(drawn[:, 6:], settings.jitter, jittered < settings.jitter_rate)
        planes = jitter(planes, factors, (order * len(_TIMELINES)).astype(jnp.int32))
    if settings.greyscale:
        chosen = (grey < settings.greyscale)[:, None, None, None]
        planes = jnp.where(chosen, luma(planes)[:, None], planes)
    if settings.blur:
        low, high = settings.blur_sigma
        sigma = jnp.where(blurred < settings.blur, low + (high - low) * spread, 0.0)
        planes = blur(planes, sigma, int(_TRUNCATE * high + 0.5))
    return planes.transpose(0, 2, 3, 1)


@functools.partial(jax.jit, static_argnames=('size',))
def resize(images: Array, size: int) -> Array:
    """Returns images [B, H, W, 3] in [0, 1] at [B, size, size, 3]: antialiased, bilinear."""
    chex.assert_rank(images, 4)
    batch, height, width, _ = images.shape
    boxes = _whole(batch, height, width)
    return crop(images, boxes, jnp.zeros(batch, bool), size).transpose(0, 2, 3, 1)


def normalize(
    images: Array, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Array:
    """Returns images [..., 3] less the mean of each channel, over its standard deviation."""
    chex.assert_axis_dimension(images, -1, 3)
    shape = (1,) * (images.ndim - 1) + (3,)
    shift, scale = (jnp.asarray(values, images.dtype).reshape(shape) for values in (mean, std))
    return (images - shift) / scale


# --- geometry -------------------------------------------------------------------------------------


def crop_boxes(
    drawn: Array,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    height: int,
    width: int,
) -> Array:
    """Returns the boxes of torchvision's `RandomResizedCrop`, whole pixels of the image.

    Of ten tries of an area and a ratio, drawn all at once, the first that fits into the image is
    placed at random; if none does, the box is the largest in the middle that has an allowed ratio.

    Args:
      drawn: [B, 22] float32 from U(0, 1): areas and ratios of the tries in turn, then the place.
      scale, ratio: as in `Augmentation`.
      height, width: of the image, pixels.

    Returns:
      [B, 4] float32, left, top, right, bottom.
    """
    chex.assert_shape(drawn, (None, 2 * _TRIES + 2))
    area = height * width * (scale[0] + (scale[1] - scale[0]) * drawn[:, 0 : 2 * _TRIES : 2])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    tried = jnp.exp(low + (high - low) * drawn[:, 1 : 2 * _TRIES : 2])
    sides = jnp.round(jnp.sqrt(jnp.stack([area * tried, area / tried])))  # [2, B, tries]
    room = jnp.array([width, height], jnp.float32)
    fits = jnp.all((sides > 0) & (sides <= room[:, None, None]), axis=0)
    first = jnp.argmax(fits, axis=1)  # 0 where none fits.
    chosen = jnp.take_along_axis(sides, first[None, :, None], axis=2)[..., 0]
    found = jnp.any(fits, axis=1)[None]

    middle = (width, height)
    if width < ratio[0] * height:
        middle = (width, round(width / ratio[0]))
    elif width > ratio[1] * height:
        middle = (round(height * ratio[1]), height)
    chosen = jnp.where(found, chosen, jnp.array(middle, jnp.float32)[:, None])
    left = room[:, None] - chosen
    place = jnp.where(found, jnp.floor(drawn[:, 2 * _TRIES :].T * (left + 1)), jnp.floor(left / 2))
    return jnp.concatenate([place, place + chosen]).T


def crop(images: Array, boxes: Array, flip: Array, size: int) -> Array:
    """Returns the planes of a box of each image, resized: antialiased, bilinear.

    What Pillow's `resize(box=..., resample=BILINEAR)` computes of float images: a triangular filter
    as wide as the reduction, normalised. At the edge of a box it reaches into the image around
    (torchvision cuts first and ends there).

    Args:
      images: [B, H, W, 3] float32 in [0, 1].
      boxes: [B, 4] float32, left, top, right, bottom in pixels, not empty and within the image.
      flip: [B] bool, whether to exchange left and right.
      size: side of the result, pixels.

    Returns:
      [B, 3, size, size] float32 in [0, 1].
    """
    chex.assert_rank([images, boxes, flip], [4, 2, 1])
    left, top, right, bottom = boxes.T
    across = _resampling(left, right, images.shape[2], size)
    across = jnp.where(flip[:, None, None], across[:, ::-1], across)
    down = _resampling(top, bottom, images.shape[1], size)
    columns = jnp.einsum('byh,bhwc->bcyw', down, images, precision=_PRECISE)
    planes = jnp.einsum('bcyw,bxw->bcyx', columns, across, precision=_PRECISE)
    return jnp.clip(planes, 0.0, 1.0)


def _resampling(low: Array, high: Array, length: int, size: int) -> Array:
    """Weights [B, size, length] of the pixels of a line in those of its part from low to high."""
    scale = (high - low) / size
    centre = low[:, None] + (jnp.arange(size, dtype=jnp.float32)[None] + 0.5) * scale[:, None]
    pixel = jnp.arange(length, dtype=jnp.float32) + 0.5
    distance = jnp.abs(pixel[None, None] - centre[..., None])
    weights = jnp.maximum(1 - distance / jnp.maximum(scale, 1)[:, None, None], 0.0)
    return weights / weights.sum(axis=2, keepdims=True)


def _whole(batch: int, height: int, width: int) -> Array:
    return jnp.tile(jnp.array([[0, 0, width, height]], jnp.float32), (batch, 1))


# --- colour ---------------------------------------------------------------------------------------


def luma(planes: Array) -> Array:
    """Returns the luma [B, H, W] of planes [B, 3, H, W] by ITU-R BT.601."""
    red, green, blue = _LUMA
    return red * planes[:, 0] + green * planes[:, 1] + blue * planes[:, 2]


def _timelines() -> np.ndarray:
    """For each order of the four operations of `jitter`, what happens at six times: three before
    the turn of the hue and three after it; a 3 (the hue's own number) is nothing."""
    rows = np.full((24, 6), _HUE)
    for row, order in zip(rows, itertools.permutations(range(4)), strict=True):
        place = order.index(_HUE)
        row[3 - place : 3] = order[:place]
        row[3 : 6 - place] = order[place + 1 :]
    return rows


_TIMELINES = _timelines()


def jitter(planes: Array, factors: Array, order: Array) -> Array:
    """Returns planes [B, 3, H, W] with another brightness, contrast, saturation and hue.

    With factor f, x becomes f x + (1 - f) r, clipped to [0, 1] each time; r is 0 for brightness,
    the image's mean luma for contrast, the pixel's luma for saturation (torchvision's `ColorJitter`
    on floats; dm_pix adds to brightness, takes contrast about each channel's mean, and saturation
    in HSV). The hue turns in HSV.

    The turn of the hue is the expensive one, and which operation comes when differs by example. So
    it happens once, at a time common to all, and each example has its other three in order at some
    of six times around it, three before and three after.

    Args:
      planes: in [0, 1].
      factors: [B, 4] float32, of brightness, contrast and saturation (at least 0), and the turn of
        the hue (1 is a full one).
      order: [B] int32 in [0, 24), which of `itertools.permutations(range(4))` of those columns.
    """
    chex.assert_rank([planes, factors, order], [4, 2, 1])
    operation = jnp.asarray(_TIMELINES)[order]  # [B, 6]
    nothing = jnp.ones_like(factors[:, :1])
    turn = factors[:, _HUE, None, None]
    factors = jnp.concatenate([factors[:, :_HUE], nothing], axis=1)
    factor = jnp.take_along_axis(factors, operation, axis=1)
    of_mean = jnp.where(operation == _CONTRAST, 1 - factor, 0.0)
    of_pixel = jnp.where(operation == _SATURATION, 1 - factor, 0.0)
    times = jnp.stack([factor, of_mean, of_pixel]).transpose(2, 0, 1)[..., None, None]

    def at(planes: Array, time: Array) -> tuple[Array, None]:
        factor, of_mean, of_pixel = time  # [B, 1, 1] each.
        grey = luma(planes)
        shift = of_mean * jnp.mean(grey, axis=(1, 2), keepdims=True) + of_pixel * grey
        return jnp.clip(factor[:, None] * planes + shift[:, None], 0.0, 1.0), None

    planes, _ = jax.lax.scan(at, planes, times[:3])
    with jax.numpy_dtype_promotion('standard'):  # dm_pix adds a bool to a float.
        planes = dm_pix.adjust_hue(planes, turn, channel_axis=1)
    planes, _ = jax.lax.scan(at, planes, times[3:])
    return planes


def _factors(drawn: Array, strengths: tuple[float, ...], chosen: Array) -> Array:
    """Factors [B, 4] of `jitter` from `drawn` [B, 4] in [0, 1); without effect if not chosen."""
    *scaled, hue = strengths
    low = jnp.array([max(0.0, 1 - strength) for strength in scaled] + [-hue], jnp.float32)
    high = jnp.array([1 + strength for strength in scaled] + [hue], jnp.float32)
    neutral = jnp.array([1, 1, 1, 0], jnp.float32)
    return jnp.where(chosen[:, None], low[None] + (high - low)[None] * drawn, neutral[None])


# --- blur -----------------------------------------------------------------------------------------


def blur(planes: Array, sigma: Array, radius: int) -> Array:
    """Returns planes [B, 3, S, S] in [0, 1], blurred by Gaussians.

    What `scipy.ndimage.gaussian_filter(mode='nearest', radius=radius)` computes; beyond its border,
    as in Pillow's blur, an image goes on as it ends.

    Args:
      planes: squares.
      sigma: [B] float32, standard deviations in pixels; 0 changes nothing.
      radius: where the kernel of every example ends, pixels.
    """
    chex.assert_rank([planes, sigma], [4, 1])
    size = planes.shape[-1]
    chex.assert_axis_dimension(planes, 2, size)
    offset = np.arange(-radius, radius + 1)
    # One width is left at 0, at which all but the middle underflow.
    distance = jnp.asarray(offset, jnp.float32)[None] / jnp.maximum(sigma, 1e-3)[:, None]
    kernel = jnp.exp(-0.5 * distance**2)
    kernel = kernel / kernel.sum(axis=1, keepdims=True)
    source = np.clip(np.arange(size) + offset[:, None], 0, size - 1)  # [2 radius + 1, S]
    reads = np.eye(size, dtype=np.float32)[source]
    weights = jnp.einsum('bk,kyh->byh', kernel, reads, precision=_PRECISE)
    planes = jnp.einsum('bcyw,bxw->bcyx', planes, weights, precision=_PRECISE)
    planes = jnp.einsum('byh,bchx->bcyx', weights, planes, precision=_PRECISE)
    return jnp.clip(planes, 0.0, 1.0)


def fault(settings: Augmentation) -> tuple[str, str] | None:
    """The name of the first setting that describes no view, with what it must be; None: all do."""

    def ordered(values: Any, least: float, most: float = math.inf, open_: bool = False) -> bool:
        """Whether it is a range within [least, most], or above `least`."""
        good = _are_numbers(values, 2) and least <= values[0] <= values[1] <= most
        return good and not (open_ and values[0] == least)

    for name in ('flip', 'jitter_rate', 'greyscale', 'blur'):
        if not 0 <= getattr(settings, name) <= 1:
            return name, 'must be a probability, 0 to 1'
    if settings.crop_scale is not None and not ordered(settings.crop_scale, 0, 1, open_=True):
        return 'crop_scale', 'must be a range of two shares above 0, up to 1'
    if not ordered(settings.crop_ratio, 0, open_=True):
        return 'crop_ratio', 'must be a range of two ratios above 0'
    if not ordered(settings.blur_sigma, 0):
        return 'blur_sigma', 'must be a range of two numbers of pixels, from 0 up'
    strengths = settings.jitter
    if not (_are_numbers(strengths, 4) and min(strengths) >= 0 and strengths[3] <= 0.5):
        return 'jitter', 'must be four strengths from 0 up, the last (hue) at most 0.5'
    return None


def _are_numbers(values: Any, count: int) -> bool:
    numbers = isinstance(values, tuple) and all(type(x) in (int, float) for x in values)
    return numbers and len(values) == count and all(map(math.isfinite, values))
