"""Populations: who meets whom, what one step changes, and that many steps are many single ones."""

import itertools
from collections import Counter
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from conftest import BATCH, SUMS, TARGET_EMA, changed, tiny_config

from emcom_jax import updates
from emcom_jax.data.batches import draw
from emcom_jax.population import (
    choose_execution,
    choose_replicas,
    init_population,
    make_meetings,
    put,
    take,
)
from emcom_jax.steps import most_per_call
from emcom_jax.types import Agent, Learner, Pair

KEY = jax.random.key(0)
NEVER = np.int32(-1)  # The step at which the inputs of `world` are spoiled.


def agent(stack, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], stack)


def placed(stack, index, agent):
    return jax.tree.map(lambda leaf, new: leaf.at[index].set(new), stack, agent)


# --- who meets whom -------------------------------------------------------------------------------

RING = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 0))


def meetings(**changes):
    sizes = {'num_speakers': 3, 'num_listeners': 4, 'pairs_per_step': 2}
    changes = {f'population.{key}': value for key, value in (sizes | changes).items()}
    return make_meetings(tiny_config(changes).population)


def draw_many(drawn, count=1200):
    """Pairs [count, P, 2] of as many steps."""
    ids = jax.jit(jax.vmap(drawn.draw))(jax.random.split(KEY, count))
    return np.stack(ids, axis=-1)


def met(pairs):
    """How often each pair (speaker, listener) met."""
    return Counter(map(tuple, pairs.reshape(-1, 2).tolist()))


MATCHINGS = {
    'complete': {'pairs_per_step': 3},
    'complete_of_some': {'pairs_per_step': 2},
    'complete_of_everyone': {'pairs_per_step': 3, 'num_listeners': 3},
    'graph': {'pairs_per_step': 3, 'graph': RING},
    'graph_of_some': {'pairs_per_step': 1, 'graph': RING},
    'graph_of_everyone': {'pairs_per_step': 3, 'num_listeners': 3, 'graph': RING},
}


@pytest.mark.parametrize('changes', MATCHINGS.values(), ids=MATCHINGS)
def test_in_a_matching_everybody_meets_at_most_once_and_all_pairs_equally_often(changes):
    drawn = meetings(**changes)
    pairs = draw_many(drawn)
    assert pairs.shape == (1200, changes['pairs_per_step'], 2)
    assert (np.diff(np.sort(pairs, axis=1), axis=1) > 0).all()
    everyone = itertools.product(range(3), range(changes.get('num_listeners', 4)))
    graph = list(changes.get('graph', everyone))
    counts = met(pairs)
    assert set(counts) == set(graph)
    # Matchings of a graph are 1,024 drawn beforehand: as often as each other, but for that.
    expected = 1200 * changes['pairs_per_step'] / len(graph)
    assert max(abs(count / expected - 1) for count in counts.values()) < 0.2
    assert drawn.disjoint
    assert drawn.everyone == (changes['pairs_per_step'] == changes.get('num_listeners', 4))
    if drawn.everyone:
        np.testing.assert_array_equal(pairs[..., 0], np.tile(np.arange(3), (1200, 1)))


def test_independent_pairs_are_drawn_with_replacement_uniformly():
    drawn = meetings(pairing='independent', pairs_per_step=4, graph=RING)
    pairs = draw_many(drawn)
    counts = met(pairs)
    assert set(counts) == set(RING)
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3
    # Of four draws from six pairs, the first two are the same once in six.
    same = (pairs[:, 0] == pairs[:, 1]).all(1).sum()
    assert scipy.stats.binomtest(int(same), 1200, 1 / 6).pvalue > 1e-3
    assert not drawn.disjoint


def test_fixed_pairs_meet_at_every_step():
    pairs = ((2, 0), (0, 3))
    drawn = draw_many(meetings(pairing='fixed', pairs=pairs), count=3)
    np.testing.assert_array_equal(drawn, [pairs] * 3)


