"""Populations of several architectures: what homogeneous ones are, put together."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BATCH, SUMS, TARGET_EMA, Sums, changed, tiny_config

from emcom_jax import architectures, dynamics, groups, population, steps, updates
from emcom_jax.data.batches import draw
from emcom_jax.plans import make_meetings
from emcom_jax.stacks import agents_of, with_agents
from emcom_jax.types import Groups, Population

KEY = jax.random.key(0)


def sized(speakers, listeners, **changes):
    """The config of groups of these sizes."""
    sizes = {
        'population.num_speakers': sum(speakers),
        'population.num_listeners': sum(listeners),
        'speaker.groups': tuple({'size': size} for size in speakers),
        'listener.groups': tuple({'size': size} for size in listeners),
    }
    return tiny_config(sizes | {f'population.{key}': value for key, value in changes.items()})


# --- what a config says ---------------------------------------------------------------------------


def test_a_group_is_what_is_different_in_it():
    config = tiny_config(
        {
            'population.num_speakers': 4,
            'population.num_listeners': 3,
            'speaker.groups': ({'core': 'lstm'}, {'hidden_size': 8, 'core': 'transformer'}),
            'listener.groups': ({'size': 1}, {'size': 2, 'projection_sizes': (7,)}),
        }
    )
    assert architectures.spans(config, 'speaker') == (range(2), range(2, 4))
    assert architectures.spans(config, 'listener') == (range(1), range(1, 3))
    assert architectures.kinds(config, 'speaker') == [
        'lstm', 'lstm', 'hidden_size=8, transformer', 'hidden_size=8, transformer'
    ]  # fmt: skip
    table = architectures.combinations(config)
    found = [
        (one.speaker.core, one.speaker.hidden_size, one.listener.projection_sizes)
        for row in table
        for one in row
    ]
    speakers, listeners = [('lstm', 6), ('transformer', 8)], [(6,), (7,)]
    assert found == [(*one, other) for one in speakers for other in listeners]
    # All else is as it was, and none of it has groups.
    for one in itertools.chain(*table):
        assert one.speaker.groups is None and one.listener.groups is None
        assert one.loss.to_dict() == config.loss.to_dict() and one.is_locked
    assert config.speaker.core == 'gru' and len(config.speaker.groups) == 2


def test_one_group_is_none():
    plain = tiny_config()
    one = tiny_config({'speaker.groups': ({'hidden_size': 8},)})
    assert not architectures.has_groups(plain) and not architectures.has_groups(one)
    assert architectures.kinds(plain, 'speaker') == ['']
    assert isinstance(make_meetings(one), population.Meetings)


# --- who meets whom -------------------------------------------------------------------------------

PLANS = {
    'even': ((6, 4), (5, 5), 10, 1),
    'one_of_each': ((1, 1), (1, 1), 2, 2),
    'one_of_three': ((1, 1, 1), (1, 1, 1), 2, 9),
    'few': ((2, 1), (1, 3), 1, 12),
    'uneven': ((3, 2), (1, 4, 2), 4, 35),
    'of_listeners': ((3,), (2, 1), 3, 1),
}


@pytest.mark.parametrize(('speakers', 'listeners', 'pairs', 'steps'), PLANS.values(), ids=PLANS)
def test_every_combination_has_its_share_of_the_pairs(speakers, listeners, pairs, steps):
    counts = make_meetings(sized(speakers, listeners, pairs_per_step=pairs)).counts
    share = pairs * np.outer(speakers, listeners) / (sum(speakers) * sum(listeners))
    assert len(counts) == steps
    np.testing.assert_allclose(counts.mean(0), share)
    assert (np.abs(counts - share) < 1).all()
    assert (counts.sum((1, 2)) == pairs).all()
    assert (counts.sum(2) <= speakers).all() and (counts.sum(1) <= listeners).all()


def meets(scalars, config):
    """The pairs that met, in the order in which they played."""
    ids = np.stack([scalars['speaker'], scalars['listener']], axis=1)
    return ids[ids[:, 0] < config.population.num_speakers]


@pytest.mark.parametrize('name', ['even', 'one_of_three', 'uneven'])
def test_nobody_plays_twice_and_all_pairs_meet_equally_often(name):
    speakers, listeners, pairs, _ = PLANS[name]
    plan = make_meetings(sized(speakers, listeners, pairs_per_step=pairs))
    rows, columns = plan.spans

    @jax.jit
    def slots(key, step):
        """All numbers, and whether these meet."""
        row = jnp.asarray(plan.counts)[step % len(plan.counts)]
        of_cell, found = plan.draw(key, row), []
        for g, h in np.ndindex(row.shape):
            most = int(plan.counts[:, g, h].max())
            one, other = (x[:most] for x in of_cell(g, h))
            both = (one + rows[g].start, other + columns[h].start, jnp.arange(most) < row[g, h])
            found.append(jnp.stack(both))
        return jnp.concatenate(found, axis=1)

    count = 4200
    one, other, meet = np.moveaxis(
        jax.vmap(slots)(jax.random.split(KEY, count), jnp.arange(count)), 1, 0
    )
    assert (meet.sum(1) == pairs).all()
    for ids, size in ((one, sum(speakers)), (other, sum(listeners))):
        times = np.stack([((ids == i) & (meet == 1)).sum(1) for i in range(size)])
        assert times.max() == 1
    matrix = np.zeros((sum(speakers), sum(listeners)))
    np.add.at(matrix, (one[meet == 1], other[meet == 1]), 1)
    expected = count * pairs / matrix.size
    assert abs(matrix / expected - 1).max() < 0.2


def test_the_rules_of_two_groups_are_those_of_their_agents():
    changes = {
        'speaker_speeds': (0.1, 0.2, 0.3, 0.4, 0.5),
        'listener_chances': (0.5, 0.4, 0.3, 0.2, 0.1),
        'speaker_learns': ((0, 1), (3, 4), (4, 0)),
        'pairing': 'fixed',
        'pairs': ((0, 0), (3, 4), (4, 4), (1, 3)),
        'pairs_per_step': 4,
    }
    config = sized((3, 2), (1, 4), **changes)
    plan, whole = make_meetings(config), population.make_meetings(config.population)
    for (g, row), (h, column) in itertools.product(*map(enumerate, plan.spans)):
        said, heard = plan.meetings[g][h].paces
        np.testing.assert_array_equal(said.speed, np.float32(changes['speaker_speeds'])[list(row)])
        chances = np.float32(changes['listener_chances'])
        np.testing.assert_array_equal(heard.chance, chances[list(column)])
        assert said.chance is None and heard.speed is None
        for s, t in itertools.product(row, column):
            learns = said.learns[s - row.start, t - column.start]
            assert learns == whole.paces[0].learns[s, t] == ((s, t) in changes['speaker_learns'])
    # Listener 4 learns from two speakers of one group.
    disjoint = [[one.disjoint for one in row] for row in plan.meetings]
    assert disjoint == [[True, True], [True, False]] and not plan.disjoint


# --- one step, in a game of numbers ---------------------------------------------------------------


class Kinds(Sums):
    """The game of numbers with agents of two kinds: some have a bias as well."""

    def __init__(self, speaker_bias, listener_bias):
        self._biased = (speaker_bias, listener_bias)

    def _init(self, role, key, batch):
        agent = super().init_speaker(key, batch)
        return agent._replace(
            params=agent.params | ({'b': jnp.ones(())} if self._biased[role] else {})
        )

    def init_speaker(self, key, batch):
        return self._init(0, key, batch)

    def init_listener(self, key, batch):
        return self._init(1, key, batch)

    def play(self, pair, key, batch, step, forced=None):
        heard, after = super().play(pair, key, batch, step, forced)
        biases = (agent.params.get('b', 0.0) for agent in (pair.speaker, pair.listener))
        return heard + sum(biases), after


ALIKE = ((SUMS, SUMS), (SUMS, SUMS))
MIXED = tuple(
    tuple(Kinds(speaker, listener) for listener in (True, False)) for speaker in (False, True)
)
TOGETHER = ((4, 0), (0, 0), (1, 3), (0, 3), (4, 1), (1, 0))  # Agents play with both kinds.
WORLDS = {
    'mixed': (MIXED, {'pairs_per_step': 4}),
    'fixed': (MIXED, {'pairing': 'fixed', 'pairs': TOGETHER, 'pairs_per_step': 6}),
    'isolated': (MIXED, {'structure': 'isolated', 'pairs_per_step': 5}),
    'paced': (
        MIXED,
        {
            'pairs_per_step': 5,
            'structure': 'partitioned',
            'speaker_speeds': (0.5, 1.0, 2.0, 0.1, 1.0),
            'speaker_chances': (1.0, 0.5, 0.5, 0.5, 1.0),
            'listener_speeds': (1.0, 0.0, 0.25, 1.0, 2.0),
        },
    ),
}
WAYS = [
    ('vmap', 'mixed'),
    ('vmap', 'paced'),
    ('map', 'mixed'),
    ('map', 'fixed'),
    ('unroll', 'isolated'),
]


def fresh(games, optimizers, batch, config):
    members = groups.init_members(games, optimizers, KEY, batch, config)
    return members._replace(targets=jax.tree.map(lambda leaf: 0.9 * leaf, members.targets))


def place(number, spans):
    """The group of an agent, and its number there."""
    group = next(i for i, span in enumerate(spans) if number in span)
    return group, jnp.array([number - spans[group].start])


def pair_by_pair(plays, plan, pairs, keys, step, members, batch):
    """Each pair by itself, in a population of one group of speakers and one of listeners; returns
    the members, and of each pair the gradient of the trunk, its state and the scalars."""
    rests = []
    for pair, key in zip(pairs.tolist(), keys, strict=True):
        (g, speaker), (h, listener) = map(place, pair, plan.spans)
        part = groups.part(members, g, h)
        after, *rest = plays[g][h](part, (speaker, listener), key[None], batch, step)
        rests.append(rest)
        speakers, listeners, targets = map(list, members[:3])
        speakers[g], listeners[h], targets[g] = after[:3]
        members = Groups(tuple(speakers), tuple(listeners), tuple(targets), members.shared)
    return members, rests


@pytest.fixture(scope='module', params=WAYS, ids='-'.join)
def two_steps(request, optimizers, weighted):
    """The plan, and the members before; of two steps the members after, and the scalars, ours and
    pair by pair, and who met."""
    execution, world = request.param
    games, changes = WORLDS[world]
    config = sized((3, 2), (1, 4), **changes)
    plan = make_meetings(config)
    before = fresh(games, optimizers, weighted, config)
    update = jax.jit(groups.make_communicate(games, optimizers, plan, execution, TARGET_EMA, None))
    rules = (optimizers, 'unroll', TARGET_EMA, None, None)
    plays = [
        [
            jax.jit(updates.make_play(game, rules[0], meetings, *rules[1:]))
            for game, meetings in zip(*both, strict=True)
        ]
        for both in zip(games, plan.meetings, strict=True)
    ]
    ours = theirs = before
    met = []
    for step in (3, 4):
        key = jax.random.fold_in(KEY, step)
        ours, scalars = jax.device_get(update(key, step, ours, weighted))
        slots = scalars['speaker'] < 5
        pairs = meets(scalars, config)
        met.append(pairs)
        keys = jax.random.split(jax.random.split(key)[1], len(slots))[slots]
        theirs, rests = pair_by_pair(plays, plan, pairs, keys, step, theirs, weighted)
        grads, states, values = zip(*rests, strict=True)
        total = partial(jax.tree.map, lambda *x: sum(x))
        mean = partial(jax.tree.map, lambda *x: sum(x) / len(x))
        accuracy = jnp.mean(jnp.concatenate([value['accuracy'] for value in values]))
        outcome = (total(*grads), mean(*states), accuracy)
        shared = updates.learn_shared(optimizers, theirs.shared, outcome, len(pairs), step)
        theirs = theirs._replace(shared=shared)
        expected = jax.tree.map(lambda *x: np.concatenate(x), *values)
        found = {name: scalars[name][slots] for name in expected}
    return config, before, ours, jax.device_get(theirs), found, expected, met


def test_agents_of_a_group_learn_as_the_pair_alone(two_steps):
    _, _, ours, theirs, found, expected, _ = two_steps
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


def test_as_many_meet_as_the_config_says_and_the_others_stay(two_steps):
    config, before, after, *_, met = two_steps
    assert [len(pairs) for pairs in met] == [config.population.pairs_per_step] * 2
    played = np.concatenate(met)
    for column, (old, new), starts in (
        (0, (before.speakers, after.speakers), (0, 3)),
        (1, (before.listeners, after.listeners), (0, 1)),
    ):
        moved = {
            index + start
            for one, other, start in zip(old, new, starts, strict=True)
            for index in changed(one, other)
        }
        assert moved <= set(played[:, column].tolist())
        paced = config.population.speaker_chances or config.population.structure == 'partitioned'
        assert paced or moved == set(played[:, column].tolist())


def test_listed_pairs_play_in_their_order_combination_by_combination(optimizers, weighted):
    games, changes = WORLDS['fixed']
    config = sized((3, 2), (1, 4), **changes)
    update = groups.make_communicate(games, optimizers, make_meetings(config), 'map', 0.9, None)
    _, scalars = update(KEY, jnp.array(0), fresh(games, optimizers, weighted, config), weighted)
    order = [(0, 0), (1, 0), (1, 3), (0, 3), (4, 0), (4, 1)]
    assert list(map(tuple, meets(scalars, config).tolist())) == order


def test_groups_of_agents_that_are_alike_are_one_population(optimizers, weighted):
    """With the same pairs and keys, to the rounding of batched products."""
    pairs = ((0, 0), (2, 1), (1, 3), (3, 2), (4, 4))  # In the order of combinations.
    changes = {'pairing': 'fixed', 'pairs': pairs, 'pairs_per_step': 5}
    config = sized((3, 2), (1, 4), **changes)
    members = groups.init_members(ALIKE, optimizers, KEY, weighted, config)
    plain = tiny_config(
        {'population.num_speakers': 5, 'population.num_listeners': 5}
        | {f'population.{key}': value for key, value in changes.items()}
    )
    alone = groups.init_members(((SUMS,),), optimizers, KEY, weighted, plain)
    assert isinstance(members, Groups) and isinstance(alone, Population)
    chex.assert_trees_all_equal(joined(members), alone)
    both = []
    for games, one, start in ((ALIKE, config, members), (((SUMS,),), plain, alone)):
        update = groups.make_communicate(games, optimizers, make_meetings(one), 'vmap', 0.9, None)
        both.append(jax.jit(update)(KEY, 0, start, weighted))
    chex.assert_trees_all_close((joined(both[0][0]), both[0][1]), both[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('frozen', ['speaker', 'listener', 'shared'])
def test_a_role_without_an_optimiser_stays(frozen, optimizers, weighted):
    games, changes = WORLDS['mixed']
    config, still = sized((3, 2), (1, 4), **changes), optimizers._replace(**{frozen: None})
    before = groups.init_members(games, still, KEY, weighted, config)
    if frozen == 'speaker':  # The game of numbers reads targets, which frozen speakers have not.
        before = before._replace(targets=tuple(x.agent.params for x in before.speakers))
    update = groups.make_communicate(games, still, make_meetings(config), 'vmap', 0.9, None)
    after, _ = jax.jit(update)(KEY, 0, before, weighted)
    for role in ('speakers', 'listeners', 'shared'):
        learnt = any(
            (one != other).any()
            for one, other in zip(
                *(jax.tree.leaves(agents_of(getattr(x, role))) for x in (before, after)),
                strict=True,
            )
        )
        assert learnt == (role.rstrip('s') != frozen)


def joined(members):
    """The population in which the groups are one stack."""
    roles = (
        jax.tree.map(lambda *x: jnp.concatenate(x), *role)
        for role in (members.speakers, members.listeners, members.targets)
    )
    return Population(*roles, members.shared)


def test_agents_have_their_place():
    stacks = ({'w': jnp.zeros((2, 3))}, {'w': jnp.ones((1, 4))})
    learners = tuple(
        population.Learner(population.Agent(x, {}), {}, jnp.zeros(1), jnp.zeros(1)) for x in stacks
    )
    for role in (learners, learners[0]):
        doubled = jax.tree.map(lambda x: x + 1, agents_of(role))
        chex.assert_trees_all_equal(agents_of(with_agents(role, doubled)), doubled)


# --- many steps, and what happens now and then ----------------------------------------------------


def with_updates(config, **changes):
    config = config.copy_and_resolve_references().unlock()
    config.updates.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope='module')
def many(optimizers, bank, batch):
    """The plan, the members of two replicas with their keys, and the compiled function of their
    steps, every other of which imitates."""
    config = with_updates(sized((2, 1), (1, 2), pairs_per_step=2), **{'imitate.every': 2})
    plan = make_meetings(config)
    communicate = groups.make_communicate(MIXED, optimizers, plan, 'vmap', TARGET_EMA, None)
    periodic = groups.make_periodic(MIXED, optimizers, config.updates, None)

    def draw_batch(bank, key, step):
        return draw(bank, key, step, BATCH, noise=0.1, axis_name=None)

    whole = jax.jit(steps.make_steps(communicate, periodic, draw_batch, 'vmap').many)

    def run(members, keys, start, count):
        return jax.device_get(whole(members, bank, keys, np.int32(start), np.int32(count)))

    def init(key):
        return groups.init_members(MIXED, optimizers, key, batch, config)

    keys = jax.random.split(KEY, 2)
    return plan, jax.vmap(init)(keys), keys, run


def test_steps_of_one_call_are_calls_of_one_step(many):
    plan, members, keys, run = many
    assert len(plan.counts) == 9
    together, done, scalars = run(members, keys, 1, 10)
    assert done == 10
    each = []
    for step in range(1, 11):
        members, _, values = run(members, keys, step, 1)
        each.append(values)
        # Scalars are of those who met, by their numbers in the population.
        met = np.isfinite(values['loss'])
        blocks = [[met[:, x][:, :, y].sum((1, 2)) for y in plan.spans[1]] for x in plan.spans[0]]
        np.testing.assert_array_equal(
            np.moveaxis(blocks, -1, 0), [plan.counts[step % len(plan.counts)]] * 2
        )
    chex.assert_trees_all_equal(members, together)
    assert scalars['accuracy'].shape == (2, 3, 3)
    assert np.isfinite(scalars['loss']).sum() > 9
    for name in ('loss', 'gradient_norm', 'imitation_loss'):
        values = np.array([one[name] for one in each])
        times = np.isfinite(values).sum(0)
        mean = np.where(times, np.nansum(values, 0), np.nan) / np.maximum(times, 1)
        np.testing.assert_allclose(scalars[name], mean, rtol=1e-5, err_msg=name)
    averages = np.concatenate([stack.accuracy for stack in together.listeners], axis=-1)
    np.testing.assert_array_equal(scalars['listener_accuracy'], averages)


def test_a_replica_is_what_it_would_be_alone(many):
    _, members, keys, run = many
    together, _, scalars = run(members, keys, 0, 4)
    alone = run(*jax.tree.map(lambda x: x[1:], (members, keys)), 0, 4)
    ours = jax.tree.map(lambda x: x[1:], (together, scalars))
    chex.assert_trees_all_close(ours, (alone[0], alone[2]), rtol=1e-4, atol=1e-6)


def test_there_may_be_more_groups_of_speakers(optimizers, batch):
    games = tuple((Kinds(x, False), Kinds(x, True)) for x in (True, False, True))
    members = groups.init_members(games, optimizers, KEY, batch, sized((1, 3, 2), (4, 2)))
    assert [len(stack.updates) for stack in members.speakers] == [1, 3, 2]
    assert [stack.agent.params.keys() for stack in members.speakers] == [
        {'w', 'b'},
        {'w'},
        {'w', 'b'},
    ]
    assert [len(stack.updates) for stack in members.listeners] == [4, 2]
    chex.assert_trees_all_equal(members.targets, tuple(x.agent.params for x in members.speakers))


def every_group(before, after):
    """How many agents changed in each group of speakers, of their targets, and of listeners."""
    roles = ('speakers', 'targets', 'listeners')
    return [
        [len(changed(one, other)) for one, other in zip(old, new, strict=True)]
        for old, new in ((getattr(before, role), getattr(after, role)) for role in roles)
    ]


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'imitate.every': 1}, [[1, 1], [0, 0], [0, 0, 0]]),
        ({'imitate.every': 1, 'imitate.num_students': 2}, [[2, 1], [0, 0], [0, 0, 0]]),
        ({'reset.every': 1}, [[1, 1], [1, 1], [1, 1, 1]]),
        ({'reset.every': 1, 'reset.who': 'speaker'}, [[1, 1], [1, 1], [0, 0, 0]]),
        ({'reset.every': 1, 'reset.who': 'listener'}, [[0, 0], [0, 0], [1, 1, 1]]),
        ({'reset.every': 1, 'reset.who': 'all'}, [[3, 1], [3, 1], [1, 2, 3]]),
        ({'generations.every': 9}, [[3, 1], [3, 1], [1, 2, 3]]),
    ],
)
def test_what_happens_now_and_then_happens_in_each_group(changes, expected, optimizers, weighted):
    games = tuple((*row, row[0]) for row in MIXED)  # Three groups of listeners.
    config = with_updates(sized((3, 1), (1, 2, 3)), **changes)
    members = groups.init_members(games, optimizers, jax.random.key(1), weighted, config)
    members = jax.tree.map(lambda x: x + jnp.ones((), x.dtype), members)
    targets = tuple(jax.tree.map(lambda x: 0.5 * x, x.agent.params) for x in members.speakers)
    members = members._replace(targets=targets)
    update = groups.make_periodic(games, optimizers, config.updates, None)[0].update
    after, scalars = update(KEY, jnp.array(9), members, weighted)
    assert every_group(members, after) == expected
    chex.assert_trees_all_equal(after.shared, members.shared)
    chex.assert_trees_all_equal_shapes_and_dtypes(members, after)
    # In each group it is what it is in a population of that group alone.
    alone = dynamics.make_periodic(games[1][1], optimizers, config.updates, None)[0].update
    own, values = alone(
        jax.random.fold_in(KEY, 1), jnp.array(9), groups.part(members, 1, 1), weighted
    )
    chex.assert_trees_all_equal(own, groups.part(after, 1, 1))
    assert scalars.keys() == values.keys()
