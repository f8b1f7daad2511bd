"""Folders of images: what is decoded is what was drawn; bad files cost a sentence, not a run."""

import io
import os
import struct
import zlib

import ml_collections
import numpy as np
import pytest
from PIL import Image

import emcom_datasets
from emcom_jax import data
from emcom_jax.config import base
from emcom_jax.data import decoding, splitting
from emcom_jax.types import Split


def load(path, **keys):
    keys = {'name': 'image_folder', 'path': path and str(path), 'image_size': 8} | keys
    return data.load(ml_collections.ConfigDict(base().data.to_dict() | keys).lock())


@pytest.fixture(autouse=True)
def said_anew():
    decoding.say.cache_clear()


def picture(value, size=(8, 8)):
    """A picture of one colour that tells its number."""
    return Image.new('RGB', size, (value, 255 - value, 7))


def make(root, sizes, kind='png'):
    """Writes sizes[folder] pictures into each folder; returns them by path."""
    made, value = {}, 0
    for folder, size in sizes.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(size):
            path = root / folder / f'{index:02}.{kind}'
            picture(value).save(path)
            made[f'{folder}/{index:02}.{kind}'], value = value, value + 1
    return made


def values(split):
    """The numbers of the pictures of a split."""
    return split.inputs[:][:, 0, 0, 0].tolist()


def encoded(image, kind='PNG', **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# --- one image ------------------------------------------------------------------------------------


def noise(height, width, channels=3):
    rng = np.random.default_rng(0)
    shape = (height, width, channels)[: 2 + (channels > 1)]
    return rng.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(('height', 'width'), [(20, 40), (40, 20), (30, 30)])
def test_the_shorter_side_is_resized_then_the_centre_cropped(height, width):
    image = Image.fromarray(noise(height, width))
    short = min(height, width)
    resized = image.resize((10 * width // short, 10 * height // short), Image.Resampling.BILINEAR)
    left, top = (resized.width - 10) // 2, (resized.height - 10) // 2
    expected = np.asarray(resized.crop((left, top, left + 10, top + 10)))
    difference = decoding.decode(encoded(image), 10).astype(int) - expected
    assert np.abs(difference).max() <= 1  # Rounded after each of the two directions.


def test_reduction_is_antialiased():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    assert abs(decoding.decode(encoded(Image.fromarray(stripes)), 8).astype(int) - 127).max() < 20


def test_a_large_jpeg_decoded_at_a_lower_scale_looks_the_same():
    rows, columns = np.mgrid[:256, :256]
    smooth = np.stack([rows, columns, 255 - rows], -1).astype(np.uint8)
    content = encoded(Image.fromarray(smooth), 'JPEG', quality=95)
    expected = decoding.decode(encoded(Image.fromarray(smooth)), 16)
    assert np.abs(decoding.decode(content, 16).astype(int) - expected).max() <= 4


GREY = noise(8, 8, 1)
COLOUR = noise(8, 8)


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (encoded(Image.fromarray(GREY)), np.stack([GREY] * 3, -1)),
        (encoded(Image.fromarray(GREY.astype(np.uint16) * 256 + 3)), np.stack([GREY] * 3, -1)),
        (encoded(Image.fromarray(COLOUR).quantize(256)), None),
        (encoded(Image.fromarray(GREY > 127)), np.stack([(GREY > 127) * 255] * 3, -1)),
        (encoded(Image.fromarray(COLOUR).convert('CMYK'), 'TIFF'), COLOUR),
        (encoded(Image.fromarray(COLOUR), 'BMP'), COLOUR),
        (encoded(Image.fromarray(COLOUR), 'WEBP', lossless=True), COLOUR),
        (encoded(Image.fromarray(COLOUR), 'PPM'), COLOUR),
        (encoded(Image.fromarray(GREY), 'GIF'), np.stack([GREY] * 3, -1)),
    ],
    ids=['grey', '16 bits', 'palette', '1 bit', 'cmyk', 'bmp', 'webp', 'ppm', 'gif'],
)
def test_what_is_no_rgb_becomes_it(content, expected):
    decoded = decoding.decode(content, 8)
    assert decoded.shape == (8, 8, 3) and decoded.dtype == np.uint8
    if expected is None:
        expected = np.asarray(Image.fromarray(COLOUR).quantize(256).convert('RGB'))
    np.testing.assert_array_equal(decoded, expected)


def test_transparent_pictures_are_laid_on_white():
    pixels = np.dstack([COLOUR, np.full((8, 8), 255, np.uint8)])
    pixels[:4, :, 3] = 0
    decoded = decoding.decode(encoded(Image.fromarray(pixels)), 8)
    assert (decoded[:4] == 255).all()
    np.testing.assert_array_equal(decoded[4:], COLOUR[4:])
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), 'P')
    palette.putpalette([9, 9, 9, 50, 60, 70])
    decoded = decoding.decode(encoded(palette, transparency=0), 2)
    assert (decoded[0, 0] == 255).all() and decoded[0, 1].tolist() == [50, 60, 70]


