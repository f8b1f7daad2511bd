"""Makes the files that `data.dialogue_files` reads from images and descriptions of your own.

The images of Evtimova et al. 2018 are gone from the web. From a folder of class folders, a file of
descriptions and torchvision's weights of ResNet-34 this makes what they published:

    python -m emcom_jax.featurize --images=mammals --descriptions=mammals.csv \
        --weights=resnet34.pth --output=mammals_features

`--config.data.name=dialogue_files --config.data.path=mammals_features` then plays on it.

As there: 30 classes, 100 images of each in train, dev and test, class after class; `avgpool_512`
[N, 1, 512], the map `layer4_2` [N, 1, 512, h, w], `fc` [N, 1, 1000] where the weights have a
classifier, and `Target` [N]. Unlike there, channels are scaled as the weights want it (ImageNet's
moments; `--channels=plain` for 0.5 and 0.5), and the map is that after the block's ReLU.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.agents.pretrained import to_haiku
from emcom_jax.agents.vision import make_trunk
from emcom_jax.agents.weight_files import read_state_dict
from emcom_jax.config import base
from emcom_jax.data import class_folders, decoding
from emcom_jax.data.bank import CHANNELS, PIXEL
from emcom_jax.data.dialogue_files import read_descriptions
from emcom_jax.runtime.files import replace_text, write_arrays

SPLITS = ('train', 'dev', 'test')
_AT_ONCE = 32  # Images.
_CLASSIFIER = re.compile(r'(?:.*\.)?fc\.(weight|bias)$')


def choose(
    found: class_folders.Found, described: Sequence[str], classes: int, each: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Draws images: class -> split -> int rows of `found`, none in two splits.

    Args:
      found: all images.
      described: names of class folders, in the order in which they are taken.
      classes: how many of them to take.
      each: images of a class in each split; of a class with fewer than three times as many a third.
      seed: of the draws; those of a class do not depend on other classes.

    Raises:
      ValueError: fewer described classes have three images.
    """
    folders = found.folders.tolist()
    chosen: dict[str, dict[str, np.ndarray]] = {}
    for name in described:
        number = folders.index(name) if name in folders else -1
        rows = np.flatnonzero(found.classes == number)
        count = min(each, len(rows) // len(SPLITS))
        if count and len(chosen) < classes:
            drawn = np.random.default_rng([seed, number]).permutation(rows)[: count * len(SPLITS)]
            parts = np.split(drawn, len(SPLITS))
            chosen[name] = {split: np.sort(part) for split, part in zip(SPLITS, parts, strict=True)}
    if len(chosen) < classes:
        raise ValueError(
            f'only {len(chosen)} classes have a description and {len(SPLITS)} images, where '
            f'{classes} are wanted; labels of descriptions must be names of class folders, such as '
            f'{folders[0]!r}.'
        )
    return chosen


def make_featurizer(
    path: pathlib.Path, trunk: ConfigDict, channels: str
) -> Callable[[Any], dict[str, np.ndarray]]:
    """Returns images [N, S, S, 3] uint8 -> the arrays of a file, by their published names.

    path: of the weights (see `read_state_dict`), which must fit the trunk.
    trunk: the config of a trunk, see `agents.vision`.
    channels: a key of `CHANNELS`.

    Raises:
      ValueError, OSError: weights that cannot be read, or do not fit.
    """
    tensors = read_state_dict(path)
    params, state = to_haiku(tensors, trunk)
    transformed = hk.transform_with_state(lambda images: make_trunk(trunk)(images, False))
    moments = [np.array(each, np.float32).reshape(1, 1, 1, 3) for each in CHANNELS[channels]]
    classifier = {
        match[1]: array for name, array in tensors.items() if (match := _CLASSIFIER.match(name))
    }

    @jax.jit
    def look(images: jax.Array) -> dict[str, jax.Array]:
        inputs = (images.astype(jnp.float32) / PIXEL - moments[0]) / moments[1]
        features, _ = transformed.apply(params, state, None, inputs)
        seen = {'avgpool_512': features.pooled}
        seen['layer4_2'] = jnp.moveaxis(list(features.maps.values())[-1], -1, 1)
        if len(classifier) == 2:
            bias = classifier['bias'].astype(np.float32)
            seen['fc'] = features.pooled @ classifier['weight'].astype(np.float32).T + bias[None]
        return {name: values[:, None] for name, values in seen.items()}

    def featurize(images: Any) -> dict[str, np.ndarray]:
        parts = []
        for start in range(0, len(images), _AT_ONCE):
            batch = np.asarray(images[start : start + _AT_ONCE])
            rest = np.zeros((_AT_ONCE - len(batch), *batch.shape[1:]), np.uint8)
            padded = np.concatenate([batch, rest])  # All of one size: nothing is compiled again.
            seen = jax.device_get(look(padded))
            parts.append({name: values[: len(batch)] for name, values in seen.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return featurize


def write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz or .hdf5 file.

    Raises:
      ValueError: it is .hdf5, and h5py is not installed.
    """
    if path.suffix == '.npz':
        write_arrays(path, arrays)
        return
    h5py = _h5py()
    with h5py.File(path, 'w') as file:
        for name, values in arrays.items():
            file[name] = values


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ValueError(
            "--format=hdf5 needs h5py: pip install 'emcom_jax[hdf5]', or say --format=npz"
        ) from None
    return h5py


# --- the command ----------------------------------------------------------------------------------


def _parse(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        prog='python -m emcom_jax.featurize',
        description='Makes files of features and descriptions for the dialogue game from images.',
    )
    for name, meaning in {
        'images': 'folder of class folders',
        'descriptions': 'lines `label id,label,description`; a label is the name of a class folder',
        'weights': 'of the trunk, with torchvision names: .pth, .safetensors or .npz',
        'output': 'folder to write',
    }.items():
        parser.add_argument(f'--{name}', help=meaning, type=pathlib.Path, required=True)
    for name, meaning, default in (
        ('classes', 'classes, the first that are described and have images', 30),
        ('each', 'images of a class in each split, at most', 100),
        ('size', 'side of the images, pixels', 227),
        ('width', 'channels of the first stage of the trunk', 64),
        ('seed', 'of the draws', 0),
    ):
        parser.add_argument(f'--{name}', help=f'{meaning} ({default})', type=int, default=default)
    for name, meaning, choices in (
        ('trunk', 'architecture', ('resnet34', 'resnet10', 'resnet18', 'resnet50', 'resnet101')),
        ('channels', 'how images are scaled', ('imagenet', 'plain')),
        ('format', 'of the files', ('hdf5', 'npz')),
    ):
        parser.add_argument(f'--{name}', help=meaning, choices=choices, default=choices[0])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes train, dev and test, and descriptions.csv of the classes that are in them."""
    options = _parse(arguments)
    if min(options.classes, options.each, options.size) < 1:
        raise ValueError('--classes, --each and --size must be at least 1')
    if options.format == 'hdf5':
        _h5py()
    described = read_descriptions(options.descriptions)
    config = base()
    trunk = config.speaker.trunk
    trunk.update(name=options.trunk, width=options.width)
    featurize = make_featurizer(options.weights, trunk, options.channels)
    found = class_folders.scan(options.images, config.data)
    numbers = {label: number for number, (label, _) in described.items()}
    chosen = choose(found, list(numbers), options.classes, options.each, options.seed)
    images = decoding.Images(
        decoding.Files(str(options.images), found.names),
        np.arange(len(found.names)),
        found.classes,
        options.size,
    )
    options.output.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        rows = np.concatenate([parts[split] for parts in chosen.values()])
        counts = [len(parts[split]) for parts in chosen.values()]
        targets = np.repeat([numbers[name] for name in chosen], counts)
        arrays = featurize(images.take(rows)) | {'Target': targets}
        write(options.output / f'{split}.{options.format}', arrays)
        print(f'{split}: {len(rows):,} images of {len(chosen)} classes')
    lines = [f'{numbers[name]},{name},{described[numbers[name]][1]}\n' for name in chosen]
    replace_text(options.output / 'descriptions.csv', ''.join(lines))


if __name__ == '__main__':
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
