"""Streams of batches: a step has its batch, wherever, whenever and by whomever it is decoded."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emcom_jax.data import decoding
from emcom_jax.data.stream import Stream

ROOT = Path(__file__).parents[1]
SIZE, BATCH = 22, 6  # Three batches an epoch; four examples are left out.
LABELS = {'class': np.arange(SIZE) // 2, 'attributes': np.arange(2 * SIZE).reshape(SIZE, 2)}


@pytest.fixture(autouse=True)
def said_anew():
    decoding.say.cache_clear()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Pictures of one colour that tells their row."""
    folder = tmp_path_factory.mktemp('pictures')
    for row in range(SIZE):
        Image.new('RGB', (9, 8), (row, row, 9)).save(folder / f'{row:02}.png')
    return folder


def images_of(folder, **keys):
    names = np.array([f'{row:02}.png'.encode() for row in range(SIZE)])
    files = decoding.Files(str(folder), names)
    return decoding.Images(files, np.arange(SIZE), LABELS['class'], 4, **keys)


def stream(inputs, **keys):
    return Stream(inputs, LABELS, **{'batch_size': BATCH, 'seed': 0} | keys)


def rows_of(some, steps):
    return [next(some)['rows'].tolist() for _ in range(steps)]


@pytest.fixture(scope='module')
def order(folder):
    """The rows of nine steps, three epochs."""
    with stream(images_of(folder)) as some:
        return rows_of(some, 9)


def test_a_batch_is_of_its_rows(folder):
    inputs = images_of(folder)
    with stream(inputs) as some:
        for step in range(4):
            assert some.step == step
            batch = next(some)
            assert batch.keys() == {'images', 'rows', 'class', 'attributes'}
            assert batch['images'].shape == (BATCH, 4, 4, 3) and batch['images'].dtype == np.uint8
            assert batch['rows'].dtype == np.int64
            np.testing.assert_array_equal(batch['images'], inputs[batch['rows']])
            np.testing.assert_array_equal(batch['images'][:, 0, 0, 0], batch['rows'])
            for name, values in LABELS.items():
                np.testing.assert_array_equal(batch[name], values[batch['rows']])


def test_epochs_are_new_orders_without_duplicates(order, folder):
    epochs = [sum(order[start : start + 3], []) for start in (0, 3, 6)]
    for epoch in epochs:
        assert len(set(epoch)) == 18 and set(epoch) <= set(range(SIZE))
    assert epochs[0] != epochs[1] != epochs[2] and sorted(epochs[0]) != sorted(epochs[1])
    for seed in (1, 2):  # Of seeds that follow each other, too.
        with stream(images_of(folder), seed=seed) as some:
            got = rows_of(some, 9)
        assert not [rows for rows in got if rows in order]


@pytest.mark.parametrize('count', [2, 3])
def test_processes_share_the_batch_of_one(folder, order, count):
    parts = []
    for index in range(count):
        with stream(images_of(folder), process_index=index, process_count=count) as some:
            parts.append(rows_of(some, 4))
    assert [sum(rows, []) for rows in zip(*parts, strict=True)] == order[:4]


def test_any_step_is_found_at_once(folder, order):
    with stream(images_of(folder)) as some:
        for step in (7, 2, 3, 0, 8):
            some.seek(step)
            assert some.step == step
            assert rows_of(some, 1) == [order[step]] and some.step == step + 1
        some.seek(10**9)
        far = rows_of(some, 2)
        some.seek(10**9 + 1)
        assert rows_of(some, 1) == far[1:]


def test_an_array_is_streamed_alike(folder, order):
    inputs = np.asarray(images_of(folder))
    with stream(inputs, workers=2) as some:
        batch = next(some)
        assert batch['rows'].tolist() == order[0] and not multiprocessing.active_children()
        np.testing.assert_array_equal(batch['images'], inputs[order[0]])


# --- processes that decode ------------------------------------------------------------------------


@pytest.mark.parametrize('workers', [1, 2])
def test_workers_do_the_same_and_end(folder, order, workers):
    inputs = images_of(folder)
    with stream(inputs, workers=workers) as some:
        some.seek(2)
        batches = [next(some) for _ in range(5)]
        assert len(multiprocessing.active_children()) == workers
    assert not multiprocessing.active_children()
    assert [batch['rows'].tolist() for batch in batches] == order[2:7]
    for batch in batches:
        assert type(batch['images']) is np.ndarray  # No memory of the stream that has ended.
        np.testing.assert_array_equal(batch['images'], inputs[batch['rows']])


