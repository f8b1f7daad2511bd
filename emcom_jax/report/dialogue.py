"""Dialogues: what passes in which turn, how long they last, examples of them, and their export.

dialogues.jsonl   one dialogue a line: all turns, each with probabilities, bits, belief and stop
dialogues.h5      the same in the layout of the published analysis (needs h5py, an extra)
"""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emcom_jax.metrics import dialogue
from emcom_jax.report.curves import COLORS, FAINT, INK
from emcom_jax.runtime.files import replace_file, replace_text
from emcom_jax.types import EvalRecord

CAPTION = """What passes in dialogues of the test split, turn by turn, in those that go so far:
what the listener knows of the target (of all dialogues, at their end where they have ended), how
much it doubts, how often its guess would be right, how varied turns are and how many bits differ
from the turn before; the number of turns of each class beside how hard it is; and, last, what
classes (rows) are taken for (columns)."""
PLACES = """What is said (left) and answered (right) in all turns that were played, by their two
principal components; a colour for each class, a shape for each agent."""
FILES = ('dialogues.jsonl', 'dialogues.h5')
_SHOWN = 2000  # Points of a picture.
_MARKERS = 'os^Dv'


def draw(record: EvalRecord) -> Figure:
    """Draws what happens by turn, lengths by class, and the confusion of classes."""
    values = dialogue.dialogues_of(record) | dialogue.turns_of(record)
    figure = Figure(figsize=(8.6, 7.4), layout='constrained')
    axes = figure.subplots(3, 2)
    _lines(axes[0, 0], 'What the listener knows', 'bits', values, {
        'information_by_turn': 'known of the target', 'belief_entropy_by_turn': 'doubt',
    })  # fmt: skip
    _lines(axes[0, 1], 'Accuracy of the belief', 'share', values, {'accuracy_by_turn': 'accuracy'})
    axes[0, 1].set_ylim(0, 1.02)
    _lines(axes[1, 0], 'Entropy of turns', 'bits', values, {
        'said_entropy_by_turn': 'speaker', 'answer_entropy_by_turn': 'listener',
    })  # fmt: skip
    _lines(axes[1, 1], 'Distance from the turn before', 'bits', values, {
        'said_distance_by_turn': 'speaker', 'answer_distance_by_turn': 'listener',
    })  # fmt: skip
    _draw_lengths(axes[2, 0], record, np.array(values['turns_each']))
    _draw_confusion(axes[2, 1], record)
    for ax in axes.flat:
        ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=3)
        ax.spines[['top', 'right']].set_visible(False)
        ax.spines[['left', 'bottom']].set_color(FAINT)
    return figure


