"""A split on the device, and the batches drawn from it inside compiled code."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emcom_jax import draws
from emcom_jax.data.augmentation import Augmentation, augment
from emcom_jax.types import Array, Bank, Batch, Key, Partners, Sight, Source, Split

Channels = tuple[tuple[float, ...], tuple[float, ...]]  # Means and deviations.

_VALUES = 2**27  # Of a memory map, read at a time.
_PIXEL = 255  # The largest value of an image as stored.
_SAMPLE = 4096  # Images, whose mean and deviation stand for those of all.
NEIGHBOURS = 32  # At most, in a group of those nearest to each other.


def make_bank(
    split: Split,
    dtype: str,
    standard: Split | Channels | None = None,
    partners: str | None = None,
    rivals: str | None = None,
) -> Bank:
    """Puts a split on the default device: features [N, D] as `dtype`, images as they are.

    standard: if given (the training split), agents see each feature (of images: each channel) less
        its mean there, over its standard deviation there; a feature that hardly varies is divided
        by a tenth of the average. Or of images, these means and deviations of the channels.
    partners: the label of which listeners see another example with the same value than the speaker.
    rivals: the label of which examples with the same value are distractors of each other, or
        'neighbours' for those nearest in what speakers see.

    Raises:
      ValueError: the dtype cannot hold the features, or there is no such label.
    """
    labels = {name: jnp.asarray(values) for name, values in split.labels.items()}
    own, others = standard, standard
    if isinstance(standard, Split):
        own, others = standard.inputs, standard.listener_inputs
    heard = None
    if split.listener_inputs is not None:
        heard = _make_sight(split.listener_inputs, dtype, others)
    return Bank(
        sight=_make_sight(split.inputs, dtype, own),
        labels=labels,
        listener_sight=heard,
        partners=None if partners is None else group_by(split.labels[partners]),
        rivals=None if rivals is None else group_by(_rivals(split, rivals)),
    )


def _rivals(split: Split, name: str) -> np.ndarray:
    if name != 'neighbours':
        return split.labels[name]
    inputs = np.asarray(split.inputs)
    if inputs.ndim == 4:  # Each image as 8 x 8 patches of its mean colour.
        side = inputs.shape[1] // 8
        cut = inputs[:, : 8 * side, : 8 * side]
        inputs = cut.reshape(len(cut), 8, side, 8, side, 3).mean(axis=(2, 4))
    return neighbourhoods(inputs.reshape(len(inputs), -1), NEIGHBOURS)


def neighbourhoods(points: np.ndarray, size: int) -> np.ndarray:
    """Groups points [N, D] with others near them: int [N], the number of the group of each.

    A k-d tree (Bentley 1975): groups are halved at the median of the coordinate that varies most,
    until they have at most `size` members, of which there are then more than half as many.
    """
    groups, done = [np.arange(len(points))], []
    while groups:
        rows = groups.pop()
        if len(rows) <= size:
            done.append(rows)
            continue
        column = points[rows].astype(np.float64).var(axis=0).argmax()
        order = rows[np.argsort(points[rows, column], kind='stable')]
        groups += [order[: len(rows) // 2], order[len(rows) // 2 :]]
    labels = np.zeros(len(points), np.int64)
    for number, rows in enumerate(done):
        labels[rows] = number
    return labels


def _make_sight(inputs: Any, dtype: str, standard: Any) -> Sight:
    inputs = np.asarray(inputs)  # Decodes images.
    if inputs.ndim == 2:
        with np.errstate(over='ignore'):
            inputs = inputs.astype(dtype, copy=False)
        if not all(np.isfinite(block).all() for block in _blocks(inputs)):
            raise ValueError(f'data.dtype={dtype!r} cannot hold all features: use float32')
    return Sight(*map(jnp.asarray, (inputs, *_units(inputs, standard))))


def _units(inputs: Any, standard: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deviation, shift and scale of a `Sight`."""
    _, deviation = _moments(inputs)
    if standard is None:
        return deviation, np.zeros_like(deviation), np.ones_like(deviation)
    if isinstance(standard, tuple):
        shift, scale = (np.array(values, np.float32) for values in standard)
        return deviation, shift, scale
    shift, scale = _moments(standard)
    return deviation, shift, np.maximum(scale, 0.1 * max(scale.mean(), 1e-6))


def is_streamed(config: Any, source: Source) -> bool:
    """Whether training images are too large for a device; config: the whole one."""
    inputs = source.splits['train'].inputs
    return inputs.ndim == 4 and inputs.nbytes > config.data.most_bytes


