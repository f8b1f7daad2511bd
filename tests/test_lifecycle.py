"""Runs from the outside: train, kill, resume, finish, evaluate, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / 'configs' / 'lewis.py'


def command(
    run: Path, *overrides: str, variant: str = ':imitation,debug', mode: str = 'train'
) -> list[str]:
    return [
        sys.executable,
        '-m',
        'emcom_jax.main',
        f'--config={RECIPE}{variant}',
        f'--config.run_dir={run}',
        f'--jaxline_mode={mode}',
        *(f'--config.{override}' for override in overrides),
    ]


# Compiling is most of a short run.
ENVIRONMENT = {
    **os.environ,
    'PYTHONPATH': str(ROOT),
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
}


def launch(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(arguments: list[str]) -> tuple[int, str, str]:
    process = launch(arguments)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def parameters(run: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """The newest checkpoint, or that of a step, read by Orbax alone."""
    newest = max(int(path.name) for path in (run / 'checkpoints').iterdir())
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(run / 'checkpoints' / str(step or newest) / 'default')


def lines(run: Path) -> list[dict]:
    """metrics.jsonl without what depends on the clock."""
    return [
        {
            key: value
            for key, value in json.loads(line).items()
            if key not in ('wall_s', 'steps_per_sec')
        }
        for line in (run / 'metrics.jsonl').read_text().splitlines()
    ]


def stop_at(run: Path, number: signal.Signals, text: str, *overrides: str) -> tuple[int, str]:
    """Starts a run and signals it as soon as it has printed `text`."""
    process = launch(command(run, *overrides))
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            process.send_signal(number)
            break
    output, _ = process.communicate(timeout=300)
    return process.returncode, ''.join(seen) + output


@pytest.fixture(scope='module')
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp('runs') / 'straight'
    code, output, errors = finish(command(run))
    assert code == 0, errors
    assert str(run) in output
    return run


def test_a_run_leaves_everything_it_promises(straight: Path):
    summary = json.loads((straight / 'summary.json').read_text())
    assert summary['step'] == 30
    for split in ('valid', 'test'):
        low, high = summary[split]['accuracy@16_ci95']
        assert 0 <= low <= summary[split]['accuracy@16'] <= high <= 1
        # Messages as they were said are judged as ever.
        intact = summary[split]['accuracy_intact@16']
        assert intact == pytest.approx(summary[split]['accuracy@16'])
        assert len(summary[split]['guess_change_by_position@16']) == 3
    steps = [(line['step'], line['split']) for line in lines(straight)]
    assert [(10, 'train'), (20, 'train'), (30, 'train')] == [x for x in steps if x[1] == 'train']
    assert {(0, 'valid'), (20, 'valid'), (30, 'valid')} < set(steps)
    # A validation does not tamper.
    assert not any('accuracy_intact@16' in x for x in lines(straight) if x['split'] == 'valid')
    assert (straight / 'pictures' / 'usage.png').exists()
    assert (straight / 'records' / 'test.npz').exists()
    assert list((straight / 'tensorboard').iterdir())
    assert (straight / 'report.html').exists()


def test_killed_then_terminated_then_resumed_equals_straight_through(
    straight: Path, tmp_path: Path
):
    run = tmp_path / 'interrupted'
    code, _ = stop_at(run, signal.SIGKILL, 'valid  step 20')
    assert code == -signal.SIGKILL
    assert not (run / 'summary.json').exists()
    code, output = stop_at(run, signal.SIGTERM, 'going on from step')
    assert code == 128 + signal.SIGTERM
    assert 'stopped by SIGTERM at step' in output
    code, output, errors = finish(command(run))
    assert code == 0, errors
    assert 'going on from step' in output
    one, two = parameters(straight), parameters(run)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert lines(straight) == lines(run)


def test_a_finished_run_says_so_and_changes_nothing(straight: Path):
    before = (straight / 'metrics.jsonl').read_bytes()
    code, output, _ = finish(command(straight))
    assert code == 0
    assert 'is finished' in output
    assert (straight / 'metrics.jsonl').read_bytes() == before


def test_another_config_is_refused(straight: Path):
    code, _, errors = finish(command(straight, 'channel.vocab_size=7'))
    assert code == 2
    assert 'channel.vocab_size is 5 there and 7 here' in errors
    assert 'Traceback' not in errors


def test_one_off_evaluation_takes_the_best_checkpoint(straight: Path):
    summary = json.loads((straight / 'summary.json').read_text())
    code, output, errors = finish(command(straight, mode='eval_test'))
    assert code == 0, errors
    assert f'{summary["test"]["accuracy@16"]:.3f}' in output
    assert f'step {summary["best_step"]}' in output
    (line,) = map(json.loads, (straight / 'evaluations.jsonl').read_text().splitlines())
    assert line['test'] == summary['test'] and line['step'] == summary['best_step']
    assert line['evaluation']['num_candidates'] == [4, 16]


def test_the_second_replica_is_the_run_with_the_next_seed(straight: Path, tmp_path: Path):
    run = tmp_path / 'replicas'
    code, _, errors = finish(command(run, 'replicas=2', 'random_seed=41'))
    assert code == 0, errors
    alone, together = (
        np.load(straight / 'records' / 'test.npz'),
        np.load(run / 'records' / 'test.1.npz'),
    )
    # Products in batches round otherwise, and a symbol may tip over.
    assert np.mean(together['messages'] == alone['messages']) > 0.95
    np.testing.assert_allclose(together['loss'].mean(), alone['loss'].mean(), rtol=0.02)
    other = np.load(run / 'records' / 'test.0.npz')
    assert np.mean(other['messages'] == alone['messages']) < 0.8
    summary, one = (json.loads((at / 'summary.json').read_text()) for at in (run, straight))
    values = summary['test']
    each = values['accuracy@16_replicas']
    np.testing.assert_allclose(each[1], one['test']['accuracy@16'], atol=0.02)
    np.testing.assert_allclose(values['accuracy@16'], np.mean(each))
    np.testing.assert_allclose(values['accuracy@16_se'], np.std(each, ddof=1) / 2**0.5)
    train = [line for line in lines(run) if line['split'] == 'train'][0]
    assert np.shape(train['loss']) == (2, 2, 2) and np.shape(train['listener_accuracy']) == (2, 2)
    assert (
        'replicas=3, but' in finish(command(tmp_path / 'more', 'replicas=3', f'from_run={run}'))[2]
    )


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
    groups = (
        "speaker.groups={'core': 'gru'},{'hidden_size': 8}",
        "listener.groups={'core': 'gru'},{'hidden_size': 8, 'projection_sizes': (7,)}",
    )
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
    # Their messages are tampered with, too.
    values = json.loads((straight / 'summary.json').read_text())['test']
    assert values['accuracy_intact@16'] == pytest.approx(values['accuracy_average@16'])
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


def test_other_shapes_are_named(straight: Path, tmp_path: Path):
    arguments = command(tmp_path / 'wider', f'from_run={straight}', 'speaker.hidden_size=24')
    code, _, errors = finish(arguments)
    assert code == 2
    assert 'policy/~/linear_0/w: checkpoint [1, 2, 16, 5], this config [1, 2, 24, 5]' in errors
    assert 'Traceback' not in errors


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path):
    overrides = ('optimizer.listener.name=sgd', 'optimizer.listener.learning_rate=1e38')
    code, _, errors = finish(command(tmp_path / 'nan', *overrides))
    assert code == 2
    assert 'is not finite at step' in errors
    assert 'Traceback' not in errors


def test_a_threshold_stops_early_and_the_run_is_finished(tmp_path: Path):
    run = tmp_path / 'early'
    code, output, errors = finish(command(run, 'evaluation.threshold=0.001'))
    assert code == 0, errors
    assert 'stopping early: accuracy@16 reached 0.001 at step 20' in output
    summary = json.loads((run / 'summary.json').read_text())
    assert summary['step'] == summary['best_step'] == 20
    assert summary['stopped'] == 'accuracy@16 reached 0.001 at step 20'
    before = lines(run)
    # Killed before its summary, it makes only that again.
    (run / 'summary.json').unlink()
    (run / 'report.html').unlink()
    code, _, errors = finish(command(run, 'evaluation.threshold=0.001'))
    assert code == 0, errors
    again = json.loads((run / 'summary.json').read_text())
    assert again | {'wall_s': 0} == summary | {'wall_s': 0}
    assert lines(run) == before
    (run / 'report.html').unlink()
    code, output, _ = finish(command(run, 'evaluation.threshold=0.001'))
    assert code == 0
    assert 'is finished' in output and (run / 'report.html').exists()
