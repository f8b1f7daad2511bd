"""Trunks: shapes, batch norm, precision."""

import functools
from pathlib import Path

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from ml_collections import ConfigDict

from emcom_jax.agents.normalization import BatchNorm
from emcom_jax.agents.vision import TRUNKS, VGG16, make_trunk

SIZES = {name: 8 for name in TRUNKS} | {'resnet50': 32, 'resnet101': 32}  # D over the width.
BLOCKS = {'resnet10': 4, 'resnet18': 8, 'resnet34': 16, 'resnet50': 16, 'resnet101': 33}
SHAPE = (4, 16, 16, 3)


def trunk(axis_name=None, **changes):
    """(images, is_training) -> Features of a tiny ResNet, or what `changes` of its config say."""
    small = {'name': 'resnet10', 'width': 4, 'stem': 'small', 'max_pool': False}
    config = ConfigDict(small | {'zero_init': False, 'precision': 'float32'} | changes)
    return hk.transform_with_state(lambda *args: make_trunk(config, axis_name)(*args))


def images(shape=SHAPE):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def started(function, *args):
    return jax.jit(function.init, static_argnums=2)(jax.random.key(0), *args)


def shapes_of(function, shape):
    """Of the features of images [B, H, W, 3], and of parameters and states."""
    inputs = jax.ShapeDtypeStruct(shape, jnp.float32)
    trees = jax.eval_shape(lambda x: function.init(jax.random.key(0), x, True), inputs)
    features, state = jax.eval_shape(
        lambda p, s, x: function.apply(p, s, None, x, True), *trees, inputs
    )
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, trees[1])
    return features, trees


# --- shapes and cost ------------------------------------------------------------------------------


@pytest.mark.parametrize('precision', ['float32', 'bf16'])
@pytest.mark.parametrize('name', TRUNKS)
def test_features_are_as_promised(name, precision):
    features, trees = shapes_of(trunk(name=name, precision=precision), (2, 33, 40, 3))
    assert features.pooled.shape == (2, 4 * SIZES[name])
    assert len(features.maps) == BLOCKS.get(name, {'vgg16': 13, 'small_cnn': 4}.get(name))
    last = list(features.maps.values())[-1]
    side = {'vgg16': (2, 2), 'small_cnn': (3, 3)}.get(name, (5, 5))
    assert last.shape == (2, *side, 4 * SIZES[name])
    assert {leaf.dtype for leaf in jax.tree.leaves((features, trees))} == {jnp.dtype('float32')}


@pytest.mark.parametrize(
    'stem, max_pool, side',
    [('imagenet', True, 10), ('imagenet', False, 20), ('small', True, 20), ('small', False, 39)],
)
def test_the_stem_sets_the_scale(stem, max_pool, side):
    function = trunk(name='resnet34', stem=stem, max_pool=max_pool)
    maps = shapes_of(function, (1, 39, 39, 3))[0].maps
    assert maps['layer1_0'].shape == (1, side, side, 4)
    assert list(maps)[-1] == 'layer4_2'
    assert maps['layer4_2'].shape == (1, -(-side // 8), -(-side // 8), 32)


def test_a_small_resnet_is_cheap():
    function, shape = trunk(name='resnet18', width=16), (1, 32, 32, 3)
    trees = shapes_of(function, shape)[1]
    forward = jax.jit(
        lambda *trees_and_x: function.apply(*trees_and_x[:2], None, trees_and_x[2], False)
    )
    cost = forward.lower(*trees, jax.ShapeDtypeStruct(shape, jnp.float32)).cost_analysis()
    assert 0.05e9 < cost['flops'] < 0.1e9


def test_vgg_stops_where_asked():
    function = hk.transform(lambda x: VGG16(width=2, last='relu3_3')(x))
    params = jax.eval_shape(lambda: function.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3))))
    features = jax.eval_shape(lambda p: function.apply(p, None, jnp.zeros((1, 4, 4, 3))), params)
    relus = ['relu1_1', 'relu1_2', 'relu2_1', 'relu2_2', 'relu3_1', 'relu3_2', 'relu3_3']
    assert list(features.maps) == relus
    assert len(params) == 7
    assert features.pooled.shape == (1, 8)


