"""Do messages have words: boundaries from what may follow what (Harris's articulation scheme).

Inside a word the next symbol gets easier to guess from symbol to symbol; where it gets harder, a
word ends (Harris 1955; Tanaka-Ishii 2005; for emergent languages Ueda, Ishii & Miyao 2023).
"""

import numpy as np

from emcom_jax.metrics import arguments
from emcom_jax.metrics.information import entropy
from emcom_jax.metrics.language import topographic_similarity
from emcom_jax.types import EvalRecord

VALUES = (
    'word_boundaries',
    'distinct_words',
    'word_entropy',
    'word_topographic_similarity',
    'word_topographic_similarity_random',
)


def branching_entropy(messages: np.ndarray, lengths: np.ndarray | None = None) -> list[np.ndarray]:
    """Entropy of the symbol that follows a piece of a message, for each piece; bits.

    h(s) is the entropy of the symbol after s, over all places in all messages where s stands and a
    symbol follows.

    Args:
      messages: int [N, T].
      lengths: int [N]; all T if None.

    Returns:
      For n = 0 to T - 1, float [N, T - n]: h of the piece of n symbols that starts at t; nan where
      no symbol follows it in its message. The mean of row n is the conditional entropy H(n), which
      falls with n by chance too, as long pieces are rare.
    """
    messages, lengths = arguments.messages_of(messages, lengths)
    size, length = messages.shape
    symbols = np.unique(messages, return_inverse=True)[1].reshape(messages.shape)
    count = int(symbols.max(initial=0)) + 1
    pieces = np.zeros(messages.shape, np.int64)  # Numbers of the pieces of n symbols.
    result = []
    for n in range(length):
        pieces = pieces[:, : length - n]
        follows = np.arange(length - n) + n < lengths[:, None]
        values = np.full(pieces.shape, np.nan)
        longer = pieces * count + symbols[:, n:]
        if follows.any():
            piece, next_up = pieces[follows], longer[follows]
            distinct, index, counts = np.unique(next_up, return_inverse=True, return_counts=True)
            totals = np.bincount(piece)
            share = counts / totals[distinct // count]
            terms = np.bincount(distinct // count, -share * np.log2(share), len(totals))
            values[follows] = np.maximum(terms[piece], 0)
        result.append(values)
        pieces = np.unique(longer, return_inverse=True)[1].reshape(longer.shape)
    return result


def word_boundaries(
    messages: np.ndarray, lengths: np.ndarray | None = None, threshold: float = 0.5
) -> np.ndarray:
    """Where words end by Harris's articulation scheme (Ueda et al. 2023).

    There is a boundary after a piece of at least two symbols if its branching entropy exceeds that
    of the piece without its last symbol by more than `threshold` bits, wherever the piece starts.
    Checked against a plain loop over examples.

    Args:
      messages: int [N, T].
      lengths: int [N]; all T if None.
      threshold: bits; the paper goes from 0 to 2.

    Returns:
      bool [N, T]: whether a word ends before symbol t; never before the first symbol.
    """
    messages, lengths = arguments.messages_of(messages, lengths)
    entropies = branching_entropy(messages, lengths)
    boundaries = np.zeros(messages.shape, dtype=bool)
    for n in range(2, len(entropies)):
        # nan, where no symbol follows, is above nothing.
        rises = entropies[n] - entropies[n - 1][:, : entropies[n].shape[1]] > threshold
        boundaries[:, n:] |= rises
    return boundaries


def random_boundaries(
    boundaries: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """As many boundaries in each message, at random places; bool [N, T], int [N] -> bool [N, T]."""
    order = rng.random(boundaries.shape)
    places = np.arange(boundaries.shape[1])
    order[(places == 0) | (places >= lengths[:, None])] = 2  # No place for a boundary.
    ranks = np.argsort(np.argsort(order, axis=1), axis=1)
    return ranks < boundaries.sum(axis=1, keepdims=True)


def segment(
    messages: np.ndarray, lengths: np.ndarray, boundaries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Messages of words: cuts int [N, T] before each boundary, bool [N, T].

    Returns:
      Words, int [N, T] from 1 up (0 after the end), one number for each distinct word, and how many
      there are, int [N].
    """
    messages, lengths = arguments.messages_of(messages, lengths)
    words = np.zeros(messages.shape, np.int64)
    counts = np.zeros(len(messages), np.int64)
    numbers: dict[tuple[int, ...], int] = {}
    for n, (message, length, cuts) in enumerate(zip(messages, lengths, boundaries, strict=True)):
        places = [0, *np.flatnonzero(cuts[:length]).tolist(), int(length)]
        symbols = message.tolist()
        pieces = [
            tuple(symbols[i:j]) for i, j in zip(places[:-1], places[1:], strict=True) if i < j
        ]
        words[n, : len(pieces)] = [numbers.setdefault(w, len(numbers) + 1) for w in pieces]
        counts[n] = len(pieces)
    return words, counts


def segmentation_of(
    record: EvalRecord, threshold: float = 0.5, max_examples: int = 1_000, seed: int = 0
) -> dict[str, float | list[float]]:
    """Words by Harris's articulation scheme, on `max_examples` examples; means over speakers:

    `branching_entropy` H(n), n = 0 to T - 1, bits, of the symbol after n others in a message (nan
    where none has as many); `word_boundaries` in a message; `distinct_words`; `word_entropy`, bits;
    and `word_topographic_similarity` with words in place of symbols, beside that with as many
    boundaries at random (`..._random`): with the attributes (Hamming) if known, else with the
    inputs (cosine). Words are meaningful if the first exceeds the second, and the similarity of
    symbols.
    """
    chosen = arguments.sample(record.messages.shape[1], max_examples, seed)
    rng = np.random.default_rng(seed)
    known = 'attributes' in record.labels
    meanings = record.labels['attributes'] if known else record.meanings
    distance = 'hamming' if known else 'cosine'
    chances, by_speaker = [], []
    for messages, lengths in zip(
        record.messages[:, chosen], arguments.content_lengths(record)[:, chosen], strict=True
    ):
        entropies = branching_entropy(messages, lengths)
        chances.append([_mean(values) for values in entropies])
        boundaries = word_boundaries(messages, lengths, threshold)
        similarities = []
        for cuts in (boundaries, random_boundaries(boundaries, lengths, rng)):
            words, counts = segment(messages, lengths, cuts)
            similarities.append(topographic_similarity(words, meanings[chosen], distance, counts))
            if cuts is boundaries:
                said = words[np.arange(words.shape[1]) < counts[:, None]]
        by_speaker.append(
            (
                float(boundaries.sum(axis=1).mean()),
                float(len(np.unique(said))),
                entropy(said) if said.size else np.nan,
                *similarities,
            )
        )
    means = np.mean(by_speaker, axis=0).tolist()
    result: dict[str, float | list[float]] = dict(zip(VALUES, means, strict=True))
    return result | {'branching_entropy': np.mean(chances, axis=0).tolist()}


def _mean(values: np.ndarray) -> float:
    """Of what is not nan; nan of nothing."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float('nan')
