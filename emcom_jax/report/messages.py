"""What was said: the commonest messages beside the referents that they name."""

import colorsys
import contextlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from emcom_jax.metrics import records, wordnet
from emcom_jax.types import EvalRecord

MEMBERS = 4  # From so many referents on a group says something about its message.
SPEAKERS, SYMBOLS, PICTURES, CLASSES, ATTRIBUTES = 3, 16, 8, 12, 8  # At most so many are shown.
INK, FAINT, BLANK = '#333333', '#777777', '#ececec'
SHADES = ('#33547d', '#7f9abf', '#b4c5dc', '#dde5f0')  # From the commonest class down.
TILE = 0.3  # Inches: the side of a symbol's tile, which is the unit of length here.
ROW, HEAD, GAP, BAR, TITLE = 1.2, 2.2, 0.8, 7.0, 27.0
_FONT: dict[str, Any] = {'size': 8, 'va': 'center'}


class Group(NamedTuple):
    """Messages that begin alike. `prefix`: [k] int, cut to the message's length; rows: [n] int."""

    prefix: np.ndarray
    rows: np.ndarray


class Mark(NamedTuple):
    """A part of a cell. fill: a colour, a picture [H, W(, 3)] in [0, 1], or None for bare text."""

    x: float
    width: float = 0.0
    text: str = ''
    fill: Any = None
    ink: str = INK


class Column(NamedTuple):
    """A column of the gallery: what it shows of a group."""

    header: str
    width: float
    cell: Callable[[Group], list[Mark]]


def commonest(messages: np.ndarray, lengths: np.ndarray, limit: int) -> list[Group]:
    """Groups referents by what was said of them, the largest groups first.

    By whole messages, if half of the referents share theirs with `MEMBERS` - 1 others; else by the
    longest beginnings of messages of which that holds, or by first symbols if it holds of none.

    Args:
      messages: [N, T] int, 0 after the end.
      lengths: [N] int.
      limit: the number of groups to return, at most.
    """
    for k in range(messages.shape[1], 0, -1):
        prefixes, index, counts = np.unique(
            messages[:, :k], axis=0, return_inverse=True, return_counts=True
        )
        if counts[counts >= MEMBERS].sum() >= len(messages) / 2:
            break
    groups = []
    for i in np.argsort(-counts, kind='stable')[:limit]:
        rows = np.flatnonzero(index.ravel() == i)
        groups.append(Group(prefixes[i][: lengths[rows[0]]], rows))
    return groups


def gallery(
    record: EvalRecord, image_shape: Sequence[int] | None = None, kinds: Sequence[str] = ()
) -> Figure:
    """Draws the commonest messages of up to `SPEAKERS` speakers, one a row.

    A row shows the symbols (blank after the message's end), how often they were said and
    understood, pictures of referents, and how classes and attributes are distributed over them.

    Args:
      record: of kind 'symbols'.
      image_shape: (height, width[, channels]) if the meanings are flattened pictures.
      kinds: of each speaker what is different from others, such as its core; '' for nothing.
    """
    shown = range(min(SPEAKERS, len(record.messages)))
    limit = 12 if len(shown) == 1 else 6
    tables = [
        (
            commonest(record.messages[speaker], record.lengths[speaker], limit),
            _columns(record, speaker, image_shape),
        )
        for speaker in shown
    ]
    width = max(TITLE, GAP + sum(column.width + GAP for column in tables[0][1]))
    height = GAP + sum(HEAD + ROW * len(groups) for groups, _ in tables)
    figure = Figure(figsize=(TILE * width, TILE * height))
    ax = figure.add_axes((0, 0, 1, 1))
    y = 0.0
    for speaker, (groups, columns) in zip(shown, tables, strict=True):
        ax.text(
            GAP, y + 0.8, _title(record, speaker, groups, kinds), color=INK, **_FONT | {'size': 9}
        )
        y, x = y + HEAD, GAP
        for column in columns:
            ax.text(x, y - 0.4, column.header, color=FAINT, **_FONT)
            for i, group in enumerate(groups):
                for mark in column.cell(group):
                    _draw(ax, mark, x + mark.x, y + ROW * i)
            x += column.width + GAP
        y += ROW * len(groups)
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.axis('off')
    return figure


def _title(record: EvalRecord, speaker: int, groups: Sequence[Group], kinds: Sequence[str]) -> str:
    messages, lengths = record.messages[speaker], record.lengths[speaker]
    k = max(len(group.prefix) for group in groups)
    what = f'beginnings of {k} symbols' if k > 1 else 'first symbols'
    if all(len(group.prefix) == lengths[group.rows].max() for group in groups):
        what = 'messages'
    covered = sum(len(group.rows) for group in groups) / len(messages)
    kind = f' ({kinds[speaker]})' if kinds and kinds[speaker] else ''
    return (
        f'Speaker {speaker}{kind}: {len(np.unique(messages, axis=0))} distinct messages for '
        f'{len(messages)} referents. The commonest {what} ({covered:.0%} of the referents)'
    )


