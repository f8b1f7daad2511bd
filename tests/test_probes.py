"""What is learnt from runs, from the outside: fresh listeners, newcomers, agents of groups."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import ROOT, command, finish, lines, parameters, stop_at, straight

__all__ = ['straight']  # A fixture.


def test_fresh_listeners_learn_the_language_of_frozen_speakers(straight: Path, tmp_path: Path):
    run = tmp_path / 'ease'
    arguments = [
        sys.executable,
        '-m',
        'emcom_jax.main',
        f'--config={ROOT / "configs" / "ease_of_learning.py"}:debug',
        f'--config.from_run={straight}',
        f'--config.run_dir={run}',
        '--config.random_seed=42',  # Among the candidates of the other run.
    ]
    code, output, errors = finish(arguments)
    assert code == 0, errors
    assert 'area_under_curve' in output
    curve = np.load(run / 'ease_of_learning.npz')
    np.testing.assert_array_equal(curve['steps'], [5, 10, 15, 20])
    assert curve['accuracy'].shape == (4, 1, 2, 2) and np.isfinite(curve['accuracy']).all()
    values = json.loads((run / 'summary.json').read_text())['ease_of_learning']
    at_20 = curve['accuracy'][-1].mean()
    np.testing.assert_allclose(values['accuracy_at_20'], at_20, rtol=1e-6)
    low, high = values['area_under_curve_ci95']
    assert low <= values['area_under_curve'] <= high
    # What is due to the language and what to its own listeners are their loss together.
    summary = json.loads((run / 'summary.json').read_text())
    theirs = json.loads((straight / 'summary.json').read_text())
    for split in ('valid', 'test'):
        name = f'{split}@16'
        assert values[f'information_loss_{name}'] == pytest.approx(summary[split]['loss@16'])
        both = values[f'information_loss_{name}'] + values[f'co_adaptation_{name}']
        assert both == pytest.approx(theirs[split]['loss@16'], rel=1e-4)
        low, high = values[f'co_adaptation_{name}_ci95']
        assert low < values[f'co_adaptation_{name}'] < high
    assert {'information_loss_train@16', 'co_adaptation_train@16'} < set(values)
    # The speakers are those of the other run, to the bit, with nothing that they could learn by.
    best = json.loads((straight / 'summary.json').read_text())['best_step']
    ours, theirs = parameters(run), parameters(straight, best)
    speakers = {key for key in ours if key.startswith('population/speakers')}
    agents = {key for key in speakers if '/agent/params/' in key}
    assert agents and all(np.array_equal(ours[key], theirs[key]) for key in agents)
    assert not any('opt_state' in key for key in speakers)
    assert not any(key.startswith('population/targets') for key in ours)
    assert (run / 'pictures' / 'ease_of_learning.png').exists()
    # What was taken of the run is in the command that trains it again, though it is a default.
    assert '--config.data.name=digits' in (run / 'report.html').read_text()
    # A listener is asked by its own speaker alone.
    assert np.load(run / 'records' / 'test.npz')['correct'].shape[1:3] == (2, 2)
    again = finish(arguments)
    assert again[0] == 0 and 'is finished' in again[1]


@pytest.mark.parametrize('role', ['listener', 'speaker'])
def test_newcomers_learn_among_frozen_residents(role: str, straight: Path, tmp_path: Path):
    run = tmp_path / 'newcomer'
    arguments = [
        sys.executable,
        '-m',
        'emcom_jax.main',
        f'--config={ROOT / "configs" / "newcomer.py"}:debug',
        f'--config.newcomer.role={role}',
        f'--config.from_run={straight}',
        f'--config.run_dir={run}',
    ]
    code, output, errors = finish(arguments)
    assert code == 0, errors
    assert 'updates_to_50%' in output
    curve = np.load(run / 'newcomer.npz')
    np.testing.assert_array_equal(curve['steps'], [5, 10, 15, 20])
    assert curve['accuracy'].shape == (4, 1, 1, 3) and np.isfinite(curve['accuracy']).all()
    values = json.loads((run / 'summary.json').read_text())['newcomer']
    at_20 = curve['accuracy'][-1].mean()
    np.testing.assert_allclose(values['accuracy_at_20'], at_20, rtol=1e-6)
    (residents,) = (line for line in lines(run) if line['split'] == 'residents')
    assert [values['residents_accuracy']] == residents['accuracy'] and residents['step'] == 0
    # The residents of the other role are those of the run, to the bit, without what learns.
    best = json.loads((straight / 'summary.json').read_text())['best_step']
    ours, theirs = parameters(run), parameters(straight, best)
    other = {'listener': 'speakers', 'speaker': 'listeners'}[role]
    frozen = {key for key in ours if key.startswith(f'population/{other}')}
    agents = {key for key in frozen if '/agent/params/' in key}
    assert agents and all(np.array_equal(ours[key], theirs[key]) for key in agents)
    assert not any('opt_state' in key for key in frozen)
    targets = {len(ours[key][0]) for key in ours if key.startswith('population/targets')}
    assert targets == (set() if role == 'listener' else {3})
    assert ours[f'population/{role}s/updates'].tolist() == [[20] * 3]
    assert not ours[f'population/{other}/updates'].any()
    assert (run / 'pictures' / 'newcomer.png').exists()
    shape = (2, 3) if role == 'listener' else (3, 2)
    assert np.load(run / 'records' / 'test.npz')['correct'].shape[1:3] == shape
    again = finish(arguments)
    assert again[0] == 0 and 'is finished' in again[1]


def test_agents_of_groups_are_resumed_and_probed(tmp_path: Path):
    straight, killed, ease = (tmp_path / name for name in ('straight', 'killed', 'ease'))
    groups = ("speaker.groups={'core': 'gru'},{'hidden_size': 8}",)
    code, _, errors = finish(command(straight, *groups))
    assert code == 0, errors
    stop_at(killed, signal.SIGKILL, 'valid  step 20', *groups)
    code, output, errors = finish(command(killed, *groups))
    assert code == 0 and 'going on from step' in output, errors
    one, two = parameters(straight), parameters(killed)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert lines(straight) == lines(killed)
    # Each group has a stack of its own, and all of them learnt.
    widths = {name: one[name].shape for name in one if name.endswith('policy/~/linear_0/w')}
    assert {shape[2] for shape in widths.values()} == {8, 16}
    assert all((one[f'population/speakers/{g}/updates'] > 20).all() for g in (0, 1))
    # Their speakers are frozen, and taught to fresh listeners of one kind.
    probe = [
        *(sys.executable, '-m', 'emcom_jax.main'),
        f'--config={ROOT / "configs" / "ease_of_learning.py"}:debug',
        f'--config.from_run={straight}',
        f'--config.run_dir={ease}',
    ]
    code, output, errors = finish(probe)
    assert code == 0, errors
    assert np.isfinite(np.load(ease / 'ease_of_learning.npz')['accuracy']).all()
    # Of the other kinds of listeners, too, it is known what they lost.
    values = json.loads((ease / 'summary.json').read_text())['ease_of_learning']
    assert np.isfinite(values['co_adaptation_test@16'])
    best = json.loads((straight / 'summary.json').read_text())['best_step']
    ours, theirs = parameters(ease), parameters(straight, best)
    names = {name for name in theirs if 'population/speakers/' in name and '/agent/' in name}
    assert names and all(np.array_equal(ours[name], theirs[name]) for name in names)
    code, _, errors = finish([*probe, '--config.ease_of_learning.max_speakers=1'])
    assert code == 2 and 'must be at least 2: the speakers of' in errors
