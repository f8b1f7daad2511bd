"""What happens to a population now and then, and replicas of it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BATCH, SUMS, TARGET_EMA, changed, tiny_config

from emcom_jax import dynamics, steps, updates
from emcom_jax.data.batches import draw
from emcom_jax.experiments.validation import Validation
from emcom_jax.population import init_population, make_meetings

KEY = jax.random.key(0)


# --- imitation ------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def skilled(optimizers, batch):
    """Five speakers with an accuracy each."""
    population = init_population(SUMS, optimizers, KEY, batch, 5, 1)
    accuracy = jnp.array([0.5, 0.1, 0.7, 0.3, 0.6])
    return population._replace(speakers=population.speakers._replace(accuracy=accuracy))


def imitation(optimizers, **changes):
    config = tiny_config({f'updates.imitate.{key}': value for key, value in changes.items()})
    return dynamics.imitate(SUMS, optimizers, config.updates.imitate, axis_name=None)


@pytest.mark.parametrize(
    ('teacher', 'choose'),
    [('best', max), ('worst', min), ('random', lambda drawn, key: drawn[0])],
    ids=['best', 'worst', 'random'],
)
def test_students_are_the_drawn_who_do_not_teach(teacher, choose, optimizers, skilled, weighted):
    update = jax.jit(imitation(optimizers, teacher=teacher, num_students=2))
    words = weighted.speaker_inputs @ skilled.speakers.agent.params['w'].T
    for key in jax.random.split(KEY, 5):
        after, scalars = update(key, 0, skilled, weighted)
        drawn = jax.random.permutation(key, 5)[:3].tolist()
        teaches = choose(drawn, key=skilled.speakers.accuracy.tolist().__getitem__)
        students = set(drawn) - {teaches}
        assert changed(skilled.speakers, after.speakers) == students
        # Nothing but the students' parameters: their accuracies and EMA targets stay.
        chex.assert_trees_all_equal(after.speakers.accuracy, skilled.speakers.accuracy)
        chex.assert_trees_all_equal(after._replace(speakers=0), skilled._replace(speakers=0))
        errors = np.mean([(words[:, one] - words[:, teaches]) ** 2 for one in students], axis=0)
        loss = errors @ weighted.weight / weighted.weight.sum()
        np.testing.assert_allclose(scalars['imitation_loss'], loss, rtol=1e-5)


@pytest.mark.parametrize(('teacher', 'place'), [('best', np.nanargmax), ('worst', np.nanargmin)])
def test_who_never_played_teaches_nobody_who_did(teacher, place, optimizers, skilled, weighted):
    update = jax.jit(imitation(optimizers, teacher=teacher, num_students=2))
    # Nobody has been understood.
    accuracy = np.array([0.0, np.nan, np.nan, 0.0, 0.0], np.float32)
    skilled = skilled._replace(speakers=skilled.speakers._replace(accuracy=jnp.array(accuracy)))
    for key in jax.random.split(KEY, 10):
        drawn = np.array(jax.random.permutation(key, 5)[:3])
        teaches = drawn[place(accuracy[drawn])]
        after, _ = update(key, 0, skilled, weighted)
        assert changed(skilled.speakers, after.speakers) == set(drawn.tolist()) - {int(teaches)}


def test_students_come_closer(optimizers, skilled, weighted):
    update = jax.jit(imitation(optimizers, num_students=4))
    population, values = skilled, []
    for step in range(20):
        population, scalars = update(KEY, jnp.array(step), population, weighted)
        values.append(scalars['imitation_loss'])
    assert (np.diff(values) < 0).all()


def test_imitation_and_transmission_know_the_speed_of_speakers(optimizers, skilled, weighted):
    speeds = jnp.array([0.0, 0.5, 1.0, 1.0, 0.0])
    config = tiny_config({'updates.imitate.num_students': 4}).updates.imitate
    own = skilled.speakers.agent.params['w']
    taught = skilled._replace(targets={'w': jnp.roll(own, 1, axis=0)})

    def moved(make, *arguments):
        update = jax.jit(make(SUMS, optimizers, *arguments))
        after, _ = update(KEY, jnp.array(0), taught, weighted)
        return np.asarray(after.speakers.agent.params['w'] - own)

    for make, arguments in ((dynamics.imitate, (config, None)), (dynamics.transmit, (None,))):
        whole = moved(make, *arguments)
        assert np.abs(whole).max(axis=1)[:2].min() > 1e-3
        paced = moved(make, *arguments, speeds)
        np.testing.assert_allclose(paced, speeds[:, None] * whole, rtol=1e-4, atol=1e-6)


def test_a_single_speaker_imitates_itself(optimizers, batch):
    alone = init_population(SUMS, optimizers, KEY, batch, 1, 1)
    after, scalars = imitation(optimizers)(KEY, jnp.array(0), alone, batch)
    assert scalars['imitation_loss'] == 0 and after.speakers.updates[0] == 1


def test_the_average_accuracy_of_who_imitated_first_starts_at_the_first_game(
    optimizers, batch, weighted
):
    beginners = init_population(SUMS, optimizers, KEY, batch, 3, 4)
    imitated, _ = imitation(optimizers)(KEY, jnp.array(0), beginners, weighted)
    assert imitated.speakers.updates.any() and np.isnan(imitated.speakers.accuracy).all()
    pairs = {'population.pairing': 'fixed', 'population.pairs': ((1, 0), (0, 2), (2, 3))}
    learns = {'population.speaker_learns': ((0, 2), (2, 3))}
    sizes = {'population.num_speakers': 3, 'population.num_listeners': 4}
    config = tiny_config({**sizes, **pairs, **learns, 'population.pairs_per_step': 3})
    drawn = make_meetings(config.population)
    update = jax.jit(updates.communicate(SUMS, optimizers, drawn, 'map', TARGET_EMA, None))
    after, scalars = update(KEY, 0, imitated, weighted)
    learns = drawn.paces[0].learns[scalars['speaker'], scalars['listener']]
    speakers, accuracy = scalars['speaker'][learns], scalars['accuracy'][learns]
    np.testing.assert_allclose(after.speakers.accuracy[speakers], accuracy, rtol=1e-6)
    assert learns.sum() == 2


# --- reset ----------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def aged(optimizers, batch):
    """Three speakers and four listeners, nothing of whom is as in the beginning."""
    fresh = init_population(SUMS, optimizers, jax.random.key(1), batch, 3, 4)

    def age(leaf):
        return leaf + jnp.ones((), leaf.dtype)

    aged = jax.tree.map(age, fresh)
    return aged._replace(
        speakers=aged.speakers._replace(accuracy=jnp.full(3, 0.5)),
        listeners=aged.listeners._replace(accuracy=jnp.full(4, 0.5)),
    )


@pytest.mark.parametrize(
    ('who', 'speakers', 'listeners'),
    [('speaker', 1, 0), ('listener', 0, 1), ('pair', 1, 1), ('all', 3, 4)],
)
def test_a_reset_makes_fresh_agents_of_some(who, speakers, listeners, optimizers, aged, batch):
    update = jax.jit(dynamics.reset(SUMS, optimizers, who))
    seen = set()
    for key in jax.random.split(KEY, 12):
        after, scalars = update(key, 0, aged, batch)
        assert scalars == {}
        reset = changed(aged.speakers, after.speakers), changed(aged.listeners, after.listeners)
        assert tuple(map(len, reset)) == (speakers, listeners)
        assert changed(aged.targets, after.targets) == reset[0]
        chex.assert_trees_all_equal(after.shared, aged.shared)
        for stack, role, ids in zip(after, optimizers, reset, strict=False):
            for i in ids:
                one = jax.tree.map(lambda leaf, i=i: leaf[i], stack)
                assert np.isnan(one.accuracy) and one.updates == 0
                chex.assert_trees_all_equal(one.opt_state, role.init(one.agent.params))
        for i in reset[0]:
            params = jax.tree.map(lambda leaf, i=i: leaf[i], after.speakers.agent.params)
            chex.assert_trees_all_equal(
                jax.tree.map(lambda leaf, i=i: leaf[i], after.targets), params
            )
        seen |= {(0, i) for i in reset[0]} | {(1, i) for i in reset[1]}
    # Everybody's turn comes.
    assert len(seen) == (3 if speakers else 0) + (4 if listeners else 0)


def test_updates_that_have_a_period_come_in_their_order(optimizers):
    def periods(**changes):
        config = tiny_config({f'updates.{key}': value for key, value in changes.items()})
        made = dynamics.make_periodic(SUMS, optimizers, config.updates, None)
        return [first(each.due) for each in made]

    def first(due):
        return next(step for step in range(100) if due(step)) + 1

    assert periods() == []
    assert periods(**{'reset.every': 5}) == [6]
    assert periods(**{'imitate.every': 3, 'reset.every': 5}) == [3, 6]
    # Of generations: that which succeeds, the first and the last that transmits.
    made = {'generations.every': 10, 'generations.transmit_steps': 3, 'reset.every': 5}
    assert periods(**made) == [6, 11, 12, 14]


def test_who_is_fresh_has_played_before_a_validation_and_before_the_end(optimizers):
    config = tiny_config({'updates.reset.every': 5, 'training_steps': 20})
    (reset,) = dynamics.make_periodic(SUMS, optimizers, config.updates, None)
    # What is evaluated after n steps was left by step n - 1.
    assert [step for step in range(20) if reset.due(step)] == [5, 10, 15]


# --- generations ----------------------------------------------------------------------------------

GENERATIONS = {'every': 10, 'transmit_steps': 3, 'listen_steps': 2}


def phases(**changes):
    config = tiny_config(
        {f'updates.generations.{key}': value for key, value in (GENERATIONS | changes).items()}
    )
    return dynamics.make_phases(config.updates.generations)


def test_a_generation_transmits_then_listens_then_plays():
    of = phases()
    found = {
        name: [step for step in range(25) if getattr(of, name)(jnp.array(step))]
        for name in of._fields
    }
    assert found == {
        'succeeds': [10, 20],
        'transmits': [11, 12, 13, 21, 22, 23],
        'transmitted': [13, 23],
        'plays': [*range(10), *range(14, 20), 24],
        'speaks': [*range(10), *range(16, 20)],
    }
    assert not any(phases(transmit_steps=0).transmits(jnp.array(step)) for step in range(25))
    assert phases(transmit_steps=0).transmitted(jnp.array(10))  # Targets are copies all the same.
    assert dynamics.make_phases(tiny_config().updates.generations) is None


@pytest.mark.parametrize('steps', range(11, 32))
def test_the_last_generation_is_the_last_that_succeeds(steps):
    group = tiny_config({'updates.generations.every': 10}).updates.generations
    of = phases()
    succeeded = [step for step in range(steps) if of.succeeds(jnp.array(step))]
    assert dynamics.last_generation(group, steps) == succeeded[-1]
    assert dynamics.last_generation(tiny_config().updates.generations, steps) == 0


def test_validations_count_from_the_last_generation_on():
    group = tiny_config({'evaluation.patience': 2, 'evaluation.threshold': 0.9}).evaluation
    validation = Validation(group, 100, since=10)
    assert not any(validation.update(step, 0.95) for step in (2, 4, 6, 8, 10))
    assert validation.best_step == -1 and not validation.stopped
    assert validation.update(12, 0.5) and validation.best_step == 12
    kept, prolonged = (Validation(group, 100, since) for since in (10, 20))
    for one in (kept, prolonged):
        one.restore(validation.snapshot())
    assert kept.best_step == 12 and not kept.update(22, 0.4)
    assert prolonged.best_step == -1 and prolonged.update(22, 0.4)


@pytest.fixture(scope='module')
def history(optimizers, batch, bank):
    """The population before each of 17 steps, and the scalars of each."""
    changes = {'num_speakers': 2, 'num_listeners': 2, 'pairs_per_step': 2}
    config = tiny_config(
        {
            **{f'population.{key}': value for key, value in changes.items()},
            **{f'updates.generations.{key}': value for key, value in GENERATIONS.items()},
        }
    )
    meetings = make_meetings(config.population)
    of = phases()
    communicate = updates.communicate(
        SUMS, optimizers, meetings, 'vmap', TARGET_EMA, None, (of.speaks, of.plays)
    )
    periodic = dynamics.make_periodic(SUMS, optimizers, config.updates, None)

    def draw_batch(bank, key, step):
        return draw(bank, key, step, BATCH, noise=0.1, axis_name=None)

    many = jax.jit(steps.make_steps(communicate, periodic, draw_batch, 'vmap', of.plays).many)
    members = init_population(SUMS, optimizers, KEY, batch, 2, 2)
    populations, scalars = [jax.device_get(members)], []
    for step in range(17):
        stack = jax.tree.map(lambda x: x[None], members)
        stack, _, values = many(stack, bank, KEY[None], np.int32(step), np.int32(1))
        members, values = jax.tree.map(lambda x: x[0], (stack, values))
        populations.append(jax.device_get(members))
        scalars.append(jax.device_get(values))
    return populations, scalars


def test_the_next_generation_is_fresh_and_its_teachers_are_the_last(history):
    populations, _ = history
    old, new = populations[10], populations[11]
    assert changed(old.speakers, new.speakers) == changed(old.listeners, new.listeners) == {0, 1}
    np.testing.assert_array_equal(new.speakers.updates, [0, 0])
    chex.assert_trees_all_equal(new.targets, old.speakers.agent.params)
    assert abs(new.targets['w'] - new.speakers.agent.params['w']).max() > 0.5
    chex.assert_trees_all_equal(new.shared, old.shared)


def test_who_learns_in_which_phase(history):
    populations, scalars = history

    def learns(step):
        before, after = populations[step], populations[step + 1]
        roles = ('speakers', 'listeners', 'targets')
        return [bool(changed(getattr(before, r), getattr(after, r))) for r in roles]

    assert learns(9) == [True, True, True]
    assert learns(11) == learns(12) == [True, False, False]  # Speakers, from their teachers.
    assert learns(13) == [True, False, True]  # Then they have targets of their own.
    assert learns(14) == learns(15) == [False, True, False]
    assert learns(16) == [True, True, True]
    chex.assert_trees_all_equal(populations[14].targets, populations[14].speakers.agent.params)
    played = [np.isfinite(values['loss']).any() for values in scalars]
    assert played == [*10 * [True], *4 * [False], *3 * [True]]
    transmission = [values['transmission_loss'] for values in scalars]
    assert np.isfinite(transmission).tolist() == [*11 * [False], *3 * [True], *3 * [False]]
    assert transmission[13] < transmission[11]


# --- replicas -------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def replicas(optimizers, batch, bank):
    """Three populations and their keys, and execution -> the compiled function of their steps."""
    changes = {'num_speakers': 3, 'num_listeners': 3, 'pairs_per_step': 2}
    config = tiny_config({f'population.{key}': value for key, value in changes.items()})
    meetings = make_meetings(config.population)
    communicate = updates.communicate(SUMS, optimizers, meetings, 'vmap', TARGET_EMA, None)
    periodic = [steps.Periodic(steps.after_every(2), dynamics.reset(SUMS, optimizers, 'pair'))]

    def draw_batch(bank, key, step):
        return draw(bank, key, step, BATCH, noise=0.1, axis_name=None)

    def run(execution, stack, keys):
        many = jax.jit(steps.make_steps(communicate, periodic, draw_batch, execution).many)
        return jax.device_get(many(stack, bank, keys, np.int32(1), np.int32(4)))

    keys = jax.random.split(KEY, 3)
    stack = jax.vmap(lambda key: init_population(SUMS, optimizers, key, batch, 3, 3))(keys)
    return run, stack, keys


@pytest.mark.parametrize('execution', ['vmap', 'map', 'unroll'])
def test_a_replica_is_what_it_would_be_alone(execution, replicas):
    run, stack, keys = replicas
    together, done, scalars = run(execution, stack, keys)
    assert done == 4 and scalars['loss'].shape == (3, 3, 3)
    apart = [run('vmap', *jax.tree.map(lambda x, r=r: x[r : r + 1], (stack, keys))) for r in (0, 2)]
    for r, (alone, _, values) in zip((0, 2), apart, strict=True):
        ours = jax.tree.map(lambda x, r=r: x[r : r + 1], (together, scalars))
        chex.assert_trees_all_close(ours, (alone, values), rtol=1e-4, atol=1e-6)
    # And unlike the others.
    params = together.speakers.agent.params['w']
    assert not np.allclose(params[0], params[1]) and not np.allclose(params[1], params[2])
