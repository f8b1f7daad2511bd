"""Linear evaluation: what the classifiers learn, what they are judged by, and the whole of it."""

import json
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tiny_config
from processes import parameters
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from configs import discrimination, simclr
from configs import linear_evaluation as recipe
from emcom_jax import data
from emcom_jax.evaluation.judging import make_draws
from emcom_jax.evaluation.playing import see
from emcom_jax.evaluation.setting import Setting, read_agents
from emcom_jax.experiments import linear_evaluation as experiment
from emcom_jax.experiments import trunks
from emcom_jax.experiments.labels import amount_in_words, choose_labelled, make_task
from emcom_jax.experiments.linear_classifier import Classifier, fit, scores, standardise
from emcom_jax.experiments.linear_evaluation import LinearEvaluation
from emcom_jax.experiments.population import PopulationExperiment
from emcom_jax.metrics.ranking import among_first, average_precision
from emcom_jax.report import columns_of
from emcom_jax.runtime import run
from emcom_jax.runtime.run_directory import RunDirectory, RunDirectoryError, open_run
from emcom_jax.types import Batch, Source, Split

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
    rows, strengths = np.arange(0, 2500, 2), (0.003, 0.1, 0.02)
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
    rows = np.arange(1, 41)  # Not the first, with which rows are padded.
    found = fit(features, labels, CLASSES, rows, (0.1, 0.01), STEPS)
    others = (labels + 1) % CLASSES
    others[rows] = labels[rows]
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
        split: Split(np.zeros((len(next(iter(each.values()))), 16, 16, 3), np.uint8), each)
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


# --- whose trunk ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('recipe_of', 'changes', 'whose'),
    [
        (discrimination, {}, 'shared'),
        (simclr, {}, 'shared'),
        (
            discrimination,
            {
                'game.shared_trunk': False,
                'listener.trunk.name': 'small_cnn',
                'population.num_listeners': 3,
            },
            'listener',
        ),
        (
            discrimination,
            {
                'game.shared_trunk': False,
                'listener.trunk.name': 'small_cnn',
                'population.num_speakers': 2,
                'population.num_listeners': 2,
                'speaker.groups': ({'core': 'gru'}, {'core': 'lstm'}),
            },
            'speaker',
        ),
    ],
    ids=['shared', 'simclr', 'own', 'groups'],
)
def test_the_trunk_of_the_first_agent_is_read_and_nothing_else(
    recipe_of, changes, whose, monkeypatch
):
    config = recipe_of.get_config('debug')
    small = {'listener.trunk.width': 4, 'evaluation.noise_ladder': False}
    config.update_from_flattened_dict(changes | small)
    each = {split: {'class': np.zeros(16, np.int32)} for split in ('train', 'valid', 'test')}
    setting = Setting(config, source_of('shapes', **each))

    def read_agents(run_dir, like):
        def filled(leaf):  # Of two replicas; whatever it is, it says which agent's it is.
            of_agents = np.zeros((2, *leaf.shape), leaf.dtype)
            of_agents[1] += 10
            if whose != 'shared':
                of_agents += np.arange(leaf.shape[0]).reshape(-1, *[1] * (leaf.ndim - 1))
            return of_agents

        return 3, jax.tree.map(filled, like)

    monkeypatch.setattr(trunks, 'read_agents', read_agents)
    step, found = trunks.read_trunks('anywhere', setting, whose)
    assert step == 3 and found.state
    paths = {path for tree in found for path in tree}
    assert {path.split('/')[0] for path in paths} == {'trunk'}
    fresh = setting.game.init_listener if whose == 'listener' else setting.game.init_speaker
    fresh = setting.game.init_shared if whose == 'shared' else fresh
    images = jnp.zeros((2, 16, 16, 3))
    batch = Batch(images, images, {}, jnp.arange(2), jnp.ones(2))
    wanted = jax.eval_shape(fresh, jax.random.key(0), batch).params
    assert {path for path in wanted if path.startswith('trunk')} == set(found.params)
    for path, leaves in found.params.items():
        for name, leaf in leaves.items():
            assert leaf.shape == (2, *wanted[path][name].shape)
            assert (leaf[0] == 0).all() and (leaf[1] == 10).all()


# --- the whole of it ------------------------------------------------------------------------------

IMAGES = {'train': 64, 'valid': 16, 'test': 16}