def _columns(record: EvalRecord, speaker: int, image_shape: Sequence[int] | None) -> list[Column]:
    lengths, correct = record.lengths[speaker], record.correct[-1, speaker]  # [N], [L, N]
    longest = int(record.lengths.max())
    candidates = record.num_candidates[-1]
    columns = [
        Column(
            'message',
            max(2.5, min(longest, SYMBOLS) + (longest > SYMBOLS)),
            _symbols(record.messages[speaker], lengths, longest),
        ),
        Column('said', 1.6, lambda group: [Mark(0, text=f'{len(group.rows)}×')]),
        Column(
            f'accuracy@{candidates}' if candidates else 'accuracy',
            3.2,
            lambda group: [Mark(0, text=f'{correct[:, group.rows].mean():.2f}')],
        ),
    ]
    record = pictured(record, image_shape)
    if record.images is not None:
        pitch = record.images.shape[2] / record.images.shape[1] + 0.1
        columns.append(Column('referents', PICTURES * pitch - 0.1, _pictures(record, pitch)))
    for name, labels in record.labels.items():
        if labels.ndim == 1:
            nouns = [noun(synset) for synset in record.synsets.get(name, ())]
            columns.append(Column(f'{name} of the referents', BAR, _classes(labels, nouns)))
        else:
            labels = labels[:, :ATTRIBUTES]
            header = f'{name} (darker: more agree)'
            columns.append(Column(header, max(8, 1.1 * labels.shape[1]), _attributes(labels)))
    return columns


def pictured(record: EvalRecord, image_shape: Sequence[int] | None) -> EvalRecord:
    """The record, with its meanings as images [N, *image_shape] if they are flattened pictures of
    that shape and it has no images."""
    flat = image_shape and math.prod(image_shape) == record.meanings.shape[1]
    if record.images is not None or not image_shape or not flat:
        return record
    pictures = record.meanings.reshape(-1, *image_shape)
    return record._replace(images=pictures, image_rows=np.arange(len(pictures)))


def _symbols(
    messages: np.ndarray, lengths: np.ndarray, longest: int
) -> Callable[[Group], list[Mark]]:
    def cell(group: Group) -> list[Mark]:
        marks = []
        for i in range(min(longest, SYMBOLS)):
            ended = lengths[group.rows] <= i
            values, counts = by_count(np.where(ended, -1, messages[group.rows, i]))
            symbol, share = int(values[0]), counts[0] / len(ended)
            fill = BLANK if symbol < 0 else color(symbol, share)
            marks.append(Mark(i, 1, str(symbol) if symbol >= 0 and share >= 0.5 else '', fill))
        return marks if longest <= SYMBOLS else [*marks, Mark(SYMBOLS + 0.2, text='…', ink=FAINT)]

    return cell


def _pictures(record: EvalRecord, pitch: float) -> Callable[[Group], list[Mark]]:
    pictures = np.asarray(record.images)
    low, high = float(pictures.min()), float(pictures.max())
    stride = max(1, pictures.shape[1] // 64)  # More pixels than a tile has.

    def cell(group: Group) -> list[Mark]:
        places = records.kept_images(record, group.rows)[:PICTURES]
        chosen = pictures[places, ::stride, ::stride]
        chosen = (chosen - low) / ((high - low) or 1.0)
        if chosen.ndim == 4 and chosen.shape[3] != 3:
            chosen = chosen[..., 0]
        return [Mark(i * pitch, pitch - 0.1, fill=picture) for i, picture in enumerate(chosen)]

    return cell


def noun(synset: str) -> str:
    """What people call it: 'fire engine' of 'fire_engine.n.01', or of 'n03345487' if WordNet is
    there to say so."""
    if re.fullmatch(r'n\d{8}', synset) and wordnet.installed():
        with contextlib.suppress(ValueError):  # A noun that it does not have.
            known = wordnet.load()
            synset = known.name(known.synset(synset))
    return synset.split('.')[0].replace('_', ' ')


def _classes(labels: np.ndarray, names: Sequence[str]) -> Callable[[Group], list[Mark]]:
    """names: of the values; none where they are not known."""

    def cell(group: Group) -> list[Mark]:
        values, counts = by_count(labels[group.rows])
        marks, x = [], 0.0
        for i, (value, count) in enumerate(zip(values[:CLASSES], counts, strict=False)):
            width = BAR * count / len(group.rows)
            text = names[value] if names else str(value)
            letter = 0.22 if names else 0.3  # Digits are wider than most letters.
            if width < 0.4 + letter * len(text):
                text = ''
            shade = SHADES[min(i, len(SHADES) - 1)]
            marks.append(Mark(x, width, text, shade, 'white' if i == 0 else INK))
            x += width
        return marks if len(values) <= CLASSES else [*marks, Mark(x, BAR - x, fill=BLANK)]

    return cell


def _attributes(labels: np.ndarray) -> Callable[[Group], list[Mark]]:
    def cell(group: Group) -> list[Mark]:
        marks = []
        for i, column in enumerate(labels[group.rows].T):
            values, counts = by_count(column)
            shade = SHADES[::-1][min(3, int(4 * counts[0] / len(column)))]
            ink = 'white' if shade == SHADES[0] else INK
            marks.append(Mark(1.1 * i, 1, str(values[0]), shade, ink))
        return marks

    return cell


def by_count(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind='stable')
    return values[order], counts[order]


def color(symbol: int, share: float) -> tuple[float, ...]:
    """A pale colour, the paler the smaller the share of a group that has the symbol.

    Steps of the golden ratio keep the hues of near symbols apart.
    """
    full = colorsys.hls_to_rgb(symbol * 0.618034 % 1, 0.72 + 0.1 * (symbol % 2), 0.6)
    return tuple(1 - share * (1 - channel) for channel in full)


def _draw(ax: Axes, mark: Mark, x: float, y: float) -> None:
    if isinstance(mark.fill, np.ndarray):
        extent = (x, x + mark.width, y + 1, y)
        ax.imshow(mark.fill, 'gray_r', vmin=0, vmax=1, extent=extent, aspect='auto')
    elif mark.fill is not None:
        ax.add_patch(Rectangle((x, y), mark.width, 1, facecolor=mark.fill, edgecolor='white'))
    where = {'ha': 'center'} if mark.width else {}
    ax.text(x + mark.width / 2, y + 0.52, mark.text, color=mark.ink, **_FONT | where)
