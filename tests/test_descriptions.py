"""Descriptions in words, and the files of features and descriptions that were published."""

from types import SimpleNamespace

import numpy as np
import pytest
from skimage.feature import hog

from emcom_datasets import shapes_classes
from emcom_jax.config import base
from emcom_jax.data import described, descriptions, dialogue_files


def test_words_of_a_description():
    said = 'A tall, two-part vessel with a RIM, and a handle on the rim.'
    assert descriptions.words_of(said) == ['tall', 'two-part', 'vessel', 'rim', 'handle']
    numbered = descriptions.number(['a red wheel', 'a wheel with a window'])
    assert numbered.vocabulary == ('red', 'wheel', 'window')
    np.testing.assert_array_equal(numbered.ids, [[0, 1], [1, 2]])
    numbered = descriptions.number(['a wheel', 'a red wheel'])
    np.testing.assert_array_equal(numbered.mask, [[1, 0], [1, 1]])
    with pytest.raises(ValueError, match="description 'of the' has no word"):
        descriptions.number(['a wheel', 'of the'])


def test_held_out_classes_are_described_in_words_that_are_trained():
    said = [descriptions.words_of(one.description) for one in shapes_classes.CLASSES]
    trained = {word for words in said[: shapes_classes.NUM_TRAINED] for word in words}
    held_out = {word for words in said[shapes_classes.NUM_TRAINED :] for word in words}
    assert held_out and held_out <= trained
    for one, words in zip(shapes_classes.CLASSES, said, strict=True):
        assert one.synset.split('.')[0] not in words
    assert len({frozenset(words) for words in said}) == len(said)


def test_vectors_of_ngrams_know_the_spelling():
    words = ('wheel', 'wheels', 'window')
    vectors = descriptions.ngram_vectors(words, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.4 > abs(near[0, 2])
    np.testing.assert_array_equal(vectors[1], descriptions.ngram_vectors(words[1:2], 64)[0])


def test_vectors_are_read_from_a_text_file(tmp_path):
    path = tmp_path / 'glove.txt'
    path.write_text('the 9 9\nred 1 2\nblue 3 4\nzebra not numbers\n')
    vectors, unknown = descriptions.read_vectors(path, ('blue', 'green', 'red'))
    np.testing.assert_array_equal(vectors, [[3, 4], [0, 0], [1, 2]])
    assert unknown == ['green']
    with pytest.raises(ValueError, match='line 4: not a word and numbers'):
        descriptions.read_vectors(path, ('zebra',))
    with pytest.raises(ValueError, match='has none of the words'):
        descriptions.read_vectors(path, ('green',))


# --- files ----------------------------------------------------------------------------------------


def write(folder, name, targets, kind='npz', **arrays):
    rng = np.random.default_rng(len(name))
    arrays = {
        'Target': np.array(targets),
        'avgpool_512': rng.random((len(targets), 1, 6)).astype(np.float32),
        'layer4_2': rng.random((len(targets), 1, 5, 2, 3)).astype(np.float32),
        'fc': rng.random((len(targets), 1, 4)).astype(np.float32),
    } | arrays
    arrays = {key: value for key, value in arrays.items() if value is not None}
    if kind == 'npz':
        np.savez(folder / f'{name}.npz', **arrays)
    else:
        h5py = pytest.importorskip('h5py')
        with h5py.File(folder / f'{name}.hdf5', 'w') as file:
            for key, value in arrays.items():
                file[key] = value
    return arrays


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'descriptions.csv').write_text('7,cat,small, with fur\n3,eagle,has wings\n')
    (tmp_path / 'descriptions_ood.csv').write_text('5,bat,has wings and fur\n')
    for name, targets, kind in (
        ('train', [3, 7, 7], 'hdf5'),
        ('dev', [7, 3], 'npz'),
        ('test', [3], 'npz'),
        ('ood', [5, 5], 'npz'),
    ):
        write(tmp_path, name, targets, kind)
    return tmp_path


def load(folder, features='avgpool_512'):
    return dialogue_files.load(SimpleNamespace(path=str(folder), features=features))


def test_published_files_are_read(folder):
    source = load(folder)
    assert set(source.splits) == {'train', 'valid', 'test', 'ood'}
    assert source.class_descriptions == ('small, with fur', 'has wings', 'has wings and fur')
    np.testing.assert_array_equal(source.splits['train'].labels['class'], [1, 0, 0])
    np.testing.assert_array_equal(source.splits['ood'].labels['class'], [2, 2])
    assert source.splits['train'].inputs.shape == (3, 6) and source.map_shape is None


def test_maps_are_flattened_place_by_place(folder):
    source = load(folder, 'layer4_2')
    stored = np.load(folder / 'dev.npz')
    assert source.map_shape == (6, 5)
    inputs = source.splits['valid'].inputs
    assert inputs.shape == (2, 6 * 5 + 4)
    np.testing.assert_array_equal(inputs[1, 5:10], stored['layer4_2'][1, 0, :, 0, 1])
    np.testing.assert_array_equal(inputs[1, 30:], stored['fc'][1, 0])


def test_what_is_wrong_with_files_is_said(folder):
    with pytest.raises(ValueError, match="has no 'layer9'"):
        load(folder, 'layer9')
    write(folder, 'dev', [7, 4, 9])
    with pytest.raises(ValueError, match='2 of its labels are not described: 4, 9'):
        load(folder)
    write(folder, 'dev', [7, 3, 3], avgpool_512=np.zeros((2, 1, 6), np.float32))
    with pytest.raises(ValueError, match="has 2 of 'avgpool_512', but 3 targets"):
        load(folder)
    (folder / 'descriptions.csv').write_text('7,cat,small\n7,dog,large\nno line\n3,eagle,winged\n')
    with pytest.raises(ValueError, match='2 lines are not .*own: 2, 3'):
        load(folder)
    (folder / 'dev.npz').unlink()
    with pytest.raises(FileNotFoundError, match='has no dev.hdf5'):
        load(folder)


