"""Entropies and what is made of them, in bits, by counting (no bias correction)."""

from collections.abc import Callable

import numpy as np

from emcom_jax.metrics import arguments
from emcom_jax.types import EvalRecord


def entropy(samples: np.ndarray) -> float:
    """Entropy in bits of the empirical distribution of `samples`: [N], or [N, ...], one a row.

    In [0, log2 N].
    """
    samples = np.asarray(samples)
    if samples.ndim == 0 or len(samples) == 0:
        raise ValueError(
            f'entropy needs at least one sample, got an array of shape {samples.shape}.'
        )
    # By value for [N]: as rows, NumPy would sort them many times slower.
    axis = None if samples.ndim == 1 else 0
    _, counts = np.unique(samples, axis=axis, return_counts=True)
    p = counts / len(samples)
    return max(0.0, float(-np.sum(p * np.log2(p))))


def mutual_information(x: np.ndarray, y: np.ndarray) -> float:
    """I(x; y) = H(x) + H(y) - H(x, y) in bits, of int [N] and int [N]. In [0, min(H(x), H(y))]."""
    x, y = arguments.aligned(x, y)
    _, x = np.unique(x, return_inverse=True)
    _, y = np.unique(y, return_inverse=True)
    joint = x.astype(np.int64) * (int(y.max()) + 1) + y
    return max(0.0, entropy(x) + entropy(y) - entropy(joint))


def normalized_mutual_information(symbols: np.ndarray, labels: np.ndarray) -> float:
    """I(symbols; labels) over the arithmetic mean of the two entropies, of int [N] and int [N].

    In [0, 1]: 1 if each determines the other, 0 if independent. As in scikit-learn, 1 when both are
    constant (nothing to tell, and nothing told). Dessì et al. 2021 use it with ImageNet classes.
    It grows by chance with the number of distinct symbols: compare it with `permutation_test`.
    Checked against scikit-learn at N of 50 to 80.
    """
    symbols, labels = arguments.aligned(symbols, labels)
    mean = (entropy(symbols) + entropy(labels)) / 2
    if mean == 0.0:
        return 1.0
    return min(1.0, mutual_information(symbols, labels) / mean)


def message_entropy(messages: np.ndarray) -> float:
    """Entropy in bits of whole messages, int [N, T] (0 after the end).

    In [0, min(T log2 V, log2 N)]: N examples cannot show more, so state N beside it. Checked
    against EGG at N of 50 to 80.
    """
    messages = np.asarray(messages)
    if messages.ndim != 2:
        raise ValueError(f'messages must be [N, T], got shape {messages.shape}.')
    return entropy(messages)


def permutation_test(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    symbols: np.ndarray,
    labels: np.ndarray,
    num_permutations: int,
    seed: int,
) -> float:
    """One-sided p-value of `statistic(symbols, labels)` against shuffled labels.

    p = (1 + number of permutations whose statistic is at least the observed) / (1 + number of
    permutations), which is a valid p-value for any number of them (Phipson & Smyth 2010).

    Args:
      statistic: function of (symbols, labels), larger for a stronger relation.
      symbols: int [N].
      labels: int [N]; the permuted side.
      num_permutations: at least 1; the smallest p-value is 1 / (1 + num_permutations).
      seed: of the permutations.

    Returns:
      p in (0, 1]; nan if the observed statistic is nan. A permutation with a nan counts against.
    """
    symbols, labels = arguments.aligned(symbols, labels)
    if num_permutations < 1:
        raise ValueError(f'num_permutations must be at least 1, got {num_permutations}.')
    observed = statistic(symbols, labels)
    if np.isnan(observed):
        return float('nan')
    # Equal values of a sum of logarithms may differ in the last bits: they are ties all the same.
    threshold = observed - 1e-12 * max(1.0, abs(observed))
    rng = np.random.default_rng(seed)
    exceeding = 0
    for _ in range(num_permutations):
        exceeding += not statistic(symbols, rng.permutation(labels)) < threshold
    return (1 + exceeding) / (1 + num_permutations)


def message_entropy_of(record: EvalRecord) -> dict[str, float]:
    """Entropy of whole messages, and of the symbols in them whatever their position; bits.

    Symbols after the end of a message do not count. Means over speakers.
    """
    spoken = arguments.spoken(record)
    return {
        'message_entropy': float(
            np.mean([message_entropy(messages) for messages in record.messages])
        ),
        'symbol_entropy': float(
            np.mean([entropy(m[said]) for m, said in zip(record.messages, spoken, strict=True)])
        ),
    }


def distinct_messages_of(record: EvalRecord) -> dict[str, float]:
    """Number of distinct messages and its share of the N examples, number of distinct symbols, and
    mean number of symbols in a message (the end symbol included). Means over speakers."""
    spoken = arguments.spoken(record)
    distinct = float(np.mean([len(np.unique(m, axis=0)) for m in record.messages]))
    symbols = [len(np.unique(m[said])) for m, said in zip(record.messages, spoken, strict=True)]
    return {
        'distinct_messages': distinct,
        'distinct_messages_share': distinct / record.messages.shape[1],
        'active_symbols': float(np.mean(symbols)),
        'message_length': float(np.mean(record.lengths)),
    }
