"""A population: stacks of agents, and who meets whom."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from ml_collections import ConfigDict

from emcom_jax.games.base import Game
from emcom_jax.optimizers import Optimizer
from emcom_jax.types import Agent, Array, Batch, Key, Learner, Population, Tree

_MATCHINGS = 1024  # At least so many random matchings of an incomplete graph, drawn once.
_LARGE = 2**25  # Multiplications of one matrix product above which a CPU prefers one at a time.


class Optimizers(NamedTuple):
    """One optimiser for each role. A role without one is frozen."""

    speaker: Optimizer | None
    listener: Optimizer | None
    shared: Optimizer | None


class Pace(NamedTuple):
    """From which games the agents of one role learn, and how fast (Rita et al. 2022).

    learns: bool [S, L], whether the games of that pair teach the agent.
    chance: [S] or [L], the probability that a game that would teach it does; None: 1.
    speed: [S] or [L], the factor of its learning rate; None: 1.
    """

    learns: np.ndarray
    chance: np.ndarray | None
    speed: np.ndarray | None


class Meetings(NamedTuple):
    """Who meets whom, and who learns from it.

    draw: key -> (speakers [P], listeners [P]) int32.
    disjoint: whether no agent that learns is in two pairs of a step (so pairs may run at once).
    everyone: whether every agent plays once in each step, speaker i in pair i.
    paces: of speakers and of listeners.
    """

    draw: Callable[[Key], tuple[Array, Array]]
    disjoint: bool
    everyone: bool
    paces: tuple[Pace, Pace]


def init_population(
    game: Game,
    optimizers: Optimizers,
    key: Key,
    batch: Batch,
    speakers: int,
    listeners: int,
    first: tuple[int, int] = (0, 0),
) -> Population:
    """Makes fresh agents, all at once. Each EMA target is a copy of its speaker; frozen speakers
    have none.

    first: the numbers of the first speaker and listener, of a group that others come before.
    """
    speaker_key, listener_key, shared_key = jax.random.split(key, 3)

    def fresh(
        init: Callable[[Key, Batch], Agent], optimizer: Optimizer | None, one: Key
    ) -> Learner:
        agent = init(one, batch)
        none_yet, updates = jnp.full((), jnp.nan, jnp.float32), jnp.zeros((), jnp.int32)
        opt_state = {} if optimizer is None else optimizer.init(agent.params)
        return Learner(agent, opt_state, none_yet, updates)

    def stack(
        init: Callable[..., Agent], optimizer: Optimizer | None, one: Key, start: int, count: int
    ) -> Learner:
        # Agent i has the same key whatever the size of the population.
        numbers = jnp.arange(start, start + count)
        keys = jax.vmap(lambda i: jax.random.fold_in(one, i))(numbers)
        return jax.vmap(lambda k: fresh(init, optimizer, k))(keys)

    frozen = optimizers.speaker is None
    members = stack(game.init_speaker, optimizers.speaker, speaker_key, first[0], speakers)
    hearers = stack(game.init_listener, optimizers.listener, listener_key, first[1], listeners)
    return Population(
        speakers=members,
        listeners=hearers,
        targets={} if frozen else jax.tree.map(jnp.copy, members.agent.params),
        shared=fresh(game.init_shared, optimizers.shared, shared_key),
    )


def take(stack: Tree, index: Array) -> Tree:
    """Takes agents out of a stack: one (index []) or several (index [P])."""
    if index.ndim == 0:
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, 0, False), stack)
    return jax.tree.map(lambda leaf: leaf[index], stack)


def put(stack: Tree, index: Array, agents: Tree) -> Tree:
    """Puts agents back where `take` took them."""
    if index.ndim == 0:  # Unlike a scatter, XLA makes this in place.
        update = jax.lax.dynamic_update_index_in_dim
        return jax.tree.map(lambda leaf, new: update(leaf, new, index, 0), stack, agents)
    return jax.tree.map(lambda leaf, new: leaf.at[index].set(new), stack, agents)


def make_meetings(config: ConfigDict) -> Meetings:
    """Makes the sampler that `config.population` describes.

    matching: every agent at most once a step; over an incomplete graph, one of at least 1,024
        random matchings that are drawn beforehand, in which every pair of the graph occurs.
    independent: pairs of the graph, uniformly with replacement (the released code of Chaabouni et
        al. 2022), executed one after the other.
    fixed: the listed pairs at every step.
    every_speaker, every_listener: each agent of that role once, with one of the other role that it
        may meet, at random; so several may meet the same one.

    structure: 'partitioned' lets all meet, but a listener learns from its own speaker alone (that
        of the same number); under 'isolated' it meets no other (Michel et al. 2023).

    Raises:
      ValueError: an agent that does not exist or meets nobody, or too few pairs in the graph.
    """
    speakers, listeners, count = (
        config.num_speakers,
        config.num_listeners,
        config.pairs_per_step,
    )
    shape = (speakers, listeners)
    graph = _mask('population.graph', config.graph, shape)
    speaker_learns = _mask('population.speaker_learns', config.speaker_learns, shape)
    listener_learns = _mask('population.listener_learns', config.listener_learns, shape)
    if config.structure == 'isolated':
        graph = np.eye(speakers, dtype=bool)
    if config.structure == 'partitioned':
        listener_learns = np.eye(speakers, dtype=bool)

    def constant(pairs: np.ndarray) -> Callable[[Key], tuple[Array, Array]]:
        return lambda _: (jnp.asarray(pairs[:, 0]), jnp.asarray(pairs[:, 1]))

    if config.pairing == 'fixed':
        _mask('population.pairs', config.pairs, shape)  # Refuses agents that do not exist.
        pairs = np.asarray(config.pairs, np.int32)
        draw, disjoint = constant(pairs), is_disjoint(pairs, speaker_learns, listener_learns)
    elif config.pairing in ('every_speaker', 'every_listener'):
        role = ('every_speaker', 'every_listener').index(config.pairing)
        others = (listener_learns, speaker_learns)[role]
        draw, disjoint = _every(graph, role), not (others & graph).any()
    elif config.pairing == 'independent':
        draw, disjoint = _with_replacement(graph, count), False
    elif graph.all():
        draw, disjoint = _permutations(speakers, listeners, count), True
    else:
        draw, disjoint = _matchings(graph, count), True
    everyone = speakers == listeners == count and config.pairing == 'matching'
    paces = (
        Pace(speaker_learns, _array(config.speaker_chances), _array(config.speaker_speeds)),
        Pace(listener_learns, _array(config.listener_chances), _array(config.listener_speeds)),
    )
    return Meetings(draw, disjoint, everyone, paces)


def _array(values: tuple | None) -> np.ndarray | None:
    return None if values is None else np.asarray(values, np.float32)


def _mask(key: str, pairs: tuple | None, shape: tuple[int, int]) -> np.ndarray:
    if pairs is None:
        return np.ones(shape, bool)
    mask = np.zeros(shape, bool)
    for pair in pairs:
        whole = isinstance(pair, tuple | list) and [type(i) for i in pair] == [int, int]
        if not whole or not all(0 <= i < n for i, n in zip(pair, shape, strict=True)):
            raise ValueError(
                f'{key} has {pair!r}: it must be (speaker, listener) with '
                f'0 <= speaker < {shape[0]} and 0 <= listener < {shape[1]}'
            )
        mask[tuple(pair)] = True
    if key == 'population.graph' and not mask.any():
        raise ValueError(f'{key}={pairs!r} lets nobody meet: it must hold pairs')
    return mask


def _permutations(speakers: int, listeners: int, count: int) -> Callable:
    def draw(key: Key) -> tuple[Array, Array]:
        speaker_key, listener_key = jax.random.split(key)
        playing = jnp.arange(count)
        if count < speakers:
            playing = jax.random.permutation(speaker_key, speakers)[:count]
        return playing, jax.random.permutation(listener_key, listeners)[:count]

    return draw


def _with_replacement(graph: np.ndarray, count: int) -> Callable:
    edges = np.argwhere(graph).astype(np.int32)

    def draw(key: Key) -> tuple[Array, Array]:
        chosen = jnp.asarray(edges)[jax.random.randint(key, (count,), 0, len(edges))]
        return chosen[:, 0], chosen[:, 1]

    return draw


def _every(graph: np.ndarray, role: int) -> Callable:
    """Each speaker (role 0) or each listener (role 1) with a random one that it may meet."""
    may_meet = graph.T if role else graph
    for agent in np.flatnonzero(~may_meet.any(axis=1)):
        raise ValueError(
            f'population.graph lets {("speaker", "listener")[role]} {agent} meet nobody, but with '
            f'population.pairing={("every_speaker", "every_listener")[role]!r} each plays'
        )

    def draw(key: Key) -> tuple[Array, Array]:
        other = jax.random.categorical(key, jnp.where(may_meet, 0.0, -jnp.inf)).astype(jnp.int32)
        agents = jnp.arange(len(may_meet))
        return (other, agents) if role else (agents, other)

    return draw


def _matchings(graph: np.ndarray, count: int) -> Callable:
    """Draws one of a table of matchings, in which every pair of the graph leads equally many."""
    rng = np.random.default_rng(0)
    edges = np.argwhere(graph).astype(np.int32)
    repeats = -(-_MATCHINGS // len(edges))
    table = np.empty((repeats * len(edges), count, 2), np.int32)
    firsts = np.concatenate([rng.permutation(edges) for _ in range(repeats)])
    for row, first in zip(table, firsts, strict=True):
        matched = _matching_with(first, graph, rng)
        if len(matched) < count:
            raise ValueError(
                f'population.pairs_per_step={count}, but of population.graph at most '
                f'{len(matched)} pairs without a common agent include {tuple(first.tolist())}'
            )
        others = matched[(matched != first).any(axis=1)]
        kept = np.concatenate([first[None], rng.permutation(others)[: count - 1]])
        row[:] = sorted(kept.tolist())  # With all speakers, speaker i is in pair i.

    def draw(key: Key) -> tuple[Array, Array]:
        chosen = jnp.asarray(table)[jax.random.randint(key, (), 0, len(table))]
        return chosen[:, 0], chosen[:, 1]

    return draw


def _matching_with(first: np.ndarray, graph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random one of the largest matchings that include the pair `first`, [P, 2]."""
    cost = np.where(graph, rng.random(graph.shape), 1e6)
    cost[tuple(first)] = -1e9
    matched = np.stack(scipy.optimize.linear_sum_assignment(cost), axis=1)
    return matched[graph[matched[:, 0], matched[:, 1]]]


