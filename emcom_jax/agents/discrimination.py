"""The two agents of the discrimination game (Dessì et al. 2021): what they make of what they see,
and one symbol for it.

Longer messages are left to the agents of `sequence`, which then see features.
"""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import channels, draws
from emcom_jax.agents import sequence
from emcom_jax.agents.networks import learned_temperature
from emcom_jax.agents.normalization import BatchNorm
from emcom_jax.agents.sequence import Shapes
from emcom_jax.agents.vision import make_trunk
from emcom_jax.types import Array, Guess, Message, Utterance

See = Callable[[Array, bool], Array]  # (images or features, is_training) -> features [B, D].


def make_sight(config: ConfigDict, axis_name: str | None) -> See:
    """Returns the trunk that a group of the config describes: features [B, D] of images
    [B, H, W, 3]; features stay as they are."""
    trunk = make_trunk(config.trunk, axis_name)

    def see(inputs: Array, is_training: bool) -> Array:
        if inputs.ndim == 2:
            return inputs
        if config.trunk.frozen:
            return jax.lax.stop_gradient(trunk(inputs, False).pooled)
        return trunk(inputs, is_training).pooled

    return see


def blind(inputs: Array, is_training: bool) -> Array:
    """The sight of agents that are given features."""
    del is_training
    return inputs


class Speaker:
    """Sees, and speaks of that: one symbol, or a message that is spelt."""

    def __init__(
        self,
        config: ConfigDict,
        channel: ConfigDict,
        see: See,
        axis_name: str | None,
        num_candidates: int,
    ):
        """num_candidates: of a game, all of which a speaker with `config.context` sees."""
        self._see = see
        self._speaker: Any
        if config.context is not None:
            self._speaker = ContextSpeaker(config, channel, num_candidates)
        elif channel.length == 1:
            self._speaker = SymbolSpeaker(config, channel, axis_name)
        else:
            self._speaker = sequence.Speaker(config, channel)

    def sample(self, inputs: Array, noise: Array, temperature: Array | float) -> Utterance:
        return self._speaker.sample(self._see(inputs, True), noise, temperature)

    def greedy(self, inputs: Array) -> Utterance:
        return self._speaker.greedy(self._see(inputs, False))

    def force(self, inputs: Array, message: Message) -> Utterance:
        return self._speaker.force(self._see(inputs, True), message)

    def see(self, inputs: Array) -> Array:
        return self._see(inputs, False)


class Listener:
    """Sees, and compares with that what it hears."""

    def __init__(
        self,
        config: ConfigDict,
        channel: ConfigDict,
        labels: Shapes,
        see: See,
        axis_name: str | None,
        memory: int,
    ):
        self._see = see
        self._listener: Any
        if channel.length == 1:
            self._listener = SymbolListener(config, channel, labels, axis_name, memory)
        else:
            self._listener = sequence.Listener(config, channel, labels)

    def __call__(self, message: Message, inputs: Array, is_training: bool) -> Guess:
        return self._listener(message, self._see(inputs, is_training), is_training)

    def see(self, inputs: Array) -> Array:
        return self._see(inputs, False)


class SymbolSpeaker(hk.Module):
    """Features -> linear -> batch norm -> logits of one symbol (Dessì et al. 2021, section 3.2).

    The three ways to speak are those of `sequence.Speaker`; T is 1.
    """

    def __init__(self, config: ConfigDict, channel: ConfigDict, axis_name: str | None):
        super().__init__(name='speaker')
        self._channel = channel
        self._policy = hk.Linear(channel.vocab_size, name='policy')
        self._norm = BatchNorm(axis_name, name='norm')
        has_value, has_q = sequence.HEADS[config.head]
        self._value = hk.Linear(1, name='value') if has_value else None
        self._q_values = hk.Linear(channel.vocab_size, name='q_values') if has_q else None

    def sample(self, features: Array, noise: Array, temperature: Array | float) -> Utterance:
        """Speaks of features [B, D] with Gumbel noise [B, 1, V]."""
        logits = self._logits(features, True)
        kind = self._channel.kind
        if not channels.DIFFERENTIABLE[kind]:
            return self._account(features, logits, channels.choose(logits + noise), None)
        if self._channel.temperature_mode == 'learned':
            temperature = learned_temperature(self._channel)
        relaxed = channels.relax(kind, logits, noise, temperature)
        return self._account(features, logits, channels.choose(relaxed), relaxed)

    def greedy(self, features: Array) -> Utterance:
        logits = self._logits(features, False)
        relaxed = jnp.tanh(logits) if self._channel.kind == 'continuous' else None
        symbols = channels.choose(logits if relaxed is None else relaxed)
        return self._account(features, logits, symbols, relaxed)

    def force(self, features: Array, message: Message) -> Utterance:
        utterance = self._account(features, self._logits(features, True), message.symbols, None)
        return utterance._replace(message=message)

    def _logits(self, features: Array, is_training: bool) -> Array:
        return self._norm(self._policy(features), is_training)[:, None]

    def _account(
        self, features: Array, logits: Array, symbols: Array, relaxed: Array | None
    ) -> Utterance:
        message = channels.make_message(symbols, relaxed, self._channel.variable_length)
        value = None if self._value is None else self._value(features)
        q_values = None
        if self._q_values is not None and value is not None:
            # Wang et al. 2016, Dueling network architectures, equation 9.
            advantage = self._q_values(features)
            q_values = (value + advantage - advantage.mean(-1, keepdims=True))[:, None]
        return Utterance(message, jax.nn.log_softmax(logits), value, q_values)


