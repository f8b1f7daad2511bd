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
    x, y = name_rows(x), name_rows(y)
    return max(0.0, entropy(x) + entropy(y) - entropy(_joint(x, y)))


def conditional_entropy(x: np.ndarray, given: np.ndarray) -> float:
    """H(x | given) = H(x, given) - H(given) in bits, each [N] or [N, ...], one sample a row.

    In [0, H(x)]: of messages given meanings, what a message says beyond the meaning (0 if there is
    one message for each). Mu & Goodman 2021 report it given concepts. Counted, it is too small if a
    condition holds for few examples. Checked against SciPy's entropies.
    """
    x, given = name_rows(x), name_rows(given)
    x, given = arguments.aligned(x, given)
    return max(0.0, entropy(_joint(x, given)) - entropy(given))


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


def adjusted_mutual_information(symbols: np.ndarray, labels: np.ndarray) -> float:
    """(I - E[I]) / (mean of the two entropies - E[I]), of int [N] and int [N].

    E[I] is the mean over all permutations (hypergeometric), so that unrelated variables have about
    0, however many symbols there are (Vinh, Epps & Bailey 2010; Mu & Goodman 2021). At most 1;
    slightly negative values occur. This is scikit-learn's, with the arithmetic mean.
    """
    from sklearn.metrics import adjusted_mutual_info_score  # Takes 0.6 s to import.

    symbols, labels = arguments.aligned(symbols, labels)
    return float(adjusted_mutual_info_score(labels, symbols, average_method='arithmetic'))


def expected_mutual_information(x: np.ndarray, y: np.ndarray) -> float:
    """The mean of I(x; y) over all permutations of y, in bits, of int [N] and int [N].

    Hypergeometric (Vinh, Epps & Bailey 2010), by scikit-learn. Of unrelated uniform variables about
    (values of x - 1)(values of y - 1) / (2 N ln 2).
    """
    from sklearn.metrics.cluster import contingency_matrix
    from sklearn.metrics.cluster import expected_mutual_information as in_nats

    x, y = arguments.aligned(x, y)
    return float(in_nats(contingency_matrix(y, x, sparse=True), len(x)) / np.log(2))


def position_entropy(messages: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    """Entropy in bits of the symbols at each position, of int [N, T] and int [N] (None: all T).

    Over the messages that reach the position, the end symbol included; nan where none does.

    Returns:
      float [T], each in [0, log2 V].
    """
    messages, lengths = arguments.messages_of(messages, lengths)
    reached = [column[lengths > t] for t, column in enumerate(messages.T)]
    return np.array([entropy(column) if len(column) else np.nan for column in reached])


def redundancy(symbols: np.ndarray, vocab_size: int) -> float:
    """1 - H / log2 V, where H is the entropy of single symbols, int [N], wherever they were said.

    Relative redundancy (Shannon 1948) of first order: it counts how unevenly symbols are used, not
    how well one predicts the next. In [0, 1]: 0 if all V symbols are used alike, 1 if only one is.
    nan for a vocabulary of one symbol, or where nothing was said.
    """
    symbols = np.asarray(symbols)
    if symbols.ndim != 1 or vocab_size < 1:
        raise ValueError(
            f'redundancy needs symbols [N] and a vocabulary, got {symbols.shape} and {vocab_size}.'
        )
    if symbols.size == 0 or vocab_size == 1:
        return float('nan')
    if symbols.min() < 0 or symbols.max() >= vocab_size:
        raise ValueError(
            f'there are symbols from {symbols.min()} to {symbols.max()}, outside the vocabulary '
            f'[0, {vocab_size}).'
        )
    return max(0.0, 1 - entropy(symbols) / float(np.log2(vocab_size)))


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

    Symbols after the end of a message do not count; nan where nothing is said. Means over speakers.
    """
    said = [m[on] for m, on in zip(record.messages, arguments.spoken(record), strict=True)]
    symbols = [entropy(symbols) if symbols.size else np.nan for symbols in said]
    return {
        'message_entropy': float(np.mean([message_entropy(m) for m in record.messages])),
        'symbol_entropy': float(np.mean(symbols)),
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


def position_entropy_of(record: EvalRecord) -> dict[str, list[float]]:
    """Entropy of the symbols at each position, in bits, of the messages that reach it: a list of T
    means over speakers; nan where no message of some speaker reaches a position."""
    by_speaker = [
        position_entropy(messages, lengths)
        for messages, lengths in zip(record.messages, record.lengths, strict=True)
    ]
    return {'position_entropy': np.mean(by_speaker, axis=0).tolist()}


def redundancy_of(record: EvalRecord) -> dict[str, float]:
    """First-order redundancy of the symbols said, with the V of the channel; mean over speakers."""
    said = zip(record.messages, arguments.spoken(record), strict=True)
    return {'redundancy': float(np.mean([redundancy(m[on], record.vocab_size) for m, on in said]))}


def mutual_information_of(record: EvalRecord) -> dict[str, float | list[float]]:
    """What whole messages say of each kind of label, means over speakers, bits where not a ratio:

    `message_entropy_given_<label>` H(M | C), `mutual_information_<label>` I(M; C), its normalised
    form `normalized_mutual_information_<label>` and `adjusted_mutual_information_<label>`. Of
    attributes all are taken together; `mutual_information_<label>_each` lists I(M; A) of each
    alone. Where messages are many, all but the adjusted one are large by chance.
    """
    result: dict[str, float | list[float]] = {}
    languages = [name_rows(messages) for messages in record.messages]
    for label, values in record.labels.items():
        meanings = name_rows(values)
        by_speaker = [
            (
                conditional_entropy(messages, meanings),
                mutual_information(messages, meanings),
                normalized_mutual_information(messages, meanings),
                adjusted_mutual_information(messages, meanings),
            )
            for messages in languages
        ]
        names = ('message_entropy_given_', 'mutual_information_', 'normalized_mutual_information_')
        means = np.mean(by_speaker, axis=0).tolist()
        result |= zip(
            [name + label for name in (*names, 'adjusted_mutual_information_')], means, strict=True
        )
        if values.ndim > 1:
            each = [[mutual_information(m, column) for column in values.T] for m in languages]
            result[f'mutual_information_{label}_each'] = np.mean(each, axis=0).tolist()
    return result


def name_rows(samples: np.ndarray) -> np.ndarray:
    """A number for each distinct row of [N, ...], int [N]."""
    samples = np.asarray(samples)
    axis = None if samples.ndim <= 1 else 0
    return np.unique(samples, axis=axis, return_inverse=True)[1].ravel()


def _joint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x.astype(np.int64) * (int(y.max()) + 1) + y