@pytest.mark.parametrize(
    ('pairs', 'learns', 'disjoint'),
    [
        (((0, 0), (1, 1)), {}, True),
        (((0, 0), (0, 1)), {}, False),
        (((0, 0), (0, 1)), {'speaker_learns': ()}, True),
        (((0, 0), (0, 1)), {'speaker_learns': ((0, 1),)}, False),
        (((0, 0), (1, 0)), {'speaker_learns': ()}, False),
        (((0, 0), (1, 0)), {'listener_learns': ((2, 0),)}, True),
    ],
)
def test_fixed_pairs_may_run_at_once_if_nobody_learns_twice(pairs, learns, disjoint):
    assert meetings(pairing='fixed', pairs=pairs, **learns).disjoint == disjoint


@pytest.mark.parametrize('key', ['graph', 'speaker_learns', 'listener_learns', 'pairs'])
@pytest.mark.parametrize('pair', [(3, 0), (0, 4), (-1, 0), (0,)])
def test_an_agent_that_does_not_exist_is_refused(key, pair):
    changes = {'pairing': 'fixed', 'pairs': ((0, 0), (1, 1))}
    with pytest.raises(ValueError, match=rf'population\.{key} has .*0 <= speaker < 3 .* < 4'):
        meetings(**changes | {key: ((0, 0), pair)})


def test_every_pair_of_a_large_graph_meets():
    pairs = [(i, j) for i in range(40) for j in range(40) if i != j]
    changes = {'num_speakers': 40, 'num_listeners': 40, 'pairs_per_step': 1, 'graph': tuple(pairs)}
    drawn = meetings(**changes)
    speakers, listeners = jax.vmap(drawn.draw)(jax.random.split(KEY, 20_000))
    met = Counter(zip(*np.stack([speakers, listeners])[..., 0].tolist(), strict=True))
    assert set(met) == set(pairs)
    counts = np.array(list(met.values()))
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_a_graph_with_too_few_pairs_is_refused():
    with pytest.raises(ValueError, match='pairs_per_step=2, .* at most 1'):
        meetings(graph=((0, 0), (0, 1), (0, 2)))


@pytest.mark.parametrize(
    ('execution', 'pairs', 'batch_size', 'disjoint', 'chosen'),
    [
        ('map', 3, 8, True, 'map'),
        ('unroll', 3, 8, False, 'unroll'),
        ('vmap', 3, 8, True, 'vmap'),
        ('auto', 1, 8, True, 'unroll'),
        ('auto', 3, 8, False, 'map'),
        ('auto', 3, 8, True, 'vmap'),
        ('auto', 3, 10**7, True, 'map'),
    ],
)
def test_how_pairs_are_executed(execution, pairs, batch_size, disjoint, chosen):
    changes = {'population.execution': execution, 'population.pairs_per_step': pairs}
    config = tiny_config(changes).population
    agents = {'w': np.zeros((3, 6, 6))}
    assert choose_execution(config, batch_size, disjoint, agents) == chosen


def test_how_replicas_are_executed():
    agents = {'w': np.zeros((3, 6, 6))}
    config = tiny_config({'population.pairing': 'independent'}).population
    assert choose_replicas(config, 8, agents) == 'vmap'
    assert choose_replicas(config, 10**7, agents) == 'map'
    config = tiny_config({'population.execution': 'unroll'}).population
    assert choose_replicas(config, 8, agents) == 'unroll'


def test_of_an_isolated_pair_nobody_else_is_met_and_a_partition_teaches_its_own():
    changes = {'num_speakers': 4, 'pairs_per_step': 3}
    isolated = meetings(structure='isolated', **changes)
    assert set(met(draw_many(isolated))) == {(i, i) for i in range(4)}
    partitioned = meetings(structure='partitioned', **changes)
    assert set(met(draw_many(partitioned))) == set(itertools.product(range(4), repeat=2))
    assert partitioned.paces[0].learns.all()
    np.testing.assert_array_equal(partitioned.paces[1].learns, np.eye(4, dtype=bool))


