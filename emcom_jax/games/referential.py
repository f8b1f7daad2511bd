"""One message about a referent: the speaker sees a referent and says a message; the listener picks
the referent out among candidates, or names its class or attributes. Games of this kind differ in
their agents alone."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import haiku as hk
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import channels, losses
from emcom_jax.agents.sequence import Shapes
from emcom_jax.config import require
from emcom_jax.data.batches import make_augmentation
from emcom_jax.games.base import is_frozen
from emcom_jax.tables import look_up
from emcom_jax.types import (
    Agent,
    Array,
    Batch,
    Episode,
    Guess,
    Key,
    Message,
    Pair,
    Source,
    Term,
    Utterance,
)


class Speaker(Protocol):
    """inputs: [B, ...], what it sees of the referents.

    `sample` and `force` are for training (batch statistics are those of the batch), `greedy` for
    evaluation, and for who is frozen.
    """

    def sample(self, inputs: Array, noise: Array, temperature: Array | float) -> Utterance: ...

    def greedy(self, inputs: Array) -> Utterance: ...

    def force(self, inputs: Array, message: Message) -> Utterance: ...

    def see(self, inputs: Array) -> Array: ...


class Listener(Protocol):
    """inputs: as a speaker's. `see` returns features [B, D], from which an agent goes on."""

    def __call__(self, message: Message, inputs: Array, is_training: bool) -> Guess: ...

    def see(self, inputs: Array) -> Array: ...


class Agents(NamedTuple):
    """The Haiku modules of a game, made where they are traced.

    speaker: () -> module.
    listener: the labels that it names -> module.
    trunk: () -> module, (images, is_training) -> features; one for all agents, or None.
    trunk_learns: whether it does; else its batch statistics stay in training, too.
    own_trunks: whether agents see images with trunks of their own.
    """

    speaker: Callable[[], Speaker]
    listener: Callable[[Shapes], Listener]
    trunk: Callable[[], Callable[[Array, bool], Array]] | None = None
    trunk_learns: bool = False
    own_trunks: bool = False


