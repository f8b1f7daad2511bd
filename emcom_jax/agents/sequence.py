"""Agents for messages of several symbols: a speaker that spells, a listener that reads."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import channels
from emcom_jax.agents import recurrence
from emcom_jax.agents.networks import learned_temperature, make_core, make_torso
from emcom_jax.types import Array, Guess, Message, Tree, Utterance

Shapes = dict[str, tuple[int, ...]]  # label name -> (n,) of a class, or (A, n) of attributes.

HEADS = {
    'policy': (False, False),  # name -> (has a value head, has a dueling Q head)
    'policy_value': (True, False),
    'policy_q_value': (True, True),
}


class Speaker(hk.Module):
    """Torso -> initial state of the core -> one symbol at a time.

    Three ways to speak: `sample` explores, `greedy` says the likeliest, `force` accounts for a
    message that is given.
    """

    def __init__(self, config: ConfigDict, channel: ConfigDict):
        super().__init__(name='speaker')
        vocab, hidden = channel.vocab_size, tuple(config.head_sizes)
        self._channel = channel
        self._torso = make_torso(config)
        self._core = make_core(config, channel.length)
        self._embed = _embedding(config.embed_size)
        self._embed_size = config.embed_size
        self._policy = hk.nets.MLP((*hidden, vocab), name='policy')
        has_value, has_q = HEADS[config.head]
        self._value = hk.nets.MLP((*hidden, 1), name='value') if has_value else None
        self._state_value = hk.nets.MLP((*hidden, 1), name='state_value') if has_q else None
        self._advantage = hk.nets.MLP((*hidden, vocab), name='advantage') if has_q else None

    def sample(self, inputs: Array, noise: Array, temperature: Array | float) -> Utterance:
        """Speaks of inputs [B, D] with Gumbel noise [B, T, V]."""
        kind = self._channel.kind
        if channels.DIFFERENTIABLE[kind]:
            if self._channel.temperature_mode == 'learned':
                temperature = learned_temperature(self._channel)
            message, hidden, logits, _ = self._spell(
                inputs, noise, lambda logits, g: channels.relax(kind, logits, g, temperature)
            )
            return self._account(hidden, logits, message)
        # No gradient passes a sampled symbol: the message is drawn first, and then given.
        with hk.custom_getter(_without_gradient):
            message, _, _, trace = self._spell(
                inputs, noise, lambda logits, g: channels.choose(logits + g)
            )
        return self._replay(inputs, message, trace)

    def greedy(self, inputs: Array) -> Utterance:
        """Speaks of inputs [B, D] without chance."""
        noise = jnp.zeros((inputs.shape[0], self._channel.length, self._channel.vocab_size))
        greedy = jnp.tanh if self._channel.kind == 'continuous' else channels.choose
        message, hidden, logits, _ = self._spell(inputs, noise, lambda logits, _: greedy(logits))
        return self._account(hidden, logits, message)

    def force(self, inputs: Array, message: Message) -> Utterance:
        """Accounts for a message as if it had been said of inputs [B, D] (teacher forcing)."""
        return self._replay(inputs, message, None)

    def see(self, inputs: Array) -> Array:
        """Inputs are features already."""
        return inputs

    def _spell(
        self, inputs: Array, noise: Array, emit: Callable[[Array, Array], Array]
    ) -> tuple[Message, Array, Array, Tree]:
        """Runs the core; `emit(logits, noise)` makes of each step's logits what is transmitted.

        Returns the message, hidden states [B, T, H], logits [B, T, V] and the core's trace.
        """

        def step(carry: tuple[Tree, Array], noise_t: Array) -> tuple[Any, Any]:
            state, hidden, trace = self._core.step(*carry)
            logits = self._policy(hidden)
            said = emit(logits, noise_t)
            return (state, self._embed_said(said)), (hidden, logits, said, trace)

        batch, length, _ = noise.shape
        start = jnp.broadcast_to(self._start(), (batch, self._embed_size))
        state = self._core.begin(self._context(inputs), batch)
        steps = jnp.swapaxes(noise, 0, 1).reshape(length * batch, -1)
        _, (*outputs, trace) = recurrence.loop(step, (state, start), steps, length, scan=hk.scan)
        hidden, logits, said = (
            jnp.swapaxes(x.reshape(length, batch, *x.shape[1:]), 0, 1) for x in outputs
        )
        relaxed = None if said.ndim == 2 else said
        symbols = said if said.ndim == 2 else channels.choose(said)
        message = channels.make_message(symbols, relaxed, self._channel.variable_length)
        return message, hidden, logits, trace

    def _replay(self, inputs: Array, message: Message, trace: Tree) -> Utterance:
        said = message.symbols if message.relaxed is None else message.relaxed
        embedded = self._embed_said(said[:, :-1])
        start = jnp.broadcast_to(self._start()[:, None], (inputs.shape[0], 1, self._embed_size))
        steps = jnp.concatenate([start, embedded], 1)
        hidden = self._core.unroll(self._context(inputs), steps, trace)
        return self._account(hidden, self._policy(hidden), message)

    def _account(self, hidden: Array, logits: Array, message: Message) -> Utterance:
        value = q_values = None
        if self._value is not None:
            value = self._value(hidden)[..., 0]
        if self._advantage is not None and self._state_value is not None:
            # Wang et al. 2016, Dueling network architectures, equation 9.
            advantage = self._advantage(hidden)
            q_values = self._state_value(hidden) + advantage - advantage.mean(-1, keepdims=True)
        return Utterance(message, jax.nn.log_softmax(logits), value, q_values)

    def _context(self, inputs: Array) -> Array:
        return inputs if self._torso is None else self._torso(inputs)

    def _embed_said(self, said: Array) -> Array:
        """Embeds symbols (int32) or the vectors of a differentiable channel (one axis more)."""
        vectors = said
        if jnp.issubdtype(said.dtype, jnp.integer):
            vectors = jax.nn.one_hot(said, self._channel.vocab_size)
        return self._embed(vectors)

    def _start(self) -> Array:
        init = hk.initializers.RandomNormal()
        return hk.get_parameter('start', [1, self._embed_size], init=init)


class Listener(hk.Module):
    """Reads a message and says which referent it means.

    With no labels it maps message and candidates into one space, where they are compared; with
    labels it names the referent: one classifier for a class, one for each attribute.
    """

    def __init__(self, config: ConfigDict, channel: ConfigDict, labels: Shapes):
        """labels: name -> (n,) for a class of n values or (A, n) for attributes; maybe empty."""
        super().__init__(name='listener')
        self._labels = labels
        self._channel = channel
        self._embed = _embedding(config.embed_size)
        self._core = make_core(config, channel.length)
        self._sizes = tuple(config.projection_sizes)
        self._impatient = config.impatient
        self._project = hk.nets.MLP(
            self._sizes, activate_final=bool(labels), name='project_message'
        )
        self._names = {
            name: hk.Linear(shape[-1] * (shape[0] if len(shape) == 2 else 1), name=name)
            for name, shape in labels.items()
        }

    def see(self, inputs: Array) -> Array:
        return inputs

    def __call__(self, message: Message, inputs: Array, is_training: bool) -> Guess:
        """message: of B referents; inputs: [B, D], the referents themselves."""
        del is_training
        said = message.relaxed
        if said is None:
            said = jax.nn.one_hot(message.symbols, self._channel.vocab_size)
        hidden = self._core.unroll(None, self._embed(said))
        if self._channel.variable_length:
            # Where the message ends, weighted: nothing after the end symbol is read.
            read = jnp.einsum('bt,bth->bh', message.end, hidden)
        else:
            read = hidden[:, -1]
        early = None
        if self._impatient:  # Nor is anything guessed after the end.
            early = self._guess(jnp.swapaxes(hidden * message.mask[..., None], 0, 1))
        candidates = None
        if not self._labels:
            candidates = hk.nets.MLP(self._sizes, name='project_candidates')(inputs)
        return self._guess(read)._replace(candidates=candidates, early=early)

    def _guess(self, read: Array) -> Guess:
        """What is made of what was read, [..., B, H]: all but the candidates."""
        read = self._project(read)
        logits = {
            name: self._names[name](read).reshape(*read.shape[:-1], *shape)
            for name, shape in self._labels.items()
        }
        return Guess(None if logits else read, None, logits)


def _without_gradient(get: Callable[[Array], Array], value: Array, context: Any) -> Array:
    del context
    return jax.lax.stop_gradient(get(value))


def _embedding(size: int) -> hk.Linear:
    """Embeds one-hot or relaxed symbols [..., V] as one table would. Its rows start with unit
    variance, like `hk.Embed`'s: from a linear layer's smaller ones learning sets in late."""
    init = hk.initializers.TruncatedNormal()
    return hk.Linear(size, with_bias=False, w_init=init, name='embed')
