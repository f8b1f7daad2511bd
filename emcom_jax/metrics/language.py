"""Does similar mean similar, and do speakers speak alike: edit distances of messages."""

from collections.abc import Sequence

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from emcom_jax.metrics import arguments, distances
from emcom_jax.metrics.distances import MEANING_DISTANCES
from emcom_jax.tables import look_up
from emcom_jax.types import EvalRecord

# All pairs of this many examples are 50 million: 0.5 GB while they are ranked.
MAX_EXAMPLES = 10_000
MAX_PERMUTED = (
    1_000  # A permutation test holds two matrices of all pairs, and reads them each time.
)


def topographic_similarity(
    messages: np.ndarray,
    meanings: np.ndarray,
    meaning_distance: str = 'cosine',
    lengths: np.ndarray | None = None,
) -> float:
    """Spearman correlation between the distances of messages and of meanings, over all pairs i < j.

    The distance of two messages is their edit distance over the longer length (0 for two empty
    messages). Brighton & Kirby 2006; with these distances Lazaridou et al. 2018, Chaabouni et al.
    2022. Checked against EGG's analysis at N of 50 to 80, SciPy at 300. Over random languages
    (T = 10, V = 20) it has mean 0 and standard deviation 0.14 at N = 10, 0.013 at N = 100 and 0.002
    at N = 1,000.

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
    messages, meanings, lengths = _checked(messages, meanings, lengths, MAX_EXAMPLES)
    between = look_up(MEANING_DISTANCES, meaning_distance, 'meaning distance')
    if len(messages) < 2 or not np.isfinite(meanings).all():
        return float('nan')
    edits, num_places = distances.edit_places(distances.as_strings(messages, lengths))
    return distances.rank_correlation(edits, num_places, between(meanings), len(messages))


def topographic_similarity_p(
    messages: np.ndarray,
    meanings: np.ndarray,
    meaning_distance: str = 'cosine',
    lengths: np.ndarray | None = None,
    num_permutations: int = 199,
    seed: int = 0,
) -> float:
    """One-sided p-value of topographic similarity: a Mantel test against exchanged meanings.

    Distances are ranked once; a permutation exchanges rows and columns of one matrix of ranks
    (Mantel 1967). p = (1 + number of permutations with at least the observed similarity) / (1 +
    number of permutations) (Phipson & Smyth 2010). Pairs that share an example are not independent,
    so the p-value that belongs to a correlation of so many pairs would be far too small. Checked at
    N = 12: uniform over random languages.

    Args:
      messages, meanings, meaning_distance, lengths: as in `topographic_similarity`, N up to
        `MAX_PERMUTED`.
      num_permutations: at least 1; the smallest p-value is 1 / (1 + num_permutations).
      seed: of the permutations.

    Returns:
      p in (0, 1]; nan where topographic similarity is undefined.
    """
    messages, meanings, lengths = _checked(messages, meanings, lengths, MAX_PERMUTED)
    between = look_up(MEANING_DISTANCES, meaning_distance, 'meaning distance')
    return _mantel_p([(messages, lengths)], meanings, between, num_permutations, seed)


def topographic_similarity_of(
    record: EvalRecord, max_examples: int = 1_000, seed: int = 0
) -> dict[str, float]:
    """Topographic similarity with the inputs (cosine) and, where known, the attributes (Hamming).

    On `max_examples` examples drawn without replacement; the number used is stated. Means over
    speakers.
    """
    chosen = arguments.sample(record.messages.shape[1], max_examples, seed)
    result = {'topographic_similarity_examples': float(len(chosen))}
    for name, meanings, distance in _meanings(record):
        values = [
            topographic_similarity(messages[chosen], meanings[chosen], distance, n[chosen])
            for messages, n in zip(record.messages, record.lengths, strict=True)
        ]
        result[name] = float(np.mean(values))
    return result


def topographic_similarity_p_of(
    record: EvalRecord, max_examples: int = 500, num_permutations: int = 199, seed: int = 0
) -> dict[str, float]:
    """p-values of the values of `topographic_similarity_of`, means over speakers, on `max_examples`
    examples (at most 1,000). All speakers' meanings are exchanged alike."""
    max_examples = min(max_examples, MAX_PERMUTED)
    chosen = arguments.sample(record.messages.shape[1], max_examples, seed)
    languages = [
        (messages[chosen], n[chosen])
        for messages, n in zip(record.messages, record.lengths, strict=True)
    ]
    return {
        f'{name}_p': _mantel_p(
            languages, meanings[chosen], MEANING_DISTANCES[distance], num_permutations, seed
        )
        for name, meanings, distance in _meanings(record)
    }


