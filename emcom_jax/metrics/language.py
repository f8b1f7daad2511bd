"""The structure of a language: does similar mean similar, and which symbol carries what."""

from collections.abc import Callable

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein
from scipy.spatial import distance

from emcom_jax.metrics.information import entropy, mutual_information
from emcom_jax.tables import look_up
from emcom_jax.types import EvalRecord

# All pairs of this many examples are 50 million: 4.5 GB while they are ranked (1.3 GB for half as
# many examples).
MAX_EXAMPLES = 10_000
_ROWS = 256  # Rows of a distance matrix that are held at a time.
_SURROGATES = range(0xD800, 0xE000)  # Code points that no character may have.


def topographic_similarity(
    messages: np.ndarray,
    meanings: np.ndarray,
    meaning_distance: str = 'cosine',
    lengths: np.ndarray | None = None,
) -> float:
    """Spearman correlation between the distances of messages and of meanings, over all pairs i < j.

    The distance of two messages is their edit distance over the longer length (0 for two empty
    messages). Brighton & Kirby 2006; with these distances Lazaridou et al. 2018, Chaabouni et al.
    2022. Checked against EGG's analysis at N of 50 to 80. Over random languages (T = 10, V = 20) it
    has mean 0 and standard deviation 0.14 at N = 10, 0.013 at N = 100 and 0.002 at N = 1,000.

    Args:
      messages: int [N, T], N up to `MAX_EXAMPLES`.
      meanings: float or int [N, D].
      meaning_distance: 'cosine' (1 from a zero vector), 'euclidean', or 'hamming' (share of the D
        entries that differ, for attributes).
      lengths: int [N], the number of symbols that count, the end symbol included; all T if None.

    Returns:
      rho in [-1, 1]; nan where the correlation is undefined: all distances are equal on one side
      (as when all messages are the same, or N < 3), or a meaning is not finite.
    """
    messages, lengths = _checked(messages, lengths)
    meanings = np.asarray(meanings)
    if meanings.ndim != 2 or len(meanings) != len(messages):
        raise ValueError(
            f'meanings must be [N, D] with the N of messages ({len(messages)}), got '
            f'{meanings.shape}.'
        )
    if len(messages) > MAX_EXAMPLES:
        raise ValueError(
            f'topographic similarity compares all pairs of {len(messages)} examples: sample at '
            f'most {MAX_EXAMPLES}.'
        )
    between_meanings = look_up(MEANING_DISTANCES, meaning_distance, 'meaning distance')
    if not np.isfinite(meanings).all():
        return float('nan')
    return spearman_correlation(
        _over_pairs(_edit_distances, _as_strings(messages, lengths)),
        between_meanings(meanings),
    )


def positional_disentanglement(messages: np.ndarray, attributes: np.ndarray) -> float:
    """posdis: how far each position speaks of one attribute only (Chaabouni et al. 2020).

    The mean over positions of the information gap (`_information_gap`). Positions that never change
    are left out of the mean, as in EGG.

    Args:
      messages: int [N, T].
      attributes: int [N, A]; a constant one is never spoken of and changes nothing.

    Returns:
      In [0, 1]; nan where it is undefined: a single position (no other could carry the rest), a
      single attribute, or all positions constant. Checked against EGG at N of 50 to 80.
    """
    messages, attributes = _with_attributes(messages, attributes)
    if messages.shape[1] < 2:
        return float('nan')
    return _information_gap(list(messages.T), attributes)


