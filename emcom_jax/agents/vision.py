"""Trunks: networks that see. Images [B, H, W, 3] go in, features come out.

The ResNets (He et al. 2016, with the stride of a bottleneck in its 3x3 convolution) and VGG16
(Simonyan and Zisserman 2015, without batch norm) compute what torchvision's do with the same
weights, which `pretrained` imports: it reads torchvision's names off the paths of the modules here.
A small convolutional network stands in where no weights are to be had.

Any of them is made by `make_trunk` from a config with the keys

    name       a key of TRUNKS
    width      channels of the first stage; the paper's nets have 64
    stem       of a ResNet: 'imagenet' (7x7, stride 2) or 'small' (3x3, stride 1)
    max_pool   of a ResNet: whether the stem ends with a 3x3 max-pool of stride 2. Images of 32
               pixels want stem='small' and max_pool=False
    zero_init  of a ResNet: whether residual blocks start as the identity (Goyal et al. 2017)
    precision  of convolutions: a key of PRECISIONS. Parameters, batch statistics and all outputs
               stay float32
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import jmp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.agents.normalization import BatchNorm
from emcom_jax.config import one_of, require
from emcom_jax.tables import look_up
from emcom_jax.types import Array

PRECISIONS = {'float32': None, 'bf16': jmp.get_policy('p=f32,c=bf16,o=bf16')}
STEMS = {'imagenet': (7, 2), 'small': (3, 1)}  # Size and stride of the first convolution.

# As torchvision starts them: what flows back keeps its variance (He et al. 2015, equation 14).
HE = hk.initializers.VarianceScaling(2.0, 'fan_out', 'normal')


class Features(NamedTuple):
    """What a trunk sees in images. What is not read of it costs nothing in compiled code.

    pooled: [B, D] float32, the last map averaged over its places.
    maps: name -> [B, h, w, channels] float32, in the order of computation. Of a ResNet the output
        of each residual block, 'layer1_0' and so on (the third of the last stage is 'layer4_2'); of
        VGG16 that of each ReLU, 'relu1_1' to 'relu5_3'; of the small network that of each layer.
    """

    pooled: Array
    maps: dict[str, Array]

    @property
    def blocks(self) -> tuple[Array, ...]:
        """The last map of each block: of VGG16 relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3, of a
        ResNet the four stages, of the small network its four layers."""
        last = {name.split('_')[0]: x for name, x in self.maps.items()}
        return tuple(last.values())


class Trunk(Protocol):
    """images: [B, H, W, 3] float32, normalised as the weights want it.

    is_training: whether to normalise by statistics of the batch, and move the running averages
        towards them, or by the running averages; the same to a trunk without batch norm.
    """

    def __call__(self, images: Array, is_training: bool) -> Features: ...


class ResNet(hk.Module):
    """A ResNet up to its global average pool: D = 8 `width`, four times that with bottlenecks."""

    def __init__(
        self,
        depths: Sequence[int],
        bottleneck: bool,
        config: ConfigDict,
        axis_name: str | None = None,
        name: str = 'trunk',
    ):
        """depths: number of residual blocks in each stage. config: see the module's docstring."""
        super().__init__(name=name)
        self._depths, self._bottleneck, self._width = depths, bottleneck, config.width
        self._stem, self._max_pool = look_up(STEMS, config.stem, 'stem'), config.max_pool
        self._zero_init, self._axis_name = config.zero_init, axis_name
        self._precision = look_up(PRECISIONS, config.precision, 'precision')

    def __call__(self, images: Array, is_training: bool) -> Features:
        chex.assert_rank(images, 4)
        with _convolutions_in(self._precision):
            x = _Convolution(self._width, *self._stem, 'conv1')(images)
            x = jax.nn.relu(BatchNorm(self._axis_name, name='bn1')(x, is_training))
            if self._max_pool:
                x = _max_pool(x, 3, 2, 1)
            maps = {}
            for stage, depth in enumerate(self._depths):
                for number in range(depth):
                    block = _Block(
                        self._width * 2**stage,
                        stride=2 if stage and not number else 1,
                        bottleneck=self._bottleneck,
                        zero_init=self._zero_init,
                        axis_name=self._axis_name,
                        name=f'layer{stage + 1}_{number}',
                    )
                    x = maps[block.name] = block(x, is_training)
        return _features(maps)


