"""More strokes: success and readability of drawings of 5, 20 and 50 lines.

Mihai & Hare, Learning to draw: emergent communication through sketching, NeurIPS 2021, section 4.
"""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reproductions import claim, drawings

STROKES = (5, 20, 50)


def runs(root: Path) -> dict[Path, claim.Flags]:
    """Each loss with each number of strokes; the runs with 20 are those of the claim `drawing`."""
    found = drawings.trunk(root)
    for loss, config in drawings.LOSSES.items():
        for count in STROKES:
            strokes = {'channel.length': count} if count != 20 else {}
            found[_run(root, loss, count)] = drawings.play(root, 'different', config, strokes)
    return found


def crossed(root: Path) -> dict[Path, claim.Flags]:
    """Strangers, for all but the trunk."""
    return drawings.crossed(root, runs(root))


def conclude(root: Path) -> tuple[Figure, str]:
    """Measures by number of strokes, and what a doubling adds."""
    found = {loss: [_run(root, loss, count) for count in STROKES] for loss in drawings.LOSSES}
    return drawings.by_number('strokes', STROKES, found)


def _run(root: Path, loss: str, count: int) -> Path:
    if count == 20:
        return drawings.run(root.parent / 'drawing', 'different', loss)
    return drawings.run(root, f'{count}', loss)


CLAIM = claim.Claim(runs, conclude, crossed)
