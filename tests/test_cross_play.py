"""Cross-play: strangers meet, and each population is to itself what its own evaluation says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SIZE, drawn, tiny_config, tiny_game, tiny_source
from matplotlib.figure import Figure

from emcom_jax import data
from emcom_jax.data.batches import look_at
from emcom_jax.evaluation.__main__ import main
from emcom_jax.evaluation.cross_play import (
    Group,
    blocks,
    cross_play,
    relative_drop,
    summarize,
    summarize_drop,
)
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.setting import Setting, read_agents
from emcom_jax.evaluation.strangers import gather
from emcom_jax.losses import is_correct
from emcom_jax.report.cross_play import cross_play as draw_heat_map
from emcom_jax.runtime.checkpoints import Checkpointer
from emcom_jax.runtime.files import strict, write_json
from emcom_jax.runtime.run_directory import RunDirectoryError
from emcom_jax.types import Agent, Groups, Learner, Population, Split

SEED = 5
CONFIG = tiny_config()
WIDE = {'speaker.hidden_size': 10, 'listener.core': 'lstm', 'data.standardize': False}


def agents(config, factor, speakers=2, listeners=2):
    """Random stacks; those of another factor speak otherwise."""
    with config.unlocked():
        config.population.update(num_speakers=speakers, num_listeners=listeners)
    shapes = Setting(config, tiny_source()).shapes()
    return jax.tree.map(lambda leaf: factor * leaf, drawn(shapes))


@pytest.fixture(scope='module', autouse=True)
def sources():
    """The tiny data, others with as many features, and a smaller world."""
    rng = np.random.default_rng(1)
    other = Split(3 + rng.standard_normal((24, SIZE)).astype(np.float32), {})
    narrow = Split(other.inputs[:, :-1], {})
    with pytest.MonkeyPatch.context() as patch:
        for name, load in {
            'tiny': lambda config: tiny_source(),
            'other': lambda config: tiny_source()._replace(name='other', splits={'test': other}),
            'narrow': lambda config: tiny_source()._replace(name='narrow', splits={'test': narrow}),
        }.items():
            patch.setitem(data.SOURCES, name, load)
        yield


@pytest.fixture(scope='module')
def groups(bank):
    """Two of one architecture and one of another, which sees its referents otherwise."""
    game, wide = tiny_game(), tiny_game(WIDE)
    other = bank._replace(sight=bank.sight._replace(shift=bank.sight.shift + 2))
    return (
        Group('one', game, bank, **agents(tiny_config(), 1.0)),
        Group('two', game, bank, **agents(tiny_config(), -2.0)),
        Group('wide', wide, other, **agents(tiny_config(WIDE), 1.0, speakers=1, listeners=3)),
    )


NOISY = tiny_config(
    {
        'evaluation.input_noise': 0.2,
        'evaluation.channel_noise': 0.1,
        'evaluation.batch_size': 24,  # Does not divide the split.
    }
)


@pytest.fixture(scope='module')
def outcome(groups):
    return cross_play(groups, NOISY.evaluation, SEED)


def as_population(group):
    speakers, listeners = (Learner(x, (), 0, 0) for x in (group.speakers, group.listeners))
    return Population(speakers, listeners, {}, Learner(Agent({}, {}), (), 0, 0))


# --- the matrix -----------------------------------------------------------------------------------


@pytest.mark.parametrize('number', [0, 2])
def test_the_block_of_a_population_is_its_own_evaluation(groups, outcome, number):
    group = groups[number]
    evaluator = Evaluator(group.game, NOISY)
    record = evaluator(as_population(group), group.bank, 'test', 0, SEED)
    rows, columns = (
        np.flatnonzero(own == number) for own in (outcome.speaker_groups, outcome.listener_groups)
    )
    assert outcome.num_candidates == record.num_candidates == (4, 16)
    block = outcome.accuracy[:, rows[:, None], columns]
    assert block.std() > 0
    np.testing.assert_allclose(block, record.correct.mean(-1), rtol=1e-6)


def test_means_are_of_the_pairs_they_name(groups, outcome):
    same = outcome.speaker_groups[:, None] == outcome.listener_groups
    assert outcome.accuracy.shape == (2, 5, 7) and same.sum() == 2 * 2 + 2 * 2 + 1 * 3
    np.testing.assert_allclose(outcome.in_group.mean(-1), outcome.accuracy[:, same].mean(-1))
    np.testing.assert_allclose(outcome.out_group.mean(-1), outcome.accuracy[:, ~same].mean(-1))
    values = summarize(outcome, ([''] * 5, [''] * 7))['accuracy@4']
    assert values['in_group'] != values['out_group']
    assert values['difference'] == pytest.approx(values['in_group'] - values['out_group'])
    means = blocks(outcome)
    np.testing.assert_allclose(means[:, 2, 1], outcome.accuracy[:, 4:, 2:4].mean((1, 2)))
    np.testing.assert_allclose(means[:, 0, 2], outcome.accuracy[:, :2, 4:].mean((1, 2)))
    for q in range(2):
        assert outcome.accuracy[q][*outcome.best[q]] == outcome.accuracy[q].max()
        np.testing.assert_allclose(outcome.best_accuracy[q].mean(), outcome.accuracy[q].max())
        strangers = np.where(same, -1, outcome.accuracy[q])
        assert strangers[*outcome.best_strangers[q]] == strangers.max()
        np.testing.assert_allclose(outcome.best_strangers_accuracy[q].mean(), strangers.max())


def test_strangers_each_see_and_read_by_their_own_config(groups):
    speaking, _, hearing = groups  # Their banks show the referents otherwise.
    config = tiny_config({'evaluation.num_candidates': (64,), 'evaluation.redraws': 1})
    found = cross_play([speaking, hearing], config.evaluation, SEED).accuracy[0, :2, 2:]
    rows, key = jnp.arange(64), jax.random.key(0)
    shown, looked = (look_at(x.bank, rows, rows, key, 0.0) for x in (speaking, hearing))

    def by_hand(batch):
        """What listeners understand who look at that batch, [S, L]."""

        def of_pair(speaker, listener):
            said = speaking.game.say_greedy(speaker, shown)
            guess = hearing.game.hear_greedy(listener, key, batch, said, 0.0)
            return is_correct(hearing.game.scores(guess.prediction, guess.candidates), rows).mean()

        of_all = jax.vmap(jax.vmap(of_pair, (None, 0)), (0, None))
        return jax.jit(of_all)(speaking.speakers, hearing.listeners)

    np.testing.assert_allclose(found, by_hand(looked), rtol=1e-6)
    assert (by_hand(looked) != by_hand(shown)).any()  # Or it would say nothing.


def test_runs_in_another_order_are_the_matrix_in_that_order(groups, outcome):
    order = (2, 0, 1)
    other = cross_play([groups[i] for i in order], NOISY.evaluation, SEED)
    rows, columns = (
        np.concatenate([np.flatnonzero(own == i) for i in order])
        for own in (outcome.speaker_groups, outcome.listener_groups)
    )
    np.testing.assert_array_equal(other.accuracy, outcome.accuracy[:, rows[:, None], columns])
    np.testing.assert_allclose(other.in_group, outcome.in_group, rtol=1e-12)
    np.testing.assert_allclose(other.out_group, outcome.out_group, rtol=1e-12)
    np.testing.assert_array_equal(rows[other.best[:, 0]], outcome.best[:, 0])


def test_who_is_alike_understands_strangers_as_its_own_and_who_is_not_does_not(
    world, trained, bank
):
    members = trained.speakers.agent, trained.listeners.agent
    # With the symbols' meanings turned round, the language is another, which nobody has learnt.
    turned = jax.tree.map(lambda leaf: -leaf, members[0]), world.fresh.listeners.agent
    one, twin, other = (
        Group(name, world.game, bank, *both)
        for name, both in (('one', members), ('twin', members), ('other', turned))
    )
    alike = cross_play([one, twin], CONFIG.evaluation, SEED)
    np.testing.assert_array_equal(alike.in_group, alike.out_group)
    assert alike.in_group.mean(-1)[0] > 0.5
    values = summarize(alike, (list('abcd'), list('efgh')))['accuracy@16']
    assert values['difference'] == 0 and values['difference_ci95'] == [0, 0]
    apart = cross_play([one, other], CONFIG.evaluation, SEED)
    values = summarize(apart, (list('abcd'), list('efgh')))['accuracy@16']
    assert values['blocks'][0, 0] > values['blocks'][1, 0] + 0.2
    low, high = values['best_pair_ci95']
    assert low <= values['best_pair'] <= high
    assert values['best_speaker'] in 'ab' and values['best_listener'] in 'ef'
    low, high = values['best_strangers_ci95']
    assert low <= values['best_strangers'] <= high < values['best_pair']
    strangers = values['best_strangers_speaker'], values['best_strangers_listener']
    assert (strangers[0] in 'ab') != (strangers[1] in 'ef')


def test_each_architecture_and_each_shape_compiles_once(groups):
    one, two, wide = groups
    traced = []

    class Counting:
        kind, has_candidates, trunks, augmentation = 'symbols', True, 'none', None
        converses = False
        scores = staticmethod(one.game.scores)

        def look(self, shared, batch):
            return batch

        def say_greedy(self, *args):
            traced.append('say')
            return one.game.say_greedy(*args)

        def hear_greedy(self, *args):
            traced.append('hear')
            return one.game.hear_greedy(*args)

    game, told = Counting(), []
    three = [x._replace(game=game) for x in (one, two, one)]
    cross_play(three, CONFIG.evaluation, SEED, told.append)
    assert traced == ['say', 'hear']
    assert told == list(range(4, 37, 4))


def test_alone_there_are_no_strangers(groups):
    alone = cross_play(groups[:1], CONFIG.evaluation, SEED)
    values = summarize(alone, (['a', 'b'], ['c', 'd']))['accuracy@4']
    assert values['in_group'] == pytest.approx(values['matrix'].mean())
    assert np.isnan([values['out_group'], values['difference'], values['best_strangers']]).all()
    assert 'best_strangers_speaker' not in values and 'best_speaker' in values


def test_the_relative_drop_is_a_share_of_what_there_was():
    drop = relative_drop([0.8, 0.5, 0.0], [0.6, 0.5, 0.1])
    np.testing.assert_allclose(drop, [0.25, 0.0, np.nan])


def test_the_interval_of_the_drop_resamples_referents_in_pairs(outcome):
    # Noise that costs a tenth of whatever was understood costs a tenth of every resample.
    fields = {name: getattr(outcome, name) for name in ('in_group', 'out_group', 'accuracy')}
    tenth = outcome._replace(**{name: 0.9 * values for name, values in fields.items()})
    values = summarize_drop(outcome, tenth)['accuracy@4']
    np.testing.assert_allclose(values['in_group_ci95'], 0.1)
    np.testing.assert_allclose(values['matrix'], 0.1)
    # Whereas one that costs some referents all, and others nothing, may have hit others.
    lost = np.arange(64) % 4 == 0
    hit = {name: fields[name] * ~lost for name in ('in_group', 'out_group')}
    values = summarize_drop(outcome, outcome._replace(**hit))['accuracy@16']
    for name in hit:
        clean = fields[name][1]
        assert values[name] == pytest.approx(clean[lost].sum() / clean.sum())
        low, high = values[f'{name}_ci95']
        assert low < values[name] < high and high - low > 0.05


# --- runs -----------------------------------------------------------------------------------------


def is_agent(tree):
    return isinstance(tree, Agent)


class Toy:
    """What a checkpoint is made of."""

    best_step = 3

    def __init__(self, stacks):
        self._stacks = stacks

    def snapshot_state(self):
        return {'population': jax.tree.map(lambda x: {'agent': x}, self._stacks, is_leaf=is_agent)}


def make_run(path, changes=None, factor=1.0, checkpoint=True):
    """A run directory of random agents; replica r has those of factor + r."""
    config = tiny_config({'data.name': 'tiny'} | (changes or {}))
    path.mkdir(parents=True)
    if checkpoint:
        each = [agents(config, factor + r) for r in range(config.replicas)]
        checkpointer = Checkpointer(path / 'checkpoints')
        state = checkpointer.get_experiment_state('latest')
        state.global_step, state.train_step_rng = 3, None
        state.experiment_module = Toy(jax.tree.map(lambda *x: jnp.stack(x), *each))
        checkpointer.save()
    write_json(path / 'config.json', strict(config.to_dict()))
    return str(path)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """One population, and three replicas of another architecture."""
    folder = tmp_path_factory.mktemp('runs')
    return [make_run(folder / 'a'), make_run(folder / 'b', WIDE | {'replicas': 3})]


def test_replicas_are_populations(runs):
    gathering = gather(runs, 'test')
    assert [group.name for group in gathering.groups] == ['a', 'b#0', 'b#1', 'b#2']
    assert [run['replica'] for run in gathering.runs] == [0, 0, 1, 2]
    assert {run['step'] for run in gathering.runs} == {3}
    a, *b = gathering.groups
    assert len({id(group.game) for group in b}) == len({id(group.bank.inputs) for group in b}) == 1
    assert a.game is not b[0].game
    # The drawn agents are what was saved, those of replica 2 three times those of replica 0.
    _, saved = read_agents(runs[1], {'speakers': b[0].speakers})
    np.testing.assert_allclose(*(jax.tree.leaves(x)[0] for x in (b[2].speakers, _third(saved))))
    np.testing.assert_allclose(
        jax.tree.leaves(b[2].speakers)[0], 3 * jax.tree.leaves(b[0].speakers)[0], rtol=1e-5
    )


def _third(stacks):
    return jax.tree.map(lambda leaf: leaf[2], stacks['speakers'])


def test_a_population_of_groups_is_one_population(tmp_path):
    """It is to itself what its own evaluation says; agents are named with their kind."""
    changes = {
        'speaker.groups': ({'hidden_size': 4}, {'core': 'lstm'}),
        'listener.groups': ({}, {'projection_sizes': (7,)}),
    }
    run = make_run(tmp_path / 'run', changes)
    (group,) = gather([run], 'test').groups
    assert group.sizes == (2, 2)
    assert group.labels == (
        ['run/0 (hidden_size=4)', 'run/1 (lstm)'],
        ['run/0', 'run/1 (projection_sizes=(7,))'],
    )
    outcome = cross_play([group], CONFIG.evaluation, SEED)
    learners = (
        tuple(Learner(agent, (), 0, 0) for agent in stack)
        for stack in (group.speakers, group.listeners)
    )
    members = Groups(*learners, ({}, {}), Learner(Agent({}, {}), (), 0, 0))
    record = Evaluator(group.game, CONFIG)(members, group.bank, 'test', 0, SEED)
    assert record.correct.mean(-1).std() > 0
    np.testing.assert_allclose(outcome.accuracy, record.correct.mean(-1), rtol=1e-6)


def test_runs_that_are_judged_otherwise_are_judged_by_all_of_it(runs, tmp_path):
    changes = {'evaluation.num_candidates': (8, 16), 'evaluation.redraws': 7}
    other = make_run(tmp_path / 'a', changes)
    gathering = gather([runs[0], other], 'test')
    assert gathering.evaluation.num_candidates == (4, 8, 16)
    assert gathering.evaluation.redraws == 7
    # Two runs of one name go by their paths; they share the compiled game and the data.
    one, two = gathering.groups
    assert [one.name, two.name] == [runs[0], other]
    assert one.game is two.game and one.bank is two.bank


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'channel.vocab_size': 7}, 'channel.vocab_size is 5 in {} and 7 in {}'),
        ({'channel.length': 4}, 'channel.length is 3 in {} and 4 in {}'),
        ({'channel.variable_length': True}, 'variable_length is False in {} and True in {}'),
        (
            {
                'channel.kind': 'continuous',
                'loss.speaker.name': 'pathwise',
                'loss.speaker.entropy': 0.0,
                'loss.speaker.kl': 0.0,
            },
            "channel.kind is 'categorical' in {} and 'continuous' in {}",
        ),
        (
            {'loss.listener.name': 'classification'},
            "loss.listener.name is 'info_nce' in {} and 'classification' in {}",
        ),
        ({'data.name': 'other'}, "data.name is 'tiny' in {} and 'other' in {}"),
        ({'data.seed': 1}, 'data.seed is 0 in {} and 1 in {}'),
    ],
)
def test_what_differs_is_named_and_where(runs, tmp_path, changes, sentence):
    other = make_run(tmp_path / 'c', changes, checkpoint=False)
    with pytest.raises(ValueError) as refused:
        gather([runs[0], other], 'test')
    said = str(refused.value)
    assert 'cannot play with each other' in said
    assert sentence.format(runs[0], other) in said


def test_gumbel_and_sampled_symbols_can_meet(runs, tmp_path):
    changes = {'channel.kind': 'gumbel', 'loss.speaker.name': 'pathwise'}
    assert len(gather([runs[0], make_run(tmp_path / 'gumbel', changes)], 'test').groups) == 2


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'split': 'ood'}, "unknown split 'ood'"),
        ({'data_name': 'narrow'}, f'narrow has {SIZE - 1} features, but the agents of'),
        ({'data_name': 'others'}, "did you mean 'other'"),
        ({'evaluation': {'channel_noise': 2.0}}, 'is a rate'),
    ],
)
def test_what_cannot_be_played_is_refused(runs, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        gather(runs, **{'split': 'test'} | options)


def test_runs_must_be_there_once_and_with_the_same_referents(runs, tmp_path):
    with pytest.raises(RunDirectoryError, match='is not a run'):
        gather([runs[0], str(tmp_path / 'none')], 'test')
    with pytest.raises(ValueError, match='given twice'):
        gather([runs[0], f'{runs[0]}/../a'], 'test')
    elsewhere = make_run(tmp_path / 'moved', {'data.path': 'elsewhere'}, checkpoint=False)

    def load(config):
        source = tiny_source()
        if config.path != 'elsewhere':
            return source
        splits = {name: Split(x.inputs + 1, x.labels) for name, x in source.splits.items()}
        return source._replace(splits=splits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.SOURCES, 'tiny', load)
        with pytest.raises(ValueError, match="is not the same for .*'elsewhere'"):
            gather([runs[0], elsewhere], 'test')


def test_runs_that_began_as_the_same_agents_are_no_strangers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a, alone = (make_run(tmp_path / name, checkpoint=False) for name in ('a', 'alone'))

    def started(name, from_run):
        return make_run(tmp_path / name, {'from_run': from_run}, checkpoint=False)

    child, link = started('child', 'a'), tmp_path / 'link'
    link.symlink_to(a)
    twin, grandchild = started('twin', str(link)), started('grandchild', f'{child}/../child')
    for one, two in ((a, child), (grandchild, a), (child, twin), (twin, grandchild)):
        with pytest.raises(ValueError, match=f'^agents of {one} and {two} are no stranger.*from_r'):
            gather([alone, one, two], 'test')
    stray = started('stray', 'gone')  # Whose origin is not there any more.
    with pytest.raises(ValueError, match='holds no checkpoint'):  # All that is missing.
        gather([alone, child, stray], 'test')


def test_other_data_are_seen_as_ones_own(tmp_path):
    run = make_run(tmp_path / 'a')
    own, other = (gather([run], 'test', name).groups[0].bank for name in (None, 'other'))
    assert other.inputs.shape == (24, SIZE)
    np.testing.assert_array_equal(own.sight.shift, other.sight.shift)
    np.testing.assert_array_equal(own.sight.scale, other.sight.scale)
    assert (other.sight.deviation != own.sight.deviation).all()
    # A label that the data do not have cannot be named.
    names = {'loss.listener.name': 'classification', 'evaluation.best_metric': 'accuracy'}
    naming = make_run(tmp_path / 'naming', names, checkpoint=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.SOURCES, 'bare', lambda _: tiny_source()._replace(num_values={}))
        with pytest.raises(ValueError, match="no label 'class' like that"):
            gather([naming], 'test', 'bare')
        more = tiny_source()._replace(num_values={'class': 5, 'attributes': 3})
        patch.setitem(data.SOURCES, 'more', lambda _: more)
        with pytest.raises(ValueError, match="no label 'class' like that"):
            gather([naming], 'test', 'more')


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_what_it_prints(runs, tmp_path, capsys):
    out = tmp_path / 'out'
    arguments = ['--runs', *runs, '--out', str(out), '--seed', '42', '--channel_noise', '0']
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert str(out / 'cross_play.png') in printed
    assert '8 speakers and 8 listeners of 4 populations, 64 referents of tiny (test)' in printed
    values = json.loads((out / 'cross_play.json').read_text())
    assert [x['name'] for x in values['populations']] == ['a', 'b#0', 'b#1', 'b#2']
    assert values['speakers'][:4] == ['a/0', 'a/1', 'b#0/0', 'b#0/1']
    clean = values['clean']['accuracy@16']
    assert np.shape(clean['matrix']) == (8, 8) and np.shape(clean['blocks']) == (4, 4)
    for name in ('in_group', 'out_group', 'difference', 'best_pair', 'best_strangers'):
        low, high = clean[f'{name}_ci95']
        assert low <= clean[name] <= high
        assert f'{clean[name]:.3f} [{low:.3f}, {high:.3f}]' in printed
    assert f'{clean["best_speaker"]} with {clean["best_listener"]}' in printed
    pair = [clean[f'best_strangers_{role}'] for role in ('speaker', 'listener')]
    assert 'best strangers, accuracy@16: {} with {}'.format(*pair) in printed
    assert pair[0].split('/')[0] != pair[1].split('/')[0]
    # Without noise nothing is lost.
    for drop in values['relative_drop'].values():
        assert drop['in_group'] == drop['out_group'] == 0
        assert drop['in_group_ci95'] == drop['out_group_ci95'] == [0, 0]
    with np.load(out / 'cross_play.npz') as arrays:
        np.testing.assert_allclose(arrays['clean/accuracy'][1], clean['matrix'])
        assert arrays['names'].tolist() == ['a', 'b#0', 'b#1', 'b#2']
    # The block of the run with this seed is the run's own record.
    groups = gather(runs[:1], 'test').groups
    evaluator = Evaluator(groups[0].game, CONFIG)
    record = evaluator(as_population(groups[0]), groups[0].bank, 'test', 3, 42)
    block = [row[:2] for row in clean['matrix'][:2]]
    np.testing.assert_allclose(block, record.correct[1].mean(-1), rtol=1e-6)


def test_noise_is_played_beside_the_clean_and_on_other_data(runs, tmp_path, capsys):
    out = tmp_path / 'out'
    arguments = ['--runs', runs[0], '--out', str(out), '--data', 'other']
    arguments += ['--input_noise', '5', '--channel_noise', '0.9', '--num_candidates', '2', '90']
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert '24 stands for 90' in printed and '\ndrop' in printed
    values = json.loads((out / 'cross_play.json').read_text())
    assert values['conditions']['data'] == 'other'
    assert values['conditions']['num_candidates'] == [2, 24]
    assert (values['conditions']['input_noise'], values['conditions']['channel_noise']) == (5, 0.9)
    clean, noisy = (values[name]['accuracy@2'] for name in ('clean', 'noisy'))
    assert clean['out_group'] is None and clean['matrix'] != noisy['matrix']
    drop = values['relative_drop']['accuracy@2']
    assert drop['in_group'] == pytest.approx(1 - noisy['in_group'] / clean['in_group'])
    low, high = drop['in_group_ci95']
    assert f'{drop["in_group"]:.3f} [{low:.3f}, {high:.3f}]' in printed
    assert drop['out_group'] is None and drop['out_group_ci95'] == [None, None]


def test_a_mistake_is_one_sentence(runs, tmp_path, capsys):
    (tmp_path / 'file').touch()
    for arguments, sentence in (
        (['--runs', str(tmp_path)], 'is not a run'),
        (['--runs', runs[0], '--out', str(tmp_path / 'file')], 'cannot make the folder'),
    ):
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert sentence in captured.err and captured.err.count('\n') == 1
    with pytest.raises(SystemExit, match='2'):
        main(['--run', runs[0]])
    assert capsys.readouterr().err.startswith('error: the following arguments are required')


def test_the_module_is_a_command(tmp_path):
    command = [sys.executable, '-m', 'emcom_jax.evaluation', '--runs', str(tmp_path)]
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr == f'error: {tmp_path} is not a run: it has no config.json\n'


def test_help_and_mistakes_answer_at_once():
    script = """
