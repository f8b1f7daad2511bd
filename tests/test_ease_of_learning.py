"""Ease of learning: what it takes from the run of its speakers, what it trains, what it states."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SUMS, TARGET_EMA, changed, tiny_config

from configs import ease_of_learning as recipe
from configs import newcomer
from emcom_jax import config as config_lib
from emcom_jax import updates
from emcom_jax.experiments import ease_of_learning as experiment
from emcom_jax.experiments.ease_of_learning import EaseOfLearning
from emcom_jax.experiments.newcomer import Newcomer
from emcom_jax.metrics.learning import (
    area_under_curve,
    co_adaptation,
    information_loss,
    value_at,
)
from emcom_jax.population import init_population, make_meetings
from emcom_jax.report import page
from emcom_jax.report.learning import learning
from emcom_jax.runtime.files import strict

ROOT = Path(__file__).parents[1]
KEY = jax.random.key(0)


# --- curves ---------------------------------------------------------------------------------------


def test_the_area_is_the_mean_height():
    steps = np.array([10, 20, 50])
    flat, rising = np.full(3, 0.3), np.array([0.0, 0.1, 0.4])
    np.testing.assert_allclose(area_under_curve(steps, np.stack([flat, rising], 1)), [0.3, 0.2])
    np.testing.assert_allclose(area_under_curve(steps[:1], np.array([[0.7]])), [0.7])


def test_a_value_between_two_steps_is_interpolated():
    steps, values = np.array([10, 20, 50]), np.array([[0.0], [0.1], [0.4]])
    for step, value in ((10, 0.0), (35, 0.25), (50, 0.4), (1, 0.0)):
        np.testing.assert_allclose(value_at(steps, values, step), [value])
    with pytest.raises(ValueError, match='end at step 50, before 51'):
        value_at(steps, values, 51)


def test_curves_must_have_increasing_steps_and_fitting_values():
    with pytest.raises(ValueError, match='must increase'):
        area_under_curve(np.array([1, 1]), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r'got \(2,\) and \(3, 1\)'):
        area_under_curve(np.array([1, 2]), np.zeros((3, 1)))


# --- what is due to the language, and what to its listeners ---------------------------------------


def test_losses_are_means_over_the_listeners_of_a_speaker_and_then_over_speakers():
    fresh = np.array([[[1.0, 2.0]], [[3.0, 6.0]]])  # Two speakers with a listener each.
    own = np.array([[[1.0, 1.0], [np.nan] * 2], [[2.0, 1.0], [4.0, 3.0]]])
    np.testing.assert_allclose(information_loss(fresh), [2, 4])
    np.testing.assert_allclose(co_adaptation(own, fresh), [(1 + 3) / 2 - 2, (1 + 2) / 2 - 4])
    np.testing.assert_array_equal(co_adaptation(fresh, fresh), [0, 0])
    with pytest.raises(ValueError, match='of the same speakers and referents'):
        co_adaptation(own[:1], fresh)
    with pytest.raises(ValueError, match='none of them empty'):
        information_loss(fresh[:0])


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, [[1, 1], [1, 1]]),
        ({'structure': 'isolated'}, [[1, 0], [0, 1]]),
        ({'structure': 'partitioned'}, [[1, 0], [0, 1]]),
        ({'graph': ((0, 0), (0, 1), (1, 1))}, [[1, 1], [0, 1]]),
        ({'pairing': 'fixed', 'pairs': ((0, 1), (1, 0))}, [[0, 1], [1, 0]]),
        ({'listener_learns': ()}, [[0, 0], [0, 0]]),
    ],
)
def test_own_listeners_are_those_that_learnt_from_the_speaker(changes, expected):
    changes = {'num_speakers': 2, 'num_listeners': 2} | changes
    config = tiny_config({f'population.{key}': value for key, value in changes.items()})
    np.testing.assert_array_equal(experiment._learnt(config.population), expected)


def test_only_listeners_with_the_same_task_are_compared():
    source = tiny_config()
    for key, value, same in (
        ('data.batch_size', 32, True),
        ('listener.hidden_size', 32, True),
        ('data.name', 'concepts', False),
        ('channel.shuffled', True, False),
        ('loss.listener.name', 'classification', False),
        ('loss.listener.temperature', 0.7, False),
    ):
        assert experiment._same_task(tiny_config({key: value}), source) == same, key


@pytest.mark.parametrize(('replicas', 'lines'), [(1, 2 * (1 + 3) + 1), (4, 8 + 1 + 1)])
def test_the_picture_has_a_line_for_each_speaker(replicas, lines):
    accuracy = np.random.default_rng(0).random((5, replicas, 2, 3))
    levels = {'chance': 0.1, 'residents': None}
    (ax,) = learning(np.arange(5) * 10, accuracy, levels, 'speaker').axes
    assert len(ax.lines) == lines
    assert 'residents' not in ax.get_legend_handles_labels()[1]
    assert ('speaker 1' in ax.get_legend_handles_labels()[1]) == (replicas == 1)


# --- what is taken from the run of the speakers ---------------------------------------------------


@pytest.fixture
def source_run(tmp_path: Path) -> Path:
    """A directory with the config of a run, of which nothing else is read."""
    config = tiny_config(
        {
            'population.num_speakers': 4,
            'replicas': 2,
            'channel.kind': 'gumbel',
            'loss.speaker.name': 'pathwise',
        }
    )
    (tmp_path / 'config.json').write_text(json.dumps(config.to_dict()))
    return tmp_path


def probe(run, variant='', **changes):
    config = recipe.get_config(variant)
    config.from_run = str(run)
    config.update_from_flattened_dict(changes)
    return EaseOfLearning.resolve(config)


def test_agents_and_data_are_those_of_the_run(source_run):
    config = probe(source_run, **{'ease_of_learning.max_speakers': 3})
    assert (config.channel.kind, config.channel.vocab_size) == ('gumbel', 5)
    assert (config.speaker.core, config.listener.hidden_size) == ('gru', 6)
    assert (config.data.batch_size, config.replicas) == (8, 2)
    assert config.evaluation.num_candidates == (4, 16)
    # The rest is its own.
    assert config.training_steps == config_lib.base('ease_of_learning').training_steps
    assert config.evaluation.metrics == ('accuracy',) and config.evaluation.every == 0
    assert (config.population.num_speakers, config.population.num_listeners) == (3, 9)
    assert config.population.pairs[:4] == ((0, 0), (0, 1), (0, 2), (1, 3))
    assert (config.loss.speaker.name, config.loss.speaker.kl) == ('none', 0.0)
    assert config.is_locked


def test_what_is_set_is_not_taken(source_run):
    own = {'data.batch_size': 32, 'listener.core': 'lstm', 'replicas': 1}
    # What is set to the default of other recipes is set too.
    assert config_lib.base().listener.core == 'lstm' and config_lib.base().replicas == 1
    config = probe(source_run, 'classification', **own)
    assert config.loss.listener.name == 'classification'
    assert (config.data.batch_size, config.listener.core, config.replicas) == (32, 'lstm', 1)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'population.num_listeners': 5}, 'follows from ease_of_learning'),
        ({'population.pairing': 'independent'}, 'follows from ease_of_learning'),
        ({'population.num_listeners': 1}, 'follows from ease_of_learning'),
        ({'loss.speaker.entropy': 0.01}, 'follows from ease_of_learning'),
        ({'interval_type': 'secs'}, 'the curve is logged by steps'),
        ({'log_train_data_interval': 2001}, 'at most training_steps=2000'),
        ({'evaluation.interventions': True}, 'by their own speakers alone'),
        ({'ease_of_learning.max_speakers': 0}, 'at least 1'),
        ({'ease_of_learning.listeners_per_speaker': 0}, 'at least 1'),
        ({'ease_of_learning.steps': (0,)}, 'whole numbers of at least 1'),
    ],
)
def test_what_cannot_be_is_refused(source_run, changes, sentence):
    ((key, value),) = changes.items()
    with pytest.raises(ValueError, match=f'^{re.escape(f"{key}={value!r} ")}.*{sentence}'):
        probe(source_run, **changes)


@pytest.mark.parametrize('experiment', [EaseOfLearning, Newcomer])
def test_the_command_on_the_page_resolves_to_the_same_configuration(source_run, experiment):
    name, module, variant = {
        EaseOfLearning: ('ease_of_learning', recipe, 'classification'),
        Newcomer: ('newcomer', newcomer, 'speaker'),
    }[experiment]
    config = module.get_config(variant)
    changes = {
        'training_steps': 4000,
        f'{"listener" if module is recipe else "speaker"}.core': 'lstm',
    }
    config.update_from_flattened_dict(
        changes | {'from_run': str(source_run), f'{name}.steps': (10,)}
    )
    config = strict(experiment.resolve(config).to_dict())
    script = """
