"""The larger a population of sketchers is, the better do strangers understand its drawings.

Populations of sketchers (arXiv 2606.10582, 2026), after Mihai & Hare, Learning to draw: emergent
communication through sketching, NeurIPS 2021.
"""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reproductions import claim, drawings

SIZES = (1, 2, 4)


def runs(root: Path) -> dict[Path, claim.Flags]:
    """Each loss with each number of pairs. In a step every agent is in one pair, so that agents
    learn as often in all sizes."""
    found = drawings.trunk(root)
    for loss, config in drawings.LOSSES.items():
        for size in SIZES:
            counts = ('num_speakers', 'num_listeners', 'pairs_per_step')
            sizes = {f'population.{key}': size for key in counts} | {'data.batch_size': 50}
            run = drawings.run(root, f'{size}', loss)
            found[run] = drawings.play(root, 'different', config, sizes)
    return found


def crossed(root: Path) -> dict[Path, claim.Flags]:
    """Strangers, for all but the trunk."""
    return drawings.crossed(root, runs(root))


def conclude(root: Path) -> tuple[Figure, str]:
    """Measures by size, and what a doubling adds; readability is that of each first speaker."""
    found = {
        loss: [drawings.run(root, f'{size}', loss) for size in SIZES] for loss in drawings.LOSSES
    }
    return drawings.by_number('pairs', SIZES, found)


CLAIM = claim.Claim(runs, conclude, crossed)
