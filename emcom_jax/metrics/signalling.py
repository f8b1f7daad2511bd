"""Do speakers signal: does what they say depend on what they see?

After Lowe, Foerster, Boureau, Pineau & Dauphin 2019, On the pitfalls of measuring emergent
communication. It does not follow that anybody listens: see `listening.py`.
"""

import math

import numpy as np
import scipy.stats

from emcom_jax.metrics import arguments
from emcom_jax.metrics.information import (
    entropy,
    expected_mutual_information,
    mutual_information,
    name_rows,
    permutation_test,
)
from emcom_jax.types import EvalRecord

_BINS = 8  # Into which numbers are cut.


def speaker_consistency(messages: np.ndarray, labels: np.ndarray) -> float:
    """How far the label determines what is said, beyond chance.

    (I - E[I]) / (H(messages) - E[I]), where I is the mutual information of message and label (Lowe
    et al. 2019: speaker consistency; there with the speaker's action, where a speaker of ours does
    nothing but see) and E[I] its mean over all permutations of the labels (hypergeometric; Vinh,
    Epps & Bailey 2010). I itself is far from 0 by chance where messages or labels are many: of
    unrelated uniform ones, by about (messages - 1)(labels - 1) / (2 N ln 2) bits.

    Args:
      messages: int [N], or [N, T], one a row: whole messages, or symbols at one position.
      labels: int [N], or [N, A], one a row.

    Returns:
      At most 1: there is one message for each label; about 0 if unrelated, slightly negative values
      occur. nan where it is undefined: one message only, or so many labels (a label for each
      example) that they would determine any messages. Checked against scikit-learn's adjusted
      mutual information at N = 60, by hand at N = 4.
    """
    said, seen = arguments.aligned(name_rows(messages), name_rows(labels))
    by_chance = expected_mutual_information(said, seen)
    room = entropy(said) - by_chance
    if room <= 1e-9:
        return float('nan')
    return float((mutual_information(said, seen) - by_chance) / room)


def symbol_information(messages: np.ndarray, labels: np.ndarray) -> float:
    """The sum over positions of the mutual information of symbol and label, bits; the mean over
    attributes.

    By counting, and large by chance: compare it with permutations. It does not see what only
    several symbols together tell. What follows the end of a message counts as one more symbol.

    Args:
      messages: int [N, T].
      labels: int [N], or [N, A].

    Returns:
      In [0, T times the (mean) entropy of a label].
    """
    return _information(_cells(messages), _columns(labels, messages))


def speaker_consistency_of(
    record: EvalRecord, max_examples: int = 1_000, seed: int = 0
) -> dict[str, float | list[float]]:
    """Speaker consistency with each kind of label, on `max_examples` examples, means over speakers:
    of whole messages (`speaker_consistency_<label>`), and of the symbol at each position
    (`speaker_consistency_<label>_by_position`, a list of T). Attributes are taken together.

    Of bits, real vectors and strokes each number is a position (see `said_at`), and in place of the
    list stands the mean over those where it is defined, `speaker_consistency_<label>_of_positions`;
    of vectors and strokes, hardly two of which are alike as a whole, it stands alone.
    """
    chosen = arguments.sample(record.messages.shape[1], max_examples, seed)
    said = said_at(record, chosen)
    result: dict[str, float | list[float]] = {}
    for name, labels in record.labels.items():
        key, seen = f'speaker_consistency_{name}', labels[chosen]
        parts = np.array([[speaker_consistency(x, seen) for x in each.T] for each in said])
        if record.kind in ('symbols', 'bits'):
            whole = [speaker_consistency(messages, seen) for messages in said]
            result[key] = float(np.mean(whole))
        if record.kind == 'symbols':
            result[f'{key}_by_position'] = np.mean(parts, axis=0).tolist()
        else:
            known = parts[~np.isnan(parts)]
            result[f'{key}_of_positions'] = float(known.mean()) if known.size else float('nan')
    return result