def is_disjoint(pairs: np.ndarray, speaker_learns: np.ndarray, listener_learns: np.ndarray) -> bool:
    """Whether each agent that learns in one of the pairs is in no other pair."""
    for column, learns in ((0, speaker_learns), (1, listener_learns)):
        counts = np.bincount(pairs[:, column])
        learning = learns[pairs[:, 0], pairs[:, 1]]
        if (counts[pairs[learning, column]] > 1).any():
            return False
    return True


def choose_execution(
    config: ConfigDict, batch_size: int, disjoint: bool, agents: Tree, trunks: str = 'none'
) -> str:
    """Returns how pairs are executed: `config.execution`, or for 'auto' what is fastest.

    On a GPU or TPU all pairs at once. On a CPU, small agents gain from `vmap` (fewer, larger
    operations), and large ones lose: a batched matrix product is slower there than the products one
    after the other.

    Args:
      config: the population group.
      batch_size: of one device.
      disjoint: `Meetings.disjoint`.
      agents: a stack of agents' parameters, of one replica.
      trunks: `Game.trunks`. The weights of trunks of their own are never stacked, as that makes
        grouped convolutions of them; a shared one is best used by all pairs at once.

    Raises:
      ValueError: 'vmap' is asked for, but an agent that learns may meet twice in a step.
    """
    if config.execution == 'vmap' and not disjoint:
        raise ValueError(
            "population.execution='vmap' computes all pairs at once, but with "
            f'population.pairing={config.pairing!r} an agent may learn from two pairs of a step: '
            "use 'map', 'unroll' or 'auto'"
        )
    if config.execution != 'auto':
        return config.execution
    if config.pairs_per_step == 1 or trunks == 'own':
        return 'unroll'
    if trunks == 'shared':
        return 'vmap' if disjoint else 'unroll'
    if not disjoint:
        return 'map'
    return _at_once_or_not(batch_size, agents)


def choose_replicas(config: ConfigDict, batch_size: int, agents: Tree, trunks: str = 'none') -> str:
    """Returns how replicas are executed, 'vmap', 'map' or 'unroll': as `choose_execution`, but
    replicas share no agent, nor a trunk."""
    if trunks != 'none':
        return 'unroll'
    if config.execution != 'auto':
        return config.execution
    return _at_once_or_not(batch_size, agents)


def _at_once_or_not(batch_size: int, agents: Tree) -> str:
    largest = max(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(agents))
    large = batch_size * largest > _LARGE and jax.default_backend() == 'cpu'
    return 'map' if large else 'vmap'
