"""Augmentation: operations are those of Pillow, colorsys and SciPy, and draws are as stated."""

import colorsys
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from PIL import Image, ImageEnhance

from emcom_jax.data import augmentation
from emcom_jax.data.augmentation import Augmentation

RECIPE = Augmentation()
NOTHING = Augmentation(crop_scale=None, flip=0, jitter_rate=0, greyscale=0, blur=0)
ORDERS = list(itertools.permutations(range(4)))
MANY = 2400  # Keys: 100 for each order of the jitter.

crop = jax.jit(augmentation.crop, static_argnums=3)
jitter = jax.jit(augmentation.jitter)
blur = jax.jit(augmentation.blur, static_argnums=2)
crop_boxes = jax.jit(augmentation.crop_boxes, static_argnums=(1, 2, 3, 4))


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion('strict'):
        yield


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def planes_of(images):
    return np.moveaxis(images, -1, 1)


def make_keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


# --- references -----------------------------------------------------------------------------------


def pillow_resize(image, box, size):
    """An image [H, W, 3] by Pillow, in its mode of floats: [size, size, 3]."""
    channels = [
        Image.fromarray(np.ascontiguousarray(channel)).resize(
            (size, size), Image.Resampling.BILINEAR, box=tuple(map(float, box))
        )
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def turn_hue(image, turn):
    """An image [..., 3] by the standard library, pixel by pixel."""

    def turned(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)

    return np.apply_along_axis(turned, -1, image.astype(np.float64))


def jittered(image, factors, order):
    """The definition, one operation after the other, in float64; a test ties each to Pillow."""
    weights = np.array([0.299, 0.587, 0.114])
    for operation in order:
        factor = factors[operation]
        grey = (image @ weights)[..., None]
        if operation == 3:
            image = turn_hue(image, factor)
        else:
            reference = (0, grey.mean(), grey)[operation]
            image = np.clip(factor * image + (1 - factor) * reference, 0, 1)
    return image


def random_resized_crop(tries, place, scale, ratio, height, width):
    """torchvision's documented procedure, with the given numbers of U(0, 1) instead of draws."""
    for share, shape in tries.astype(np.float64):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
        low, high = map(math.log, ratio)
        aspect = math.exp(low + (high - low) * shape)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(place[0] * (width - w + 1)), int(place[1] * (height - h + 1))
            return left, top, left + w, top + h
    if width / height < ratio[0]:
        w, h = width, round(width / ratio[0])
    elif width / height > ratio[1]:
        w, h = round(height * ratio[1]), height
    else:
        w, h = width, height
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def scipy_blur(image, sigma, radius):
    sigmas = (sigma, sigma, 0)
    return scipy.ndimage.gaussian_filter(
        image.astype(np.float64), sigmas, mode='nearest', radius=(radius, radius, 0)
    )


# --- crop -----------------------------------------------------------------------------------------

BOXES = (
    (0, 0, 17, 13),  # The whole image.
    (5, 7, 6, 8),  # One pixel,
    (0, 0, 1, 1),  # in the corner
    (16, 12, 17, 13),  # and in the other.
    (3, 0, 4, 13),  # One column.
    (2, 4, 14, 9),
    (0.25, 1.5, 11.75, 12.875),  # Parts of pixels.
)


@pytest.mark.parametrize('size', [1, 5, 17, 24])
def test_crop_is_that_of_pillow(size):
    images = random_images(len(BOXES), 13, 17, 3)
    boxes = jnp.array(BOXES, jnp.float32)
    flip = jnp.arange(len(BOXES)) % 2 == 1
    planes = crop(images, boxes, flip, size)
    for i, box in enumerate(BOXES):
        expected = pillow_resize(images[i], box, size)
        expected = expected[:, ::-1] if i % 2 else expected
        np.testing.assert_allclose(np.moveaxis(planes[i], 0, -1), expected, atol=2e-6, rtol=0)


def test_resize_is_that_of_pillow_and_none_at_the_same_size():
    images = random_images(2, 13, 17, 3)
    resized = augmentation.resize(images, 6)
    assert resized.shape == (2, 6, 6, 3) and resized.dtype == jnp.float32
    for before, after in zip(images, resized, strict=True):
        np.testing.assert_allclose(
            after, pillow_resize(before, (0, 0, 17, 13), 6), atol=2e-6, rtol=0
        )
    square = random_images(2, 6, 6, 3)
    np.testing.assert_array_equal(augmentation.resize(square, 6), square)


@pytest.mark.parametrize(
    'height, width, scale, ratio',
    [
        (32, 32, RECIPE.crop_scale, RECIPE.crop_ratio),
        (30, 200, RECIPE.crop_scale, RECIPE.crop_ratio),  # Most tries do not fit,
        (200, 30, RECIPE.crop_scale, RECIPE.crop_ratio),
        (10, 99, (1.0, 1.0), RECIPE.crop_ratio),  # or none does: too wide,
        (99, 10, (1.0, 1.0), RECIPE.crop_ratio),  # too high,
        (32, 33, (1.0, 1.0), (0.5, 0.6)),
        (33, 32, (0.9, 1.0), (2.0, 5.0)),
        (20, 20, (1.0, 1.0), (0.5, 2.0)),  # and a square, with any ratio but its own.
        (4, 4, (1e-4, 0.01), (1.0, 1.0)),  # Of no pixel.
        (32, 32, (0.01, 0.01), (1 / 50, 50.0)),
        (1, 1, RECIPE.crop_scale, RECIPE.crop_ratio),
    ],
)
def test_boxes_are_those_of_torchvision(height, width, scale, ratio):
    drawn = random_images(300, 22)
    boxes = np.asarray(crop_boxes(drawn, scale, ratio, height, width))
    expected = [
        random_resized_crop(row[:20].reshape(10, 2), row[20:], scale, ratio, height, width)
        for row in drawn
    ]
    np.testing.assert_array_equal(boxes, expected)


# --- colour ---------------------------------------------------------------------------------------


def test_luma_is_that_of_pillow():
    image = (255 * random_images(9, 9, 3)).astype(np.uint8)
    grey = np.asarray(Image.fromarray(image).convert('L')) / 255
    planes = planes_of(image[None] / np.float32(255))
    np.testing.assert_allclose(augmentation.luma(jnp.asarray(planes))[0], grey, atol=0.6 / 255)
    greys = np.broadcast_to(random_images(1, 1, 4, 4), (1, 3, 4, 4))
    np.testing.assert_allclose(augmentation.luma(jnp.asarray(greys)), greys[:, 0], atol=1e-7)


@pytest.mark.parametrize('factor', [0, 0.3, 1, 1.7, 2.5, 5])
@pytest.mark.parametrize('operation', range(3))
def test_factors_mean_what_they_mean_in_pillow(operation, factor):
    enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[operation]
    image = (255 * random_images(4, 4, 3)).astype(np.uint8)
    expected = np.asarray(enhance(Image.fromarray(image)).enhance(factor)) / 255
    factors = [1.0, 1.0, 1.0, 0.0]
    factors[operation] = factor
    actual = jittered(image / 255, factors, range(4))
    # Pillow rounds the luma, or its mean, by half a level and cuts the result to a whole one.
    tolerance = (1 + 0.6 * abs(factor - 1)) / 255
    np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    'factors',
    [
        (1.4, 0.3, 1.7, 0.15),
        (0.6, 1.8, 0.2, -0.2),
        (2.5, 3.0, 4.0, 0.5),  # Beyond the recipe: most is clipped.
        (1.2, 2.2, 0.0, 0.3),
        (1.2, 0.0, 2.0, 0.3),
        (0.0, 1.5, 1.5, 0.1),
        (1.0, 1.0, 1.0, 0.1),
        (1.0, 1.0, 1.0, 0.0),
    ],
)
def test_jitter_in_every_order(factors):
    images = 0.1 + 0.8 * random_images(len(ORDERS), 4, 4, 3)
    images[:, 0] = images[:, 0, :, :1]  # Greys,
    images[:, 1, 0] = 0  # black
    images[:, 1, 1] = 1  # and white,
    images[:, 1, 2:, 1] = images[:, 1, 2:, 0]  # and two channels alike.
    given = jnp.tile(jnp.array([factors], jnp.float32), (len(ORDERS), 1))
    planes = jitter(planes_of(images), given, jnp.arange(len(ORDERS)))
    for i, order in enumerate(ORDERS):
        expected = planes_of(jittered(images[i].astype(np.float64), factors, order)[None])[0]
        np.testing.assert_allclose(planes[i], expected, atol=1e-5, rtol=0, err_msg=str(order))


