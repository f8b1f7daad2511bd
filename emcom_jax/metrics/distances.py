"""Distances of all pairs of messages and of meanings, and how their orders agree.

Only the ranks of distances count, so each is a whole number: of messages the place of its edit
distance among all that can occur, of meanings multiples of a quantum. Equal distances are equal
numbers then, whatever the last bits of a matrix product.
"""

from collections.abc import Callable

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein
from scipy.spatial import distance

_ROWS = 256  # Rows of a distance matrix that are held at a time.
_BLOCK = 2**20  # Pairs that are ranked at a time.
_QUANTUM = 1e-10  # Above the error of a matrix product, below differences that mean anything.
_BITS = 44  # A distance of meanings is less than 2**45.
_SURROGATES = range(0xD800, 0xE000)  # Code points that no character may have.

Block = Callable[[slice, slice], np.ndarray]  # (rows, columns) -> whole numbers [rows, columns].
MeaningDistance = Callable[[np.ndarray], Block]  # Of meanings [N, D].


def as_strings(messages: np.ndarray, lengths: np.ndarray) -> list[str]:
    """One string a message, one character a symbol, whatever the symbols: rapidfuzz's fastest."""
    _, codes = np.unique(messages, return_inverse=True)
    codes = codes.reshape(messages.shape)
    codes = np.where(codes < _SURROGATES.start, codes, codes + len(_SURROGATES)).astype('<u4')
    return [row[:n].tobytes().decode('utf-32-le') for row, n in zip(codes, lengths, strict=True)]


def edit_places(strings: list[str]) -> tuple[Block, int]:
    """Places, from 0 up, of the edit distances over the longer length (0 for two empty messages),
    and how many places there are."""
    lengths = np.array([len(string) for string in strings], np.int64)
    longest = int(lengths.max(initial=0))
    edits, longer = np.indices((longest + 1, longest + 1))
    # Equal fractions are equal as floats, since division is rounded correctly.
    fractions, places = np.unique(edits / np.maximum(longer, 1), return_inverse=True)
    places = places.ravel()

    def block(rows: slice, columns: slice) -> np.ndarray:
        distances = process.cdist(
            strings[rows], strings[columns], scorer=Levenshtein.distance, dtype=np.int32, workers=1
        )
        longer = np.maximum(lengths[rows, None], lengths[columns])
        return places[distances * np.int64(longest + 1) + longer]

    return block, len(fractions)


def _cosine(meanings: np.ndarray) -> Block:
    meanings = meanings.astype(np.float64)
    norms = np.linalg.norm(meanings, axis=1, keepdims=True)
    units = np.divide(meanings, norms, out=np.zeros_like(meanings), where=norms > 0)
    return lambda rows, columns: _whole(1 - units[rows] @ units[columns].T)


def _euclidean(meanings: np.ndarray) -> Block:
    """Squared, in units of the variance."""
    points = meanings - np.mean(meanings, axis=0, dtype=np.float64)
    points /= np.sqrt(np.mean(np.sum(points**2, axis=1))) or 1.0
    squares = np.sum(points**2, axis=1)
    quantum = max(_QUANTUM, 4 * squares.max(initial=0) / 2**_BITS)
    return lambda rows, columns: _whole(
        squares[rows, None] + squares[columns] - 2 * points[rows] @ points[columns].T, quantum
    )


def _hamming(meanings: np.ndarray) -> Block:
    def block(rows: slice, columns: slice) -> np.ndarray:
        shares = distance.cdist(meanings[rows], meanings[columns], 'hamming')
        return np.rint(np.nan_to_num(shares) * meanings.shape[1]).astype(np.int64)  # nan if D = 0.

    return block


def _whole(distances: np.ndarray, quantum: float = _QUANTUM) -> np.ndarray:
    return np.maximum(np.rint(distances / quantum), 0).astype(np.int64)


MEANING_DISTANCES: dict[str, MeaningDistance] = {
    'cosine': _cosine,
    'euclidean': _euclidean,
    'hamming': _hamming,
}


def rank_correlation(x: Block, num_places: int, y: Block, size: int) -> float:
    """Spearman correlation of two distances over all pairs i < j of `size` things.

    nan if one of them is constant. Ties share their mean rank. x takes at most `num_places` values.
    Each pair is one number of 8 bytes, y above x; sorted, they are ranked piece by piece.
    """
    pairs = size * (size - 1) // 2
    keys = np.empty(pairs, np.int64)
    bits = max(1, (num_places - 1).bit_length())
    if bits + _BITS >= 63:
        raise ValueError(
            f'messages have {num_places} different distances, more than {2 ** (62 - _BITS)}: cut '
            'them to fewer symbols.'
        )
    at = 0
    for start in range(0, size, _ROWS):
        rows, columns = slice(start, start + _ROWS), slice(start, size)
        block = y(rows, columns)
        above = np.triu(np.ones(block.shape, dtype=bool), k=1)
        end = at + int(above.sum())
        keys[at:end] = block[above] << bits | x(rows, columns)[above]
        at = end
    keys.sort()

    middle = (pairs + 1) / 2
    counts, sums, spread_y, at = np.zeros(2**bits), np.zeros(2**bits), 0.0, 0
    while at < pairs:
        # A piece ends where a run of equal y ends.
        last = keys[min(at + _BLOCK, pairs) - 1]
        end = int(np.searchsorted(keys, ((last >> bits) + 1) << bits))
        piece = keys[at:end]
        places, values = piece & (2**bits - 1), piece >> bits
        starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
        runs = np.diff(starts, append=len(values))
        ranks = at + starts + (runs + 1) / 2 - middle
        counts += np.bincount(places, minlength=2**bits)
        sums += np.bincount(places, np.repeat(ranks, runs), minlength=2**bits)
        spread_y += float(runs @ ranks**2)
        at = end
    ranks_x = np.cumsum(counts) - (counts - 1) / 2 - middle
    spread = float(counts @ ranks_x**2) * spread_y
    if spread == 0:
        return float('nan')
    return float(np.clip(ranks_x @ sums / np.sqrt(spread), -1, 1))


def rank_matrix(x: Block, size: int) -> np.ndarray | None:
    """Ranks of the distances of all pairs, [N, N] with a diagonal of 0, each pair twice, with mean
    0 and variance 1 over the pairs; None if all distances are equal."""
    rows, columns = np.triu_indices(size, 1)
    ranks = mean_ranks(x(slice(size), slice(size))[rows, columns])
    if ranks.size == 0 or np.ptp(ranks) == 0:
        return None
    matrix = np.zeros((size, size))
    matrix[rows, columns] = (ranks - ranks.mean()) / ranks.std()
    return matrix + matrix.T


def spearman_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of the ranks of two arrays [M], ties sharing their mean rank.

    In [-1, 1]; nan if one side is constant or empty (SciPy would warn).
    """
    if x.size == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float('nan')
    return float(np.clip(np.corrcoef(mean_ranks(x), mean_ranks(y))[0, 1], -1, 1))


def mean_ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of [M], from 1 up, ties sharing their mean rank."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
