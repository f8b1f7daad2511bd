"""Data sources: what is loaded is what was stored, and a wrong file is refused in one sentence."""

import fcntl
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import threading
import zipfile

import ml_collections
import numpy as np
import pytest

import emcom_datasets
from emcom_jax import data
from emcom_jax.config import base
from emcom_jax.data import archives, folders

GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'tfds'
COUNTS = {
    'byol_imagenet2012': {'train': 8, 'valid': 4, 'test': 4, 'test_official': 3},
    'byol_celeb_a2': {'train': 6, 'valid': 3, 'test': 3, 'test_official': 3},
}


def load(name, path=None, **keys):
    config = base().data.to_dict() | {'name': name, 'path': path and str(path)} | keys
    return data.load(ml_collections.ConfigDict(config).lock())


def test_unknown_source_names_the_nearest():
    with pytest.raises(ValueError, match="'digit'.*did you mean 'digits'.*concepts"):
        load('digit')


def test_default_folder_is_that_of_the_datasets(tmp_path, monkeypatch):
    monkeypatch.setattr(emcom_datasets, 'DATA_FOLDER', tmp_path)
    load('concepts', None, num_attributes=2, num_values=4, held_out=0.3, seed=0)
    assert (tmp_path / 'concepts' / '2x4-held_out0.3-seed0' / '1.0.0').is_dir()


# --- digits ---------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def digits_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('digits')
    load('digits', folder)
    return folder


def test_digits_are_those_of_scikit_learn_split_without_overlap(digits_folder):
    import sklearn.datasets

    from emcom_datasets import digits

    source = load('digits', digits_folder)
    builder = digits.Digits(data_dir=digits_folder)
    original = sklearn.datasets.load_digits()
    indices = []
    for name, split in source.splits.items():
        index = np.array([int(row['index']) for row in builder.as_data_source(name)])
        np.testing.assert_array_equal(split.inputs, (original.data[index] / 16).astype(np.float32))
        np.testing.assert_array_equal(split.labels['class'], original.target[index])
        assert split.inputs.dtype == np.float32 and split.labels['class'].dtype == np.int32
        assert 0 <= split.inputs.min() and split.inputs.max() == 1
        indices.append(index)
    np.testing.assert_array_equal(np.sort(np.concatenate(indices)), np.arange(1797))
    assert source.num_values == {'class': 10} and source.image_shape == (8, 8)
    shares = {'train': 0.8, 'valid': 0.1, 'test': 0.1}
    for name, share in shares.items():
        counts = np.bincount(source.splits[name].labels['class'])
        assert np.abs(counts - share * np.bincount(original.target)).max() <= 1, name


def test_preparation_shows_one_line_and_a_bar_and_only_once(tmp_path, capfd, caplog):
    load('digits', tmp_path)
    out, err = capfd.readouterr()
    assert out == '' and 'Generating' not in err and not caplog.records
    assert err.startswith(f'preparing digits in {tmp_path}') and 'digits:   0%' in err
    load('digits', tmp_path)
    assert capfd.readouterr() == ('', '')


def test_interrupted_preparation_leaves_nothing_that_loads(tmp_path, monkeypatch):
    from emcom_datasets import digits

    generate = digits.Digits._generate_examples

    def interrupted(self, images, labels, indices):
        yield from generate(self, images, labels, indices[:3])
        if len(indices) < 1000:  # In the second split.
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(digits.Digits, '_generate_examples', interrupted)
        with pytest.raises(KeyboardInterrupt):
            load('digits', tmp_path)
    assert len(load('digits', tmp_path).splits['train'].inputs) == 1439


def test_a_dataset_prepared_meanwhile_is_not_prepared_again(tmp_path, monkeypatch, capfd):
    exclusive = folders.exclusive

    def overtaken(*args):
        monkeypatch.setattr(folders, 'exclusive', exclusive)
        load('digits', tmp_path)  # As another process would.
        return exclusive(*args)

    monkeypatch.setattr(folders, 'exclusive', overtaken)
    assert len(load('digits', tmp_path).splits['train'].inputs) == 1439
    assert capfd.readouterr().err.count('preparing digits') == 1


