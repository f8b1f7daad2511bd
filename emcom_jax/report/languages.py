"""The language of a run beside others: untrained speakers', random, holistic, ideal ones."""

from typing import Any

from emcom_jax.metrics import OF_LANGUAGE, compute, records, references, wordnet
from emcom_jax.types import EvalRecord

MAX_EXAMPLES = 1_000  # More are sampled: every metric is computed some twenty times.
NEEDS_WORDNET = ('wordnet_similarity',)
ORDER = ('emergent', 'untrained', 'random', 'permuted', 'holistic', 'compositional')


def compare(record: EvalRecord, untrained: EvalRecord | None) -> dict[str, dict[str, Any]]:
    """Returns language -> values of all language metrics by name, in the order of `ORDER`.

    Args:
      record: of messages of symbols, on the same split as `untrained`.
      untrained: before any training, if it is known.
    """
    record = records.sample(record, MAX_EXAMPLES)
    names = [name for name in OF_LANGUAGE if name not in NEEDS_WORDNET]
    if wordnet.installed():  # A report is made without it, too.
        names += NEEDS_WORDNET
    table = references.compare(record, names)
    if untrained is not None:
        table['untrained'] = compute(records.sample(untrained, MAX_EXAMPLES), names)
    return {language: table[language] for language in ORDER if language in table}
