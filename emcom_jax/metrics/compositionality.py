"""Is a message made of parts that mean parts: of symbols that stand for values of attributes.

A *concept* is an attribute with one of its values; a meaning is the set of its A concepts. Words
are symbols; the one that ends a message is none.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from emcom_jax.metrics import arguments
from emcom_jax.types import EvalRecord

_TIE = 1e-9  # Probabilities closer than this are equal.


def context_independence(
    messages: np.ndarray,
    attributes: np.ndarray,
    lengths: np.ndarray | None = None,
    num_iterations: int = 100,
) -> float:
    """How far each concept has its own word, whatever the other concepts (Bogin et al. 2018).

    The mean over concepts c of p(w | c) p(c | w), where w is the word with the largest p(c | w) (of
    equal ones, that with the largest p(w | c)). Both are word alignments by IBM model 1 (Brown et
    al. 1993) without an empty word: expectation maximisation from uniform probabilities, since
    which of its concepts a word of a message stands for is not known. Codes that take shares of
    co-occurrences instead find 1 / A^2 for a perfect language of A attributes. Checked against a
    plain loop over examples.

    Args:
      messages: int [N, T].
      attributes: int [N, A].
      lengths: int [N], the number of words of each message; all T if None.
      num_iterations: of expectation maximisation, each way.

    Returns:
      In [0, 1]: 1 if words and concepts correspond one to one. nan if nothing was said.
    """
    messages, lengths = arguments.messages_of(messages, lengths)
    words, said = _words(messages, lengths)
    concepts = _concepts(arguments.attributes_of(attributes, messages))
    if not said.any() or not concepts.size:
        return float('nan')
    every = np.ones(concepts.shape, dtype=bool)
    word_of = _align(concepts, every, words, said, num_iterations)  # p(w | c), [concepts, words]
    concept_of = _align(words, said, concepts, every, num_iterations).T  # p(c | w), the same shape
    best = concept_of >= concept_of.max(axis=1, keepdims=True) - _TIE
    chosen = np.argmax(np.where(best, word_of, -1), axis=1)[:, None]
    both = np.take_along_axis(word_of * concept_of, chosen, axis=1)
    return float(np.clip(both.mean(), 0, 1))


def concept_best_matching(
    messages: np.ndarray, attributes: np.ndarray, lengths: np.ndarray | None = None
) -> float:
    """Share of what is said that agrees with the best dictionary of one word a concept.

    Words are matched with concepts one to one so that the number of times that a word is said of a
    meaning with its concept is largest (Hungarian algorithm); that number over the sum of max(words
    in the message, A) is the score (Carmeli et al. 2024). A word that is said twice counts twice,
    as in the released code, from which the value of the test comes.

    Args:
      messages: int [N, T].
      attributes: int [N, A].
      lengths: int [N], the number of words of each message; all T if None.

    Returns:
      In [0, 1]: 1 if each word always names its concept and each concept is always named. A random
      language is far above 0: compare.
    """
    messages, lengths = arguments.messages_of(messages, lengths)
    words, said = _words(messages, lengths)
    concepts = _concepts(arguments.attributes_of(attributes, messages))
    if not concepts.size:
        return float('nan')
    together = _count(words, said, concepts)
    matched = together[linear_sum_assignment(together, maximize=True)].sum()
    return float(matched / np.maximum(lengths, concepts.shape[1]).sum())


def tree_reconstruction_error(
    messages: np.ndarray, attributes: np.ndarray, lengths: np.ndarray | None = None
) -> tuple[float, float]:
    """How far messages are from sums of contributions of their concepts (Andreas 2019).

    TRE with these choices: a message is the concatenation of T one-hot vectors (what follows its
    end is one more symbol); each concept has a free vector of that size; a meaning composes by
    addition; the distance is half the squared Euclidean one, which counts the positions in which
    two messages differ. The vectors that minimise the sum over messages are a least-squares
    solution, found exactly, so that nothing depends on an optimiser. Checked against NumPy's.

    Args:
      messages: int [N, T].
      attributes: int [N, A].
      lengths: int [N]; all T if None.

    Returns:
      The mean distance in symbols, in [0, T], 0 for a compositional language; and its ratio to the
      distance from the mean message, in [0, 1], nan if all messages are the same. Both fall by
      chance as concepts outnumber messages: compare.
    """
    messages, lengths = arguments.messages_of(messages, lengths)
    concepts = _concepts(arguments.attributes_of(attributes, messages))
    if not concepts.size:
        return float('nan'), float('nan')
    size, length = messages.shape
    ended = np.arange(length) >= lengths[:, None]
    symbols = np.unique(np.where(ended, messages.min() - 1, messages), return_inverse=True)[1]
    symbols = symbols.reshape(messages.shape)
    symbols += np.arange(length) * (int(symbols.max()) + 1)  # Each position has its own.
    every = np.ones(concepts.shape, dtype=bool)
    products, gram = _count(concepts, every, symbols), _count(concepts, every, concepts)
    # Concepts are dependent: those of each attribute sum up to one.
    values, vectors = np.linalg.eigh(gram)
    kept = values > _TIE * values[-1]
    explained = float(np.sum((vectors[:, kept].T @ products) ** 2 / values[kept, None]))
    counts = np.bincount(symbols.ravel()).astype(np.float64)
    total, constant = size * length, float(np.sum(counts**2)) / size
    left = total - explained if total - explained > _TIE * total else 0.0
    if constant == total:
        return 0.0, float('nan')
    return left / 2 / size, min(1.0, left / (total - constant))


def context_independence_of(
    record: EvalRecord, max_examples: int = 1_000, seed: int = 0
) -> dict[str, float]:
    """Context independence where attributes are known, on `max_examples` examples drawn without
    replacement; mean over speakers."""
    if 'attributes' not in record.labels:
        return {}
    chosen = arguments.sample(record.messages.shape[1], max_examples, seed)
    attributes = record.labels['attributes'][chosen]
    values = [
        context_independence(messages[chosen], attributes, lengths[chosen])
        for messages, lengths in zip(
            record.messages, arguments.content_lengths(record), strict=True
        )
    ]
    return {'context_independence': float(np.mean(values))}


def concept_best_matching_of(record: EvalRecord) -> dict[str, float]:
    """Concept best matching where attributes are known, mean over speakers."""
    if 'attributes' not in record.labels:
        return {}
    values = [
        concept_best_matching(messages, record.labels['attributes'], lengths)
        for messages, lengths in zip(
            record.messages, arguments.content_lengths(record), strict=True
        )
    ]
    return {'concept_best_matching': float(np.mean(values))}


def tree_reconstruction_error_of(record: EvalRecord) -> dict[str, float]:
    """Tree reconstruction error where attributes are known, in symbols and (`_relative`) as a share
    of that of the mean message; means over speakers."""
    if 'attributes' not in record.labels:
        return {}
    values = [
        tree_reconstruction_error(messages, record.labels['attributes'], lengths)
        for messages, lengths in zip(record.messages, record.lengths, strict=True)
    ]
    error, relative = np.mean(values, axis=0).tolist()
    return {'tree_reconstruction_error': error, 'tree_reconstruction_error_relative': relative}


def _words(messages: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the words from 0 up, [N, T], and which of them are said, bool [N, T]."""
    said = np.arange(messages.shape[1]) < lengths[:, None]
    words = np.zeros(messages.shape, np.int64)
    words[said] = np.unique(messages[said], return_inverse=True)[1].ravel()
    return words, said


