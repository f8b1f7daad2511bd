"""What tests share: strict JAX on the CPU, and a world so small that compiling it is the cost."""

import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# Before anything compiles, here and in the processes that tests start. Optimising a program takes
# longer than running one of this size, and so does waking a second thread to multiply matrices.
FLAGS = (
    '--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE',
    '--xla_cpu_use_fusion_emitters=false',
    '--xla_cpu_parallel_codegen_split_count=1',
)
os.environ['XLA_FLAGS'] = ' '.join((*FLAGS, os.environ.get('XLA_FLAGS', '')))
os.environ['OMP_NUM_THREADS'] = '1'

import jax  # noqa: E402

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_disable_most_optimizations', True)

# No test finds a WordNet that it has not asked for: all machines are alike.
os.environ['WNSEARCHDIR'] = 'no-wordnet'

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from dictionaries import write_dictionary  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from emcom_jax import config as config_lib  # noqa: E402
from emcom_jax import dynamics, steps, updates  # noqa: E402
from emcom_jax.data.bank import make_bank  # noqa: E402
from emcom_jax.data.batches import draw, look_at  # noqa: E402
from emcom_jax.games import GAMES, Game  # noqa: E402
from emcom_jax.optimizers import make_optimizer  # noqa: E402
from emcom_jax.population import Optimizers, init_population, make_meetings  # noqa: E402
from emcom_jax.types import (  # noqa: E402
    Agent,
    Array,
    Bank,
    Batch,
    EvalRecord,
    Key,
    Pair,
    Population,
    Source,
    Split,
    Term,
    Tree,
)

BATCH, LENGTH, VOCAB, SIZE = 8, 3, 5, 6  # B, T, V, and D = H = E.
TARGET_EMA = 0.9
ROLES = ('speaker', 'listener', 'shared')

TINY = {
    'training_steps': 100,
    'data.batch_size': BATCH,
    'channel.vocab_size': VOCAB,
    'channel.length': LENGTH,
    **{
        key.format(role): value
        for role in ('speaker', 'listener')
        for key, value in {
            '{}.core': 'gru',
            '{}.hidden_size': SIZE,
            '{}.embed_size': SIZE,
            '{}.num_heads': 2,
            'optimizer.{}.learning_rate': 0.01,
            'optimizer.{}.schedule': 'constant',
        }.items()
    },
    'listener.projection_sizes': (SIZE,),
    'loss.speaker.entropy': 1e-4,
    'loss.speaker.kl': 0.5,
    'evaluation.num_candidates': (4, 16),
    'evaluation.redraws': 3,
    'evaluation.best_metric': 'accuracy@16',
    'evaluation.metrics': ('accuracy', 'voting'),  # Of messages of any kind.
}


def tiny_config(changes: Mapping[str, Any] | None = None) -> ConfigDict:
    """A locked config of tiny agents, with changes {'group.key': value}."""
    return config_lib.recipe('tiny', {'tiny': TINY | dict(changes or {})})


def tiny_source() -> Source:
    """64 random referents with a class of four values, which are described, and two attributes of
    three; their features are a map of 2 x 2 places, and a context of 2."""
    rng = np.random.default_rng(0)
    split = Split(
        rng.standard_normal((64, SIZE)).astype(np.float32),
        {
            'class': rng.integers(0, 4, 64).astype(np.int32),
            'attributes': rng.integers(0, 3, (64, 2)).astype(np.int32),
        },
    )
    splits = {'train': split, 'valid': split, 'test': split}
    said = ('a red wheel', 'a red and large window', 'a blue wheel with a window', 'a large wheel')
    values = {'class': 4, 'attributes': 3}
    return Source('tiny', splits, values, class_descriptions=said, map_shape=(4, 1))


def tiny_game(changes: Mapping[str, Any] | None = None) -> Game:
    """The game that `tiny_config(changes)` describes."""
    config = tiny_config(changes)
    return GAMES[config.game.name].make(config, tiny_source())


def drawn(tree: Tree) -> Tree:
    """Parameters of the shapes in `tree`, drawn without compiling: no bias of them is 0."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape), leaf.dtype), tree
    )


def drawn_pair(game: Game, batch: Batch) -> Pair:
    """A pair with drawn parameters, the EMA target at nine tenths of the speaker's."""
    key = jax.random.key(0)
    speaker, listener = drawn(
        jax.eval_shape(lambda: (game.init_speaker(key, batch), game.init_listener(key, batch)))
    )
    target = jax.tree.map(lambda leaf: 0.9 * leaf, speaker.params)
    return Pair(speaker, listener, target, Agent({}, {}))