def several(config, size=24):
    """Images of one colour, and which of its channels are bright."""
    assert config.image_size == size
    splits = {}
    for seed, (split, count) in enumerate(IMAGES.items()):
        colours = np.random.default_rng(seed).integers(0, 256, (count, 3))
        images = np.tile(colours[:, None, None].astype(np.uint8), (1, size, size, 1))
        splits[split] = Split(images, {'attributes': (colours > 127).astype(np.int32)})
    return Source('several', splits, {'attributes': 2})


@pytest.fixture(scope='module')
def game(tmp_path_factory):
    """The directory of a run of two replicas that has been trained."""
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
    directory = open_run(config, 'configs/discrimination.py:debug')
    outside = run.Run(config, directory, 'train')
    run.train(PopulationExperiment, config, outside)
    outside.writer.close()
    directory.close()
    return folder / 'game'


def probe(game, **changes):
    config = recipe.get_config('debug')
    config.from_run, config.run_dir = str(game), str(game.parent / 'linear')
    config.update_from_flattened_dict(changes)
    return LinearEvaluation.resolve(config)


def begin(game, mode='train', **changes):
    """What the command does; as at the end of its process, the run is free again."""
    opened = []

    def keep(*args, **kwargs):
        opened.append(open_run(*args, **kwargs))
        return opened[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, 'open_run', keep)
        try:
            config = probe(game, **changes)
            run.start(LinearEvaluation, config, 'configs/linear_evaluation.py:debug', mode)
        finally:
            for directory in opened:
                directory.close()


@pytest.fixture(scope='module')
def linear(game):
    """The directory of its linear evaluation, on its own data and on others."""
    before = parameters(game)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.SOURCES, 'several', several)
        sources = ('shapes', {'name': 'several', 'image_size': 24})
        begin(game, **{'linear_evaluation.data': sources})
    after = parameters(game)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    return game.parent / 'linear'


def test_the_summary_has_all_features_for_all_sources_and_shares(linear, game):
    summary = json.loads((linear / 'summary.json').read_text())
    columns = summary['linear_evaluation']
    assert list(columns) == ['several@100%', 'several@50%', 'shapes@100%', 'shapes@50%']
    best = json.loads((game / 'checkpoints' / '6' / '_CHECKPOINT_METADATA').read_text())
    assert summary['best_step'] == best['custom_metadata']['best_step']
    assert summary['step'] == 20 and summary['stopped'] == ''  # So few steps do not suffice.
    for name, values in columns.items():
        measures = ('map', 'map_11_points') if name.startswith('several') else ('top1', 'top5')
        for features in ('trunk', 'random_trunk', 'pixels'):
            for measure in measures:
                for key in (f'{measure}_{features}', f'{measure}_{features}_valid'):
                    assert 0 <= values[key] <= 1 and len(values[f'{key}_replicas']) == 2
                    assert values[f'{key}_se'] >= 0
            draws = 2 if name.endswith('@50%') else 1
            assert len(values[f'l2_{features}_each']) == 2 * draws
        assert values['labelled_images'] == (64 if name.endswith('100%') else 32)
    # Which channels of a colour are bright, pixels tell.
    assert columns['several@100%']['map_pixels'] > 0.95
    assert columns['several@100%']['map_chance'] < 0.7


def test_the_report_shows_them(linear, game):
    page = (linear / 'report.html').read_text()
    assert f'linear evaluation of {game}' in page
    assert (
        page.index('<th>several@50%</th>') < page.index('<th>several@100%</th>')
        and '<td>top1_random_trunk</td>' in page
    )
    assert (linear / 'pictures' / 'linear_evaluation.png').exists()
    assert 'configs/linear_evaluation.py' in page
    for trained in ('There are no messages', 'There are no learning curves', '_each<', '_draws<'):
        assert trained not in page


def test_the_same_again_is_finished_and_another_is_refused(linear, game, capsys):
    sources = {'linear_evaluation.data': ('shapes', {'name': 'several', 'image_size': 24})}
    before = (linear / 'summary.json').stat().st_mtime_ns
    begin(game, **sources)
    output = capsys.readouterr().out
    assert 'is finished; raise --config.training_steps' in output and 'top1_trunk' in output
    with pytest.raises(RunDirectoryError, match='linear_evaluation.draws is 2 there and 1 here'):
        begin(game, **sources, **{'linear_evaluation.draws': 1})
    with pytest.raises(ValueError, match='--jaxline_mode=eval_test means nothing'):
        begin(game, 'eval_test', **sources)
    assert (linear / 'summary.json').stat().st_mtime_ns == before


