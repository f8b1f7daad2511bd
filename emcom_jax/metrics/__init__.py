"""What language came out, and how well it works: metrics on saved evaluation records.

`METRICS` is the table of contents. An entry takes an `EvalRecord` and its own options, and returns
named numbers; the functions behind it take NumPy arrays and can be used on their own.
A value that is undefined (such as a correlation with a constant) is nan, and spoils no other.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from emcom_jax.metrics import accuracy, disentanglement, information, language, records
from emcom_jax.metrics.accuracy import bootstrap_interval
from emcom_jax.metrics.disentanglement import (
    bag_of_symbols_disentanglement,
    positional_disentanglement,
)
from emcom_jax.metrics.information import (
    entropy,
    message_entropy,
    mutual_information,
    normalized_mutual_information,
    permutation_test,
)
from emcom_jax.metrics.language import topographic_similarity, topographic_similarity_p
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


METRICS: dict[str, Metric] = {
    'accuracy': Metric(accuracy.accuracy_of, records.KINDS),
    'voting': Metric(accuracy.voting_of, records.KINDS),
    'topographic_similarity': Metric(language.topographic_similarity_of, ('symbols',)),
    'topographic_similarity_p': Metric(language.topographic_similarity_p_of, ('symbols',)),
    'disentanglement': Metric(disentanglement.disentanglement_of, ('symbols',)),
    'speaker_distance': Metric(language.speaker_distance_of, ('symbols',)),
    'message_entropy': Metric(information.message_entropy_of, ('symbols',)),
    'distinct_messages': Metric(information.distinct_messages_of, ('symbols',)),
}


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


__all__ = [
    'METRICS',
    'Metric',
    'bag_of_symbols_disentanglement',
    'bootstrap_interval',
    'compute',
    'entropy',
    'message_entropy',
    'mutual_information',
    'normalized_mutual_information',
    'permutation_test',
    'positional_disentanglement',
    'topographic_similarity',
    'topographic_similarity_p',
]
