"""Batch norm, of feature maps and of logits."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from emcom_jax.types import Array


class BatchNorm(hk.Module):
    """Batch norm (Ioffe and Szegedy 2015) over all axes but the last, with running averages as in
    torch.

    Haiku's own corrects its averages for their start at 0, which trained averages do not need, and
    averages the biased variance. Here the mean starts at 0, the variance at 1, and each step takes
    them a tenth of the way to the batch's mean and *unbiased* variance, so that what torch has
    learnt can be taken over and training on is the same.
    """

    def __init__(
        self, axis_name: str | None = None, zero_init: bool = False, name: str = 'batch_norm'
    ):
        """axis_name: a mapped axis (of devices) over which statistics are shared, or None.

        zero_init: whether the scale starts at 0, not at 1.
        """
        super().__init__(name=name)
        self._axis_name = axis_name
        self._first_scale = jnp.zeros if zero_init else jnp.ones

    def __call__(self, x: Array, is_training: bool) -> Array:
        """x: [B, ..., D] of any float type, in which the output is; all else is float32 at least.

        Raises ValueError in training if there is but one value in each channel: no variance.
        """
        dtype = np.promote_types(x.dtype, np.float32)
        size = x.shape[-1:]
        scale = hk.get_parameter('scale', size, dtype, self._first_scale)
        offset = hk.get_parameter('offset', size, dtype, jnp.zeros)
        mean = hk.get_state('mean', size, dtype, jnp.zeros)
        variance = hk.get_state('variance', size, dtype, jnp.ones)
        y = x.astype(dtype)
        if is_training:
            old, (mean, variance, number) = (mean, variance), self._statistics(y)
            news = (mean, variance * (number / max(number - 1, 1)))
            for key, before, new in zip(('mean', 'variance'), old, news, strict=True):
                hk.set_state(key, 0.9 * before + 0.1 * new)
        factor = scale * jax.lax.rsqrt(variance + 1e-5)
        rows = (1,) * (x.ndim - 1) + size
        y = (y - mean.reshape(rows)) * factor.reshape(rows) + offset.reshape(rows)
        return y.astype(x.dtype)

    def _statistics(self, y: Array) -> tuple[Array, Array, int]:
        """Mean [D], variance [D] and number of the values in each channel, over all devices."""
        axes, number = tuple(range(y.ndim - 1)), y.size // y.shape[-1]
        # Parameters are made outside the mapped function, where its axis has no name.
        axis = None if hk.running_init() else self._axis_name
        if axis is not None:
            number *= jax.lax.axis_size(axis)
        if number < 2 and not hk.running_init():
            raise ValueError(
                f'batch norm {self.module_name} trains on a single value a channel, shape '
                f'{y.shape}: give it a larger batch or larger images'
            )

        def share(value: Array) -> Array:
            return value if axis is None else jax.lax.pmean(value, axis)

        mean = share(jnp.mean(y, axes))
        # Not the mean square less the squared mean: float32 loses a small variance to that.
        centred = y - mean.reshape((1,) * len(axes) + mean.shape)
        return mean, share(jnp.mean(jnp.square(centred), axes)), number
