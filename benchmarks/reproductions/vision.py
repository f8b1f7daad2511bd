"""Agents that learn to see by talking: without augmentation they talk about noise, with it about
what is in the images; what their trunks are good for.

Dessì, Kharitonov & Baroni, Interpretable agent communication from scratch, NeurIPS 2021, tables
1 to 3.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from emcom_jax.data.noise import LADDER
from emcom_jax.report.curves import COLORS
from emcom_jax.runtime.files import read_json

METRIC = 'accuracy@16'  # The ceiling of one of 256 symbols is .97, as that of 2,048 among 128.
# A ResNet-10 that sees an image of 32 x 32 with a hundredth of a GFLOP.
SMALL = [
    '--config.replicas=3',
    '--config.random_seed=1',
    '--config.speaker.trunk.width=8',
    '--config.training_steps=6000',
    '--config.evaluation.every=3000',
    '--config.evaluation.noise_ladder=True',
]
GAME = '--config=configs/discrimination.py:wordnet'
SYSTEMS = {
    'SimCLR': ['--config=configs/simclr.py'],
    '-aug -shared': [f'{GAME},no_augmentation,separate', '--config.listener.trunk.width=8'],
    '-aug +shared': [f'{GAME},no_augmentation'],
    '+aug -shared': [f'{GAME},separate', '--config.listener.trunk.width=8'],
    '+aug +shared': [GAME],
}
PROTOCOL = {'|P|': 'num_symbols', 'nMI': 'nmi', 'nMI in excess': 'nmi_excess', 'p': 'nmi_p'}


def runs(root: Path) -> dict[Path, Sequence[str]]:
    """The five systems, then a linear evaluation of each."""
    found: dict[Path, Sequence[str]] = {
        _run(root, name): [*flags, *SMALL] for name, flags in SYSTEMS.items()
    }
    for name in SYSTEMS:
        found[_run(root, name, '-linear')] = [
            '--config=configs/linear_evaluation.py',
            f'--config.from_run={_run(root, name)}',
        ]
    return found


def conclude(root: Path) -> tuple[Figure, str]:
    """The paper's three tables, and the noise ladder as a picture."""
    summaries = {name: read_json(_run(root, name) / 'summary.json') for name in SYSTEMS}

    def values(name: str, split: str, key: str) -> np.ndarray:
        return np.array(summaries[name][split][f'{key}_replicas'], np.float64)

    def mean(name: str, split: str, key: str) -> str:
        known = f'{key}_replicas' in summaries[name][split]
        return claim.mean(values(name, split, key)) if known else ''

    blobs = METRIC.replace('accuracy', 'accuracy_gaussian')
    game = [
        [
            name,
            mean(name, 'valid', METRIC),
            mean(name, 'ood', METRIC),
            mean(name, 'noise', blobs),
            claim.difference(values(name, 'valid', METRIC), values(name, 'ood', METRIC)),
        ]
        for name in SYSTEMS
    ]
    measures = PROTOCOL | {'WNSim': 'wnsim', 'WNSim in excess': 'wnsim_excess'}
    protocol = [
        [name, split, *(mean(name, split, key) for key in measures.values())]
        for name in SYSTEMS
        for split in ('valid', 'ood')
    ]
    linear = [[name, *_linear(_run(root, name, '-linear'))] for name in SYSTEMS]
    text = '\n\n'.join(
        [
            claim.table(
                ['System', f'{METRIC}, valid', 'ood', 'Gaussian blobs', 'drop to ood'], game
            ),
            claim.table(['System', 'Split', *measures], protocol),
            claim.table(['System', 'trunk', 'random trunk', 'pixels'], linear),
        ]
    )
    return _ladder(values), text


def _linear(run: Path) -> list[str]:
    """Top-1 with all labels: of the trunk, of a random one, of pixels."""
    columns = read_json(run / 'summary.json')['linear_evaluation']
    (name,) = (column for column in columns if column.endswith('@100%'))
    return [
        claim.mean(np.array(columns[name][f'top1_{row}_replicas'], np.float64))
        for row in ('trunk', 'random_trunk', 'pixels')
    ]


def _ladder(values: object) -> Figure:
    """Accuracy by rung, a line for each system."""
    assert callable(values)
    figure, (ax,) = claim.figure(1)
    figure.set_size_inches(7, 3.2)
    for color, name in zip(COLORS, SYSTEMS, strict=False):
        rungs = [values(name, 'noise', METRIC.replace('accuracy', f'accuracy_{r}')) for r in LADDER]
        ax.plot([r.mean() for r in rungs], 'o-', color=color, markersize=4, label=name)
    ax.axhline(1 / 16, color='0.6', linewidth=0.8)
    ax.set_xticks(range(len(LADDER)), [r.replace('_', ' ') for r in LADDER], rotation=20)
    ax.legend(fontsize=7, frameon=False)
    claim.style(ax, f'{METRIC} among images of noise')
    return figure


def _run(root: Path, name: str, kind: str = '') -> Path:
    words = name.replace('+', 'with_').replace('-', 'without_').replace(' ', '_')
    return root / (words.lower() + kind)


CLAIM = claim.Claim(runs, conclude)
