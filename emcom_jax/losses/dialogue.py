"""What agents learn from in a dialogue of K turns: one equation, one function.

Evtimova, Drozdov, Kiela & Cho 2018, and their code where the paper is silent. `mask` [B, K] is 1
for the turns that count, `weight` [B] for the examples that do; statistics of a turn are over the
examples of all devices (along `axis_name`).
"""

import chex
import jax
import jax.numpy as jnp

from emcom_jax.types import Array

_TINY = 1e-8  # Added to probabilities before their logarithm, as in the published code.


def log_likelihood(bits: Array, logits: Array) -> Array:
    """`sum_m a log p + (1 - a) log(1 - p)`, of binary actions a [..., V] with the log-odds of p
    [..., V] -> [...], nats. No gradient to the actions."""
    chex.assert_equal_shape([bits, logits])
    actions = jax.lax.stop_gradient(bits)
    yes, no = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    return (actions * jnp.log(yes + _TINY) + (1 - actions) * jnp.log(no + _TINY)).sum(-1)


def bit_entropy(logits: Array) -> Array:
    """`- sum_m p log p + (1 - p) log(1 - p)`, of log-odds [..., V] -> [...], nats."""
    yes, no = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    return -(yes * jnp.log(yes + _TINY) + no * jnp.log(no + _TINY)).sum(-1)


def advantage(
    reward: Array, baseline: Array | None, mask: Array, weight: Array, axis_name: str | None
) -> Array:
    """`A_t = (R - b_t) / max(1, std(R - b_t))`, detached.

    The deviation is that of a turn, over the examples for which it counts (unbiased); where these
    are fewer than two, nothing is divided. No mean is subtracted.

    Args:
      reward: [B], the same at every turn.
      baseline: [B, K], predicted reward; None is 0.
      mask: [B, K].
      weight: [B].

    Returns:
      [B, K].
    """
    chex.assert_rank([reward, mask, weight], [1, 2, 1])
    difference = jnp.broadcast_to(reward[:, None], mask.shape)
    if baseline is not None:
        chex.assert_equal_shape([baseline, mask])
        difference = difference - baseline
    difference = jax.lax.stop_gradient(difference)
    counted = mask * weight[:, None]
    count = _total(counted.sum(0), axis_name)
    mean = _total((difference * counted).sum(0), axis_name) / jnp.maximum(count, 1)
    squares = _total(((difference - mean[None]) ** 2 * counted).sum(0), axis_name)
    deviation = jnp.sqrt(squares / jnp.maximum(count - 1, 1))
    return difference / jnp.maximum(jnp.where(count > 1, deviation, 1.0), 1.0)[None]


def of_turns(values: Array, mask: Array, weight: Array, axis_name: str | None) -> Array:
    """Values [B] whose weighted mean over examples is the mean of values [B, K] over all turns that
    count: `sum_t n_t mean_t / sum_t n_t`; 0 where none does."""
    chex.assert_rank([values, mask, weight], [2, 2, 1])
    chex.assert_equal_shape([values, mask])
    examples = _total(weight.sum(), axis_name)
    turns = _total((mask * weight[:, None]).sum(), axis_name)
    return (values * mask).sum(1) * jnp.where(turns > 0, examples / jnp.maximum(turns, 1e-6), 0.0)


def stopping(going_on: Array) -> tuple[Array, Array]:
    """Whether each turn is played, and whether it is the last, of decisions or probabilities [B, K]
    to go on after each; the last one is not asked for. [B, K] both; the second's rows sum to 1.

    With decisions `m_{t+1} = min(m_t, s_t)`; with probabilities both are probabilities."""
    chex.assert_rank(going_on, 2)
    played = jnp.cumprod(going_on[:, :-1], axis=1)
    played = jnp.concatenate([jnp.ones_like(going_on[:, :1]), played], axis=1)
    after = jnp.concatenate([played[:, 1:], jnp.zeros_like(played[:, :1])], axis=1)
    return played, played - after


def _total(value: Array, axis_name: str | None) -> Array:
    return value if axis_name is None else jax.lax.psum(value, axis_name)