SCRIPT = """
import multiprocessing, sys
sys.path.insert(0, 'tests')
import test_stream as t
if __name__ == '__main__':
    folder, step, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    some = t.stream(t.images_of(folder), workers=workers)
    some.seek(step)
    print(t.rows_of(some, 2), flush=True)  # One of each worker.
    print([child.pid for child in multiprocessing.active_children()], flush=True)
    while sys.stdin.readline():
        print(t.rows_of(some, 10), flush=True)
    # It ends without closing the stream.
"""


def launch(tmp_path, folder, step, workers):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(step), str(workers)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_another_process_goes_on_where_one_stopped(tmp_path, folder, order):
    process = launch(tmp_path, folder, 4, 2)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0 and not errors, errors
    rows, pids = map(json.loads, output.splitlines())
    assert rows == order[4:6] and len(pids) == 2


def test_workers_end_with_a_killed_parent_and_not_by_what_it_is_told(tmp_path, folder):
    process = launch(tmp_path, folder, 0, 2)
    process.stdout.readline()
    for pid in json.loads(process.stdout.readline()):
        for number in (signal.SIGINT, signal.SIGTERM):  # As sent to the whole group.
            os.kill(pid, number)
    process.stdin.write('\n')
    process.stdin.flush()
    assert len(json.loads(process.stdout.readline())) == 10  # More than were ahead.
    process.kill()
    process.communicate(timeout=100)  # Its output ends when all that hold it have ended.


# --- bad files ------------------------------------------------------------------------------------


@pytest.fixture
def spoilt(folder, tmp_path):
    """The folder with the body of one picture cut off; its row."""
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / '06.png').unlink()
    (tmp_path / '06.png').write_bytes((folder / '06.png').read_bytes()[:-30])
    return tmp_path, 6


@pytest.mark.parametrize('workers', [0, 1])
def test_what_workers_replace_is_said_once_and_counted(spoilt, order, capfd, workers):
    bad, row = spoilt
    inputs = images_of(bad)
    with stream(inputs, workers=workers) as some:
        for step in range(9):
            batch = next(some)
            assert batch['rows'].tolist() == order[step]
            shown = [7 if number == row else number for number in order[step]]
            assert batch['images'][:, 0, 0, 0].tolist() == shown
    assert inputs.replaced == 1
    assert capfd.readouterr().err.count('06.png cannot be decoded; ') == 1


@pytest.mark.parametrize('workers', [0, 1])
def test_errors_arrive_in_a_sentence(spoilt, order, workers):
    bad, row = spoilt
    step = next(step for step, rows in enumerate(order) if row in rows)
    with stream(images_of(bad, refuse=True), workers=workers) as some:
        some.seek(step)
        with pytest.raises(OSError, match=rf'^step {step}: .*06.png cannot be decoded: it is dama'):
            next(some)
        assert not multiprocessing.active_children() and some.step == step
        some.seek(step + 1)
        assert rows_of(some, 1) == [order[step + 1]]


def test_a_killed_worker_is_said(folder):
    with stream(images_of(folder), workers=1) as some:
        next(some)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(OSError, match='ended from outside, most often for want of memory'):
            rows_of(some, 100)
    assert not multiprocessing.active_children()


class Broken:
    def read(self, index):
        raise KeyError('what')

    def name(self, index):
        return 'x'


def test_any_other_error_is_named(folder):
    inputs = decoding.Images(Broken(), np.arange(SIZE), LABELS['class'], 4)
    with stream(inputs) as some:
        with pytest.raises(OSError, match=r"^step 0: the images .* KeyError: 'what'$"):
            next(some)


@pytest.mark.parametrize(
    ('keys', 'sentence'),
    [
        ({'batch_size': 23}, 'data.batch_size=23 must be from 1 to 22'),
        ({'batch_size': 0}, 'data.batch_size=0 must be from 1'),
        ({'process_count': 4}, 'data.batch_size=6 must be a multiple of the 4 processes'),
        ({'workers': -1}, 'data.workers=-1 must not be negative'),
    ],
)
def test_wrong_arguments_are_refused(folder, keys, sentence):
    with pytest.raises(ValueError, match=sentence):
        stream(images_of(folder), **keys)
    with stream(images_of(folder)) as some:
        with pytest.raises(ValueError, match='a step must not be negative'):
            some.seek(-1)
