"""What agents see of a referent, and of which: views, partners, rivals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
import scipy.stats
from pictures import COUNT, SIDE, bank_of, config_of, game_of, source_of

from emcom_jax import data
from emcom_jax.data import bank as bank_lib
from emcom_jax.data.bank import Standard, divide, group_by, make_bank, nearest, standard_of
from emcom_jax.data.batches import draw, look_at, make_augmentation
from emcom_jax.evaluation.judging import Judge, in_groups
from emcom_jax.evaluation.setting import Setting
from emcom_jax.games import AXIS
from emcom_jax.types import Split

KEY = jax.random.key(0)
ROWS = jnp.arange(COUNT)
SOURCE = source_of('shared')
LABELS = SOURCE.splits['train'].labels


def numbered(count=COUNT):
    """Referents that are their own rows."""
    return np.arange(count, dtype=np.float32)[:, None]


def bank_by(label=None, rivals=None, labels=None, inputs=None):
    labels = LABELS if labels is None else labels
    split = Split(numbered() if inputs is None else inputs, labels)
    return make_bank(split, 'float32', None, label, rivals)


# --- views ----------------------------------------------------------------------------------------


def test_the_same_view_is_one_array():
    """So that a trunk sees it once; noise is drawn apart, and then there are two."""
    for sight in ('features', 'shared'):
        bank = bank_of(sight)
        for noise, same in ((0.0, True), (0.1, False)):
            batch = look_at(bank, ROWS, ROWS, KEY, noise)
            assert (batch.speaker_inputs is batch.listener_inputs) == same


def test_augmented_views_are_drawn_apart_and_by_position():
    config = config_of('shared', {'game.views': 'augmented'})
    augmentation = make_augmentation(config.game)
    assert make_augmentation(config_of('shared').game) is None
    bank = bank_of('shared')
    look = jax.jit(partial(look_at, bank, key=KEY, noise=0.0, augmentation=augmentation))
    rows = jnp.array([3, 4, 4])
    batch = look(rows, position=jnp.array([0, 1, 2]))
    assert batch.speaker_inputs.shape == (3, SIDE, SIDE, 3)
    for one, other in (
        (batch.speaker_inputs, batch.listener_inputs),
        (batch.speaker_inputs[1], batch.speaker_inputs[2]),
    ):
        assert np.abs(one - other).max() > 0.1
    # In another place of another batch the example that stands there is shown so.
    again = look(rows[::-1], position=jnp.array([2, 1, 0]))
    np.testing.assert_allclose(again.speaker_inputs[::-1], batch.speaker_inputs, atol=1e-5)
    np.testing.assert_allclose(again.listener_inputs[::-1], batch.listener_inputs, atol=1e-5)


def test_partners_are_augmented_too():
    config = config_of(
        'shared', {'game.views': 'augmented_same_class', 'game.augmentation.blur': 0.0}
    )
    augmentation = make_augmentation(config.game)
    split = SOURCE.splits['train']
    pixels = np.zeros_like(split.inputs) + (9 * ROWS[:, None, None, None]).astype(np.uint8)
    settings = augmentation._replace(jitter_rate=0.0, greyscale=0.0)  # A flat image stays as it is.
    label = bank_lib.partner_label(config.game)
    bank = make_bank(split._replace(inputs=pixels), 'float32', None, label)
    batch = look_at(bank, ROWS, ROWS, KEY, 0.0, settings)
    one, other = (np.asarray(x) for x in (batch.speaker_inputs, batch.listener_inputs))
    np.testing.assert_allclose(one, pixels / 255, atol=1e-5)
    shown = (other[:, 0, 0, 0] * 255 / 9).round().astype(int)
    assert (LABELS['class'][shown] == LABELS['class']).all() and (shown != ROWS).all()
    # Of pictures, each its own view.
    batch = look_at(bank_of('shared'), ROWS, ROWS, KEY, 0.0, augmentation)
    assert np.abs(batch.speaker_inputs - batch.listener_inputs).max() > 0.1


def test_augmentation_is_of_the_config():
    own = {
        f'game.augmentation.{key}': value
        for key, value in {
            'crop': False,
            'flip': 0.0,
            'jitter_rate': 0.0,
            'greyscale': 1.0,
            'blur': 0.0,
        }.items()
    }
    config = config_of('shared', {'game.views': 'augmented'} | own)
    augmentation = make_augmentation(config.game)
    assert augmentation.crop_scale is None and augmentation.greyscale == 1.0
    bank = make_bank(SOURCE.splits['train'], 'float32')
    batch = look_at(bank, ROWS[:2], ROWS[:2], KEY, 0.0, augmentation)
    images = SOURCE.splits['train'].inputs[:2] / 255
    luma = images @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(batch.speaker_inputs[..., 1], luma, atol=1e-5)
    np.testing.assert_allclose(batch.listener_inputs, batch.speaker_inputs, atol=1e-6)


def test_images_are_shown_less_their_mean_over_their_deviation():
    train = SOURCE.splits['train']
    pixels = train.inputs.reshape(-1, 3) / 255
    batch = look_at(make_bank(train, 'float32', standard_of(train)), ROWS, ROWS, KEY, 0.0)
    wanted = (train.inputs / 255 - pixels.mean(0)) / pixels.std(0)
    np.testing.assert_allclose(batch.speaker_inputs, wanted, rtol=1e-4, atol=1e-4)
    known = ((0.5, 0.4, 0.3), (0.2, 0.1, 0.4))
    standard = Standard(tuple(np.array(values, np.float32) for values in known))
    batch = look_at(make_bank(train, 'float32', standard), ROWS, ROWS, KEY, 0.0)
    wanted = (train.inputs / 255 - known[0]) / known[1]
    np.testing.assert_allclose(batch.speaker_inputs, wanted, rtol=1e-4, atol=1e-4)


def test_noise_of_images_is_in_deviations_of_their_channels():
    train = SOURCE.splits['train']
    bank = make_bank(train, 'float32')
    noisy, clean = (look_at(bank, ROWS, ROWS, KEY, noise) for noise in (0.5, 0.0))
    deviation = (train.inputs.reshape(-1, 3) / 255).std(0)
    parts = [x - clean.speaker_inputs for x in (noisy.speaker_inputs, noisy.listener_inputs)]
    for noise in parts:
        found = np.asarray(noise).reshape(-1, 3).std(0)
        np.testing.assert_allclose(found, 0.5 * deviation, rtol=0.05)
    assert abs(np.corrcoef(*(np.ravel(x) for x in parts))[0, 1]) < 0.03


# --- partners -------------------------------------------------------------------------------------


@pytest.mark.parametrize('label', ['object', 'class'])
def test_partners_are_any_other_of_the_same_label(label):
    bank, groups = bank_by(label), LABELS[label]
    keys = jax.random.split(KEY, 600)
    look = jax.jit(jax.vmap(lambda key: look_at(bank, ROWS, ROWS, key, 0.0)))
    batch = look(keys)
    np.testing.assert_array_equal(batch.speaker_inputs[0, :, 0], np.arange(COUNT))
    partners = np.asarray(batch.listener_inputs[..., 0], int)
    assert (groups[partners] == groups).all() and (partners != np.arange(COUNT)).all()
    for row in (0, 13):
        met, counts = np.unique(partners[:, row], return_counts=True)
        others = np.flatnonzero(groups == groups[row])
        assert set(met) == set(others) - {row}
        assert len(met) == 1 or scipy.stats.chisquare(counts).pvalue > 1e-3
    # Each example has its own.
    if label == 'class':
        steps = (partners - np.arange(COUNT)) % COUNT
        assert (steps[:, 0] != steps[:, 1]).mean() > 0.5


def test_who_is_alone_is_its_own_partner():
    labels = {'class': np.array([0, 1, 1, 2, 3, 3, 3])}
    bank = bank_by('class', labels=labels, inputs=numbered(7))
    rows = jnp.arange(7)
    for seed in range(5):
        batch = look_at(bank, rows, rows, jax.random.key(seed), 0.0)
        partners = np.asarray(batch.listener_inputs[:, 0], int)
        assert partners[[0, 3]].tolist() == [0, 3] and partners[1] == 2 and partners[2] == 1
        assert set(partners[4:]) <= {4, 5, 6} and (partners[4:] != [4, 5, 6]).all()


def test_a_setting_makes_the_banks_that_its_views_need(monkeypatch):
    monkeypatch.setitem(data.SOURCES, 'tiny', lambda config: SOURCE)
    pairs = {'same': None, 'augmented': None, 'viewpoint': 'object', 'same_class': 'class'}
    pairs |= {f'augmented_{name}': label for name, label in pairs.items() if label}
    for views, label in pairs.items():
        bank = Setting(config_of('shared', {'game.views': views})).bank('valid')
        assert (bank.partners is None) == (label is None) and bank.rivals is None
        if label:
            wanted = group_by(LABELS[label])
            for ours, theirs in zip(bank.partners, wanted, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    hard = {'game.distractors': 'object', 'game.together': 2}
    bank = Setting(config_of('shared', hard)).bank('valid')
    np.testing.assert_array_equal(bank.rivals.size, np.full(COUNT, 2))


# --- rivals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(('count', 'size'), [(1, 4), (4, 4), (33, 32), (100, 7)])
def test_neighbours_are_the_nearest(count, size, monkeypatch):
    """By SciPy's k-d tree, which is exact; block after block, the last of them not full."""
    monkeypatch.setattr(bank_lib, '_SCORES', 30 * count)
    points = 50 + np.random.default_rng(0).standard_normal((count, 20))
    near = nearest(points, size)
    size = min(size, count)
    expected = scipy.spatial.KDTree(points).query(points, k=size)[1].reshape(count, size)
    np.testing.assert_array_equal(near, expected)