def test_the_order_of_the_jitter_matters():
    images = np.broadcast_to(random_images(1, 4, 4, 3), (24, 4, 4, 3))
    given = jnp.tile(jnp.array([[1.4, 1.8, 0.3, 0.15]], jnp.float32), (24, 1))
    planes = np.asarray(jitter(planes_of(images), given, jnp.arange(24)))
    assert len(np.unique(planes.reshape(24, -1).round(4), axis=0)) > 12


def test_black_stays_black_and_greys_have_no_hue():
    black = np.zeros((24, 3, 4, 4), np.float32)
    given = jnp.tile(jnp.array([[1.4, 1.8, 1.7, 0.15]], jnp.float32), (24, 1))
    np.testing.assert_array_equal(jitter(black, given, jnp.arange(24)), 0)
    greys = np.broadcast_to(random_images(24, 1, 4, 4), (24, 3, 4, 4))
    given = jnp.tile(jnp.array([[1.0, 1.0, 3.0, 0.3]], jnp.float32), (24, 1))
    np.testing.assert_allclose(jitter(greys, given, jnp.arange(24)), greys, atol=1e-6)


# --- blur -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('radius', [0, 3, 8, 20])
def test_blur_is_that_of_scipy(radius):
    sigmas = (0.0, 0.1, 0.5, 1.3, 2.0, 7.0)
    images = random_images(len(sigmas), 9, 9, 3)
    planes = blur(planes_of(images), jnp.array(sigmas, jnp.float32), radius)
    np.testing.assert_array_equal(planes[0], planes_of(images)[0])
    for i, sigma in enumerate(sigmas[1:], 1):
        expected = scipy_blur(images[i], sigma, radius)
        np.testing.assert_allclose(planes[i], planes_of(expected[None])[0], atol=1e-6, rtol=0)