import json, sys
from emcom_jax.experiments import EXPERIMENTS
from emcom_jax.runtime import files, flags
flags.parse(sys.argv)
config = flags.CONFIG.value
print(json.dumps(files.strict(EXPERIMENTS[config.experiment].resolve(config).to_dict())))
"""
    text = page.command(name, page.changed(config, name))
    words = shlex.split(text.replace('\\\n', ''))
    assert {f'--config.{key}={value}' for key, value in changes.items()} < set(words)
    output = subprocess.run(
        [sys.executable, '-c', script, *words[3:]], cwd=ROOT, capture_output=True, check=True
    ).stdout
    assert json.loads(output) == json.loads(json.dumps(config))


def test_speakers_must_come_from_somewhere(tmp_path):
    with pytest.raises(ValueError, match='^from_run=None must name a run directory'):
        EaseOfLearning.resolve(recipe.get_config())
    with pytest.raises(Exception, match='is not a run'):
        probe(tmp_path)


# --- frozen speakers ------------------------------------------------------------------------------


@pytest.mark.parametrize('execution', ['vmap', 'map', 'unroll'])
def test_frozen_speakers_stay_and_their_listeners_learn_as_ever(
    execution, optimizers, batch, weighted
):
    changes = {
        'num_speakers': 2,
        'num_listeners': 4,
        'pairs_per_step': 4,
        'pairing': 'fixed',
        'pairs': ((0, 0), (0, 1), (1, 2), (1, 3)),
        'speaker_learns': (),
    }
    config = tiny_config({f'population.{key}': value for key, value in changes.items()})
    meetings = make_meetings(config.population)

    def step(optimizers, targets):
        before = init_population(SUMS, optimizers, KEY, batch, 2, 4)
        if not targets:  # The game of numbers reads them.
            assert before.targets == {} and before.speakers.opt_state == {}
            before = before._replace(targets=before.speakers.agent.params)
        update = updates.communicate(SUMS, optimizers, meetings, execution, TARGET_EMA, None)
        after, scalars = jax.jit(update)(KEY, 0, before, weighted)
        return before, after, scalars

    before, after, scalars = step(optimizers._replace(speaker=None), targets=False)
    assert not changed(before.speakers, after.speakers)
    _, masked, expected = step(optimizers, targets=True)
    chex.assert_trees_all_close(after.listeners, masked.listeners, rtol=1e-5)
    chex.assert_trees_all_close(after.shared, masked.shared, rtol=1e-5)
    chex.assert_trees_all_close(scalars['loss'], expected['loss'], rtol=1e-5)
    assert (scalars['gradient_norm'] < expected['gradient_norm']).all()
    assert jnp.isfinite(scalars['gradient_norm']).all()