def all_combinations(num_attributes: int, num_values: int) -> np.ndarray:
    return np.array(list(itertools.product(range(num_values), repeat=num_attributes)))


def make_record(
    seed: int = 0,
    speakers: int = 3,
    listeners: int = 2,
    examples: int = 40,
    kind: str = 'symbols',
    candidates: tuple[int, ...] = (8, 16),
) -> EvalRecord:
    """Random words 1 to 6 of random length, without end symbols, and random outcomes."""
    rng = np.random.default_rng(seed)
    length, vocab_size = 5, 7
    lengths = rng.integers(1, length + 1, (speakers, examples), dtype=np.int32)
    messages = rng.integers(1, vocab_size, (speakers, examples, length), dtype=np.int32)
    messages[np.arange(length) >= lengths[..., None]] = 0
    if kind != 'symbols':
        messages = rng.random((speakers, examples, length, vocab_size), dtype=np.float32)
    plays = (len(candidates), speakers, listeners, examples)
    record = EvalRecord(
        split='valid',
        step=12,
        kind=kind,
        vocab_size=vocab_size,
        variable_length=False,
        messages=messages,
        lengths=lengths,
        meanings=rng.standard_normal((examples, 6)).astype(np.float16),
        labels={
            'class': rng.integers(0, 4, examples, dtype=np.int32),
            'attributes': rng.integers(0, 3, (examples, 4), dtype=np.int32),
        },
        num_candidates=candidates,
        correct=rng.integers(0, 2, plays).astype(np.float32),
        loss=rng.random(plays, dtype=np.float32),
        vote=rng.integers(0, 2, (len(candidates), speakers, examples)).astype(np.float32),
    )
    if kind in ('symbols', 'drawings'):
        return record
    return record._replace(exchange=make_exchange(rng, messages.shape, record.labels['class']))


