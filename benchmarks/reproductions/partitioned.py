"""Larger populations make for more compositional languages, which strangers understand better, if a
listener learns from its own speaker alone; if all learn from all they do not.

Michel, Rita, Mathewson, Tieleman & Lazaridou, Revisiting populations in multi-agent communication,
ICLR 2023.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from emcom_jax.report.curves import COLORS
from emcom_jax.runtime.files import read_json

STRUCTURES = ('partitioned', 'mixing')
SIZES = (1, 2, 4, 8)
STEPS = 2000
METRIC = 'accuracy@72'
LONG = 'partitioned-1-long'


def runs(root: Path) -> dict[Path, list[str]]:
    """Both structures, all sizes; in one population of size one nothing differs.

    At each step every agent is in one pair, and N times as many steps are made with N pairs: so a
    listener of a partitioned population, which learns in one step of N, learns as often in all
    sizes. Mixing is run as long, as the same games. Speakers learn N times as often: a control is
    one pair that is trained as long as the largest population.
    """
    cells = [(structure, size, STEPS * size) for structure in STRUCTURES for size in SIZES]
    found = {
        _run(root, structure, size): _flags(structure, size, steps)
        for structure, size, steps in cells
        if size > 1 or structure == 'partitioned'
    }
    return found | {root / LONG: _flags('partitioned', 1, STEPS * SIZES[-1])}


def _flags(structure: str, size: int, steps: int) -> list[str]:
    return [
        f'--config={claim.RECIPE}:partitioned',
        f'--config.training_steps={steps}',
        f'--config.population.structure={structure}',
        *(
            f'--config.population.{key}={size}'
            for key in ('num_speakers', 'num_listeners', 'pairs_per_step')
        ),
    ]


def crossed(root: Path) -> dict[Path, list[str]]:
    """Everybody with everybody: agents of other seeds are strangers."""
    return {path.with_name(f'{path.name}-strangers'): [f'--runs={path}'] for path in runs(root)}


def conclude(root: Path) -> tuple[Figure, str]:
    """Outcomes by structure and size, and their trend over the doublings of size."""
    measures: dict[str, dict[str, list[np.ndarray]]] = {}
    for structure in STRUCTURES:
        found = measures[structure] = {}
        for size in SIZES:
            # A population of one is neither.
            run = _run(root, structure if size > 1 else 'partitioned', size)
            for name, values in _measures(run).items():
                found.setdefault(name, []).append(values)
    long = _measures(root / LONG)
    names = list(measures['mixing'])
    figure, panels = claim.figure(len(names))
    for ax, name in zip(panels, names, strict=True):
        for color, structure in zip(COLORS, STRUCTURES, strict=False):
            groups = np.array(measures[structure][name])
            ax.plot(SIZES, groups, 'o', color=color, markersize=3, alpha=0.5)
            ax.plot(SIZES, groups.mean(1), color=color, label=structure)
        ax.set_xscale('log', base=2)
        ax.set_xticks(SIZES, SIZES)
        ax.set_xlabel('pairs', fontsize=8)
        claim.style(ax, name)
    panels[0].legend(fontsize=8, frameon=False)
    lines = []
    for structure in STRUCTURES:
        for place, size in enumerate(SIZES):
            each = [claim.mean(measures[structure][name][place]) for name in names]
            lines.append([structure, size, *each])
        slopes = [claim.mean(_slopes(measures[structure][name])) for name in names]
        lines.append([structure, 'a doubling adds', *slopes])
    lines.append(['one pair, as long as 8', 1, *(claim.mean(long[name]) for name in names)])
    return figure, claim.table(['structure', 'pairs', *names], lines)


def _measures(run: Path) -> dict[str, np.ndarray]:
    """What is said of each seed [R] of a run."""
    strangers = read_json(run.with_name(f'{run.name}-strangers') / 'cross_play.json')
    blocks = np.array(strangers['clean'][METRIC]['blocks'])
    own = np.diag(blocks)
    return {
        'topsim': claim.replicas(run, 'topographic_similarity_attributes'),
        'posdis': claim.replicas(run, 'positional_disentanglement'),
        'understood by strangers': (blocks.sum(1) - own) / (len(own) - 1),
        'generalisation': claim.replicas(run, METRIC),
        'in population': own,
    }


def _slopes(groups: list[np.ndarray]) -> np.ndarray:
    """Slope over log2 of the size, of each seed [R]."""
    return np.polyfit(np.log2(SIZES), np.array(groups), 1)[0]


def _run(root: Path, structure: str, size: int) -> Path:
    return root / f'{structure}-{size}'


CLAIM = claim.Claim(runs, conclude, crossed)
