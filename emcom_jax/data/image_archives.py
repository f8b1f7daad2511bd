"""Image datasets that TFDS prepared, read without TensorFlow; and CIFAR-10 as published.

TFDS stores each example as a protocol buffer with the content of an image file in it. It needs
TensorFlow to make arrays of those, so its readers are gone round: Pillow decodes the image when it
is looked at.
"""

import dataclasses
import functools
import io
import os
import pathlib
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from PIL import Image

from emcom_jax import types
from emcom_jax.data import decoding, folders, image_files, index_files

_FRAME = 12  # Bytes of a tfrecord before each example (length, checksum) ...
_FRAME_END = 4  # ... and after it.


class Layout(NamedTuple):
    """How TFDS stores a dataset.

    folder: below TFDS's data folder; the first part is what its files are called.
    splits: as we call them -> as TFDS does; those without labels are left out.
    feature: that holds the class, or all classes that are in the picture.
    """

    folder: str
    splits: dict[str, str]
    feature: str = 'label'


LAYOUTS = {
    'cifar10': Layout('cifar10', {'train': 'train', 'test': 'test'}),
    'stl10': Layout('stl10', {'train': 'train', 'test': 'test'}),
    'places365_small': Layout('places365_small', {'train': 'train', 'valid': 'validation'}),
    'i_naturalist2018': Layout('i_naturalist2018', {'train': 'train', 'valid': 'validation'}),
    'imagenet2012': Layout('imagenet2012', {'train': 'train', 'valid': 'validation'}),
    'voc2007': Layout(
        'voc/2007', {'train': 'train', 'valid': 'validation', 'test': 'test'}, 'labels'
    ),
}


def load(config: Any) -> types.Source:
    """Loads one of `LAYOUTS`, prepared by TFDS as tfrecord or array_record.

    Reads the keys `name, path, image_size, bad_files, seed` of the data group. `path` may be TFDS's
    data folder, the dataset's folder in it, or the folder of a version, of which otherwise the
    newest is taken. For cifar10 it may also hold `cifar-10-batches-bin/`, the binary version.
    What is not there of valid and test is made from what is: `splitting.complete`.

    Returns:
      A source with inputs [N, S, S, 3] uint8, decoded on demand (`decoding.Images`), and the label
      'class' [N]; of voc2007 the label 'attributes' [N, 20] instead, 1 for what is in the picture.
      `synsets` of imagenet2012.

    Raises:
      FileNotFoundError: the dataset, or a file of it, is not there.
      ValueError: a file is damaged, or (bad_files='refuse') an image cannot be decoded.
    """
    image_files.check(config)
    layout, folder = LAYOUTS[config.name], folders.data_folder(config.path)
    archive = folders.newest_version(layout.folder, folder)
    if archive is None:
        if config.name == 'cifar10' and (batches := _find_batches(folder)):
            return _load_batches(batches, config)
        raise FileNotFoundError(
            f'{config.name} was not found: there is no {folder / layout.folder}/<version>/'
            f'features.json; prepare {layout.folder} with tensorflow_datasets, or set '
            '--config.data.path to the folder where it lies.'
        )
    multiple = layout.feature == 'labels'
    names = _class_names(archive, layout.feature)
    splits = {
        split: _split(archive, name, layout, len(names), config)
        for split, name in layout.splits.items()
    }
    source = image_files.make_source(config.name, splits, names, str(archive), config)
    return source._replace(num_values={'attributes': 2}) if multiple else source


def _class_names(archive: pathlib.Path, feature: str) -> list[str]:
    path = archive / f'{feature}.labels.txt'
    if not path.exists():
        raise FileNotFoundError(f'{path} is missing; prepare the dataset again.')
    return [line for line in path.read_text().splitlines() if line]


