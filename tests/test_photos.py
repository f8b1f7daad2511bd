"""Crops of photographs: splits share no pixel, and two crops of a place overlap."""

import ml_collections
import numpy as np
import pytest
from PIL import Image

from emcom_datasets import photos
from emcom_jax import data
from emcom_jax.config import base

NUM_IMAGES = 576  # Of train: 32 places of each photograph; 4 in the others.


def load(path, **keys):
    config = base().data.to_dict() | {'name': 'photos', 'path': str(path)} | keys
    return data.load(ml_collections.ConfigDict(config).lock())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('photos')


@pytest.fixture(scope='module')
def source(folder):
    return load(folder, num_images=NUM_IMAGES)


@pytest.fixture(scope='module')
def boxes(folder, source):
    """Split -> int [N, 4]."""
    config = photos.PhotosConfig(num_images=NUM_IMAGES)
    builder = photos.Photos(data_dir=folder, config=config, file_format='array_record')
    return {
        name: np.stack([row['box'] for row in builder.as_data_source(name)])
        for name in source.splits
    }


def area(boxes):
    sides = boxes[..., 2:] - boxes[..., :2]
    return np.where((sides > 0).all(-1), sides.prod(-1), 0)


def intersection(one, two):
    low = np.maximum(one[..., :2], two[..., :2])
    return area(np.concatenate([low, np.minimum(one[..., 2:], two[..., 2:])], -1))


def test_crops_are_as_the_contract_says(source):
    sizes = {'train': NUM_IMAGES, 'valid': 72, 'test': 72}
    assert {name: len(split.inputs) for name, split in source.splits.items()} == sizes
    assert source.image_shape == (32, 32, 3)
    assert len(source.synsets['class']) == source.num_values['class'] == len(photos.PHOTOS) == 9
    for name, split in source.splits.items():
        assert split.inputs.shape == (sizes[name], 32, 32, 3) and split.inputs.dtype == np.uint8
        assert set(split.labels) == {'class', 'object'}
        assert {values.dtype for values in split.labels.values()} == {np.dtype(np.int32)}
        np.testing.assert_array_equal(np.bincount(split.labels['class']), sizes[name] // 9)
    objects = np.concatenate([split.labels['object'] for split in source.splits.values()])
    np.testing.assert_array_equal(objects, np.arange(source.num_values['object']).repeat(2))


def test_splits_share_no_pixel(source, boxes):
    for kind in range(len(photos.PHOTOS)):
        of_kind = {
            name: boxes[name][split.labels['class'] == kind]
            for name, split in source.splits.items()
        }
        for one, two in (('train', 'valid'), ('train', 'test'), ('valid', 'test')):
            assert not intersection(of_kind[one][:, None], of_kind[two][None]).any()
        assert intersection(of_kind['train'][:, None], of_kind['train'][None]).any()


def test_crops_of_a_place_overlap_and_differ(source, boxes):
    for name, split in source.splits.items():
        one, two = boxes[name][::2], boxes[name][1::2]
        assert (2 * intersection(one, two) > np.minimum(area(one), area(two))).all()
        assert (one != two).any(-1).all()
        assert (split.inputs[::2] != split.inputs[1::2]).any((1, 2, 3)).all()


def test_a_crop_shows_what_its_box_holds(source, boxes):
    for name, split in source.splits.items():
        for kind, photo in enumerate(photos.PHOTOS):
            image = photos.open_photo(photo)
            left, top, right, bottom = boxes[name][2 * kind]
            limits = photo.part or (0, 0, *image.size)
            assert limits[0] <= left and limits[1] <= top
            assert right <= limits[2] and bottom <= limits[3]
            shown = split.inputs[2 * kind].mean((0, 1))
            held = np.asarray(image)[top:bottom, left:right].mean((0, 1))
            np.testing.assert_allclose(shown, held, atol=1.5)


def test_blocks_tile_a_photograph():
    photo = photos.Photo('none', 'none', 'none', (10, 20, 410, 320))
    blocks = photos.split_blocks((600, 600), photo, np.random.default_rng(0))
    assert {split: len(here) for split, here in blocks.items()} == {
        'train': 8,
        'valid': 2,
        'test': 2,
    }
    corners = {box[:2] for here in blocks.values() for box in here}
    assert corners == {(10 + 100 * x, 20 + 100 * y) for x in range(4) for y in range(3)}


def test_larger_crops_are_the_same_places(source, tmp_path):
    large = load(tmp_path, num_images=16, image_size=64).splits['train'].inputs
    small = source.splits['train'].inputs[:16].astype(float)
    assert large.shape == (16, 64, 64, 3)
    reduced = [np.asarray(Image.fromarray(image).reduce(2), float) for image in large]
    assert np.abs(np.array(reduced) - small).mean() < 8


def test_what_cannot_be_cut_is_refused(tmp_path):
    with pytest.raises(ValueError, match='data.image_size=256 must be from 16 to 128'):
        load(tmp_path, image_size=256)
    with pytest.raises(ValueError, match='data.num_images=8 must be a multiple of 16'):
        load(tmp_path, num_images=8)
    with pytest.raises(OSError, match='x.png comes with nowhere, which is not installed'):
        photos.open_photo(photos.Photo('nowhere', 'x.png', 'cat.n.01'))
