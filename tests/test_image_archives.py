"""Images that TFDS prepared: what is read without TensorFlow (it is not installed) is what was
written."""

import io
import struct

import ml_collections
import numpy as np
import pytest
from array_record.python import array_record_module
from PIL import Image

from emcom_jax import data
from emcom_jax.config import base
from emcom_jax.data import decoding, image_archives

CLASSES = {
    'cifar10': [f'class {i}' for i in range(10)],
    'stl10': [f'class {i}' for i in range(10)],
    'places365_small': ['/a/abbey', '/a/airport', '/z/zoo'],
    'i_naturalist2018': ['Apis mellifera', 'Bombus terrestris'],
    'imagenet2012': ['n01440764', 'n02084071', 'n02123045'],
    'voc2007': ['bird', 'cat', 'dog'],
}
SIZES = {'train': 20, 'validation': 4, 'test': 5}


def load(name, path, **keys):
    keys = {'name': name, 'path': str(path), 'image_size': 6} | keys
    return data.load(ml_collections.ConfigDict(base().data.to_dict() | keys).lock())


@pytest.fixture(autouse=True)
def said_anew():
    decoding.say.cache_clear()


def png(value):
    """A picture of one colour that tells its number."""
    buffer = io.BytesIO()
    Image.new('RGB', (9, 7), (value, 0, 255 - value)).save(buffer, 'PNG')
    return buffer.getvalue()


def labels_of(name, value):
    """The labels of the example of a number: of VOC those whose bits are set in it."""
    classes = len(CLASSES[name])
    if name == 'voc2007':
        return [bit for bit in range(classes) if value >> bit & 1]
    return value % classes


def features(name):
    """The features that TFDS's own builder of the dataset declares."""
    import tensorflow_datasets as tfds

    label = tfds.features.ClassLabel(names=CLASSES[name])
    if name == 'voc2007':
        of_object = {'label': label, 'bbox': tfds.features.BBoxFeature()}
        return tfds.features.FeaturesDict(
            {
                'image': tfds.features.Image(),
                'image/filename': tfds.features.Text(),
                'objects': tfds.features.Sequence(of_object),
                'labels': tfds.features.Sequence(label),
            }
        )
    return tfds.features.FeaturesDict({'image': tfds.features.Image(), 'label': label})


