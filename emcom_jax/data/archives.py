"""DeepMind's archives of BYOL features, read as published: TFDS tfrecord folders.

The first use converts an archive into `.npy` files, which are memory-mapped from then on. They lie
beside the archive, or in the default data folder where the archive's folder is read-only, and are
made anew when a file of the archive changes. An interrupted conversion leaves nothing that loads.
"""

import hashlib
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import emcom_datasets
from emcom_jax import types
from emcom_jax.data import folders

_URL = 'https://storage.googleapis.com/dm_emcom_at_scale_dataset/{}.tar.gz'
_FORMAT = 1  # Of the converted files: a change converts again.


def load(config: Any) -> types.Source:
    """Loads `byol_imagenet2012` or `byol_celeb_a2`.

    Reads the keys `name, path, dtype` of the data group. `path` may be the folder that holds
    `<name>/`, that folder, or the folder of a version; of several versions the newest is taken.
    `dtype` is 'float32', the published precision, or 'float16' (also what None means), which keeps
    11 significant bits and halves the memory (ImageNet: 5.2 GB instead of 10.5 GB).

    Returns:
      A source with inputs [N, 2048] and the labels 'class' [N] and, for CelebA (whose class is the
      person), 'attributes' [N, 40]: 1 if present, else 0, ordered by name as in `features.json`.

    Raises:
      FileNotFoundError: the archive, or a file of it, is not there.
      ValueError: a file is damaged, or a value does not fit the dtype.
    """
    dtype = config.dtype or 'float16'
    if dtype not in ('float16', 'float32'):
        raise ValueError(f"data.dtype='{dtype}' is not known; it is 'float16' or 'float32'.")
    archive = _find(config.name, folders.data_folder(config.path))
    shards = _shards(archive, config.name)
    cache = _cached(archive, config.name, shards, dtype)
    splits = {}
    for split in shards:
        inputs = np.load(cache / f'{split}.inputs.npy', mmap_mode='r')
        labels = {
            label: np.load(cache / f'{split}.{label}.npy')
            for label in ('class', 'attributes')
            if (cache / f'{split}.{label}.npy').exists()
        }
        splits[split] = types.Split(inputs, labels)
    num_values = {'class': 1 + max(int(split.labels['class'].max()) for split in splits.values())}
    if 'attributes' in splits['train'].labels:
        num_values['attributes'] = 2
    return types.Source(config.name, splits, num_values)


