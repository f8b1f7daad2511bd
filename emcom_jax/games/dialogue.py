"""The dialogue game (Evtimova et al. 2018): the speaker sees a referent, the listener has read a
description of each class; they exchange vectors of V bits for up to K turns, and the listener names
the class. With `channel.variable_length` it decides after each turn whether to hear another one.

All K turns are played, one `lax.scan`; masks say which count. What the channel's groups call length
and vocabulary are K and V.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import channels, draws, losses
from emcom_jax.agents.dialogue import Listener, Speaker, halves
from emcom_jax.data import descriptions
from emcom_jax.games.base import Voice
from emcom_jax.games.dialogue_check import check
from emcom_jax.games.dialogue_learning import exchange_terms
from emcom_jax.losses import dialogue as equations
from emcom_jax.types import (
    Agent,
    Array,
    Batch,
    Episode,
    Exchange,
    Guess,
    Key,
    Message,
    Pair,
    Source,
    Tampering,
    Term,
    Tree,
    Utterance,
)

__all__ = ['DialogueGame', 'check', 'make']


class _Turn(NamedTuple):
    """What passes in one turn, leaves [B, ...]."""

    said: Array
    said_logits: Array
    said_value: Array
    heard: Array
    answer: Array
    answer_logits: Array
    answer_value: Array
    choices: Array
    go_logits: Array


def make(config: ConfigDict, source: Source, axis_name: str | None = None) -> 'DialogueGame':
    """Returns the game; see `games.base.Game`."""
    del axis_name  # No agent has batch statistics.
    return DialogueGame(config, source)


class DialogueGame:
    """See `games.base.Game` for the meaning of each function. There is no imitation."""

    has_candidates = False
    reads_target = False
    trunks = 'none'
    trunk_learns = False
    backbone_stays = True
    reads_images = False
    augmentation = None
    converses = True

    def __init__(self, config: ConfigDict, source: Source):
        channel = config.channel
        self._channel, self._loss = channel, config.loss
        self._training_steps = config.training_steps
        self._learns = config.loss.speaker.name != 'none'
        self._label = config.loss.listener.label
        self.kind = 'continuous' if channel.kind == 'continuous' else 'bits'
        self.vocab_size = channel.vocab_size
        self.variable_length = channel.variable_length
        words = descriptions.number(source.class_descriptions or ())
        vectors = _vectors(config.listener, words)

        def speak() -> tuple[Callable[..., Any], Any]:
            speaker = Speaker(config.speaker, channel, source.map_shape)

            def init(inputs: Array, heard: Array) -> Any:
                return speaker.speak(speaker.see(inputs), jnp.zeros((), int), heard)

            return init, (speaker.see, speaker.speak)

        def listen() -> tuple[Callable[..., Any], Any]:
            listener = Listener(config.listener, channel, words, vectors)

            def init(heard: Array, inputs: Array) -> Any:
                return listener.hear(listener.read(), listener.begin(inputs), heard, None)

            return init, (listener.read, listener.hear, listener.begin)

        self._speaker = hk.without_apply_rng(hk.multi_transform(speak))
        self._listener = hk.without_apply_rng(hk.multi_transform(listen))
        self._parts: dict[str, np.ndarray] = {}  # Role -> what it sees, where that is not all.
        if config.listener.sees:
            assert source.map_shape is not None
            size = source.splits['train'].inputs.shape[1]
            self._parts = halves(source.map_shape, size)

    def init_speaker(self, key: Key, batch: Batch) -> Agent:
        return Agent(self._speaker.init(key, batch.speaker_inputs, self._silence(batch)), {})

    def init_listener(self, key: Key, batch: Batch) -> Agent:
        return Agent(self._listener.init(key, self._silence(batch), batch.listener_inputs), {})

    def init_shared(self, key: Key, batch: Batch) -> Agent:
        del key, batch
        return Agent({}, {})

    def look(self, shared: Agent, batch: Batch) -> Batch:
        del shared
        return batch

    backbone = look

    def perceive(self, role: str, agent: Agent, inputs: Array) -> Array:
        del role, agent
        return inputs

    # --- training ---

    def play(
        self, pair: Pair, key: Key, batch: Batch, step: Array, forced: Message | None = None
    ) -> tuple[Episode, Pair]:
        """`forced` says what the speaker says; the listener still explores, by the same draws."""
        channel = self._channel
        keys = jax.random.split(key, 5)
        shape = (channel.length, channel.vocab_size)
        noises = {
            'said': channels.logistic_noise(keys[0], batch.position, shape),
            'answer': channels.logistic_noise(keys[1], batch.position, shape),
        }
        if forced is not None:
            assert forced.relaxed is not None
            noises['forced'] = forced.relaxed
        temperature = channels.temperature_at(self._channel, step, self._training_steps)
        own = self._own_voice(pair.speaker, batch)

        def say(turn: Array, heard: Array, noise: Any) -> tuple[Array, Array, Array]:
            logits, value = own(turn, heard)
            if forced is not None:
                return noise['forced'], logits, value
            if not self._learns:  # Frozen speakers have nothing to explore.
                return jax.lax.stop_gradient(self._greedy(logits)), logits, value
            kind = channel.kind
            return channels.transmit_bits(kind, logits, noise['said'], temperature), logits, value

        def answer(logits: Array, noise: Any) -> Array:
            return channels.transmit_bits(channel.kind, logits, noise['answer'], temperature)

        noises, carry = self._with_flips(noises, keys[2], batch.position, channel.noise)
        if channel.shuffled:
            carry = _shuffled(keys[4], batch.position.shape[0], carry)
        turns = self._scan(pair.listener, batch, say, answer, carry, noises)
        drawn = channels.logistic_noise(keys[3], batch.position, (channel.length,))
        goes_on = channels.choose_bits(turns.go_logits + drawn)
        message, heard, guess, exchange = self._account(turns, goes_on)
        if channels.BITS[channel.kind] and self.variable_length:
            _, end = equations.stopping(jax.nn.sigmoid(turns.go_logits))
            message = message._replace(end=end)
        log_policy = equations.log_likelihood(turns.said[..., None], turns.said_logits[..., None])
        utterance = Utterance(message, log_policy, turns.said_value, None)
        return Episode(utterance, None, heard, guess, exchange=exchange), pair

    def terms(
        self, episode: Episode, key: Key, batch: Batch, axis_name: str | None
    ) -> dict[str, Term]:
        del key
        assert episode.exchange is not None
        message, exchange = episode.utterance.message, episode.exchange
        labels = batch.labels[self._label]
        log_chances = jax.nn.log_softmax(exchange.choices)
        own = jnp.broadcast_to(labels[:, None, None], (*exchange.choices.shape[:2], 1))
        surprise = -jnp.take_along_axis(log_chances, own, axis=-1)[..., 0]
        # Where turns are differentiated through, the expectation over where they end.
        loss = (message.end * surprise).sum(1)
        correct = losses.is_correct(episode.guess.logits[self._label], labels)
        values = {'listener_loss': (loss, 1.0), 'accuracy': (correct, 0.0)}
        length = channels.message_length(message)
        values['message_length'] = (message.mask.sum(1), 0.0)
        values |= exchange_terms(
            episode, self._loss, self._channel, loss, correct, length, batch.weight, axis_name
        )
        return {name: Term(value, batch.weight, c) for name, (value, c) in values.items()}

    def scores(self, prediction: Array, candidates: Array) -> Array:
        raise NotImplementedError('listeners of dialogues name a class')

    # --- evaluation ---

    def voice(self, speaker: Agent, batch: Batch) -> Voice:
        own = self._own_voice(speaker, batch)

        def say(turn: Array, heard: Array) -> tuple[Array, Array]:
            logits, _ = own(turn, heard)
            return self._greedy(logits), logits

        return say

    def converse(
        self,
        listener: Agent,
        key: Key,
        batch: Batch,
        voice: Voice,
        channel_noise: float,
        tampering: Tampering | None = None,
    ) -> tuple[Message, Guess, Exchange]:
        noise_key, order_key = jax.random.split(key)
        noises, carry = self._with_flips({}, noise_key, batch.position, channel_noise)
        size = batch.position.shape[0]
        if self._channel.shuffled:
            carry = _shuffled(jax.random.fold_in(order_key, 0), size, carry)
        if tampering is not None:
            other = channels.others(order_key, size)
            noises['tampering'] = jax.tree.map(
                lambda x: jnp.broadcast_to(x, (size, *x.shape)), tampering
            )
            straight = carry

            def carry(bits: Array, noise: Any, name: str) -> Array:
                bits, done = straight(bits, noise, name), noise['tampering']
                if name == 'answer':
                    return jnp.where(done.unanswered[:, None], 0.0, bits)
                bits = jnp.where(done.swapped[:, None], bits[other], bits)
                bits = channels.flip_bits(bits, done.flipped)
                return jnp.where(done.silenced[:, None], 0.0, bits)

        def say(turn: Array, heard: Array, noise: Any) -> tuple[Array, Array, Array]:
            said, logits = voice(turn, heard)
            return said, logits, jnp.zeros(logits.shape[0])

        turns = self._scan(
            listener, batch, say, lambda logits, noise: self._greedy(logits), carry, noises
        )
        # The product of the probabilities is rounded, so that whoever has stopped stays silent.
        together = jnp.cumprod(jax.nn.sigmoid(turns.go_logits), axis=1)
        goes_on = (together > 0.5).astype(jnp.float32)
        message, _, guess, exchange = self._account(turns, goes_on)
        return message, guess, exchange._replace(said_value=None, answer_value=None)

    # --- both ---

    def _scan(
        self,
        listener: Agent,
        batch: Batch,
        say: Callable[[Array, Array, Any], tuple[Array, Array, Array]],
        answer: Callable[[Array, Any], Array],
        carry: Callable[[Array, Any, str], Array],
        noises: dict[str, Any],
    ) -> _Turn:
        """Plays all turns; leaves [B, K, ...].

        Args:
          say: (turn, what the speaker has heard, noise) -> what it says, log-odds, value.
          answer: (log-odds, noise) -> what the listener answers.
          carry: (bits, noise, 'said' or 'answer') -> what arrives of them.
          noises: leaves [B, K, ...], of which each turn is given its own.
        """
        read, hear, begin = self._listener.apply
        known = read(listener.params)
        memory = begin(listener.params, self._part('listener', batch.listener_inputs))

        def turn(state: tuple[Array, Array], each: tuple[Array, Any]) -> Any:
            memory, answered = state
            number, noise = each
            said, said_logits, said_value = say(number, answered, noise)
            heard = carry(said, noise, 'said')
            memory, choices, go, answer_logits, answer_value = hear(
                listener.params, known, memory, heard, batch.among
            )
            reply = answer(answer_logits, noise)
            out = _Turn(
                said,
                said_logits,
                said_value,
                heard,
                reply,
                answer_logits,
                answer_value,
                choices,
                go,
            )
            return (memory, carry(reply, noise, 'answer')), out

        start = (memory, self._silence(batch))
        by_turn = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), noises)
        _, turns = jax.lax.scan(turn, start, (jnp.arange(self._channel.length), by_turn))
        played: _Turn = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), turns)
        return played

    def _account(self, turns: _Turn, goes_on: Array) -> tuple[Message, Message, Guess, Exchange]:
        """What was said, what was heard, the guess and the rest of a dialogue.

        goes_on: [B, K], 1 where the listener asks for another turn; read if it may."""
        asked = goes_on if self.variable_length else jnp.ones_like(goes_on)
        mask, end = equations.stopping(asked)
        nothing = jnp.zeros(mask.shape, jnp.int32)
        message = Message(nothing, turns.said, mask, end)
        last = (end[..., None] * turns.choices).sum(1)
        exchange = Exchange(
            turns.said_logits,
            turns.answer,
            turns.answer_logits,
            turns.go_logits,
            goes_on,
            turns.choices,
            turns.said_value,
            turns.answer_value,
        )
        heard = message._replace(relaxed=turns.heard)
        return message, heard, Guess(None, None, {self._label: last}), exchange

    def _with_flips(
        self, noises: dict[str, Any], key: Key, index: Array, rate: float
    ) -> tuple[dict[str, Any], Callable[[Array, Any, str], Array]]:
        """Adds to what is drawn the bits that are flipped on their way, both ways, at a rate."""
        if rate == 0.0:
            return noises, lambda bits, noise, name: bits
        shape = (2, self._channel.length, self._channel.vocab_size)
        hit = jax.vmap(lambda k: jax.random.bernoulli(k, rate, shape))(
            draws.example_keys(key, index)
        )
        noises = noises | {'said_flips': hit[:, 0], 'answer_flips': hit[:, 1]}
        return noises, lambda bits, noise, name: channels.flip_bits(bits, noise[f'{name}_flips'])

    def _greedy(self, logits: Array) -> Array:
        if self._channel.kind == 'continuous':
            return jax.nn.sigmoid(logits)
        return channels.choose_bits(logits)

    def _own_voice(
        self, speaker: Agent, batch: Batch
    ) -> Callable[[Array, Array], tuple[Array, Array]]:
        """(turn, heard) -> log-odds of what a speaker says, and the reward that it expects."""
        see, speak = self._speaker.apply
        seen: Tree = see(speaker.params, self._part('speaker', batch.speaker_inputs))
        return lambda turn, heard: speak(speaker.params, seen, turn, heard)

    def _part(self, role: str, inputs: Array) -> Array:
        return inputs * self._parts[role][None] if self._parts else inputs

    def _silence(self, batch: Batch) -> Array:
        return jnp.zeros((batch.position.shape[0], self._channel.vocab_size))


def _shuffled(
    key: Key, size: int, carry: Callable[[Array, Any, str], Array]
) -> Callable[[Array, Any, str], Array]:
    """Lets listeners hear what is said in another of the dialogues of a batch; see `_scan`."""
    other = channels.others(key, size)

    def carry_elsewhere(bits: Array, noise: Any, name: str) -> Array:
        heard = carry(bits, noise, name)
        return heard[other] if name == 'said' else heard

    return carry_elsewhere


def _vectors(config: ConfigDict, words: descriptions.Words) -> np.ndarray | None:
    """The vectors of words that stay as they are; None: they are learned."""
    if config.words == 'learned':
        return None
    if config.words == 'ngrams':
        return descriptions.ngram_vectors(words.vocabulary, config.word_size)
    vectors, unknown = descriptions.read_vectors(config.words, words.vocabulary)
    if unknown:
        few = ', '.join(unknown[:5]) + (' ...' if len(unknown) > 5 else '')
        print(f'{config.words} has no vectors of {len(unknown)} words, which count as 0: {few}')
    return vectors
