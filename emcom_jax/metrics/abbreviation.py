"""Are frequent things said briefly: Zipf's law of abbreviation."""

import numpy as np

from emcom_jax.metrics import arguments
from emcom_jax.metrics.distances import spearman_correlation
from emcom_jax.types import EvalRecord


def message_abbreviation(messages: np.ndarray, lengths: np.ndarray) -> float:
    """Spearman correlation of how often a message is said with its length, over distinct messages.

    Zipf's law of abbreviation (Zipf 1949) holds where it is negative; Chaabouni et al. 2019 found
    the opposite in emergent languages, Rita et al. 2020 restored it. Checked against SciPy.

    Args:
      messages: int [N, T].
      lengths: int [N]; what follows the end of a message does not make it another one.

    Returns:
      rho in [-1, 1]; nan where it is undefined: all messages have one length, or one frequency.
    """
    messages, lengths = arguments.messages_of(messages, lengths)
    said = np.where(np.arange(messages.shape[1]) < lengths[:, None], messages, -1)
    said = np.concatenate([said, lengths[:, None]], axis=1)
    distinct, counts = np.unique(said, axis=0, return_counts=True)
    return spearman_correlation(counts, distinct[:, -1])


def meaning_abbreviation(lengths: np.ndarray, meanings: np.ndarray) -> float:
    """Spearman correlation of how often a meaning occurs with the mean length of its messages.

    As `message_abbreviation`, over distinct meanings: what the speaker was given, not what it chose
    to say, sets the frequencies. Checked against SciPy.

    Args:
      lengths: int [N].
      meanings: int [N], or [N, A], one a row.

    Returns:
      rho in [-1, 1]; nan where it is undefined: one length throughout, or one frequency.
    """
    lengths, meanings = np.asarray(lengths), np.asarray(meanings)
    if lengths.ndim != 1 or meanings.ndim not in (1, 2) or len(meanings) != len(lengths):
        raise ValueError(
            f'expected lengths [N] and meanings [N] or [N, A], got {lengths.shape} and '
            f'{meanings.shape}.'
        )
    rows = meanings if meanings.ndim == 2 else meanings[:, None]
    _, index, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    means = np.bincount(index.ravel(), lengths, minlength=len(counts)) / counts
    return spearman_correlation(counts, means)


def abbreviation_of(record: EvalRecord) -> dict[str, float]:
    """`abbreviation`: correlation of frequency and length over messages, and `abbreviation_<label>`
    over what the labels tell apart; means over speakers.

    nan for messages of fixed length; of labels also where all are equally frequent.
    """
    result = {
        'abbreviation': float(
            np.mean(
                [
                    message_abbreviation(messages, lengths)
                    for messages, lengths in zip(record.messages, record.lengths, strict=True)
                ]
            )
        )
    }
    for label, values in record.labels.items():
        by_speaker = [meaning_abbreviation(lengths, values) for lengths in record.lengths]
        result[f'abbreviation_{label}'] = float(np.mean(by_speaker))
    return result