def test_only_one_prepares_at_a_time(tmp_path, monkeypatch, capsys):
    flock, waiting, order = fcntl.flock, threading.Event(), []

    def observed(file, operation):
        if operation == fcntl.LOCK_EX:  # It is going to block.
            waiting.set()
        flock(file, operation)

    def second():
        with folders.exclusive(tmp_path, 'x'):
            order.append('second')

    monkeypatch.setattr(fcntl, 'flock', observed)
    thread = threading.Thread(target=second)
    with folders.exclusive(tmp_path, 'x'):
        thread.start()
        assert waiting.wait(30)
        order.append('first')
    thread.join()
    assert order == ['first', 'second']
    assert 'waiting for another process that prepares x' in capsys.readouterr().err


def test_damaged_and_unwritable_folders_are_named(digits_folder, tmp_path):
    for file in ('digits-test.array_record-00000-of-00001', 'dataset_info.json'):
        shutil.copytree(digits_folder, tmp_path / file)
        (tmp_path / file / 'digits/1.0.0' / file).unlink()
        with pytest.raises(ValueError, match='digits/1.0.0 is damaged; delete that folder'):
            load('digits', tmp_path / file)
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='digits cannot be prepared in .*file.*--config.data.path'):
        load('digits', tmp_path / 'file')


# --- concepts -------------------------------------------------------------------------------------

WORLD = {'num_attributes': 3, 'num_values': 5, 'held_out': 0.3, 'seed': 1}


def test_concepts_are_one_hot_and_as_split(tmp_path):
    from emcom_datasets import concepts

    source = load('concepts', tmp_path, **WORLD)
    expected = concepts.split_combinations(**WORLD)
    assert list(source.splits) == ['train', 'valid', 'test', 'ood']
    assert source.num_values == {'attributes': 5}
    for name, split in source.splits.items():
        np.testing.assert_array_equal(split.labels['attributes'], expected[name])
        assert split.inputs.dtype == np.float32 and split.labels['attributes'].dtype == np.int32
        np.testing.assert_array_equal(
            split.inputs.reshape(-1, 3, 5).argmax(-1), split.labels['attributes']
        )
        np.testing.assert_array_equal(split.inputs.sum(-1), 3)


def test_features_of_concepts_add_a_vector_for_each_value(tmp_path):
    world = WORLD | {'num_features': 4000}
    source = load('concepts', tmp_path, **world)
    assert source.splits['test'].inputs.dtype == np.float32

    def squared_distances(split):
        inputs, values = split.inputs[:20], split.labels['attributes'][:20]
        apart = np.square(inputs[:, None] - inputs[None]).mean(-1)
        return apart, (values[:, None] != values[None]).mean(-1)

    # Independent vectors: 2 between two that share no value, 0 between two that share all.
    apart, differing = squared_distances(source.splits['train'])
    np.testing.assert_allclose(apart, 2 * differing, atol=0.15)
    again = load('concepts', tmp_path, **world)
    noisy = load('concepts', tmp_path, **world, feature_noise=0.5)
    for name, split in source.splits.items():
        np.testing.assert_array_equal(split.inputs, again.splits[name].inputs)
        noise = noisy.splits[name].inputs - split.inputs
        assert abs(noise.std() - 0.5) < 0.01 and abs(noise.mean()) < 0.02
        # Each example, and each split, has noise of its own.
        np.testing.assert_allclose(np.corrcoef(noise[:4]), np.eye(4), atol=0.1)
    first = [
        split.inputs[0] - source.splits[name].inputs[0] for name, split in noisy.splits.items()
    ]
    np.testing.assert_allclose(np.corrcoef(first), np.eye(4), atol=0.1)