import runpy, sys
try:
    runpy.run_module('emcom_jax.evaluation', run_name='__main__')
finally:
    print(sorted({'jax', 'numpy', 'ml_collections'} & set(sys.modules)))
"""
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])}
    for flag, status in (('--help', 0), ('--run=a', 2)):
        command = [sys.executable, '-c', script, flag]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == status and done.stdout.endswith('[]\n'), done.stderr


# --- the picture ----------------------------------------------------------------------------------


def test_the_heat_map_names_populations_and_parts_them():
    matrix = np.linspace(0, 0.9, 15).reshape(3, 5)
    sides = np.array([0, 0, 1]), np.array([0, 0, 0, 1, 1])
    figure = draw_heat_map({'clean': matrix, 'noisy': matrix}, ['a', 'b#1'], *sides)
    assert isinstance(figure, Figure)
    for ax in figure.axes[:2]:
        assert [text.get_text() for text in ax.get_xticklabels()] == ['a', 'b#1']
        assert [x.get_text() for x in ax.get_xticklabels(minor=True)] == list('01201')
        assert [x.get_text() for x in ax.get_yticklabels(minor=True)] == list('010')
        np.testing.assert_allclose([line.get_xdata()[0] for line in ax.lines], [2.5, 0])
        np.testing.assert_allclose([line.get_ydata()[0] for line in ax.lines], [0, 1.5])
        assert len(ax.texts) == 15 and ax.texts[-1].get_text() == '0.90'
