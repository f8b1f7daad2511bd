"""Drawn scenes in colour: 30 nouns in 6 families, each object seen from two viewpoints.

'train', 'valid' and 'test' show new objects of the same 24 classes; 'ood' shows 6 classes more, one
of each family. `ShapesTransfer` shows 5 classes of another family. What is drawn stands in
`shapes_classes.py` and `outlines/`, how in `shapes_drawing.py`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from emcom_datasets.shapes_classes import (
    ATTRIBUTES,
    CLASSES,
    DRAWN,
    FAMILIES,
    NUM_TRAINED,
    PLANT,
    TRANSFER,
    count_parts,
)
from emcom_datasets.shapes_drawing import Object, View, draw_scene, render, render_outlines

SPLITS = ('train', 'valid', 'test', 'ood')
ALL_SPLITS = (*SPLITS, 'transfer')
VIEWS = 2  # Of each object.


@dataclasses.dataclass
class ShapesConfig(tfds.core.BuilderConfig):
    """How much is drawn.

    side: of a picture, in pixels, 16 to 512.
    num_images: of 'train', a positive multiple of 16; the other splits have an eighth each.
    seed: seed of all draws.
    """

    name: str = ''  # Filled in: it names the folder.
    side: int = 32
    num_images: int = 12_288
    seed: int = 0

    def __post_init__(self) -> None:
        if not 16 <= self.side <= 512:
            raise ValueError(f'data.image_size={self.side} must be from 16 to 512 pixels.')
        if self.num_images < 16 or self.num_images % 16:
            raise ValueError(f'data.num_images={self.num_images} must be a multiple of 16.')
        self.name = f'{self.side}px-{self.num_images}-seed{self.seed}'

    def num_objects(self, split: str) -> int:
        """Number of objects that a split shows."""
        return self.num_images // VIEWS // (1 if split == 'train' else 8)

    def first_object(self, split: str) -> int:
        """Number of objects in the splits before one."""
        return sum(map(self.num_objects, ALL_SPLITS[: ALL_SPLITS.index(split)]))


def class_of(split: str, position: int) -> int:
    """The class of the object at a position of a split: each class of the split in turn."""
    if split == 'transfer':
        return len(CLASSES) + position % len(TRANSFER)
    if split == 'ood':
        return NUM_TRAINED + position % (len(CLASSES) - NUM_TRAINED)
    return position % NUM_TRAINED


def attributes(thing: Object, view: View) -> list[int]:
    """The values of ATTRIBUTES."""
    family = (*FAMILIES, PLANT).index(DRAWN[thing.kind].family)
    parts = count_parts(thing.kind, thing.extra)
    return [family, thing.colour, thing.accent, thing.texture, view.size, *parts]


def scene(config: ShapesConfig, split: str, row: int) -> tuple[Object, View]:
    """What example number `row` of a split shows, and how it is seen."""
    position, index = divmod(row, VIEWS)
    key = (config.seed, ALL_SPLITS.index(split), position)
    return draw_scene(key, index, class_of(split, position))


def outlines(
    config: ShapesConfig, split: str, rows: Sequence[int] | np.ndarray, width: float
) -> np.ndarray:
    """The outlines of what examples `rows` [M] of a split show: uint8 [M, side, side], black on
    white, without colours, textures and backgrounds.

    width: of lines, a share of the frame.
    """
    shown = (scene(config, split, row) for row in np.asarray(rows).tolist())
    drawn = [render_outlines(thing, view, config.side, width) for thing, view in shown]
    return np.stack(drawn)


class Shapes(tfds.core.GeneratorBasedBuilder):
    """Features: 'image' uint8 [side, side, 3], RGB; 'class' and 'family' int32, positions in
    DRAWN and FAMILIES; 'object' int32, counted through all splits; 'attributes' int32 [A]."""

    VERSION = tfds.core.Version('1.0.0')
    url_infos = None  # No downloads; TFDS's search for them needs importlib_resources.
    builder_config: ShapesConfig
    shown: tuple[str, ...] = SPLITS

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.side
        number = tfds.features.Tensor(shape=(), dtype=np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description='Drawn scenes of 30 nouns in 6 families, two viewpoints an object.',
            disable_shuffling=True,
            features=tfds.features.FeaturesDict(
                {
                    'image': tfds.features.Tensor(shape=(side, side, 3), dtype=np.uint8),
                    'class': number,
                    'family': number,
                    'object': number,
                    'attributes': tfds.features.Tensor(shape=(len(ATTRIBUTES),), dtype=np.int32),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(split) for split in self.shown}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        first = config.first_object(split)
        objects = range(config.num_objects(split))
        for position in tqdm.tqdm(objects, f'shapes, {split}', leave=False):
            for number in range(VIEWS * position, VIEWS * (position + 1)):
                thing, view = scene(config, split, number)
                row = attributes(thing, view)
                yield (
                    number,
                    {
                        'image': render(thing, view, config.side),
                        'class': thing.kind,
                        'family': row[0],
                        'object': first + position,
                        'attributes': np.array(row, np.int32),
                    },
                )


class ShapesTransfer(Shapes):
    """The same features of scenes of plants, whose 'family' is the number after those of FAMILIES:
    the split 'transfer'. It is apart from `Shapes`, whose classes are counted without it."""

    shown = ('transfer',)
