"""The 1,797 handwritten digits that come with scikit-learn, split 80/10/10."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

_SEED = 0  # The split is part of the dataset: a change needs a new VERSION.


def stratified_split(labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Splits examples 80/10/10, every class in the same proportion to within one example.

    Args:
      labels: int [N], the class of each example.
      seed: seed of the draw.

    Returns:
      'train', 'valid', 'test' -> int [n], sorted positions in `labels`; disjoint and complete.
    """
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {'train': [], 'valid': [], 'test': []}
    for value in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == value))
        tenth = round(len(members) / 10)
        parts['valid'].append(members[:tenth])
        parts['test'].append(members[tenth : 2 * tenth])
        parts['train'].append(members[2 * tenth :])
    return {split: np.sort(np.concatenate(members)) for split, members in parts.items()}


class Digits(tfds.core.GeneratorBasedBuilder):
    """Optical recognition of handwritten digits (Alpaydin & Kaynak, 1998; UCI; CC BY 4.0).

    Features: 'image' [8, 8] float32 in [0, 1]; 'label' in 0..9; 'index', the position of the image
    in `sklearn.datasets.load_digits`.
    """

    VERSION = tfds.core.Version('1.0.0')
    url_infos = None  # No downloads; TFDS's search for them needs importlib_resources.

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description='Handwritten digits, 8x8 grey levels, 1,797 images of 10 classes.',
            homepage='https://doi.org/10.24432/C50P49',
            disable_shuffling=True,
            features=tfds.features.FeaturesDict(
                {
                    'image': tfds.features.Tensor(shape=(8, 8), dtype=np.float32),
                    'label': tfds.features.ClassLabel(num_classes=10),
                    'index': tfds.features.Tensor(shape=(), dtype=np.int32),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        import sklearn.datasets

        digits = sklearn.datasets.load_digits()
        images = (digits.images / 16).astype(np.float32)
        indices = stratified_split(digits.target, _SEED)
        return {
            split: self._generate_examples(images, digits.target, index)
            for split, index in indices.items()
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in tqdm.tqdm(indices.tolist(), 'digits', leave=False):
            yield index, {'image': images[index], 'label': int(labels[index]), 'index': index}