def test_photographs_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by a quarter: the top is to the right.
    content = encoded(Image.fromarray(COLOUR), exif=exif)
    np.testing.assert_array_equal(decoding.decode(content, 8), np.rot90(COLOUR, -1))


def with_size(content, width, height):
    """A PNG that claims to be of another size."""
    header = b'IHDR' + struct.pack('>II', width, height) + content[24:29]
    return content[:12] + header + struct.pack('>I', zlib.crc32(header)) + content[33:]


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (b'', 'it is empty'),
        (b'hello', 'it is none of JPEG, PNG'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'it is none of'),
        (encoded(picture(1))[:-30], r'it is damaged \('),
        (encoded(Image.fromarray(noise(64, 64)), 'JPEG')[:-900], r'it is damaged \(.*truncated'),
        (encoded(Image.new('F', (4, 4)), 'TIFF'), "of the kind 'F'"),
        (with_size(encoded(picture(1)), 10**4, 10**4), 'more than 89,478,485 pixels'),
        (with_size(encoded(picture(1)), 10**5, 10**5), 'more than 89,478,485 pixels'),
    ],
)
def test_what_cannot_be_decoded_is_said_in_a_sentence(content, sentence):
    with pytest.raises(decoding.BadImage, match=sentence) as error:
        decoding.decode(content, 8)
    assert '\n' not in str(error.value)
    assert decoding.fault(io.BytesIO(content), True) == str(error.value)


# --- many -----------------------------------------------------------------------------------------


