"""Learning curves: what was logged, over training steps, as small multiples."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, MaxNLocator

Lines = Sequence[Mapping[str, Any]]

# Okabe and Ito's colours without their yellow: colour-blind readers tell them apart.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
INK, FAINT, TRAINING = '#333333', '#999999', '#777777'
COLUMNS = 3


class Spec(NamedTuple):
    """What a panel shows; one of which the run logged nothing is left out.

    train: names of training scalars; the first is labelled 'training', others by their names.
    valid: a name of validation values, by itself or once for each number of candidates, or None.
    chance: number of candidates -> the value that guessing has.
    top: the largest value that there can be.
    """

    title: str
    unit: str
    train: tuple[str, ...] = ()
    valid: str | None = None
    chance: Callable[[int], float] | None = None
    top: float = math.inf


SPECS = (
    Spec('Accuracy', 'share correct', ('accuracy',), 'accuracy', lambda count: 1 / count, top=1),
    Spec("Listener's loss", 'nats', ('listener_loss',), 'loss', math.log),
    Spec("Speaker's loss terms", 'before weighting', ('*_loss',)),
    Spec("Entropy of the speaker's policy", 'nats per message', ('entropy',)),
    Spec('KL to the EMA speaker', 'nats per message', ('kl',)),
    Spec('Topographic similarity', 'Spearman ρ', (), 'topographic_similarity', top=1),
    # Of messages of a fixed length nothing is shown, as of nothing else that is constant.
    Spec('Message length', 'symbols', ('message_length',), 'message_length'),
    Spec('Imitation loss', 'nats', ('imitation_loss',)),
)


class Curve(NamedTuple):
    """A labelled curve of M points; arrays [M] float. low, high: the band, if it has one."""

    label: str
    color: str
    steps: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: float | None
    ceiling: float | None = None


def learning_curves(
    lines: Lines, best_step: int | None = None, ceilings: Mapping[int, float] | None = None
) -> Figure | None:
    """Draws the curves of a run, a panel for each of `SPECS`.

    A band is one standard error over replicas, if there are several; else the interval of a
    validation, or the extremes over the pairs of a training step.

    Args:
      lines: the objects of metrics.jsonl.
      best_step: marked in every panel, if given.
      ceilings: number of candidates -> the accuracy that messages allow at best, where known.

    Returns:
      A figure, or None if nothing was logged that a panel shows.
    """
    panels = [(spec, curves) for spec in SPECS if (curves := _curves(spec, lines, ceilings or {}))]
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    figure = Figure(figsize=(3.4 * columns, 2.5 * rows + 0.3), layout=layout)
    last = max(1, *(line['step'] for line in lines))
    for i, (spec, curves) in enumerate(panels):
        ax = figure.add_subplot(rows, columns, i + 1)
        _draw(ax, spec, curves)
        ax.set_xlim(-0.02 * last, 1.02 * last)
        if best_step is not None:
            ax.axvline(best_step, color=INK, linewidth=0.6, alpha=0.5, zorder=0)
            ax.plot(
                [best_step], [1.0], 'v', color=INK, markersize=5, clip_on=False,
                transform=ax.get_xaxis_transform(),
            )  # fmt: skip
    figure.suptitle(_caption(lines, best_step), x=0.01, ha='left', fontsize=9, color=INK)
    return figure


def _curves(spec: Spec, lines: Lines, ceilings: Mapping[int, float]) -> list[Curve]:
    train = [line for line in lines if line['split'] == 'train']
    valid = [line for line in lines if line['split'] == 'valid']
    curves = []
    for name in spec.train:
        if name == '*_loss':
            elsewhere = {other for each in SPECS for other in each.train}
            logged = dict.fromkeys(name for line in train for name in line)
            terms = [x for x in logged if x.endswith('_loss') and x not in elsewhere]
            curves += [
                _curve(train, term, term.removesuffix('_loss').replace('_', ' '), color)
                for term, color in zip(terms, COLORS, strict=False)
            ]
        else:
            curves.append(_curve(train, name, 'training', TRAINING))
    if spec.valid:
        curves.append(_curve(valid, spec.valid, 'validation', COLORS[0]))
        counts = {
            int(key.split('@')[1])
            for line in valid
            for key in line
            if key.startswith(f'{spec.valid}@') and key.split('@')[1].isdigit()
        }
        for count, color in zip(sorted(counts), COLORS, strict=False):
            chance = spec.chance(count) if spec.chance else None
            label = f'{count} candidates'
            curve = _curve(valid, f'{spec.valid}@{count}', label, color, chance)
            if spec.valid == 'accuracy':
                curve = curve._replace(ceiling=ceilings.get(count))
            curves.append(curve)
    curves = [curve for curve in curves if len(curve.steps)]
    changes = any(np.ptp(curve.values) for curve in curves)
    return curves if changes else []


def _curve(lines: Lines, name: str, label: str, color: str, chance: float | None = None) -> Curve:
    """The curve of one name, over the lines that have a finite value of it: the mean over pairs."""
    points = []
    for line in lines:
        values = np.array(line.get(name, math.nan), dtype=float)  # None, JSON's nan, becomes nan.
        found = values[np.isfinite(values)]  # Pairs that did not meet have none.
        if not found.size:
            continue
        mean = found.mean()
        low, high = line.get(f'{name}_ci95') or (found.min(), found.max())
        if f'{name}_se' in line:
            error = line[f'{name}_se'] or 0.0
            low, high = mean - error, mean + error
        elif values.ndim and len(values) > 1:  # Training scalars have replicas first.
            each = [replica[np.isfinite(replica)] for replica in values]
            by_replica = [replica.mean() for replica in each if replica.size]
            many = len(by_replica) > 1
            error = np.std(by_replica, ddof=1) / len(by_replica) ** 0.5 if many else 0.0
            mean = np.mean(by_replica)
            low, high = mean - error, mean + error
        points.append((line['step'], mean, low, high))
    steps, means, lows, highs = np.array(points, dtype=float).reshape(-1, 4).T
    return Curve(label, color, steps, means, lows, highs, chance)


def _draw(ax: Axes, spec: Spec, curves: Sequence[Curve]) -> None:
    for curve in curves:
        ax.fill_between(curve.steps, curve.low, curve.high, color=curve.color, alpha=0.18, lw=0)
        few = len(curve.steps) <= 30
        ax.plot(
            curve.steps, curve.values, color=curve.color, label=curve.label, linewidth=1.4,
            marker='o' if few else None, markersize=2.5,
        )  # fmt: skip
        if curve.chance is not None:
            ax.axhline(curve.chance, color=curve.color, linewidth=1, linestyle=':')
        if curve.ceiling is not None:
            ax.axhline(curve.ceiling, color=curve.color, linewidth=1, linestyle='--')
    if any(curve.chance is not None for curve in curves):
        ax.plot([], [], color=FAINT, linewidth=1, linestyle=':', label='chance')
    if any(curve.ceiling is not None for curve in curves):
        ax.plot([], [], color=FAINT, linewidth=1, linestyle='--', label='ceiling')
    top = max(max(curve.high.max(), curve.ceiling or 0) for curve in curves)
    if top > 0 and all((curve.low >= 0).all() for curve in curves):
        ax.set_ylim(0, min(1.08 * top, 1.02 * spec.top))
    ax.set_title(spec.title, loc='left', fontsize=10, color=INK, fontweight='bold', pad=9)
    ax.set_xlabel('step', fontsize=8, color=INK)
    ax.set_ylabel(spec.unit, fontsize=8, color=INK)
    ax.xaxis.set_major_formatter(EngFormatter(sep=''))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=3)
    ax.spines[['top', 'right']].set_visible(False)
    ax.spines[['left', 'bottom']].set_color(FAINT)
    ax.grid(axis='y', color='#eeeeee', linewidth=0.8)
    ax.set_axisbelow(True)
    if [curve.label for curve in curves] != ['training']:
        ax.legend(fontsize=7, labelcolor=INK, handlelength=1.6, edgecolor='none', framealpha=0.85)


def _caption(lines: Lines, best_step: int | None) -> str:
    step = max(line['step'] for line in lines)
    seconds = round(max(line['wall_s'] for line in lines))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    wall = f'{hours} h {minutes} min' if hours else f'{minutes} min {seconds % 60} s'
    best = '' if best_step is None else f'   ▼ best step: {best_step:,}'
    return f'{step:,} steps in {wall}{best}'