def _lines(ax: Axes, title: str, unit: str, values: dict[str, Any], names: dict[str, str]) -> None:
    for (name, label), color in zip(names.items(), COLORS, strict=False):
        if name in values:
            turns = np.arange(1, len(values[name]) + 1)
            ax.plot(turns, values[name], color=color, marker='o', markersize=4, label=label)
            ax.set_xticks(turns[:: max(1, len(turns) // 10)])
    ax.set_xlabel('turn', fontsize=8, color=INK)
    ax.set_ylabel(unit, fontsize=8, color=INK)
    _title(ax, title)
    if len(names) > 1 and ax.lines:
        ax.legend(fontsize=7, labelcolor=INK, edgecolor='none')


def _draw_lengths(ax: Axes, record: EvalRecord, turns: np.ndarray) -> None:
    labels, wrong = record.labels[dialogue.LABEL], 1 - record.correct[-1].mean(axis=(0, 1))
    shown = np.flatnonzero(~np.isnan(turns))
    errors = [wrong[labels == label].mean() for label in shown]
    ax.plot(errors, turns[shown], 'o', color=COLORS[0], markersize=4)
    ax.set_xlabel('wrong guesses of the class, share', fontsize=8, color=INK)
    ax.set_ylabel('turns', fontsize=8, color=INK)
    _title(ax, 'Do they talk longer about harder classes?')


def _draw_confusion(ax: Axes, record: EvalRecord) -> None:
    counts = dialogue.confusion(record)
    shown = np.flatnonzero(record.exchange['among'])
    ax.imshow(counts[np.ix_(shown, shown)], vmin=0, vmax=1, cmap='Blues', aspect='auto')
    ax.set_xlabel('guess', fontsize=8, color=INK)
    ax.set_yticks(range(len(shown)), class_names(record, shown), fontsize=5)
    ax.set_xticks([])
    _title(ax, 'Confusion')


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc='left', fontsize=10, color=INK, fontweight='bold')


def draw_places(record: EvalRecord) -> Figure:
    """Draws turns by their principal components, coloured by class, marked by agent."""
    figure = Figure(figsize=(8.6, 4.0), layout='constrained')
    played = np.arange(record.messages.shape[2]) < record.lengths[..., None]
    for ax, name, bits in zip(
        figure.subplots(1, 2),
        ('said', 'answered'),
        (record.messages, record.exchange['answers']),
        strict=True,
    ):
        speaker, example, _ = rows = np.nonzero(played)
        chosen = np.random.default_rng(0).permutation(len(example))[:_SHOWN]
        points = principal(bits[rows][chosen])
        labels = record.labels[dialogue.LABEL][example[chosen]]
        for agent in np.unique(speaker[chosen]):
            own = speaker[chosen] == agent
            ax.scatter(
                *points[own].T, c=labels[own] % 20, cmap='tab20', s=9, alpha=0.6, vmin=0, vmax=19,
                marker=_MARKERS[agent % len(_MARKERS)],
            )  # fmt: skip
        _title(ax, name)
        ax.set_xticks([])
        ax.set_yticks([])
    return figure


def principal(points: np.ndarray) -> np.ndarray:
    """The first two principal components of points [n, V], [n, 2]; 0 where there are fewer."""
    centred = points - points.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    found = np.zeros((len(points), 2))
    found[:, : min(2, len(directions))] = centred @ directions[:2].T
    return found


def class_names(record: EvalRecord, classes: Sequence[int] | np.ndarray) -> list[str]:
    """Their synsets without numbers, where these are known; else 'class 7'."""
    synsets = record.synsets.get(dialogue.LABEL)
    return [synsets[c].split('.')[0] if synsets else f'class {c}' for c in classes]


def sample(record: EvalRecord, count: int, seed: int = 0) -> str:
    """Some dialogues in writing, each turn with what the listener then believes."""
    size = len(record.meanings)
    rows = np.random.default_rng(seed).permutation(size)[:count]
    lines = []
    for row in rows:
        target = int(record.labels[dialogue.LABEL][row])
        lines.append(f'example {row}: {class_names(record, [target])[0]}')
        for turn in range(int(record.lengths[0, row])):
            belief = record.exchange['beliefs'][0, row, turn]
            best = np.argsort(-belief)[:3]
            guesses = ', '.join(
                f'{name} {belief[c]:.2f}'
                for name, c in zip(class_names(record, best), best, strict=True)
            )
            going_on = record.exchange['going_on'][0, row, turn]
            said, answer = (
                _written(bits[0, row, turn])
                for bits in (record.messages, record.exchange['answers'])
            )
            lines += [
                f'  {turn + 1}  speaker   {said}',
                f'     listener  {answer}  goes on {going_on:.2f}; {guesses}',
            ]
        lines.append('')
    return '\n'.join(lines)


def _written(bits: np.ndarray) -> str:
    if np.isin(bits, (0, 1)).all():
        return ''.join('1' if bit else '·' for bit in bits)
    return ' '.join(f'{bit:.1f}' for bit in bits)


def export(record: EvalRecord, directory: str | Path) -> list[Path]:
    """Writes all dialogues of a record, with all of their turns, into a directory.

    dialogues.jsonl has for each speaker and example a line {"speaker", "listener", "example",
    "target", "turns", "exchange": [{"turn", "said_probabilities", "said", "answer_probabilities",
    "answer", "going_on", "played", "belief"}, ...]}.

    dialogues.h5 (with h5py) has two tables, rows with the published names: 'Communication'
    (ExampleId, AgentId 'S' or 'R', Index 2t or 2t + 1, Target, Rank, BinaryProb, BinaryVec) and
    'Predictions' (the same, with Predictions, StopProb, StopVec, StopMask). As there, stops count
    that the listener goes on; unlike there, Rank is that of the target among the predictions, the
    likeliest being 1.

    Returns:
      The paths that were written.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILES[0]
    replace_text(path, ''.join(json.dumps(line) + '\n' for line in _dialogues(record)))
    try:
        import h5py
    except ImportError:
        return [path]
    whole = io.BytesIO()  # HDF5 reads what it writes.
    with h5py.File(whole, 'w') as archive:
        for name, rows in _tables(record).items():
            archive.create_dataset(name, data=rows)
    replace_file(directory / FILES[1], lambda file: file.write(whole.getvalue()))
    return [path, directory / FILES[1]]


def _dialogues(record: EvalRecord) -> Iterator[dict[str, Any]]:
    exchange, listeners = record.exchange, record.correct.shape[2]
    speakers, examples, turns = record.messages.shape[:3]
    for speaker in range(speakers):
        for example in range(examples):
            at = (speaker, example)
            length = int(record.lengths[at])
            yield {
                'speaker': speaker,
                'listener': speaker % listeners,
                'example': example,
                'target': int(record.labels[dialogue.LABEL][example]),
                'turns': length,
                'exchange': [
                    {
                        'turn': turn + 1,
                        'said_probabilities': _rounded(exchange['said'][*at, turn]),
                        'said': _rounded(record.messages[*at, turn]),
                        'answer_probabilities': _rounded(exchange['answered'][*at, turn]),
                        'answer': _rounded(exchange['answers'][*at, turn]),
                        'going_on': round(float(exchange['going_on'][*at, turn]), 4),
                        'played': turn < length,
                        'belief': _rounded(exchange['beliefs'][*at, turn]),
                    }
                    for turn in range(turns)
                ],
            }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def _tables(record: EvalRecord) -> dict[str, np.ndarray]:
    exchange, (speakers, examples, turns, bits) = record.exchange, record.messages.shape
    beliefs = exchange['beliefs']
    target = record.labels[dialogue.LABEL][None, :, None]
    own = np.take_along_axis(beliefs, target[..., None], axis=-1)
    rank = 1 + (beliefs > own).sum(-1)
    names = [f'{s}-{n}'.encode() for s in range(speakers) for n in range(examples)]
    common = [('ExampleId', 'S50'), ('AgentId', 'S1'), ('Index', 'i4'), ('Target', 'i4')]
    said = np.zeros((speakers, examples, turns, 2), [
        *common, ('Rank', 'i4'), ('BinaryProb', 'f4', (bits,)), ('BinaryVec', 'f4', (bits,)),
    ])  # fmt: skip
    guessed = np.zeros((speakers, examples, turns), [
        *common, ('Rank', 'i4'), ('Predictions', 'f4', beliefs.shape[-1:]), ('StopProb', 'f4'),
        ('StopVec', 'f4'), ('StopMask', 'f4'),
    ])  # fmt: skip
    ids = np.array(names).reshape(speakers, examples, 1)
    turn = np.arange(turns)
    going_on = np.cumprod(exchange['going_on'], axis=2)
    for agent, (name, chances, vectors) in enumerate(
        (
            (b'S', exchange['said'], record.messages),
            (b'R', exchange['answered'], exchange['answers']),
        )
    ):
        rows = said[..., agent]
        rows['ExampleId'], rows['AgentId'], rows['Index'] = ids, name, 2 * turn + agent
        rows['Target'], rows['Rank'] = target, rank
        rows['BinaryProb'], rows['BinaryVec'] = chances, vectors
    guessed['ExampleId'], guessed['AgentId'], guessed['Index'] = ids, b'R', 2 * turn + 1
    guessed['Target'], guessed['Rank'], guessed['Predictions'] = target, rank, beliefs
    guessed['StopProb'], guessed['StopVec'] = going_on, going_on > 0.5
    guessed['StopMask'] = turn < record.lengths[..., None]
    return {'Communication': said.reshape(-1), 'Predictions': guessed.reshape(-1)}
