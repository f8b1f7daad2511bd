"""Recurrent cells, and how a sequence runs through one.

A cell makes its next state of one product, `[x, h, 1] @ weights`; what differs between cells is the
arithmetic after it. A run and its gradient are two things: `step` leaves a trace, from which
`attach` gives the outputs their gradient. So a speaker that draws its symbols as it goes needs no
second run to be differentiated.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from emcom_jax.types import Array, Tree

State = tuple[Array, ...]  # [B, H] each; the first is the output.
Cell = Callable[[Array, State], State]

_SHORT = 8  # A loop over so few steps costs more than it saves.


class Trace(NamedTuple):
    """What the gradient of a step needs: its output [B, H], its gates [B, 4 H], the state before.

    Of a whole run, with time before batch: [T B, H], [T B, 4 H] and [T B, H] each.
    """

    out: Array
    gates: Array
    before: State


def lstm(gates: Array, state: State) -> State:
    """Hochreiter & Schmidhuber 1997; gates [B, 4 H], state (h, c).

    In the order of the gates: input, forget, output, and the new value.
    """
    chex.assert_rank([gates, *state], 2)
    # One tanh for all of them, for the sigmoid of x is (1 + tanh(x / 2)) / 2.
    size = state[0].shape[-1]
    scale = jnp.where(jnp.arange(4 * size) < 3 * size, 0.5, 1.0)
    *opened, new = jnp.split(jnp.tanh(gates * scale[None]), 4, axis=-1)
    i, f, o = (0.5 + 0.5 * part for part in opened)
    cell = f * state[1] + i * new
    return o * jnp.tanh(cell), cell


def gru(gates: Array, state: State) -> State:
    """Cho et al. 2014, the reset gate after the product, as in cuDNN and PyTorch; state (h,).

    In the order of the gates [B, 4 H]: reset, update, and what the new value reads of x and of h.
    """
    chex.assert_rank([gates, *state], 2)
    r, z, of_x, of_h = jnp.split(gates, 4, axis=-1)
    new = jnp.tanh(of_x + jax.nn.sigmoid(r) * of_h)
    keep = jax.nn.sigmoid(z)
    return (keep * state[0] + (1 - keep) * new,)


def step(cell: Cell, weights: Array, state: State, x: Array) -> tuple[State, Trace]:
    """One step: weights [E + H + 1, 4 H], x [B, E] -> the new state, and the trace."""
    gates = _read(x, state[0]) @ weights
    new = cell(gates, state)
    return new, Trace(new[0], gates, state)


def run(cell: Cell, weights: Array, state: State, xs: Array) -> Array:
    """All steps, of xs [T, B, E] -> outputs [T B, H]."""
    fixed = jax.lax.stop_gradient((weights, state, xs))
    _, trace = loop(partial(step, cell, fixed[0]), fixed[1], fixed[2])
    return attach(cell, weights, state, xs, trace)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attach(cell: Cell, weights: Array, state: State, xs: Array, trace: Trace) -> Array:
    """Returns the outputs [T B, H] of the run that left the trace, with their gradient.

    The gradient of the weights is one product over all steps, where differentiating the loop would
    add one up for each step, each as large as the weights.
    """
    del cell, weights, state, xs
    return trace.out


def _attach_forward(
    cell: Cell, weights: Array, state: State, xs: Array, trace: Trace
) -> tuple[Array, Any]:
    del cell, state
    return trace.out, (weights, xs, trace.gates, trace.before)


def _attach_backward(cell: Cell, kept: Any, d_out: Array) -> tuple[Array, State, Array, None]:
    weights, xs, gates, before = kept
    length, batch, size = xs.shape
    # A product with a matrix that lies transposed is slower than to transpose the matrix once.
    transposed = jax.lax.optimization_barrier(weights[:-1].T)

    def back(d_state: State, at: tuple[Array, Array, State]) -> tuple[State, tuple[Array, Array]]:
        d_out, gates, state = at
        _, back_cell = jax.vjp(cell, gates, state)
        d_gates, (d_hidden, *d_rest) = back_cell((d_state[0] + d_out, *d_state[1:]))
        d_read = d_gates @ transposed
        return (d_hidden + d_read[:, size:], *d_rest), (d_gates, d_read[:, :size])

    steps = jax.tree.map(lambda x: x.reshape(length, batch, -1), (d_out, gates, before))
    zeros = jax.tree.map(lambda x: jnp.zeros_like(x[:batch]), before)
    d_state, (d_gates, d_xs) = loop(back, zeros, steps, reverse=True)
    d_weights = _read(xs.reshape(-1, size), before[0]).T @ d_gates
    return d_weights, d_state, d_xs.reshape(xs.shape), None


attach.defvjp(_attach_forward, _attach_backward)


def _read(x: Array, hidden: Array) -> Array:
    return jnp.concatenate([x, hidden, jnp.ones_like(x[:, :1])], axis=-1)


def loop(
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: Tree,
    xs: Tree,
    reverse: bool = False,
    scan: Callable[..., Any] = jax.lax.scan,
) -> tuple[Any, Any]:
    """`scan` over xs [T, B, ...], its outputs in order but flat, [T B, ...]; unrolled if short."""
    length = jax.tree.leaves(xs)[0].shape[0]
    if length > _SHORT:
        carry, outs = scan(body, carry, xs, reverse=reverse)
        return carry, jax.tree.map(lambda out: out.reshape(-1, *out.shape[2:]), outs)
    outs = [None] * length
    for t in reversed(range(length)) if reverse else range(length):
        carry, outs[t] = body(carry, jax.tree.map(lambda x, t=t: x[t], xs))
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *outs)
