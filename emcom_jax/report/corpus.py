"""Messages as a corpus, for programs that study languages.

messages.jsonl        one array of integers a line: what XferBench reads (Boldt & Mortensen 2024)
messages_meta.jsonl   line by line: who said it, of which referent, its labels, how well understood
meanings.npy          float32 [N, D], the referents; `referent` is a row of it
metadata.json         the statistics that ELCC keeps beside a corpus, by its names (Boldt &
                      Mortensen, *ELCC: the Emergent Language Corpus Collection*, 2024)

Of several replicas these are of the first; of replica r `messages.<r>.jsonl` and so on.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emcom_jax.metrics import arguments, entropy
from emcom_jax.runtime.files import replace_file, replace_text, strict, write_json
from emcom_jax.types import EvalRecord

_FILES = ('messages.jsonl', 'messages_meta.jsonl', 'meanings.npy', 'metadata.json')


def files(replica: int = 0) -> list[str]:
    """The names of the files of a replica, in the order above."""
    if replica == 0:
        return list(_FILES)
    return [f'.{replica}.'.join(name.split('.')) for name in _FILES]


def said(record: EvalRecord) -> list[list[int]]:
    """The messages of a record of kind 'symbols', speaker after speaker, cut to their lengths."""
    return [
        message[:length].tolist()
        for messages, lengths in zip(record.messages, record.lengths, strict=True)
        for message, length in zip(messages, lengths, strict=True)
    ]


def export(
    record: EvalRecord,
    directory: str | Path,
    system: Mapping[str, Any] | None = None,
    replica: int = 0,
) -> Path:
    """Writes a corpus into a directory, which is made where it is missing.

    Each file replaces an older one in one step; the metadata are written last.

    Args:
      record: a saved evaluation, with messages of symbols.
      directory: where to.
      system: what to say about the system besides what the record knows, as
        {'name': 'lewis', 'game_type': 'signalling', 'game_subtype': 'discrimination'}.
      replica: whose it is; see `files`.

    Returns:
      The path of the messages.

    Raises:
      ValueError: the messages are no symbols.
    """
    if record.kind != 'symbols':
        raise ValueError(
            f'a corpus holds messages of symbols, but those of this record are {record.kind}.'
        )
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path, beside, referents, metadata = (directory / name for name in files(replica))
    meanings = np.asarray(record.meanings, np.float32)
    replace_file(referents, lambda file: np.save(file, meanings))
    _write_lines(path, said(record))
    _write_lines(beside, about_messages(record))
    about = {
        'name': 'emcom_jax',
        'num_speakers': record.messages.shape[0],
        'num_listeners': record.correct.shape[2],
        'num_candidates': record.num_candidates[-1],
        'vocab_size': record.vocab_size,
        'max_message_length': record.messages.shape[2],
        'split': record.split,
        'training_steps': record.step,
    }
    metrics = {
        'analysis': statistics(record),
        'system': {'success_rate': float(record.correct[-1].mean(dtype=np.float64))},
    }
    write_json(metadata, {'system': about | dict(system or {})} | {'metrics': metrics})
    return path


def about_messages(record: EvalRecord) -> list[dict[str, Any]]:
    """For each message, in the order of `said`: speaker, referent, its labels, and the share of
    listeners (and draws of candidates) that understood it, with the most candidates played."""
    num_speakers, num_examples = record.lengths.shape
    labels = {name: values.tolist() for name, values in record.labels.items()}
    correct = record.correct[-1].mean(axis=1, dtype=np.float64).tolist()  # [S, N]
    return [
        {'speaker': s, 'referent': n, 'correct': correct[s][n]}
        | {name: values[n] for name, values in labels.items()}
        for s in range(num_speakers)
        for n in range(num_examples)
    ]


def statistics(record: EvalRecord) -> dict[str, int | float | bool]:
    """What ELCC says of each corpus. A token is a symbol, a line a message; entropies in bits, of
    tokens and of pairs that follow each other in a line (nan where there are none). Normalised by
    the tokens in use. `EoS` is the end symbol; nothing follows it here."""
    on, lengths = arguments.spoken(record), record.lengths
    messages = record.messages.astype(np.int64)
    tokens = messages[on]
    follows = on[:, :, 1:]
    pairs = messages[:, :, :-1][follows] * record.vocab_size + messages[:, :, 1:][follows]
    one = entropy(tokens) if len(tokens) else float('nan')
    two = entropy(pairs) if len(pairs) else float('nan')
    distinct = len(np.unique(tokens))
    return {
        'Token Count': len(tokens),
        'Line Count': lengths.size,
        'Tokens per Line': float(lengths.mean()),
        'Tokens per Line SD': float(lengths.std()),
        'Unique Tokens': distinct,
        'Unique Lines': len(set(map(tuple, said(record)))),
        '1-gram Entropy': one,
        '1-gram Normalized Entropy': one / float(np.log2(distinct)) if distinct > 1 else 0.0,
        '2-gram Entropy': two,
        '2-gram Conditional Entropy': two - one,
        'Entropy per Line': one * float(lengths.mean()),
        'EoS Token Present': bool(np.any(arguments.content_lengths(record) < record.lengths)),
        'EoS Padding': False,
    }


def _write_lines(path: Path, values: list[Any]) -> None:
    lines = (json.dumps(strict(value), allow_nan=False) + '\n' for value in values)
    replace_text(path, ''.join(lines))
