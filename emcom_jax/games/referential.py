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
from emcom_jax.agents.sequence import HEADS
from emcom_jax.config import get, require
from emcom_jax.data.batches import make_augmentation
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

TEMPERATURES = ('fixed', 'scheduled', 'learned')
REWARDS = ('success', 'log_likelihood')

Shapes = dict[str, tuple[int, ...]]  # label name -> (n,) of a class, or (A, n) of attributes.


class Speaker(Protocol):
    """inputs: [B, ...], what it sees of the referents.

    `sample` and `force` are for training (batch statistics are those of the batch), `greedy` for
    evaluation.
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

    def __init__(self, config: ConfigDict, source: Source, agents: Agents):
        self._channel = channel = config.channel
        self._loss = config.loss
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
        elif self._loss.speaker.name == 'none':
            # Frozen speakers have nothing to explore (Chaabouni et al. 2022, ease of learning).
            utterance, state = greedy(params, state, None, batch.speaker_inputs)
        else:
            noise = self._noise(speak_key, batch)
            args = (noise, self._temperature(step))
            utterance, state = sample(params, state, None, batch.speaker_inputs, *args)
        target_log_policy = None
        if self.reads_target:
            message = jax.lax.stop_gradient(utterance.message)
            target = jax.lax.stop_gradient(pair.target)
            replay, _ = force(target, state, None, batch.speaker_inputs, message)
            target_log_policy = replay.log_policy
        heard = self._corrupt(channel_key, batch, utterance.message, self._channel.noise)
        hear, _ = self._listener.apply
        guess, listener_state = hear(*pair.listener, None, heard, batch.listener_inputs, True)
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
        reward = outcome.correct if config.reward == 'success' else -outcome.loss
        reward = jax.lax.stop_gradient(reward)
        cost = losses.length_cost(outcome.correct, batch.weight, config, axis_name)
        parts = self._speaker_loss.function(
            episode.utterance, episode.target_log_policy, reward, cost, config
        )
        loss = outcome.loss
        if episode.guess.early is not None:
            # Rita et al. 2020: the mean over the symbols of a message.
            candidates = episode.guess.candidates

            def after_symbol(guess: Guess) -> Array:
                return self._judge(
                    guess._replace(candidates=candidates), batch, key, axis_name
                ).loss

            by_symbol = jax.vmap(after_symbol)(episode.guess.early)
            mask = episode.heard.mask
            loss = (by_symbol.T * mask).sum(1) / mask.sum(1)
        parts['listener_loss'] = (loss, 1.0)
        parts['accuracy'] = (outcome.correct, 0.0)
        length = channels.message_length(episode.utterance.message)
        parts['message_length'] = (length, 0.0)
        return {name: Term(value, batch.weight, c) for name, (value, c) in parts.items()}

    def _judge(self, guess: Guess, batch: Batch, key: Key, axis_name: str | None) -> losses.Outcome:
        return self._listener_loss.function(guess, batch, self._loss.listener, key, axis_name)

    def scores(self, prediction: Array, candidates: Array) -> Array:
        return losses.cosine_scores(prediction, candidates, self._loss.listener.temperature)

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
            message = channels.shuffle(shuffle_key, message)
        return channels.corrupt(
            key, batch.position, message, channel.vocab_size, rate, channel.variable_length
        )

    def _temperature(self, step: Array) -> Array | float:
        channel = self._channel
        if channel.temperature_mode != 'scheduled':
            return channel.temperature
        progress = jnp.clip(step / self._training_steps, 0.0, 1.0)
        return channel.temperature * (channel.temperature_end / channel.temperature) ** progress


def check(config: ConfigDict, source: Source) -> None:
    """Refuses settings that do not fit together; raises ValueError with one sentence."""
    channel, loss = config.channel, config.loss
    differentiable = look_up(channels.DIFFERENTIABLE, channel.kind, 'channel kind')
    speaker_loss = look_up(losses.SPEAKER_LOSSES, loss.speaker.name, 'speaker loss')
    noisy = channel.noise or config.evaluation.channel_noise
    smallest = 3 if channel.variable_length and noisy else 2
    fits = (differentiable, None)
    right = [name for name, one in losses.SPEAKER_LOSSES.items() if one.differentiable in fits]
    heads = [
        name
        for name in speaker_loss.heads
        if HEADS[name][0] or not (loss.speaker.name == 'reinforce' and loss.speaker.baseline)
    ]
    # The real vectors of a continuous message are no policy and have no symbols.
    for key in (
        'channel.noise',
        'channel.variable_length',
        'evaluation.channel_noise',
        'updates.imitate.every',
        'loss.speaker.entropy',
        'loss.speaker.kl',
    ):
        means_something = channel.kind != 'continuous' or not get(config, key)
        require(config, key, means_something, "must be off for channel.kind='continuous'")
    for key in ('loss.speaker.entropy', 'loss.speaker.kl', 'loss.speaker.length_cost'):
        read = loss.speaker.name != 'none' or not get(config, key)
        require(config, key, read, "must be off for loss.speaker.name='none'")
    for key, holds, sentence in (
        ('channel.vocab_size', channel.vocab_size >= smallest, f'must be at least {smallest}'),
        ('channel.length', channel.length >= 1, 'must be at least 1'),
        ('channel.noise', 0 <= channel.noise <= 1, 'is a rate: it must lie in [0, 1]'),
        ('channel.temperature', channel.temperature > 0, 'must be above 0'),
        ('channel.temperature_end', channel.temperature_end > 0, 'must be above 0'),
        (
            'channel.temperature_mode',
            channel.temperature_mode in TEMPERATURES,
            f'must be one of {TEMPERATURES}',
        ),
        (
            'channel.temperature_mode',
            channel.temperature_mode == 'fixed' or channel.kind in ('gumbel', 'gumbel_st'),
            f'has no meaning for channel.kind={channel.kind!r}: it must be fixed',
        ),
        ('game.input_noise', config.game.input_noise >= 0, 'must not be negative'),
        ('loss.listener.temperature', loss.listener.temperature > 0, 'must be above 0'),
        ('loss.speaker.reward', loss.speaker.reward in REWARDS, f'must be one of {REWARDS}'),
        (
            'loss.speaker.name',
            speaker_loss.differentiable in fits,
            f'does not fit channel.kind={channel.kind!r}: it must be one of {right}',
        ),
        (
            'loss.speaker.reward',
            loss.speaker.reward == 'success' or not differentiable,
            f'is not read with loss.speaker.name={loss.speaker.name!r}: leave it unset',
        ),
        (
            'loss.speaker.length_cost',
            loss.speaker.length_cost == 0 or channel.variable_length,
            'changes nothing where all messages have one length: set channel.variable_length',
        ),
        (
            'loss.speaker.length_cost_power',
            loss.speaker.length_cost_power == 0 or loss.speaker.length_cost > 0,
            'changes nothing with loss.speaker.length_cost=0.0: set that',
        ),
        (
            'loss.speaker.length_cost_power',
            loss.speaker.length_cost_power >= 0,
            'must not be negative',
        ),
        (
            'speaker.head',
            config.speaker.head in heads,
            f'does not serve loss.speaker.name={loss.speaker.name!r}: it must be one of {heads}',
        ),
        (
            'speaker.torso',
            config.speaker.torso in ('identity', 'mlp'),
            "must be 'identity' or 'mlp'",
        ),
    ):
        require(config, key, holds, sentence)


def _label_shapes(config: ConfigDict, source: Source, rank: int) -> dict[str, tuple[int, ...]]:
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