def bag_of_symbols_disentanglement(
    messages: np.ndarray, attributes: np.ndarray, vocab_size: int
) -> float:
    """bosdis: how far each symbol speaks of one attribute only, wherever it stands.

    As `positional_disentanglement`, with the number of times that a symbol occurs in the message
    in place of the symbol at a position (Chaabouni et al. 2020). Symbol 0 does not count, as in
    EGG: it ends a message and fills what follows. Symbols that occur equally often in every message
    are left out.

    Args:
      messages: int [N, T] in [0, vocab_size).
      attributes: int [N, A].
      vocab_size: V.

    Returns:
      In [0, 1]; nan where it is undefined: one attribute only, or no symbol whose count varies.
      Checked against EGG at N of 50 to 80.
    """
    messages, attributes = _with_attributes(messages, attributes)
    symbols = np.unique(messages)
    if symbols[0] < 0 or symbols[-1] >= vocab_size:
        raise ValueError(
            f'messages hold symbols from {symbols[0]} to {symbols[-1]}, outside the vocabulary '
            f'[0, {vocab_size}).'
        )
    counts = [np.sum(messages == symbol, axis=1) for symbol in symbols if symbol != 0]
    return _information_gap(counts, attributes)


def topographic_similarity_of(
    record: EvalRecord, max_examples: int = 1_000, seed: int = 0
) -> dict[str, float]:
    """Topographic similarity with the inputs (cosine) and, where known, the attributes (Hamming).

    On `max_examples` examples drawn without replacement; the number used is stated. Means over
    speakers.
    """
    num_examples = record.messages.shape[1]
    chosen = np.arange(num_examples)
    if num_examples > max_examples:
        chosen = np.random.default_rng(seed).choice(num_examples, max_examples, replace=False)

    def mean_over_speakers(meanings: np.ndarray, meaning_distance: str) -> float:
        values = [
            topographic_similarity(messages[chosen], meanings[chosen], meaning_distance, n[chosen])
            for messages, n in zip(record.messages, record.lengths, strict=True)
        ]
        return float(np.mean(values))

    result = {
        'topographic_similarity': mean_over_speakers(record.meanings, 'cosine'),
        'topographic_similarity_examples': float(len(chosen)),
    }
    if 'attributes' in record.labels:
        result['topographic_similarity_attributes'] = mean_over_speakers(
            record.labels['attributes'], 'hamming'
        )
    return result


def speaker_distance_of(record: EvalRecord) -> dict[str, float]:
    """Mean edit distance (over the longer length) of two speakers' messages for the same referent,
    over referents and unordered pairs of speakers; nothing for a single speaker.

    In [0, 1]: 0 when all speak alike ("synchronization", Rita et al. 2022).
    """
    num_speakers, num_examples, length = record.messages.shape
    if num_speakers < 2:
        return {}
    strings = _as_strings(record.messages.reshape(-1, length), record.lengths.reshape(-1))
    languages = [strings[s * num_examples : (s + 1) * num_examples] for s in range(num_speakers)]
    distances = [
        process.cpdist(one, other, scorer=Levenshtein.normalized_distance, workers=1)
        for s, one in enumerate(languages)
        for other in languages[s + 1 :]
    ]
    return {'speaker_edit_distance': float(np.mean(distances, dtype=np.float64))}


def disentanglement_of(record: EvalRecord) -> dict[str, float]:
    """Both disentanglements where attributes are known, means over speakers; else nothing."""
    if 'attributes' not in record.labels:
        return {}
    attributes = record.labels['attributes']
    posdis = [positional_disentanglement(m, attributes) for m in record.messages]
    bosdis = [
        bag_of_symbols_disentanglement(m, attributes, record.vocab_size) for m in record.messages
    ]
    return {
        'positional_disentanglement': float(np.mean(posdis)),
        'bag_of_symbols_disentanglement': float(np.mean(bosdis)),
    }


