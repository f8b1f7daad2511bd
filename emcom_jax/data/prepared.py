"""Sources that are prepared on first use, by the builders of `emcom_datasets`."""

import contextlib
import functools
import io
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from emcom_jax import types
from emcom_jax.data import folders


def digits(config: Any) -> types.Source:
    """Loads 1,797 handwritten digits as pixels: inputs [N, 64] in [0, 1], label 'class' in 0..9.

    Reads the key `path` of the data group. The split is the dataset's own, whatever the seed.
    """
    from emcom_datasets import digits as builders

    columns = load_columns(builders.Digits, folders.data_folder(config.path))
    splits = {
        name: types.Split(
            column['image'].reshape(-1, 64), {'class': column['label'].astype(np.int32)}
        )
        for name, column in columns.items()
    }
    return types.Source('digits', splits, {'class': 10}, image_shape=(8, 8))


def concepts(config: Any) -> types.Source:
    """Loads a world of A attributes with V values: inputs [N, D], label 'attributes'.

    Inputs are one-hot, D = A * V. With data.num_features=D they are sums of random vectors, one for
    each value of each attribute, and have variance 1. Gaussian noise of deviation
    `data.feature_noise` is added, drawn once for each example.

    Reads the keys `path, num_attributes, num_values, held_out, num_features, feature_noise, seed`
    of the data group; what the split 'ood' is stands in `emcom_datasets/concepts.py`.

    Raises:
      ValueError: for a world that cannot be made.
    """
    from emcom_datasets import concepts as builders

    if config.num_features is not None and config.num_features < 1:
        raise ValueError(f'data.num_features={config.num_features} must be at least 1.')
    if config.feature_noise < 0:
        raise ValueError(f'data.feature_noise={config.feature_noise} must not be negative.')
    world = builders.ConceptsConfig(
        num_attributes=config.num_attributes,
        num_values=config.num_values,
        held_out=config.held_out,
        seed=config.seed,
    )
    columns = load_columns(builders.Concepts, folders.data_folder(config.path), config=world)
    rng = np.random.default_rng(config.seed)
    attributes, values = config.num_attributes, config.num_values
    meaning = np.eye(attributes * values, dtype=np.float32)
    if config.num_features is not None:
        shape = (attributes * values, config.num_features)
        meaning = rng.standard_normal(shape, np.float32) / np.float32(attributes**0.5)
    by_attribute = meaning.reshape(attributes, values, -1)

    def inputs(rows: np.ndarray) -> np.ndarray:
        parts = (by_attribute[place, rows[:, place]] for place in range(attributes))
        clean = functools.reduce(np.add, parts)
        if not config.feature_noise:
            return clean
        noise = rng.standard_normal(clean.shape, np.float32)
        return clean + np.float32(config.feature_noise) * noise

    splits = {
        name: types.Split(inputs(column['attributes']), dict(column))
        for name, column in columns.items()
    }
    return types.Source('concepts', splits, {'attributes': values})


def load_columns(
    builder_class: Any, folder: pathlib.Path, **kwargs: Any
) -> dict[str, dict[str, Any]]:
    """Prepares a dataset unless it is there, and reads it: split -> feature -> [N, ...]."""

    def make() -> Any:
        return builder_class(data_dir=folder, file_format='array_record', **kwargs)

    with _quiet():
        builder = make()
        if not builder.is_prepared():
            with folders.exclusive(folder, builder.name):
                builder = make()  # Another process may have prepared it meanwhile.
                if not builder.is_prepared():
                    print(f'preparing {builder.name} in {builder.data_dir}', file=sys.stderr)
                    with tempfile.TemporaryDirectory() as downloads:
                        builder.download_and_prepare(download_dir=downloads)
        try:
            splits = tuple(builder.info.splits) or ('train',)  # None: fails, as it should.
            return {split: _columns(builder.as_data_source(split)) for split in splits}
        except Exception as error:  # Whichever layer trips over the damaged file.
            raise ValueError(
                f'{builder.data_dir} is damaged; delete that folder and it is prepared again.'
            ) from error


def _columns(examples: Any) -> dict[str, np.ndarray]:
    rows = examples.__getitems__(range(len(examples)))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what TFDS prints and logs; the builders show a progress bar of their own."""
    import tensorflow_datasets as tfds

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(True)
        logging.set_verbosity(verbosity)