def make_feed(
    split: Split, standard: Split | Channels | None
) -> Callable[[Mapping[str, np.ndarray], int], Bank]:
    """Makes the function that makes of a batch of a `Stream` the banks of `devices` devices, leaves
    [devices, ...], each with its part of the images; for `draw_all`."""
    own = standard.inputs if isinstance(standard, Split) else standard
    units = _units(split.inputs, own)

    def bank(batch: Mapping[str, np.ndarray], devices: int) -> Bank:
        def parts(values: np.ndarray) -> np.ndarray:
            return values.reshape(devices, -1, *values.shape[1:])

        labels = {name: parts(batch[name]) for name in split.labels}
        same = (np.repeat(unit[None], devices, axis=0) for unit in units)
        return Bank(Sight(parts(batch['images']), *same), labels)  # type: ignore[arg-type]

    return bank


def group_by(labels: np.ndarray) -> Partners:
    """Groups examples by their label, int [N]."""
    order = np.argsort(labels, kind='stable')
    _, first, group, counts = np.unique(labels[order], True, True, True)
    place = np.argsort(order)
    columns = (order, place, first[group][place], counts[group][place])
    return Partners(*(jnp.asarray(column, jnp.int32) for column in columns))


def make_augmentation(config: Any) -> Augmentation | None:
    """config: the game group; read are `views` and `augmentation`."""
    if config.views != 'augmented':
        return None
    settings = dict(config.augmentation)
    if not settings.pop('crop'):
        settings['crop_scale'] = None
    return Augmentation(**settings)


def rival_label(config: Any) -> str | None:
    """The label by which `make_bank` should group rivals; config: the game group."""
    return None if config.distractors == 'random' else config.distractors


def partner_label(config: Any) -> str | None:
    """The label by which `make_bank` should choose partners; config: the game group."""
    return {'viewpoint': 'object', 'same_class': 'class'}.get(config.views)