def test_pairs_that_share_a_learner_are_not_executed_at_once():
    config = tiny_config({'population.execution': 'vmap', 'population.pairing': 'independent'})
    with pytest.raises(ValueError, match="execution='vmap'.*pairing='independent'.*'map'"):
        choose_execution(config.population, 8, False, {})


# --- agents ---------------------------------------------------------------------------------------


def test_put_undoes_take():
    stack = {'w': jnp.arange(12.0).reshape(4, 3), 'n': jnp.arange(4)}
    some = take(stack, jnp.array([2, 0]))
    np.testing.assert_array_equal(some['n'], [2, 0])
    back = put(jax.tree.map(jnp.zeros_like, stack), jnp.array([2, 0]), some)
    np.testing.assert_array_equal(back['n'], [0, 0, 2, 0])
    np.testing.assert_array_equal(back['w'][2], stack['w'][2])


def test_targets_start_as_copies_and_agents_apart(world):
    fresh = world.fresh
    chex.assert_trees_all_equal(fresh.targets, fresh.speakers.agent.params)
    for stack in (fresh.speakers, fresh.listeners):
        one, other = agent(stack.agent.params, 0), agent(stack.agent.params, 1)
        same = jax.tree.map(np.array_equal, one, other)
        biases = jax.tree.map(lambda leaf: not leaf.any(), one)
        assert same == biases
        np.testing.assert_array_equal(stack.accuracy, [np.nan, np.nan])
        np.testing.assert_array_equal(stack.updates, [0, 0])


def test_an_agent_does_not_depend_on_the_size_of_the_population(optimizers, batch):
    small, large = (
        init_population(SUMS, optimizers, KEY, batch, *sizes) for sizes in ((2, 1), (3, 4))
    )
    chex.assert_trees_all_equal(small.speakers, take(large.speakers, jnp.arange(2)))
    chex.assert_trees_all_equal(small.listeners, take(large.listeners, jnp.arange(1)))
    chex.assert_trees_all_equal(small.shared, large.shared)


# --- one step, in a game of numbers ---------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
def play_alone(game, key, step, speaker, listener, target, trunk, batch):
    """Returns of one pair the gradients, the means over examples, and the pair afterwards."""
    play_key, loss_key = jax.random.split(key)
    share = batch.weight / batch.weight.sum()

    def loss(*params):
        states = (speaker.state, listener.state, trunk.state)
        one, other, shared = map(Agent, params, states)
        episode, pair = game.play(Pair(one, other, target, shared), play_key, batch, step)
        terms = game.terms(episode, loss_key, batch, axis_name=None)
        means = {name: term.value @ share for name, term in terms.items()}
        return sum(terms[name].coefficient * means[name] for name in terms), (means, pair)

    params = (speaker.params, listener.params, trunk.params)
    gradients, (means, pair) = jax.grad(loss, (0, 1, 2), has_aux=True)(*params)
    return gradients, means, pair


@partial(jax.jit, static_argnums=0)
def learnt(optimizer, learner, gradient, state, accuracy, step):
    """Returns a learner after one update."""
    params, opt_state = optimizer.update(gradient, learner.opt_state, learner.agent.params, step)
    before = jnp.where(jnp.isnan(learner.accuracy), accuracy, learner.accuracy)
    average = 0.99 * before + 0.01 * accuracy
    return Learner(Agent(params, state), opt_state, average, learner.updates + 1)


def moved(old, new):
    return TARGET_EMA * old + (1 - TARGET_EMA) * new


def taught(drawn, role, ids, key):
    """Whether a game teaches the agent of that role."""
    pace = drawn.paces[role]
    if pace.chance is not None and drawn_number(role, key) >= pace.chance[ids[role]]:
        return False
    return bool(pace.learns[ids])


