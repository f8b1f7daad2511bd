"""Splits that a dataset does not come with, drawn from those that it has."""

from collections.abc import Mapping

import numpy as np

from emcom_jax import types
from emcom_jax.data.decoding import Images, say


def hold_out(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws examples, of every group in proportion to within one.

    Args:
      groups: int [N], the class of each example.
      count: how many to draw, at most N.
      seed: of the draw.

    Returns:
      int64 [count], sorted and distinct.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(groups))
    by_group = shuffled[np.argsort(groups[shuffled], kind='stable')]
    # Every (N / count)-th of the examples, group after group, from a random start.
    place = (np.arange(count) + rng.random()) * (len(groups) / max(count, 1))
    return np.sort(by_group[place.astype(np.int64)])


def complete(splits: Mapping[str, types.Split], where: str, seed: int) -> dict[str, types.Split]:
    """Returns 'train', 'valid', 'test' and what else there is, and says what was split.

    What was held out already (as either 'valid' or 'test') is for the test; examples to validate on
    are then taken out of the training split: as many as there are to test, at most a tenth. A
    training split alone becomes 80/10/10. Draws are stratified by class.

    Args:
      splits: 'train' and perhaps others.
      where: what the splits are of, for messages.
      seed: of the draws.

    Raises:
      ValueError: there are too few examples.
    """
    train, rest = splits['train'], dict(splits)
    held = [name for name in ('valid', 'test') if name in splits]
    tenth = max(1, round(len(train.inputs) / 10))
    if len(held) == 2:
        return rest
    if len(train.inputs) < 3:
        raise ValueError(
            f'{where}: {len(train.inputs)} training examples are too few to hold any out; make '
            'folders valid and test, or add images.'
        )
    if held:
        rest['test'] = test = rest.pop(held[0])
        counts = {'valid': min(tenth, len(test.inputs))}
    else:
        counts = {'test': tenth, 'valid': tenth}
    left = np.arange(len(train.inputs))
    for name, count in counts.items():
        drawn = hold_out(_groups(train)[left], count, seed)
        rest[name] = take(train, left[drawn])
        left = np.delete(left, drawn)
    rest['train'] = take(train, left)
    sizes = ', '.join(f'{name} {len(rest[name].inputs):,}' for name in ('train', 'valid', 'test'))
    origin = 'test is what was held out, valid is out of train' if held else 'all out of one split'
    say(f'{where}: {sizes} examples ({origin}; data.seed={seed})')
    return rest


def take(split: types.Split, rows: np.ndarray) -> types.Split:
    """Returns the examples at `rows` int [n] of a split; images stay undecoded."""
    inputs = split.inputs
    return types.Split(
        inputs.take(rows) if isinstance(inputs, Images) else inputs[rows],
        {name: values[rows] for name, values in split.labels.items()},
    )


def _groups(split: types.Split) -> np.ndarray:
    """A number for each example [N], equal where the first label is."""
    values = next(iter(split.labels.values()))
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