def make_exchange(
    rng: np.random.Generator, shape: tuple[int, ...], labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Random dialogues about four classes, whose listeners know a little of the target; shape:
    [S, N, K, V] of what is said."""
    beliefs = rng.random((*shape[:3], 4), dtype=np.float32)
    beliefs += 2 * np.eye(4, dtype=np.float32)[labels][None, :, None]
    return {
        'said': rng.random(shape, dtype=np.float32),
        'answered': rng.random(shape, dtype=np.float32),
        'answers': rng.integers(0, 2, shape).astype(np.float32),
        'going_on': rng.random(shape[:3], dtype=np.float32),
        'beliefs': beliefs / beliefs.sum(-1, keepdims=True),
        'among': np.ones(4, bool),
    }


@pytest.fixture
def small_wordnet(tmp_path, monkeypatch) -> dict[str, int]:
    """A WordNet of twelve nouns, the only one to be found; name -> offset."""
    monkeypatch.setenv('WNSEARCHDIR', str(tmp_path / 'wordnet'))
    return write_dictionary(tmp_path / 'wordnet')


@pytest.fixture(scope='session')
def source() -> Source:
    return tiny_source()


@pytest.fixture(scope='session')
def bank(source: Source) -> Bank:
    return make_bank(source.splits['train'], 'float32')


@pytest.fixture(scope='session')
def batch(bank: Bank) -> Batch:
    """The first examples, which speaker and listener see with noise of their own."""
    rows = jnp.arange(BATCH)
    return look_at(bank, rows, rows, jax.random.key(0), 0.1)


class World(NamedTuple):
    """A population of two speakers and two listeners, and the compiled function of its steps.

    many: (population, (bank, bad_step), key, start, count) -> (population, done, scalars); the
        inputs of step `bad_step` are not numbers. Imitation is due every third step.
    """

    config: ConfigDict
    game: Game
    optimizers: Optimizers
    fresh: Population
    many: Callable[..., tuple[Population, Array, dict[str, Array]]]


@pytest.fixture(scope='session')
def world(bank: Bank, batch: Batch) -> World:
    config = tiny_config(
        {
            'channel.kind': 'gumbel_st',
            'loss.speaker.name': 'pathwise',
            'population.num_speakers': 2,
            'population.num_listeners': 2,
            'population.pairs_per_step': 2,
        }
    )
    game = GAMES['lewis'].make(config, tiny_source())
    optimizers = Optimizers(*(make_optimizer(config.optimizer[role], 100, BATCH) for role in ROLES))
    meetings = make_meetings(config.population)
    communicate = updates.communicate(
        game, optimizers, meetings, 'vmap', TARGET_EMA, axis_name=None
    )
    imitate = dynamics.imitate(game, optimizers, config.updates.imitate, axis_name=None)

    def draw_batch(bank_and_bad_step: tuple[Bank, Array], key: Key, step: Array) -> Batch:
        bank, bad_step = bank_and_bad_step
        drawn = draw(bank, key, step, BATCH, noise=0.1, axis_name=None)
        spoiled = jnp.where(step == bad_step, jnp.nan, drawn.speaker_inputs)
        return drawn._replace(speaker_inputs=spoiled)

    init = jax.jit(lambda key: init_population(game, optimizers, key, batch, 2, 2))
    every_third = [steps.Periodic(steps.after_every(3), imitate)]
    of_all = steps.make_steps(communicate, every_third, draw_batch, 'vmap').many

    @jax.jit
    def many(members: Population, bank: Any, key: Key, start: Array, count: Array) -> Any:
        """Of one replica."""
        stack = jax.tree.map(lambda leaf: leaf[None], members)
        stack, done, scalars = of_all(stack, bank, key[None], start, count)
        members, scalars = jax.tree.map(lambda leaf: leaf[0], (stack, scalars))
        return members, done, scalars

    return World(config, game, optimizers, init(jax.random.key(0)), many)


@pytest.fixture(scope='session')
def trained(world: World, bank: Bank) -> Population:
    """The population of `world`, after it has learnt to communicate."""
    start, count = np.int32(0), np.int32(1500)
    return world.many(world.fresh, (bank, np.int32(-1)), jax.random.key(0), start, count)[0]


# --- a game of numbers ---


class Sums:
    """The speaker says a number of what it sees, the listener and a shared trunk add theirs, and
    the sum should be 1. Each agent is one vector: small enough to do a step by hand."""

    trunks = 'none'

    def init_speaker(self, key, batch):
        weights = jax.random.normal(key, batch.speaker_inputs.shape[1:])
        return Agent({'w': weights}, {'plays': jnp.zeros(())})

    init_listener = init_shared = init_speaker

    def play(self, pair, key, batch, step, forced=None):
        speaker, listener, target, shared = pair
        heard = batch.speaker_inputs @ (speaker.params['w'] + shared.params['w'] - target['w'])
        heard += batch.listener_inputs @ listener.params['w'] + 0.01 * step
        heard += 0.1 * jax.random.normal(key, heard.shape)

        def played(agent):
            return agent._replace(state={'plays': agent.state['plays'] + 1})

        return heard, Pair(played(speaker), played(listener), target, played(shared))

    def terms(self, episode, key, batch, axis_name):
        wanted = 1 + 0.1 * jax.random.normal(key, episode.shape)
        return {
            'error': Term((episode - wanted) ** 2, batch.weight, 0.5),
            'accuracy': Term(jax.nn.sigmoid(episode), batch.weight),
        }

    def look(self, shared, batch):
        return batch

    def say_greedy(self, speaker, batch):
        return batch.speaker_inputs @ speaker.params['w']

    def imitation_loss(self, speaker, message, batch):
        return (self.say_greedy(speaker, batch) - message) ** 2


SUMS = Sums()


@pytest.fixture(scope='session')
def optimizers():
    config = tiny_config({'optimizer.listener.name': 'sgd', 'optimizer.listener.momentum': 0.9})
    return Optimizers(*(make_optimizer(config.optimizer[role], 100, BATCH) for role in ROLES))


@pytest.fixture(scope='session')
def weighted(batch):
    return batch._replace(weight=jnp.array([1.0, 0.0, 2.0, 1.0, 0.0, 1.0, 1.0, 0.5]))


def changed(before, after):
    """Which agents of a stack are not what they were, to the bit."""
    differs = jax.tree.map(
        lambda old, new: ~np.isclose(old, new, 0, 0, equal_nan=True).reshape(len(new), -1).all(1),
        before,
        after,
    )
    return set(np.flatnonzero(np.any(jax.tree.leaves(differs), axis=0)).tolist())