def test_images_are_indexed_like_the_array_that_they_stand_for(tmp_path):
    make(tmp_path, {'a': 3, 'b': 4})
    names = np.array([b'a/00.png', b'a/01.png', b'a/02.png', b'b/00.png', b'b/01.png'])
    images = decoding.Images(
        decoding.Files(str(tmp_path), names), np.arange(5), np.array([0, 0, 0, 1, 1]), 4
    )
    whole = np.asarray(images)
    assert whole.shape == images.shape == (5, 4, 4, 3) and whole.dtype == images.dtype == np.uint8
    assert whole.nbytes == images.nbytes and len(images) == 5 and images.ndim == whole.ndim
    assert whole[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    rows = (
        3,
        -1,
        np.int64(2),
        slice(1, 4),
        slice(None, None, -2),
        np.array([4, 0, 0]),
        np.arange(0),
    )
    for row in (*rows, np.array([True, False, True, False, False])):
        np.testing.assert_array_equal(images[row], whole[row])
    taken = images.take(np.array([4, 1]))
    np.testing.assert_array_equal(taken[:], whole[[4, 1]])
    with pytest.raises(IndexError):
        images[5]


# --- folders --------------------------------------------------------------------------------------


def test_an_imagenet_has_its_val_for_the_test(tmp_path, capfd):
    sizes = {'n02084071': 20, 'n01440764': 20}
    made = make(tmp_path, {f'train/{name}': size for name, size in sizes.items()})
    made |= make(tmp_path, {f'val/{name}': 2 for name in sizes})
    source = load(tmp_path)
    classes = ('n01440764', 'n02084071')
    assert source.synsets == {'class': classes} and source.num_values == {'class': 2}
    assert source.name == 'image_folder' and source.image_shape == (8, 8, 3)
    assert {name: len(split.inputs) for name, split in source.splits.items()} == {
        'train': 36,
        'valid': 4,
        'test': 4,
    }
    np.testing.assert_array_equal(source.splits['test'].labels['class'], [0, 0, 1, 1])
    assert np.bincount(source.splits['valid'].labels['class']).tolist() == [2, 2]
    of_train = values(source.splits['train']) + values(source.splits['valid'])
    assert sorted(of_train) == sorted(v for k, v in made.items() if k.startswith('train'))
    for split in ('train', 'valid'):
        for value, label in zip(
            values(source.splits[split]), source.splits[split].labels['class'], strict=True
        ):
            assert made[f'train/{classes[label]}/{value % 20:02}.png'] == value
    err = capfd.readouterr().err
    said = (
        f'{tmp_path}: train 36, valid 4, test 4 examples (test is what was held out, valid is out'
    )
    assert err.count(said) == 1
    again = load(tmp_path)
    assert said not in capfd.readouterr().err
    assert values(again.splits['valid']) == values(source.splits['valid'])
    assert values(load(tmp_path, seed=1).splits['valid']) != values(source.splits['valid'])


def test_a_flat_folder_is_split_and_every_folder_with_images_is_a_class(tmp_path, capfd):
    made = make(tmp_path, {'a/abbey': 30, 'a/airport': 10, 'zoo': 20})
    (tmp_path / 'readme.txt').write_text('no image')
    (tmp_path / 'zoo' / '.hidden.png').write_text('no image')
    source = load(tmp_path)
    assert {name: len(split.inputs) for name, split in source.splits.items()} == {
        'train': 48,
        'valid': 6,
        'test': 6,
    }
    assert source.synsets is None and source.num_values == {'class': 3}
    assert 'skipped' not in capfd.readouterr().err  # What is hidden is no image.
    for split, counts in (('test', [3, 1, 2]), ('valid', [3, 1, 2]), ('train', [24, 8, 16])):
        got = np.bincount(source.splits[split].labels['class'])
        assert np.abs(got - counts).max() <= 1
    assert sorted(sum((values(split) for split in source.splits.values()), [])) == sorted(
        made.values()
    )


def test_all_three_splits_stay_as_they_are(tmp_path, capfd):
    made = make(tmp_path, {'train/a': 3, 'train/b': 2, 'valid/a': 2, 'test/b': 1})
    source = load(tmp_path)
    for name, split in source.splits.items():
        assert values(split) == [v for k, v in made.items() if k.startswith(name)]
    assert 'examples' not in capfd.readouterr().err


@pytest.mark.parametrize('count', [1, 7, 60])
def test_examples_are_held_out_of_every_group_alike(count):
    groups = np.repeat([0, 1, 2], [30, 10, 20])
    drawn = splitting.hold_out(groups, count, seed=3)
    assert len(np.unique(drawn)) == count and (np.diff(drawn) > 0).all()
    share = np.bincount(groups[drawn], minlength=3) - count * np.array([3, 1, 2]) / 6
    assert np.abs(share).max() <= 1


def test_splits_of_more_labels_are_drawn_as_well():
    split = Split(np.arange(40), {'attributes': np.eye(2, dtype=np.int32)[np.arange(40) % 2]})
    splits = splitting.complete({'train': split}, 'here', 0)
    assert [len(splits[name].inputs) for name in ('train', 'valid', 'test')] == [32, 4, 4]
    assert splits['test'].labels['attributes'].sum(axis=0).tolist() == [2, 2]


# --- the split ood --------------------------------------------------------------------------------


def test_ood_is_a_folder_whose_classes_come_last(tmp_path):
    made = make(tmp_path, {'train/b': 20, 'train/c': 20, 'test/b': 2, 'ood/a': 2, 'ood/d': 1})
    source = load(tmp_path)
    assert values(source.splits['ood']) == [v for k, v in made.items() if k.startswith('ood')]
    assert source.splits['ood'].labels['class'].tolist() == [2, 2, 3]
    assert source.num_values == {'class': 4}
    flat = tmp_path / 'flat'
    make(flat, {'b': 20, 'c': 20, 'ood/a': 3})
    assert load(flat).splits['ood'].labels['class'].tolist() == [2, 2, 2]


def test_ood_is_listed_by_class_or_by_image(tmp_path):
    make(tmp_path / 'known', {'a': 20, 'b': 20})
    others = make(tmp_path / 'others', {'x': 3, 'y': 3, 'z': 3})
    listed = tmp_path / 'list.txt'
    listed.write_text('# chosen\nz\n\nx/01.png\n')
    keys = {'ood_path': str(tmp_path / 'others'), 'ood_classes': str(listed)}
    source = load(tmp_path / 'known', **keys)
    wanted = [others['x/01.png'], *(others[f'z/0{i}.png'] for i in range(3))]
    assert values(source.splits['ood']) == wanted
    assert source.splits['ood'].labels['class'].tolist() == [2, 3, 3, 3]
    everything = load(tmp_path / 'known', ood_path=str(tmp_path / 'others'))
    assert values(everything.splits['ood']) == list(others.values())


def test_listed_classes_are_held_out_of_all_splits(tmp_path):
    made = make(tmp_path, {'train/a': 10, 'train/b': 10, 'valid/a': 1, 'valid/b': 1, 'test/a': 2})
    (tmp_path / 'list.txt').write_text('b')
    source = load(tmp_path, ood_classes=str(tmp_path / 'list.txt'))
    held = sorted(value for name, value in made.items() if '/b/' in name)
    assert sorted(values(source.splits['ood'])) == held
    assert set(source.splits['ood'].labels['class'].tolist()) == {1}
    for split in ('train', 'valid', 'test'):
        assert set(source.splits[split].labels['class'].tolist()) == {0}


# --- bad files ------------------------------------------------------------------------------------


def test_bad_files_are_skipped_and_counted(tmp_path, capfd):
    made = make(tmp_path, {'train/a': 4, 'train/b': 4, 'valid/a': 1, 'test/a': 1})
    (tmp_path / 'train/a/01.png').write_text('hello')
    (tmp_path / 'train/b/00.png').write_bytes(b'')
    (tmp_path / 'train/b/gone.jpg').symlink_to(tmp_path / 'nowhere.jpg')
    bomb = with_size(encoded(picture(1)), 10**4, 10**4)
    (tmp_path / 'train/b/bomb.png').write_bytes(bomb)
    source = load(tmp_path)
    good = [v for k, v in made.items() if k.startswith('train')]
    assert values(source.splits['train']) == good[:1] + good[2:4] + good[5:]
    assert source.splits['train'].labels['class'].tolist() == [0] * 3 + [1] * 3
    names = 'a/01.png, b/00.png, b/bomb.png, b/gone.jpg'
    said = f'skipped 4 of 10 images that cannot be decoded: {names} (the first: it is none of'
    assert capfd.readouterr().err.count(said) == 1


def test_bad_files_are_refused_at_once_even_in_their_bodies(tmp_path):
    make(tmp_path, {'a': 4, 'b': 4}, 'jpg')
    content = (tmp_path / 'b/02.jpg').read_bytes()
    (tmp_path / 'b/02.jpg').write_bytes(content[:-20])
    with pytest.raises(ValueError, match=r'1 of 8 images .* first of them b/02.jpg: it is damaged'):
        load(tmp_path, bad_files='refuse')
    (tmp_path / 'b/02.jpg').unlink()
    assert len(load(tmp_path, bad_files='refuse').splits['train'].inputs) == 5


def test_a_damaged_body_is_replaced_by_another_of_its_class(tmp_path, capfd):
    made = make(tmp_path, {'train/a': 3, 'train/b': 4, 'valid/a': 1, 'test/a': 1})
    for name in ('train/b/01.png', 'train/b/02.png', 'train/b/03.png'):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-30])
    inputs = load(tmp_path).splits['train'].inputs
    stand_in = made['train/b/00.png']  # The next of the class, which goes round.
    assert inputs[3:][:, 0, 0, 0].tolist() == [stand_in] * 4
    assert inputs[np.array([4, 4])][:, 0, 0, 0].tolist() == [stand_in] * 2
    assert inputs.replaced == 3
    err = capfd.readouterr().err
    assert err.count('b/01.png cannot be decoded;') == 1
    assert err.count(f'{tmp_path}/train/b/00.png is shown in its place') == 3
    (tmp_path / 'train/b/00.png').write_bytes(b'')  # None is left of the class.
    assert inputs.fetch(4)[1] in range(3)
    assert inputs.take(np.arange(3, 7)).take(np.array([0, 1])).shape == (2, 8, 8, 3)