@pytest.mark.parametrize(
    'changes, side, sentence',
    [
        ({'name': 'resnet19'}, 32, "unknown trunk 'resnet19'; did you mean 'resnet1"),
        ({'stem': 'smal'}, 32, "unknown stem 'smal'; did you mean 'small'"),
        ({'precision': 'f16'}, 32, "unknown precision 'f16'"),
        ({'name': 'vgg16'}, 15, 'VGG16 up to relu5_3 needs images of 16 x 16, not 15 x 15'),
    ],
)
def test_what_cannot_be_is_refused(changes, side, sentence):
    with pytest.raises(ValueError, match=sentence):
        shapes_of(trunk(**changes), (2, side, side, 3))


@pytest.mark.parametrize('side', [1, 4, 5])  # Of which a convolution makes 1, 2 and 3.
def test_convolutions_are_those_of_scipy_at_every_size(side):
    function, x = trunk(name='small_cnn', width=2), images((2, side, side, 3))
    params, state = started(function, x, True)
    see = jax.jit(lambda p, s, x: function.apply(p, s, None, x, False)[0].maps['layer1'])
    kernel = np.asarray(params['trunk/conv1']['w'])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = [
        [scipy.signal.correlate(image, kernel[..., k], 'valid')[::2, ::2, 0] for k in range(2)]
        for image in padded
    ]
    scaled = np.moveaxis(expected, 1, -1) / np.sqrt(1 + 1e-5)  # By a new batch norm.
    np.testing.assert_allclose(see(params, state, x), np.maximum(scaled, 0), atol=1e-5)


# --- learning -------------------------------------------------------------------------------------


def step(function, trees, images):
    """Features, new state, and gradient of the mean square of the features."""
    params, state = trees

    def loss(params):
        features, new_state = function.apply(params, state, None, images, True)
        return jnp.mean(features.pooled**2), (features.pooled, new_state)

    gradient, (pooled, new_state) = jax.grad(loss, has_aux=True)(params)
    return pooled, new_state, gradient


@functools.cache
def stepped(name):
    """What a trunk starts as, and its first step on one device."""
    trees = started(trunk(name=name), images(), True)
    return trees, jax.jit(functools.partial(step, trunk(name=name)))(trees, images())


@pytest.mark.parametrize('name', ['resnet10', 'vgg16', 'small_cnn'])
def test_everything_learns(name):
    for leaf in jax.tree.leaves(stepped(name)[1][2]):
        assert np.isfinite(leaf).all()
        assert np.any(leaf != 0)


def test_two_devices_are_one_with_the_doubled_batch():
    trees, (pooled, state, gradient) = stepped('resnet10')
    one_device = functools.partial(step, trunk(axis_name='i'), trees)
    halves = images().reshape(2, -1, *SHAPE[1:])
    on_two = jax.jit(jax.vmap(one_device, axis_name='i'))(halves)
    np.testing.assert_allclose(on_two[0].reshape(pooled.shape), pooled, rtol=1e-4, atol=1e-5)
    for device in range(2):
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, d=device: leaf[d], on_two[1]), state, rtol=1e-4, atol=1e-5
        )
    mean = jax.tree.map(lambda leaf: leaf.mean(0), on_two[2])
    chex.assert_trees_all_close(mean, gradient, rtol=1e-3, atol=1e-4)


def test_residual_blocks_can_start_as_the_identity():
    function, shape = trunk(name='resnet18', width=2, zero_init=True), (1, 4, 4, 3)
    params, state = started(function, images(shape), False)
    apply = jax.jit(
        lambda params: function.apply(params, state, None, images(shape), False)[0].maps
    )
    maps = apply(params)
    np.testing.assert_array_equal(maps['layer1_1'], maps['layer1_0'])
    params['trunk/layer1_1/bn2']['scale'] += 1  # As without the option.
    maps = apply(params)
    assert np.any(maps['layer1_1'] != maps['layer1_0'])


