"""Descriptions in words: what a listener reads of each class."""

import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Articles, conjunctions and prepositions that say nothing of what a thing looks like.
STOPWORDS = frozenset(
    'a an and are as at by for from has in is it its of on or the to with'.split()
)
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


class Words(NamedTuple):
    """Descriptions as numbers of words.

    vocabulary: the n words, sorted.
    ids: int32 [D, W], the words of each description, in the order of their first mention, each
        once; 0 where there are fewer.
    mask: float32 [D, W], 1 for a word.
    """

    vocabulary: tuple[str, ...]
    ids: np.ndarray
    mask: np.ndarray


def words_of(description: str) -> list[str]:
    """The words of a description, lower case, each once; without stop words and punctuation."""
    return [
        word for word in dict.fromkeys(_WORD.findall(description.lower())) if word not in STOPWORDS
    ]


def number(descriptions: Sequence[str]) -> Words:
    """Numbers the words of descriptions.

    Raises:
      ValueError: a description has no word.
    """
    split = [words_of(description) for description in descriptions]
    for description, words in zip(descriptions, split, strict=True):
        if not words:
            raise ValueError(f'the description {description!r} has no word that tells anything')
    vocabulary = tuple(sorted({word for words in split for word in words}))
    place = {word: index for index, word in enumerate(vocabulary)}
    ids = np.zeros((len(split), max(map(len, split))), np.int32)
    mask = np.zeros(ids.shape, np.float32)
    for row, words in enumerate(split):
        ids[row, : len(words)] = [place[word] for word in words]
        mask[row, : len(words)] = 1
    return Words(vocabulary, ids, mask)


def ngram_vectors(words: Iterable[str], size: int) -> np.ndarray:
    """Vectors [n, size] float32 of length 1 from the spelling alone: each run of 3 to 5 characters
    of '<word>' has a random vector, and a word is their sum (after Bojanowski et al. 2017)."""

    def vector(piece: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(piece.encode())).standard_normal(size)

    rows = []
    for word in words:
        spelt = f'<{word}>'
        pieces = {spelt[i : i + n] for n in (3, 4, 5) for i in range(len(spelt) - n + 1)}
        row = sum(map(vector, sorted(pieces or {spelt})), np.zeros(size))
        rows.append(row / np.linalg.norm(row))
    return np.array(rows, np.float32)


def read_vectors(path: str | Path, words: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Reads the vectors of words from a text file as GloVe's, a word and its numbers on each line;
    only those that are asked for are kept, and reading ends with the last of them.

    Returns:
      [n, size] float32, zeros for words that the file has not, and those words.

    Raises:
      OSError: there is no such file.
      ValueError: the file has none of the words, or a line of them is malformed.
    """
    wanted, found = set(words), {}
    with open(path, encoding='utf-8') as lines:
        for line_number, line in enumerate(lines, start=1):
            word, _, numbers = line.rstrip().partition(' ')
            if word not in wanted or word in found:
                continue
            try:
                found[word] = np.array(numbers.split(), np.float32)
            except ValueError:
                raise ValueError(f'{path}, line {line_number}: not a word and numbers') from None
            if len(found) == len(wanted):
                break
    sizes = {vector.size for vector in found.values()}
    if len(sizes) != 1 or 0 in sizes:
        what = 'vectors of several sizes' if sizes else 'none of the words of the descriptions'
        raise ValueError(f'{path} has {what}; each line must be a word and its numbers')
    unknown = [word for word in words if word not in found]
    nothing = np.zeros(sizes.pop(), np.float32)
    return np.stack([found.get(word, nothing) for word in words]), unknown
