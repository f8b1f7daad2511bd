"""A speaker that attends to what it is asked for is understood better about what it has never seen.

Evtimova, Drozdov, Kiela & Cho, Emergent communication in a multi-modal, multi-step referential
game, ICLR 2018.
"""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from benchmarks.reproductions.talk_bits import RECIPE, SPLITS, accuracies, constant

ATTENDS = '--config.speaker.attention=64'
SPEAKERS = {
    'attention': [ATTENDS],
    # The first look is the same everywhere: the mean over places, as published without attention.
    'mean': [ATTENDS, '--config.channel.length=1'],
    'map': [],  # All places, side by side.
    'map, one turn': ['--config.channel.length=1'],
}


def runs(root: Path) -> dict[Path, list[str]]:
    """The ways to look at a scene."""
    return {_run(root, name): [*RECIPE, *flags] for name, flags in SPEAKERS.items()}


def conclude(root: Path) -> tuple[Figure, str]:
    """Accuracy on what was trained, on new classes, on a new family."""
    values = {
        name: [claim.replicas(_run(root, name), 'accuracy', split) for split in SPLITS]
        for name in SPEAKERS
    }
    lines = [[name, *accuracies(_run(root, name))] for name in SPEAKERS]
    for other in ('mean', 'map'):
        less = map(claim.difference, values['attention'], values[other])
        lines.append([f'attention less {other}', *less])
    less = map(claim.difference, values['map'], values['map, one turn'])
    lines.append(['map, less one turn', *less])
    figure, panels = claim.figure(len(SPLITS))
    for place, (ax, split) in enumerate(zip(panels, SPLITS, strict=True)):
        each = {name: of[place] for name, of in values.items()}
        claim.dots(ax, each, f'accuracy, {SPLITS[split]}')
        ax.axhline(constant(_run(root, 'map'), split), color='0.6', linewidth=0.8)
    return figure, claim.table(['speaker sees', *SPLITS.values()], lines)


def _run(root: Path, name: str) -> Path:
    return root / name.replace(', ', '_').replace(' ', '_')


CLAIM = claim.Claim(runs, conclude)
