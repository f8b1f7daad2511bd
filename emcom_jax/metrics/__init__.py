"""What language came out, and how well it works: metrics on saved evaluation records.

`METRICS` is the table of contents. An entry takes an `EvalRecord` and its own options, and returns
named numbers; the functions behind it take NumPy arrays and can be used on their own.
A value that is undefined (such as a correlation with a constant) is nan, and spoils no other.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from emcom_jax.metrics import (
    abbreviation,
    accuracy,
    compositionality,
    dialogue,
    disentanglement,
    information,
    language,
    records,
    segmentation,
    semantics,
    signalling,
)
from emcom_jax.metrics.abbreviation import meaning_abbreviation, message_abbreviation
from emcom_jax.metrics.accuracy import bootstrap_interval, bounds_of, symbol_ceiling
from emcom_jax.metrics.compositionality import (
    concept_best_matching,
    context_independence,
    tree_reconstruction_error,
)
from emcom_jax.metrics.disentanglement import (
    bag_of_symbols_disentanglement,
    positional_disentanglement,
)
from emcom_jax.metrics.information import (
    adjusted_mutual_information,
    conditional_entropy,
    entropy,
    expected_mutual_information,
    message_entropy,
    mutual_information,
    normalized_mutual_information,
    permutation_test,
    position_entropy,
    redundancy,
)
from emcom_jax.metrics.language import topographic_similarity, topographic_similarity_p
from emcom_jax.metrics.listening import listening_of
from emcom_jax.metrics.noise import noise_of
from emcom_jax.metrics.references import compare
from emcom_jax.metrics.representations import (
    representation_similarity,
    representation_similarity_of,
)
from emcom_jax.metrics.segmentation import branching_entropy, word_boundaries
from emcom_jax.metrics.semantics import (
    expected_normalized_mutual_information,
    expected_wordnet_similarity,
    symbol_counts,
    top_share,
    wordnet_similarity,
)
from emcom_jax.metrics.signalling import speaker_consistency, symbol_information
from emcom_jax.tables import look_up
from emcom_jax.types import EvalRecord

Values = dict[str, float | list[float]]


class Metric(NamedTuple):
    """An entry of the table.

    function: (record, **options) -> values by name; empty where the record lacks what it measures.
    kinds: the kinds of message that it is defined for.
    """

    function: Callable[..., Any]
    kinds: tuple[str, ...]


SYMBOLS = ('symbols',)
TURNS = ('bits', 'continuous')

METRICS: dict[str, Metric] = {
    'accuracy': Metric(accuracy.accuracy_of, records.KINDS),
    'voting': Metric(accuracy.voting_of, records.KINDS),
    'topographic_similarity': Metric(language.topographic_similarity_of, SYMBOLS),
    'topographic_similarity_p': Metric(language.topographic_similarity_p_of, SYMBOLS),
    'speaker_distance': Metric(language.speaker_distance_of, SYMBOLS),
    'disentanglement': Metric(disentanglement.disentanglement_of, SYMBOLS),
    'context_independence': Metric(compositionality.context_independence_of, SYMBOLS),
    'concept_best_matching': Metric(compositionality.concept_best_matching_of, SYMBOLS),
    'tree_reconstruction_error': Metric(compositionality.tree_reconstruction_error_of, SYMBOLS),
    'segmentation': Metric(segmentation.segmentation_of, SYMBOLS),
    'message_entropy': Metric(information.message_entropy_of, SYMBOLS),
    'position_entropy': Metric(information.position_entropy_of, SYMBOLS),
    'redundancy': Metric(information.redundancy_of, SYMBOLS),
    'speaker_consistency': Metric(signalling.speaker_consistency_of, records.KINDS),
    'positive_signalling': Metric(signalling.positive_signalling_of, records.KINDS),
    'mutual_information': Metric(information.mutual_information_of, SYMBOLS),
    'normalized_mutual_information': Metric(semantics.normalized_mutual_information_of, SYMBOLS),
    'wordnet_similarity': Metric(semantics.wordnet_similarity_of, SYMBOLS),
    'symbol_frequencies': Metric(semantics.symbol_frequencies_of, SYMBOLS),
    'representation_similarity': Metric(representation_similarity_of, records.KINDS),
    'distinct_messages': Metric(information.distinct_messages_of, SYMBOLS),
    'abbreviation': Metric(abbreviation.abbreviation_of, SYMBOLS),
    'top_k': Metric(dialogue.top_k_of, TURNS),
    'turns': Metric(dialogue.turns_of, TURNS),
    'dialogues': Metric(dialogue.dialogues_of, TURNS),
}
# Those that are about messages of symbols, whatever became of them: other languages have them, too.
OF_LANGUAGE = tuple(
    name
    for name, metric in METRICS.items()
    if 'symbols' in metric.kinds and name not in ('accuracy', 'voting', 'representation_similarity')
)


def compute(
    record: EvalRecord,
    names: Collection[str],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Values:
    """The values of the metrics called `names` on `record`.

    Args:
      record: a saved evaluation.
      names: keys of `METRICS`, each defined for the record's kind of message.
      options: metric name -> options of that metric, as {'topographic_similarity':
        {'max_examples': 5000}}; a metric that is not named here runs with its defaults.
    """
    records.check(record)
    options = {} if options is None else options
    for name, chosen in options.items():
        function = look_up(METRICS, name, 'metric').function
        known = dict(list(inspect.signature(function).parameters.items())[1:])
        for option in chosen:
            look_up(known, option, f'{name} option')
    values: Values = {}
    for name in names:
        metric = look_up(METRICS, name, 'metric')
        if record.kind not in metric.kinds:
            raise ValueError(
                f'metric {name!r} is defined for messages of kind {", ".join(metric.kinds)}, but '
                f'those of this record are {record.kind}: take it off the list.'
            )
        values |= metric.function(record, **options.get(name, {}))
    return values


def limited(names: Collection[str], max_examples: int) -> dict[str, dict[str, int]]:
    """Options for `compute`: those metrics of `names` that compare all pairs of messages look at no
    more than `max_examples`, nor than they do by default if they permute them besides."""
    options = {}
    for name in names:
        known = inspect.signature(look_up(METRICS, name, 'metric').function).parameters
        if 'max_examples' in known:
            permutes = 'num_permutations' in known
            most = min(max_examples, known['max_examples'].default) if permutes else max_examples
            options[name] = {'max_examples': most}
    return options


def means(values: Mapping[str, np.ndarray]) -> Values:
    """The mean of each array [n], with its 95 % bootstrap interval (`<name>_ci95`) if n > 1; nan,
    without an interval, if one of it is nan."""
    result: Values = {}
    for name, each in values.items():
        result[name] = float(each.mean())
        if each.size > 1 and not np.isnan(each).any():
            result[f'{name}_ci95'] = bootstrap_interval(each, 1000, seed=0)
    return result


def over_replicas(values: Sequence[Values]) -> Values:
    """The mean of each value over replicas, with its standard error (`<name>_se`) and what it is
    the mean of (`<name>_replicas`, [R]); the values themselves if there is but one replica.

    Intervals within replicas are left out.
    """
    if len(values) == 1:
        return values[0]
    result: Values = {}
    for name in values[0]:
        if name.endswith('_ci95'):
            continue
        each = np.array([one[name] for one in values])
        error = each.std(axis=0, ddof=1) / len(each) ** 0.5
        result |= {name: each.mean(axis=0).tolist(), f'{name}_se': error.tolist()}
        if each.ndim == 1:
            result[f'{name}_replicas'] = each.tolist()
    return result


__all__ = [
    'METRICS',
    'OF_LANGUAGE',
    'Metric',
    'adjusted_mutual_information',
    'bag_of_symbols_disentanglement',
    'bootstrap_interval',
    'bounds_of',
    'branching_entropy',
    'compare',
    'compute',
    'concept_best_matching',
    'conditional_entropy',
    'context_independence',
    'entropy',
    'expected_mutual_information',
    'expected_normalized_mutual_information',
    'expected_wordnet_similarity',
    'limited',
    'listening_of',
    'meaning_abbreviation',
    'means',
    'message_abbreviation',
    'message_entropy',
    'mutual_information',
    'noise_of',
    'normalized_mutual_information',
    'over_replicas',
    'permutation_test',
    'position_entropy',
    'positional_disentanglement',
    'redundancy',
    'representation_similarity',
    'speaker_consistency',
    'symbol_ceiling',
    'symbol_counts',
    'symbol_information',
    'top_share',
    'topographic_similarity',
    'topographic_similarity_p',
    'tree_reconstruction_error',
    'word_boundaries',
    'wordnet_similarity',
]
