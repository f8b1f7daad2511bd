"""More bits a turn, and more turns, help agents that converse, and most with classes that they have
never seen.

Evtimova, Drozdov, Kiela & Cho, Emergent communication in a multi-modal, multi-step referential
game, ICLR 2018.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from emcom_jax.runtime.run_directory import RunDirectory

# The default recipe, a third as long; all turns are played, since it is their number that counts.
RECIPE = [
    '--config=configs/dialogue.py',
    '--config.replicas=3',
    '--config.random_seed=1',
    '--config.training_steps=4000',
    '--config.evaluation.every=0',
    '--config.channel.variable_length=False',
]
TURNS, BITS = (1, 2, 5, 10), (8, 32)
SPLITS = {'test': 'test', 'ood': 'unseen classes', 'transfer': 'unseen family'}
SILENT = 'shuffled'


def runs(root: Path) -> dict[Path, list[str]]:
    """For each number of turns and bits; and a control: those who hear what is said of another
    scene, in training, too."""
    found = {
        root / f'{turns}x{bits}': [
            *RECIPE,
            f'--config.channel.length={turns}',
            f'--config.channel.vocab_size={bits}',
        ]
        for turns in TURNS
        for bits in BITS
    }
    return found | {root / SILENT: [*RECIPE, '--config.channel.shuffled=True']}


def conclude(root: Path) -> tuple[Figure, str]:
    """Accuracy by turns and bits on what was trained, on new classes, on a new family."""
    few, many = BITS
    every = [(turns, bits) for turns in TURNS for bits in BITS]
    lines = [[turns, bits, *accuracies(root / f'{turns}x{bits}')] for turns, bits in every]
    lines.append(['no communication', '', *accuracies(root / SILENT)])
    constants = {split: constant(root / SILENT, split) for split in SPLITS}
    lines.append(['constant guess', '', *(f'{value:.3f}' for value in constants.values())])
    values = {
        split: {
            bits: np.stack(
                [claim.replicas(root / f'{turns}x{bits}', 'accuracy', split) for turns in TURNS]
            )
            for bits in BITS
        }
        for split in SPLITS
    }
    gained = {split: of[many] - of[few] for split, of in values.items()}
    gains = [
        [turns, *(claim.mean(of[place]) for of in gained.values())]
        for place, turns in enumerate(TURNS)
    ]
    gains.append(['mean', *(claim.mean(of.mean(axis=0)) for of in gained.values())])
    new = [gained[split].mean(axis=0) - gained['test'].mean(axis=0) for split in SPLITS]
    gains.append(['mean, less that on test', *map(claim.mean, new)])
    figure, panels = claim.figure(len(SPLITS))
    for ax, (split, of) in zip(panels, values.items(), strict=True):
        for bits in BITS:
            claim.line(ax, TURNS, of[bits].T, f'{bits} bits')
        ax.axhline(constants[split], color='0.6', linewidth=0.8)
        ax.set_xlabel('turns', fontsize=8)
        claim.style(ax, f'accuracy, {SPLITS[split]}')
    panels[0].legend(fontsize=7, frameon=False)
    text = claim.table(['turns', 'bits of a turn', *SPLITS.values()], lines)
    text += '\n\n' + claim.table([f'turns: {many} bits less {few}', *SPLITS.values()], gains)
    return figure, text


def accuracies(run: Path) -> list[str]:
    """On each split, with its interval."""
    return [claim.mean(claim.replicas(run, 'accuracy', split)) for split in SPLITS]


def constant(run: Path, split: str) -> float:
    """The accuracy of the best guess of those who hear nothing."""
    summary = RunDirectory(run).read_summary()
    assert summary is not None
    return float(summary[split]['accuracy_constant'])


CLAIM = claim.Claim(runs, conclude)
