"""Runs from the outside: train, kill, resume, finish, evaluate, and what is refused."""

import json
import signal
from pathlib import Path

import numpy as np
from processes import command, finish, lines, parameters, stop_at, straight

__all__ = ['straight']  # A fixture.


def test_a_run_leaves_everything_it_promises(straight: Path):
    summary = json.loads((straight / 'summary.json').read_text())
    assert summary['step'] == 30
    for split in ('valid', 'test'):
        low, high = summary[split]['accuracy@16_ci95']
        assert 0 <= low <= summary[split]['accuracy@16'] <= high <= 1
    steps = [(line['step'], line['split']) for line in lines(straight)]
    assert [(10, 'train'), (20, 'train'), (30, 'train')] == [x for x in steps if x[1] == 'train']
    assert {(0, 'valid'), (20, 'valid'), (30, 'valid')} < set(steps)
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
    # The first generation, which is validated at step 10, does not count.
    overrides = ('evaluation.every=10', 'updates.generations.every=15')
    line = command(run, 'evaluation.threshold=0.001', *overrides)
    code, output, errors = finish(line)
    assert code == 0, errors
    assert "optimizer.listener.schedule='cosine': over all of training, not anew" in output
    assert 'valid  step 10: accuracy@16' in output
    assert 'stopping early: accuracy@16 reached 0.001 at step 20' in output
    summary = json.loads((run / 'summary.json').read_text())
    assert summary['step'] == summary['best_step'] == 20
    assert summary['stopped'] == 'accuracy@16 reached 0.001 at step 20'
    before = lines(run)
    # Killed before its summary, it makes only that again.
    (run / 'summary.json').unlink()
    (run / 'report.html').unlink()
    code, _, errors = finish(line)
    assert code == 0, errors
    again = json.loads((run / 'summary.json').read_text())
    assert again | {'wall_s': 0} == summary | {'wall_s': 0}
    assert lines(run) == before
    (run / 'report.html').unlink()
    code, output, _ = finish(line)
    assert code == 0
    assert 'is finished' in output and (run / 'report.html').exists()
