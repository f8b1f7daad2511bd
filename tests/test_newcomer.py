"""Newcomers: whom they meet, that nobody else learns, what is taken of the run, what they paid."""

import json
import re
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from conftest import SUMS, TARGET_EMA, changed, tiny_config, tiny_source

from configs import newcomer as recipe
from emcom_jax import updates
from emcom_jax.checks import check
from emcom_jax.experiments.newcomer import Newcomer
from emcom_jax.games import is_frozen
from emcom_jax.metrics.learning import first_step_at
from emcom_jax.population import Optimizers, init_population, make_meetings
from emcom_jax.runtime.run_directory import RunDirectory

KEY = jax.random.key(0)
OTHER = {'listener': 'speaker', 'speaker': 'listener'}


# --- whom they meet -------------------------------------------------------------------------------


def meetings_of(**changes):
    config = tiny_config({f'population.{key}': value for key, value in changes.items()})
    return make_meetings(config.population)


@pytest.mark.parametrize('role', [0, 1])
def test_every_agent_of_a_role_plays_once_with_any_that_it_may_meet(role):
    graph = ((0, 0), (0, 1), (1, 1), (1, 2), (1, 3), (2, 0), (2, 3))  # Of 3 speakers, 4 listeners.
    name = ('speaker', 'listener')[role]
    sizes = {'num_speakers': 3, 'num_listeners': 4}
    changes = {'pairing': f'every_{name}', 'pairs_per_step': (3, 4)[role], 'graph': graph}
    meetings = meetings_of(**sizes, **changes)
    pairs = np.stack(jax.vmap(meetings.draw)(jax.random.split(KEY, 2000)), axis=-1)
    assert pairs.shape == (2000, (3, 4)[role], 2) and pairs.dtype == np.int32
    assert (pairs[..., role] == np.arange((3, 4)[role])).all()
    met, counts = np.unique(pairs.reshape(-1, 2), axis=0, return_counts=True)
    assert {tuple(pair) for pair in met.tolist()} == set(graph)
    degree = np.bincount([pair[role] for pair in graph])
    np.testing.assert_allclose(counts, 2000 / degree[met[:, role]], rtol=0.15)
    # At once only if those who are met more than once do not learn.
    assert not meetings.disjoint
    at_rest = {f'{("listener", "speaker")[role]}_learns': ()}
    assert meetings_of(**sizes, **changes, **at_rest).disjoint


def test_an_agent_that_would_meet_nobody_is_refused():
    graph = ((0, 0), (1, 0))
    with pytest.raises(ValueError, match="listener 1 meet nobody.*'every_listener'"):
        meetings_of(pairing='every_listener', num_speakers=2, num_listeners=2, graph=graph)


def test_as_many_pairs_as_agents_of_the_role():
    changes = {'population.pairing': 'every_listener', 'population.num_listeners': 3}
    with pytest.raises(ValueError, match='^population.pairs_per_step=1 must be 3: .*each listener'):
        check(tiny_config(changes), tiny_source(), 1)


# --- nobody else learns ---------------------------------------------------------------------------


@pytest.mark.parametrize('execution', ['vmap', 'map', 'unroll'])
@pytest.mark.parametrize('role', ['speaker', 'listener', 'nobody'])
def test_residents_stay_and_newcomers_learn_as_ever(role, execution, optimizers, batch, weighted):
    named = {'speaker': {'num_speakers': 3, 'num_listeners': 2}}.get(role, {})
    sizes = {'num_speakers': 2, 'num_listeners': 3} | named
    other = OTHER.get(role, 'speaker')
    changes = {'pairing': f'every_{OTHER[other]}', 'pairs_per_step': 3, f'{other}_learns': ()}
    meetings = meetings_of(**sizes, **changes)

    def step(optimizers):
        before = init_population(SUMS, optimizers, KEY, batch, *sizes.values())
        if optimizers.speaker is None:  # The game of numbers reads them.
            before = before._replace(targets=before.speakers.agent.params)
        update = updates.communicate(SUMS, optimizers, meetings, execution, TARGET_EMA, None)
        after, scalars = jax.jit(update)(KEY, 0, before, weighted)
        return before, after, scalars

    if role == 'nobody':
        before, after, scalars = step(Optimizers(None, None, None))
        chex.assert_trees_all_equal(after, before)
        assert (scalars['gradient_norm'] == 0).all()
        _, _, expected = step(optimizers)
    else:
        before, after, scalars = step(optimizers._replace(**{other: None}))
        residents = [getattr(members, f'{other}s') for members in (before, after)]
        assert residents[0].opt_state == {} and not changed(*residents)
        _, masked, expected = step(optimizers)
        learners = [getattr(members, f'{role}s') for members in (before, after, masked)]
        assert changed(*learners[:2]) == {0, 1, 2}
        chex.assert_trees_all_close(*learners[1:], rtol=1e-5)
        chex.assert_trees_all_close(after.targets, masked.targets, rtol=1e-5)
        chex.assert_trees_all_close(after.shared, masked.shared, rtol=1e-5)
        assert (scalars['gradient_norm'] < expected['gradient_norm']).all()
    chex.assert_trees_all_close(scalars['accuracy'], expected['accuracy'], rtol=1e-5)