class ContextSpeaker(SymbolSpeaker):
    """Features of the target and of its distractors -> sigmoid -> logits of one symbol: the two
    senders of Lazaridou, Peysakhovich & Baroni 2017, *Multi-agent cooperation and the emergence of
    (natural) language*, section 3.

    Examples of a batch that follow each other are a game, see `draws.games_of`. Both embed each
    candidate linearly in E dimensions. The agnostic one reads all embeddings, one after another.
    The informed one compares them dimension by dimension: filters over the candidates, the same
    for all dimensions, then one over the filters, each with a sigmoid after it, as EGG has it.
    """

    def __init__(self, config: ConfigDict, channel: ConfigDict, num_candidates: int):
        """config: of the speaker; read are `context`, `embed_size` E, `hidden_size`, the number of
        filters, and `head`."""
        super().__init__(config, channel, None)
        self._kind, self._candidates = config.context, num_candidates
        self._embed = hk.Linear(config.embed_size, with_bias=False, name='embed')
        self._filters = hk.Linear(config.hidden_size, with_bias=False, name='filters')
        self._combine = hk.Linear(1, with_bias=False, name='combine')

    def _logits(self, features: Array, is_training: bool) -> Array:
        del is_training
        games = draws.games_of(features.shape[0], self._candidates)
        embedded = self._embed(features)[games]  # [B, C, E], the target first.
        if self._kind == 'agnostic':
            seen = jax.nn.sigmoid(embedded.reshape(embedded.shape[0], -1))
        else:
            maps = jax.nn.sigmoid(self._filters(jnp.swapaxes(embedded, 1, 2)))  # [B, E, filters]
            seen = jax.nn.sigmoid(self._combine(maps)[..., 0])
        return self._policy(seen)[:, None]


class SymbolListener(hk.Module):
    """Compares what a symbol means to it with what it sees: the symbol is embedded linearly, the
    features pass linear layers with batch norm and ReLU between them (Dessì et al. 2021)."""

    def __init__(
        self,
        config: ConfigDict,
        channel: ConfigDict,
        labels: Shapes,
        axis_name: str | None,
        memory: int,
    ):
        """labels: as of `sequence.Listener`; those are named from the symbol alone.
        memory: how many of the candidates that it has seen in training it remembers."""
        super().__init__(name='listener')
        self._labels = labels
        self._vocab_size = channel.vocab_size
        self._sizes = tuple(config.projection_sizes)
        self._axis_name = axis_name
        self._memory = memory

    def __call__(self, message: Message, features: Array, is_training: bool) -> Guess:
        said = message.relaxed
        if said is None:
            said = jax.nn.one_hot(message.symbols, self._vocab_size)
        embed = hk.Linear(self._sizes[-1], with_bias=False, name='embed')
        meaning = embed(said[:, 0])
        if self._labels:
            logits = {}
            for name, shape in self._labels.items():
                size = shape[-1] * (shape[0] if len(shape) == 2 else 1)
                named = hk.Linear(size, name=name)(jax.nn.relu(meaning))
                logits[name] = named.reshape(meaning.shape[0], *shape)
            return Guess(None, None, logits)
        candidates = self._project(features, is_training)
        return Guess(meaning, candidates, {}, memory=self._remember(candidates, is_training))

    def _remember(self, candidates: Array, is_training: bool) -> Array | None:
        """Returns what it remembers of earlier steps, and puts these in the oldest ones' place."""
        if not (self._memory and is_training):
            return None
        before = hk.get_state('memory', [self._memory, self._sizes[-1]], init=jnp.zeros)
        new = jax.lax.stop_gradient(candidates)
        if self._axis_name is not None and not hk.running_init():
            new = jax.lax.all_gather(new, self._axis_name, tiled=True)
        hk.set_state('memory', jnp.concatenate([new, before])[: self._memory])
        return before

    def _project(self, x: Array, is_training: bool) -> Array:
        for number, size in enumerate(self._sizes[:-1], start=1):
            x = hk.Linear(size, name=f'project{number}')(x)
            x = jax.nn.relu(BatchNorm(self._axis_name, name=f'norm{number}')(x, is_training))
        return hk.Linear(self._sizes[-1], with_bias=False, name='project')(x)