def _concepts(attributes: np.ndarray) -> np.ndarray:
    """Numbers of the concepts from 0 up, [N, A]: different attributes have different concepts."""
    numbers, first = [], 0
    for column in attributes.T:
        number = np.unique(column, return_inverse=True)[1].ravel() + first
        first = int(number.max()) + 1
        numbers.append(number)
    return np.stack(numbers, axis=1) if numbers else np.zeros((len(attributes), 0), np.int64)


def _count(x: np.ndarray, said: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How often x, [N, I] where `said`, and y, [N, J], occur together, float [X, Y]."""
    shape = int(x.max()) + 1, int(y.max()) + 1
    table = np.zeros(shape)
    for column, on in zip(x.T, said.T, strict=True):
        pairs = column[on, None] * shape[1] + y[on]
        table += np.bincount(pairs.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    return table


def _align(
    source: np.ndarray,
    source_on: np.ndarray,
    target: np.ndarray,
    target_on: np.ndarray,
    num_iterations: int,
) -> np.ndarray:
    """IBM model 1: p(target | source), float [sources, targets], of [N, I] and [N, J]."""
    shape = int(source.max()) + 1, int(target.max()) + 1
    pairs = source[:, :, None] * shape[1] + target[:, None, :]  # [N, I, J]
    on = source_on[:, :, None] & target_on[:, None, :]
    table = np.full(shape, 1 / shape[1])
    for _ in range(num_iterations):
        likelihood = np.where(on, table.ravel()[pairs], 0)
        total = likelihood.sum(axis=1, keepdims=True)
        weights = np.divide(likelihood, total, out=np.zeros_like(likelihood), where=total > 0)
        counts = np.bincount(pairs.ravel(), weights.ravel(), shape[0] * shape[1]).reshape(shape)
        before, norms = table, counts.sum(axis=1, keepdims=True)
        table = np.divide(counts, norms, out=np.zeros_like(counts), where=norms > 0)
        if np.max(np.abs(table - before)) < _TIE:
            break
    return table
