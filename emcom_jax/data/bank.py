"""A split on the device."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emcom_jax.data.augmentation import IMAGENET, PLAIN
from emcom_jax.tables import look_up
from emcom_jax.types import Array, Bank, Classes, Partners, Sight, Source, Split

Scaling = tuple[np.ndarray, np.ndarray]  # What is subtracted and what divides, each [D] float32.

ONE_OF_EACH = 'one_of_each'  # Of game.distractors: the candidates are of different classes.
PARTNERS = {'viewpoint': 'object', 'same_class': 'class'}  # Of game.views: what is alike in both.
CHANNELS = {'imagenet': IMAGENET, 'plain': PLAIN}
_VALUES = 2**27  # Of a memory map, read at a time.
PIXEL = 255  # The largest value of an image as stored.
_SAMPLE = 4096  # Images, whose mean and deviation stand for those of all.
NEIGHBOURS = 32  # At most, of an example, itself among them.
_SCORES = 2**25  # Of a block of points with all others.


class Standard(NamedTuple):
    """How what is stored becomes what is seen; of images, by channel.

    listeners: of what listeners see, where that is something else.
    """

    speakers: Scaling
    listeners: Scaling | None = None


def standard_of(split: Split) -> Standard:
    """Makes of a split (the training split) the standard by which each feature (of images: each
    channel) has mean 0 and deviation 1 there; one that hardly varies is divided by a tenth of the
    average deviation."""

    def scaling(inputs: Any) -> Scaling:
        mean, deviation = _moments(inputs)
        return mean, np.maximum(deviation, 0.1 * max(deviation.mean(), 1e-6))

    heard = split.listener_inputs
    return Standard(scaling(split.inputs), None if heard is None else scaling(heard))


def scaling_of(config: Any) -> Scaling | None:
    """What is subtracted from the channels of images and what divides them, if they are known
    without looking at images; None where images are seen as they are.

    config: the data group; `channels` is not 'own' if `standardize` is set.
    """
    if not config.standardize:
        return None
    mean, deviation = look_up(CHANNELS, config.channels, 'data.channels')
    return np.array(mean, np.float32), np.array(deviation, np.float32)


def make_bank(
    split: Split,
    dtype: str,
    standard: Standard | None = None,
    partners: str | None = None,
    rivals: str | None = None,
    classes: str | None = None,
) -> Bank:
    """Puts a split on the default device: features [N, D] as `dtype`, images as they are.

    standard: how agents see it; None: as it is stored.
    partners: the label of which listeners see another example with the same value than the speaker.
    rivals: the label of which examples with the same value are distractors of each other, or
        'neighbours' for those nearest in what speakers see.
    classes: the label of which a game has one example of each value.

    Raises:
      ValueError: the dtype cannot hold the features, or there is no such label.
    """
    labels = {name: jnp.asarray(values) for name, values in split.labels.items()}
    own, others = (None, None) if standard is None else standard
    heard = split.listener_inputs
    return Bank(
        sight=_make_sight(split.inputs, dtype, own),
        labels=labels,
        listener_sight=None if heard is None else _make_sight(heard, dtype, others),
        partners=None if partners is None else group_by(split.labels[partners]),
        rivals=None if rivals is None else _rivals(split, rivals),
        classes=None if classes is None else classes_of(split.labels[classes]),
    )


def _rivals(split: Split, name: str) -> Partners:
    if name != 'neighbours':
        return group_by(split.labels[name])
    inputs = np.asarray(split.inputs)
    if inputs.ndim == 4:  # Each image as 8 x 8 patches of its mean colour.
        count = min(8, inputs.shape[1])
        side = inputs.shape[1] // count
        cut = inputs[:, : count * side, : count * side]
        inputs = cut.reshape(len(cut), count, side, count, side, 3).mean(axis=(2, 4))
    near = nearest(inputs.reshape(len(inputs), -1), NEIGHBOURS)
    size, start = near.shape[1], np.arange(len(near)) * near.shape[1]
    columns = (near.ravel(), start, start, np.full(len(near), size), divide(near))
    return Partners(*(jnp.asarray(column, jnp.int32) for column in columns))


def nearest(points: np.ndarray, count: int) -> np.ndarray:
    """Of each of points [N, D] the `count` (at most N) nearest ones, itself first: int [N, count].

    Exact, by products of matrices, block after block: N^2 D multiplications.
    """
    size = len(points)
    count, rows = min(count, size), min(size, max(1, _SCORES // size))
    # About the mean, lest squares of large numbers leave nothing of small differences.
    centred = jnp.asarray(points, jnp.float32)
    centred = centred - centred.mean(axis=0)[None]
    squares = jnp.sum(centred * centred, axis=1)

    @jax.jit
    def of_block(chosen: Array, centred: Array, squares: Array) -> Array:
        products = jnp.matmul(centred[chosen], centred.T, precision=jax.lax.Precision.HIGHEST)
        closeness = 2 * products - squares[None]  # Less its own square, alike for all.
        itself = closeness.at[jnp.arange(rows), chosen].set(jnp.inf)
        return jax.lax.top_k(itself, count)[1]

    found = np.empty((size, count), np.int32)
    for start in range(0, size, rows):
        chosen = np.arange(start, start + rows) % size  # The last block is filled up.
        near = np.asarray(of_block(chosen, centred, squares))
        found[start : start + rows] = near[: size - start]
    return found


def divide(near: np.ndarray) -> np.ndarray:
    """Divides points into groups of those near each other: int [N], the number of the group of
    each.

    In turn each point that is in no group makes one with those of its nearest that are in none, or
    joins that of the nearest if all are.

    near: [N, count], of each the nearest, itself first.
    """
    groups, number = np.full(len(near), -1), 0
    for row in range(len(near)):
        if groups[row] >= 0:
            continue
        free = near[row][groups[near[row]] < 0]
        if len(free) == 1 < len(near[row]):
            groups[row] = groups[near[row][1]]
            continue
        groups[free], number = number, number + 1
    return groups


def _make_sight(inputs: Any, dtype: str, scaling: Scaling | None) -> Sight:
    inputs = np.asarray(inputs)  # Decodes images.
    if inputs.ndim == 2:
        with np.errstate(over='ignore'):
            inputs = inputs.astype(dtype, copy=False)
        if not all(np.isfinite(block).all() for block in _blocks(inputs)):
            raise ValueError(f'data.dtype={dtype!r} cannot hold all features: use float32')
    return Sight(*map(jnp.asarray, (inputs, *_units(inputs, scaling))))


def _units(inputs: Any, scaling: Scaling | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deviation, shift and scale of a `Sight`."""
    _, deviation = _moments(inputs)
    return deviation, *(scaling or (np.zeros_like(deviation), np.ones_like(deviation)))


