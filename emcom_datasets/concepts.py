"""Attribute-value worlds: every combination of A attributes with V values each, split twice over.

'valid' and 'test' are combinations held out i.i.d.; every single value still occurs in 'train'.
'ood' is held out systematically: some pairs (value of attribute 0, value of attribute 1) never
co-occur in 'train', 'valid' or 'test', although each of the two values occurs there with others;
'ood' is exactly the combinations that hold such a pair. To name them, a speaker has to recombine
what it has only said apart: the compositional generalisation of Chaabouni et al., *Compositionality
and generalization in emergent languages*, ACL 2020.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

MAX_COMBINATIONS = 1_000_000


@dataclasses.dataclass
class ConceptsConfig(tfds.core.BuilderConfig):
    """A world.

    num_attributes, num_values: A and V, each at least 2, with V**A at most MAX_COMBINATIONS.
    held_out: share in (0, 1) of the combinations outside 'ood' that 'valid' and 'test' halve.
    seed: seed of both draws.
    """

    name: str = ''  # Filled in: it names the folder.
    num_attributes: int = 4
    num_values: int = 10
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        self.name = (
            f'{self.num_attributes}x{self.num_values}-held_out{self.held_out}-seed{self.seed}'
        )


def novel_pairs(num_values: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the pairs of values that are reserved for 'ood': a tenth of all, at least one.

    They fill a randomly permuted table diagonal by diagonal, so no value has two pairs more than
    another, and each keeps partners outside.

    Returns:
      bool [V, V], True at (value of attribute 0, value of attribute 1) that never co-occur.
    """
    novel = np.zeros((num_values, num_values), bool)
    rows, columns = rng.permutation(num_values), rng.permutation(num_values)
    cell = np.arange(max(1, round(num_values**2 / 10)))
    novel[rows[cell % num_values], columns[(cell + cell // num_values) % num_values]] = True
    return novel


def split_combinations(
    num_attributes: int, num_values: int, held_out: float, seed: int
) -> dict[str, np.ndarray]:
    """Splits all V**A combinations as the head of this file says.

    Args: those of ConceptsConfig.

    Returns:
      'train', 'valid', 'test', 'ood' -> int32 [N, A] in [0, V); disjoint, together complete.

    Raises:
      ValueError: for a world out of range, too large, or too small for `held_out`.
    """
    world = f'data.num_attributes={num_attributes}, data.num_values={num_values}'
    if num_attributes < 2 or num_values < 2:
        raise ValueError(f'{world}: a world of concepts needs at least 2 of each.')
    if num_values**num_attributes > MAX_COMBINATIONS:
        raise ValueError(
            f'{world} make more than {MAX_COMBINATIONS:,} combinations: too many to enumerate.'
        )
    if not 0 < held_out < 1:
        raise ValueError(f'data.held_out={held_out} must be a share above 0 and below 1.')
    rng = np.random.default_rng(seed)
    everything = np.indices((num_values,) * num_attributes, np.int32).reshape(num_attributes, -1).T
    is_novel = novel_pairs(num_values, rng)[everything[:, 0], everything[:, 1]]
    rest = everything[~is_novel]
    held = round(held_out * len(rest))
    if held >= 2:
        for _ in range(100):  # Rejection keeps the draw uniform over the splits that qualify.
            order = rng.permutation(len(rest))
            train = rest[np.sort(order[held:])]
            if all(len(np.unique(column)) == num_values for column in train.T):
                return {
                    'train': train,
                    'valid': rest[np.sort(order[: held // 2])],
                    'test': rest[np.sort(order[held // 2 : held])],
                    'ood': everything[is_novel],
                }
    raise ValueError(
        f'data.held_out={held_out} with {world} leaves {len(rest) - held} combinations for train '
        f'and {held} for valid and test; train must show every value, and the other two need one '
        'combination each.'
    )


class Concepts(tfds.core.GeneratorBasedBuilder):
    """Feature: 'attributes' int32 [A], the value in [0, V) of each attribute."""

    VERSION = tfds.core.Version('1.0.0')
    url_infos = None  # No downloads; TFDS's search for them needs importlib_resources.
    builder_config: ConceptsConfig

    def _info(self) -> tfds.core.DatasetInfo:
        shape = (self.builder_config.num_attributes,)
        return tfds.core.DatasetInfo(
            builder=self,
            description='All combinations of attribute values, with i.i.d. and systematic splits.',
            disable_shuffling=True,
            features=tfds.features.FeaturesDict(
                {'attributes': tfds.features.Tensor(shape=shape, dtype=np.int32)}
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        world = self.builder_config
        splits = split_combinations(
            world.num_attributes, world.num_values, world.held_out, world.seed
        )
        return {split: self._generate_examples(rows) for split, rows in splits.items()}

    def _generate_examples(
        self, combinations: np.ndarray
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        for index, attributes in enumerate(tqdm.tqdm(combinations, 'concepts', leave=False)):
            yield index, {'attributes': attributes}
