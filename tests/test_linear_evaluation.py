"""Linear evaluation: what the classifiers learn, what they are judged by, and the whole of it."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from conftest import tiny_config
from processes import parameters
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from configs import discrimination, linear_evaluation as recipe
from emcom_jax import data
from emcom_jax.experiments import linear_evaluation as experiment
from emcom_jax.experiments.labels import amount_in_words, choose_labelled, make_task
from emcom_jax.experiments.linear_classifier import Classifier, fit, scores, standardise
from emcom_jax.experiments.linear_evaluation import LinearEvaluation
from emcom_jax.experiments.population import PopulationExperiment
from emcom_jax.metrics.ranking import among_first, average_precision
from emcom_jax.runtime.run import start
from emcom_jax.types import Source, Split

STEPS = 300
CLASSES, SIZE = 4, 5


def separable(count, noise=0.0, seed=0):
    """Features [N, D] in general position, and the class that a linear map of them, the same for
    all seeds, gives each."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, SIZE)).astype(np.float32)
    plane = np.random.default_rng(99).standard_normal((SIZE, CLASSES))
    logits = features @ plane + noise * rng.standard_normal((count, CLASSES))
    return features, logits.argmax(axis=1).astype(np.int32)


def number(found, place):
    return Classifier(*(np.asarray(leaf[place]) for leaf in found.classifier))


# --- the classifier -------------------------------------------------------------------------------


def test_it_is_that_of_scikit_learn():
    # Enough for three chunks, of which the classifiers see every other example.
    features, labels = separable(2500, noise=1.0)
    rows, strengths = np.arange(0, 2500, 2), (0.1, 0.003, 0.02)
    found = fit(features, labels, CLASSES, rows, strengths, STEPS)
    assert found.converged.all() and (found.steps > 3).all()
    for place, l2 in enumerate(strengths):
        theirs = LogisticRegression(C=1 / (l2 * len(rows)), tol=1e-10, max_iter=1000)
        theirs.fit(features[rows], labels[rows])
        ours = number(found, place)
        np.testing.assert_allclose(ours.weights.T, theirs.coef_, atol=1e-3)
        # A constant added to all biases changes nothing.
        np.testing.assert_allclose(ours.bias - ours.bias.mean(), theirs.intercept_, atol=1e-3)
        probabilities = jax.nn.softmax(scores(ours, features))
        np.testing.assert_allclose(probabilities, theirs.predict_proba(features), atol=1e-3)


def test_examples_of_several_classes_have_a_classifier_for_each():
    features, labels = separable(1200, noise=1.0)
    several = np.stack([labels == 0, labels < 2, features[:, 0] > 1], 1).astype(np.float32)
    found = fit(features, several, 3, np.arange(1200), (0.02,), STEPS)
    assert found.converged.all()
    for place in range(3):
        theirs = LogisticRegression(C=1 / (0.02 * 1200), tol=1e-10, max_iter=1000)
        theirs.fit(features, several[:, place])
        ours = number(found, 0)
        np.testing.assert_allclose(ours.weights[:, place], theirs.coef_[0], atol=1e-3)
        np.testing.assert_allclose(ours.bias[place], theirs.intercept_[0], atol=1e-3)


def test_it_recovers_what_is_linear_and_nothing_of_what_is_not_there():
    features, labels = separable(1500)
    held_out, truth = separable(1000, seed=1)
    random, others = np.random.default_rng(2).integers(0, CLASSES, (2, 1500)).astype(np.int32)
    for known, true, low, high in ((labels, truth, 0.97, 1.0), (random, others, 0.2, 0.3)):
        found = fit(features, known, CLASSES, np.arange(1500), (1e-3,), STEPS)
        logits = np.asarray(scores(number(found, 0), held_out))
        assert low <= among_first(logits, true[:1000], 1).mean() <= high


def test_only_the_given_rows_are_learnt_from_in_whatever_order_of_strengths():
    features, labels = separable(1500, noise=1.0)
    rows = np.arange(40)
    found = fit(features, labels, CLASSES, rows, (0.1, 0.01), STEPS)
    others = np.where(np.arange(1500) < 40, labels, 0).astype(np.int32)
    again = fit(features, others, CLASSES, rows[::-1], (0.01, 0.1), STEPS)
    for place in (0, 1):
        for one, other in zip(number(found, place), number(again, 1 - place), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)
    assert np.abs(number(found, 0).weights).max() < np.abs(number(found, 1).weights).max()


def test_a_limit_of_steps_is_kept_and_said():
    features, labels = separable(1500)
    found = fit(features, labels, CLASSES, np.arange(1500), (1e-4,), 2)
    assert found.steps.tolist() == [2] and not found.converged.any()


def test_features_are_standardised_by_their_moments_in_training():
    train = np.array([[0, 5, 1], [2, 5, 3]], np.float32)
    found = standardise({'train': train, 'test': train + 1})
    np.testing.assert_allclose(found['train'], [[-1, 0, -1], [1, 0, 1]], atol=1e-6)
    # The second does not vary: a tenth of the average deviation of 2 / 3 stands for its own.
    np.testing.assert_allclose(found['test'][0], [0, 15, 0], atol=1e-5)


# --- what it is judged by -------------------------------------------------------------------------