@pytest.mark.parametrize(
    'attributes, values, held_out', [(2, 5, 0.3), (3, 2, 0.3), (4, 10, 0.2), (3, 7, 0.6)]
)
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_concepts_splits_hold_their_promises(attributes, values, held_out, seed):
    from emcom_datasets import concepts

    splits = concepts.split_combinations(attributes, values, held_out, seed)
    rows = np.concatenate(list(splits.values()))
    assert len(rows) == values**attributes == len(np.unique(rows, axis=0))  # Disjoint, complete.
    rest = len(rows) - len(splits['ood'])
    assert abs(len(splits['valid']) + len(splits['test']) - held_out * rest) <= 0.5
    assert 0 <= len(splits['test']) - len(splits['valid']) <= 1
    for column in splits['train'].T:  # Every single value occurs in train.
        assert len(np.unique(column)) == values

    def pairs(*names):
        return {(a, b) for name in names for a, b in splits[name][:, :2].tolist()}

    # ood is exactly the combinations of a tenth of the pairs, which occur nowhere else.
    novel = pairs('ood')
    assert len(novel) == max(1, round(values**2 / 10))
    assert not novel & pairs('train', 'valid', 'test')
    assert len(splits['ood']) == len(novel) * values ** (attributes - 2)
    # Balanced: no value has two novel pairs more than another.
    for side in (0, 1):
        counts = np.bincount([pair[side] for pair in novel], minlength=values)
        assert counts.max() - counts.min() <= 1


def test_concepts_depend_on_the_seed_and_on_nothing_else():
    from emcom_datasets import concepts

    one, same = concepts.split_combinations(**WORLD), concepts.split_combinations(**WORLD)
    other = concepts.split_combinations(**WORLD | {'seed': 2})
    for name in one:
        np.testing.assert_array_equal(one[name], same[name])
        assert one[name].shape != other[name].shape or (one[name] != other[name]).any()


