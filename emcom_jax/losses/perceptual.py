"""Whether a drawing looks like what is drawn, to a network that sees."""

from collections.abc import Sequence

import chex
import jax.numpy as jnp
from jax.lax import rsqrt

from emcom_jax.types import Array


def perceptual(maps: Sequence[tuple[Array, Array]], weights: Sequence[float]) -> Array:
    """Perceptual loss (Mihai and Hare 2021, Learning to draw, equation 4; after Zhang et al. 2018).

        sum over l of w_l mean over places of |F_l(drawing) - F_l(image)|^2

    where the channels of F_l, at each place, have norm 1.

    Args:
      maps: of each block l, two of [B, h, w, channels].
      weights: w_l, one for each block.

    Returns:
      [B], in [0, 4 sum of w_l].
    """
    total = jnp.zeros(maps[0][0].shape[0])
    for (drawn, seen), weight in zip(maps, weights, strict=True):
        chex.assert_rank([drawn, seen], 4)
        chex.assert_equal_shape([drawn, seen])
        distance2 = jnp.sum((_unit(drawn) - _unit(seen)) ** 2, axis=-1)
        total += weight * jnp.mean(distance2, axis=(1, 2))
    return total


def _unit(maps: Array) -> Array:
    # The floor keeps the gradient finite where no channel is active.
    return maps * rsqrt(jnp.maximum(jnp.sum(maps**2, axis=-1, keepdims=True), 1e-20))
