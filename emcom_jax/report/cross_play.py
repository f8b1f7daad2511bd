"""Cross-play: a heat map of who understands whom, with a block for each pair of populations."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emcom_jax.report.curves import FAINT, INK

_COLORS = colormaps['cividis']  # Colour-blind readers see it as others do.
_NUMBERED = 14  # Up to so many agents a side, each cell has its number.
_LEGIBLE = 24  # Above so many agents a side, only populations are labelled.


def cross_play(
    matrices: Mapping[str, np.ndarray],
    names: Sequence[str],
    speaker_groups: np.ndarray,
    listener_groups: np.ndarray,
) -> Figure:
    """Draws a panel for each matrix; lines part the populations.

    Args:
      matrices: title -> accuracy [S, L].
      names: of the populations.
      speaker_groups, listener_groups: int [S], [L], the population that each agent is of, in order.
    """
    num_speakers, num_listeners = len(speaker_groups), len(listener_groups)
    cell = min(0.42, 6.6 / max(num_speakers, num_listeners))
    width, height = (max(cell * count + 1.4, 2.4) for count in (num_listeners, num_speakers))
    figure = Figure(figsize=(width * len(matrices) + 0.9, height + 0.3), layout='constrained')
    top = min(1.0, np.ceil(10 * max(matrix.max() for matrix in matrices.values())) / 10) or 1.0
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for ax, (title, matrix) in zip(panels, matrices.items(), strict=True):
        image = ax.imshow(matrix, cmap=_COLORS, vmin=0, vmax=top)
        ax.set_title(title, loc='left', fontsize=10, color=INK, fontweight='bold', pad=9)
        ax.set_xlabel('listeners', fontsize=8, color=INK)
        ax.set_ylabel('speakers', fontsize=8, color=INK)
        _label(ax, names, speaker_groups, listener_groups)
        if max(matrix.shape) <= _NUMBERED:
            for (row, column), value in np.ndenumerate(matrix):
                color = 'white' if value < 0.6 * top else INK
                text = f'{value:.2f}'
                ax.text(column, row, text, ha='center', va='center', fontsize=6.5, color=color)
        ax.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=list(panels), shrink=0.8, aspect=30, pad=0.02)
    bar.set_label('accuracy', fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, color=FAINT, labelcolor=INK, length=3)
    bar.outline.set_visible(False)
    return figure


def _label(
    ax: Axes, names: Sequence[str], speaker_groups: np.ndarray, listener_groups: np.ndarray
) -> None:
    """Names populations at the middle of their agents, whose numbers stand nearer the cells."""
    for axis, line, groups in (
        (ax.xaxis, ax.axvline, listener_groups),
        (ax.yaxis, ax.axhline, speaker_groups),
    ):
        _, starts, sizes = np.unique(groups, return_index=True, return_counts=True)
        for start in starts[1:]:
            line(start - 0.5, color='white', linewidth=2.5)
        axis.remove_overlapping_locs = False  # The middle agent has a number too.
        few = len(groups) <= _LEGIBLE and max(sizes) > 1
        numbers = np.concatenate([np.arange(size) for size in sizes])
        if few:
            axis.set_ticks(np.arange(len(groups)), [str(number) for number in numbers], minor=True)
        axis.set_ticks(starts + (sizes - 1) / 2, [names[group] for group in np.unique(groups)])
        axis.set_tick_params(which='minor', labelsize=6.5, labelcolor=FAINT, length=0, pad=2)
        axis.set_tick_params(which='major', labelsize=8, labelcolor=INK, length=0)
        axis.set_tick_params(which='major', pad=14 if few else 4)
    crowded = sum(map(len, names)) > 30 and len(names) > 2
    ax.tick_params(axis='x', which='major', rotation=90 if crowded else 0)
    ax.tick_params(axis='y', which='major', rotation=0 if crowded or len(names) > 4 else 90)
    for tick in ax.get_yticklabels():
        tick.set_verticalalignment('center')
