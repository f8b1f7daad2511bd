"""Batches, drawn from a split on the device inside compiled code, and how agents see them."""

from typing import Any

import jax
import jax.numpy as jnp

from emcom_jax import draws
from emcom_jax.data.augmentation import Augmentation, augment
from emcom_jax.data.bank import PIXEL, is_augmented
from emcom_jax.types import Array, Bank, Batch, Classes, Key, Partners, Sight

_PARTNERS, _RIVALS, _CLASSES = (
    2**31,
    2**31 + 1,
    2**31 + 2,
)  # Folded into keys where no position of an example is.


def make_augmentation(config: Any) -> Augmentation | None:
    """config: the game group; read are `views` and `augmentation`."""
    if not is_augmented(config):
        return None
    settings = dict(config.augmentation)
    if not settings.pop('crop'):
        settings['crop_scale'] = None
    return Augmentation(**settings)


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
        examples is drawn as said above, the others from its group (which then may repeat). Of a
        bank with classes so many examples in a row are of different ones (see `_one_of_each`).
        Divides the batch of a device.
    """
    order_key, view_key = jax.random.split(key)
    size = bank.size
    position = _positions(batch_size, axis_name)
    batches = size // batch_size
    place = (step % batches) * batch_size + position
    if bank.classes is not None and together > 1:
        rows, others = _one_of_each(bank.classes, order_key, step, position, batch_size)
        key = jax.random.fold_in(view_key, step)
        apart = None if bank.partners is None else others
        return look_at(bank, rows, position, key, noise, augmentation, apart)
    first = position // together * together - position  # Where the first of its rivals stands.
    rows = draws.permuted(jax.random.fold_in(order_key, step // batches), place + first, size)
    key = jax.random.fold_in(view_key, step)
    if bank.rivals is not None and together > 1:
        rows = _rival(bank.rivals, rows, position, jax.random.fold_in(key, _RIVALS), together)
    return look_at(bank, rows, position, key, noise, augmentation)


def _one_of_each(
    classes: Classes, key: Key, step: Array, position: Array, batch_size: int
) -> tuple[Array, Array]:
    """Rows for games with one example of each class, and other examples of the same classes.

    As Mihai and Hare 2021 (Learning to draw) draw object-oriented games: the classes of a batch
    follow each other in a random order, over and over, so that as many in a row as there are
    classes, or fewer, differ. Classes are drawn alike, however many examples they have. The
    examples of a class come in a random order, a new one when all have been seen, and the other
    example is the next in that order: each is once one and once the other.

    (Where the classes do not divide the batch, examples of those that it leaves out are left out.)
    """
    count = classes.size.shape[0]
    in_turn = jax.random.permutation(jax.random.fold_in(key, step), count)
    number = in_turn[position % count]
    use = step * -(-batch_size // count) + position // count
    size = classes.size[number]

    def own_key(number: Array, epoch: Array) -> Key:
        return jax.random.fold_in(jax.random.fold_in(of_class, number), epoch)

    of_class = jax.random.fold_in(key, _CLASSES)
    keys = jax.vmap(own_key)(number, use // size)

    def row(place: Array) -> Array:
        return classes.order[classes.start[number] + draws.permuted_in(keys, place % size, size)]

    return row(use), row(use + 1)


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
    """Of each row, the first of those that come together, that member of its group who comes in its
    position: itself first, then others, drawn; none twice, unless the group has fewer."""
    start, size = rivals.start[rows], rivals.size[rows]

    def steps(key: Key, size: Array) -> Array:
        """From the first to each, in the order of the group: drawn with replacement, sorted, and
        one further apart."""
        room = jnp.maximum(size - together, 0) + 1
        drawn = jax.random.randint(key, (together - 1,), 0, room)
        others = jnp.sort(drawn) + jnp.arange(1, together)
        return jnp.concatenate([jnp.zeros(1, others.dtype), others])

    of_group = jax.vmap(steps)(draws.example_keys(key, position // together), size)
    own = jnp.take_along_axis(of_group, (position % together)[:, None], axis=1)[:, 0]
    return rivals.order[start + (rivals.place[rows] - start + own) % size]


def look_at(
    bank: Bank,
    rows: Array,
    position: Array,
    key: Key,
    noise: float,
    augmentation: Augmentation | None = None,
    others: Array | None = None,
) -> Batch:
    """Returns the batch of the given rows [B] of a bank, as each agent sees them.

    Args:
      position: [B], where each example stands in the batch of the whole step.
      key: of the partner that the listener sees, of the noise and of the augmentation.
      noise: standard deviation of Gaussian noise, in deviations of each feature; drawn apart for
        speaker and listener.
      augmentation: of images, drawn apart for speaker and listener; None: none.
      others: [B], the rows that listeners see of a bank with partners; None: see `others_of`.
    """
    _, augment_key = jax.random.split(jax.random.fold_in(key, _PARTNERS))
    if others is None:
        others = others_of(bank, rows, position, key)
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
    weight = jnp.ones(position.shape, jnp.float32)
    images = None if bank.images is None else _standard(bank.images, _stored(bank.images, rows))
    return Batch(first, second, labels, position, weight, images, bank.among)


def others_of(bank: Bank, rows: Array, position: Array, key: Key) -> Array:
    """Which rows [B] listeners see in place of these; for the rest see `look_at`."""
    if bank.partners is None:
        return rows
    partner_key, _ = jax.random.split(jax.random.fold_in(key, _PARTNERS))
    return _partners(bank.partners, rows, position, partner_key)


def _stored(sight: Sight, rows: Array) -> Array:
    """The inputs of rows [B]; of images, pixels count from 0 to 1."""
    inputs = sight.inputs[rows].astype(jnp.float32)
    return inputs / PIXEL if inputs.ndim == 4 else inputs


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