def speaker_distance_of(record: EvalRecord) -> dict[str, float]:
    """Mean edit distance (over the longer length) of two speakers' messages for the same referent,
    over referents and unordered pairs of speakers; nothing for a single speaker.

    In [0, 1]: 0 when all speak alike ("synchronization", Rita et al. 2022).
    """
    num_speakers, num_examples, length = record.messages.shape
    if num_speakers < 2:
        return {}
    strings = distances.as_strings(record.messages.reshape(-1, length), record.lengths.reshape(-1))
    languages = [strings[s * num_examples : (s + 1) * num_examples] for s in range(num_speakers)]
    between = [
        process.cpdist(one, other, scorer=Levenshtein.normalized_distance, workers=1)
        for s, one in enumerate(languages)
        for other in languages[s + 1 :]
    ]
    return {'speaker_edit_distance': float(np.mean(between, dtype=np.float64))}


def _meanings(record: EvalRecord) -> list[tuple[str, np.ndarray, str]]:
    """What messages are compared with: name of the value, meanings [N, D], their distance."""
    found = [('topographic_similarity', record.meanings, 'cosine')]
    if 'attributes' in record.labels:
        attributes = record.labels['attributes']
        found.append(('topographic_similarity_attributes', attributes, 'hamming'))
    return found


def _mantel_p(
    languages: Sequence[tuple[np.ndarray, np.ndarray]],
    meanings: np.ndarray,
    between: distances.MeaningDistance,
    num_permutations: int,
    seed: int,
) -> float:
    """p of the mean similarity of languages, each (messages [N, T], lengths [N])."""
    if num_permutations < 1:
        raise ValueError(f'num_permutations must be at least 1, got {num_permutations}.')
    size = len(meanings)
    if not np.isfinite(meanings).all():
        return float('nan')
    fixed, total = distances.rank_matrix(between(meanings), size), np.zeros((size, size))
    for messages, lengths in languages:
        edits, _ = distances.edit_places(distances.as_strings(messages, lengths))
        ranks = distances.rank_matrix(edits, size)
        if fixed is None or ranks is None:
            return float('nan')
        # The mean of correlations is the correlation with the mean of standardised ranks.
        total += ranks
    assert fixed is not None
    observed = _product(fixed, total)
    threshold = observed - 1e-9 * np.linalg.norm(fixed) * np.linalg.norm(total)  # Ties are ties.
    rng = np.random.default_rng(seed)
    exceeding, rows, both = 0, np.empty_like(total), np.empty_like(total)
    for _ in range(num_permutations):
        order = rng.permutation(size)
        np.take(total, order, 0, rows, 'clip')  # Into the same memory each time.
        np.take(rows, order, 1, both, 'clip')
        exceeding += int(_product(fixed, both) >= threshold)
    return float((1 + exceeding) / (1 + num_permutations))


def _product(x: np.ndarray, y: np.ndarray) -> float:
    """Of two matrices [N, N]; np.vdot wakes threads for it, which takes ten times as long."""
    return float(np.einsum('ij,ij', x, y))


def _checked(
    messages: np.ndarray, meanings: np.ndarray, lengths: np.ndarray | None, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    messages, lengths = arguments.messages_of(messages, lengths)
    meanings = np.asarray(meanings)
    if meanings.ndim != 2 or len(meanings) != len(messages):
        raise ValueError(
            f'meanings must be [N, D] with the N of messages ({len(messages)}), got '
            f'{meanings.shape}.'
        )
    if len(messages) > most:
        raise ValueError(
            f'topographic similarity compares all pairs of {len(messages)} examples: sample at '
            f'most {most}.'
        )
    return messages, meanings, lengths
