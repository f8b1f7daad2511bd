"""The accuracy of fresh agents over the steps that they have learnt."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from emcom_jax.report.curves import COLORS, FAINT, INK

GROUPS = 6  # At most so many have a line of their own.


def learning(
    steps: np.ndarray, accuracy: np.ndarray, levels: Mapping[str, float | None], whose: str
) -> Figure:
    """Draws a thin line for each fresh agent, a thick one for the mean of those of one teacher.

    Args:
      steps: [M].
      accuracy: [M, R, S, K] of the K fresh agents of each of S teachers; those of several replicas
        are drawn alike, as so many teachers.
      levels: label -> an accuracy to compare with, if known.
      whose: what a teacher is, such as 'speaker'.
    """
    num_steps, *_, agents = accuracy.shape
    curves = accuracy.reshape(num_steps, -1, agents)
    figure = Figure(figsize=(6.8, 4.0), layout='constrained')
    ax = figure.add_subplot()
    own = curves.shape[1] <= GROUPS
    for number in range(curves.shape[1]):
        color = COLORS[number] if own else COLORS[0]
        if own:
            ax.plot(steps, curves[:, number], color=color, linewidth=0.5, alpha=0.45)
        ax.plot(
            steps, curves[:, number].mean(axis=1), color=color, linewidth=1.6 if own else 0.7,
            alpha=1.0 if own else 0.5, label=f'{whose} {number}' if own else None,
        )  # fmt: skip
    if not own:
        label = f'mean over {whose}s'
        ax.plot(steps, curves.mean(axis=(1, 2)), color=INK, linewidth=2, label=label)
    known = {label: level for label, level in levels.items() if level is not None}
    for (label, level), color in zip(known.items(), (FAINT, INK), strict=False):
        ax.axhline(level, color=color, linewidth=1, linestyle=':', label=label)
    ax.set_ylim(0, min(1.02, 1.2 * max([curves.max(), *known.values()])))
    ax.set_xlim(0, steps[-1])
    ax.set_xlabel('updates of the fresh agent', fontsize=8, color=INK)
    ax.set_ylabel('accuracy on the next batch', fontsize=8, color=INK)
    ax.xaxis.set_major_formatter(EngFormatter(sep=''))
    ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=3)
    ax.spines[['top', 'right']].set_visible(False)
    ax.spines[['left', 'bottom']].set_color(FAINT)
    ax.grid(axis='y', color='#eeeeee', linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(fontsize=7, labelcolor=INK, edgecolor='none', framealpha=0.85)
    return figure