def spearman_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of the ranks of two arrays [M], ties sharing their mean rank.

    In [-1, 1]; nan if one side is constant or empty (SciPy would warn).
    """
    if x.size == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float('nan')
    return float(np.clip(np.corrcoef(_mean_ranks(x), _mean_ranks(y))[0, 1], -1, 1))


def _mean_ranks(x: np.ndarray) -> np.ndarray:
    # Twice as fast as scipy.stats.rankdata on the few distinct values of edit distances.
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _information_gap(variables: list[np.ndarray], attributes: np.ndarray) -> float:
    """Mean over `variables` v of (largest - second largest I(v; attribute)) / H(v), H(v) > 0."""
    if attributes.shape[1] < 2:
        return float('nan')
    gaps = []
    for variable in variables:
        spread = entropy(variable)
        if spread > 0:
            *_, second, first = sorted(
                mutual_information(variable, column) for column in attributes.T
            )
            gaps.append((first - second) / spread)
    return float(np.mean(gaps)) if gaps else float('nan')


# Distances must be right up to a monotone function, and equal ones equal: only their ranks count.
# A matrix product is ten times faster than differences but varies in the last bits, so round it.


def _cosine_distances(meanings: np.ndarray) -> np.ndarray:
    meanings = meanings.astype(np.float64)
    norms = np.linalg.norm(meanings, axis=1, keepdims=True)
    units = np.divide(meanings, norms, out=np.zeros_like(meanings), where=norms > 0)
    return np.round(_over_pairs(lambda x, y: 1 - x @ y.T, units), 10)


def _euclidean_distances(meanings: np.ndarray) -> np.ndarray:
    """Squared, in units of the variance."""
    points = meanings - np.mean(meanings, axis=0, dtype=np.float64)
    points /= np.sqrt(np.mean(np.sum(points**2, axis=1))) or 1.0

    def squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1) - 2 * x @ y.T

    return np.round(_over_pairs(squared, points), 10)


def _hamming_distances(meanings: np.ndarray) -> np.ndarray:
    return _over_pairs(lambda x, y: distance.cdist(x, y, 'hamming'), meanings)


MEANING_DISTANCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'cosine': _cosine_distances,
    'euclidean': _euclidean_distances,
    'hamming': _hamming_distances,
}


def _edit_distances(some: list[str], others: list[str]) -> np.ndarray:
    return process.cdist(
        some, others, scorer=Levenshtein.normalized_distance, dtype=np.float32, workers=1
    )


def _over_pairs(distances: Callable, items: list[str] | np.ndarray) -> np.ndarray:
    """Distances of all pairs i < j, [N (N - 1) / 2]; holds `_ROWS` rows of the matrix at a time."""
    blocks = [np.empty(0)]
    for start in range(0, len(items), _ROWS):
        block = distances(items[start : start + _ROWS], items[start:])
        blocks.append(block[np.triu(np.ones(block.shape, dtype=bool), k=1)])
    return np.concatenate(blocks)


def _as_strings(messages: np.ndarray, lengths: np.ndarray) -> list[str]:
    """One string a message, one character a symbol, whatever the symbols: rapidfuzz's fastest."""
    _, codes = np.unique(messages, return_inverse=True)
    codes = codes.reshape(messages.shape)
    codes = np.where(codes < _SURROGATES.start, codes, codes + len(_SURROGATES)).astype('<u4')
    return [row[:n].tobytes().decode('utf-32-le') for row, n in zip(codes, lengths, strict=True)]


def _checked(messages: np.ndarray, lengths: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    messages = np.asarray(messages)
    if messages.ndim != 2 or not np.issubdtype(messages.dtype, np.integer):
        raise ValueError(f'messages must be int [N, T], got {messages.dtype} {messages.shape}.')
    if lengths is None:
        lengths = np.full(len(messages), messages.shape[1])
    lengths = np.asarray(lengths)
    if lengths.shape != messages.shape[:1] or not np.issubdtype(lengths.dtype, np.integer):
        raise ValueError(
            f'lengths must be int [{len(messages)}], one a message, got {lengths.dtype} '
            f'{lengths.shape}.'
        )
    return messages, lengths


def _with_attributes(messages: np.ndarray, attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    messages, _ = _checked(messages, None)
    attributes = np.asarray(attributes)
    if attributes.ndim != 2 or len(attributes) != len(messages) or messages.size == 0:
        raise ValueError(
            f'attributes must be [N, A] with the N > 0 of messages, got {attributes.shape} and '
            f'{messages.shape}.'
        )
    return messages, attributes