@pytest.fixture(scope='module')
def tiny():
    """A tiny ResNet whose running averages have moved: (params, state, applied(..., training))."""
    function, (params, state) = trunk(), stepped('resnet10')[0]
    apply = jax.jit(function.apply, static_argnums=4)
    for _ in range(3):
        _, state = apply(params, state, None, 2 * images() + 1, True)
    return params, state, apply


def test_evaluation_sees_each_image_alone(tiny):
    params, state, apply = tiny
    others = images().at[1:].mul(-3.0)
    together, after = apply(params, state, None, images(), False)
    with_others, _ = apply(params, state, None, others, False)
    np.testing.assert_array_equal(together.pooled[0], with_others.pooled[0])
    assert np.any(together.pooled[1] != with_others.pooled[1])
    chex.assert_trees_all_equal(after, state)  # Nothing moves.
    in_training, _ = apply(params, state, None, others, True)
    assert np.any(in_training.pooled[0] != apply(params, state, None, images(), True)[0].pooled[0])


def test_half_precision_is_close(tiny):
    params, state, apply = tiny
    half = jax.jit(trunk(precision='bf16').apply, static_argnums=4)
    for is_training in (True, False):
        exact, moved = apply(params, state, None, images(), is_training)
        close, also_moved = half(params, state, None, images(), is_training)
        assert np.any(close.pooled != exact.pooled)
        np.testing.assert_allclose(close.pooled, exact.pooled, atol=0.05 * exact.pooled.max())
        chex.assert_trees_all_close(also_moved, moved, atol=0.02)


# --- batch norm -----------------------------------------------------------------------------------


def test_batch_norm_is_that_of_torch():
    golden = np.load(Path(__file__).parent / 'golden' / 'batch_norm.npz')
    params = {'batch_norm': {'scale': golden['weight'], 'offset': golden['bias']}}
    with jax.enable_x64(True):
        norm = hk.transform_with_state(lambda x, training: BatchNorm()(x, training))
        inputs = np.moveaxis(golden['inputs_NCHW'], 2, -1)
        _, state = norm.init(None, inputs[0], True)
        for x, wanted, slope in zip(
            inputs, golden['training_NCHW'], golden['gradient_NCHW'], strict=True
        ):
            before = state

            def cubes(x, before=before):
                y, after = norm.apply(params, before, None, x, True)
                return jnp.sum(y**3), (y, after)

            gradient, (y, state) = jax.grad(cubes, has_aux=True)(x)
            np.testing.assert_allclose(np.moveaxis(y, -1, 1), wanted, rtol=1e-12)
            np.testing.assert_allclose(np.moveaxis(gradient, -1, 1), slope, rtol=1e-9, atol=1e-12)
        averages = state['batch_norm']
        np.testing.assert_allclose(averages['mean'], golden['running_mean'], rtol=1e-12)
        np.testing.assert_allclose(averages['variance'], golden['running_var'], rtol=1e-12)
        y, _ = norm.apply(params, state, None, inputs[0], False)
        np.testing.assert_allclose(np.moveaxis(y, -1, 1), golden['evaluation_NCHW'], rtol=1e-12)


def test_batch_norm_of_logits():
    norm = hk.transform_with_state(lambda x: BatchNorm()(x, True))
    x = 100 + 0.01 * np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
    y, _ = norm.apply(*norm.init(None, x), None, x)
    # A variance that is small beside the mean is not lost to rounding.
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    np.testing.assert_allclose(y, centred / np.sqrt(centred.var(0) + 1e-5), atol=5e-3)


def test_batch_norm_needs_a_batch():
    norm = hk.transform_with_state(lambda x: BatchNorm(name='norm')(x, True))
    trees = norm.init(None, jnp.ones((1, 5)))
    with pytest.raises(
        ValueError, match=r'norm trains on a single value a channel, shape \(1, 5\)'
    ):
        norm.apply(*trees, None, jnp.ones((1, 5)))