def test_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 4))
    labels[:, 3] = 0
    ranks = rng.integers(0, 12, (60, 4)) + labels  # Many are equal.
    found = average_precision(ranks, labels)
    theirs = [average_precision_score(labels[:, n], ranks[:, n]) for n in range(3)]
    np.testing.assert_allclose(found[:3], theirs, rtol=1e-12)
    assert np.isnan(found[3]) and np.isnan(average_precision(ranks, labels, True)[3])


def test_average_precision_of_the_voc_challenge():
    # By hand. Precision 1 at recall 1/3, 2/3 at 2/3, 3/6 at 1.
    labels = np.array([1, 0, 1, 0, 0, 1])[:, None]
    ranks = -np.arange(6.0)[:, None]
    expected = (4 * 1 + 3 * (2 / 3) + 4 * 0.5) / 11  # At recalls 0 to .3, .4 to .6, .7 to 1.
    np.testing.assert_allclose(average_precision(ranks, labels, True), [expected])
    np.testing.assert_allclose(average_precision(ranks, labels), [(1 + 2 / 3 + 0.5) / 3])
    # Of ten, three are found first: their recall of 3/10 is at least .3.
    labels = np.r_[np.ones(3), np.zeros(90), np.ones(7)][:, None]
    ranks = -np.arange(100.0)[:, None]
    expected = (4 * 1 + 7 * 0.1) / 11
    np.testing.assert_allclose(average_precision(ranks, labels, True), [expected])


def test_the_right_class_is_among_the_first():
    logits = np.array([[3.0, 1, 2, 0], [1, 1, 1, 1], [0, 0, 0, 1]])
    assert among_first(logits, np.array([0, 0, 3]), 1).all()
    assert among_first(logits, np.array([2, 1, 2]), 2).tolist() == [True, True, False]
    assert among_first(logits, np.array([2, 1, 2]), 1).tolist() == [False] * 3
    # A class that was never seen is never right.
    assert not among_first(logits, np.array([-1, -1, -1]), 4).any()


# --- labels ---------------------------------------------------------------------------------------


def test_few_labels_are_of_all_classes_and_part_of_more():
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    tenth, half, whole = (choose_labelled(labels, share, 0, 0) for share in (0.1, 0.5, 1.0))
    assert np.bincount(labels[tenth]).tolist() == [10, 5, 1]
    assert set(tenth) < set(half) < set(whole) and len(whole) == len(labels)
    assert set(choose_labelled(labels, 0.1, 0, 1)) != set(tenth)
    assert set(choose_labelled(labels, 0.1, 1, 0)) != set(tenth)
    assert np.bincount(labels[choose_labelled(labels, 5, 0, 0)]).tolist() == [5, 5, 3]
    several = np.zeros((40, 3))
    assert len(np.unique(choose_labelled(several, 0.25, 0, 0))) == 10
    assert [amount_in_words(x) for x in (0.01, 1.0, 1)] == ['1%', '100%', '1/class']


def source_of(name='tiny', **labels):
    splits = {
        split: Split(np.zeros((len(next(iter(each.values()))), 8, 8, 3), np.uint8), each)
        for split, each in labels.items()
    }
    return Source(name, splits, {})


def test_classes_are_those_of_training():
    labels = {'train': [7, 2, 7], 'valid': [2, 5], 'test': [7, 9, 0]}
    found = make_task('x', source_of(**{k: {'class': np.array(v)} for k, v in labels.items()}))
    assert found.num_classes == 2
    values = {split: each.tolist() for split, each in found.labels.items()}
    assert values == {'train': [1, 0, 1], 'valid': [0, -1], 'test': [1, -1, -1]}
    splits = ('train', 'valid', 'test')
    with pytest.raises(ValueError, match='linear_evaluation.data: x has one class in train'):
        make_task('x', source_of(**dict.fromkeys(splits, {'class': np.zeros(3, int)})))
    with pytest.raises(ValueError, match='x has neither a class of each image, nor attributes'):
        make_task('x', source_of(**dict.fromkeys(splits, {'attributes': np.full((3, 2), 2)})))


# --- the whole of it ------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A folder with a trained run and its data."""
    folder = tmp_path_factory.mktemp('runs')
    config = discrimination.get_config('debug')
    changes = {
        'run_dir': str(folder / 'game'),
        'data.path': str(folder / 'data'),
        'evaluation.interventions': False,
        'evaluation.metrics': ('accuracy',),
        'replicas': 2,
    }
    config.update_from_flattened_dict(changes)
    start(PopulationExperiment, config, 'configs/discrimination.py:debug', 'train')
    return folder


def probe(run, out, **changes):
    config = recipe.get_config('debug')
    config.from_run, config.run_dir = str(run), str(out)
    config.update_from_flattened_dict({f'linear_evaluation.{k}': v for k, v in changes.items()})
    return LinearEvaluation.resolve(config)


@pytest.fixture(scope='module')
def evaluated(runs):
    """The same, with a linear evaluation on two sources."""
    own = {'name': 'shapes', 'num_images': 32}
    other = {'name': 'photos', 'num_images': 64, 'image_size': 24, 'path': str(runs / 'data')}
    config = probe(runs / 'game', runs / 'linear', data=('shapes', own, other))
    before = parameters(runs / 'game')
    start(LinearEvaluation, config, 'configs/linear_evaluation.py:debug', 'train')
    after = parameters(runs / 'game')
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    return runs


def test_run(evaluated):
    print(json.dumps(json.loads((evaluated / 'linear' / 'summary.json').read_text()), indent=1))
