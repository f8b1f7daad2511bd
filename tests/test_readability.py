"""Readability of drawings: of pictures whose every line is known."""

import numpy as np
import pytest
import scipy.spatial
from sklearn.metrics import balanced_accuracy_score

from emcom_datasets import shapes
from emcom_datasets.shapes_drawing import render
from emcom_jax.metrics.readability import contour_distance, contour_excess, decoded, make_reader

SIDE = 16
CONFIG = shapes.ShapesConfig(num_images=384)


def line(column, first=0, last=SIDE):
    """A picture with one upright line of one pixel."""
    picture = np.ones((SIDE, SIDE))
    picture[first:last, column] = 0
    return picture


def outlines(split, count, width=0.05):
    rows = np.arange(count)
    drawn = shapes.outlines(CONFIG, split, rows, width) / 255
    return drawn, np.array([shapes.class_of(split, row // 2) for row in rows])


# --- outlines of what is drawn --------------------------------------------------------------------


def test_outlines_lie_where_the_lines_of_the_scene_do():
    large = shapes.ShapesConfig(side=128)
    drawn = shapes.outlines(large, 'train', np.arange(0, 16, 2), 0.018)
    assert drawn.shape == (8, 128, 128)
    for row, outline in enumerate(drawn):
        scene = render(*shapes.scene(large, 'train', 2 * row), 128).astype(int)
        dark = (abs(scene - (35, 35, 45)) <= 2).all(axis=-1)  # As lines are, and some parts.
        assert dark[outline == 0].mean() > 0.95 and (outline == 0).sum() > 200
        assert dark[outline == 255].mean() < 0.3


def test_scenes_are_those_of_the_dataset():
    thing, view = shapes.scene(CONFIG, 'test', 7)
    assert thing.kind == shapes.class_of('test', 3)
    again, other = shapes.scene(CONFIG, 'test', 6)  # The same object, seen from elsewhere.
    assert again == thing and other.clutter != view.clutter


def test_wider_lines_have_more_ink():
    narrow, wide = (outlines('train', 24, width)[0].mean(axis=(1, 2)) for width in (0.02, 0.06))
    assert (wide < narrow).all() and (narrow > 0.6).all()


# --- reading --------------------------------------------------------------------------------------


def test_a_reader_of_outlines_reads_outlines_and_no_noise():
    known, labels = outlines('train', 384)
    read = make_reader(known, labels)
    others, wanted = outlines('test', 48)
    assert np.mean(read(others) == wanted) > 0.5  # By chance 1 / 24.
    mirrored = others[:, :, ::-1]
    assert np.mean(read(mirrored) == wanted) > 0.4
    noise = np.random.default_rng(0).uniform(size=others.shape)
    assert np.mean(read(noise) == wanted) < 0.2
    np.testing.assert_array_equal(read(others[5:7]), read(others)[5:7])


# --- where lines are ------------------------------------------------------------------------------


def test_distance_is_that_between_lines():
    one, other = np.stack([line(3), line(3), line(3)]), np.stack([line(3), line(7), line(4, 0, 8)])
    found = contour_distance(one, other)
    assert found[0] == 0 and found[1] == pytest.approx(4 / SIDE)
    np.testing.assert_allclose(contour_distance(other, one), found)
    # Of half a line beside a whole one; by the nearest points, from SciPy's k-d tree.
    points = [np.argwhere(picture < 0.5) for picture in (one[2], other[2])]
    ways = [scipy.spatial.KDTree(a).query(b)[0].mean() for a, b in (points, points[::-1])]
    assert found[2] == pytest.approx(np.mean(ways) / SIDE)


def test_faint_ink_counts_as_much_as_it_is():
    smudge = line(3)
    smudge[:, 11] = 0.75  # No line, but a quarter of the ink.
    found = contour_distance(smudge[None], line(3)[None])
    assert found[0] == pytest.approx(0.25 * 8 / 1.25 / 2 / SIDE)


def test_nothing_is_nowhere():
    blank = np.ones((1, SIDE, SIDE))
    assert np.isnan(contour_distance(blank, line(3)[None])).all()
    assert np.isnan(contour_distance(line(3)[None], blank)).all()


def test_own_contours_are_nearer_than_those_of_the_class_if_the_thing_itself_is_drawn():
    columns = np.array([2, 4, 2, 4, 10, 12, 10, 12])
    labels = np.repeat([0, 1], 4)
    shown = np.stack([line(column) for column in columns])
    found = contour_excess(shown, shown, labels) * SIDE
    assert set(found) <= {0.0, -2.0} and found.min() < 0
    assert (contour_excess(shown, shown, labels, seed=1) * SIDE != found).any()
    # A picture of the class as such, and one of another, by which the class can be told, too.
    typical = np.stack([line(3 + 8 * label) for label in labels])
    np.testing.assert_allclose(contour_excess(typical, shown, labels), 0, atol=1e-12)
    code = typical[::-1]
    means = [contour_excess(code, shown, labels, seed).mean() * SIDE for seed in range(100)]
    assert abs(np.mean(means)) < 3 * np.std(means) / 10 < 0.3
    alone = contour_excess(shown[3:6], shown[3:6], labels[3:6])
    assert np.isnan(alone[0]) and not np.isnan(alone[1:]).any()


# --- what can be told -----------------------------------------------------------------------------


def test_what_is_drawn_can_be_decoded():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, 90)
    drawings = np.stack([line(4 * value + 1) for value in values])
    drawings = np.clip(drawings + 0.1 * rng.standard_normal(drawings.shape), 0, 1)
    half = slice(0, 45), slice(45, 90)
    known, others = ((drawings[rows], values[rows]) for rows in half)
    assert decoded(*known, *others) == 1
    assert abs(decoded(*known, others[0], rng.permutation(others[1]))) < 0.25
    assert np.isnan(decoded(known[0], np.zeros(45, int), *others))


def test_decoding_is_scored_as_by_scikit_learn():
    """Rare values count as much as frequent ones; a value that was never seen does not count."""
    rng = np.random.default_rng(0)
    values = np.repeat([0, 1], [60, 6])
    drawings = np.stack([line(4 + 6 * value) for value in values])
    told = values.copy()
    told[[3, 61, 62]] ^= 1  # What the drawings show.
    shown = np.stack([line(4 + 6 * value) for value in told])
    score = balanced_accuracy_score(values, told, adjusted=True)
    noisy = np.clip(drawings + 0.05 * rng.standard_normal(drawings.shape), 0, 1)
    assert decoded(noisy, values, shown, values) == pytest.approx(score)
    more = (np.concatenate([shown, shown[:1]]), np.append(values, 7))
    assert decoded(noisy, values, *more) == pytest.approx(score)
