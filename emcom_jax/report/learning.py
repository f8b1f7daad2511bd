"""Ease of learning: the accuracy of fresh listeners over the steps that they have learnt."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from emcom_jax.report.curves import COLORS, FAINT, INK

SPEAKERS = 6  # At most so many have a line of their own.


def ease_of_learning(steps: np.ndarray, accuracy: np.ndarray, chance: float | None) -> Figure:
    """Draws a thin line for each listener, a thick one for the mean over a speaker's listeners.

    Args:
      steps: [M].
      accuracy: [M, R, S, K] of the K listeners of each speaker; speakers of several replicas are
        drawn alike, as so many speakers.
      chance: the accuracy of guessing, if known.
    """
    num_steps, *_, listeners = accuracy.shape
    curves = accuracy.reshape(num_steps, -1, listeners)
    figure = Figure(figsize=(6.8, 4.0), layout='constrained')
    ax = figure.add_subplot()
    own = curves.shape[1] <= SPEAKERS
    for speaker in range(curves.shape[1]):
        color = COLORS[speaker] if own else COLORS[0]
        if own:
            ax.plot(steps, curves[:, speaker], color=color, linewidth=0.5, alpha=0.45)
        ax.plot(
            steps, curves[:, speaker].mean(axis=1), color=color, linewidth=1.6 if own else 0.7,
            alpha=1.0 if own else 0.5, label=f'speaker {speaker}' if own else None,
        )  # fmt: skip
    if not own:
        ax.plot(steps, curves.mean(axis=(1, 2)), color=INK, linewidth=2, label='mean over speakers')
    if chance is not None:
        ax.axhline(chance, color=FAINT, linewidth=1, linestyle=':', label='chance')
    ax.set_ylim(0, min(1.02, 1.2 * curves.max()))
    ax.set_xlim(0, steps[-1])
    ax.set_xlabel('steps of the listener', fontsize=8, color=INK)
    ax.set_ylabel('accuracy on the next batch', fontsize=8, color=INK)
    ax.xaxis.set_major_formatter(EngFormatter(sep=''))
    ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=3)
    ax.spines[['top', 'right']].set_visible(False)
    ax.spines[['left', 'bottom']].set_color(FAINT)
    ax.grid(axis='y', color='#eeeeee', linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(fontsize=7, labelcolor=INK, edgecolor='none', framealpha=0.85)
    return figure
