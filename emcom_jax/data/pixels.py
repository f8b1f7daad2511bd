"""Sources of pictures in colour that are prepared on first use, by the builders of
`emcom_datasets`."""

from typing import Any

import numpy as np

from emcom_jax import types
from emcom_jax.data import folders
from emcom_jax.data.prepared import load_columns


def shapes(config: Any, transfer: bool = False) -> types.Source:
    """Loads drawn scenes: inputs uint8 [N, H, W, 3] with H = W = `image_size`; labels 'class',
    'family', 'object' (the same for each view of an object) and 'attributes'.

    The split 'ood' shows classes, one of each family, that are in no other. Classes and examples
    are described in words, of which those of 'ood' need no other than those of 'train'. What the
    attributes are stands in `emcom_datasets/shapes_classes.py`.

    transfer: whether there is a split 'transfer', too, of a family that is in no other, whose
        classes are described in words of those trained on; 'class' and 'family' count them then.

    Reads the keys `path, image_size, num_images, seed` of the data group.

    Raises:
      ValueError: for a size or number that is out of range.
    """
    from emcom_datasets import shapes as builders
    from emcom_datasets import shapes_classes

    drawn = builders.ShapesConfig(
        side=config.image_size, num_images=config.num_images, seed=config.seed
    )
    folder = folders.data_folder(config.path)
    columns = load_columns(builders.Shapes, folder, config=drawn)
    classes, families = shapes_classes.CLASSES, len(shapes_classes.FAMILIES)
    if transfer:
        columns |= load_columns(builders.ShapesTransfer, folder, config=drawn)
        classes, families = shapes_classes.DRAWN, families + 1
    values = max(len(shapes_classes.COLOURS), families)
    return types.Source(
        'shapes',
        {name: _split(column) for name, column in columns.items()},
        {
            'class': len(classes),
            'family': families,
            'object': sum(map(drawn.num_objects, columns)),
            'attributes': values,
        },
        image_shape=(config.image_size, config.image_size, 3),
        synsets={'class': tuple(one.synset for one in classes)},
        class_descriptions=tuple(one.description for one in classes),
        descriptions={
            name: tuple(map(shapes_classes.describe, column['attributes'].tolist()))
            for name, column in columns.items()
        },
    )


def photos(config: Any) -> types.Source:
    """Loads crops of photographs: inputs uint8 [N, H, W, 3] with H = W = `image_size`; labels
    'class' (the photograph) and 'object' (the same for crops of one place).

    Reads the keys `path, image_size, num_images, seed` of the data group.

    Raises:
      ValueError: for a size or number that is out of range.
      OSError: a photograph is not installed.
    """
    from emcom_datasets import photos as builders

    cut = builders.PhotosConfig(
        side=config.image_size, num_images=config.num_images, seed=config.seed
    )
    columns = load_columns(builders.Photos, folders.data_folder(config.path), config=cut)
    return types.Source(
        'photos',
        {name: _split(column) for name, column in columns.items()},
        {
            'class': len(builders.PHOTOS),
            'object': sum(map(cut.num_places, builders.SPLITS)),
        },
        image_shape=(config.image_size, config.image_size, 3),
        synsets={'class': tuple(photo.synset for photo in builders.PHOTOS)},
    )


def _split(column: dict[str, Any]) -> types.Split:
    labels = {
        name: column[name].astype(np.int32) for name in column if name not in ('image', 'box')
    }
    return types.Split(column['image'], labels)