def write(folder, name, kind='tfrecord', shards=2, example=None):
    """Writes a prepared dataset as TFDS lays it out; returns the numbers of its pictures."""
    layout = image_archives.LAYOUTS[name]
    folder = folder / layout.folder / '1.2.0'
    folder.mkdir(parents=True)
    description = features(name)
    description.save_config(folder)
    description.save_metadata(folder, feature_name=None)
    stem, numbers, number = layout.folder.split('/')[0], {}, 0
    for split, size in SIZES.items():
        numbers[split] = list(range(number, number + size))
        number += size
        for shard in range(shards):
            records = []
            for value in numbers[split][shard * size // shards : (shard + 1) * size // shards]:
                content = {'image': png(value), layout.feature: labels_of(name, value)}
                if name == 'voc2007':
                    content |= {'image/filename': '1.jpg', 'objects': []}
                content = example(value, content) if example else content
                records.append(description.serialize_example(content))
            path = folder / f'{stem}-{split}.{kind}-{shard:05}-of-{shards:05}'
            {'tfrecord': write_tfrecord, 'array_record': write_array_record}[kind](path, records)
    return folder, numbers


def write_tfrecord(path, records):
    # The checksums that frame a record are not looked at.
    framed = [struct.pack('<QI', len(record), 0) + record + b'\0\0\0\0' for record in records]
    path.write_bytes(b''.join(framed))


def write_array_record(path, records):
    writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
    for record in records:
        writer.write(record)
    writer.close()


def numbers_of(split):
    return split.inputs[:][:, 2, 3, 0].tolist()


# --- what TFDS prepared ---------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['tfrecord', 'array_record'])
@pytest.mark.parametrize('name', CLASSES)
def test_images_and_labels_are_those_that_were_written(tmp_path, name, kind):
    folder, numbers = write(tmp_path, name, kind)
    source = load(name, tmp_path)
    assert source.name == name and source.image_shape == (6, 6, 3)
    tested = 'validation' if image_archives.LAYOUTS[name].splits.get('test') is None else 'test'
    assert numbers_of(source.splits['test']) == numbers[tested]
    of_train = numbers_of(source.splits['train'])
    if name == 'voc2007':
        assert numbers_of(source.splits['valid']) == numbers['validation']
        assert of_train == numbers['train'] and source.num_values == {'attributes': 2}
    else:
        of_train = sorted(of_train + numbers_of(source.splits['valid']))
        assert of_train == numbers['train']
        assert source.num_values == {'class': len(CLASSES[name])}
    for split in source.splits.values():
        assert split.inputs.shape == (len(split.inputs), 6, 6, 3)
        for number, got in zip(numbers_of(split), next(iter(split.labels.values())), strict=True):
            expected = labels_of(name, number)
            if name == 'voc2007':
                expected = [int(label in expected) for label in range(3)]
            assert got.tolist() == expected and got.dtype == np.int32
    synsets = {'class': tuple(CLASSES[name])} if name == 'imagenet2012' else None
    assert source.synsets == synsets
    assert [source.splits[name].labels.keys() for name in ('train', 'valid', 'test')] == [
        {'attributes' if name == 'voc2007' else 'class'}
    ] * 3


@pytest.mark.parametrize('below', ['', 'voc/2007', 'voc/2007/1.2.0'])
def test_the_path_may_be_any_of_three_folders(tmp_path, below):
    write(tmp_path, 'voc2007')
    write(tmp_path / 'other', 'voc2007')
    (tmp_path / 'other/voc/2007/1.2.0').rename(tmp_path / 'voc/2007/1.1.9')
    assert len(load('voc2007', tmp_path / below).splits['train'].inputs) == 20
    assert not list((tmp_path / 'voc/2007/1.1.9').glob('.*'))


@pytest.mark.parametrize('kind', ['tfrecord', 'array_record'])
def test_examples_are_read_once_and_images_by_themselves(tmp_path, monkeypatch, kind):
    folder, _ = write(tmp_path, 'stl10', kind)
    first = load('stl10', tmp_path)
    whole = np.asarray(first.splits['train'].inputs)
    with monkeypatch.context() as patch:
        patch.setattr(image_archives, '_records', None)
        again = load('stl10', tmp_path).splits['train'].inputs
        np.testing.assert_array_equal(again[np.array([5, 1])], whole[[5, 1]])
    path = next(folder.glob('*-train.*-00000-of-00002'))
    write_tfrecord(path, []) if kind == 'tfrecord' else write_array_record(path, [])
    assert len(load('stl10', tmp_path).splits['train'].inputs) + 1 == 10


# --- bad files ------------------------------------------------------------------------------------


def spoilt(value, content):
    """Number 3 is no image, number 5 one whose body is cut off."""
    wrong = {3: b'hello', 5: content['image'][:-30]}
    return content | {'image': wrong.get(value, content['image'])}


@pytest.mark.parametrize('kind', ['tfrecord', 'array_record'])
def test_bad_images_are_skipped_replaced_or_refused(tmp_path, capfd, kind):
    write(tmp_path, 'imagenet2012', kind, example=spoilt)
    train = load('imagenet2012', tmp_path, seed=1).splits['train']
    err = capfd.readouterr().err
    assert err.count('(train): skipped 1 of 20 images that cannot be decoded: ') == 1
    label = train.labels['class'].tolist()
    assert 3 not in numbers_of(train) and 5 not in numbers_of(train)
    assert [labels_of('imagenet2012', number) for number in numbers_of(train)] == label
    assert train.inputs.replaced == 1
    assert 'is shown in its place' in capfd.readouterr().err
    with pytest.raises(ValueError, match=r'\(train\): 2 of 20 images cannot be decoded, .*none of'):
        load('imagenet2012', tmp_path, bad_files='refuse')


# --- mistakes -------------------------------------------------------------------------------------


def test_a_missing_dataset_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'voc2007 was not found: .*voc/2007/<version>/'):
        load('voc2007', tmp_path)