@pytest.mark.parametrize(
    'change, sentence',
    [
        ({'num_attributes': 1}, 'data.num_attributes=1, .* at least 2 of each'),
        ({'num_attributes': 9}, 'more than 1,000,000 combinations: too many'),
        ({'held_out': 1.0}, 'data.held_out=1.0 must be a share'),
        ({'held_out': 0.99}, 'leaves 1 combinations for train'),
        ({'held_out': 0.001}, 'and 0 for valid and test'),
        ({'num_features': 0}, 'data.num_features=0 must be at least 1'),
        ({'feature_noise': -1.0}, 'data.feature_noise=-1.0 must not be negative'),
    ],
)
def test_impossible_worlds_are_refused(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        load('concepts', tmp_path, **WORLD | change)


# --- archives -------------------------------------------------------------------------------------


def read_varint(buffer, at):
    value = shift = 0
    while True:
        byte = buffer[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def read_fields(buffer):
    """Yields (number, bytes) of a protobuf message whose fields all have lengths."""
    at = 0
    while at < len(buffer):
        tag, at = read_varint(buffer, at)
        assert tag & 7 == 2
        length, at = read_varint(buffer, at)
        yield tag >> 3, buffer[at : at + length]
        at += length


def decode_by_hand(path):
    """Decodes tf.train.Example records: a list of {feature: float32 [n] or int}."""
    buffer, at, examples = path.read_bytes(), 0, []
    while at < len(buffer):
        (length,) = struct.unpack('<Q', buffer[at : at + 8])
        ((_, features),) = read_fields(buffer[at + 12 : at + 12 + length])
        at += 16 + length
        example = {}
        for _, entry in read_fields(features):
            (_, name), (_, feature) = read_fields(entry)
            ((kind, values),) = read_fields(feature)
            ((_, packed),) = read_fields(values)
            number = np.frombuffer(packed, '<f4') if kind == 2 else read_varint(packed, 0)[0]
            example[name.decode()] = number
        examples.append(example)
    return examples


@pytest.fixture
def golden(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / 'archives')
    return tmp_path / 'archives'


@pytest.mark.parametrize('dtype', ['float16', 'float32'])
@pytest.mark.parametrize('name', COUNTS)
def test_archives_load_as_decoded_by_hand(golden, name, dtype):
    source = load(name, golden, dtype=dtype)
    features = json.loads((golden / name / '1.0.0/features.json').read_text())
    features = features['featuresDict']['features']
    highest = 0
    assert {key: len(split.inputs) for key, split in source.splits.items()} == COUNTS[name]
    for key, split in source.splits.items():
        examples = decode_by_hand(golden / name / f'1.0.0/{name}-{key}.tfrecord-00000-of-00001')
        expected = np.stack([example['logit'] for example in examples])
        assert isinstance(split.inputs, np.memmap) and split.inputs.dtype == dtype
        np.testing.assert_array_equal(split.inputs, expected.astype(dtype))
        classes = [example['label'] for example in examples]
        np.testing.assert_array_equal(split.labels['class'], classes)
        highest = max(highest, *classes)
        if name == 'byol_celeb_a2':
            order = features['attributes']['featuresDict']['features']
            attributes = [[e[f'attributes/{key}'] for key in order] for e in examples]
            np.testing.assert_array_equal(split.labels['attributes'], attributes)
        assert {array.dtype for array in split.labels.values()} == {np.dtype(np.int32)}
    attributes = {'attributes': 2} if name == 'byol_celeb_a2' else {}
    assert source.num_values == {'class': highest + 1} | attributes


def test_archive_is_found_from_any_of_its_folders_newest_version_first(golden):
    name = 'byol_imagenet2012'
    for path in (golden, golden / name, golden / name / '1.0.0'):
        assert len(load(name, path, dtype=None).splits['train'].inputs) == 8
    (golden / name / '1.0.0').rename(golden / name / '10.0.0')
    shutil.copytree(golden / 'byol_celeb_a2' / '1.0.0', golden / name / '9.0.0')  # Not readable.
    assert len(load(name, golden, dtype=None).splits['train'].inputs) == 8


def test_shards_are_read_in_order_and_a_missing_one_is_named(golden):
    folder = golden / 'byol_imagenet2012' / '1.0.0'
    whole = np.array(load('byol_imagenet2012', golden, dtype=None).splits['train'].inputs)
    path = folder / 'byol_imagenet2012-train.tfrecord-00000-of-00001'
    content = path.read_bytes()
    path.unlink()
    half = len(content) // 2  # All records have the same length.
    for index, part in enumerate((content[:half], content[half:])):
        path = folder / f'byol_imagenet2012-train.tfrecord-{index:05d}-of-00002'
        path.write_bytes(part)
    again = load('byol_imagenet2012', golden, dtype=None)
    np.testing.assert_array_equal(again.splits['train'].inputs, whole)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='train.tfrecord-00001-of-00002 is missing'):
        load('byol_imagenet2012', golden, dtype=None)


def test_conversion_is_kept_until_the_archive_changes(golden, monkeypatch):
    first = load('byol_celeb_a2', golden, dtype='float16')
    conversions = []
    convert = archives._convert
    monkeypatch.setattr(
        archives, '_convert', lambda *args: (conversions.append(args), convert(*args))
    )
    second = load('byol_celeb_a2', golden, dtype='float16')
    np.testing.assert_array_equal(first.splits['valid'].inputs, second.splits['valid'].inputs)
    assert not conversions
    path = golden / 'byol_celeb_a2/1.0.0/byol_celeb_a2-valid.tfrecord-00000-of-00001'
    os.utime(path, (1, 1))
    load('byol_celeb_a2', golden, dtype='float16')
    assert len(conversions) == 1
    assert len(list(path.parent.glob('cache-*'))) == 1  # The stale one is gone.
    monkeypatch.setattr(os, 'access', lambda *args: False)  # Read-only, but converted before.
    load('byol_celeb_a2', golden, dtype='float16')
    assert len(conversions) == 1


def test_read_only_archive_is_converted_into_the_default_folder(golden, tmp_path, monkeypatch):
    monkeypatch.setattr(emcom_datasets, 'DATA_FOLDER', tmp_path / 'default')
    monkeypatch.setattr(os, 'access', lambda *args: False)
    inputs = load('byol_celeb_a2', golden, dtype=None).splits['train'].inputs
    assert pathlib.Path(inputs.filename).is_relative_to(tmp_path / 'default')
    assert not list(golden.rglob('cache-*'))


@pytest.mark.parametrize(
    'damage, record',
    [
        (lambda content: content[:-5], 3),  # Ends in the last record,
        (lambda content: content[:6], 0),  # in the frame of the first;
        (lambda content: b'\xff' * 8 + content[8:], 0),  # wrong length,
        (lambda content: content[:12] + b'\xff' * 8 + content[20:], 0),  # wrong protobuf.
    ],
)
def test_damaged_archive_is_named_and_leaves_no_cache(golden, damage, record):
    path = golden / 'byol_imagenet2012/1.0.0/byol_imagenet2012-test.tfrecord-00000-of-00001'
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f'{path} is truncated or corrupt at record {record};'):
        load('byol_imagenet2012', golden, dtype=None)
    assert not list(path.parent.glob('cache-*'))


