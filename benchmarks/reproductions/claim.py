"""What a reproduction is made of, and the statistics that all of them use."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from emcom_jax.report.curves import COLORS
from emcom_jax.runtime.files import read_json
from emcom_jax.runtime.run_directory import RunDirectory

RECIPE = 'configs/reproductions.py'

Flags = Sequence[str]


class Claim(NamedTuple):
    """A claim of a paper, the runs that try it, and what comes of them.

    runs: folder -> {run directory in it: flags of `emcom_jax.main`}, in the order they are made.
    crossed: folder -> {folder of the outcome: flags of `emcom_jax.evaluation`}; made after them.
    conclude: folder -> figure, and the numbers as Markdown.
    """

    runs: Callable[[Path], dict[Path, Flags]]
    conclude: Callable[[Path], tuple[Figure, str]]
    crossed: Callable[[Path], dict[Path, Flags]] = lambda root: {}


def replicas(run: Path, metric: str, split: str = 'test') -> np.ndarray:
    """Final values of a run's replicas, [R] float; nan where one is not defined."""
    summary = RunDirectory(run).read_summary()
    if summary is None:
        raise FileNotFoundError(f'{run} is not finished')
    return np.array(summary[split][f'{metric}_replicas'], np.float64)


def learning(run: Path, name: str) -> np.ndarray:
    """What an ease-of-learning run says of each replica, [R] float."""
    summary = read_json(run / 'summary.json')
    return np.array(summary['ease_of_learning'][f'{name}_replicas'], np.float64)


def mean(values: np.ndarray) -> str:
    """Mean with its 95 % interval (Student's t over replicas [R])."""
    low, high = interval(values)
    return f'{np.mean(values):.3f} [{low:.3f}, {high:.3f}]'


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of [R] values, by Student's t."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def difference(one: np.ndarray, other: np.ndarray) -> str:
    """Mean of one - other, paired by seed [R], with its interval."""
    return mean(one - other)


def correlation(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None, seed: int = 0
) -> str:
    """Spearman's rho of [n] and [n], bootstrap interval, and the p-value of a permutation test.

    groups: int [n]. If given, rho is the mean of those of the groups, and what is resampled and
      permuted stays in its group: what groups have in common then counts for nothing.
    """
    rng = np.random.default_rng(seed)
    groups = np.zeros(len(x), int) if groups is None else groups
    members = [np.flatnonzero(groups == one) for one in np.unique(groups)]

    def rho(first: list[np.ndarray], second: list[np.ndarray]) -> float:
        pairs = [(x[a], y[b]) for a, b in zip(first, second, strict=True)]
        if not all(np.ptp(each) for pair in pairs for each in pair):
            return np.nan  # One language, drawn again and again.
        return float(np.mean([stats.spearmanr(*pair).statistic for pair in pairs]))

    def drawn(draw: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        return [draw(rows) for rows in members]

    observed = rho(members, members)
    resampled = []
    for _ in range(2000):
        rows = drawn(lambda rows: rng.choice(rows, len(rows)))
        resampled.append(rho(rows, rows))
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    permuted = np.array([rho(members, drawn(rng.permutation)) for _ in range(9999)])
    p = (1 + np.sum(np.abs(permuted) >= abs(observed))) / 10_000
    return f'{observed:.2f} [{low:.2f}, {high:.2f}], p = {p:.4f}'


def table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    rows = [head, ['---'] * len(head), *lines]
    return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in rows)


def dots(ax: Axes, groups: Mapping[str, np.ndarray], title: str) -> None:
    """A column of dots for each group of replicas [R], with mean and interval."""
    for place, values in enumerate(groups.values()):
        color = COLORS[place % len(COLORS)]
        ax.plot(place + np.linspace(-0.12, 0.12, len(values)), values, 'o', ms=3, color=color)
        low, high = interval(values)
        ax.plot([place + 0.25] * 2, [low, high], color=color)
        ax.plot(place + 0.25, np.mean(values), 's', ms=4, color=color)
    ax.set_xticks(range(len(groups)), groups, fontsize=8)
    style(ax, title)


def line(ax: Axes, places: Sequence[int] | np.ndarray, values: np.ndarray, label: str) -> None:
    """A line through the means of replicas [R, n] at n places, and the band of their intervals."""
    low, high = np.array([interval(column) for column in values.T]).T
    color = COLORS[len(ax.get_lines()) % len(COLORS)]
    ax.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    ax.plot(places, values.mean(axis=0), 'o-', markersize=4, color=color, label=label)


def style(ax: Axes, title: str) -> None:
    """What all panels share."""
    ax.set_title(title, fontsize=9, loc='left')
    ax.spines[['top', 'right']].set_visible(False)
    ax.tick_params(labelsize=8)


def figure(columns: int) -> tuple[Figure, Sequence[Axes]]:
    """A row of panels."""
    whole = Figure(figsize=(3.2 * columns, 2.9), layout='constrained')
    return whole, whole.subplots(1, columns, squeeze=False)[0]
