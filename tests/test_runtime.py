"""Running: devices, runs, checkpoints, writers, progress, preemption, the command line."""

import functools
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxline import base_config, experiment, train
from ml_collections import ConfigDict
from tensorboardX.proto import event_pb2

from emcom_jax import config as config_lib
from emcom_jax.runtime import devices, files, flags, writers
from emcom_jax.runtime.checkpoints import Checkpointer, read_checkpoint
from emcom_jax.runtime.preemption import Preemption
from emcom_jax.runtime.progress import Progress
from emcom_jax.runtime.run import show
from emcom_jax.runtime.run_directory import RunDirectory, RunDirectoryError, open_run

ROOT = Path(__file__).parents[1]


def start(script: str, *arguments: str, **environment: str) -> subprocess.Popen:
    """Starts Python code in a process of its own."""
    return subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(script), *arguments],
        cwd=ROOT,
        env={**os.environ, 'JAX_PLATFORMS': 'cpu', **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


# --- devices --------------------------------------------------------------------------------------


def test_a_tree_goes_to_two_devices_and_back():
    process = start(
        """
        import jax, numpy as np
        from emcom_jax.runtime import devices
        tree = {'a': np.arange(6.0).reshape(2, 3), 'b': jax.numpy.int32(7), 'c': 1.5}
        there = devices.bcast_local_devices(tree)
        assert {k: x.shape for k, x in there.items()} == {'a': (2, 2, 3), 'b': (2,), 'c': (2,)}
        for i, device in enumerate(jax.local_devices()):
            assert there['a'].addressable_data(i).devices() == {device}
        out = jax.pmap(lambda t: jax.tree.map(lambda x: x + jax.lax.axis_index('i'), t), 'i')(there)
        assert out['a'].sharding == there['a'].sharding
        np.testing.assert_array_equal(out['a'][1], tree['a'] + 1)
        donate = jax.pmap(lambda t: t['a'] * 0, 'i', donate_argnums=0)
        jax.block_until_ready(donate(there))
        back = devices.first(out)
        assert back['a'].devices() == {jax.local_devices()[0]}
        np.testing.assert_array_equal(back['a'], np.arange(6.0).reshape(2, 3))
        np.testing.assert_array_equal(tree['a'], np.arange(6.0).reshape(2, 3))
        assert back['b'] == 7 and back['b'].shape == () and back['c'] == 1.5
        """,
        XLA_FLAGS='--xla_force_host_platform_device_count=2',
    )
    assert finish(process) == (0, '')


# --- training under jaxline, with checkpoints -----------------------------------------------------


class Walk(experiment.AbstractExperiment):
    """A random walk: the smallest experiment whose state depends on every step and every key."""

    def __init__(self, mode, init_rng, config):
        del mode
        self.best_step = -1
        self.best_value = -float('inf')
        self.position = devices.bcast_local_devices(jax.random.normal(init_rng, (config.size,)))
        self._step = jax.pmap(lambda x, key: x + jax.random.normal(key, x.shape), 'i')

    def step(self, *, global_step, rng, writer):
        del global_step, writer
        self.position = self._step(self.position, rng)
        return {'mean': devices.first(self.position).mean()}

    def evaluate(self, **_):
        return {'mean': devices.first(self.position).mean()}

    def snapshot_state(self):
        position = devices.first(self.position)
        return {'position': position, 'best_value': self.best_value, 'empty': jnp.zeros((0, 2))}

    def restore_from_snapshot(self, snapshot):
        self.position = devices.bcast_local_devices(snapshot['position'])
        self.best_value = snapshot['best_value']


def train_walk(run: RunDirectory, steps: int) -> Checkpointer:
    devices.prepare_jaxline()
    config = config_lib.base().unlock()
    config.training_steps, config.log_train_data_interval, config.size = steps, 1, 3
    run.path.mkdir(exist_ok=True)
    checkpointer = Checkpointer(run.checkpoints)
    writer = writers.Writer(run.metrics, run.tensorboard)
    train.train(Walk, flags.to_jaxline(config), checkpointer, writer)
    writer.close()
    return checkpointer


def position_of(checkpointer: Checkpointer) -> np.ndarray:
    module = checkpointer.get_experiment_state('latest').experiment_module
    return np.asarray(devices.first(module.position))


def test_resumed_training_equals_straight_training(tmp_path):
    straight = train_walk(RunDirectory(tmp_path / 'straight'), 6)
    interrupted = RunDirectory(tmp_path / 'interrupted')
    halfway = position_of(train_walk(interrupted, 3))
    resumed = train_walk(interrupted, 6)
    assert not np.array_equal(halfway, position_of(resumed))
    np.testing.assert_array_equal(position_of(resumed), position_of(straight))
    assert resumed.get_experiment_state('latest').experiment_module.best_value == -float('inf')
    lines = writers.read_lines(interrupted.metrics)
    assert [line['step'] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line['split'] for line in lines] == ['train'] * 6


def test_jaxline_evaluates_the_best_checkpoint(tmp_path):
    run = RunDirectory(tmp_path)
    trained = train_walk(run, 2)
    expected = float(position_of(trained).mean())
    state = trained.get_experiment_state('latest')
    state.experiment_module.best_step = 2
    state.global_step = 5
    state.experiment_module.position *= 0
    trained.save()
    config = config_lib.base().unlock()
    config.size = 3
    writer = writers.Writer(run.metrics, run.tensorboard, split='valid')
    evaluated = Checkpointer(run.checkpoints, read_only=True)
    train.evaluate(Walk, flags.to_jaxline(config), evaluated, writer, 'eval_valid')
    writer.close()
    last = writers.read_lines(run.metrics)[-1]
    assert (last['step'], last['split']) == (2, 'valid')
    assert last['mean'] == pytest.approx(expected)


class Toy:
    """An experiment of given trees."""

    def __init__(self, best_step: int = -1, **trees):
        self.best_step = best_step
        self.trees = trees

    def snapshot_state(self):
        return self.trees

    def restore_from_snapshot(self, snapshot):
        self.trees = snapshot


def checkpointer_of(directory: Path, module: Toy, **options) -> Checkpointer:
    checkpointer = Checkpointer(directory, **options)
    state = checkpointer.get_experiment_state('latest')
    state.global_step, state.experiment_module, state.train_step_rng = 0, module, None
    return checkpointer


def save_at(checkpointer: Checkpointer, step: int, **trees) -> None:
    state = checkpointer.get_experiment_state('latest')
    state.global_step = step
    state.experiment_module.trees.update(trees)
    checkpointer.save('latest')


def saved_steps(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_latest_and_the_best_checkpoints_are_kept(tmp_path):
    toy = Toy(x=np.zeros(2, int))
    checkpointer = checkpointer_of(tmp_path, toy, max_to_keep=2)
    assert not checkpointer.can_be_restored('latest')
    for step in (1, 2):
        toy.best_step = step
        save_at(checkpointer, step, x=np.full(2, step))
    for step in (3, 4, 5):
        save_at(checkpointer, step, x=np.full(2, step))
    save_at(checkpointer, 5, x=np.full(2, 99))  # Is there already.
    assert saved_steps(tmp_path) == ['2', '4', '5']

    other = Toy(x=np.zeros(2, int))
    resumed = checkpointer_of(tmp_path, other, max_to_keep=2)
    for series, step in (('latest', 5), ('best', 2)):
        resumed.restore(series)
        assert resumed.get_experiment_state(series).global_step == step
        np.testing.assert_array_equal(other.trees['x'], [step, step])
    toy.best_step = 6
    save_at(checkpointer, 6, x=np.full(2, 6))
    assert saved_steps(tmp_path) == ['5', '6']


def test_trees_come_back_as_they_were(tmp_path):
    trees = {
        'agent': {
            'mlp/~/linear_0': {'w': np.ones((2, 3), np.float32), 'b': jnp.ones(3, jnp.bfloat16)}
        },
        'opt': ({'mu': np.float16(2)}, [np.arange(3)], np.zeros((), bool)),
        'notes': {'stalled': 3, 'best': -float('inf'), 'done': True},
        'nothing': None,
        'empty': np.zeros((0, 3), np.float16),
        'key': jax.random.PRNGKey(3),
    }
    checkpointer = checkpointer_of(tmp_path, Toy(**trees))
    checkpointer.get_experiment_state('latest').train_step_rng = devices.bcast_local_devices(
        jax.random.PRNGKey(5)
    )
    save_at(checkpointer, 1)
    zeros = jax.tree.map(lambda x: np.zeros_like(x) if hasattr(x, 'dtype') else type(x)(0), trees)
    toy = Toy(**zeros)
    resumed = checkpointer_of(tmp_path, toy)
    resumed.restore('latest')
    jax.tree.map(np.testing.assert_array_equal, toy.trees, trees)
    assert toy.trees['empty'].shape == (0, 3) and toy.trees['empty'].dtype == np.float16
    assert jax.tree.structure(toy.trees) == jax.tree.structure(trees)
    assert toy.trees['agent']['mlp/~/linear_0']['b'].dtype == jnp.bfloat16
    assert toy.trees['notes'] == trees['notes'] and toy.trees['notes']['done'] is True
    key = resumed.get_experiment_state('latest').train_step_rng
    np.testing.assert_array_equal(key, devices.bcast_local_devices(jax.random.PRNGKey(5)))


def test_a_checkpoint_that_does_not_fit_is_refused_by_name(tmp_path):
    many = {f'layer_{i}': np.ones(2) for i in range(4)}
    saved = Toy(speakers={'w': np.ones((128, 512)), 'n': np.int32(1)}, **many)
    save_at(checkpointer_of(tmp_path, saved), 7)
    toy = Toy(speakers={'w': np.ones((256, 1024)), 'n': np.float32(1)}, new=np.ones(1))
    with pytest.raises(ValueError, match='does not fit') as error:
        checkpointer_of(tmp_path, toy).restore('latest')
    assert str(error.value) == (
        f'the checkpoint {tmp_path}/7 does not fit this config: '
        'layer_0: checkpoint [2], this config nothing; '
        'layer_1: checkpoint [2], this config nothing; '
        'layer_2: checkpoint [2], this config nothing; '
        'layer_3: checkpoint [2], this config nothing; '
        'new: checkpoint nothing, this config [1]; and 2 more'
    )
    toy = Toy(speakers={'w': np.ones((256, 1024)), 'n': np.float32(1)}, **many)
    with pytest.raises(ValueError) as error:
        checkpointer_of(tmp_path, toy).restore('latest')
    assert str(error.value).endswith(
        'speakers/n: checkpoint int32 [], this config float32 []; '
        'speakers/w: checkpoint [128, 512], this config [256, 1024]'
    )


def test_a_part_of_another_run_is_read(tmp_path):
    run = RunDirectory(tmp_path)
    toy = Toy(speakers={'w': np.ones(3, np.float32)}, listeners=np.zeros(9))
    checkpointer = checkpointer_of(run.checkpoints, toy)
    with pytest.raises(ValueError, match='holds no checkpoint'):
        read_checkpoint(tmp_path, {})
    with pytest.raises(ValueError, match='holds no checkpoint'):
        checkpointer.restore('latest')
    toy.best_step = 1
    save_at(checkpointer, 1)
    save_at(checkpointer, 2, speakers={'w': np.full(3, 2, np.float32)})
    like = jax.eval_shape(lambda: {'speakers': {'w': jnp.zeros(3)}})
    for series, step in (('best', 1), ('latest', 2)):
        found, tree = read_checkpoint(tmp_path, like, series)
        assert found == step and tree.keys() == {'speakers'}
        np.testing.assert_array_equal(tree['speakers']['w'], np.full(3, step))
    with pytest.raises(ValueError, match=r'speakers/w: checkpoint \[3\], this config \[4\]$'):
        read_checkpoint(tmp_path, {'speakers': {'w': np.zeros(4)}})


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, bad):
    checkpointer = checkpointer_of(tmp_path, Toy(a=np.ones(2), speakers={'w': jnp.ones(3)}))
    save_at(checkpointer, 1)
    with pytest.raises(FloatingPointError, match='speakers/w is not finite at step 2'):
        save_at(checkpointer, 2, speakers={'w': jnp.asarray([1.0, bad, 1.0])})
    assert saved_steps(tmp_path) == ['1']


def test_bad_numbers_of_checkpoints_are_refused(tmp_path):
    with pytest.raises(ValueError, match='max_checkpoints_to_keep must be at least 1, got 0'):
        Checkpointer(tmp_path, max_to_keep=0)


KILLED = """
    # Saves step 1, then dies in front of the n-th change of a directory while saving step 2.
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from emcom_jax.runtime.checkpoints import Checkpointer

    class Toy:
        best_step = -1
        def snapshot_state(self):
            return {'x': np.full(1000, state.global_step)}

    for n in map(int, sys.argv[2:]):
        if os.fork():
            continue
        left = None
        def die(event, arguments):
            global left
            if left is not None and event in ('os.mkdir', 'os.rename', 'os.remove', 'os.rmdir'):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(die)
        checkpointer = Checkpointer(Path(sys.argv[1]) / str(n), max_to_keep=1)
        state = checkpointer.get_experiment_state('latest')
        state.experiment_module, state.train_step_rng = Toy(), None
        state.global_step = 1
        checkpointer.save('latest')
        state.global_step, left = 2, n
        checkpointer.save('latest')
        os._exit(0)
    while True:
        try:
            print(os.waitstatus_to_exitcode(os.wait()[1]))
        except ChildProcessError:
            break
"""


def test_a_kill_while_saving_leaves_a_checkpoint(tmp_path):
    moments = [1, 2, 5, 7, 8, 9, 10, 13]
    code, output = finish(start(KILLED, str(tmp_path), *map(str, moments)))
    assert code == 0 and output.split() == [str(-signal.SIGKILL)] * len(moments)
    found = {}
    for moment in moments:
        directory = tmp_path / str(moment)
        toy = Toy(x=np.zeros(1000, int))
        checkpointer = checkpointer_of(directory, toy, max_to_keep=1)
        checkpointer.restore('latest')
        found[moment] = checkpointer.get_experiment_state('latest').global_step
        np.testing.assert_array_equal(toy.trees['x'], np.full(1000, found[moment]))
        save_at(checkpointer, 3)
        assert saved_steps(directory) == ['3']
    assert sorted(found.values()) == list(found.values())  # 1 up to the commit, 2 after it.
    assert set(found.values()) == {1, 2}


# --- run directory --------------------------------------------------------------------------------


def config_of(run_dir: Path | None = None, **values) -> ConfigDict:
    config = config_lib.base()
    config.run_dir = str(run_dir) if run_dir else None
    config.update_from_flattened_dict(values)
    return config


def test_the_default_directory_is_named_after_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, name in (('configs/lewis.py', 'lewis'), ('/x/lewis.py:debug', 'lewis-debug')):
        run = open_run(config_of(), path)
        run.close()
        assert run.path == Path('runs') / name
        assert (tmp_path / 'runs' / name / 'config.json').exists()


def test_the_configuration_is_kept_and_compared(tmp_path):
    pairs = ((0, 1), (1, 0))
    config = config_of(tmp_path, **{'population.pairs': pairs, 'training_steps': 10})
    open_run(config, 'configs/lewis.py').close()
    text = (tmp_path / 'config.json').read_text()
    assert list(json.loads(text)) == sorted(json.loads(text)) and '\n  "' in text
    loaded = RunDirectory(tmp_path).load_config()
    assert loaded.to_dict() == config.to_dict() and loaded.is_locked
    assert loaded.population.pairs == pairs

    (tmp_path / 'checkpoints' / '10').mkdir(parents=True)
    open_run(config, 'configs/lewis.py').close()  # The same again.
    other = config_of(
        tmp_path, **{'channel.vocab_size': 99, 'population.pairs': pairs, 'data.path': 'x'}
    )
    other.training_steps = 10
    with pytest.raises(RunDirectoryError) as error:
        open_run(other, 'configs/lewis.py')
    assert str(error.value) == (
        f'{tmp_path} holds a run with another configuration: '
        "channel.vocab_size is 20 there and 99 here, data.path is None there and 'x' here; "
        'use the same configuration or another --config.run_dir'
    )
    open_run(config, 'configs/lewis.py').close()  # Refused, the other has not kept it locked.
    with pytest.raises(RunDirectoryError, match='elsewhere is not a run'):
        RunDirectory(tmp_path / 'elsewhere').load_config()
    (tmp_path / 'file').touch()
    with pytest.raises(RunDirectoryError, match=r'cannot make the run directory .*file'):
        open_run(config_of(tmp_path / 'file'), 'configs/lewis.py')


def test_a_first_try_that_saved_nothing_can_be_corrected(tmp_path):
    open_run(config_of(tmp_path, **{'data.batch_size': 5000}), 'lewis.py').close()
    open_run(config_of(tmp_path, **{'data.batch_size': 50}), 'lewis.py').close()
    assert RunDirectory(tmp_path).load_config().data.batch_size == 50


def test_training_can_be_prolonged_and_not_shortened(tmp_path):
    (tmp_path / 'checkpoints' / '5').mkdir(parents=True)
    for steps in (10, 20, 20):
        open_run(config_of(tmp_path, training_steps=steps), 'lewis.py').close()
        assert json.loads((tmp_path / 'config.json').read_text())['training_steps'] == steps
    with pytest.raises(RunDirectoryError, match=r'use --config.training_steps=20 or more, not 15'):
        open_run(config_of(tmp_path, training_steps=15), 'lewis.py')


def test_evaluation_may_differ_in_how_it_evaluates_only(tmp_path):
    noisy = config_of(tmp_path, **{'evaluation.channel_noise': 0.5, 'training_steps': 1})
    with pytest.raises(RunDirectoryError, match='train it first'):
        open_run(noisy, 'lewis.py', train=False)
    assert not list(tmp_path.iterdir())
    open_run(config_of(tmp_path), 'lewis.py').close()
    before = (tmp_path / 'config.json').read_text()
    open_run(noisy, 'lewis.py', train=False)
    assert (tmp_path / 'config.json').read_text() == before
    noisy.random_seed = 5
    with pytest.raises(RunDirectoryError, match='random_seed is 42 there and 5 here'):
        open_run(noisy, 'lewis.py', train=False)


def test_a_run_is_finished_by_its_summary(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.read_summary() is None and not run.is_finished(10)
    run.write_summary({'step': 10, 'test': {'accuracy': np.float32(0.5), 'bad': [float('nan')]}})
    assert run.read_summary() == {'step': 10, 'test': {'accuracy': 0.5, 'bad': [None]}}
    assert run.is_finished(10) and not run.is_finished(11)
    run.write_summary({'step': 5, 'stopped': 'no better validation for 3 validations'})
    assert run.is_finished(11)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'summary.json'
    files.write_json(path, {'step': 1})
    monkeypatch.setattr(files.os, 'replace', lambda *_: (_ for _ in ()).throw(OSError('killed')))
    with pytest.raises(OSError, match='killed'):
        files.write_json(path, {'step': 2})
    assert json.loads(path.read_text()) == {'step': 1}


def test_two_processes_cannot_train_into_one_run(tmp_path):
    process = start(
        """
        import os, sys
        from emcom_jax import config
        from emcom_jax.runtime.run_directory import open_run
        config = config.base()
        config.run_dir = sys.argv[1]
        run = open_run(config, 'lewis.py')
        if not os.fork():  # A worker, which outlives its parent.
            print('locked', flush=True)
            sys.stdin.read()
        os.wait()
        """,
        str(tmp_path),
    )
    assert process.stdout.readline() == 'locked\n'
    with pytest.raises(RunDirectoryError, match='another process is training into'):
        open_run(config_of(tmp_path), 'lewis.py')
    open_run(config_of(tmp_path), 'lewis.py', chief=False)
    open_run(config_of(tmp_path), 'lewis.py', train=False)
    process.kill()
    process.wait()
    open_run(config_of(tmp_path), 'lewis.py').close()
    process.stdin.close()
    process.stdout.close()


# --- writers --------------------------------------------------------------------------------------


def events_of(directory: Path) -> list[tuple[int, str, float]]:
    """(step, tag, value) of a directory's event files, after purging as TensorBoard does."""
    events: list[tuple[int, str, float]] = []
    for path in sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content, position = path.read_bytes(), 0
        while position < len(content):
            (length,) = struct.unpack_from('<Q', content, position)
            event = event_pb2.Event.FromString(content[position + 12 : position + 12 + length])
            position += length + 16
            if event.session_log.status == event_pb2.SessionLog.START:
                events = [old for old in events if old[0] < event.step]
            events += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return events


def test_scalars_are_written_as_lines_and_events(tmp_path):
    writer = writers.Writer(tmp_path / 'metrics.jsonl', tmp_path / 'events')
    writer.write_scalars(1, {'loss': np.float32(0.5), 'pairs': jnp.asarray([1.0, 2.0])})
    writer.write(np.int64(2), 'valid', {'loss': float('nan'), 'bits': jnp.ones((), jnp.bfloat16)})
    lines = writers.read_lines(tmp_path / 'metrics.jsonl')  # Before it is closed.
    for line in lines:
        assert line.pop('wall_s') >= 0
    assert lines == [
        {'step': 1, 'split': 'train', 'loss': 0.5, 'pairs': [1.0, 2.0]},
        {'step': 2, 'split': 'valid', 'loss': None, 'bits': 1.0},
    ]
    writer.close()
    assert events_of(tmp_path / 'events') == [
        (1, 'train/loss', 0.5),
        (1, 'train/pairs', 1.5),
        (2, 'valid/bits', 1.0),
    ]


def test_a_resumed_run_goes_on_after_its_checkpoint(tmp_path):
    metrics, events = tmp_path / 'metrics.jsonl', tmp_path / 'events'
    writer = writers.Writer(metrics, events)
    for step in (1, 2, 3):
        writer.write(step, 'train', {'x': step})
    writer.close()
    lines = [
        json.loads(line) | {'wall_s': 1000.0 * i}
        for i, line in enumerate(metrics.read_text().splitlines())
    ]
    torn = ''.join(json.dumps(line) + '\n' for line in lines) + '{"step": 4, "spl'
    metrics.write_text(torn)

    writer = writers.Writer(metrics, events)
    assert [line['step'] for line in writers.read_lines(metrics)] == [1, 2, 3]
    writer.cut_back(2)
    writer.write(3, 'train', {'x': 30.0})
    writer.write(4, 'train', {'x': 40.0})
    writer.close()
    lines = writers.read_lines(metrics)
    assert [(line['step'], line['x']) for line in lines] == [(1, 1), (2, 2), (3, 30), (4, 40)]
    assert 1000 <= lines[2]['wall_s'] <= lines[3]['wall_s'] < 1100
    assert [(step, value) for step, _, value in events_of(events)] == [
        (1, 1), (2, 2), (3, 30), (4, 40),
    ]  # fmt: skip


def test_what_is_written_at_the_end_is_written_once(tmp_path):
    metrics = tmp_path / 'metrics.jsonl'
    writer = writers.Writer(metrics, tmp_path)
    for split in ('train', 'valid', 'residents', 'test'):
        writer.write(1, split, {})
    writer.cut_back(1)
    writer.close()
    kept = [line['split'] for line in writers.read_lines(metrics)]
    assert kept == ['train', 'valid', 'residents']


def test_tensorboard_shows_what_is_finite_and_no_midpoints(tmp_path):
    writer = writers.Writer(tmp_path / 'metrics.jsonl', tmp_path / 'events')
    values = {'a': [[1.0, np.nan], [np.nan, 3.0]], 'a_ci95': [0.0, 1.0], 'none': [np.nan]}
    writer.write(1, 'train', values)
    writer.close()
    assert [value for _, _, value in events_of(tmp_path / 'events')] == [2.0]


def test_a_table_of_splits_of_different_sizes(capsys):
    show({'step': 3, 'valid': {'accuracy@20': 0.5}, 'test': {'accuracy@10': 0.25, 'x': [1.0]}})
    printed = capsys.readouterr().out.split()
    assert printed[2:] == [
        'valid',
        'test',
        'accuracy@20',
        '0.500',
        '–',
        'accuracy@10',
        '–',
        '0.250',
    ]


def test_a_half_line_does_not_spoil_the_next_one(tmp_path):
    metrics = tmp_path / 'metrics.jsonl'
    metrics.write_text('{"step": 1, "split": "train", "wall_s": 0.1}\n{"step": 2')
    assert [line['step'] for line in writers.read_lines(metrics)] == [1]
    writer = writers.Writer(metrics, tmp_path)
    writer.write(2, 'train', {})
    writer.close()
    assert [json.loads(line)['step'] for line in metrics.read_text().splitlines()] == [1, 2]


def test_threads_write_whole_lines(tmp_path, request):
    request.addfinalizer(functools.partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    writer = writers.Writer(tmp_path / 'metrics.jsonl', tmp_path / 'events')

    def write(thread: int) -> None:
        for step in range(50):
            writer.write(step, f'thread{thread}', {'x': np.arange(200.0)})

    threads = [threading.Thread(target=write, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    lines = writers.read_lines(tmp_path / 'metrics.jsonl')
    assert len(lines) == 200 and all(len(line['x']) == 200 for line in lines)
    assert len(events_of(tmp_path / 'events')) == 200


# --- progress -------------------------------------------------------------------------------------


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr('time.monotonic', lambda: self.now)


def test_progress_is_a_line_now_and_then(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    with Progress(400, 100, updates_per_step=10) as progress:
        for step in range(110, 301, 10):
            clock.now += 1.0
            progress.update(step, {'accuracy': jnp.asarray([0.25, 0.75])})
        progress.print('valid: [1]')
        clock.now += 1.0
        progress.update(400, {})
    assert capsys.readouterr().out.splitlines() == [
        'training  200/400  100.0 updates/s  accuracy 0.500  0:00:20 left',
        'training  300/400  100.0 updates/s  accuracy 0.500  0:00:10 left',
        'valid: [1]',
        'training  400/400  355.1 updates/s  0:00:00 left',
    ]


def test_progress_does_not_wait_for_the_device_in_between(monkeypatch):
    class Unready:
        def __array__(self, *_, **__):
            raise AssertionError('looked at')

    clock = Clock(monkeypatch)
    progress = Progress(10)
    progress.update(1, {'accuracy': Unready()})
    clock.now += 60.0
    with pytest.raises(AssertionError, match='looked at'):
        progress.update(2, {'accuracy': Unready()})


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr(sys, 'stdout', terminal)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '120')
    clock = Clock(monkeypatch)
    with Progress(10, description='listening') as progress:
        clock.now += 1.0
        progress.update(5, {'accuracy': 0.5})
        progress.print('valid: [bold]')
    plain = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', terminal.getvalue())
    assert re.search(r'listening [━╸╺]+ 5/10  5\.0 updates/s  accuracy 0\.500  0:00:01 left', plain)
    assert 'valid: [bold]' in plain


# --- preemption -----------------------------------------------------------------------------------


def test_signals_ask_and_a_second_interrupt_insists():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with Preemption() as preemption:
        assert preemption.requested is None
        signal.raise_signal(signal.SIGTERM)
        assert preemption.requested == 'SIGTERM'
        signal.raise_signal(signal.SIGINT)
        assert preemption.requested == 'SIGINT'
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert after == before


# --- the command line -----------------------------------------------------------------------------

RECIPE = """
from emcom_jax import config
def get_config(variant=''):
    return config.recipe(variant, {'': {}, 'debug': {'training_steps': 3}})
"""

MAIN = """
from absl import app, logging
from emcom_jax.runtime import flags

def main(argv):
    config = flags.CONFIG.value
    print(argv[1:], flags.config_path(), flags.MODE.value, config.training_steps, config.is_locked)
    print(config.population.num_speakers, config.loss.listener.num_distractors)
    print(config.evaluation.num_candidates, config.evaluation.metrics, config.population.pairs)
    print(logging.get_verbosity())

app.run(main, flags_parser=flags.parse)
"""


@pytest.fixture(scope='module')
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('configs') / 'walk.py'
    path.write_text(RECIPE)
    return path


def command(recipe: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', MAIN, *arguments],
        cwd=recipe.parent,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_flags_become_a_locked_config(recipe):
    assert command(
        recipe,
        '--config=walk.py:debug',
        '--config.population.num_speakers=4',
        '--config.loss.listener.num_distractors',
        '5',
        '--config.evaluation.num_candidates=4,8',
        '--config.evaluation.metrics=accuracy,voting',
        '--config.population.pairs=((0,1),(1,0))',
        '--jaxline_mode=eval_test',
    ) == (
        0,
        '[] walk.py:debug eval_test 3 True\n4 5\n'
        + "(4, 8) ('accuracy', 'voting') ((0, 1), (1, 0))\n-3\n",
        '',
    )


W = '--config=walk.py'


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        ([], 'no recipe; give one as --config=configs/lewis.py (--help explains)'),
        (['walk.py'], 'no recipe; give one as --config=configs/lewis.py (--help explains)'),
        (['--config=wlak.py'], 'there is no recipe wlak.py; did you mean walk.py?'),
        (['--config=no/walk.py'], 'there is no recipe no/walk.py'),
        (
            ['--config=walk.py:debag'],
            "walk.py:debag: unknown variant 'debag'; did you mean 'debug'?",
        ),
        (
            ['--config.run_dir=x', W],
            '--config.run_dir=x stands before --config; give --config first',
        ),
        ([W, W], '--config is given twice; give one recipe'),
        (
            [W, '--config.population.num_speaker=2'],
            'unknown config key population.num_speaker; did you mean population.num_speakers?',
        ),
        (
            [W, '--config.num_listeners=2'],
            'unknown config key num_listeners; did you mean population.num_listeners?',
        ),
        (
            [W, "--config.updates={'a': 1}"],
            'config key updates is a group; set its keys, such as updates.generations.every',
        ),
        (
            [W, '--config.population.num_speakers=two'],
            "config key population.num_speakers takes an integer, not 'two'",
        ),
        (
            [W, '--config.updates.imitate.every=2.5'],
            "config key updates.imitate.every takes an integer, not '2.5'",
        ),
        ([W, '--jaxline_mod=train'], 'unknown flag --jaxline_mod; did you mean --jaxline_mode?'),
        ([W, '--jaxline_mode=test'], 'flag --jaxline_mode=test: value should be one of'),
        ([W, 'foo'], 'unexpected argument foo; flags begin with --'),
    ],
)
def test_a_mistake_is_answered_by_a_sentence(recipe, arguments, sentence):
    code, output, errors = command(recipe, *arguments)
    assert (code, output) == (2, '')
    assert errors.startswith(f'error: {sentence}') and errors.count('\n') == 1


def test_help_is_readable(recipe):
    code, output, errors = command(recipe, '--help')
    assert (code, errors) == (0, '') and output == flags.HELP
    assert len(output.splitlines()) < 30 and max(map(len, output.splitlines())) <= 100


def test_jaxline_gets_its_config():
    config = config_of(training_steps=7, random_seed=3, max_checkpoints_to_keep=2)
    jaxline_config = flags.to_jaxline(config)
    base_config.validate_config(jaxline_config)
    assert jaxline_config.experiment_kwargs.config == config
    for key in ('training_steps', 'random_seed', 'max_checkpoints_to_keep', 'interval_type'):
        assert jaxline_config[key] == config[key]
    assert jaxline_config.random_mode_train == 'same_host_same_device'
    assert (jaxline_config.save_checkpoint_interval, jaxline_config.log_async) == (0, False)
