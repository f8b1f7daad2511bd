"""The sketching game (Mihai and Hare 2021, Learning to draw): the speaker sees an image and draws
it; the listener sees the drawing, and picks the image out among candidates.

What passes from one to the other are strokes; the canvas is a function of them. Images and drawings
are seen by one trunk that all agents share, or by trunks of their own, with a projection that is
shared as well or each agent's own.
"""

import math
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import channels, losses
from emcom_jax.agents.sketching import (
    Eyes,
    Listener,
    Speaker,
    draw,
    flat,
)
from emcom_jax.agents.vision import Features, make_trunk
from emcom_jax.data.bank import scaling_of
from emcom_jax.data.batches import make_augmentation
from emcom_jax.games.sketching_check import check as check  # Of the table of games.
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


def make(config: ConfigDict, source: Source, axis_name: str | None = None) -> 'Sketching':
    """Returns the game; see `games.base.Game`.

    axis_name: of the devices over which batch norm takes its statistics in training.
    """
    return Sketching(config, source, axis_name)


class Sketching:
    """See `games.base.Game` for the meaning of each function. There is no imitation."""

    kind = 'drawings'
    vocab_size = 0
    variable_length = False
    has_candidates = True
    reads_target = False
    converses = False

    def __init__(self, config: ConfigDict, source: Source, axis_name: str | None):
        self._channel, self._loss = config.channel, config.loss
        self._training_steps = config.training_steps
        self._listener_loss = look_up(
            losses.LISTENER_LOSSES, config.loss.listener.name, 'listener loss'
        )
        self._images = source.splits['train'].inputs.shape[1:]
        self._scaling = scaling_of(config.data)
        alike = config.game.shared_trunk
        projects = alike and config.game.shared_projection
        # What one role sees with must not change while that role stays as it is.
        self._learns = {
            'speaker': config.loss.speaker.name != 'none',
            'listener': config.population.listener_learns != (),
        }
        stays = not all(self._learns.values())
        frozen = config.speaker.trunk.frozen
        self.trunks = 'shared' if alike else 'own'
        self.trunk_learns = alike and not stays and (projects or not frozen)
        self.backbone_stays = stays or frozen
        self.reads_images = config.loss.perceptual.coefficient != 0
        self.augmentation = make_augmentation(config.game) if config.evaluation.augment else None

        latent, map_shape = config.game.latent_size, self._map_shape(config.speaker.trunk)
        # Of what comes to an agent.
        self._size = latent if projects else math.prod(map_shape)

        def own_eyes(role: ConfigDict) -> Eyes:
            trunk = None if alike else role.trunk
            return Eyes(trunk, None if projects else latent, axis_name)

        def speak() -> tuple[Callable[..., Any], Any]:
            cells = map_shape if config.speaker.attention else None
            speaker = Speaker(config.speaker, config.channel, own_eyes(config.speaker), cells)

            def init(inputs: Array) -> Message:
                features = inputs if alike else flat(speaker.see(inputs, True))
                return speaker.sample(features, jnp.zeros((len(inputs), config.channel.length)))

            return init, (speaker.see, speaker.sample, speaker.greedy)

        def listen() -> tuple[Callable[..., Any], Any]:
            listener = Listener(config.listener, own_eyes(config.listener))

            def init(inputs: Array) -> Guess:
                features = inputs if alike else flat(listener.see(inputs, True))
                return listener(features, features)

            return init, (listener.see, listener)

        def see_alike() -> tuple[Callable[..., Any], Any]:
            eyes = Eyes(config.speaker.trunk, latent if projects else None, axis_name)
            return lambda images: eyes.project(flat(eyes.look(images, True))), (
                eyes.look,
                eyes.project,
            )

        self._speaker = hk.multi_transform_with_state(speak)
        self._listener = hk.multi_transform_with_state(listen)
        self._shared = hk.multi_transform_with_state(see_alike)

    def _map_shape(self, trunk: ConfigDict) -> tuple[int, ...]:
        """[h, w, channels] of the last map that a trunk makes of an image."""
        see = hk.transform_with_state(lambda x: make_trunk(trunk)(x, False).blocks[-1])
        one = jax.ShapeDtypeStruct((1, *self._images), jnp.float32)
        key = jax.random.key(0)
        made: Array = jax.eval_shape(lambda x: see.apply(*see.init(key, x), None, x)[0], one)
        return made.shape[1:]

    def init_speaker(self, key: Key, batch: Batch) -> Agent:
        return Agent(*self._speaker.init(key, self._inputs(batch.speaker_inputs)))

    def init_listener(self, key: Key, batch: Batch) -> Agent:
        return Agent(*self._listener.init(key, self._inputs(batch.listener_inputs)))

    def init_shared(self, key: Key, batch: Batch) -> Agent:
        if self.trunks == 'own':
            return Agent({}, {})
        return Agent(*self._shared.init(key, batch.speaker_inputs))

    def _inputs(self, images: Array) -> Array:
        """What comes to an agent, of the shape that it has."""
        return images if self.trunks == 'own' else jnp.zeros((images.shape[0], self._size))

    def play(
        self, pair: Pair, key: Key, batch: Batch, step: Array, forced: Message | None = None
    ) -> tuple[Episode, Pair]:
        draw_key, channel_key = jax.random.split(key)
        images, others = batch.speaker_inputs, batch.listener_inputs
        blocks: tuple[Array, ...] = ()
        first, second = images, others
        if images.ndim == 4:
            features, pair = self._learn_to_see('speaker', pair, images)
            first, blocks = flat(features), features.blocks
        elif self.reads_images:
            assert batch.images is not None
            blocks = self._see('speaker', pair, batch.images).blocks
        if others is images and self.trunks == 'shared':
            second = first
        elif others.ndim == 4:
            features, pair = self._learn_to_see('listener', pair, others)
            second = flat(features)
        first, second = (self._project(pair.shared, x) for x in (first, second))

        message, (_, sample, greedy) = forced, self._speaker.apply
        if message is None and not self._learns['speaker']:
            message, _ = greedy(*pair.speaker, None, first)
        elif message is None:
            noise = channels.logistic_noise(draw_key, batch.position, (self._channel.length,))
            message, _ = sample(*pair.speaker, None, first, noise)

        # The batch statistics of a trunk are those of images: a drawing does not move them.
        drawing = self._drawing(message, self._sigma2(step))
        seen = self._see('listener', pair, drawing)
        heard = message._replace(seen=self._project(pair.shared, flat(seen)))
        if self._channel.shuffled:
            heard = channels.shuffle(channel_key, heard, self.has_candidates)
        _, hear = self._listener.apply
        guess, _ = hear(*pair.listener, None, heard.seen, second)
        maps = None
        if self.reads_images:
            drawn = seen if self.trunks == 'shared' else self._see('speaker', pair, drawing)
            maps = tuple(zip(drawn.blocks, jax.lax.stop_gradient(blocks), strict=True))
        no_policy = jnp.zeros((*message.symbols.shape, 0))
        return Episode(Utterance(message, no_policy, None, None), None, heard, guess, maps), pair

    def terms(
        self, episode: Episode, key: Key, batch: Batch, axis_name: str | None
    ) -> dict[str, Term]:
        config, message = self._loss, episode.utterance.message
        outcome = self._listener_loss.function(
            episode.guess, batch, config.listener, key, axis_name
        )
        parts = {
            'listener_loss': (outcome.loss, 1.0),
            'accuracy': (outcome.correct, 0.0),
            'message_length': (message.mask.sum(axis=1), 0.0),
        }
        if episode.maps is not None:
            likeness = losses.perceptual(episode.maps, config.perceptual.weights)
            parts['perceptual_loss'] = (likeness, config.perceptual.coefficient)
        if config.speaker.length_cost:
            assert message.relaxed is not None
            cost = losses.length_cost(outcome.correct, batch.weight, config.speaker, axis_name)
            parts['length_loss'] = (cost * message.relaxed[..., -1].sum(axis=1), 1.0)
        return {name: Term(value, batch.weight, c) for name, (value, c) in parts.items()}

    def look(self, shared: Agent, batch: Batch) -> Batch:
        batch = self.backbone(shared, batch)
        if batch.speaker_inputs.ndim == 4:
            return batch
        first = self._project(shared, batch.speaker_inputs)
        second = first
        if batch.listener_inputs is not batch.speaker_inputs:
            second = self._project(shared, batch.listener_inputs)
        return batch._replace(speaker_inputs=first, listener_inputs=second)

    def backbone(self, shared: Agent, batch: Batch) -> Batch:
        images, others = batch.speaker_inputs, batch.listener_inputs
        if self.trunks == 'own' or images.ndim == 2:
            return batch
        pair = Pair(shared, shared, {}, shared)
        first = flat(self._see('speaker', pair, images))
        second = first if others is images else flat(self._see('listener', pair, others))
        return batch._replace(speaker_inputs=first, listener_inputs=second)

    def perceive(self, role: str, agent: Agent, inputs: Array) -> Array:
        if self.trunks == 'shared' or inputs.ndim == 2:
            return inputs
        return flat(self._see(role, Pair(agent, agent, {}, agent), inputs))

    def show(self, shared: Agent, message: Message) -> Message:
        if self.trunks == 'own':
            return message
        pair = Pair(shared, shared, {}, shared)
        seen = flat(self._see('listener', pair, self._drawing(message, self._last_sigma2)))
        return message._replace(seen=self._project(shared, seen))

    def scores(self, prediction: Array, candidates: Array) -> Array:
        return losses.dot_scores(prediction, candidates, self._loss.listener.temperature)

    def say_greedy(self, speaker: Agent, batch: Batch) -> Message:
        _, _, greedy = self._speaker.apply
        message: Message = greedy(*speaker, None, batch.speaker_inputs)[0]
        return message

    def hear_greedy(
        self, listener: Agent, key: Key, batch: Batch, message: Message, channel_noise: float
    ) -> Guess:
        del channel_noise  # There are no symbols to replace.
        drawn = message.seen
        if drawn is None:
            drawing = self._drawing(message, self._last_sigma2)
            drawn = flat(self._see('listener', Pair(listener, listener, {}, listener), drawing))
        if self._channel.shuffled:
            drawn = channels.shuffle(key, message._replace(seen=drawn), self.has_candidates).seen
        _, hear = self._listener.apply
        guess: Guess = hear(*listener, None, drawn, batch.listener_inputs)[0]
        return guess

    def _whose(self, role: str, pair: Pair) -> tuple[Callable[..., Any], str]:
        """The function by which a role looks at images, and whose eyes these are."""
        if self.trunks == 'shared':
            return self._shared.apply[0], 'shared'
        return (self._speaker if role == 'speaker' else self._listener).apply[0], role

    def _learn_to_see(self, role: str, pair: Pair, images: Array) -> tuple[Features, Pair]:
        """What a role makes of images in training, and the pair with new batch statistics."""
        look, whose = self._whose(role, pair)
        agent: Agent = getattr(pair, whose)
        learns = self._learns[role] if self.trunks == 'own' else not self.backbone_stays
        features, state = look(*agent, None, images, learns)
        return features, pair._replace(**{whose: agent._replace(state=state)})

    def _see(self, role: str, pair: Pair, images: Array) -> Features:
        """What a role makes of images [B, H, W, 3], by its running averages."""
        look, whose = self._whose(role, pair)
        features: Features = look(*getattr(pair, whose), None, images, False)[0]
        return features

    def _project(self, shared: Agent, flat: Array) -> Array:
        """What the shared projection, if there is one, makes of a flat map [B, F]."""
        if self.trunks == 'own':
            return flat
        projected: Array = self._shared.apply[1](*shared, None, flat)[0]
        return projected

    def _drawing(self, message: Message, sigma2: Array | float) -> Array:
        """The drawing as agents see it, as they see images: [B, H, W, 3], black on white."""
        canvas = 1 - draw(message, self._channel.stroke, self._images[:2], sigma2)
        image = jnp.repeat(canvas[..., None], 3, axis=-1)
        if self._scaling is None:
            return image
        shift, scale = (jnp.asarray(x).reshape(1, 1, 1, 3) for x in self._scaling)
        return (image - shift) / scale

    def _sigma2(self, step: Array) -> Array | float:
        first, last = self._channel.sigma2, self._last_sigma2
        if first == last:
            return first
        return channels.by_factors(first, last, step, self._training_steps)

    @property
    def _last_sigma2(self) -> float:
        """In evaluation drawings are as they will be in the end."""
        end = self._channel.sigma2_end
        return self._channel.sigma2 if end is None else end