# --- views ----------------------------------------------------------------------------------------


class Draws(NamedTuple):
    """What `augment` handed to its operations, by example."""

    boxes: np.ndarray
    flip: np.ndarray
    factors: np.ndarray
    order: np.ndarray
    sigma: np.ndarray
    radius: int
    views: np.ndarray


def draws_of(keys, images, settings, size):
    """Runs `augment` uncompiled, with ears at its operations."""
    heard = {}
    names = {'crop': ('boxes', 'flip'), 'jitter': ('factors', 'order'), 'blur': ('sigma', 'radius')}

    def listening(operation, arguments):
        def listen(planes, *given):
            heard.update(zip(arguments, given, strict=False))
            return operation(planes, *given)

        return listen

    with pytest.MonkeyPatch.context() as patch:
        for name, arguments in names.items():
            patch.setattr(augmentation, name, listening(globals()[name], arguments))
        views = augmentation.augment.__wrapped__(keys, images, settings, size)
    radius = heard.pop('radius')
    return Draws(
        **{name: np.asarray(value) for name, value in heard.items()},
        radius=radius,
        views=np.asarray(views),
    )


@pytest.fixture(scope='module')
def many():
    """Draws of the recipe for many keys."""
    images = np.broadcast_to(random_images(1, 32, 32, 3), (MANY, 32, 32, 3))
    return draws_of(make_keys(MANY), images, RECIPE, 4)