def _split(
    archive: pathlib.Path, split: str, layout: Layout, num_classes: int, config: Any
) -> types.Split:
    shards = _shards(archive, layout.folder.split('/')[0], split)
    whole = config.bad_files == 'refuse'
    state = {
        'sizes': np.array([path.stat().st_size for path in shards]),
        'times': np.array([path.stat().st_mtime_ns for path in shards]),
    }

    arrays = index_files.indexed(
        archive,
        f'image_index_{"whole_" if whole else ""}{split}',
        lambda known: all(np.array_equal(known[key], state[key]) for key in state),
        lambda: state | _index(shards, layout.feature, num_classes, whole),
    )
    faults = arrays['faults']
    store: decoding.Store
    if 'tfrecord' in shards[0].name:
        store = Ranges(tuple(map(str, shards)), arrays['shards'], arrays['ranges'])
    else:
        store = Records(tuple(map(str, shards)))
    bad, good = np.flatnonzero(faults != b''), np.flatnonzero(faults == b'')
    where = [store.name(int(i)) for i in bad]
    texts = [faults[i].decode() for i in bad]
    index_files.report_bad(f'{archive} ({split})', where, texts, len(faults), config)
    if not len(good):
        raise ValueError(f'{archive} ({split}) holds no readable image; prepare it again.')
    labels = arrays['labels'][good]
    groups = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    images = decoding.Images(store, good, groups, config.image_size, refuse=whole)
    label = 'attributes' if labels.ndim == 2 else 'class'
    return types.Split(cast(Any, images), {label: labels})


def _shards(archive: pathlib.Path, name: str, split: str) -> list[pathlib.Path]:
    """Returns the files of a split, in order, and makes sure that none is missing."""
    pattern = re.compile(rf'{name}-{split}\.(tfrecord|array_record)-\d{{5}}-of-(\d{{5}})')
    found = next(
        (match for path in sorted(archive.iterdir()) if (match := pattern.fullmatch(path.name))),
        None,
    )
    if found is None:
        raise FileNotFoundError(
            f'{archive} has no file {name}-{split}.tfrecord-00000-of-<n> (or .array_record-); '
            'prepare the dataset again.'
        )
    suffix, total = found.groups()
    paths = [archive / f'{name}-{split}.{suffix}-{i:05d}-of-{total}' for i in range(int(total))]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f'{path} is missing; prepare the dataset again.')
    return paths


# --- examples -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Ranges:
    """A store of images that are parts of files.

    paths: of the files.
    shards: int32 [N], in which of them each image is.
    ranges: int64 [N, 2], where it begins there, and its length in bytes.
    """

    paths: tuple[str, ...]
    shards: np.ndarray
    ranges: np.ndarray

    def read(self, index: int) -> bytes:
        start, length = self.ranges[index]
        with open(self.paths[self.shards[index]], 'rb') as file:
            file.seek(start)
            return file.read(length)

    def name(self, index: int) -> str:
        return f'{self.paths[self.shards[index]]}, byte {self.ranges[index][0]}'


@dataclasses.dataclass(frozen=True)
class Records:
    """A store of the images of array_record files."""

    paths: tuple[str, ...]

    @functools.cached_property
    def _source(self) -> Any:
        from array_record.python import array_record_data_source

        return array_record_data_source.ArrayRecordDataSource(list(self.paths))

    def read(self, index: int) -> bytes:
        try:
            return _feature(_parse(self._source[index]), 'image').bytes_list.value[0]
        except Exception as error:  # The file was right when its index was made.
            raise decoding.BadImage('its record is damaged') from error

    def name(self, index: int) -> str:
        return f'{os.path.dirname(self.paths[0])}, example {index}'