class _Block(hk.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1."""

    def __init__(
        self,
        channels: int,
        stride: int,
        bottleneck: bool,
        zero_init: bool,
        axis_name: str | None,
        name: str,
    ):
        super().__init__(name=name)
        self._shapes = [(channels, 3, stride), (channels, 3, 1)]
        if bottleneck:
            self._shapes = [(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)]
        self._stride, self._zero_init, self._axis_name = stride, zero_init, axis_name

    def __call__(self, x: Array, is_training: bool) -> Array:
        y, last = x, len(self._shapes)
        for number, shape in enumerate(self._shapes, start=1):
            y = _Convolution(*shape, f'conv{number}')(y)
            zero_init = self._zero_init and number == last
            y = BatchNorm(self._axis_name, zero_init, f'bn{number}')(y, is_training)
            y = jax.nn.relu(y) if number < last else y
        if x.shape != y.shape:
            x = _Convolution(y.shape[-1], 1, self._stride, 'downsample_0')(x)
            x = BatchNorm(self._axis_name, name='downsample_1')(x, is_training)
        return jax.nn.relu(x + y)


class VGG16(hk.Module):
    """The convolutions of VGG16: D = 8 `width`. A map for each ReLU; none of the max-pools'."""

    LAYERS = (2, 2, 3, 3, 3)  # Convolutions between max-pools.

    def __init__(
        self,
        width: int = 64,
        precision: str = 'float32',
        last: str = 'relu5_3',
        name: str = 'trunk',
    ):
        """last: the ReLU to stop after, such as 'relu3_3'."""
        super().__init__(name=name)
        taps = {
            f'relu{stage}_{number}': (stage, number)
            for stage, layers in enumerate(self.LAYERS, start=1)
            for number in range(1, layers + 1)
        }
        look_up(taps, last, 'ReLU of VGG16')
        self._taps = list(taps.items())[: list(taps).index(last) + 1]
        self._width = width
        self._precision = look_up(PRECISIONS, precision, 'precision')

    def __call__(self, images: Array, is_training: bool = False) -> Features:
        """Raises ValueError for images that its max-pools would shrink to nothing."""
        del is_training  # No batch norm.
        chex.assert_rank(images, 4)
        last, (pools, _) = self._taps[-1]
        least = 2 ** (pools - 1)
        if min(images.shape[1:3]) < least:
            size = ' x '.join(map(str, images.shape[1:3]))
            raise ValueError(f'VGG16 up to {last} needs images of {least} x {least}, not {size}')
        x, place, maps = images, 0, {}  # torchvision counts ReLUs and max-pools as layers too.
        with _convolutions_in(self._precision):
            for tap, (stage, number) in self._taps:
                if stage > 1 and number == 1:
                    x, place = _max_pool(x, 2, 2, 0), place + 1
                channels = self._width * min(2 ** (stage - 1), 8)
                conv = _Convolution(channels, 3, 1, f'features_{place}', with_bias=True)
                x = maps[tap] = jax.nn.relu(conv(x))
                place += 2
        return _features(maps)


class SmallCNN(hk.Module):
    """Four 3x3 convolutions of stride 2, each with batch norm and a ReLU: D = 8 `width`."""

    def __init__(
        self, width: int, precision: str, axis_name: str | None = None, name: str = 'trunk'
    ):
        super().__init__(name=name)
        self._width, self._axis_name = width, axis_name
        self._precision = look_up(PRECISIONS, precision, 'precision')

    def __call__(self, images: Array, is_training: bool) -> Features:
        chex.assert_rank(images, 4)
        x, maps = images, {}
        with _convolutions_in(self._precision):
            for number in range(1, 5):
                x = _Convolution(self._width * 2 ** (number - 1), 3, 2, f'conv{number}')(x)
                x = BatchNorm(self._axis_name, name=f'bn{number}')(x, is_training)
                x = maps[f'layer{number}'] = jax.nn.relu(x)
        return _features(maps)


def _resnet(
    depths: Sequence[int], bottleneck: bool = False
) -> Callable[[ConfigDict, str | None], Trunk]:
    return lambda config, axis_name: ResNet(depths, bottleneck, config, axis_name)


TRUNKS: dict[str, Callable[[ConfigDict, str | None], Trunk]] = {
    'resnet10': _resnet((1, 1, 1, 1)),
    'resnet18': _resnet((2, 2, 2, 2)),
    'resnet34': _resnet((3, 4, 6, 3)),
    'resnet50': _resnet((3, 4, 6, 3), bottleneck=True),
    'resnet101': _resnet((3, 4, 23, 3), bottleneck=True),
    'vgg16': lambda config, axis_name: VGG16(config.width, config.precision),
    'small_cnn': lambda config, axis_name: SmallCNN(config.width, config.precision, axis_name),
}


def make_trunk(config: ConfigDict, axis_name: str | None = None) -> Trunk:
    """The trunk that a config describes, a Haiku module called 'trunk'.

    config: see the module's docstring.
    axis_name: a mapped axis (of devices) over which batch norm shares its statistics, or None.

    Raises ValueError if there is no such trunk, stem or precision.
    """
    return look_up(TRUNKS, config.name, 'trunk')(config, axis_name)


def check_trunk(config: ConfigDict, role: str) -> None:
    """Refuses a trunk of 'speaker' or 'listener' that cannot be; raises ValueError with one
    sentence."""
    trunk, at = config[role].trunk, f'{role}.trunk'
    require(config, f'{at}.name', trunk.name in TRUNKS, one_of(*TRUNKS))
    require(config, f'{at}.width', trunk.width >= 1, 'must be at least 1')
    require(config, f'{at}.stem', trunk.stem in STEMS, one_of(*STEMS))
    require(config, f'{at}.precision', trunk.precision in PRECISIONS, one_of(*PRECISIONS))


# --- parts ----------------------------------------------------------------------------------------


def _convolutions_in(policy: jmp.Policy | None) -> contextlib.AbstractContextManager[Any]:
    if policy is None:
        return contextlib.nullcontext()
    return hk.mixed_precision.push_policy(_Convolution, policy)


class _Convolution(hk.Module):
    """A convolution by size x size, odd, of an image padded by half of that on all sides."""

    def __init__(self, channels: int, size: int, stride: int, name: str, with_bias: bool = False):
        super().__init__(name=name)
        self._channels, self._size, self._stride = channels, size, stride
        self._with_bias = with_bias

    def __call__(self, x: Array) -> Array:
        """[B, H, W, channels] -> [B, ceil(H / stride), ceil(W / stride), channels]."""
        size, stride = self._size, (self._stride,) * 2
        shape = (size, size, x.shape[-1], self._channels)
        weight = hk.get_parameter('w', shape, x.dtype, HE)
        # Not 'SAME', which pads the far side more where a stride leaves a rest; torch pads both
        # alike.
        padding = ((size // 2, size // 2),) * 2
        if min(x.shape[1:3]) > self._stride * (size - 1):
            order = ('NHWC', 'HWIO', 'NHWC')
            x = jax.lax.conv_general_dilated(x, weight, stride, padding, dimension_numbers=order)
        else:
            # The result is smaller than the kernel. Of such convolutions XLA makes others in which
            # the two have changed places, and on a CPU these are ten times slower and more.
            for axis in (2, 1):  # So that of a patch rows come first, as in the weights.
                x = jnp.concatenate(_windows(x, size, self._stride, size // 2, axis), axis=-1)
            x = x @ weight.reshape(-1, self._channels)
        if self._with_bias:
            x += hk.get_parameter('b', shape[-1:], x.dtype, jnp.zeros)[None, None, None]
        return x


def _max_pool(x: Array, size: int, stride: int, padding: int) -> Array:
    """The largest of each size x size places of [B, H, W, D], stride apart."""
    # Rows, then columns, and not reduce_window: on a CPU its gradient takes as long as all the rest
    # of a small ResNet.
    for axis in (1, 2):
        x = functools.reduce(jnp.maximum, _windows(x, size, stride, padding, axis, -jnp.inf))
    return x


def _windows(
    x: Array, size: int, stride: int, padding: int, axis: int, fill: float = 0.0
) -> list[Array]:
    """An axis with `padding` at both ends, cut into windows that lie `stride` apart: for each of
    `size` places, what is there in all windows."""
    sides = [(0, 0)] * x.ndim
    sides[axis] = (padding, padding)
    length = stride * ((x.shape[axis] + 2 * padding - size) // stride) + 1
    x = jnp.pad(x, sides, constant_values=fill)
    return [jax.lax.slice_in_dim(x, i, i + length, stride, axis) for i in range(size)]


def _features(maps: dict[str, Array]) -> Features:
    def full(x: Array) -> Array:
        return x.astype(np.promote_types(x.dtype, np.float32))

    maps = {name: full(x) for name, x in maps.items()}
    return Features(jnp.mean(list(maps.values())[-1], axis=(1, 2)), maps)
