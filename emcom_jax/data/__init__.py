"""Data sources: what the games are about.

`load` makes a `types.Source` from the config's data group; a new source is one line here.
"""

from collections.abc import Callable
from typing import Any

from emcom_jax import types
from emcom_jax.data import (
    archives,
    described,
    dialogue_files,
    features,
    image_archives,
    image_files,
    pixels,
    prepared,
)
from emcom_jax.tables import look_up

# Name -> loader; each reads only those keys of the data group that its docstring names.
SOURCES: dict[str, Callable[[Any], types.Source]] = {
    'digits': prepared.digits,
    'concepts': prepared.concepts,
    'shapes': pixels.shapes,
    'photos': pixels.photos,
    'shapes_features': described.shapes_features,
    'clusters': described.clusters,
    'dialogue_files': dialogue_files.load,
    'byol_imagenet2012': archives.load,
    'byol_celeb_a2': archives.load,
    'features': features.load,
    'image_folder': image_files.load,
    **dict.fromkeys(image_archives.LAYOUTS, image_archives.load),
}


def load(config: Any) -> types.Source:
    """Loads the source that `config.name` names.

    Args:
      config: the data group of a config, or anything with its keys as attributes: `name`, `path`
        (where the data lies; None is the folder `emcom_datasets/data`), and what the source reads.

    Raises:
      ValueError: an unknown name, or a value or file that is not right.
      OSError: a file is missing or a folder cannot be written to.
    """
    return look_up(SOURCES, config.name, 'data source')(config)