def _index(
    shards: Sequence[pathlib.Path], feature: str, num_classes: int, whole: bool
) -> index_files.Arrays:
    """Reads every example: where its image is, its labels, and what is wrong with the image."""
    import tqdm

    places, ranges, labels, faults = [], [], [], []
    total = sum(path.stat().st_size for path in shards)
    name = shards[0].name.split('.')[0]
    with (
        warnings.catch_warnings(),
        tqdm.tqdm(total=total, unit='B', unit_scale=True, desc=name, leave=False) as progress,
    ):
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)  # Said in our own words.
        for shard, path in enumerate(shards):
            for number, (start, record) in enumerate(_records(path)):
                progress.update(len(record) + _FRAME + _FRAME_END)
                try:
                    example = _parse(record)
                    (image,) = _feature(example, 'image').bytes_list.value
                    values = list(_feature(example, feature).int64_list.value)
                    labels.append(_label(values, feature, num_classes))
                except Exception as error:  # Protobuf's, or one of the features is not there.
                    raise ValueError(
                        f"{path}, record {number}: it has no right features 'image' and "
                        f"'{feature}'; prepare the dataset again."
                    ) from error
                places.append(shard)
                ranges.append((start + record.find(image), len(image)))
                faults.append(decoding.fault(io.BytesIO(image), whole).encode())
    return {
        'shards': np.array(places, np.int32),
        'ranges': np.array(ranges, np.int64).reshape(-1, 2),
        'labels': np.array(labels, np.int32),
        'faults': np.array(faults, dtype=bytes),
    }


def _label(values: list[int], feature: str, num_classes: int) -> int | list[int]:
    """Returns the class, or for several classes a 1 at each of them, [num_classes]."""
    if not all(0 <= value < num_classes for value in values):
        raise ValueError(f'{values} are not from 0 to {num_classes - 1}')
    if feature == 'labels':
        return [int(value in values) for value in range(num_classes)]
    (value,) = values
    return value


def _records(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """Yields the examples of a file, with the byte at which each begins (0 in an array_record)."""
    try:
        if 'tfrecord' in path.name:
            import grain.python as grain

            start = _FRAME
            for record in grain.experimental.TFRecordIterDataset(str(path)):
                yield start, record
                start += len(record) + _FRAME_END + _FRAME
        else:
            from array_record.python import array_record_data_source

            for record in array_record_data_source.ArrayRecordDataSource([str(path)]):
                yield 0, record
    except Exception as error:  # Whichever reader trips over the damaged file.
        raise ValueError(f'{path} is truncated or corrupt; prepare the dataset again.') from error


def _parse(record: bytes) -> Any:
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(record)


def _feature(example: Any, name: str) -> Any:
    if name not in example.features.feature:  # Looking it up would make an empty one.
        raise KeyError(name)
    return example.features.feature[name]


# --- CIFAR-10 as published ------------------------------------------------------------------------

_ROW = 1 + 3 * 32 * 32  # Bytes of an example: its class, then red, green and blue.


def _find_batches(folder: pathlib.Path) -> pathlib.Path | None:
    places = (folder / 'cifar-10-batches-bin', folder)
    return next((place for place in places if (place / 'data_batch_1.bin').exists()), None)


def _load_batches(folder: pathlib.Path, config: Any) -> types.Source:
    """Loads CIFAR-10's binary version (`cifar-10-binary.tar.gz`, unpacked)."""
    files = {'train': [f'data_batch_{i}.bin' for i in range(1, 6)], 'test': ['test_batch.bin']}
    splits = {}
    for split, names in files.items():
        parts = []
        for name in names:
            if not (folder / name).exists():
                raise FileNotFoundError(
                    f'{folder / name} is missing; unpack cifar-10-binary.tar.gz again.'
                )
            content = np.fromfile(folder / name, np.uint8)
            if not len(content) or len(content) % _ROW or content[::_ROW].max() > 9:
                raise ValueError(
                    f'{folder / name} is damaged; unpack cifar-10-binary.tar.gz again.'
                )
            parts.append(content.reshape(-1, _ROW))
        rows = np.concatenate(parts)
        images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[split] = types.Split(
            _resized(np.ascontiguousarray(images), config.image_size),
            {'class': rows[:, 0].astype(np.int32)},
        )
    names_path = folder / 'batches.meta.txt'
    names = names_path.read_text().split() if names_path.exists() else [str(i) for i in range(10)]
    return image_files.make_source('cifar10', splits, names, str(folder), config)


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes [N, H, W, 3] to [N, size, size, 3]."""
    if images.shape[1:3] == (size, size):
        return images
    return np.stack([np.asarray(decoding.fit(Image.fromarray(image), size)) for image in images])
