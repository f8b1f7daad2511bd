"""Crops of the photographs that come with scikit-learn and scikit-image.

The class is the photograph. Each is cut into square blocks, and each block belongs to one split, so
that no pixel is in two of them. Every place in a block is seen twice, by crops that overlap.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from PIL import Image

SPLITS = ('train', 'valid', 'test')
VIEWS = 2  # Of each place.
BLOCKS = 3  # Along the shorter side of a photograph.

Box = tuple[int, int, int, int]  # Left, top, right, bottom, in pixels of the photograph.


class Photo(NamedTuple):
    """A photograph.

    package, file: where it is installed.
    synset: the WordNet 3.0 sense of what it shows.
    part: the box that is used; None for all of it.
    """

    package: str
    file: str
    synset: str
    part: Box | None = None


# Those in colour of scikit-image 0.26; its two of a motorcycle come without a licence.
PHOTOS = (
    Photo('sklearn', 'datasets/images/china.jpg', 'pagoda.n.01'),
    Photo('sklearn', 'datasets/images/flower.jpg', 'flower.n.02'),
    Photo('skimage', 'data/astronaut.png', 'astronaut.n.01'),
    Photo('skimage', 'data/chelsea.png', 'cat.n.01'),
    Photo('skimage', 'data/coffee.png', 'cup.n.01'),
    Photo('skimage', 'data/hubble_deep_field.jpg', 'galaxy.n.03'),
    Photo('skimage', 'data/ihc.png', 'tissue.n.01'),
    Photo('skimage', 'data/retina.jpg', 'retina.n.01', (210, 210, 1200, 1200)),  # Not the frame.
    Photo('skimage', 'data/rocket.jpg', 'rocket.n.01'),
)


@dataclasses.dataclass
class PhotosConfig(tfds.core.BuilderConfig):
    """How much is cut out.

    side: of a picture, in pixels, 16 to 128.
    num_images: of 'train', a positive multiple of 16; the other splits have an eighth each.
    seed: seed of all draws.
    """

    name: str = ''  # Filled in: it names the folder.
    side: int = 32
    num_images: int = 12_288
    seed: int = 0

    def __post_init__(self) -> None:
        if not 16 <= self.side <= 128:
            raise ValueError(f'data.image_size={self.side} must be from 16 to 128 pixels.')
        if self.num_images < 16 or self.num_images % 16:
            raise ValueError(f'data.num_images={self.num_images} must be a multiple of 16.')
        self.name = f'{self.side}px-{self.num_images}-seed{self.seed}'

    def num_places(self, split: str) -> int:
        """Number of places that a split shows."""
        return self.num_images // VIEWS // (1 if split == 'train' else 8)

    def first_place(self, split: str) -> int:
        """Number of places in the splits before one."""
        return sum(map(self.num_places, SPLITS[: SPLITS.index(split)]))


def open_photo(photo: Photo) -> Image.Image:
    """Reads a photograph, RGB.

    Raises:
      OSError: its package is not installed, or comes without it.
    """
    found = importlib.util.find_spec(photo.package)  # Importing scikit-image takes long.
    if found is None or found.origin is None:
        raise OSError(f'{photo.file} comes with {photo.package}, which is not installed.')
    return Image.open(pathlib.Path(found.origin).parent / photo.file).convert('RGB')


def split_blocks(size: tuple[int, int], photo: Photo, rng: np.random.Generator) -> dict[str, list]:
    """Cuts a photograph of (width, height) into blocks: split -> list of Box, at random, a sixth
    each for 'valid' and 'test'."""
    left, top, right, bottom = photo.part or (0, 0, *size)
    side = min(right - left, bottom - top) // BLOCKS
    corners = [
        (x, y)
        for y in range(top, bottom - side + 1, side)
        for x in range(left, right - side + 1, side)
    ]
    blocks = [
        (*corners[n], corners[n][0] + side, corners[n][1] + side)
        for n in rng.permutation(len(corners))
    ]
    sixth = round(len(blocks) / 6)
    return {
        'valid': blocks[:sixth],
        'test': blocks[sixth : 2 * sixth],
        'train': blocks[2 * sixth :],
    }


def draw_boxes(block: Box, rng: np.random.Generator) -> list[Box]:
    """Draws VIEWS square boxes of one place in a block: of a side from 0.5 to 0.9 of the block's,
    moved so little that two share more than half of the smaller one."""
    left, top, right, _ = block
    whole = right - left
    place = rng.uniform(0.12, 0.88, 2)  # Of the room in the block, from its upper left.
    boxes = []
    for share in rng.uniform(0.5, 0.9, VIEWS):
        side = int(share * whole)
        moved = place + rng.uniform(-0.12, 0.12, 2)
        x, y = (moved * (whole - side)).astype(int).tolist()
        boxes.append((left + x, top + y, left + x + side, top + y + side))
    return boxes


class Photos(tfds.core.GeneratorBasedBuilder):
    """Features: 'image' uint8 [side, side, 3], RGB; 'class' int32, a position in PHOTOS; 'object'
    int32, the place, counted through all splits; 'box' int32 [4], the crop (a Box)."""

    VERSION = tfds.core.Version('1.0.0')
    url_infos = None  # No downloads; TFDS's search for them needs importlib_resources.
    builder_config: PhotosConfig

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.side
        number = tfds.features.Tensor(shape=(), dtype=np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description='Crops of photographs, spatially disjoint splits, two crops a place.',
            disable_shuffling=True,
            features=tfds.features.FeaturesDict(
                {
                    'image': tfds.features.Tensor(shape=(side, side, 3), dtype=np.uint8),
                    'class': number,
                    'object': number,
                    'box': tfds.features.Tensor(shape=(4,), dtype=np.int32),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        images = [open_photo(photo) for photo in PHOTOS]
        rng = np.random.default_rng(self.builder_config.seed)
        blocks = [
            split_blocks(image.size, photo, rng)
            for image, photo in zip(images, PHOTOS, strict=True)
        ]
        return {split: self._generate_examples(split, images, blocks) for split in SPLITS}

    def _generate_examples(
        self, split: str, images: list[Image.Image], blocks: list[dict[str, list[Box]]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        first = config.first_place(split)
        places = range(config.num_places(split))
        for position in tqdm.tqdm(places, f'photos, {split}', leave=False):
            kind = position % len(PHOTOS)
            rng = np.random.default_rng([config.seed, SPLITS.index(split), position])
            here = blocks[kind][split]
            boxes = draw_boxes(here[rng.integers(len(here))], rng)
            for index, box in enumerate(boxes):
                crop = images[kind].crop(box)  # Before it is scaled: no pixel beyond counts.
                image = crop.resize((config.side, config.side), Image.Resampling.BICUBIC)
                yield (
                    VIEWS * position + index,
                    {
                        'image': np.asarray(image),
                        'class': kind,
                        'object': first + position,
                        'box': np.array(box, np.int32),
                    },
                )