def test_trunks_see_as_in_evaluation(game):
    """Of the second replica: without augmentation, by the running averages."""
    theirs = Setting(RunDirectory(game).load_config())
    ours = LinearEvaluation(probe(game))
    (name, replicas), *_ = ours._views(theirs.source)
    assert name == 'trunk'
    _, agents = read_agents(game, {'shared': theirs.shapes()['shared']})
    shared = jax.tree.map(lambda leaf: leaf[1], agents['shared'])
    seen = {}
    for split in ('train', 'test'):
        images = theirs.bank(split)
        view = see(
            theirs.game, theirs.config.evaluation, 'speaker', shared, shared, images, make_draws(0)
        )
        seen[split] = np.asarray(view[0])
    expected = standardise(seen)
    for split, features in expected.items():
        np.testing.assert_allclose(replicas[1][split], features, rtol=1e-3, atol=1e-4)
    assert np.abs(replicas[0]['test'] - replicas[1]['test']).max() > 0.1


@pytest.mark.parametrize(
    ('key', 'value', 'sentence'),
    [
        ('from_run', None, 'must name a run directory'),
        ('training_steps', 0, 'must be at least 1'),
        ('random_seed', -1, 'must not be negative'),
        ('linear_evaluation.trunk', 'sharde', 'must be one of auto, shared, speaker, listener'),
        ('linear_evaluation.data', (3,), 'must hold names, or groups'),
        ('linear_evaluation.data', ({'path': 'x'},), 'must hold names, or groups'),
        ('linear_evaluation.data', ({'name': 'x', 'seed': '1'},), 'must be of type int'),
        ('linear_evaluation.shares', (0.1, 2.0), 'must hold numbers above 0, at most 1'),
        ('linear_evaluation.shares', (), 'must not be empty without per_class'),
        ('linear_evaluation.per_class', (0.5,), 'must hold whole numbers of at least 1'),
        ('linear_evaluation.l2', (0.1, 0.0), 'must hold numbers above 0'),
        ('linear_evaluation.draws', 0, 'must be at least 1'),
        ('linear_evaluation.batch_size', 0, 'must be at least 1'),
        ('linear_evaluation.pixels', -1, 'must be at least 0'),
    ],
)
def test_what_cannot_be_is_refused(game, key, value, sentence):
    with pytest.raises(ValueError, match=f'^{re.escape(f"{key}={value!r}")}.*{sentence}'):
        probe(game, **{key: value})


def test_what_does_not_fit_the_run_is_refused(game, tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="key of linear_evaluation.data 'nam'; did you mean 'name'"
    ):
        probe(game, **{'linear_evaluation.data': ({'name': 'shapes', 'nam': 'x'},)})
    with pytest.raises(ValueError, match='trunk=.listener. is not of .*: it must be one of shared'):
        LinearEvaluation(probe(game, **{'linear_evaluation.trunk': 'listener'}))
    each = {'linear_evaluation.per_class': (1,), 'linear_evaluation.data': ('several',)}
    monkeypatch.setitem(data.SOURCES, 'several', lambda config: several(config, 16))
    with pytest.raises(ValueError, match='means nothing for several, whose images have several'):
        LinearEvaluation(probe(game, **each))
    with pytest.raises(ValueError, match='digits has features, not images'):
        LinearEvaluation(probe(game, **{'linear_evaluation.data': ('digits',)}))
    (tmp_path / 'config.json').write_text(json.dumps(tiny_config().to_dict()))
    with pytest.raises(ValueError, match='has no trunk: its agents see features'):
        LinearEvaluation(probe(tmp_path))


def test_there_are_no_keys_that_mean_nothing():
    keys = {'training_steps', 'random_seed', 'experiment', 'run_dir', 'from_run'}
    assert set(recipe.get_config()) == keys | {'linear_evaluation'}


# --- what is stated -------------------------------------------------------------------------------