def test_archive_that_is_not_there_or_not_whole(golden, tmp_path):
    url = 'https://storage.googleapis.com/dm_emcom_at_scale_dataset/byol_celeb_a2.tar.gz'
    with pytest.raises(FileNotFoundError) as error:
        load('byol_celeb_a2', tmp_path / 'empty', dtype=None)
    assert url in str(error.value) and f'{tmp_path}/empty/byol_celeb_a2/' in str(error.value)
    assert '--config.data.path' in str(error.value) and '\n' not in str(error.value)
    folder = golden / 'byol_celeb_a2/1.0.0'
    (folder / 'byol_celeb_a2-valid.tfrecord-00000-of-00001').unlink()
    with pytest.raises(FileNotFoundError, match='has no file byol_celeb_a2-valid'):
        load('byol_celeb_a2', golden, dtype=None)
    (golden / 'byol_imagenet2012/1.0.0/features.json').write_text('{}')
    with pytest.raises(ValueError, match='features.json does not describe'):
        load('byol_imagenet2012', golden, dtype=None)
    with pytest.raises(ValueError, match="data.dtype='int8' is not known"):
        load('byol_imagenet2012', golden, dtype='int8')


def test_values_that_do_not_fit_float16_are_refused(golden):
    path = golden / 'byol_imagenet2012/1.0.0/byol_imagenet2012-test.tfrecord-00000-of-00001'
    value = decode_by_hand(path)[0]['logit'][-1:].tobytes()
    content = path.read_bytes()
    assert content.count(value) == 1
    path.write_bytes(content.replace(value, struct.pack('<f', 1e5)))
    with pytest.raises(ValueError, match='record 0: a feature is not finite as float16'):
        load('byol_imagenet2012', golden, dtype='float16')
    assert load('byol_imagenet2012', golden, dtype='float32').splits['test'].inputs.max() == 1e5


# --- features -------------------------------------------------------------------------------------


def arrays(**changes):
    rng = np.random.default_rng(0)
    content = {}
    for name, count in {'train': 6, 'valid': 2, 'test': 2, 'ood': 3}.items():
        content[name] = rng.normal(size=(count, 4))
        content[f'{name}_class'] = np.arange(count)
        content[f'{name}_attributes'] = rng.integers(0, 3, (count, 2)).astype(np.uint8)
    content |= changes
    return {name: array for name, array in content.items() if array is not None}


def test_npz_is_loaded_as_stored(tmp_path):
    content = arrays(train=np.ones((6, 4), np.float16))
    np.savez_compressed(tmp_path / 'x.npz', **content)
    source = load('features', tmp_path / 'x.npz', seed=0)
    highest = max(content[f'{name}_attributes'].max() for name in source.splits)
    assert source.num_values == {'class': 6, 'attributes': highest + 1}
    assert list(source.splits) == ['train', 'valid', 'test', 'ood']
    assert source.splits['train'].inputs.dtype == np.float16
    for name, split in source.splits.items():
        np.testing.assert_array_equal(split.inputs, content[name].astype(split.inputs.dtype))
        for label, column in split.labels.items():
            assert column.dtype == np.int32
            np.testing.assert_array_equal(column, content[f'{name}_{label}'])
    assert source.splits['valid'].inputs.dtype == np.float32


def test_npy_is_split_by_the_seed(tmp_path):
    stored = np.arange(60.0).reshape(30, 2)
    np.save(tmp_path / 'x.npy', stored)
    splits = load('features', tmp_path / 'x.npy', seed=0).splits
    assert {name: len(split.inputs) for name, split in splits.items()} == {
        'train': 24,
        'valid': 3,
        'test': 3,
    }
    everything = np.concatenate([split.inputs for split in splits.values()])
    np.testing.assert_array_equal(everything[np.argsort(everything[:, 0])], stored)
    same = load('features', tmp_path / 'x.npy', seed=0).splits
    other = load('features', tmp_path / 'x.npy', seed=1).splits
    np.testing.assert_array_equal(splits['test'].inputs, same['test'].inputs)
    assert (splits['test'].inputs != other['test'].inputs).any()