def test_frozen_listeners_are_not_reset_and_somebody_learns():
    frozen = {'population.listener_learns': ()}
    for changes, sentence in (
        ({'updates.reset.every': 5}, "who='pair' must be 'speaker'"),
        ({'updates.generations.every': 5}, 'every=5 must be unset'),
        (
            {'loss.speaker.name': 'none', 'loss.speaker.entropy': 0.0, 'loss.speaker.kl': 0.0},
            "name='none' teaches nobody",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            check(tiny_config(frozen | changes), tiny_source(), 1)


# --- what is taken of the run ---------------------------------------------------------------------


@pytest.fixture
def source_run(tmp_path):
    """A directory with the config of a run, of which nothing else is read."""
    changes = {
        'population.num_speakers': 4,
        'population.num_listeners': 3,
        'population.pairs_per_step': 2,
        'population.structure': 'mixing',
        'replicas': 2,
        'optimizer.speaker.schedule': 'cosine',
        'loss.speaker.kl': 0.25,
    }
    (tmp_path / 'config.json').write_text(json.dumps(tiny_config(changes).to_dict()))
    return tmp_path


def join(run, variant='', **changes):
    config = recipe.get_config(variant)
    config.from_run = str(run)
    config.update_from_flattened_dict(changes)
    return Newcomer.resolve(config)


def test_listeners_hear_all_speakers_and_speakers_talk_to_all_listeners(source_run):
    for role, sizes in (('listener', (4, 5)), ('speaker', (5, 3))):
        config = join(source_run, **{'newcomer.role': role})
        check(config, tiny_source(), 1)
        group = config.population
        assert (group.num_speakers, group.num_listeners) == sizes
        assert (group.pairing, group.pairs_per_step) == (f'every_{role}', 5)
        assert (group.speaker_learns, group.listener_learns) == (
            ((), None) if role == 'listener' else (None, ())
        )
        # The loss and the optimiser of residents, but at a constant rate.
        kl, rate = config.loss.speaker.kl, config.optimizer[role]
        assert kl == (0.0 if role == 'listener' else 0.25)
        assert (rate.learning_rate, rate.schedule) == (0.01, 'constant')
        assert config.replicas == 2 and config.is_locked


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'newcomer.role': 'teacher'}, 'must be one of listener, speaker'),
        ({'newcomer.count': 0}, 'must be at least 1'),
        ({'newcomer.shares': (1.5,)}, 'above 0, at most 1'),
        ({'newcomer.steps': (0.5,)}, 'whole numbers of at least 1'),
        ({'interval_type': 'secs'}, 'logged by steps'),
        ({'population.num_listeners': 1}, 'follows from newcomer and from_run'),
        ({'speaker.core': 'lstm'}, 'follows from newcomer and from_run'),
        ({'listener.groups': ({}, {})}, 'follows from newcomer and from_run'),
        ({'loss.listener.name': 'classification'}, 'follows from newcomer and from_run'),
        ({'updates.reset.every': 10}, 'follows from newcomer and from_run'),
        ({'from_run': None}, 'must name a run directory'),
    ],
)
def test_what_cannot_be_is_refused(source_run, changes, sentence):
    ((key, value),) = changes.items()
    with pytest.raises(ValueError, match=f'^{re.escape(f"{key}={value!r} ")}.*{sentence}'):
        join(source_run, **changes)


