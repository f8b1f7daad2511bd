"""Labels of images, of which a classifier may know few."""

from typing import NamedTuple

import numpy as np

from emcom_jax.types import Source

SPLITS = ('train', 'valid', 'test')


class Task(NamedTuple):
    """What is to be told apart in the images of a source.

    labels: split -> int32 [N], a class, -1 for one that train does not have; or float32 [N, n] of 0
        and 1, several classes.
    num_classes: n.
    """

    source: Source
    labels: dict[str, np.ndarray]
    num_classes: int


def make_task(title: str, source: Source) -> Task:
    """The classes of a source's images, numbered as far as train has them; else its attributes, if
    they say of each of several classes whether it is there. `title`: of the source, in an error."""
    labels = {split: source.splits[split].labels for split in SPLITS}
    if 'class' in labels['train']:
        values = np.unique(labels['train']['class'])
        if len(values) < 2:
            raise ValueError(f'linear_evaluation.data: {title} has one class in train')

        def position(classes: np.ndarray) -> np.ndarray:
            places = np.minimum(np.searchsorted(values, classes), len(values) - 1)
            return np.where(values[places] == classes, places, -1).astype(np.int32)

        found = {split: position(each['class']) for split, each in labels.items()}
        return Task(source, found, len(values))
    several = labels['train'].get('attributes')
    if several is None or not np.isin(several, (0, 1)).all():
        raise ValueError(
            f'linear_evaluation.data: {title} has neither a class of each image, nor attributes '
            'that are 0 or 1'
        )
    found = {split: each['attributes'].astype(np.float32) for split, each in labels.items()}
    return Task(source, found, several.shape[1])


def choose_labelled(labels: np.ndarray, amount: float, seed: int, draw: int) -> np.ndarray:
    """The examples whose labels are known: a share (a float) of each class, at least one, or a
    number (an int) of each class, at most all; a smaller amount is a part of a larger one. Of
    examples of several classes, a share of all."""
    order = np.random.default_rng((seed, draw)).permutation(len(labels))
    if amount == 1.0 and isinstance(amount, float):
        return np.arange(len(labels))
    groups = [order]
    if labels.ndim == 1:
        groups = [order[labels[order] == value] for value in np.unique(labels)]
    rows = [
        group[: amount if isinstance(amount, int) else max(1, round(amount * len(group)))]
        for group in groups
    ]
    return np.sort(np.concatenate(rows))


def amount_in_words(amount: float) -> str:
    """1 -> '1/class', 0.1 -> '10%'."""
    return f'{amount}/class' if isinstance(amount, int) else f'{100 * amount:g}%'
