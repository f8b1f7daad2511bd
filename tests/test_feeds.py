"""What else agents may be shown: features of another file, and images that are streamed."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from pictures import BATCH, COUNT, SIDE, config_of, source_of

from emcom_jax import data
from emcom_jax.checks import check
from emcom_jax.config import base
from emcom_jax.data import bank as bank_lib
from emcom_jax.data.bank import make_bank, make_feed, standard_of
from emcom_jax.data.batches import draw_all, look_at
from emcom_jax.data.stream import Stream
from emcom_jax.evaluation.setting import Setting
from emcom_jax.experiments.feed import Feed
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


# --- other features -------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    sizes = {'train': 12, 'valid': 5, 'test': 4}
    speakers = {name: rng.standard_normal((n, 3)).astype(np.float32) for name, n in sizes.items()}
    listeners = {
        name: np.concatenate([2 * x, 7 + x], axis=1).astype(np.float16)
        for name, x in speakers.items()
    }
    labels = {f'{name}_class': np.arange(n) % 3 for name, n in sizes.items()}
    np.savez(tmp_path / 'speakers.npz', **speakers, **labels)
    np.savez(tmp_path / 'listeners.npz', **listeners)
    return tmp_path


def load(**keys):
    config = base().data.to_dict() | {'name': 'features'} | {k: str(v) for k, v in keys.items()}
    return data.load(ConfigDict(config))


def test_listeners_see_other_features_of_the_same_rows(files):
    source = load(path=files / 'speakers.npz', listener_path=files / 'listeners.npz')
    for split in source.splits.values():
        assert split.listener_inputs.shape == (len(split.inputs), 6)
        np.testing.assert_allclose(split.listener_inputs[:, :3], 2 * split.inputs, rtol=1e-2)
    train = source.splits['train']
    bank = make_bank(train, 'float32', standard_of(train))
    rows = jnp.array([5, 1, 7])
    batch = look_at(bank, rows, rows, KEY, 0.0)
    for seen, stored in (
        (batch.speaker_inputs, train.inputs),
        (batch.listener_inputs, train.listener_inputs.astype(np.float32)),
    ):
        wanted = (stored - stored.mean(0)) / stored.std(0)
        np.testing.assert_allclose(seen, wanted[np.asarray(rows)], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(batch.labels['class'], [2, 1, 1])


def test_noise_of_both_is_in_units_of_their_own(files):
    source = load(path=files / 'speakers.npz', listener_path=files / 'listeners.npz')
    train = source.splits['train']
    bank, rows = make_bank(train, 'float32'), jnp.arange(12)
    look = jax.jit(jax.vmap(lambda key: look_at(bank, rows, rows, key, 0.5)))
    batch = look(jax.random.split(KEY, 300))
    for seen, stored in (
        (batch.speaker_inputs, train.inputs),
        (batch.listener_inputs, train.listener_inputs.astype(np.float32)),
    ):
        noise = np.asarray(seen) - stored
        np.testing.assert_allclose(
            noise.std((0, 1)), 0.5 * stored.astype(np.float64).std(0), rtol=0.06
        )
    both = np.concatenate([batch.speaker_inputs, batch.listener_inputs], -1).reshape(-1, 12, 9)
    apart = both - both.mean(0)
    correlation = np.corrcoef(apart.reshape(-1, 9).T)
    np.testing.assert_allclose(correlation, np.eye(9), atol=0.08)


def test_one_array_is_split_alike_for_both(tmp_path):
    numbers = np.arange(30, dtype=np.float32)[:, None]
    np.save(tmp_path / 'a.npy', numbers)
    np.save(tmp_path / 'b.npy', np.tile(numbers, 4))
    source = load(path=tmp_path / 'a.npy', listener_path=tmp_path / 'b.npy')
    for split in source.splits.values():
        np.testing.assert_array_equal(split.listener_inputs, np.tile(split.inputs, 4))


def test_other_features_must_be_of_the_same_rows(files, tmp_path):
    def refused(sentence, **arrays):
        np.savez(files / 'other.npz', **arrays)
        with pytest.raises(ValueError, match=sentence):
            load(path=files / 'speakers.npz', listener_path=files / 'other.npz')

    whole = dict(np.load(files / 'listeners.npz'))
    refused(
        "other.npz must have an array 'train' with the 12 rows of .*speakers.npz",
        **whole | {'train': whole['train'][:-1]},
    )
    refused("other.npz has no array 'test'", **{k: whole[k] for k in ('train', 'valid')})
    np.savez(files / 'ood.npz', **dict(np.load(files / 'speakers.npz')), ood=whole['train'])
    with pytest.raises(ValueError, match="'ood' has 6 features and 'train' 3"):
        load(path=files / 'ood.npz', listener_path=files / 'listeners.npz')
    with pytest.raises(FileNotFoundError, match='none.npz was not found'):
        load(path=files / 'speakers.npz', listener_path=files / 'none.npz')
    config = config_of('features', {'data.listener_path': 'x.npz'})
    with pytest.raises(ValueError, match="listener_path='x.npz' is read only with data.name='feat"):
        check(config, source_of('features'), 1)


def test_agents_are_made_for_what_they_see(files):
    source = load(path=files / 'speakers.npz', listener_path=files / 'listeners.npz')
    config = config_of('features', {'data.name': 'features', 'data.listener_path': 'x.npz'})
    shapes = Setting(config, source).shapes()
    assert shapes['speakers'].params['speaker/~/policy']['w'].shape == (1, 3, 5)
    assert shapes['listeners'].params['listener/~_project/project1']['w'].shape == (1, 6, 6)


# --- streams --------------------------------------------------------------------------------------


def setting(**changes):
    config = config_of('shared', {'data.most_bytes': 100} | changes)
    standard = standard_of(SOURCE.splits['train'])
    return SimpleNamespace(config=config, source=SOURCE, standard=standard)


def test_only_what_is_too_large_is_streamed():
    inputs = SOURCE.splits['train'].inputs
    for most, streams in ((inputs.nbytes, False), (inputs.nbytes - 1, True)):
        assert (
            bank_lib.is_streamed(config_of('shared', {'data.most_bytes': most}), SOURCE) == streams
        )
    features = source_of('features')
    assert not bank_lib.is_streamed(config_of('features', {'data.most_bytes': 0}), features)


def test_a_stream_that_was_stopped_goes_on_with_the_same_batches():
    straight, resumed = Feed(setting(), None), Feed(setting(), None)
    assert straight.streams
    banks = [straight.at(step) for step in range(5)]
    again = [resumed.at(step) for step in (3, 4, 0)]
    for ours, theirs in zip(again, (banks[3], banks[4], banks[0]), strict=True):
        for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.any(banks[0].sight.inputs != banks[1].sight.inputs)
    straight.close()
    resumed.close()


def test_a_feed_shows_what_a_bank_shows():
    """Two devices get the parts of one batch in order, as both agents would see them."""
    train = SOURCE.splits['train']
    with Stream(train.inputs, train.labels, BATCH, seed=0) as stream:
        read = next(stream)
    make = make_feed(train, standard_of(train))
    one, two = make(read, 1), make(read, 2)
    assert two.sight.inputs.shape == (2, BATCH // 2, SIDE, SIDE, 3)
    assert two.labels['attributes'].shape == (2, BATCH // 2, 2)
    whole = make_bank(train, 'float32', standard_of(train))
    kwargs = {'batch_size': BATCH, 'noise': 0.1}
    step = jnp.array(3)
    alone = draw_all(jax.tree.map(lambda x: x[0], one), KEY, step, axis_name=None, **kwargs)
    apart = jax.vmap(
        lambda bank: draw_all(bank, KEY, step, axis_name=AXIS, **kwargs), axis_name=AXIS
    )(jax.tree.map(jnp.asarray, two))
    view_key = jax.random.fold_in(jax.random.split(KEY)[1], 3)
    wanted = look_at(whole, jnp.asarray(read['rows']), jnp.arange(BATCH), view_key, 0.1)
    for name in ('speaker_inputs', 'listener_inputs', 'position', 'weight'):
        joined = getattr(apart, name)
        joined = joined.reshape(BATCH, *joined.shape[2:])
        for ours in (joined, getattr(alone, name)):
            np.testing.assert_allclose(ours, getattr(wanted, name), rtol=1e-5, atol=1e-5)
    for name, values in wanted.labels.items():
        np.testing.assert_array_equal(alone.labels[name], values)


def test_a_feed_of_a_bank_shows_it_always(monkeypatch):
    monkeypatch.setitem(data.SOURCES, 'tiny', lambda config: SOURCE)
    setting = Setting(config_of('shared'))
    feed = Feed(setting, setting.bank('train'))
    assert not feed.streams and feed.at(0) is feed.at(9)
    assert feed.at(0).sight.inputs.shape == (jax.local_device_count(), COUNT, SIDE, SIDE, 3)
    feed.replace(bank_by())
    assert feed.at(0).sight.inputs.shape == (jax.local_device_count(), COUNT, 1)
    feed.close()


def test_moments_of_many_images_are_of_a_sample(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (200, 4, 4, 3)).astype(np.uint8)
    monkeypatch.setattr(bank_lib, '_SAMPLE', 50)
    mean, deviation = bank_lib._moments(images)
    chosen = images[np.linspace(0, 199, 50).astype(int)].reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, chosen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, chosen.std(0), rtol=1e-5)