class ReferentialGame:
    """See `games.base.Game` for the meaning of each function."""

    converses = False

    def __init__(self, config: ConfigDict, source: Source, agents: Agents):
        self._channel = channel = config.channel
        self._loss = config.loss
        self._frozen = {role: is_frozen(config, role) for role in ('speaker', 'listener')}
        self._training_steps = config.training_steps
        self._listener_loss = look_up(
            losses.LISTENER_LOSSES, config.loss.listener.name, 'listener loss'
        )
        self._speaker_loss = look_up(
            losses.SPEAKER_LOSSES, config.loss.speaker.name, 'speaker loss'
        )
        labels = _label_shapes(config, source, self._listener_loss.labels)
        self.kind = 'continuous' if channel.kind == 'continuous' else 'symbols'
        self.vocab_size = channel.vocab_size
        self.variable_length = channel.variable_length
        self.has_candidates = not labels
        self.reads_target = config.loss.speaker.kl != 0

        def speak() -> tuple[Callable[..., Any], Any]:
            speaker = agents.speaker()
            return speaker.sample, (speaker.sample, speaker.greedy, speaker.force, speaker.see)

        def listen() -> tuple[Callable[..., Any], Any]:
            listener = agents.listener(labels)
            return listener, (listener, listener.see)

        self._speaker = hk.multi_transform_with_state(speak)
        self._listener = hk.multi_transform_with_state(listen)
        self._trunk = None
        if agents.trunk is not None:
            make_trunk = agents.trunk
            self._trunk = hk.transform_with_state(
                lambda x, is_training: make_trunk()(x, is_training)
            )
        self.augmentation = make_augmentation(config.game) if config.evaluation.augment else None
        self.trunk_learns = agents.trunk_learns
        self.backbone_stays, self.reads_images = not agents.trunk_learns, False
        self.trunks = 'shared' if agents.trunk else 'own' if agents.own_trunks else 'none'

    def init_speaker(self, key: Key, batch: Batch) -> Agent:
        batch = self._features(batch)
        return Agent(*self._speaker.init(key, batch.speaker_inputs, self._noise(key, batch), 1.0))

    def init_listener(self, key: Key, batch: Batch) -> Agent:
        batch = self._features(batch)
        symbols = jnp.zeros((batch.position.shape[0], self._channel.length), jnp.int32)
        message = channels.make_message(symbols, None, self._channel.variable_length)
        return Agent(*self._listener.init(key, message, batch.listener_inputs, True))

    def init_shared(self, key: Key, batch: Batch) -> Agent:
        if self._trunk is None:
            return Agent({}, {})
        return Agent(*self._trunk.init(key, batch.speaker_inputs, True))

    def look(self, shared: Agent, batch: Batch) -> Batch:
        return self._look(shared, batch, is_training=False)[0]

    backbone = look

    def show(self, shared: Agent, message: Message) -> Message:
        del shared  # Words are not seen.
        return message

    def perceive(self, role: str, agent: Agent, inputs: Array) -> Array:
        if inputs.ndim == 2:
            return inputs
        see = self._speaker.apply[3] if role == 'speaker' else self._listener.apply[1]
        features, _ = see(*agent, None, inputs)
        return features

    def play(
        self, pair: Pair, key: Key, batch: Batch, step: Array, forced: Message | None = None
    ) -> tuple[Episode, Pair]:
        speak_key, channel_key = jax.random.split(key)
        batch, shared = self._look(pair.shared, batch, is_training=self.trunk_learns)
        sample, greedy, force, _ = self._speaker.apply
        params, state = pair.speaker
        if forced is not None:
            utterance, state = force(params, state, None, batch.speaker_inputs, forced)
        elif self._frozen['speaker']:
            # Frozen speakers have nothing to explore (Chaabouni et al. 2022, ease of learning).
            utterance, state = greedy(params, state, None, batch.speaker_inputs)
        else:
            noise = self._noise(speak_key, batch)
            args = (noise, channels.temperature_at(self._channel, step, self._training_steps))
            utterance, state = sample(params, state, None, batch.speaker_inputs, *args)
        target_log_policy = None
        if self.reads_target:
            message = jax.lax.stop_gradient(utterance.message)
            target = jax.lax.stop_gradient(pair.target)
            replay, _ = force(target, state, None, batch.speaker_inputs, message)
            target_log_policy = replay.log_policy
        heard = self._corrupt(channel_key, batch, utterance.message, self._channel.noise)
        hear, learns = self._listener.apply[0], not self._frozen['listener']
        guess, listener_state = hear(*pair.listener, None, heard, batch.listener_inputs, learns)
        pair = pair._replace(
            shared=shared,
            speaker=pair.speaker._replace(state=state),
            listener=pair.listener._replace(state=listener_state),
        )
        return Episode(utterance, target_log_policy, heard, guess), pair

    def terms(
        self, episode: Episode, key: Key, batch: Batch, axis_name: str | None
    ) -> dict[str, Term]:
        config = self._loss.speaker
        outcome = self._judge(episode.guess, batch, key, axis_name)
        loss, right = outcome.loss, outcome.correct
        if episode.guess.early is not None:
            # Rita et al. 2020: the mean over the symbols of a message, for both agents.
            candidates = episode.guess.candidates

            def after_symbol(guess: Guess) -> losses.Outcome:
                return self._judge(guess._replace(candidates=candidates), batch, key, axis_name)

            mask = episode.heard.mask
            loss, right = (
                (by_symbol.T * mask).sum(1) / mask.sum(1)
                for by_symbol in jax.vmap(after_symbol)(episode.guess.early)
            )
        reward = jax.lax.stop_gradient(right if config.reward == 'success' else -loss)
        cost = losses.length_cost(outcome.correct, batch.weight, config, axis_name)
        parts = self._speaker_loss.function(
            episode.utterance, episode.target_log_policy, reward, cost, config
        )
        parts['listener_loss'] = (loss, 1.0)
        parts['accuracy'] = (outcome.correct, 0.0)
        length = channels.message_length(episode.utterance.message)
        parts['message_length'] = (length, 0.0)
        return {name: Term(value, batch.weight, c) for name, (value, c) in parts.items()}

    def _judge(self, guess: Guess, batch: Batch, key: Key, axis_name: str | None) -> losses.Outcome:
        return self._listener_loss.function(guess, batch, self._loss.listener, key, axis_name)

    def scores(self, prediction: Array, candidates: Array) -> Array:
        temperature = self._loss.listener.temperature
        return self._listener_loss.scores(prediction, candidates, temperature)

    def say_greedy(self, speaker: Agent, batch: Batch) -> Message:
        _, greedy, _, _ = self._speaker.apply
        utterance, _ = greedy(*speaker, None, batch.speaker_inputs)
        return utterance.message

    def hear_greedy(
        self, listener: Agent, key: Key, batch: Batch, message: Message, channel_noise: float
    ) -> Guess:
        heard = self._corrupt(key, batch, message, channel_noise)
        hear, _ = self._listener.apply
        guess, _ = hear(*listener, None, heard, batch.listener_inputs, False)
        return guess._replace(early=None)

    def imitation_loss(self, speaker: Agent, message: Message, batch: Batch) -> Array:
        _, _, force, _ = self._speaker.apply
        replay, _ = force(*speaker, None, batch.speaker_inputs, message)
        return losses.cross_entropy(replay.log_policy, message.symbols, message.mask)

    def _look(self, shared: Agent, batch: Batch, is_training: bool) -> tuple[Batch, Agent]:
        """Returns the batch as the trunk sees it, and the trunk with its new state."""
        images, others = batch.speaker_inputs, batch.listener_inputs
        if self._trunk is None or images.ndim == 2:
            return batch, shared
        first, state = self._trunk.apply(*shared, None, images, is_training)
        second = first
        if others is not images:
            second, state = self._trunk.apply(shared.params, state, None, others, is_training)
        batch = batch._replace(speaker_inputs=first, listener_inputs=second)
        return batch, shared._replace(state=state)

    def _features(self, batch: Batch) -> Batch:
        """A batch of the shapes of what the trunk makes of this one."""
        if self._trunk is None:
            return batch
        trunk = self._trunk

        def see(key: Key, images: Array) -> Array:
            return trunk.apply(*trunk.init(key, images, False), None, images, False)[0]

        shape = jax.eval_shape(see, jax.random.key(0), batch.speaker_inputs)
        features = jnp.zeros(shape.shape, shape.dtype)
        return batch._replace(speaker_inputs=features, listener_inputs=features)

    def _noise(self, key: Key, batch: Batch) -> Array:
        channel = self._channel
        return channels.gumbel_noise(key, batch.position, channel.length, channel.vocab_size)

    def _corrupt(self, key: Key, batch: Batch, message: Message, rate: float) -> Message:
        channel = self._channel
        if channel.shuffled:
            key, shuffle_key = jax.random.split(key)
            message = channels.shuffle(shuffle_key, message, self.has_candidates)
        return channels.corrupt(
            key, batch.position, message, channel.vocab_size, rate, channel.variable_length
        )


def _label_shapes(config: ConfigDict, source: Source, rank: int) -> Shapes:
    """Returns the label that the listener must name with its shape, or nothing to name.

    Raises:
      ValueError: the data have no such label, or none of this rank.
    """
    if rank == 0:
        return {}
    name = config.loss.listener.label
    labels = source.splits['train'].labels
    fitting = [key for key, values in labels.items() if values.ndim == rank]
    require(
        config,
        'loss.listener.label',
        name in fitting,
        f'is no label for loss.listener.name={config.loss.listener.name!r}; '
        f'{source.name} has {fitting or "none"}',
    )
    values = source.num_values[name]
    return {name: (values,) if rank == 1 else (labels[name].shape[1], values)}
