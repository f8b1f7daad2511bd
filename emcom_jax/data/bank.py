"""A split on the device, and the batches drawn from it inside compiled code."""

import jax
import jax.numpy as jnp
import numpy as np

from emcom_jax import draws
from emcom_jax.types import Array, Bank, Batch, Key, Split

_ROWS = 65_536  # Of a memory map, read at a time.


def make_bank(split: Split, dtype: str, standard: Split | None = None) -> Bank:
    """Puts a split on the default device, its inputs [N, D] as `dtype`.

    standard: if given (the training split), agents see each feature less its mean there, over its
    standard deviation there; a feature that hardly varies is divided by a tenth of the average.
    """
    with np.errstate(over='ignore'):
        inputs = np.asarray(split.inputs, dtype)
    if not all(np.isfinite(inputs[i : i + _ROWS]).all() for i in range(0, len(inputs), _ROWS)):
        raise ValueError(f'data.dtype={dtype!r} cannot hold all features: use float32')
    labels = {name: jnp.asarray(values) for name, values in split.labels.items()}
    _, deviation = _moments(inputs)
    shift, scale = np.zeros_like(deviation), np.ones_like(deviation)
    if standard is not None:
        shift, scale = _moments(standard.inputs)
        scale = np.maximum(scale, 0.1 * max(scale.mean(), 1e-6))
    return Bank(jnp.asarray(inputs), labels, *map(jnp.asarray, (deviation, shift, scale)))


def _moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, each [D] float32, summed in float64 by blocks
    (the inputs may be a memory map that is larger than memory)."""
    total = np.zeros(inputs.shape[1])
    squares = np.zeros(inputs.shape[1])
    for start in range(0, len(inputs), _ROWS):
        block = inputs[start : start + _ROWS].astype(np.float64)
        total += block.sum(axis=0)
        squares += (block**2).sum(axis=0)
    mean = total / len(inputs)
    deviation = np.sqrt(np.maximum(squares / len(inputs) - mean**2, 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


def draw(
    bank: Bank, key: Key, step: Array, batch_size: int, noise: float, axis_name: str | None
) -> Batch:
    """Draws the batch of a step: this device's part of it.

    Every epoch is a new random order of the split, of which each step takes the next `batch_size`;
    the remainder that does not fill a batch is left out, so all examples of a batch are distinct.
    The cost is O(batch): no permutation of the split is made.

    Args:
      bank: the split, the same on every device.
      key: one key for the run; it fixes the orders of all epochs and the noise.
      step: int32 [], the global step.
      batch_size: over all devices; at most N.
      noise: standard deviation of Gaussian noise, in deviations of each feature; drawn apart for
        speaker and listener.
      axis_name: of the devices, or None for one.
    """
    order_key, noise_key = jax.random.split(key)
    size = bank.inputs.shape[0]
    position = jnp.arange(batch_size)
    if axis_name is not None:
        local = batch_size // jax.lax.axis_size(axis_name)
        position = jax.lax.axis_index(axis_name) * local + jnp.arange(local)
    batches = size // batch_size
    place = (step % batches) * batch_size + position
    rows = draws.permuted(jax.random.fold_in(order_key, step // batches), place, size)
    return look_at(bank, rows, position, jax.random.fold_in(noise_key, step), noise)


def look_at(bank: Bank, rows: Array, position: Array, key: Key, noise: float) -> Batch:
    """Returns the batch of the given rows [B] of a bank, as each agent sees them; `position` [B] is
    where each stands in the batch of the whole step."""
    inputs = (bank.inputs[rows].astype(jnp.float32) - bank.shift[None]) / bank.scale[None]
    views = (inputs, inputs)
    if noise:

        def disturb(one: Key, row: Array) -> tuple[Array, Array]:
            drawn = (
                jax.random.normal(one, (2, *row.shape))
                * (noise * bank.deviation / bank.scale)[None]
            )
            return row + drawn[0], row + drawn[1]

        views = jax.vmap(disturb)(draws.example_keys(key, position), inputs)
    labels = {name: values[rows] for name, values in bank.labels.items()}
    return Batch(*views, labels, position, jnp.ones(position.shape, jnp.float32))