def test_data_that_are_gone_are_an_error_in_a_sentence(tmp_path):
    make(tmp_path, {'a': 20, 'b': 20})
    inputs = load(tmp_path).splits['train'].inputs
    for path in tmp_path.glob('*/*.png'):
        path.unlink()
    with pytest.raises(ValueError, match=r'png cannot be read \(No such file.*still there\?$'):
        inputs[0]


def test_a_refused_body_is_an_error_later_as_well(tmp_path):
    make(tmp_path, {'a': 20})
    inputs = load(tmp_path, bad_files='refuse').splits['train'].inputs
    for path in tmp_path.glob('*/*.png'):
        path.write_text('hello')
    with pytest.raises(ValueError, match='png cannot be decoded: it is none of JPEG.*PPM$'):
        inputs[0]


# --- the index ------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch):
    """The number of images whose headers were looked at."""
    count = []
    fault = decoding.fault
    monkeypatch.setattr(decoding, 'fault', lambda *args: count.append(1) or fault(*args))
    return count


def test_images_are_looked_at_once_until_one_comes_or_goes(tmp_path, looks):
    make(tmp_path, {'train/a': 10, 'train/b': 10, 'valid/a': 1, 'test/a': 1})
    load(tmp_path)
    assert len(looks) == 22
    load(tmp_path)
    assert len(looks) == 22
    picture(99).save(tmp_path / 'train/b/new.png')
    assert 99 in values(load(tmp_path).splits['train'])
    assert len(looks) == 22 + 21  # valid and test have indices of their own.
    os.rename(tmp_path / 'train/a', tmp_path / 'train/c')
    make(tmp_path, {'train/a': 1})
    assert load(tmp_path).num_values == {'class': 3}