@pytest.mark.parametrize(
    ('pattern', 'content', 'error', 'sentence'),
    [
        ('*-train.*-00001-of-00002', None, FileNotFoundError, '00001-of-00002 is missing'),
        ('*-test.*', None, FileNotFoundError, 'has no file stl10-test.tfrecord-00000-of-<n>'),
        ('label.labels.txt', None, FileNotFoundError, 'label.labels.txt is missing'),
        ('*-test.*-00000-of-00002', slice(0, -9), ValueError, 'truncated or corrupt'),
    ],
)
def test_damaged_archives_are_refused(tmp_path, pattern, content, error, sentence):
    folder, _ = write(tmp_path, 'stl10')
    for path in list(folder.glob(pattern)):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[content])
    with pytest.raises(error, match=sentence):
        load('stl10', tmp_path)


@pytest.mark.parametrize(
    'wrong', [{'label': -1}, {'label': 99}, {'nothing': 1}], ids=['-1', '99', 'missing']
)
def test_unlabelled_examples_are_refused(tmp_path, wrong):
    folder, _ = write(tmp_path, 'stl10', shards=1)
    import tensorflow_datasets as tfds

    kinds = {'image': tfds.features.Tensor(shape=(), dtype=np.object_), next(iter(wrong)): np.int64}
    record = tfds.features.FeaturesDict(kinds).serialize_example({'image': png(1)} | wrong)
    write_tfrecord(folder / 'stl10-test.tfrecord-00000-of-00001', [record])
    with pytest.raises(ValueError, match="00001, record 0: it has no right features 'image' and"):
        load('stl10', tmp_path)


# --- CIFAR-10 as published ------------------------------------------------------------------------


def write_batches(folder, rows=4):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6 * rows, 32, 32, 3), np.uint8), np.arange(6 * rows) % 10
    planes = images.transpose(0, 3, 1, 2).reshape(6 * rows, -1)
    content = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
    for index, name in enumerate([*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']):
        content[index * rows : (index + 1) * rows].tofile(folder / f'{name}.bin')
    return images, labels


@pytest.mark.parametrize('below', ['', 'cifar-10-batches-bin'])
def test_cifar10_as_published(tmp_path, below):
    images, labels = write_batches(tmp_path / 'cifar-10-batches-bin')
    source = load('cifar10', tmp_path / below, image_size=32)
    assert isinstance(source.splits['test'].inputs, np.ndarray)
    np.testing.assert_array_equal(source.splits['test'].inputs, images[20:])
    np.testing.assert_array_equal(source.splits['test'].labels['class'], labels[20:])
    assert source.num_values == {'class': 10} and len(source.splits['train'].inputs) == 18
    small = load('cifar10', tmp_path / below, image_size=16).splits['test'].inputs
    means = images[20:].reshape(4, -1).mean(axis=1)
    assert small.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(small.reshape(4, -1).mean(axis=1), means, atol=3)


@pytest.mark.parametrize('content', [b'', b'x' * 100, b'\xff' * 3073])
def test_damaged_cifar10_is_refused(tmp_path, content):
    write_batches(tmp_path / 'c')
    (tmp_path / 'c' / 'data_batch_3.bin').write_bytes(content)
    with pytest.raises(ValueError, match='data_batch_3.bin is damaged; unpack'):
        load('cifar10', tmp_path / 'c')
    (tmp_path / 'c' / 'data_batch_3.bin').unlink()
    with pytest.raises(FileNotFoundError, match='data_batch_3.bin is missing; unpack'):
        load('cifar10', tmp_path / 'c')
