"""SimCLR (Chen et al. 2020) as a game, to compare agents that talk with (Dessì et al. 2021): one
network sees two views of an image, and learns to tell which views belong together.

In training nothing is said: what passes is the layer s itself, real-valued and without noise. In
evaluation the network is a communicator without having learnt to be one. The speaker says which
unit of a layer is the most active (s; `evaluation.symbols_from`), and the listener passes a one-hot
vector in place of that layer through what follows it, and compares the z that comes out with the z
of each candidate.

Speaker and listener are the same network, so all of it is the shared trunk. `look` gives speakers
the layer [B, V] and listeners how well each symbol fits a referent [B, V], a cosine.
"""

import chex
import haiku as hk
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import channels, losses
from emcom_jax.agents.simclr import LAYERS, Network
from emcom_jax.agents.vision import check_trunk
from emcom_jax.config import get, one_of, require
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


def make(config: ConfigDict, source: Source, axis_name: str | None = None) -> 'SimCLR':
    """Returns the game; see `games.base.Game`.

    axis_name: of the devices over which batch norm takes its statistics in training.
    """
    return SimCLR(config, source, axis_name)


class SimCLR:
    """See `games.base.Game` for the meaning of each function. There is no imitation."""

    kind = 'symbols'
    variable_length = False
    has_candidates = True
    reads_target = False
    trunks = 'shared'
    trunk_learns = True
    backbone_stays = False
    reads_images = False
    converses = False

    def __init__(self, config: ConfigDict, source: Source, axis_name: str | None):
        self._loss = config.loss.listener
        self._nt_xent = look_up(losses.LISTENER_LOSSES, self._loss.name, 'listener loss').function
        self._layer = config.evaluation.symbols_from

        def network(inputs: Array, layer: str | None, is_training: bool) -> dict[str, Array]:
            sizes = (config.channel.vocab_size, config.listener.projection_sizes[-1])
            return Network(config.speaker.trunk, *sizes, axis_name)(inputs, layer, is_training)

        self._network = hk.transform_with_state(network)
        self.augmentation = make_augmentation(config.game) if config.evaluation.augment else None

        def see(key: Key, images: Array) -> dict[str, Array]:
            return self._see(Agent(*self._network.init(key, images, None, False)), images)

        images = jnp.zeros((1, *source.splits['train'].inputs.shape[1:]))
        layers = jax.eval_shape(see, jax.random.key(0), images)
        self.vocab_size = layers[self._layer].shape[-1]

    def init_speaker(self, key: Key, batch: Batch) -> Agent:
        # A number that nothing reads: stacks of agents have an axis.
        return Agent({'nothing': {'w': jnp.zeros(1)}}, {})

    init_listener = init_speaker

    def init_shared(self, key: Key, batch: Batch) -> Agent:
        return Agent(*self._network.init(key, batch.speaker_inputs, None, True))

    def play(
        self, pair: Pair, key: Key, batch: Batch, step: Array, forced: Message | None = None
    ) -> tuple[Episode, Pair]:
        del key, step
        params, state = pair.shared
        run = self._network.apply
        first, state = run(params, state, None, batch.speaker_inputs, None, True)
        second, state = run(params, state, None, batch.listener_inputs, None, True)
        hidden, message = first['s'][:, None], forced
        if message is None:
            message = channels.make_message(channels.choose(hidden), hidden, False)
        heard = message.relaxed
        if heard is None:
            heard = jax.nn.one_hot(message.symbols, hidden.shape[-1])
        output, _ = run(params, state, None, heard[:, 0], 's', True)
        utterance = Utterance(message, jax.nn.log_softmax(hidden), None, None)
        guess = Guess(output['z'], second['z'], {})
        pair = pair._replace(shared=pair.shared._replace(state=state))
        return Episode(utterance, None, message, guess), pair

    def terms(
        self, episode: Episode, key: Key, batch: Batch, axis_name: str | None
    ) -> dict[str, Term]:
        outcome = self._nt_xent(episode.guess, batch, self._loss, key, axis_name)
        return {
            'listener_loss': Term(outcome.loss, batch.weight, 1.0),
            'accuracy': Term(outcome.correct, batch.weight),
        }

    def look(self, shared: Agent, batch: Batch) -> Batch:
        images, others = batch.speaker_inputs, batch.listener_inputs
        if images.ndim == 2:
            return batch
        first = self._see(shared, images)
        second = first if others is images else self._see(shared, others)
        # What each symbol says, a unit of its layer and no other.
        said, _ = self._network.apply(*shared, None, jnp.eye(self.vocab_size), self._layer, False)
        fit = losses.cosine_scores(second['z'], said['z'])
        return batch._replace(speaker_inputs=first[self._layer], listener_inputs=fit)

    backbone = look

    def show(self, shared: Agent, message: Message) -> Message:
        del shared  # Words are not seen.
        return message

    def perceive(self, role: str, agent: Agent, inputs: Array) -> Array:
        del role, agent
        return inputs

    def scores(self, prediction: Array, candidates: Array) -> Array:
        chex.assert_rank([prediction, candidates], 2)
        return prediction @ candidates.T / self._loss.temperature

    def say_greedy(self, speaker: Agent, batch: Batch) -> Message:
        del speaker
        return channels.make_message(channels.choose(batch.speaker_inputs)[:, None], None, False)

    def hear_greedy(
        self, listener: Agent, key: Key, batch: Batch, message: Message, channel_noise: float
    ) -> Guess:
        del listener
        size = self.vocab_size
        heard = channels.corrupt(key, batch.position, message, size, channel_noise, False)
        return Guess(jax.nn.one_hot(heard.symbols[:, 0], size), batch.listener_inputs, {})

    def _see(self, shared: Agent, images: Array) -> dict[str, Array]:
        layers, _ = self._network.apply(*shared, None, images, None, False)
        return layers