@pytest.mark.parametrize(
    'change, sentence',
    [
        ({'valid': None}, "array 'valid_class': there is no split|has no array 'valid'"),
        ({'valid': np.ones((2, 3))}, "'valid' has 3 features and 'train' 4"),
        ({'valid': np.ones(2)}, r"'valid': features must be float \[N, D\], not float64 \[2\]"),
        ({'valid': np.ones((2, 4), int)}, r'not int64 \[2, 4\]'),
        ({'valid': np.ones((0, 4))}, r'not float64 \[0, 4\]'),
        ({'valid': np.full((2, 4), np.nan)}, "'valid': every feature must be finite"),
        ({'valid': np.full((2, 4), 1e300)}, "'valid': every feature must be finite"),
        ({'valid': np.array([[{}]], object)}, 'x.npz is not a readable .* never unpickled'),
        ({'valid_class': None}, "has no array 'valid_class'"),
        ({'valid_class': np.ones(3, int)}, r"'valid_class': labels must be \[N\] with N=2"),
        ({'valid_class': np.ones(2)}, "'valid_class': labels must be integers"),
        ({'valid_class': -np.ones(2, int)}, "'valid_class': labels must be integers from 0"),
        ({'valid_attributes': np.ones((2, 3), int)}, r'\[N, A\] .* same A in every split'),
        ({'eval_class': np.ones(2, int)}, "'eval_class': there is no split"),
        ({'train_class': None}, "has no array 'train_class'"),
        ({'valid_class': np.array([1, 2**32 + 5], np.uint64)}, 'integers from 0 up to 999,999'),
        (
            {f'{split}_attributes': np.ones((n, 0), int) for split, n in (('valid', 2),)},
            r'\[N, A\]',
        ),
        ({'step': np.ones((2, 4)), 'step_class': np.ones(2, int)}, "no split can be called 'step'"),
    ],
)
def test_wrong_npz_is_refused_in_a_sentence(tmp_path, change, sentence):
    np.savez(tmp_path / 'x.npz', **arrays(**change))
    with pytest.raises(ValueError, match=sentence) as error:
        load('features', tmp_path / 'x.npz', seed=0)
    assert str(tmp_path / 'x.npz') in str(error.value) and '\n' not in str(error.value)


def test_files_that_are_no_arrays(tmp_path):
    np.save(tmp_path / 'objects.npy', np.array([[{}]], object), allow_pickle=True)
    (tmp_path / 'text.npy').write_text('hello')
    (tmp_path / 'empty.npz').touch()
    with zipfile.ZipFile(tmp_path / 'zip.npz', 'w') as archive:
        archive.writestr('train', 'hello')
    for name in ('objects.npy', 'text.npy', 'empty.npz', 'zip.npz'):
        with pytest.raises(ValueError, match=f'{name} is not a readable'):
            load('features', tmp_path / name, seed=0)
    np.save(tmp_path / 'two.npy', np.ones((2, 2)))
    with pytest.raises(ValueError, match='holds 2 examples; three splits need at least 3'):
        load('features', tmp_path / 'two.npy', seed=0)
    with pytest.raises(FileNotFoundError, match='none.npz was not found'):
        load('features', tmp_path / 'none.npz', seed=0)
    with pytest.raises(ValueError, match='set --config.data.path'):
        load('features', None, seed=0)


# --- start-up -------------------------------------------------------------------------------------


def test_importing_is_light_and_nothing_needs_tensorflow(digits_folder, golden):
    code = """
import sys
from types import SimpleNamespace as Config
from emcom_jax import data
from emcom_jax.config import base
heavy = {'tensorflow', 'tensorflow_datasets', 'sklearn', 'grain'}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
data.load(Config(name='digits', path=sys.argv[1]))
data.load(Config(name='byol_celeb_a2', path=sys.argv[2], dtype=None))
assert 'tensorflow' not in sys.modules
"""
    command = [sys.executable, '-W', 'error', '-c', code, str(digits_folder), str(golden)]
    root = pathlib.Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
