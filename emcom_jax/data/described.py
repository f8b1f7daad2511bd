"""Sources whose classes are described in words, and whose images are features already."""

import itertools
from typing import Any

import numpy as np

from emcom_jax import types
from emcom_jax.data import pixels

_CELL, _BLOCK, _ORIENTATIONS = 4, 2, 8  # Pixels, cells, and bins of half a circle.
_AT_ONCE = 512  # Images.
_SYLLABLES = [''.join(pair) for pair in itertools.product('bdfgklmnprstvz', 'aeiou')]
_MOST_CLASSES = len(_SYLLABLES) ** 2 // 2  # As words of two syllables go, two for each class.


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


def clusters(config: Any) -> types.Source:
    """Draws a world in which some classes are harder to tell apart than others: inputs [N, D]
    float32, labels 'class', 'cluster' (that which a class looks like) and 'described' (that which
    its description tells of).

    Clusters have a centre, of deviation 1 in each of the D = `num_features` features, and
    `cluster_sizes` classes, which deviate from it by `cluster_spread`; examples deviate from their
    class by `feature_noise`. A class is described by two made-up words, one of its cluster and one
    of its place in it. Classes are equally frequent.

    With `cluster_permuted`, a control, each class has the description of another one, so that what
    looks alike is no longer described alike.

    Reads the keys `cluster_sizes, cluster_spread, cluster_permuted, num_features, feature_noise,
    num_images, seed` of the data group; nothing is stored.

    Raises:
      ValueError: for a size or number that is out of range.
    """
    sizes, number = tuple(config.cluster_sizes), sum(config.cluster_sizes)
    if min(sizes, default=0) < 1 or not 2 <= number <= _MOST_CLASSES:
        raise ValueError(
            f'data.cluster_sizes={sizes} must be at least 1 each, and from 2 to {_MOST_CLASSES:,} '
            'classes together.'
        )
    if not config.num_features or config.num_features < 1:
        raise ValueError(f'data.num_features={config.num_features} must be at least 1.')
    for key in ('cluster_spread', 'feature_noise'):
        if config[key] < 0:
            raise ValueError(f'data.{key}={config[key]} must not be negative.')
    if config.num_images < max(number, 8):
        raise ValueError(f'data.num_images={config.num_images} must be at least {max(number, 8)}.')
    rng = np.random.default_rng(config.seed)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.standard_normal((len(sizes), config.num_features))
    means = centres[cluster]
    means += config.cluster_spread * rng.standard_normal(means.shape)
    order = rng.permutation(number)
    told = order if config.cluster_permuted else np.arange(number)
    place = np.arange(number) - np.searchsorted(cluster, cluster)
    words = [''.join(pair) for pair in itertools.product(_SYLLABLES, repeat=2)]
    splits = {}
    for name, share in (('train', 1), ('valid', 8), ('test', 8)):
        label = rng.permutation(np.resize(np.arange(number), config.num_images // share))
        noise = config.feature_noise * rng.standard_normal((len(label), config.num_features))
        labels = {'class': label, 'cluster': cluster[label], 'described': cluster[told[label]]}
        splits[name] = types.Split(
            (means[label] + noise).astype(np.float32),
            {key: values.astype(np.int32) for key, values in labels.items()},
        )
    return types.Source(
        'clusters',
        splits,
        {'class': number, 'cluster': len(sizes), 'described': len(sizes)},
        class_descriptions=tuple(
            f'a {words[len(sizes) + place[one]]} {words[cluster[one]]}' for one in told
        ),
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
