"""What a speaker learns from: one equation, one function.

Every function returns one value for each example, summed over the symbols of its message. `mask`
[B, T] is 1 for the symbols that count (up to the end of the message); None counts all of them.
The published code of Chaabouni et al. (2022) averages over the T symbols where its paper sums: here
the sum holds. `log_policy` [B, T, V] are log-probabilities (normalised).
"""

import chex
import jax
import jax.numpy as jnp

from emcom_jax.types import Array


def reinforce(
    log_prob: Array, reward: Array, baseline: Array | None = None, mask: Array | None = None
) -> Array:
    """`- sum_t (R - b_t) log pi(m_t)`, the advantage detached (Williams 1992; Chaabouni et al.
    2022, section 2.2).

    Args:
      log_prob: [B, T], of the symbols that were said.
      reward: [B].
      baseline: [B, T], predicted reward; None is 0.
      mask: [B, T].

    Returns:
      [B].
    """
    chex.assert_rank([log_prob, reward], [2, 1])
    advantage = reward[:, None] - (jnp.zeros_like(log_prob) if baseline is None else baseline)
    chex.assert_equal_shape([advantage, log_prob])
    return -_sum(jax.lax.stop_gradient(advantage) * log_prob, mask)


def policy_gradient(log_prob: Array, q_value: Array, value: Array, mask: Array | None) -> Array:
    """`- sum_t (Q(m_t) - V_t) log pi(m_t)`, the advantage detached; all [B, T] -> [B].

    An actor-critic whose critic is a dueling network (Wang et al. 2016), as in the released code of
    Chaabouni et al. (2022).
    """
    chex.assert_rank([log_prob, q_value, value], 2)
    return -_sum(jax.lax.stop_gradient(q_value - value) * log_prob, mask)


def squared_error(prediction: Array, reward: Array, mask: Array | None = None) -> Array:
    """`sum_t (R - v_t)^2`, the regression of a value [B, T] (or of the Q-value of what was said) on
    the reward [B] -> [B]."""
    chex.assert_rank([prediction, reward], [2, 1])
    return _sum((jax.lax.stop_gradient(reward)[:, None] - prediction) ** 2, mask)


def entropy(log_policy: Array, mask: Array | None = None) -> Array:
    """`sum_t H(pi_t)` in nats, [B, T, V] -> [B]; rewarded to keep exploring (Mnih et al. 2016)."""
    chex.assert_rank(log_policy, 3)
    return -_sum(jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1), mask)


def kl_divergence(log_policy: Array, target: Array, mask: Array | None = None) -> Array:
    """`sum_t KL(pi_t || target_t)` in nats, both [B, T, V] -> [B]; no gradient to the target.

    Keeps the speaker near its moving average (Chaabouni et al. 2022, section 2.2).
    """
    chex.assert_rank([log_policy, target], 3)
    chex.assert_equal_shape([log_policy, target])
    difference = log_policy - jax.lax.stop_gradient(target)
    return _sum(jnp.sum(jnp.exp(log_policy) * difference, axis=-1), mask)


def cross_entropy(log_policy: Array, symbols: Array, mask: Array | None = None) -> Array:
    """`- sum_t log pi(m_t)`, [B, T, V] and int [B, T] -> [B]: imitation of a message."""
    return -_sum(said(log_policy, symbols), mask)


def said(values: Array, symbols: Array) -> Array:
    """Picks from [B, T, V] the entries of the symbols int [B, T] that were said -> [B, T]."""
    chex.assert_rank([values, symbols], [3, 2])
    return jnp.take_along_axis(values, symbols[..., None], axis=-1)[..., 0]


def _sum(values: Array, mask: Array | None) -> Array:
    if mask is None:
        return values.sum(axis=1)
    chex.assert_equal_shape([values, mask])
    return (values * mask).sum(axis=1)
