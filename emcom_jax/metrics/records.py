"""Evaluation records on disk: `records/<split>.npz`, plain arrays only."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emcom_jax.metrics import arguments
from emcom_jax.types import EvalRecord

KINDS = ('symbols', 'bits', 'drawings', 'continuous')


def check(record: EvalRecord) -> None:
    """Raises ValueError where the shapes of a record do not fit together."""
    if record.kind not in KINDS:
        raise ValueError(f'kind of message must be one of {", ".join(KINDS)}, got {record.kind!r}.')
    if record.lengths.ndim != 2 or record.correct.ndim != 4 or 0 in record.correct.shape:
        raise ValueError(
            'lengths must be [S, N] and correct [Q, S, L, N], none of them empty, got '
            f'{record.lengths.shape} and {record.correct.shape}.'
        )
    speakers, examples = record.lengths.shape
    numbers, listeners = len(record.num_candidates), record.correct.shape[2]
    leading = {
        'messages': (speakers, examples),
        'meanings': (examples,),
        'correct': (numbers, speakers, listeners, examples),
        'loss': (numbers, speakers, listeners, examples),
        'vote': (numbers, speakers, examples),
    }
    arrays = {name: getattr(record, name) for name in leading}
    if record.listener_meanings is not None:
        arrays['listener_meanings'], leading['listener_meanings'] = (
            record.listener_meanings,
            (examples,),
        )
    for label, values in record.labels.items():
        arrays[f'labels[{label!r}]'], leading[f'labels[{label!r}]'] = values, (examples,)
    for part, values in record.exchange.items():
        arrays[f'exchange[{part!r}]'] = values
        leading[f'exchange[{part!r}]'] = () if part == 'among' else (speakers, examples)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f'{name} of an evaluation record must hold numbers, not objects.')
        if array.shape[: len(leading[name])] != leading[name]:
            raise ValueError(
                f'{name} of an evaluation record must begin with {leading[name]}, got '
                f'{array.shape}.'
            )
    for label, names in record.synsets.items():
        values = record.labels.get(label, np.zeros(0))
        if values.size and not 0 <= values.min() <= values.max() < len(names):
            raise ValueError(
                f'synsets[{label!r}] of an evaluation record must name all values of that label, '
                f'got {len(names)} names and values from {values.min()} to {values.max()}.'
            )
    images, rows = record.images, record.image_rows
    if (images is None) != (rows is None):
        raise ValueError('an evaluation record must have image_rows just where it has images.')
    if images is not None and rows is not None:
        inside = rows.size == 0 or (0 <= rows[0] and rows[-1] < examples)
        ordered = rows.shape == images.shape[:1] and (np.diff(rows) > 0).all()
        if not (inside and ordered):
            raise ValueError(
                f'image_rows of an evaluation record must say which of its {examples} referents '
                f'the {len(images)} images are, in their order.'
            )
    rank = 3 if record.kind == 'symbols' else 4
    if record.messages.ndim != rank:
        raise ValueError(
            f'messages of kind {record.kind!r} must have rank {rank}, got {record.messages.shape}.'
        )


def kept_images(record: EvalRecord, rows: np.ndarray) -> np.ndarray:
    """Of referents, those of which the record has kept an image: their places in `images`."""
    if record.image_rows is None:
        return np.zeros(0, int)
    return np.flatnonzero(np.isin(record.image_rows, rows))


def sample(record: EvalRecord, max_examples: int, seed: int = 0) -> EvalRecord:
    """The record of at most `max_examples` of its referents, drawn without replacement."""
    rows = arguments.sample(record.messages.shape[1], max_examples, seed)
    heard = record.listener_meanings
    return record._replace(
        messages=record.messages[:, rows],
        lengths=record.lengths[:, rows],
        meanings=record.meanings[rows],
        labels={name: values[rows] for name, values in record.labels.items()},
        correct=record.correct[..., rows],
        loss=record.loss[..., rows],
        vote=record.vote[..., rows],
        listener_meanings=None if heard is None else heard[rows],
        images=None,
        image_rows=None,
        games={},
        exchange={
            name: values if name == 'among' else values[:, rows]
            for name, values in record.exchange.items()
        },
    )


def save(record: EvalRecord, path: str | os.PathLike) -> None:
    """Writes `record` to `path` whole or not at all: a reader never sees half a file."""
    check(record)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = record._asdict() | {f'labels/{name}': v for name, v in record.labels.items()}
    arrays |= {f'synsets/{name}': np.array(v, np.str_) for name, v in record.synsets.items()}
    for group in ('games', 'exchange'):
        arrays |= {f'{group}/{name}': values for name, values in arrays.pop(group).items()}
    del arrays['labels'], arrays['synsets']
    arrays = {name: array for name, array in arrays.items() if array is not None}
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        with open(partial, 'wb') as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> EvalRecord:
    """The record that `save` wrote to `path`.

    Older records do not say whether symbol 0 ends messages: it does if one that leaves room ends
    with it. Nor do they say which referents their images are: the first ones.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no evaluation record at {path}: evaluate that split first.')
    try:
        # Opened here, since NumPy leaves a damaged archive open.
        with open(path, 'rb') as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        labels, synsets, games, exchange = (
            {
                name.removeprefix(prefix): arrays.pop(name)
                for name in list(arrays)
                if name.startswith(prefix)
            }
            for prefix in ('labels/', 'synsets/', 'games/', 'exchange/')
        )
        arrays.setdefault('variable_length', _ends(arrays))
        if 'images' in arrays:
            arrays.setdefault('image_rows', np.arange(len(arrays['images'])))
        record = EvalRecord(
            split=str(arrays.pop('split')),
            step=int(arrays.pop('step')),
            kind=str(arrays.pop('kind')),
            vocab_size=int(arrays.pop('vocab_size')),
            variable_length=bool(arrays.pop('variable_length')),
            num_candidates=tuple(arrays.pop('num_candidates').tolist()),
            labels=labels,
            games=games,
            synsets={name: tuple(names.tolist()) for name, names in synsets.items()},
            exchange=exchange,
            **arrays,
        )
        check(record)
    except Exception as error:  # A damaged file makes NumPy raise any of a dozen kinds.
        raise ValueError(
            f'{path} is not a whole evaluation record ({error}): evaluate that split again.'
        ) from error
    return record


def _ends(arrays: Mapping[str, np.ndarray]) -> np.bool:
    """Whether symbol 0 seems to end messages."""
    messages, lengths = arrays['messages'], arrays['lengths']
    if str(arrays['kind']) != 'symbols':
        return np.False_
    return np.any(arguments.ended(messages, lengths) & (lengths < messages.shape[-1]))
