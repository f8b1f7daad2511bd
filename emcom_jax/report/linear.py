"""Linear evaluation: accuracy over the number of labelled images, a panel for each source."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from emcom_jax import estimates
from emcom_jax.report.curves import COLORS, FAINT, INK

CAPTION = """What a linear classifier of frozen features gets right on test, over the number of
training images whose labels it knows: the features of the trunk, of a trunk of the same
architecture that never learnt, and pixels. Bars are one standard error over draws of the labelled
images or over replicas, or the 95% interval where there is one of each. Dotted is chance."""
FEATURES = ('trunk', 'random_trunk', 'pixels')
MEASURES = {'top1': 'top-1 accuracy', 'map': 'mean average precision'}

Column = Mapping[str, Any]


def by_labels(columns: Mapping[str, Column]) -> Figure:
    """columns: 'source@share of labels' -> values, see `experiments.linear_evaluation`."""
    panels: dict[str, list[Column]] = {}
    for name, values in columns.items():
        panels.setdefault(name.rpartition('@')[0], []).append(values)
    size = (4.2 * len(panels) + 0.6, 3.6)
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        points = sorted(points, key=lambda values: values['labelled_images'])
        measure = next(name for name in MEASURES if f'{name}_chance' in points[0])
        x = [values['labelled_images'] for values in points]
        for features, color in zip(FEATURES, COLORS, strict=False):
            name = f'{measure}_{features}'
            if name in points[0]:
                y = [values[name] for values in points]
                bars = np.stack([estimates.reach(values, name) for values in points], axis=1)
                ax.errorbar(
                    x, y, bars, color=color, marker='o', markersize=4, linewidth=1.5, capsize=2,
                    label=features.replace('_', ' '),
                )  # fmt: skip
        chance = points[-1][f'{measure}_chance']
        ax.axhline(chance, color=FAINT, linewidth=1, linestyle=':', label='chance')
        ax.set_title(title, loc='left', fontsize=10, color=INK, fontweight='bold')
        ax.set_xscale('log')
        ax.set_xticks(x)
        ax.xaxis.set_major_formatter(EngFormatter(sep=''))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(0, None)
        ax.set_xlabel('labelled images', fontsize=8, color=INK)
        ax.set_ylabel(f'{MEASURES[measure]} on test', fontsize=8, color=INK)
        ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=3)
        ax.spines[['top', 'right']].set_visible(False)
        ax.spines[['left', 'bottom']].set_color(FAINT)
        ax.grid(axis='y', color='#eeeeee', linewidth=0.8)
        ax.set_axisbelow(True)
        ax.legend(fontsize=7, labelcolor=INK, edgecolor='none', framealpha=0.85)
    return figure
