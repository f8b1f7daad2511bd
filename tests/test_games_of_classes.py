"""Games with one image of each class: how batches are drawn, and how candidates are in
evaluation."""

from collections import Counter
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_views import numbered

from emcom_jax import draws
from emcom_jax.data.bank import classes_of, make_bank
from emcom_jax.data.batches import draw
from emcom_jax.evaluation.judging import in_groups
from emcom_jax.games import AXIS
from emcom_jax.types import Split

KEY = jax.random.key(0)
SIZES = np.array([7, 4, 1, 9, 5])  # Of the classes.
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), SIZES))


def bank_of(labels, partners=False):
    split = Split(numbered(len(labels)), {'class': labels.astype(np.int32)})
    return make_bank(split, 'float32', None, 'class' if partners else None, None, 'class')


@cache
def drawn(together=5, steps=24):
    """What speakers and listeners see, as rows [steps, games, together]."""
    bank = bank_of(LABELS, partners=True)
    one = jax.jit(lambda step: draw(bank, KEY, step, 10, 0.0, None, together=together)[:2])
    both = [one(np.int32(step)) for step in range(steps)]
    return tuple(
        np.stack([np.asarray(each[k])[:, 0] for each in both])
        .astype(int)
        .reshape(steps, -1, together)
        for k in (0, 1)
    )


def test_classes_are_gathered():
    found = classes_of(LABELS + 3)  # Of classes that do not occur nothing is made.
    np.testing.assert_array_equal(found.size, SIZES)
    np.testing.assert_array_equal(found.number, LABELS)
    for k, (start, size) in enumerate(zip(found.start, found.size, strict=True)):
        assert set(found.order[start : start + size].tolist()) == set(np.flatnonzero(LABELS == k))


@pytest.mark.parametrize('together', [5, 2])
def test_a_game_has_one_image_of_each_class(together):
    rows, _ = drawn(together)
    for game in rows.reshape(-1, together):
        assert len(set(LABELS[game])) == together
    # Classes are drawn alike, however large they are.
    assert set(Counter(LABELS[rows].ravel()).values()) == {24 * 10 // 5}


def test_both_see_the_same_unless_there_are_partners():
    bank = bank_of(LABELS)

    def alike():
        batch = draw(bank, KEY, np.int32(0), 10, 0.0, None, together=5)
        assert batch.listener_inputs is batch.speaker_inputs
        return batch

    assert jax.eval_shape(alike).speaker_inputs.shape == (10, 1)


def test_the_images_of_a_class_come_in_turn():
    rows, _ = drawn()
    for k, size in enumerate(SIZES):
        order = [row for row in rows.reshape(-1).tolist() if LABELS[row] == k]
        passes = [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
        assert all(set(one) == set(np.flatnonzero(LABELS == k)) for one in passes)
        if size > 3:
            assert len(set(map(tuple, passes))) > 1  # In a new order each time.


def test_the_listener_sees_the_next_of_the_class():
    rows, others = drawn()
    np.testing.assert_array_equal(LABELS[rows], LABELS[others])
    for k, size in enumerate(SIZES):
        mine = LABELS[rows] == k
        said, heard = rows[mine], others[mine]
        assert np.all(said != heard) == (size > 1)
        # Within a pass, what is heard is what is said next.
        for i in range(0, len(said) - size + 1, size):
            assert heard[i : i + size].tolist() == [*said[i + 1 : i + size], said[i]]


def test_games_do_not_depend_on_the_number_of_devices():
    bank = bank_of(LABELS, partners=True)

    @partial(jax.jit, static_argnums=1)
    def of(key, axis):
        return draw(bank, key, 3, 20, 0.1, axis, together=5)

    one = of(KEY, None)
    two = jax.jit(jax.vmap(lambda _: of(KEY, AXIS), axis_name=AXIS))(jnp.arange(2))
    for name in ('speaker_inputs', 'listener_inputs', 'position'):
        ours = getattr(two, name)
        np.testing.assert_allclose(ours.reshape(20, *ours.shape[2:]), getattr(one, name), rtol=1e-5)
    other = of(jax.random.key(1), None)
    assert np.any(other.speaker_inputs != one.speaker_inputs)


def test_ranges_of_any_size_are_permuted():
    sizes = np.repeat([1, 2, 3, 10, 100, 1000], [1, 2, 3, 10, 100, 1000])
    sizes = np.concatenate([sizes, np.full(400, 10)])
    place = np.concatenate([*map(np.arange, (1, 2, 3, 10, 100, 1000)), np.zeros(400, int)])
    keys = jnp.concatenate([jnp.repeat(KEY[None], 1116), jax.random.split(KEY, 400)])
    found = np.asarray(jax.jit(draws.permuted_in)(keys, jnp.asarray(place), jnp.asarray(sizes)))
    for size in (1, 2, 3, 10, 100, 1000):
        assert sorted(found[:1116][sizes[:1116] == size].tolist()) == list(range(size))
    # Of a uniform draw a count is 40, within five standard deviations.
    assert all(10 < count < 70 for count in np.bincount(found[1116:], minlength=10))


@pytest.mark.parametrize('count', [4, 6])
def test_candidates_of_an_evaluation_differ_in_class(count):
    classes = jnp.asarray(np.random.default_rng(1).permutation(48) % 6)

    def mates(rows):
        same = classes[rows][:, None] == classes[rows][None]
        return same.sum(axis=1) - 1, rows, rows[::-1]

    draw_groups = jax.jit(lambda key: in_groups(mates, key, 48, count, classes=classes))
    others = []
    for seed in range(3):
        shared, rows, other = draw_groups(jax.random.key(seed))
        assert not np.any(shared)
        np.testing.assert_array_equal(rows, np.arange(48))
        others.append(np.asarray(other))
    assert np.any(others[0] != others[1])


def test_larger_classes_have_more_turns():
    classes = jnp.asarray(LABELS)

    def mates(rows):
        return (classes[rows][:, None] == classes[rows][None]).sum(axis=1)

    shared = jax.jit(lambda: in_groups(mates, KEY, len(LABELS), 5, classes=classes))()
    # Nine of 26 fall into five or six groups: one or two into each.
    assert np.max(shared) == 2