def _find(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the newest version of the archive."""
    if (found := folders.newest_version(name, folder)) is not None:
        return found
    raise FileNotFoundError(
        f'{name} was not found: there is no {folder / name}/<version>/features.json; download '
        f'{_URL.format(name)} and unpack it in {folder}, or set --config.data.path to the folder '
        'where it lies.'
    )


def _shards(archive: pathlib.Path, name: str) -> dict[str, list[pathlib.Path]]:
    """Returns the files of each split, in order, and makes sure that none is missing."""
    found: dict[str, list[pathlib.Path]] = {}
    for path in sorted(archive.glob(f'{name}-*.tfrecord-*-of-*')):
        found.setdefault(path.name[len(name) + 1 :].split('.')[0], []).append(path)
    for split in ('train', 'valid', 'test'):
        if split not in found:
            raise FileNotFoundError(
                f'{archive} has no file {name}-{split}.tfrecord-*; unpack {_URL.format(name)} '
                'there again.'
            )
    for split, paths in found.items():
        total = paths[0].name.split('-')[-1]
        for index in range(int(total)):
            path = archive / f'{name}-{split}.tfrecord-{index:05d}-of-{total}'
            if path not in paths:
                raise FileNotFoundError(f'{path} is missing; unpack {_URL.format(name)} again.')
    return found


def _cached(
    archive: pathlib.Path, name: str, shards: dict[str, list[pathlib.Path]], dtype: str
) -> pathlib.Path:
    """Returns the folder of the converted files, after converting if need be.

    The folder's name is a fingerprint of the archive: where it exists, it is complete and current.
    """
    files = [archive / 'features.json', *(path for paths in shards.values() for path in paths)]
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    fingerprint = f'cache-{dtype}-{_digest((_FORMAT, state))}'
    elsewhere = emcom_datasets.DATA_FOLDER / f'{name}-{_digest(str(archive.resolve()))}'
    for place in (archive, elsewhere):
        if (place / fingerprint).is_dir():
            return place / fingerprint
    place = archive if os.access(archive, os.W_OK) else elsewhere
    cache, incomplete = place / fingerprint, place / f'cache-{dtype}-incomplete'
    with folders.exclusive(place, name):
        if cache.is_dir():  # Another process has converted it meanwhile.
            return cache
        for stale in place.glob(f'cache-{dtype}-*'):
            shutil.rmtree(stale)
        print(f'preparing {name} in {cache}', file=sys.stderr)
        incomplete.mkdir()
        try:
            _convert(archive, name, shards, dtype, incomplete)
            os.replace(incomplete, cache)
        finally:
            shutil.rmtree(incomplete, ignore_errors=True)
    return cache


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def _convert(
    archive: pathlib.Path,
    name: str,
    shards: dict[str, list[pathlib.Path]],
    dtype: str,
    folder: pathlib.Path,
) -> None:
    """Streams the archive into `<split>.{inputs,class,attributes}.npy`, one example at a time."""
    import tensorflow_datasets as tfds
    import tqdm

    try:
        features = tfds.features.FeaturesDict.from_config(archive)
        (size,) = features['logit'].shape
        names = sorted(features['attributes']) if 'attributes' in features else []
    except Exception as error:  # JSON, protobuf or TFDS, whichever trips over the file.
        raise ValueError(
            f"{archive / 'features.json'} does not describe features 'logit' and 'label'; unpack "
            f'{_URL.format(name)} again.'
        ) from error
    total = sum(path.stat().st_size for paths in shards.values() for path in paths)
    with tqdm.tqdm(total=total, unit='B', unit_scale=True, desc=name, leave=False) as progress:
        for split, paths in shards.items():
            classes, attributes = [], []
            # Written to a file, not through a memory map: a full disk is then an error, not a
            # crash. The number of examples goes into the header, of fixed length, at the end.
            with open(folder / f'{split}.inputs.npy', 'wb') as file:
                _write_header(file, dtype, (0, size))
                for path in paths:
                    for index, example in enumerate(_examples(path, name, features, progress)):
                        with np.errstate(over='ignore'):
                            row = example['logit'].astype(dtype)
                        if not np.isfinite(row).all():
                            raise ValueError(
                                f'{path}, record {index}: a feature is not finite as {dtype}; '
                                '--config.data.dtype=float32 holds larger values, else unpack '
                                f'{_URL.format(name)} again.'
                            )
                        file.write(row.tobytes())
                        classes.append(example['label'])
                        attributes.append([example['attributes'][key] > 0 for key in names])
                if not classes:
                    raise ValueError(f'{paths[0]} is empty; unpack {_URL.format(name)} again.')
                file.seek(0)
                _write_header(file, dtype, (len(classes), size))
            np.save(folder / f'{split}.class.npy', np.asarray(classes, np.int32))
            if names:
                np.save(folder / f'{split}.attributes.npy', np.asarray(attributes, np.int32))


def _write_header(file: Any, dtype: str, shape: tuple[int, int]) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {'descr': descr, 'fortran_order': False, 'shape': shape}
    np.lib.format.write_array_header_1_0(file, header)


def _examples(
    path: pathlib.Path, name: str, features: Any, progress: Any
) -> Iterator[dict[str, Any]]:
    """Yields the decoded records of one tfrecord file."""
    import grain.python as grain

    records = iter(grain.experimental.TFRecordIterDataset(str(path)))
    index = 0
    while True:
        try:
            record = next(records)
            example = features.deserialize_example_np(record)
        except StopIteration:
            return
        except Exception as error:  # The reader, protobuf or TFDS, whichever trips over it.
            raise ValueError(
                f'{path} is truncated or corrupt at record {index}; unpack {_URL.format(name)} '
                'again.'
            ) from error
        progress.update(len(record) + 16)  # Each record is framed by its length and checksums.
        index += 1
        yield example
