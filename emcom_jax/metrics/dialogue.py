"""Dialogues: what passes in which turn, how long they last, and whether that betrays the target.

All is read off a saved `EvalRecord` with an `exchange`; what speaker s says is what it says to
listener s mod L, and their dialogues alone count here, up to the turn in which the listener ends
them (`lengths`: turns played, that one included).
"""

from typing import Any

import numpy as np
import scipy.stats

from emcom_jax.metrics.accuracy import with_interval
from emcom_jax.metrics.information import normalized_mutual_information
from emcom_jax.types import EvalRecord

LABEL = 'class'


def top_k_of(record: EvalRecord, ks: tuple[int, ...] = (1, 3, 6)) -> dict[str, Any]:
    """`accuracy_top<k>`, how often the target is among the k classes that the listener believes in
    most when the dialogue ends (of classes that it believes in alike, in expectation), with its
    interval; and `chance_top<k>`, k / D, with D the classes to choose from."""
    if not record.exchange:
        return {}
    classes = int(record.exchange['among'].sum())
    values: dict[str, Any] = {}
    for k in ks:
        if k < classes:
            hits = top_k(final_beliefs(record), record.labels[LABEL], k)
            values |= with_interval(f'accuracy_top{k}', hits.mean(axis=0))
            values[f'chance_top{k}'] = k / classes
    return values