def test_of_points_that_are_the_same_each_is_its_own_nearest():
    near = nearest(np.ones((6, 2), np.float16), 3)
    np.testing.assert_array_equal(near[:, 0], np.arange(6))
    assert all(len(set(row)) == 3 for row in near.tolist())


def test_a_division_is_of_those_near_each_other():
    rng = np.random.default_rng(0)
    corners = np.array([[x, y, z] for x in (0, 9) for y in (0, 9) for z in (0, 9)])
    points = rng.permutation(np.repeat(corners, 4, axis=0) + rng.standard_normal((32, 3)))
    groups = divide(nearest(points, 4))
    assert sorted(np.bincount(groups)) == [4] * 8
    for number in range(8):
        assert len(np.unique(points[groups == number] > 4.5, axis=0)) == 1
    # Nobody is alone: who finds all others taken joins the nearest.
    groups = divide(nearest(rng.standard_normal((101, 5)), 4))
    counts = np.bincount(groups)
    assert counts.min() >= 2 and counts.sum() == 101 and len(counts) > 10


@pytest.mark.parametrize('side', [16, 7, 20])
def test_images_are_neighbours_by_their_colours(side):
    colours = np.random.default_rng(0).permutation(np.repeat([0, 250], 32))
    noise = np.random.default_rng(1).integers(0, 5, (64, side, side, 3))
    images = (colours[:, None, None, None] + noise).astype(np.uint8)
    bank = make_bank(Split(images, {}), 'float32', None, None, 'neighbours')
    rivals = jax.tree.map(np.asarray, bank.rivals)
    assert (rivals.size == 32).all() and (rivals.order[rivals.place] == np.arange(64)).all()
    company = rivals.order[rivals.start[:, None] + np.arange(32)[None]]
    assert (colours[company] == colours[:, None]).all()
    assert len(set(colours[rivals.group == 0])) == len(set(colours[rivals.group == 1])) == 1
    # In a batch, each is with those near it.
    batch = draw(bank, KEY, jnp.array(0), 8, 0.0, None, together=4)
    shown = np.asarray(batch.speaker_inputs)[:, 0, 0, 0].reshape(2, 4) > 0.5
    assert (shown == shown[:, :1]).all()


