"""Languages to compare with: what a metric would say of no language, of names, and of an ideal one.

Each takes a record and returns it with other messages: as many, from the same vocabulary, for the
same referents. What listeners made of the messages stays as it was, and means nothing there. (The
language of untrained speakers needs a model, and is made elsewhere.)
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from emcom_jax import metrics
from emcom_jax.metrics import arguments
from emcom_jax.tables import look_up
from emcom_jax.types import EvalRecord

_REDRAWS = 100  # Of names that are taken.


def random_language(record: EvalRecord, seed: int = 0) -> EvalRecord:
    """Each word is drawn uniformly from the vocabulary; lengths, and end symbols, stay."""
    rng = np.random.default_rng(seed)
    first, words = _first_word(record), arguments.content_lengths(record)
    drawn = rng.integers(first, max(record.vocab_size, first + 1), record.messages.shape)
    said = np.arange(record.messages.shape[2]) < words[..., None]
    return record._replace(messages=np.where(said, drawn, 0).astype(record.messages.dtype))


def holistic_language(record: EvalRecord, seed: int = 0) -> EvalRecord:
    """Each meaning has a random message of its own, in a code book for each speaker.

    Meanings are what attributes tell apart if known, else classes (the label 'class'), else the
    referents as stored. A name is as long as the message of the first referent with its meaning, so
    that lengths stay if all messages have one length. Names differ as far as there are enough: one
    that is taken is drawn again, up to 100 times.
    """
    rng = np.random.default_rng(seed)
    meanings = next(
        (record.labels[name] for name in ('attributes', 'class') if name in record.labels),
        record.meanings,
    )
    rows = meanings if meanings.ndim > 1 else meanings[:, None]
    _, first_of, meaning = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    meaning = meaning.ravel()
    first = _first_word(record)
    above = max(record.vocab_size, first + 1)
    words = arguments.content_lengths(record)[:, first_of]
    books = []
    for count in words:
        said = np.arange(record.messages.shape[2]) < count[:, None]
        book = np.where(said, rng.integers(first, above, said.shape), 0)
        for _ in range(_REDRAWS):
            taken = np.ones(len(book), dtype=bool)
            # With the number of words, since word 0 is no end where all have one length.
            named = np.concatenate([book, count[:, None]], axis=1)
            taken[np.unique(named, axis=0, return_index=True)[1]] = False
            if not taken.any():
                break
            again = rng.integers(first, above, (int(taken.sum()), book.shape[1]))
            book[taken] = np.where(said[taken], again, 0)
        books.append(book[meaning])
    return record._replace(
        messages=np.stack(books).astype(record.messages.dtype),
        lengths=record.lengths[:, first_of][:, meaning],
    )


def compositional_language(record: EvalRecord) -> EvalRecord | None:
    """Attribute i is spoken at position i; what follows stays unsaid. All speakers speak alike.

    Each attribute has symbols of its own, from 1 up; where the vocabulary is too small for that,
    attributes share symbols, which then mean different things at different positions (and the
    similarity of such a language is below 1). None if attributes are not known, are more than a
    message has room for, or if one has more values than there are symbols besides 0.
    """
    if 'attributes' not in record.labels:
        return None
    attributes = record.labels['attributes']
    if not attributes.size:
        return None
    places = np.stack([np.unique(c, return_inverse=True)[1].ravel() for c in attributes.T], axis=1)
    counts = places.max(axis=0) + 1
    spare = record.vocab_size - 1
    if len(counts) > record.messages.shape[2] or counts.max() > spare:
        return None
    if counts.sum() <= spare:
        places = places + np.cumsum(counts) - counts
    messages, lengths = np.zeros_like(record.messages), np.zeros_like(record.lengths)
    messages[:, :, : len(counts)] = places + 1
    lengths[:] = len(counts)
    return record._replace(messages=messages, lengths=lengths)


def permuted_meanings(record: EvalRecord, seed: int = 0) -> EvalRecord:
    """The same messages, said of other referents, exchanged alike for all speakers."""
    order = np.random.default_rng(seed).permutation(record.messages.shape[1])
    return record._replace(messages=record.messages[:, order], lengths=record.lengths[:, order])


def compare(
    record: EvalRecord,
    names: Collection[str],
    options: Mapping[str, Mapping[str, Any]] | None = None,
    num_draws: int = 5,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The values of language metrics on a record, and on the languages to compare it with.

    Args:
      record: a saved evaluation, with messages of symbols.
      names: of `metrics.OF_LANGUAGE`.
      options: as in `metrics.compute`.
      num_draws: of each reference that is random; their values are means over draws.
      seed: of the first draw.

    Returns:
      'emergent', 'random', 'holistic', 'compositional', 'permuted' -> values by name. A language
      that cannot be made of this record is left out.
    """
    for name in names:
        look_up(metrics.METRICS, name, 'metric')
        if name not in metrics.OF_LANGUAGE:
            raise ValueError(
                f'metric {name!r} is not about messages of symbols, so that reference languages '
                'have no value of it: take it off the list.'
            )
    if record.kind != 'symbols' or num_draws < 1:
        raise ValueError(
            'reference languages need messages of symbols and at least one draw, got '
            f'{record.kind} and num_draws={num_draws}.'
        )
    drawn: dict[str, Callable[[EvalRecord, int], EvalRecord]] = {
        'random': random_language,
        'holistic': holistic_language,
        'permuted': permuted_meanings,
    }
    compositional = compositional_language(record)
    table = {'emergent': metrics.compute(record, names, options)}
    for language, make in drawn.items():
        draws = [
            metrics.compute(make(record, seed + draw), names, options) for draw in range(num_draws)
        ]
        table[language] = {
            name: np.mean([values[name] for values in draws], axis=0).tolist() for name in draws[0]
        }
    if compositional is not None:
        table['compositional'] = metrics.compute(compositional, names, options)
    order = ('emergent', 'random', 'holistic', 'compositional', 'permuted')
    return {language: table[language] for language in order if language in table}


def _first_word(record: EvalRecord) -> int:
    """The smallest symbol that is a word: 1 where symbol 0 ends messages."""
    return int(record.variable_length)