def test_a_damaged_index_is_made_anew(tmp_path, looks):
    make(tmp_path, {'a': 10, 'b': 10})
    load(tmp_path)
    (index,) = tmp_path.glob('.*.npz')
    for content in (b'', b'hello', index.read_bytes()[:100]):
        index.write_bytes(content)
        before = len(looks)
        assert len(load(tmp_path).splits['train'].inputs) == 16
        assert len(looks) == before + 20


def test_the_index_of_a_read_only_folder_lies_elsewhere(tmp_path, monkeypatch, looks):
    root, elsewhere = tmp_path / 'photos', tmp_path / 'elsewhere'
    make(root, {'a': 10})
    monkeypatch.setattr(emcom_datasets, 'DATA_FOLDER', elsewhere)
    monkeypatch.setattr(os, 'access', lambda *_: False)
    load(root)
    load(root)
    assert len(looks) == 10 and not list(root.glob('.*'))
    assert len(list(elsewhere.glob('photos-*/image_index.npz'))) == 1


def test_a_link_to_a_folder_above_is_no_endless_path(tmp_path):
    make(tmp_path, {'a': 10, 'b': 10})
    (tmp_path / 'a' / 'again').symlink_to(tmp_path)
    assert load(tmp_path).num_values == {'class': 2}


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('sizes', 'keys', 'sentence'),
    [
        ({'train/a': 5, 'val/b': 1}, {}, "'b' is a class of valid but not of train"),
        ({'train/a': 5, 'ood/a': 1}, {}, "'a' is a class of ood and of train"),
        ({'valid/a': 5}, {}, 'has a folder valid but none that is called train'),
        ({'train/a': 5, 'val/a': 1, 'valid/a': 1}, {}, 'has two folders to validate on'),
        ({'train/a': 5, 'val': 3}, {}, 'val holds images such as 00.png that are in no class'),
        ({'train/a': 5, 'val/a': 0}, {}, 'val holds no readable image in class folders'),
        ({'a': 2}, {}, '2 training examples are too few to hold any out'),
        ({'a': 9}, {'image_size': 0}, 'data.image_size=0 must be at least 1'),
        ({'a': 9}, {'bad_files': 'ignore'}, "bad_files='ignore' must be 'skip' or 'refuse'"),
    ],
)
def test_wrong_folders_are_refused_in_a_sentence(tmp_path, sizes, keys, sentence):
    make(tmp_path, sizes)
    with pytest.raises(ValueError, match=sentence) as error:
        load(tmp_path, **keys)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('c', "names 'c', which is no class and no readable image of"),
        ('a/99.png', "names 'a/99.png', which is no class"),
        ('# nothing', 'names no class; it must have one on each line'),
        ('a\nb', 'no image is left for train'),
        ('a/00.png', "'a' is a class of ood and of train"),
    ],
)
def test_wrong_lists_are_refused_in_a_sentence(tmp_path, text, sentence):
    make(tmp_path, {'a': 9, 'b': 9})
    (tmp_path / 'list.txt').write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path, ood_classes=str(tmp_path / 'list.txt'))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match='set --config.data.path to a folder of class folders'):
        load(None)
    with pytest.raises(FileNotFoundError, match='nowhere was not found; --config.data.path must'):
        load(tmp_path / 'nowhere')
    make(tmp_path, {'a': 9})
    with pytest.raises(FileNotFoundError, match='nowhere was not found; --config.data.ood_path'):
        load(tmp_path, ood_path=str(tmp_path / 'nowhere'))
    with pytest.raises(FileNotFoundError, match='list.txt cannot be read'):
        load(tmp_path, ood_classes=str(tmp_path / 'list.txt'))