def is_streamed(config: Any, source: Source) -> bool:
    """Whether training images are too large for a device; config: the whole one."""
    inputs = source.splits['train'].inputs
    return inputs.ndim == 4 and inputs.nbytes > config.data.most_bytes


def make_feed(
    split: Split, standard: Standard | None
) -> Callable[[Mapping[str, np.ndarray], int], Bank]:
    """Makes the function that makes of a batch of a `Stream` the banks of `devices` devices, leaves
    [devices, ...], each with its part of the images, or of features in their place; for
    `draw_all`."""
    own, others = (None, None) if standard is None else standard
    heard, units = split.listener_inputs, _units(split.inputs, own)
    units_heard = None if heard is None else _units(heard, others)

    def bank(batch: Mapping[str, np.ndarray], devices: int) -> Bank:
        def parts(values: np.ndarray) -> Any:
            return values.reshape(devices, -1, *values.shape[1:])

        def sight(inputs: np.ndarray, units: Any) -> Sight:
            same: Any = (np.repeat(unit[None], devices, axis=0) for unit in units)
            return Sight(parts(inputs), *same)

        labels = {name: parts(batch[name]) for name in split.labels}
        seen = sight(batch['images'], units)
        if heard is None:
            return Bank(seen, labels)
        return Bank(seen, labels, sight(np.asarray(heard[batch['rows']]), units_heard))

    return bank


def group_by(labels: np.ndarray) -> Partners:
    """Groups examples by their label, int [N]."""
    order = np.argsort(labels, kind='stable')
    _, first, group, counts = np.unique(labels[order], True, True, True)
    place = np.argsort(order)
    columns = (order, place, first[group][place], counts[group][place], group[place])
    return Partners(*(jnp.asarray(column, jnp.int32) for column in columns))


def classes_of(labels: np.ndarray) -> Classes:
    """Gathers examples by their class, int [N]."""
    _, number, size = np.unique(labels, return_inverse=True, return_counts=True)
    columns = (np.argsort(labels, kind='stable'), np.cumsum(size) - size, size, number)
    return Classes(*(jnp.asarray(column, jnp.int32) for column in columns))


def rival_label(config: Any) -> str | None:
    """The label by which `make_bank` should group rivals; config: the game group."""
    return None if config.distractors in ('random', ONE_OF_EACH) else config.distractors


def class_label(config: Any) -> str | None:
    """The label of which a game has one example of each value; config: the game group."""
    return 'class' if config.distractors == ONE_OF_EACH else None


def partner_label(config: Any) -> str | None:
    """The label by which `make_bank` should choose partners; config: the game group."""
    return PARTNERS.get(config.views.removeprefix('augmented_'))


def is_augmented(config: Any) -> bool:
    """Whether agents see images augmented, each apart; config: the game group."""
    views: str = config.views
    return views.startswith('augmented')


def _blocks(inputs: np.ndarray) -> list[np.ndarray]:
    rows = max(1, _VALUES // max(1, inputs[0].size))
    return [inputs[start : start + rows] for start in range(0, len(inputs), rows)]


def _moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature (of each channel of some images, of which pixels
    count from 0 to 1), summed in float64 by blocks (the inputs may be a memory map that
    is larger than memory)."""
    if inputs.ndim == 4 and len(inputs) > _SAMPLE:
        inputs = inputs[np.linspace(0, len(inputs) - 1, _SAMPLE).astype(int)]
    count = 0
    total = np.zeros(inputs.shape[-1])
    squares = np.zeros(inputs.shape[-1])
    for block in _blocks(inputs):
        values = block.reshape(-1, block.shape[-1]).astype(np.float64)
        if inputs.ndim == 4:
            values = values / PIXEL
        count += len(values)
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.astype(np.float32), deviation.astype(np.float32)