def check(config: ConfigDict, source: Source) -> None:
    """Refuses settings that do not fit together; raises ValueError with one sentence."""
    images = source.splits['train'].inputs.ndim == 4
    require(config, 'game.name', images, f'sees images: {source.name} has features')
    check_trunk(config, 'speaker')
    alone = 'as SimCLR is one network, which has its config in speaker.trunk'
    for key, right, why in (
        ('game.shared_trunk', True, alone),
        ('speaker.trunk.frozen', False, 'as it is what SimCLR trains'),
        ('listener.trunk.name', None, alone),
        ('speaker.groups', None, alone),
        ('listener.groups', None, alone),
        ('channel.kind', 'categorical', 'which is how SimCLR speaks in evaluation'),
        ('channel.length', 1, 'as SimCLR says one symbol'),
        ('channel.variable_length', False, 'as SimCLR says one symbol'),
        ('channel.noise', 0.0, 'as nothing is said in training'),
        ('channel.shuffled', False, 'as nothing is said in training'),
        ('loss.speaker.name', 'none', 'as no speaker learns'),
        ('loss.speaker.entropy', 0.0, 'as no speaker learns'),
        ('loss.speaker.kl', 0.0, 'as no speaker learns'),
        ('loss.speaker.length_cost', 0.0, 'as no speaker learns'),
        ('loss.listener.name', 'nt_xent', 'which is the loss of SimCLR'),
        ('population.num_speakers', 1, 'as SimCLR is one network'),
        ('population.num_listeners', 1, 'as SimCLR is one network'),
        ('population.listener_learns', None, 'as no listener learns'),
        ('population.listener_speeds', None, 'as no listener learns'),
        ('population.listener_chances', None, 'as no listener learns'),
        ('updates.imitate.every', None, 'as there is nobody to imitate'),
        ('updates.reset.every', None, 'as there is no agent to reset'),
        ('updates.generations.every', None, 'as there is no agent to replace'),
    ):
        value = get(config, key)
        require(config, key, value == right, f'must be {right!r} {why}')
    views = config.game.views
    require(config, 'game.views', views != 'same', 'is one view: SimCLR needs two of an image')
    layer = config.evaluation.symbols_from
    require(config, 'evaluation.symbols_from', layer in LAYERS, one_of(*LAYERS))
    one = len(config.listener.projection_sizes) == 1
    require(config, 'listener.projection_sizes', one, 'must hold one number, the units of z')
    units = config.channel.vocab_size
    require(config, 'channel.vocab_size', units >= 2, 'must be at least 2, the units of s')
    temperature = config.loss.listener.temperature
    require(config, 'loss.listener.temperature', temperature > 0, 'must be above 0')
    require(config, 'game.input_noise', config.game.input_noise >= 0, 'must not be negative')
    fresh = config.experiment not in ('ease_of_learning', 'newcomer')
    require(config, 'experiment', fresh, 'needs agents that learn, which SimCLR has not')
