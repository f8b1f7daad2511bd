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

_SHORT = 8  # A loop over so few steps costs more than it saves.


class Cell(NamedTuple):
    """The arithmetic after the product, and its gradient written out.

    Left to autodiff, each part of the gradient computes the activations anew.

    forward: (gates [B, 4 H], state) -> (the next state, activations [B, 4 H]).
    backward: (activations, state, d_next) -> (d_gates [B, 4 H], d_state), where d_ is the
        derivative of a loss by what follows.
    """

    forward: Callable[[Array, State], tuple[State, Array]]
    backward: Callable[[Array, State, State], tuple[Array, State]]


class Trace(NamedTuple):
    """What the gradient of a step needs: its output [B, H], activations [B, 4 H], the state before.

    Of a whole run, with time before batch: [T B, H], [T B, 4 H] and [T B, H] each.
    """

    out: Array
    active: Array
    before: State


def _lstm_forward(gates: Array, state: State) -> tuple[State, Array]:
    chex.assert_rank([gates, *state], 2)
    # One tanh for all of them, for the sigmoid of x is (1 + tanh(x / 2)) / 2.
    size = state[0].shape[-1]
    scale = jnp.where(jnp.arange(4 * size) < 3 * size, 0.5, 1.0)
    active = jnp.tanh(gates * scale[None])
    i, f, o, new = _lstm_gates(active)
    cell = f * state[1] + i * new
    return (o * jnp.tanh(cell), cell), active


def _lstm_backward(active: Array, state: State, d_next: State) -> tuple[Array, State]:
    i, f, o, new = _lstm_gates(active)
    hidden = jnp.tanh(f * state[1] + i * new)
    d_cell = d_next[1] + d_next[0] * o * (1 - hidden**2)
    parts = [d_cell * new, d_cell * state[1], d_next[0] * hidden, d_cell * i]
    # Of the sigmoid of x, by tanh(x / 2): (1 - tanh^2) / 4.
    scale = jnp.where(jnp.arange(active.shape[-1]) < 3 * hidden.shape[-1], 0.25, 1.0)
    d_gates = jnp.concatenate(parts, axis=-1) * (1 - active**2) * scale[None]
    return d_gates, (jnp.zeros_like(hidden), d_cell * f)


def _lstm_gates(active: Array) -> tuple[Array, ...]:
    *opened, new = jnp.split(active, 4, axis=-1)
    return *(0.5 + 0.5 * part for part in opened), new


def _gru_forward(gates: Array, state: State) -> tuple[State, Array]:
    chex.assert_rank([gates, *state], 2)
    r, z, of_x, of_h = jnp.split(gates, 4, axis=-1)
    reset, keep = jax.nn.sigmoid(r), jax.nn.sigmoid(z)
    new = jnp.tanh(of_x + reset * of_h)
    return (keep * state[0] + (1 - keep) * new,), jnp.concatenate([reset, keep, new, of_h], axis=-1)


def _gru_backward(active: Array, state: State, d_next: State) -> tuple[Array, State]:
    reset, keep, new, of_h = jnp.split(active, 4, axis=-1)
    d_new = d_next[0] * (1 - keep) * (1 - new**2)
    d_reset = d_new * of_h * reset * (1 - reset)
    d_keep = d_next[0] * (state[0] - new) * keep * (1 - keep)
    d_gates = jnp.concatenate([d_reset, d_keep, d_new, d_new * reset], axis=-1)
    return d_gates, (d_next[0] * keep,)


# Hochreiter & Schmidhuber 1997; state (h, c). In the order of the gates: input, forget, output, and
# the new value.
LSTM = Cell(_lstm_forward, _lstm_backward)

# Cho et al. 2014, the reset gate after the product, as in cuDNN and PyTorch; state (h,). In the
# order of the gates: reset, update, and what the new value reads of x and of h.
GRU = Cell(_gru_forward, _gru_backward)


def step(cell: Cell, weights: Array, state: State, x: Array) -> tuple[State, Trace]:
    """One step: weights [E + H + 1, 4 H], x [B, E] -> the new state, and the trace."""
    gates = _read(x, state[0]) @ weights
    new, active = cell.forward(gates, state)
    return new, Trace(new[0], active, state)


def run(cell: Cell, weights: Array, state: State, xs: Array) -> Array:
    """All steps, of xs [T, B, E] -> outputs [T B, H]."""
    fixed = jax.lax.stop_gradient((weights, state, xs))
    flat = fixed[2].reshape(-1, xs.shape[-1])
    _, trace = loop(partial(step, cell, fixed[0]), fixed[1], flat, xs.shape[0])
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
    return trace.out, (weights, xs, trace.active, trace.before)


def _attach_backward(cell: Cell, kept: Any, d_out: Array) -> tuple[Array, State, Array, None]:
    weights, xs, active, before = kept
    length, batch, size = xs.shape
    # A product with a matrix that lies transposed is slower than to transpose the matrix once.
    transposed = jax.lax.optimization_barrier(weights[:-1].T)

    def back(d_state: State, at: tuple[Array, Array, State]) -> tuple[State, tuple[Array, Array]]:
        d_out, active, state = at
        d_next = (d_state[0] + d_out, *d_state[1:])
        d_gates, (d_hidden, *d_rest) = cell.backward(active, state, d_next)
        d_read = d_gates @ transposed
        return (d_hidden + d_read[:, size:], *d_rest), (d_gates, d_read[:, :size])

    zeros = jax.tree.map(lambda x: jnp.zeros_like(x[:batch]), before)
    steps = (d_out, active, before)
    d_state, (d_gates, d_xs) = loop(back, zeros, steps, length, reverse=True)
    d_weights = _read(xs.reshape(-1, size), before[0]).T @ d_gates
    return d_weights, d_state, d_xs.reshape(xs.shape), None


attach.defvjp(_attach_forward, _attach_backward)


def _read(x: Array, hidden: Array) -> Array:
    return jnp.concatenate([x, hidden, jnp.ones_like(x[:, :1])], axis=-1)


def loop(
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: Tree,
    xs: Tree,
    length: int,
    reverse: bool = False,
    scan: Callable[..., Any] = jax.lax.scan,
) -> tuple[Any, Any]:
    """`scan` over flat xs [T B, ...], its outputs flat too and in order; unrolled if T is small.

    Flat, because XLA then sees that a slice of what one loop joined is what the other reads.
    """
    if length > _SHORT:
        xs = jax.tree.map(lambda x: x.reshape(length, -1, *x.shape[1:]), xs)
        carry, outs = scan(body, carry, xs, reverse=reverse)
        return carry, jax.tree.map(lambda out: out.reshape(-1, *out.shape[2:]), outs)
    outs = [None] * length
    for t in reversed(range(length)) if reverse else range(length):
        at = jax.tree.map(lambda x, t=t: jnp.split(x, length)[t], xs)
        carry, outs[t] = body(carry, at)
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *outs)