def top_k(beliefs: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """The probability that a label is among the k likeliest classes, ties broken at random.

    Args:
      beliefs: [..., N, D].
      labels: int [N].

    Returns:
      [..., N].
    """
    own = np.take_along_axis(beliefs, _as_index(labels, beliefs), axis=-1)
    above, alike = (beliefs > own).sum(-1), (beliefs == own).sum(-1)
    return np.clip((k - above) / alike, 0.0, 1.0)


def turns_of(record: EvalRecord) -> dict[str, Any]:
    """How long dialogues last, and what that tells.

    * `turns`, `turns_deviation`: of all dialogues; `turns_each`, the mean of each class (nan for
      one that is not shown).
    * `turns_difficulty`: Spearman's correlation over classes of that mean with the share of wrong
      guesses; nan where one of them is constant.
    * `turns_nmi`: normalised mutual information of the number of turns and the class, mean over
      speakers; `turns_probe`, how often the class is guessed from the number of turns alone, by the
      commonest class of each number in the other half of the examples, beside
      `turns_probe_chance`, which is guessing the commonest class. What they say must not be in how
      long they talk, unless it is meant to.
    """
    if not record.exchange:
        return {}
    labels, lengths = record.labels[LABEL], record.lengths
    classes = len(record.exchange['among'])
    wrong = 1 - record.correct[-1].mean(axis=(0, 1), dtype=np.float64)
    turns, errors = np.full(classes, np.nan), np.full(classes, np.nan)
    for label in np.unique(labels):
        rows = labels == label
        turns[label], errors[label] = lengths[:, rows].mean(), wrong[rows].mean()
    shown = ~np.isnan(turns)
    rho = np.nan
    if shown.sum() > 2 and np.ptp(turns[shown]) > 0 and np.ptp(errors[shown]) > 0:
        rho = scipy.stats.spearmanr(turns[shown], errors[shown]).statistic
    nmi = [normalized_mutual_information(each, labels) for each in lengths]
    probes = np.array([_probe(each, labels) for each in lengths])
    return {
        'turns': float(lengths.mean()),
        'turns_deviation': float(lengths.std()),
        'turns_each': turns.tolist(),
        'turns_difficulty': float(rho),
        'turns_nmi': float(np.mean(nmi)),
        'turns_probe': float(probes[:, 0].mean()),
        'turns_probe_chance': float(probes[:, 1].mean()),
    }


def _probe(lengths: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy of guessing labels int [N] from lengths int [N], and without them; each half is
    guessed from the other."""
    half = np.random.default_rng(0).permutation(len(labels)) % 2 == 0
    right = np.zeros((2, len(labels)))
    for known, asked in ((half, ~half), (~half, half)):
        if not known.any():
            continue
        common = np.bincount(labels[known]).argmax()
        right[1, asked] = labels[asked] == common
        for length in np.unique(lengths[asked]):
            same = known & (lengths == length)
            guess = np.bincount(labels[same]).argmax() if same.any() else common
            rows = asked & (lengths == length)
            right[0, rows] = labels[rows] == guess
    with_them, without = right.mean(axis=1).tolist()
    return with_them, without


def dialogues_of(record: EvalRecord) -> dict[str, Any]:
    """What passes in each of the K turns; lists of K, means over the dialogues that go so far (nan
    where none does).

    * `belief_entropy_by_turn`, bits: the listener's doubt after the turn.
    * `accuracy_by_turn`: how often the class that it then believes in is right.
    * `information_by_turn`, bits: what it knows of the target, `log2 D - mean(- log2 belief)`, of
      all dialogues, as at their end where they have ended (a lower bound on the mutual information
      of target and talk, if the D classes are shown alike often). `information_first_share` is
      that of the first turn over that of the last: 1 where all is told at once.
    * `said_entropy_by_turn`, `answer_entropy_by_turn`, bits: of whole turns, mean over speakers, at
      most log2 of the dialogues that go so far.
    * `said_distance_by_turn`, `answer_distance_by_turn`: bits that differ from the turn before (of
      the first, from zeros).
    """
    if not record.exchange:
        return {}
    exchange, labels = record.exchange, record.labels[LABEL]
    beliefs = exchange['beliefs'].astype(np.float64)
    turns = beliefs.shape[2]
    played = np.arange(turns) < record.lengths[..., None]  # [S, N, K]
    surprise = -np.log2(np.maximum(_own(beliefs, labels), 1e-12))
    at_end = np.minimum(np.arange(turns), record.lengths[..., None] - 1)
    known = np.take_along_axis(surprise, at_end, axis=2).mean(axis=(0, 1))
    information = np.log2(exchange['among'].sum()) - known
    doubt = -(beliefs * np.log2(np.maximum(beliefs, 1e-12))).sum(-1)
    right = np.moveaxis(top_k(np.moveaxis(beliefs, 2, 0), labels, 1), 0, 2)
    values: dict[str, Any] = {
        'belief_entropy_by_turn': _mean(doubt, played),
        'accuracy_by_turn': _mean(right, played),
        'information_by_turn': information.tolist(),
        'information_first_share': _ratio(information[0], information[-1]),
    }
    for name, bits in (('said', record.messages), ('answer', exchange['answers'])):
        values[f'{name}_distance_by_turn'] = _mean(distances(bits), played)
        if record.kind == 'bits':
            values[f'{name}_entropy_by_turn'] = [
                float(np.mean(each)) if each else float('nan')
                for each in (
                    [
                        _entropy(bits[s, played[s, :, turn], turn])
                        for s in range(len(bits))
                        if played[s, :, turn].any()
                    ]
                    for turn in range(turns)
                )
            ]
    return values


def distances(bits: np.ndarray) -> np.ndarray:
    """The sum of absolute differences, Hamming's distance of bits, of each turn from the one
    before, and of the first from zeros: [..., K, V] -> [..., K]."""
    before = np.concatenate([np.zeros_like(bits[..., :1, :]), bits[..., :-1, :]], axis=-2)
    return np.abs(bits - before).sum(-1)


def confusion(record: EvalRecord) -> np.ndarray:
    """How often a class [D] is taken for another [D] when dialogues end, shares of the first's
    dialogues; rows of classes that are not shown are nan."""
    guesses, classes = final_beliefs(record).argmax(-1), len(record.exchange['among'])
    labels = np.broadcast_to(record.labels[LABEL], guesses.shape)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, guesses), 1)
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def final_beliefs(record: EvalRecord) -> np.ndarray:
    """What listeners believe when dialogues end, [S, N, D]."""
    last = record.lengths[..., None, None] - 1
    return np.take_along_axis(record.exchange['beliefs'], last, axis=2)[:, :, 0]


def _own(beliefs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The belief in the target, [S, N, K, D] -> [S, N, K]."""
    return np.take_along_axis(beliefs, labels[None, :, None, None], axis=-1)[..., 0]


def _as_index(labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    return labels.reshape((1,) * (like.ndim - 2) + (-1, 1))


def _entropy(rows: np.ndarray) -> float:
    """Of rows of bits [n, V], n > 0, in bits."""
    counts = np.unique(rows, axis=0, return_counts=True)[1]
    return float(scipy.stats.entropy(counts, base=2))


def _mean(values: np.ndarray, played: np.ndarray) -> list[float]:
    """By turn, over the dialogues [S, N] that go so far."""
    count = played.sum(axis=(0, 1))
    total = np.where(played, values, 0.0).sum(axis=(0, 1), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).tolist()


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float('nan')
