"""Iterated learning raises topographic similarity.

Ren, Guo, Labeau, Cohen & Kirby, Compositional languages emerge in a neural iterated learning model,
ICLR 2020; its world of 2 attributes with 8 values, here with REINFORCE among 16 candidates.
"""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reproductions import claim

EVERY = 1500  # Steps of a generation.
TRANSMIT = (0, 20, 60, 200, 600)  # Of which speakers imitate those before them; 0: they begin anew.
MEASURES = (
    'topographic_similarity',
    'positional_disentanglement',
    'bag_of_symbols_disentanglement',
    'accuracy@4',
)


def runs(root: Path) -> dict[Path, list[str]]:
    """No generations, and no more than one; then generations with more and more transmission."""
    recipe = f'--config={claim.RECIPE}:generations'
    found = {root / 'none': [recipe], root / 'one': [recipe, f'--config.training_steps={EVERY}']}
    for steps in TRANSMIT:
        found[root / f'transmit-{steps}'] = [
            recipe,
            f'--config.updates.generations.every={EVERY}',
            f'--config.updates.generations.transmit_steps={steps}',
            '--config.updates.generations.listen_steps=60',
        ]
    return found


def conclude(root: Path) -> tuple[Figure, str]:
    """Structure of the languages in the end, and their difference to those without generations."""
    names = {'none': 'none', 'one': f'none, {EVERY:,} steps'}
    names |= {f'transmit-{steps}': f'{steps} steps' for steps in TRANSMIT}
    figure, panels = claim.figure(len(MEASURES))
    found = {
        run: [claim.replicas(root / run, measure, 'train') for measure in MEASURES] for run in names
    }
    for place, (ax, measure) in enumerate(zip(panels, MEASURES, strict=True)):
        claim.dots(ax, {run: values[place] for run, values in found.items()}, measure)
        ax.set_xticks(range(len(names)), names.values(), rotation=60, ha='right', fontsize=7)
    lines = []
    for run, values in found.items():
        gain = claim.difference(values[0], found['none'][0]) if run != 'none' else ''
        lines.append([names[run], *map(claim.mean, values), gain])
    head = ['transmission', *MEASURES, 'topographic similarity less that of none']
    return figure, claim.table(head, lines)


CLAIM = claim.Claim(runs, conclude)
