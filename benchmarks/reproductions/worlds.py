"""Combinations of attribute values held out at random are understood if there are enough of them to
learn from; pairs of values that never occurred together hardly are.

Chaabouni, Kharitonov, Bouchacourt, Dupoux & Baroni, Compositionality and generalization in emergent
languages, ACL 2020.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from emcom_jax.metrics import records

# (attributes, values of each).
WORLDS = ((2, 10), (3, 10), (4, 10))


def runs(root: Path) -> dict[Path, list[str]]:
    """Agents that reconstruct all attributes, in small worlds and in large ones."""
    return {
        _run(root, world): [
            f'--config={claim.RECIPE}:worlds',
            f'--config.data.num_attributes={world[0]}',
            f'--config.data.num_values={world[1]}',
            f'--config.data.batch_size={min(256, world[1] ** world[0] // 2)}',
        ]
        for world in WORLDS
    }


def conclude(root: Path) -> tuple[Figure, str]:
    """The share of referents of which all attributes are right, by split."""
    splits = ('train', 'test', 'ood')
    figure, panels = claim.figure(len(WORLDS))
    lines = []
    for ax, world in zip(panels, WORLDS, strict=True):
        run = _run(root, world)
        whole = {split: _all_right(run, split) for split in splits}
        claim.dots(ax, whole, f'{world[0]} attributes, {world[1]} values')
        ax.set_ylim(-0.02, 1.02)
        own = claim.mean(claim.replicas(run, 'accuracy', 'ood'))
        topsim = claim.mean(claim.replicas(run, 'topographic_similarity_attributes'))
        each = [claim.mean(values) for values in whole.values()]
        lines.append([f'{world[0]} x {world[1]}', *each, own, topsim])
    panels[0].set_ylabel('all attributes right', fontsize=8)
    head = ['world', 'train', 'held out, i.i.d.', 'out of distribution', 'o.o.d., an attribute']
    return figure, claim.table([*head, 'topsim'], lines)


def _all_right(run: Path, split: str) -> np.ndarray:
    """[R]; a record has of each referent the share of attributes that were right."""
    paths = sorted((run / 'records').glob(f'{split}.*.npz'))
    return np.array([(records.load(path).correct == 1).mean() for path in paths])


def _run(root: Path, world: tuple[int, int]) -> Path:
    return root / '{}x{}'.format(*world)


CLAIM = claim.Claim(runs, conclude)
