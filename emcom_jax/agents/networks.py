"""Networks that several agents use: torsos and the sequence cores.

A core reads a sequence from a context and offers two ways that compute the same: `begin` and `step`
one element at a time (for a speaker, whose next input is its own last symbol), and `unroll` for a
sequence that is known (for a listener, or a speaker that is forced).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import haiku as hk
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax.agents import recurrence
from emcom_jax.tables import look_up
from emcom_jax.types import Array, Tree


class Core(Protocol):
    """context: [B, D] or None; x: [B, E]; xs: [B, T, E]; outputs: [B, H] and [B, T, H] float32.

    `step` also leaves a trace. Given that of all steps, flat [T B, ...], `unroll` need not run them
    again to give their outputs and gradient.
    """

    def begin(self, context: Array | None, batch: int) -> Tree: ...

    def step(self, state: Tree, x: Array) -> tuple[Tree, Array, Tree]: ...

    def unroll(self, context: Array | None, xs: Array, trace: Tree = None) -> Array: ...


class Recurrent(hk.Module):
    """What LSTM and GRU share; the context is projected to the initial state, 0 without one."""

    cell: recurrence.Cell
    num_states: int  # Arrays [B, H] that make the state.

    def __init__(self, config: ConfigDict, length: int, name: str | None = None):
        super().__init__(name=name)
        del length  # A recurrent core has no positions.
        self._size = config.hidden_size
        self._context = hk.Linear(self._size * self.num_states, name='context')

    def begin(self, context: Array | None, batch: int) -> Tree:
        if context is None:
            return (jnp.zeros((batch, self._size)),) * self.num_states
        return tuple(jnp.split(self._context(context), self.num_states, axis=-1))

    def step(self, state: Tree, x: Array) -> tuple[Tree, Array, Tree]:
        state, trace = recurrence.step(self.cell, self._weights(x.shape[-1]), state, x)
        return state, state[0], trace

    def unroll(self, context: Array | None, xs: Array, trace: Tree = None) -> Array:
        batch, length, size = xs.shape
        args = (self._weights(size), self.begin(context, batch), jnp.swapaxes(xs, 0, 1))
        if trace is None:
            outs = recurrence.run(self.cell, *args)
        else:
            outs = recurrence.attach(self.cell, *args, trace)
        return jnp.swapaxes(outs.reshape(length, batch, -1), 0, 1)

    def _weights(self, inputs: int) -> Array:
        """Returns the weights of [x, h, 1], [E + H + 1, 4 H]."""
        raise NotImplementedError

    def _parameter(self, inputs: int, bias: Array) -> Array:
        """Returns a learned [E + H + 1, n] whose last row starts as the bias [n]."""
        rows = inputs + self._size

        def first(shape: Sequence[int], dtype: Any) -> Array:
            init = hk.initializers.TruncatedNormal(rows**-0.5)
            return init(shape, dtype).at[-1].set(bias)

        return hk.get_parameter('weights', [rows + 1, bias.size], init=first)


class LSTM(Recurrent):
    """See `recurrence.LSTM`. Its forget gate starts open (Jozefowicz et al. 2015)."""

    cell = recurrence.LSTM
    num_states = 2

    def _weights(self, inputs: int) -> Array:
        size = self._size
        return self._parameter(inputs, jnp.zeros(4 * size).at[size : 2 * size].set(1.0))


class GRU(Recurrent):
    """See `recurrence.GRU`."""

    cell = recurrence.GRU
    num_states = 1

    def _weights(self, inputs: int) -> Array:
        size = self._size
        weights = self._parameter(inputs, jnp.zeros(3 * size))
        # The new value reads x and h apart; its bias goes with x.
        row = jnp.arange(inputs + size + 1)
        of_h = ((row >= inputs) & (row < inputs + size))[:, None]
        new = weights[:, 2 * size :]
        parts = [weights[:, : 2 * size], jnp.where(of_h, 0.0, new), jnp.where(of_h, new, 0.0)]
        return jnp.concatenate(parts, axis=1)


class Transformer(hk.Module):
    """A causal pre-norm Transformer decoder (Vaswani et al. 2017; Radford et al. 2019).

    The context (a learned vector without one) is the token before the sequence. `step` attends to
    cached keys and values; `unroll` computes all positions at once.
    """

    def __init__(self, config: ConfigDict, length: int, name: str | None = None):
        super().__init__(name=name)
        size = config.hidden_size
        self._size, self._heads, self._places = size, config.num_heads, length + 1
        self._context = hk.Linear(size, name='context')
        self._token = hk.Linear(size, name='token')
        self._blocks = [_Block(size, config.num_heads) for _ in range(config.num_layers)]
        self._norm = hk.LayerNorm(-1, True, True, name='norm')

    def begin(self, context: Array | None, batch: int) -> Tree:
        shape = (batch, self._places, self._heads, self._size // self._heads)
        caches = [(jnp.zeros(shape), jnp.zeros(shape)) for _ in self._blocks]
        state = (jnp.zeros((), jnp.int32), caches)
        state, _ = self._advance(state, self._first(context, batch))
        return state

    def step(self, state: Tree, x: Array) -> tuple[Tree, Array, Tree]:
        state, out = self._advance(state, self._token(x))
        return state, out, ()

    def unroll(self, context: Array | None, xs: Array, trace: Tree = None) -> Array:
        del trace  # All positions at once are computed anew faster than gathered.
        batch, length, _ = xs.shape
        x = jnp.concatenate([self._first(context, batch)[:, None], self._token(xs)], axis=1)
        x = x + self._positions()[None, : length + 1]
        causal = jnp.tril(jnp.ones((length + 1, length + 1), bool))
        for block in self._blocks:
            query, key, value = block.project(x)
            x = block.mix(x, query, key, value, causal)
        return self._norm(x)[:, 1:]

    def _advance(self, state: Tree, token: Array) -> tuple[Tree, Array]:
        place, caches = state
        x = token[:, None] + jax.lax.dynamic_slice_in_dim(self._positions(), place, 1)[None]
        seen = (jnp.arange(self._places) <= place)[None]
        new_caches = []
        for block, cache in zip(self._blocks, caches, strict=True):
            query, *new = block.project(x)
            key, value = (
                jax.lax.dynamic_update_slice_in_dim(old, fresh, place, axis=1)
                for old, fresh in zip(cache, new, strict=True)
            )
            new_caches.append((key, value))
            x = block.mix(x, query, key, value, seen)
        return (place + 1, new_caches), self._norm(x)[:, 0]

    def _first(self, context: Array | None, batch: int) -> Array:
        if context is None:
            start = hk.get_parameter('start', [self._size], init=hk.initializers.RandomNormal(0.02))
            return jnp.broadcast_to(start, (batch, self._size))
        return self._context(context)

    def _positions(self) -> Array:
        init = hk.initializers.RandomNormal(0.02)
        return hk.get_parameter('positions', [self._places, self._size], init=init)


class _Block(hk.Module):
    """One layer: attention, then a position-wise MLP, each added to its input after a norm."""

    def __init__(self, size: int, heads: int, name: str = 'block'):
        super().__init__(name=name)
        self._heads = heads
        self._norm_attention = hk.LayerNorm(-1, True, True, name='norm_attention')
        self._norm_mlp = hk.LayerNorm(-1, True, True, name='norm_mlp')
        self._attention = hk.Linear(3 * size, name='attention')
        self._output = hk.Linear(size, name='output')
        self._mlp = hk.nets.MLP((4 * size, size), activation=jax.nn.gelu, name='mlp')

    def project(self, x: Array) -> list[Array]:
        """Returns query, key and value, [B, T, heads, H / heads], of x [B, T, H]."""
        parts = jnp.split(self._attention(self._norm_attention(x)), 3, axis=-1)
        return [part.reshape(*x.shape[:-1], self._heads, -1) for part in parts]

    def mix(self, x: Array, query: Array, key: Array, value: Array, allowed: Array) -> Array:
        """Adds to x [B, T, H] what it attends to where allowed [T, places], and the MLP of that."""
        scores = jnp.einsum('bqhd,bkhd->bhqk', query, key) * query.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(allowed[None, None], scores, -1e30))
        x = x + self._output(jnp.einsum('bhqk,bkhd->bqhd', weights, value).reshape(x.shape))
        return x + self._mlp(self._norm_mlp(x))


CORES: dict[str, Any] = {'lstm': LSTM, 'gru': GRU, 'transformer': Transformer}


def make_core(config: ConfigDict, length: int) -> Core:
    """Returns the core that a speaker or listener group of the config names."""
    return look_up(CORES, config.core, 'core')(config, length, name=config.core)


def make_torso(config: ConfigDict) -> hk.nets.MLP | None:
    """Returns the network before the speaker's core, or None for the identity."""
    sizes = {'identity': (), 'mlp': tuple(config.torso_sizes)}
    chosen = look_up(sizes, config.torso, 'speaker torso')
    return hk.nets.MLP(chosen, activate_final=True, name='torso') if chosen else None


def learned_temperature(channel: ConfigDict) -> Array:
    """A parameter kept positive by softplus, whose first value is the config's."""
    first = channel.temperature + jnp.log(-jnp.expm1(-channel.temperature))
    raw = hk.get_parameter('temperature', [], init=hk.initializers.Constant(first))
    return jax.nn.softplus(raw)