def test_rivals_come_together_in_training():
    labels = {'class': np.arange(60) % 5}  # Groups of twelve.
    bank = bank_by(rivals='class', labels=labels, inputs=numbered(60))
    drawn = jax.jit(
        lambda step: draw(bank, KEY, step, 24, 0.0, None, together=4).speaker_inputs[:, 0]
    )
    seen = np.stack([drawn(step) for step in range(200)]).astype(int)
    groups = seen.reshape(200, 6, 4)
    assert (labels['class'][groups] == labels['class'][groups[..., :1]]).all()
    assert all(len(set(group)) == 4 for group in groups.reshape(-1, 4))
    # The first of each comes as without rivals, the others are any of the group.
    plain = jax.jit(lambda step: draw(bank, KEY, step, 24, 0.0, None).speaker_inputs[:, 0])
    first = np.stack([plain(step) for step in range(200)]).astype(int)[:, ::4]
    np.testing.assert_array_equal(groups[..., 0], first)
    together = np.zeros((60, 60), int)
    for group in groups.reshape(-1, 4):
        together[np.ix_(group, group)] += 1
    same = labels['class'][:, None] == labels['class']
    assert (together[same] > 0).all() and (together[~same] == 0).all()


def test_small_groups_repeat():
    labels = {'class': np.arange(12) // 2}
    bank = bank_by(rivals='class', labels=labels, inputs=numbered(12))
    batch = draw(bank, KEY, jnp.array(0), 8, 0.0, None, together=4)
    groups = np.asarray(batch.speaker_inputs, int).reshape(2, 4)
    assert (groups // 2 == groups[:, :1] // 2).all()


def test_rivals_do_not_depend_on_the_number_of_devices():
    bank = bank_by('object', 'class')
    one = draw(bank, KEY, jnp.array(2), 8, 0.1, None, together=4)
    two = jax.vmap(
        lambda _: draw(bank, KEY, jnp.array(2), 8, 0.1, AXIS, together=4), axis_name=AXIS
    )(jnp.arange(2))
    for name in ('speaker_inputs', 'listener_inputs', 'position'):
        ours = getattr(two, name)
        np.testing.assert_allclose(ours.reshape(8, *ours.shape[2:]), getattr(one, name), rtol=1e-5)


def judge_of(how):
    game = game_of('features')
    config = config_of(
        'features', {'game.distractors': 'class', 'evaluation.distractors': how}
    ).evaluation
    return Judge(game, config)


def test_hard_distractors_share_the_label_where_they_can():
    bank = bank_by(rivals='class')
    assert judge_of('random').rivals(bank, ROWS) is None
    assert judge_of('hard').rivals(bank_by(), ROWS) is None
    rivals = judge_of('hard').rivals(bank, ROWS)
    np.testing.assert_array_equal(judge_of('hard').rivals(bank, ROWS[::2]), rivals[::2])

    def mates(rows):
        """Of each candidate how many of the others share its class, and which one it is."""
        same = rivals[rows][:, None] == rivals[rows][None]
        return same.sum(axis=1) - 1, rows

    for count in (2, 4):
        for seed in range(3):
            shared, rows = in_groups(mates, jax.random.key(seed), COUNT, count, rivals)
            np.testing.assert_array_equal(rows, np.arange(COUNT))
            assert (np.asarray(shared) == count - 1).all()
    # More candidates than a class has: all of the class are among them.
    shared, _ = in_groups(mates, KEY, COUNT, 8, rivals)
    assert (np.asarray(shared) == 3).all()
    easy, _ = in_groups(mates, KEY, COUNT, 4)
    assert np.mean(easy) < 1.5
    others = [
        in_groups(lambda rows: rows[::-1], jax.random.key(s), COUNT, 4, rivals) for s in (0, 1)
    ]
    assert np.any(others[0] != others[1])
