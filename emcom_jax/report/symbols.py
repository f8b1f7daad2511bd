"""Messages of one symbol: images that share a symbol, and how often symbols are used.

The gallery follows Dessì et al. 2021, Interpretable agent communication from scratch: the images
of which the commonest symbols are said, beside images of classes that were never seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from emcom_jax.metrics import records
from emcom_jax.metrics.semantics import symbol_counts
from emcom_jax.report.curves import COLORS
from emcom_jax.report.curves import FAINT as LINE
from emcom_jax.report.messages import BLANK, FAINT, INK, by_count, color, noun
from emcom_jax.types import EvalRecord

ROWS, IMAGES, NOUNS = 12, 6, 2  # Symbols, images of each and split, and classes named of them.
TILE = 0.62  # Inches: the side of an image, which is the unit of length here.
SYMBOL, TEXT, GAP, HEAD, PITCH = 0.9, 2.5, 0.55, 1.15, 1.08
DRAWS = 50  # Of uniform symbols, over which their sorted shares are averaged.

GALLERY = """The symbols that the first speaker uses most often for validation images, and images
that get them; beside them, if there are any, images of classes that were never seen in training,
and get the same symbols. Accuracy is the mean of the listeners, with the most
candidates. Of several replicas, the first is shown."""
FREQUENCIES = """How often each symbol is used, the most frequent first (thick: the first speaker).
Dashed is what as many uniform symbols would be, which are uneven by chance."""


class Block(NamedTuple):
    """A split in the gallery. header: above its column; record: its images and messages."""

    header: str
    record: EvalRecord


def has_one(record: EvalRecord) -> bool:
    """Whether its messages are one symbol."""
    return record.kind == 'symbols' and record.messages.shape[2] == 1


def gallery(valid: EvalRecord, ood: EvalRecord | None = None, speaker: int = 0) -> Figure:
    """Draws the symbols that a speaker uses most often, one a row: images of `valid` that get it,
    and images of `ood` that get the same one, with how often it is said and understood there and
    the commonest classes.

    Args:
      valid, ood: of messages of one symbol; images that the record has not kept are not shown.
      speaker: whose symbols are shown.
    """
    said = valid.messages[speaker, :, 0]
    common, _ = by_count(said)
    common = common[:ROWS]
    blocks = [Block('Validation images', valid)]
    if ood is not None:
        blocks.append(Block('Images of classes never seen', ood))
    pitch = PITCH * _aspect(valid)
    block = TEXT + IMAGES * pitch
    width = GAP + SYMBOL + len(blocks) * (GAP + block) + 0.2
    height = HEAD + len(common) * PITCH + 0.2
    figure = Figure(figsize=(TILE * width, TILE * height))
    ax = figure.add_axes((0, 0, 1, 1))
    for number, each in enumerate(blocks):
        x = GAP + SYMBOL + GAP + number * (block + GAP)
        _head(ax, each, common, speaker, x)
        for row, symbol in enumerate(common):
            y = HEAD + row * PITCH
            if number == 0:
                _tile(ax, int(symbol), y)
            _draw_row(ax, each.record, speaker, int(symbol), x, y, pitch)
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.axis('off')
    return figure


def _head(ax: Axes, block: Block, common: np.ndarray, speaker: int, x: float) -> None:
    said = block.record.messages[speaker, :, 0]
    share, used = np.isin(said, common).mean(), len(np.unique(said))
    ax.text(x, 0.35, block.header, size=10, color=INK, fontweight='bold', va='center')
    about = f'{len(said):,} images, {used:,} symbols in use; of the images, these have {share:.0%}'
    ax.text(x, 0.78, about, size=7.5, color=FAINT, va='center')


def _tile(ax: Axes, symbol: int, y: float) -> None:
    place = (GAP, y + 0.18)
    ax.add_patch(Rectangle(place, SYMBOL, 0.64, facecolor=color(symbol, 1), edgecolor='none'))
    ax.text(GAP + SYMBOL / 2, y + 0.51, str(symbol), size=10, color=INK, ha='center', va='center')


def _draw_row(
    ax: Axes, record: EvalRecord, speaker: int, symbol: int, x: float, y: float, pitch: float
) -> None:
    """What is said of a symbol in a split, and images that get it."""
    rows = np.flatnonzero(record.messages[speaker, :, 0] == symbol)
    lines = _about(record, speaker, rows)
    for line, (text, ink) in enumerate(lines):
        where = y + 0.5 + 0.27 * (line - (len(lines) - 1) / 2)
        ax.text(x, where, text, size=7.5, color=ink, va='center')
    images = record.images
    shown = _spread(records.kept_images(record, rows), IMAGES)
    for place in range(IMAGES):
        left = x + TEXT + place * pitch
        box = (left, left + pitch - 0.08, y + 1, y)
        if images is not None and place < len(shown):
            ax.imshow(images[shown[place]], extent=box, aspect='auto', interpolation='nearest')
        else:
            size = (box[1] - box[0], 1)
            ax.add_patch(Rectangle((left, y), *size, facecolor=BLANK, alpha=0.5, edgecolor='none'))


def _about(record: EvalRecord, speaker: int, rows: np.ndarray) -> list[tuple[str, str]]:
    """Lines of text with their colours: how often, how well understood, of what classes."""
    if not len(rows):
        return [('never said', FAINT)]
    correct = record.correct[-1, speaker][:, rows].mean()
    share = len(rows) / record.messages.shape[1]
    lines = [(f'{len(rows)}×, {share:.1%}; accuracy {correct:.2f}', INK)]
    if 'class' in record.labels and record.labels['class'].ndim == 1:
        names = record.synsets.get('class')
        values, counts = by_count(record.labels['class'][rows])
        for value, count in zip(values[:NOUNS].tolist(), counts, strict=False):
            name = noun(names[value]) if names else f'class {value}'
            lines.append((f'{_short(name)} {count / len(rows):.0%}', FAINT))
    return lines


def _short(name: str) -> str:
    return name if len(name) <= 20 else f'{name[:19]}…'


def _spread(places: np.ndarray, count: int) -> np.ndarray:
    """At most so many of them, evenly from the first to the last: neighbours may be views of one
    object."""
    return places[np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)]


def _aspect(record: EvalRecord) -> float:
    """Width over height of the images."""
    return 1.0 if record.images is None else record.images.shape[2] / record.images.shape[1]


def frequencies(records: Sequence[EvalRecord]) -> Figure:
    """Draws how often symbols are used, sorted, against as many draws of uniform symbols.

    Args:
      records: of splits, of messages of one symbol; a thin line for each speaker.
    """
    figure = Figure(figsize=(6.4, 3.8), layout='constrained')
    ax = figure.add_subplot()
    for record, shade in zip(records, COLORS, strict=False):
        examples = record.messages.shape[1]
        for speaker, messages in enumerate(record.messages[:, :, 0]):
            counts = symbol_counts(messages)
            label = f'{record.split}: {len(counts):,} of {record.vocab_size:,} symbols'
            ax.plot(
                np.arange(1, len(counts) + 1), counts / examples, color=shade,
                linewidth=1.5 if speaker == 0 else 0.7, label=label if speaker == 0 else None,
                marker='o' if len(counts) <= 30 else None, markersize=2.5,
            )  # fmt: skip
    first = records[0]
    uniform = _sorted_uniform(first.messages.shape[1], first.vocab_size)
    ax.plot(
        np.arange(1, len(uniform) + 1), uniform, color=LINE, linewidth=1.2, linestyle='--',
        label=f'uniform symbols, {first.messages.shape[1]:,} drawn',
    )  # fmt: skip
    ax.axhline(1 / first.vocab_size, color=LINE, linewidth=1, linestyle=':', label='1 / vocabulary')
    ax.set(xscale='log', yscale='log')
    ax.set_title('Symbols by frequency', loc='left', fontsize=10, color=INK, fontweight='bold')
    ax.set_xlabel('rank of the symbol', fontsize=8, color=INK)
    ax.set_ylabel('share of the images', fontsize=8, color=INK)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f'{x:,g}'))
        axis.set_minor_formatter(NullFormatter())
    ax.tick_params(which='both', labelsize=8, color=LINE, labelcolor=INK, length=3)
    ax.spines[['top', 'right']].set_visible(False)
    ax.spines[['left', 'bottom']].set_color(LINE)
    ax.grid(color='#eeeeee', linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(fontsize=7, labelcolor=INK, edgecolor='none', framealpha=0.85)
    return figure


def _sorted_uniform(examples: int, vocab_size: int) -> np.ndarray:
    """Mean shares of V uniform symbols, sorted in each of `DRAWS` draws; of ranks in use."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(examples, np.full(vocab_size, 1 / vocab_size), size=DRAWS)
    shares = np.sort(drawn, axis=1)[:, ::-1].mean(axis=0) / examples
    return shares[shares * examples >= 0.5]