def test_the_valid_split_chooses_and_the_test_split_judges():
    features, labels = separable(600)
    found = make_task(
        'x', source_of(train={'class': labels}, valid={'class': labels}, test={'class': labels})
    )
    bank = dict.fromkeys(('train', 'valid', 'test'), jnp.asarray(features))

    def judge(strengths, steps=STEPS, **others):
        state = SimpleNamespace(
            _options=SimpleNamespace(l2=strengths),
            _config=SimpleNamespace(training_steps=steps),
            _steps=0,
            _converged=True,
        )
        task = found._replace(labels=found.labels | others)
        values = LinearEvaluation._judge(state, bank, task, np.arange(600), False)
        assert 1 < state._steps <= steps
        return values | {'converged': state._converged}

    values = judge((1e-3, 30.0))
    assert values['l2'] == 1e-3 and values['top1'] == values['top1_valid'] > 0.95
    assert values['converged'] and not judge((1e-3,), steps=2)['converged']
    assert judge((1e-6, 1e-7), valid=labels * 0 - 1)['l2'] == 1e-6  # The stronger of equals.
    wrong = (labels + 1) % CLASSES
    values = judge((1e-3,), valid=wrong)
    assert values['top1'] > 0.95 and values['top1_valid'] < 0.05
    # Where valid wants no trust in features, the strength that gives them least is chosen.
    assert judge((1e-3, 30.0), valid=wrong)['l2'] == 30.0


def test_each_amount_of_labels_is_a_column():
    _, labels = separable(600)
    task = make_task('x', source_of(**dict.fromkeys(IMAGES, {'class': labels})))
    single = []

    def judge(bank, task, rows, interval):
        single.append((len(rows), interval))
        return {'top1': len(rows) / 600, 'l2': 1.0}

    state = SimpleNamespace(
        _options=SimpleNamespace(shares=(0.5, 1), per_class=(1,), draws=2),
        _config=SimpleNamespace(random_seed=0),
        _views=lambda source: [('trunk', [{}])],
        _judge=judge,
    )
    columns = LinearEvaluation._columns(state, 'x', task)
    half = single[0][0]
    assert abs(half - 300) <= 2
    assert single == [(half, False)] * 2 + [(600, True)] + [(4, False)] * 2
    found = {name: values['labelled_images'] for name, values in columns.items()}
    assert found == {'x@50%': half, 'x@100%': 600, 'x@1/class': 4}
    assert columns['x@100%']['top1_trunk'] == 1.0
    assert columns['x@100%']['top1_chance'] == np.bincount(labels).max() / 600
    assert list(columns_of({'step': 3, 'linear_evaluation': columns})) == [
        *('x@1/class', 'x@50%', 'x@100%')
    ]


def test_one_fit_has_an_interval_and_several_have_an_error():
    features, labels = separable(40, noise=1.0)
    task = make_task('x', source_of(**dict.fromkeys(('train', 'valid', 'test'), {'class': labels})))
    classifier = Classifier(np.eye(SIZE, task.num_classes, dtype=np.float32), np.zeros(CLASSES))
    values = experiment._judge_on('test', classifier, {'test': features}, task, True)
    low, high = values['top1_ci95']
    assert low < values['top1'] < high and 'top5' not in values  # Of four classes.
    several = task._replace(labels={'test': (features > 0).astype(np.float32)}, num_classes=SIZE)
    itself = Classifier(np.eye(SIZE, dtype=np.float32), np.zeros(SIZE))
    values = experiment._judge_on('test', itself, {'test': features}, several, True)
    assert values['map'] == 1.0 and values['map_ci95'] == [1.0, 1.0]
    one, two, three = ({'top1': x, 'l2': x} for x in (0.1, 0.2, 0.6))
    assert experiment._over([[dict(one)]]) == {'top1': 0.1, 'l2_each': [0.1]}
    draws = experiment._over([[dict(one), dict(two), dict(three)]])
    assert draws['top1'] == pytest.approx(0.3) and draws['top1_draws'] == [0.1, 0.2, 0.6]
    assert draws['top1_se'] == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1) / 3**0.5)
    replicas = experiment._over([[dict(one), dict(three)], [dict(two), dict(two)]])
    assert replicas['top1_replicas'] == pytest.approx([0.35, 0.2])
    assert replicas['top1_se'] == pytest.approx(0.075)
    assert replicas['l2_each'] == [0.1, 0.6, 0.2, 0.2]