def _blocks(inputs: np.ndarray) -> list[np.ndarray]:
    rows = max(1, _VALUES // max(1, inputs[0].size))
    return [inputs[start : start + rows] for start in range(0, len(inputs), rows)]


def _moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature (of each channel of images, of which pixels count
    from 0 to 1, in so many images), summed in float64 by blocks (the inputs may be a memory map that
    is larger than memory)."""
    if inputs.ndim == 4 and len(inputs) > _SAMPLE:
        inputs = inputs[np.linspace(0, len(inputs) - 1, _SAMPLE).astype(int)]
    count = 0
    total = np.zeros(inputs.shape[-1])
    squares = np.zeros(inputs.shape[-1])
    for block in _blocks(inputs):
        values = block.reshape(-1, block.shape[-1]).astype(np.float64)
        if inputs.ndim == 4:
            values = values / _PIXEL
        count += len(values)
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


def draw(
    bank: Bank,
    key: Key,
    step: Array,
    batch_size: int,
    noise: float,
    axis_name: str | None,
    augmentation: Augmentation | None = None,
    together: int = 1,
) -> Batch:
    """Draws the batch of a step: this device's part of it.

    Every epoch is a new random order of the split, of which each step takes the next `batch_size`;
    the remainder that does not fill a batch is left out, so all examples of a batch are distinct.
    The cost is O(batch): no permutation of the split is made.

    Args:
      bank: the split, the same on every device.
      key: one key for the run; it fixes the orders of all epochs, the noise and the views.
      step: int32 [], the global step.
      batch_size: over all devices; at most N.
      noise, augmentation: see `look_at`.
      axis_name: of the devices, or None for one.
      together: how many rivals come together, of a bank that has some: the first of each so many
        examples is drawn as said above, the others from its group (which then may repeat). Divides
        the batch of a device.
    """
    order_key, view_key = jax.random.split(key)
    size = bank.size
    position = _positions(batch_size, axis_name)
    batches = size // batch_size
    place = (step % batches) * batch_size + position
    first = position // together * together - position  # Where the first of its rivals stands.
    rows = draws.permuted(jax.random.fold_in(order_key, step // batches), place + first, size)
    key = jax.random.fold_in(view_key, step)
    if bank.rivals is not None and together > 1:
        rows = _rival(bank.rivals, rows, position, jax.random.fold_in(key, 2), together)
    return look_at(bank, rows, position, key, noise, augmentation)


def draw_all(
    bank: Bank,
    key: Key,
    step: Array,
    batch_size: int,
    noise: float,
    axis_name: str | None,
    augmentation: Augmentation | None = None,
) -> Batch:
    """The batch of a step of which each device has its part, and nothing else, in its bank; see
    `draw` for the rest."""
    _, view_key = jax.random.split(key)
    position = _positions(batch_size, axis_name)
    key = jax.random.fold_in(view_key, step)
    return look_at(bank, jnp.arange(bank.size), position, key, noise, augmentation)


def _positions(batch_size: int, axis_name: str | None) -> Array:
    """Where the examples of this device stand in the batch of the whole step."""
    if axis_name is None:
        return jnp.arange(batch_size)
    local = batch_size // jax.lax.axis_size(axis_name)
    return jax.lax.axis_index(axis_name) * local + jnp.arange(local)


def _rival(rivals: Partners, rows: Array, position: Array, key: Key, together: int) -> Array:
    """Of each row, the member of its group that stands so many steps after it as `position` does
    after the first; steps are drawn for each group, so that its members meet others each time."""
    start, size = rivals.start[rows], rivals.size[rows]

    def stride(key: Key, size: Array) -> Array:
        return jax.random.randint(key, (), 1, 1 + jnp.maximum((size - 1) // (together - 1), 1))

    strides = jax.vmap(stride)(draws.example_keys(key, position // together), size)
    steps = position % together * strides
    return rivals.order[start + (rivals.place[rows] - start + steps) % size]


def look_at(
    bank: Bank,
    rows: Array,
    position: Array,
    key: Key,
    noise: float,
    augmentation: Augmentation | None = None,
) -> Batch:
    """Returns the batch of the given rows [B] of a bank, as each agent sees them.

    Args:
      position: [B], where each example stands in the batch of the whole step.
      key: of the partner that the listener sees, of the noise and of the augmentation.
      noise: standard deviation of Gaussian noise, in deviations of each feature; drawn apart for
        speaker and listener.
      augmentation: of images, drawn apart for speaker and listener; None: none.
    """
    partner_key, augment_key = jax.random.split(jax.random.fold_in(key, 1))
    others = rows
    if bank.partners is not None:
        others = _partners(bank.partners, rows, position, partner_key)
    # What both see is one array, of which nothing need be computed twice.
    sights = [bank.sight, bank.listener_sight or bank.sight]
    alike = bank.partners is None and bank.listener_sight is None
    seen = [_stored(bank.sight, rows)]
    seen.append(seen[0] if alike else _stored(sights[1], others))
    if augmentation is not None:
        keys = jax.vmap(jax.random.split)(draws.example_keys(augment_key, position))
        size = bank.inputs.shape[1]
        seen = [augment(keys[:, i], x, augmentation, size) for i, x in enumerate(seen)]
        alike = False
    first = _standard(bank.sight, seen[0])
    second = first if alike else _standard(sights[1], seen[1])
    if noise:

        def disturb(one: Key, row: Array, other: Array) -> tuple[Array, Array]:
            drawn: Any
            if row.shape == other.shape:
                drawn = jax.random.normal(one, (2, *row.shape))
            else:
                pair = zip(jax.random.split(one), (row, other), strict=True)
                drawn = [jax.random.normal(key, x.shape) for key, x in pair]
            noisy = [
                x + n * _last(noise * sight.deviation / sight.scale, n)
                for x, n, sight in zip((row, other), drawn, sights, strict=True)
            ]
            return noisy[0], noisy[1]

        first, second = jax.vmap(disturb)(draws.example_keys(key, position), first, second)
    labels = {name: values[rows] for name, values in bank.labels.items()}
    return Batch(first, second, labels, position, jnp.ones(position.shape, jnp.float32))


def _stored(sight: Sight, rows: Array) -> Array:
    """The inputs of rows [B]; of images, pixels count from 0 to 1."""
    inputs = sight.inputs[rows].astype(jnp.float32)
    return inputs / _PIXEL if inputs.ndim == 4 else inputs


def _standard(sight: Sight, inputs: Array) -> Array:
    return (inputs - _last(sight.shift, inputs)) / _last(sight.scale, inputs)


def _last(values: Array, like: Array) -> Array:
    """Values of the last axis, with axes of length 1 before it as `like` has them."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape)


def _partners(partners: Partners, rows: Array, position: Array, key: Key) -> Array:
    """Of each row another one of its group, drawn; itself where it is alone."""
    start, size = partners.start[rows], partners.size[rows]

    def another(key: Key, size: Array) -> Array:
        return jax.random.randint(key, (), 1, jnp.maximum(size, 2))

    steps = jax.vmap(another)(draws.example_keys(key, position), size)
    return partners.order[start + (partners.place[rows] - start + steps) % size]