def drawn_number(role, key):
    return jax.random.uniform(jax.random.fold_in(key, 2 + role))


def part_of_the_way(old, new, speeds, index):
    """The learner, whose parameters went only a part of the way (or further)."""
    speed = 1.0 if speeds is None else speeds[index]
    params = jax.tree.map(lambda a, b: a + speed * (b - a), old.agent.params, new.agent.params)
    return new._replace(agent=new.agent._replace(params=params))


def step_by_hand(game, optimizers, drawn, key, step, population, batch):
    """What `updates.communicate` should do: one pair after the other, each a pair alone."""
    meet_key, play_key = jax.random.split(key)
    ids = np.stack(drawn.draw(meet_key), axis=1).tolist()
    trunk, scalars = population.shared, []
    for (s, t), pair_key in zip(ids, jax.random.split(play_key, len(ids)), strict=True):
        speaker, listener = agent(population.speakers, s), agent(population.listeners, t)
        target = agent(population.targets, s)
        players = (speaker.agent, listener.agent, target, trunk.agent)
        gradients, means, pair = play_alone(game, pair_key, step, *players, batch)
        scalars.append((gradients[2], means, pair.shared.state))
        now = (means['accuracy'], step)
        if taught(drawn, 0, (s, t), pair_key):
            old = speaker
            speaker = learnt(optimizers.speaker, speaker, gradients[0], pair.speaker.state, *now)
            speaker = part_of_the_way(old, speaker, drawn.paces[0].speed, s)
            target = jax.tree.map(moved, target, speaker.agent.params)
        if taught(drawn, 1, (s, t), pair_key):
            old = listener
            listener = learnt(
                optimizers.listener, listener, gradients[1], pair.listener.state, *now
            )
            listener = part_of_the_way(old, listener, drawn.paces[1].speed, t)
        population = population._replace(
            speakers=placed(population.speakers, s, speaker),
            listeners=placed(population.listeners, t, listener),
            targets=placed(population.targets, s, target),
        )
    # The trunk learns once, from the mean over the pairs.
    gradient, means, state = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *scalars)
    shared = learnt(optimizers.shared, trunk, gradient, state, means['accuracy'], step)
    return population._replace(shared=shared), [means for _, means, _ in scalars]


@pytest.fixture(scope='module')
def beginners(optimizers, batch):
    """Three speakers and four listeners whose EMA targets are elsewhere."""
    population = init_population(SUMS, optimizers, KEY, batch, 3, 4)
    return population._replace(targets=jax.tree.map(lambda leaf: 0.9 * leaf, population.targets))


GROUPS = {
    # Speaker 1 only teaches; listener 2 hears speaker 0 and learns nothing from it.
    'apart': {
        'pairs_per_step': 3,
        'pairing': 'fixed',
        'pairs': ((1, 0), (0, 2), (2, 3)),
        'speaker_learns': ((0, 2), (2, 3)),
        'listener_learns': ((1, 0), (2, 3)),
    },
    # Agents that learn meet several times a step.
    'together': {
        'pairs_per_step': 4,
        'pairing': 'independent',
        'graph': ((0, 0), (0, 1), (1, 1)),
    },
    # Everybody plays; speaker 1 only teaches, listeners learn in one of the two matchings only.
    'everyone': {
        'pairs_per_step': 3,
        'num_listeners': 3,
        'graph': RING,
        'speaker_learns': ((0, 0), (0, 1), (2, 2), (2, 0)),
        'listener_learns': ((0, 0), (1, 1), (2, 2)),
    },
}
GROUPS['paced'] = GROUPS['everyone'] | {
    'speaker_speeds': (0.5, 1.0, 2.0),
    'listener_speeds': (1.0, 0.0, 0.25),
    'speaker_chances': (1.0, 0.5, 0.5),
    'listener_chances': (0.5, 0.5, 1.0),
}
WAYS = [
    *itertools.product(('vmap', 'map', 'unroll'), ('apart', 'everyone', 'paced')),
    *itertools.product(('map', 'unroll'), ('together',)),
]


