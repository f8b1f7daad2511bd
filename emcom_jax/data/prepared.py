"""Sources that are prepared on first use, by the builders of `emcom_datasets`."""

import contextlib
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

    columns = _load(builders.Digits, folders.data_folder(config.path))
    splits = {
        name: types.Split(
            column['image'].reshape(-1, 64), {'class': column['label'].astype(np.int32)}
        )
        for name, column in columns.items()
    }
    return types.Source('digits', splits, {'class': 10}, image_shape=(8, 8))


def concepts(config: Any) -> types.Source:
    """Loads a world of A attributes with V values: inputs [N, A * V] one-hot, label 'attributes'.

    Reads the keys `path, num_attributes, num_values, held_out, seed` of the data group; what they
    mean, and what the split 'ood' is, stands in `emcom_datasets/concepts.py`.

    Raises:
      ValueError: for a world that cannot be made.
    """
    from emcom_datasets import concepts as builders

    world = builders.ConceptsConfig(
        num_attributes=config.num_attributes,
        num_values=config.num_values,
        held_out=config.held_out,
        seed=config.seed,
    )
    columns = _load(builders.Concepts, folders.data_folder(config.path), config=world)
    one_hot = np.eye(config.num_values, dtype=np.float32)
    splits = {
        name: types.Split(
            one_hot[column['attributes']].reshape(len(column['attributes']), -1), dict(column)
        )
        for name, column in columns.items()
    }
    return types.Source('concepts', splits, {'attributes': config.num_values})


def _load(builder_class: Any, folder: pathlib.Path, **kwargs: Any) -> dict[str, dict[str, Any]]:
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