def test_scenes_become_maps_of_gradients(tmp_path):
    config = SimpleNamespace(path=str(tmp_path), image_size=18, num_images=16, seed=0)
    with pytest.raises(ValueError, match='image_size=18 must be a multiple of 4'):
        described.shapes_features(config)
    config.image_size = 16
    source = described.shapes_features(config)
    places, channels = source.map_shape
    train, test = source.splits['train'], source.splits['test']
    assert train.inputs.shape == (32, places * channels) == (32, 9 * 32)
    assert test.inputs.shape == (2, 9 * 32)
    np.testing.assert_array_equal(train.labels['class'][:16], train.labels['class'][16:])
    assert np.abs(train.inputs[:16] - train.inputs[16:]).max() > 0.1  # Mirrored.
    assert train.inputs.min() >= 0 and train.inputs.max() <= 1 and np.isfinite(train.inputs).all()
    assert len(source.descriptions['train']) == 32
    classes = set(source.splits['transfer'].labels['class'].tolist())
    assert classes == {len(shapes_classes.CLASSES)}  # Of the one object that so few images show.
    assert source.num_values['class'] == len(source.class_descriptions) == len(shapes_classes.DRAWN)
    assert source.num_values['object'] == 8 + 4 and len(source.descriptions['transfer']) == 2


def test_gradients_are_those_of_scikit_image():
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3)).astype(np.uint8)
    images[0, 4:, 4:] = 77  # Blocks without gradients.
    expected = [
        hog(image, 8, pixels_per_cell=(4, 4), cells_per_block=(2, 2), channel_axis=-1)
        for image in images
    ]
    np.testing.assert_allclose(described.gradients(images), expected, atol=1e-6)


# --- clusters -------------------------------------------------------------------------------------


def draw_clusters(**changes):
    config = base().unlock().data
    config.update({'cluster_sizes': (1, 1, 2, 4), 'num_features': 64, 'num_images': 512} | changes)
    return described.clusters(config)


def centres_of(source):
    split = source.splits['train']
    labels = split.labels['class']
    return np.array([split.inputs[labels == one].mean(axis=0) for one in np.unique(labels)])


def test_classes_of_a_cluster_look_alike_and_are_described_alike():
    source = draw_clusters(cluster_spread=0.1, feature_noise=0.2)
    train, test = source.splits['train'], source.splits['test']
    assert train.inputs.shape == (512, 64) and train.inputs.dtype == np.float32
    assert np.bincount(train.labels['class']).tolist() == [64] * 8
    assert np.bincount(test.labels['class']).tolist() == [8] * 8
    cluster = np.array([0, 1, 2, 2, 3, 3, 3, 3])
    np.testing.assert_array_equal(train.labels['cluster'], cluster[train.labels['class']])
    np.testing.assert_array_equal(train.labels['described'], train.labels['cluster'])
    # The standard deviation of a difference of two is sqrt(2) times that of each.
    means = centres_of(source)
    apart = ((means[:, None] - means[None]) ** 2).mean(-1) ** 0.5
    same = cluster[:, None] == cluster[None]
    np.testing.assert_allclose(apart[same & ~np.eye(8, dtype=bool)], 0.1 * 2**0.5, rtol=0.35)
    np.testing.assert_allclose(apart[~same], 2**0.5, rtol=0.35)
    assert (train.inputs - means[train.labels['class']]).std() == pytest.approx(0.2, rel=0.05)
    words = [descriptions.words_of(one) for one in source.class_descriptions]
    assert all(len(each) == 2 for each in words) and len(set(map(tuple, words))) == 8
    kin = np.array([each[1] for each in words])
    np.testing.assert_array_equal(kin[:, None] == kin[None], same)
    assert words[4][0] == words[2][0] == words[0][0]  # The first of their clusters.


def test_permuted_descriptions_are_those_of_other_classes():
    source, control = draw_clusters(), draw_clusters(cluster_permuted=True)
    np.testing.assert_array_equal(control.splits['test'].inputs, source.splits['test'].inputs)
    told, others = source.class_descriptions, control.class_descriptions
    assert sorted(told) == sorted(others) and told != others
    labels = control.splits['test'].labels
    of_word = {
        descriptions.words_of(one)[1]: place
        for place, one in zip((0, 1, 2, 2, 3, 3, 3, 3), told, strict=True)
    }
    described_as = np.array([of_word[descriptions.words_of(one)[1]] for one in others])
    np.testing.assert_array_equal(labels['described'], described_as[labels['class']])
    np.testing.assert_array_equal(labels['cluster'], source.splits['test'].labels['cluster'])
    assert (labels['cluster'] != labels['described']).any()


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('cluster_sizes', ()),
        ('cluster_sizes', (1,)),
        ('cluster_sizes', (4, 0)),
        ('cluster_sizes', (9999,)),
        ('num_features', 0),
        ('num_features', None),
        ('cluster_spread', -0.1),
        ('feature_noise', -0.1),
        ('num_images', 7),
    ],
)
def test_clusters_that_cannot_be_are_refused(key, value):
    with pytest.raises(ValueError, match=f'data.{key}='):
        draw_clusters(**{key: value})