@pytest.fixture(scope='module', params=WAYS, ids='-'.join)
def two_steps(request, optimizers, beginners, weighted):
    """The meetings, the population before, and after two steps the population and the scalars: ours
    and those by hand."""
    execution, group = request.param
    drawn = meetings(**GROUPS[group])
    listeners = drawn.paces[1].learns.shape[1]
    before = beginners._replace(listeners=take(beginners.listeners, jnp.arange(listeners)))
    update = jax.jit(updates.communicate(SUMS, optimizers, drawn, execution, TARGET_EMA, None))
    ours = theirs = before
    for step in (3, 4):
        key = jax.random.fold_in(KEY, step)
        ours, scalars = update(key, step, ours, weighted)
        theirs, expected = step_by_hand(SUMS, optimizers, drawn, key, step, theirs, weighted)
    return drawn, before, jax.device_get((ours, scalars)), jax.device_get((theirs, expected))


def test_pairs_learn_as_they_would_alone(two_steps):
    _, _, (ours, _), (theirs, _) = two_steps
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_scalars_are_means_over_the_examples_of_each_pair(two_steps):
    drawn, _, (_, scalars), (_, expected) = two_steps
    for name in ('error', 'accuracy'):
        by_hand = [means[name] for means in expected]
        np.testing.assert_allclose(scalars[name], by_hand, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(scalars['loss'], 0.5 * scalars['error'], rtol=1e-5)
    meet_key = jax.random.split(jax.random.fold_in(KEY, 4))[0]
    np.testing.assert_array_equal((scalars['speaker'], scalars['listener']), drawn.draw(meet_key))


def test_only_those_who_met_and_may_learn_change(two_steps):
    drawn, before, (after, _), _ = two_steps
    speakers, listeners = set(), set()
    for step in (3, 4):
        meet_key, play_key = jax.random.split(jax.random.fold_in(KEY, step))
        ids = np.stack(drawn.draw(meet_key), axis=1).tolist()
        for (s, t), key in zip(ids, jax.random.split(play_key, len(ids)), strict=True):
            speakers |= {s} if taught(drawn, 0, (s, t), key) else set()
            listeners |= {t} if taught(drawn, 1, (s, t), key) else set()
    assert changed(before.speakers, after.speakers) == speakers
    assert changed(before.targets, after.targets) == speakers
    assert changed(before.listeners, after.listeners) == listeners


def test_an_average_accuracy_starts_at_the_first(optimizers, beginners, weighted):
    drawn = meetings(**GROUPS['apart'])
    update = jax.jit(updates.communicate(SUMS, optimizers, drawn, 'map', TARGET_EMA, None))
    once, scalars = update(KEY, 0, beginners, weighted)
    np.testing.assert_allclose(once.listeners.accuracy[0], scalars['accuracy'][0], rtol=1e-6)
    np.testing.assert_array_equal(once.listeners.updates, [1, 0, 0, 1])


@pytest.fixture(scope='module')
def lewis_step(world, bank):
    """One step: the population and the scalars, ours and by hand, and who met."""
    ours, _, scalars = world.many(world.fresh, (bank, NEVER), KEY, np.int32(0), np.int32(1))
    data_key, step_key = jax.random.split(KEY)
    play_key, _ = jax.random.split(jax.random.fold_in(step_key, 0))
    batch = draw(bank, data_key, jnp.array(0), BATCH, noise=0.1, axis_name=None)
    drawn = make_meetings(world.config.population)
    by_hand = step_by_hand(world.game, world.optimizers, drawn, play_key, 0, world.fresh, batch)
    meet_key, _ = jax.random.split(play_key)
    return (ours, scalars), by_hand, drawn.draw(meet_key)


def test_a_step_of_the_lewis_game_is_its_pairs_alone(world, lewis_step):
    (ours, _), (theirs, _), _ = lewis_step
    chex.assert_trees_all_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert changed(world.fresh.speakers, ours.speakers) == {0, 1}


def test_scalars_of_a_step_belong_to_the_pairs_that_met(lewis_step):
    (_, scalars), (_, by_hand), met = lewis_step
    expected = np.full((2, 2), np.nan)
    for speaker, listener, means in zip(*met, by_hand, strict=True):
        expected[speaker, listener] = means['listener_loss']
    np.testing.assert_allclose(scalars['listener_loss'], expected, rtol=1e-4)


# --- many steps -----------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def seven_steps(world, bank):
    return world.many(world.fresh, (bank, NEVER), KEY, np.int32(2), np.int32(7))


def test_steps_of_one_call_are_calls_of_one_step(world, bank, seven_steps):
    population, each = world.fresh, []
    for step in range(2, 9):
        population, done, scalars = world.many(
            population, (bank, NEVER), KEY, np.int32(step), np.int32(1)
        )
        assert done == 1
        each.append(jax.device_get(scalars))
    together, done, scalars = jax.device_get(seven_steps)
    assert done == 7
    chex.assert_trees_all_equal(population, together)
    for name in ('loss', 'accuracy', 'gradient_norm', 'message_length'):
        by_pair = np.array([one[name] for one in each])  # nan where a pair did not meet.
        assert np.isnan(by_pair).any() and scalars[name].shape == (2, 2)
        np.testing.assert_allclose(scalars[name], np.nanmean(by_pair, 0), rtol=1e-5, err_msg=name)
    # Every third step imitates: of steps 2 to 8, those are 2, 5 and 8.
    losses = [one['imitation_loss'] for one in each]
    assert np.isfinite(losses).tolist() == [True, False, False, True, False, False, True]
    np.testing.assert_allclose(scalars['imitation_loss'], np.nanmean(losses), rtol=1e-5)
    np.testing.assert_array_equal(scalars['speaker_accuracy'], together.speakers.accuracy)
    np.testing.assert_array_equal(scalars['listener_accuracy'], together.listeners.accuracy)


def test_speakers_learn_from_playing_and_from_imitating(seven_steps):
    population = seven_steps[0]
    np.testing.assert_array_equal(population.listeners.updates, [7, 7])
    assert population.speakers.updates.min() >= 7 and population.speakers.updates.sum() == 2 * 7 + 3


def test_steps_stop_where_the_loss_is_not_finite(world, bank):
    _, done, scalars = world.many(world.fresh, (bank, np.int32(5)), KEY, np.int32(2), np.int32(7))
    assert done == 3 and np.isfinite(scalars['loss']).sum() <= 2  # Of 4, the 2 that did not meet.


def test_nothing_is_done_where_no_step_is_due(world, bank):
    population, done, _ = world.many(world.fresh, (bank, NEVER), KEY, np.int32(2), np.int32(0))
    assert done == 0
    chex.assert_trees_all_equal(population, world.fresh)


def test_however_many_steps_are_one_program(world, seven_steps, trained):
    assert world.many._cache_size() == 1


def test_a_call_is_short_where_steps_are_long():
    def most(batch_size, hidden):
        agents = {'w': jax.ShapeDtypeStruct((hidden, 4 * hidden), jnp.float32)}
        return most_per_call(50, 10, batch_size, 10, agents)

    assert most(32, 64) == 50  # Small agents: as many as asked.
    assert 1 < most(1024, 256) < 50
    assert most(10**6, 10**4) == 1  # Never none.


def test_a_population_learns_to_communicate(trained):
    assert min(*trained.speakers.accuracy, *trained.listeners.accuracy) > 3 / BATCH
