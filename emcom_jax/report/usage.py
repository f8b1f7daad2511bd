"""Is the message used: what became of guesses when messages were tampered with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emcom_jax import estimates
from emcom_jax.metrics import listening
from emcom_jax.report.curves import COLORS, FAINT, INK

WHAT = {  # In the order of the table and of the picture.
    'intact': 'as it was said',
    'replaced': 'a symbol replaced',
    'swapped': 'two symbols swapped',
    'shuffled': 'that of another referent',
    'silenced': 'silence',
    'unanswered': 'as it was said, to silence',
    'later_shuffled': 'from turn 2 another dialogue',
    'later_silenced': 'from turn 2 silence',
    'flipped_turn': 'a turn flipped',
    'flipped_region': 'a region of bits flipped',
    'erased': 'a stroke left out',
    'erased_group': 'a quarter of the strokes left out',
}
EFFECTS = {
    'accuracy_drop_by_position': 'drop of accuracy',
    'guess_change_by_position': 'change of the guess',
}


def tells(name: str) -> bool:
    """Whether a value of a summary belongs here."""
    bare, _, _ = estimates.split_name(name)[0].partition('@')
    return bare in listening.VALUES


def find(values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Of a split's values in a summary: those of interventions, by their names without the number
    of candidates, and that number (0 for a task without). ({}, 0) if there are none."""
    found, count = {}, 0
    for name, value in values.items():
        if tells(name):
            bare, _, rest = name.partition('@')
            number, _, end = rest.partition('_')
            found['_'.join(filter(None, (bare, end)))] = value
            count = int(number or count)
    return found, count


def interventions(found: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
    """(what was heard, the value of its accuracy, that of the change of the guess if it has one)
    for each intervention that was made."""
    return [
        (label, f'accuracy_{name}', f'guess_change_{name}' if name != 'intact' else None)
        for name, label in WHAT.items()
        if f'accuracy_{name}' in found
    ]


def draw(found: Mapping[str, Any], chance: float | None) -> Figure:
    """Draws accuracy by intervention, and beside it what replacing a symbol does by its position.

    Args:
      found: as `find` returns it; not empty.
      chance: the accuracy of guessing, if known.
    """
    effects = [name for name in EFFECTS if name in found]
    figure = Figure(figsize=(8.6 if effects else 4.3, 2.9), layout='constrained')
    axes = figure.subplots(1, 2 if effects else 1, squeeze=False)[0]
    _draw_accuracy(axes[0], found, chance)
    if effects:
        _draw_positions(axes[1], found, effects)
    for ax in axes:
        ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=3)
        ax.spines[['top', 'right']].set_visible(False)
        ax.spines[['left', 'bottom']].set_color(FAINT)
        ax.set_axisbelow(True)
    return figure


def _draw_accuracy(ax: Axes, found: Mapping[str, Any], chance: float | None) -> None:
    rows = interventions(found)
    places = np.arange(len(rows))[::-1]
    for place, (_, name, change) in zip(places, rows, strict=True):
        value = estimates.number(found[name])
        color = COLORS[0] if change is None else COLORS[1]
        error = np.reshape(estimates.reach(found, name), (2, 1))
        ax.barh(place, value, 0.62, color=color, alpha=0.85)
        ax.errorbar(value, place, xerr=error, color=INK, linewidth=1, capsize=2.5)
        ax.text(value + error[1, 0], place, f'  {value:.2f}', va='center', fontsize=8, color=INK)
    if chance is not None:
        ax.axvline(chance, color=INK, linewidth=1, linestyle=':')
    ax.set_yticks(places, [label for label, _, _ in rows])
    ax.set_xlim(0, 1.12)
    ax.set_xticks(np.linspace(0, 1, 6))
    _title(ax, 'Accuracy by what was heard')


def _draw_positions(ax: Axes, found: Mapping[str, Any], effects: list[str]) -> None:
    count = len(found[effects[0]])
    for shift, color, name in zip((-0.08, 0.08), COLORS[1:], effects, strict=False):
        values = np.array([estimates.number(value) for value in found[name]])
        ax.errorbar(
            np.arange(count) + shift, values, yerr=estimates.reach(found, name), color=color,
            marker='o', markersize=4, linewidth=1.2, capsize=2, label=EFFECTS[name],
        )  # fmt: skip
    ax.axhline(0, color=FAINT, linewidth=0.8)
    step = max(1, count // 12)
    ax.set_xticks(np.arange(0, count, step), np.arange(1, count + 1, step))
    ax.set_xlim(-0.5, count - 0.5)
    ax.set_xlabel('position of the replaced symbol', fontsize=8, color=INK)
    ax.legend(fontsize=7, labelcolor=INK, edgecolor='none', framealpha=0.85)
    ax.grid(axis='y', color='#eeeeee', linewidth=0.8)
    _title(ax, 'Effect of a replaced symbol')


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc='left', fontsize=10, color=INK, fontweight='bold')
