"""Do two agents see alike: which referents are similar to which, in one and in the other."""

import numpy as np

from emcom_jax.metrics import arguments
from emcom_jax.metrics.distances import spearman_correlation
from emcom_jax.types import EvalRecord

# All pairs of this many are 8 million: 0.6 GB while they are ranked.
MAX_EXAMPLES = 4_000
_DECIMALS = 10  # Above the error of a matrix product: equal similarities are ties.


def representation_similarity(
    a: np.ndarray, b: np.ndarray, max_examples: int = MAX_EXAMPLES, seed: int = 0
) -> dict[str, float]:
    """Correlations, over all pairs i < j of referents, of their similarity for a and that for b.

    Representational similarity analysis (Kriegeskorte, Mur & Bandettini 2008) with the cosine.
    Dessì et al. 2021 report it of speaker and listener: never below 0.96. Checked against SciPy.

    Args:
      a, b: float [N, D1] and [N, D2], representations of the same N referents; a zero vector has
        similarity 0 with all.
      max_examples: at most `MAX_EXAMPLES`; of more referents so many are drawn.
      seed: of the draw.

    Returns:
      `representation_similarity` (Pearson) and `representation_similarity_spearman`, in [-1, 1];
      nan where one is undefined: N < 3, all pairs equally similar, or values that are not finite.
      `representation_similarity_examples`: how many referents were compared.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(
            f'representations must be [N, D1] and [N, D2] of the same N referents, got {a.shape} '
            f'and {b.shape}.'
        )
    if not 2 <= max_examples <= MAX_EXAMPLES:
        raise ValueError(f'max_examples must lie between 2 and {MAX_EXAMPLES}, got {max_examples}.')
    chosen = arguments.sample(len(a), max_examples, seed)
    x, y = _similarities(a[chosen]), _similarities(b[chosen])
    pearson = spearman = float('nan')
    if x.size and np.isfinite(x).all() and np.isfinite(y).all() and np.ptp(x) and np.ptp(y):
        pearson = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
        spearman = spearman_correlation(x, y)
    return {
        'representation_similarity': pearson,
        'representation_similarity_spearman': spearman,
        'representation_similarity_examples': float(len(chosen)),
    }


def representation_similarity_of(
    record: EvalRecord, max_examples: int = MAX_EXAMPLES, seed: int = 0
) -> dict[str, float]:
    """Of what the first speaker and the first listener make of images; else empty."""
    if record.listener_meanings is None:
        return {}
    return representation_similarity(record.meanings, record.listener_meanings, max_examples, seed)


def _similarities(representations: np.ndarray) -> np.ndarray:
    """Cosines of all pairs i < j, of [N, D]; nan if a value is not finite."""
    rows = representations.astype(np.float64)
    if not np.isfinite(rows).all():
        return np.full(1, np.nan)
    scale = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)  # Squares stay finite.
    rows = rows / np.where(scale > 0, scale, 1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / np.where(norms > 0, norms, 1)
    return (units @ units.T)[np.triu_indices(len(units), 1)].round(_DECIMALS)
