"""Pictures of sketches: what is shown is what was drawn and guessed."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from conftest import make_record
from PIL import Image

from emcom_jax.agents.sketching import POINTS
from emcom_jax.metrics import records
from emcom_jax.report import sketches
from emcom_jax.report.sketches import Style

LINE = Style('line', 0.05)
SIDE = sketches._TILE + 2 * round(sketches._GAP * sketches._TILE / 2)


def games_of(count=3, candidates=4):
    """Games among images of one colour each."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (candidates + count, 1, 1, 3)).astype(np.uint8)
    return {
        'rows': np.arange(count, dtype=np.int32),
        'images': np.broadcast_to(colours, (candidates + count, 16, 16, 3)).copy(),
        'shown': candidates + np.arange(count, dtype=np.int32),
        'candidates': np.tile(np.arange(candidates, dtype=np.int32), (count, 1)),
        'target': np.arange(count, dtype=np.int32),
        'picked': np.zeros((2, 2, count), np.int32),
    }


def drawn(count=3, values=4):
    return np.random.default_rng(1).uniform(-1, 1, (count, 5, values)).astype(np.float32)


def middle(picture, row, column):
    return picture[row * SIDE + SIDE // 2, column * SIDE + SIDE // 2].tolist()


def frame(picture, row, column):
    margin = round(sketches._GAP * sketches._TILE / 2) - 1
    return tuple(picture[row * SIDE + SIDE // 2, column * SIDE + margin].tolist())


def test_a_grid_shows_images_candidates_and_guesses():
    games = games_of()
    picked = np.array([0, 2, 2])
    grid = sketches.mosaic(games, drawn(), picked, LINE)
    assert grid.shape == (3 * SIDE, 6 * SIDE, 3)
    for n in range(3):
        assert middle(grid, n, 0) == games['images'][games['shown'][n], 0, 0].tolist()
        for k in range(4):
            assert middle(grid, n, 2 + k) == games['images'][k, 0, 0].tolist()
            right = n == picked[n]
            wanted = (sketches.RIGHT if right else sketches.WRONG) if k == picked[n] else (255,) * 3
            if k == n != picked[n]:
                wanted = sketches.TARGET
            assert frame(grid, n, 2 + k) == wanted


def test_of_many_candidates_the_guess_and_the_target_are_shown():
    games = games_of(candidates=12)
    grid = sketches.mosaic(games, drawn(), np.array([0, 5, 2]), LINE)
    assert grid.shape[1] == 4 * SIDE
    assert middle(grid, 1, 2) == games['images'][5, 0, 0].tolist()
    assert middle(grid, 1, 3) == games['images'][1, 0, 0].tolist()
    assert middle(grid, 0, 3) == [255] * 3  # A right guess stands alone.


def test_a_sketch_is_black_where_its_strokes_are():
    cross = np.array([[[-1, -1, 1, 1], [1, -1, -1, 1]]], np.float32)
    (canvas,) = sketches.canvases(cross, Style('line', 0.005), (17, 17))
    assert canvas[8, 8] < 0.01 and canvas[0, 0] < 0.01 and canvas[0, 8] > 0.99
    gated = np.concatenate([cross, np.array([[[1], [0]]], np.float32)], axis=-1)
    (canvas,) = sketches.canvases(gated, Style('line', 0.005), (17, 17))
    assert canvas[4, 4] < 0.01 and canvas[4, 12] > 0.99


def test_a_time_lapse_shows_steps_in_order():
    by_step = {step: drawn() * (step > 0) for step in range(0, 200, 10)}
    picture, steps = sketches.lapse(games_of(), by_step, LINE)
    assert len(steps) == sketches.STEPS and steps == sorted(steps)
    assert steps[0] == 0 and steps[-1] == 190
    assert picture.shape == (3 * SIDE, (1 + sketches.STEPS) * SIDE, 3)


@pytest.mark.parametrize('kind', POINTS)
def test_vectors_hold_the_control_points(kind):
    rng = np.random.default_rng(0)
    strokes = rng.uniform(-1, 1, (3, POINTS[kind], 2)).astype(np.float32)
    text = sketches.to_svg(strokes, np.array([1.0, 0.0, 0.5]), Style(kind, 0.04))
    root = ElementTree.fromstring(text)
    space = '{http://www.w3.org/2000/svg}'
    (group,) = root.findall(f'{space}g')
    # Half the ink is where d2 = sigma2 ln 2.
    np.testing.assert_allclose(float(group.get('stroke-width')), 0.4 * np.log(2) ** 0.5, rtol=1e-3)
    paths = group.findall(f'{space}path')
    assert [float(path.get('stroke-opacity')) for path in paths] == [1.0, 0.5]
    for path, points in zip(paths, strokes[[0, 2]], strict=True):
        data = path.get('d')
        found = np.array([float(x) for x in re.findall(r'-?\d+\.\d+', data)]).reshape(-1, 2)
        if kind != 'catmull_rom':  # x is the column, y the row.
            np.testing.assert_allclose(found, points[:, ::-1], atol=1e-4)
            assert set(re.findall('[A-Z]', data)) == {'M', {2: 'L', 3: 'Q', 4: 'C'}[len(points)]}
        else:  # Only between the second and the third.
            np.testing.assert_allclose(found[[0, -1]], points[1:3, ::-1], atol=1e-3)


def test_games_are_kept_in_records(tmp_path):
    record = make_record(kind='drawings')._replace(games=games_of())
    records.save(record, tmp_path / 'valid.npz')
    loaded = records.load(tmp_path / 'valid.npz')
    assert loaded.games.keys() == record.games.keys()
    for name, values in record.games.items():
        np.testing.assert_array_equal(loaded.games[name], values)
    assert records.sample(record, 5).games == {}


def test_all_validations_are_written(tmp_path):
    games = games_of()
    by_step = {step: (drawn()[None], games['picked'][:1]) for step in (0, 20)}
    folder = tmp_path / 'sketches'
    folder.mkdir()
    for step, (messages, picked) in by_step.items():
        np.savez(folder / f'{step}.npz', messages=messages, picked=picked)
    found = sketches.load(folder)
    assert list(found) == [0, 20]
    sketches.write(tmp_path / 'pictures', games, found, LINE)
    names = {path.name for path in (tmp_path / 'pictures').iterdir()}
    assert names == {'sketches_0.png', 'sketches_20.png', *(f'sketch_{n}.svg' for n in range(3))}
    with Image.open(tmp_path / 'pictures' / 'sketches_0.png') as picture:
        assert picture.size == (6 * SIDE, 3 * SIDE)
    figure = sketches.figure(
        sketches.mosaic(games, drawn(), games['picked'][0, 0], LINE), ['image']
    )
    assert figure.axes