@pytest.mark.parametrize('role', ['speaker', 'listener'])
def test_residents_of_several_architectures_are_refused(source_run, role):
    config = json.loads((source_run / 'config.json').read_text())
    config['population'] |= {'num_speakers': 2, 'num_listeners': 2}
    config[role]['groups'] = [{'core': 'gru'}, {'core': 'lstm'}]
    (source_run / 'config.json').write_text(json.dumps(config))
    name = re.escape(f'from_run={str(source_run)!r}')
    for variant in ('', 'speaker'):
        with pytest.raises(ValueError, match=f'^{name} must name a run without speaker.groups'):
            join(source_run, variant)


def test_newcomers_may_be_of_another_architecture(source_run):
    assert join(source_run, **{'listener.core': 'lstm'}).listener.core == 'lstm'
    config = join(source_run, 'speaker', **{'speaker.core': 'lstm'})
    assert (config.speaker.core, config.listener.core) == ('lstm', 'gru')


@pytest.mark.parametrize('structure', ['mixing', 'partitioned'])
@pytest.mark.parametrize('role', ['listener', 'speaker'])
def test_residents_play_as_newcomers_and_residents_do(source_run, role, structure):
    there = json.loads((source_run / 'config.json').read_text())
    there['population'] |= {'structure': structure, 'num_listeners': 4}
    (source_run / 'config.json').write_text(json.dumps(there))
    config = join(source_run, **{'newcomer.role': role})
    experiment = Newcomer.__new__(Newcomer)
    experiment._config = config
    residents = experiment._of_residents(RunDirectory(source_run).load_config())
    check(residents, tiny_source(), None)
    for one in ('speaker', 'listener'):
        assert is_frozen(residents, one) == is_frozen(config, one) == (one != role)
    assert residents.population.num_speakers == residents.population.num_listeners == 4
    assert residents.loss.speaker.kl == 0


# --- what they paid -------------------------------------------------------------------------------


def test_a_level_is_reached_where_the_curve_crosses_it_first():
    steps = np.array([10, 20, 40])
    curves = np.array([[0.1, 0.5, 0.0, 0.0], [0.3, 0.6, 0.4, 0.2], [0.5, 0.7, 0.1, 0.2]])
    found = first_step_at(steps, curves, 0.3)
    np.testing.assert_allclose(found, [20, 10, 17.5, np.nan])
    np.testing.assert_allclose(first_step_at(steps, curves, 0.4)[:2], [30, 10])


@pytest.mark.parametrize('role', ['listener', 'speaker'])
def test_what_is_stated_is_of_each_newcomer(role):
    # Two replicas of three residents and two newcomers, at three steps; nan: they did not meet.
    met = np.full((3, 2, 3, 2), np.nan)
    met[:, 0, 0, 0] = [0.1, 0.2, 0.3]
    met[:, 0, 2, 0] = [0.1, 0.4, 0.5]
    met[:, 0, 1, 1] = [0.0, 0.1, 0.2]
    met[:, 1] = 0.4
    if role == 'speaker':
        met = np.swapaxes(met, 2, 3)
    config = tiny_config().unlock()
    config.experiment = 'newcomer'
    config.newcomer = {'role': role, 'shares': (0.5, 0.75), 'steps': (10, 100)}
    experiment = Newcomer.__new__(Newcomer)
    experiment._config, experiment._reached = config, np.array([0.4, 0.4])
    curves = experiment._own_curves(met)
    assert curves.shape == (3, 2, 1, 2)
    np.testing.assert_allclose(curves[:, 0, 0], [[0.1, 0.0], [0.3, 0.1], [0.4, 0.2]])
    steps = np.array([10, 20, 40])
    values = experiment._state(steps, curves[:, 0], 0)
    # They reach 0.2 after 15 and 40 steps; 0.3 after 20, and not at all.
    assert values['updates_to_50%'] == pytest.approx((15 + 40) / 2)
    assert values['newcomers_at_50%'] == 1 and len(values['updates_to_50%_ci95']) == 2
    assert np.isnan(values['updates_to_75%']) and 'updates_to_75%_ci95' not in values
    assert values['newcomers_at_75%'] == 0.5 and values['residents_accuracy'] == 0.4
    assert values['accuracy_at_10'] == pytest.approx(0.05) and 'accuracy_at_100' not in values
    assert experiment._state(steps, curves[:, 1], 1)['updates_to_75%'] == 10


def test_the_newcomers_replicas_are_those_of_the_run_or_all_join_one(source_run):
    for replicas in (1, 3):
        config = join(source_run, replicas=replicas)
        with pytest.raises(ValueError, match=f'replicas={replicas}, but .* has 2: as many are'):
            Newcomer._read_agents(SimpleNamespace(_config=config), str(source_run), {})