def test_a_view_is_its_operations_one_after_the_other():
    images = random_images(24, 12, 10, 3)
    drawn = draws_of(make_keys(24), images, RECIPE, 8)
    greys = 0
    for i, image in enumerate(images):
        view = pillow_resize(image, drawn.boxes[i], 8)
        view = view[:, ::-1] if drawn.flip[i] else view
        view = jittered(view.astype(np.float64), drawn.factors[i], ORDERS[drawn.order[i]])
        if np.ptp(drawn.views[i], axis=-1).max() < 1e-6:
            greys += 1
            view = np.repeat((view @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1)
        if drawn.sigma[i]:
            view = scipy_blur(view, drawn.sigma[i], drawn.radius)
        np.testing.assert_allclose(drawn.views[i], view, atol=2e-5, rtol=0)
    assert 0 < greys < 24 and 0 < np.sum(drawn.sigma > 0) < 24 and drawn.radius == 8


def uniform(values, low, high):
    """Whether values are draws of U(low, high), by Kolmogorov and Smirnov."""
    return scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-4


def at_rate(events, rate):
    """Whether events happen at a rate, within 4 standard deviations."""
    return abs(np.mean(events) - rate) < 4 * math.sqrt(rate * (1 - rate) / len(events))


def test_rates_are_those_of_the_recipe(many):
    changed = np.any(many.factors != [1, 1, 1, 0], axis=1)
    grey = np.ptp(many.views, axis=-1).max((1, 2)) < 1e-6
    grey &= many.factors[:, 2] > 0.3  # Not by a low saturation.
    assert at_rate(many.flip, 0.5)
    assert at_rate(changed, 0.8)
    assert at_rate(grey[many.factors[:, 2] > 0.3], 0.2)
    assert at_rate(many.sigma > 0, 0.5)
    events = np.stack([many.flip, changed, grey, many.sigma > 0]).astype(float)
    together = np.corrcoef(events)[np.triu_indices(4, 1)]
    assert np.abs(together).max() < 4 / math.sqrt(MANY)


def test_strengths_and_orders_are_uniform(many):
    changed = many.factors[np.any(many.factors != [1, 1, 1, 0], axis=1)]
    for column, (low, high) in enumerate([(0.2, 1.8)] * 3 + [(-0.2, 0.2)]):
        assert uniform(changed[:, column], low, high)
    between = np.corrcoef(changed.T)[np.triu_indices(4, 1)]
    assert np.abs(between).max() < 4 / math.sqrt(len(changed))
    assert uniform(many.sigma[many.sigma > 0], 0.1, 2.0)
    counts = np.bincount(many.order, minlength=24)
    assert len(counts) == 24 and scipy.stats.chisquare(counts).pvalue > 1e-4


def test_crops_have_the_scale_ratio_and_place_of_the_procedure(many):
    def described(boxes):
        left, top, right, bottom = np.asarray(boxes, np.float64).T
        width, height = right - left, bottom - top
        return {
            'share': width * height / 32**2,
            'ratio': np.log(width / height),
            'left': left / np.maximum(32 - width, 1),
            'top': top / np.maximum(32 - height, 1),
        }

    rng = np.random.default_rng(1)
    reference = described(
        [
            random_resized_crop(rng.random((10, 2)), rng.random(2), *RECIPE[:2], 32, 32)
            for _ in range(MANY)
        ]
    )
    crops = described(many.boxes)
    for name, values in crops.items():
        test = scipy.stats.ks_2samp(values, reference[name])
        assert test.pvalue > 1e-4, name
    assert 0.07 < crops['share'].min() < 0.1 and 0.9 < crops['share'].max() <= 1
    assert many.boxes.min() >= 0 and many.boxes.max() <= 32


def test_strength_above_one_takes_factors_from_zero():
    settings = NOTHING._replace(jitter_rate=1.0, jitter=(3.0, 0.0, 0.0, 0.0))
    white_tenth = np.full((200, 2, 2, 3), 0.1, np.float32)
    views = augmentation.augment(make_keys(200), white_tenth, settings, 2)
    assert uniform(np.asarray(views)[:, 0, 0, 0] / 0.1, 0.0, 4.0)


SETTINGS = {
    'recipe': RECIPE,
    'all, always': Augmentation(flip=1, jitter_rate=1, greyscale=1, blur=1),
    'strong': Augmentation(jitter=(5.0, 5.0, 5.0, 0.5), jitter_rate=1.0, blur_sigma=(3.0, 9.0)),
    'nothing': NOTHING,
}


@pytest.mark.parametrize('name', SETTINGS)
def test_views_are_images(name):
    images = random_images(8, 7, 9, 3)
    images[0], images[1], images[2] = 0, 1, images[2].round()
    views = np.asarray(augmentation.augment(make_keys(8), images, SETTINGS[name], 6))
    assert views.shape == (8, 6, 6, 3) and views.dtype == np.float32
    assert np.isfinite(views).all() and 0 <= views.min() and views.max() <= 1


def test_nothing_is_a_resize():
    images = random_images(8, 7, 9, 3)
    views = augmentation.augment(make_keys(8), images, NOTHING, 6)
    np.testing.assert_array_equal(views, augmentation.resize(images, 6))


def test_a_view_depends_on_its_own_key_and_image_only():
    images = random_images(8, 7, 9, 3)
    keys = make_keys(8)
    views = augmentation.augment(keys, images, RECIPE, 6)
    np.testing.assert_array_equal(views, augmentation.augment(keys, images, RECIPE, 6))
    order = np.array([3, 1, 7, 0, 2, 6, 5, 4])
    np.testing.assert_allclose(
        augmentation.augment(keys[order], images[order], RECIPE, 6), views[order], atol=1e-6
    )
    halves = [augmentation.augment(keys[i : i + 4], images[i : i + 4], RECIPE, 6) for i in (0, 4)]
    np.testing.assert_allclose(np.concatenate(halves), views, atol=1e-6)
    others = augmentation.augment(make_keys(8, seed=1), images, RECIPE, 6)
    assert np.abs(others - views).max((1, 2, 3)).min() > 1e-3
    one = augmentation.augment(keys, np.broadcast_to(images[:1], images.shape), RECIPE, 6)
    assert len(np.unique(np.asarray(one).reshape(8, -1).round(5), axis=0)) == 8


def test_what_is_left_out_does_not_change_the_rest(many):
    settings = RECIPE._replace(crop_scale=None, jitter=(0.8, 0.0, 0.0, 0.0), greyscale=0)
    images = np.zeros((MANY, 2, 2, 3), np.float32)
    drawn = draws_of(make_keys(MANY), images, settings, 2)
    np.testing.assert_array_equal(drawn.flip, many.flip)
    np.testing.assert_array_equal(drawn.sigma, many.sigma)
    np.testing.assert_array_equal(drawn.order, many.order)
    np.testing.assert_array_equal(drawn.factors[:, 0], many.factors[:, 0])


def test_gradients_are_finite_also_of_greys():
    images = random_images(8, 7, 9, 3)
    images[0], images[1], images[2] = 0, 1, images[2, :, :, :1]
    weights = random_images(8, 6, 6, 3, seed=1)

    def value(images):
        return jnp.sum(weights * augmentation.augment(make_keys(8), images, RECIPE, 6))

    gradient = np.asarray(jax.grad(value)(jnp.asarray(images)))
    assert np.isfinite(gradient).all() and np.abs(gradient[3:]).max((1, 2, 3)).min() > 0


def test_normalize():
    images = random_images(2, 3, 4, 3)
    plain = augmentation.normalize(images, *augmentation.PLAIN)
    np.testing.assert_allclose(plain, 2 * images - 1, atol=1e-6)
    for channel, (mean, std) in enumerate(
        [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]  # As published with ImageNet's networks.
    ):
        normal = augmentation.normalize(images[0], *augmentation.IMAGENET)
        np.testing.assert_allclose(
            normal[..., channel], (images[0, ..., channel] - mean) / std, atol=1e-6
        )


@pytest.mark.parametrize(
    'wrong',
    [
        {'flip': 1.5},
        {'jitter_rate': -0.1},
        {'greyscale': float('nan')},
        {'blur': 2},
        {'crop_scale': (0.0, 1.0)},
        {'crop_scale': (0.5, 0.2)},
        {'crop_scale': (0.5, 1.2)},
        {'crop_ratio': (0.0, 1.0)},
        {'crop_ratio': (2.0, 1.0)},
        {'blur_sigma': (-1.0, 1.0)},
        {'blur_sigma': (2.0, 1.0)},
        {'jitter': (0.8, 0.8, 0.8, 0.6)},
        {'jitter': (-0.1, 0.8, 0.8, 0.2)},
        {'jitter': (0.8, 0.8, 0.2)},
        {'crop_scale': (0.5,)},
        {'blur_sigma': (0.1, float('nan'))},
    ],
)
def test_wrong_settings_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f'{name}=.* must be'):
        augmentation.augment(make_keys(1), random_images(1, 4, 4, 3), RECIPE._replace(**wrong), 4)
