"""Sources whose classes are described in words, and whose images are features already."""

from typing import Any

import numpy as np

from emcom_jax import types
from emcom_jax.data import pixels

_CELL, _BLOCK, _ORIENTATIONS = 4, 2, 8  # Pixels, cells, and bins of half a circle.
_AT_ONCE = 512  # Images.


def shapes_features(config: Any) -> types.Source:
    """Loads the drawn scenes of `shapes` as histograms of oriented gradients: inputs [N, D] float32
    in [0, 1], a flattened map with a block of cells at each place; labels and descriptions are
    those of `shapes`, as is the split 'ood', of classes that are not trained on. The split
    'transfer' shows a family of which no class is.

    Of 'train', each scene is there twice, the second time mirrored.

    Reads the keys `path, image_size, num_images, seed` of the data group.

    Raises:
      ValueError: for a size or number that is out of range.
    """
    if config.image_size % _CELL:
        raise ValueError(f'data.image_size={config.image_size} must be a multiple of {_CELL}.')
    source = pixels.shapes(config, transfer=True)
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
    """As `gradients`, some images at a time."""
    return np.concatenate(
        [gradients(images[first : first + _AT_ONCE]) for first in range(0, len(images), _AT_ONCE)]
    )


def gradients(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of images [N, H, W, 3] uint8, whose
    sides are multiples of 4: [N, D] float32.

    At each pixel the channel of the steepest gradient counts, in one of 8 orientations, by its
    steepness; cells of 4 x 4 pixels are averaged, and blocks of 2 x 2 cells normalised by their
    length, clipped at 0.2, and normalised again. D counts the rows and columns of blocks, those of
    cells in a block, and orientations.
    """
    pixels = images.astype(np.float64)
    down, right = np.zeros_like(pixels), np.zeros_like(pixels)
    down[:, 1:-1] = pixels[:, 2:] - pixels[:, :-2]
    right[:, :, 1:-1] = pixels[:, :, 2:] - pixels[:, :, :-2]
    steepest = np.hypot(down, right).argmax(-1)[..., None]
    down, right = (np.take_along_axis(x, steepest, -1)[..., 0] for x in (down, right))
    bins = np.rad2deg(np.arctan2(down, right)) % 180 // (180 / _ORIENTATIONS)
    number, height, width = bins.shape
    steepness = np.hypot(down, right)[..., None] * (bins[..., None] == np.arange(_ORIENTATIONS))
    cells = steepness.reshape(number, height // _CELL, _CELL, width // _CELL, _CELL, -1)
    cells = cells.mean(axis=(2, 4))
    windows = np.lib.stride_tricks.sliding_window_view(cells, (_BLOCK, _BLOCK), axis=(1, 2))
    blocks = np.moveaxis(windows, 3, -1)  # [N, rows, columns, 2, 2, orientations]
    blocks = np.minimum(_unit(blocks), 0.2)
    return _unit(blocks).reshape(number, -1).astype(np.float32)


def _unit(blocks: np.ndarray) -> np.ndarray:
    return blocks / np.sqrt((blocks**2).sum(axis=(-3, -2, -1), keepdims=True) + 1e-10)