def positive_signalling_of(
    record: EvalRecord, max_examples: int = 1_000, num_permutations: int = 199, seed: int = 0
) -> dict[str, float]:
    """Positive signalling (Lowe et al. 2019): whether what is said depends on what is seen.

    For each kind of label, on `max_examples` examples: `symbol_information_<label>`, bits, the mean
    over speakers (see `symbol_information`), and `positive_signalling_<label>_p`, its one-sided
    p-value in (0, 1] against permuted labels. Attributes are permuted together, and alike for all
    speakers. Of bits, real vectors and strokes each number is a symbol at a position of its own
    (see `said_at`). Checked at N = 30: uniform over random languages.
    """
    chosen = arguments.sample(record.messages.shape[1], max_examples, seed)
    languages = [_cells(messages) for messages in said_at(record, chosen)]
    rows, result = np.arange(len(chosen)), {}
    for name, labels in record.labels.items():
        columns = _columns(labels[chosen], rows)

        def information(_: np.ndarray, order: np.ndarray, seen: np.ndarray = columns) -> float:
            return float(np.mean([_information(cells, seen[order]) for cells in languages]))

        result[f'symbol_information_{name}'] = information(rows, rows)
        p_value = permutation_test(information, rows, rows, num_permutations, seed)
        result[f'positive_signalling_{name}_p'] = p_value
    return result


def said_at(record: EvalRecord, rows: np.ndarray) -> np.ndarray:
    """What speakers say of some examples, as symbols at positions, int [S, n, positions].

    Symbols are what they are (0 after the end). Of messages of other kinds each of the T V numbers
    is a position: a bit of a turn, a coordinate of a vector or a stroke. What speaker s says there
    is cut at its quantiles over these examples into 8 equally frequent bins, counted from 1 (equal
    values share one, so bits stay bits), and 0 is what was not said: turns that were not played,
    strokes that were not drawn. What is finer than that is not seen.
    """
    messages = record.messages[:, rows]
    if record.kind == 'symbols':
        return messages
    said = arguments.spoken(record)[:, rows, :, None]
    if record.kind == 'drawings' and messages.shape[-1] % 2:  # There are gates, shut anywhere.
        said = messages[..., -1:] > 0
    ranks = scipy.stats.rankdata(np.where(said, messages, np.inf), axis=1)
    count = np.maximum(said.sum(axis=1, keepdims=True), 1)
    bins = 1 + np.floor(_BINS * (ranks - 0.5) / count)
    # Not -1: there may be no numbers at all.
    shape = (*messages.shape[:2], math.prod(messages.shape[2:]))
    return np.where(said, bins, 0).astype(int).reshape(shape)


def _cells(messages: np.ndarray) -> np.ndarray:
    """A number for each symbol at a position, int [N, T], no two positions alike."""
    messages, _ = arguments.messages_of(messages)
    symbols = np.unique(messages, return_inverse=True)[1].reshape(messages.shape)
    return symbols + (int(symbols.max(initial=0)) + 1) * np.arange(messages.shape[1])


def _columns(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Labels of as many rows, numbered from 0 up in each column, int [N, A]."""
    labels = np.asarray(labels)
    columns = arguments.attributes_of(labels if labels.ndim > 1 else labels[:, None], rows)
    return np.stack([name_rows(x) for x in columns.T], 1) if columns.size else columns


def _information(cells: np.ndarray, columns: np.ndarray) -> float:
    """`symbol_information` of what `_cells` and `_columns` return."""
    size, length = cells.shape
    count = int(cells.max(initial=0)) + 1
    found = []
    for seen in columns.T:
        joint = _plogp(cells + count * seen[:, None], size)
        found.append(joint - _plogp(cells, size) - length * _plogp(seen, size))
    return max(0.0, float(np.mean(found))) if found else 0.0


def _plogp(numbers: np.ndarray, size: int) -> float:
    """The sum of p log2 p over distinct numbers, int [...], where p is their count over `size`."""
    p = np.bincount(numbers.ravel()) / size
    p = p[p > 0]
    return float(p @ np.log2(p))
