"""Sources whose classes are described in words, and whose images are features already."""

from typing import Any

import numpy as np

from emcom_jax import types
from emcom_jax.data import pixels

_CELL, _BLOCK, _ORIENTATIONS = 4, 2, 8  # Pixels, cells, and bins of half a circle.


def shapes_features(config: Any) -> types.Source:
    """Loads the drawn scenes of `shapes` as histograms of oriented gradients: inputs [N, D] float32
    in [0, 1], a flattened map with a block of cells at each place; labels and descriptions are
    those of `shapes`, as is the split 'ood', of classes that are not trained on.

    Of 'train', each scene is there twice, the second time mirrored.

    Reads the keys `path, image_size, num_images, seed` of the data group.

    Raises:
      ValueError: for a size or number that is out of range.
    """
    source = pixels.shapes(config)
    splits = {}
    for name, split in source.splits.items():
        images, labels = np.asarray(split.inputs), split.labels
        if name == 'train':
            images = np.concatenate([images, images[:, :, ::-1]])
            labels = {label: np.concatenate([values] * 2) for label, values in labels.items()}
        splits[name] = types.Split(_gradients(images), labels)
    descriptions = {
        name: texts * (len(splits[name].inputs) // len(texts))
        for name, texts in (source.descriptions or {}).items()
    }
    side = config.image_size // _CELL - _BLOCK + 1
    return source._replace(
        name='shapes_features',
        splits=splits,
        image_shape=None,
        descriptions=descriptions,
        map_shape=(side**2, _BLOCK**2 * _ORIENTATIONS),
    )


def _gradients(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of images [N, H, W, 3] uint8, blocks
    of cells normalised by their length: [N, D] float32."""
    from skimage.feature import hog  # Which takes half a second to import.

    return np.stack(
        [
            hog(
                image,
                orientations=_ORIENTATIONS,
                pixels_per_cell=(_CELL, _CELL),
                cells_per_block=(_BLOCK, _BLOCK),
                channel_axis=-1,
            ).astype(np.float32)
            for image in images
        ]
    )
