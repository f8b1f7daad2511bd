"""What symbols stand for: how well they fit classes, and how near the classes of one symbol are.

After Dessì, Kharitonov & Baroni 2021, Interpretable agent communication from scratch (with a
generic visual processor emerging on the side). Both measures are far from 0 by chance where symbols
are many, so each stands beside its mean over permutations of the labels and a p-value.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from emcom_jax.metrics import arguments, wordnet
from emcom_jax.metrics.information import (
    adjusted_mutual_information,
    entropy,
    expected_mutual_information,
    name_rows,
    normalized_mutual_information,
    permutation_test,
)
from emcom_jax.types import EvalRecord

ALPHA = 0.01  # A p-value above it: "not significant", as in the paper.
TOP = tuple(2**n for n in range(11))  # Numbers of symbols whose share is stated, 1 to 1,024.
_CELLS = 2**22  # Of a table, 32 MB, that is held at a time.


def expected_normalized_mutual_information(symbols: np.ndarray, labels: np.ndarray) -> float:
    """The mean of `normalized_mutual_information` over all permutations of the labels; exact.

    Entropies stay as they are, so it is E[I] over their arithmetic mean (hypergeometric: Vinh, Epps
    & Bailey 2010). Of 50,000 examples, 1,000 classes and 2,048 uniform symbols it is 0.51.

    Args:
      symbols, labels: int [N].

    Returns:
      In [0, 1]; 1 when both are constant.
    """
    symbols, labels = arguments.aligned(symbols, labels)
    mean = (entropy(symbols) + entropy(labels)) / 2
    return 1.0 if mean == 0.0 else min(1.0, expected_mutual_information(symbols, labels) / mean)


def wordnet_similarity(symbols: np.ndarray, synsets: Sequence[str]) -> float:
    """WNSim: mean path similarity in WordNet of all pairs i < j of examples that share a symbol.

    Dessì et al. 2021. Similarity is 1 / (1 + length of the shortest path between the two synsets
    through hypernyms), 1 for examples of one class. A symbol that is used once has no pairs and
    counts for nothing. The more classes a symbol covers, the smaller it is; a symbol for each
    example leaves it undefined, a few pairs of one class make it 1: state |P| beside it.

    Args:
      symbols: int [N].
      synsets: [N] names such as 'dog.n.01', or ImageNet ids such as 'n02084071'.

    Returns:
      In (0, 1]; nan if no two examples share a symbol. Checked against NLTK, pair by pair.

    Raises:
      WordNetMissing: WordNet is not there; ValueError: it lacks a name.
    """
    symbols, names = arguments.aligned(symbols, np.asarray(synsets))
    classes, between = _classes(names)
    return _mean_similarity(name_rows(symbols), classes, between)


def expected_wordnet_similarity(synsets: Sequence[str]) -> float:
    """The mean of `wordnet_similarity` over all permutations of the examples; exact.

    A permutation makes any two examples share a symbol equally often, whatever the symbols are: it
    is the mean similarity of all pairs i < j of the N examples. nan for N = 1.
    """
    names = np.asarray(synsets)
    return wordnet_similarity(np.zeros(len(names), np.int64), synsets)


def symbol_counts(symbols: np.ndarray) -> np.ndarray:
    """How often each symbol that is used occurs, int [|P|], the most frequent first; of [N], or of
    messages [N, T], each of which counts as one symbol."""
    return np.sort(np.bincount(name_rows(symbols)))[::-1]


def top_share(symbols: np.ndarray, k: int) -> float:
    """The share of the examples that the k most frequent symbols have, in (0, 1]; of int [N]."""
    if k < 1 or len(symbols) == 0:
        raise ValueError(f'expected examples and k of at least 1, got {len(symbols)} and k={k}.')
    counts = symbol_counts(symbols)
    return float(counts[:k].sum() / counts.sum())


def normalized_mutual_information_of(
    record: EvalRecord, num_permutations: int = 199, seed: int = 0
) -> dict[str, float]:
    """How well symbols fit the label 'class', where it is known; means over speakers:

    `nmi`, its mean over permutations `nmi_permuted`, the difference `nmi_excess`, `adjusted_mi`;
    `num_symbols` |P| in use and `examples_per_symbol` N / |P|; and `nmi_p`, the one-sided p-value
    of the mean over speakers against permuted labels, alike for all speakers (above `ALPHA`: not
    significant). A message of more than one symbol counts as one symbol as a whole.
    """
    if 'class' not in record.labels:
        return {}
    classes = name_rows(record.labels['class'])
    languages = [name_rows(messages) for messages in record.messages]
    size, spread = len(classes), entropy(classes)
    entropies = [entropy(said) + spread for said in languages]
    cells = [said * (int(classes.max()) + 1) for said in languages]
    rows = np.arange(size)

    def nmi(_: np.ndarray, order: np.ndarray) -> float:
        """Only the joint entropy depends on the order: I = H(x) + H(y) - H(x, y)."""
        seen = classes[order]
        return float(
            np.mean(
                [
                    2 - 2 * entropy(cell + seen) / total if total else 1.0
                    for cell, total in zip(cells, entropies, strict=True)
                ]
            )
        )

    means = np.mean(
        [
            (
                normalized_mutual_information(said, classes),
                expected_normalized_mutual_information(said, classes),
                adjusted_mutual_information(said, classes),
                said.max() + 1,
                size / (said.max() + 1),
            )
            for said in languages
        ],
        axis=0,
    ).tolist()
    value, permuted, adjusted, symbols, examples = means
    return {
        'nmi': value,
        'nmi_permuted': permuted,
        'nmi_excess': value - permuted,
        'adjusted_mi': adjusted,
        'num_symbols': symbols,
        'examples_per_symbol': examples,
        'nmi_p': permutation_test(nmi, rows, rows, num_permutations, seed),
    }


def wordnet_similarity_of(
    record: EvalRecord, num_permutations: int = 199, seed: int = 0
) -> dict[str, float]:
    """How near the classes of one symbol are in WordNet, where their synsets are known; means over
    speakers: `wnsim`, its mean over permutations `wnsim_permuted`, the difference `wnsim_excess`,
    and `wnsim_p` as `nmi_p` of `normalized_mutual_information_of`. nan where no two examples share
    a message of some speaker."""
    if 'class' not in record.labels or 'class' not in record.synsets:
        return {}
    names = np.asarray(record.synsets['class'])[record.labels['class']]
    classes, between = _classes(names)
    languages = [name_rows(messages) for messages in record.messages]
    rows = np.arange(len(classes))

    def wnsim(_: np.ndarray, order: np.ndarray) -> float:
        seen = classes[order]
        return float(np.mean([_mean_similarity(said, seen, between) for said in languages]))

    value = wnsim(rows, rows)
    permuted = _mean_similarity(np.zeros_like(rows), classes, between)
    return {
        'wnsim': value,
        'wnsim_permuted': permuted,
        'wnsim_excess': value - permuted,
        'wnsim_p': permutation_test(wnsim, rows, rows, num_permutations, seed),
    }


def symbol_frequencies_of(record: EvalRecord) -> dict[str, list[float]]:
    """`symbol_top_share`: the share of the examples that the k most frequent symbols have, for k of
    `TOP`; means over speakers. A message counts as one symbol as a whole."""
    languages = [name_rows(messages) for messages in record.messages]
    return {
        'symbol_top_share': [
            float(np.mean([top_share(said, k) for said in languages])) for k in TOP
        ]
    }


def _classes(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of names [N]: the class of each, int [N], and the similarity of the K classes, [K, K]."""
    known = wordnet.load()
    distinct, index = np.unique(names, return_inverse=True)
    between = known.path_similarity([known.synset(name) for name in distinct.tolist()])
    return index.ravel(), between


def _mean_similarity(symbols: np.ndarray, classes: np.ndarray, between: np.ndarray) -> float:
    """Mean of between[c_i, c_j] over pairs i < j that share a symbol; nan if there is none.

    With the counts n_s [K] of the classes of symbol s, the sum over its ordered pairs is n_s' S n_s
    less the examples with themselves, which are 1 each.

    Args:
      symbols, classes: int [N], from 0 up.
      between: S, [K, K], with a diagonal of ones.
    """
    sizes = np.bincount(symbols)
    pairs = int(np.sum(sizes * (sizes - 1)))
    if pairs == 0:
        return float('nan')
    shape = (len(sizes), len(between))
    table = sparse.csr_array((np.ones(len(symbols)), (symbols, classes)), shape=shape)
    total = 0.0
    rows = max(1, _CELLS // len(between))
    for start in range(0, len(sizes), rows):
        part = table[start : start + rows]
        total += float(part.multiply(part @ between).sum())
    return (total - len(symbols)) / pairs
