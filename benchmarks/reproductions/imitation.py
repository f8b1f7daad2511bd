"""Imitation and voting help a population of ten pairs.

Chaabouni et al., Emergent communication at scale, ICLR 2022. The published gain in accuracy is
below one point, so ease of learning and robustness to noise are the primary outcomes.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from emcom_jax.runtime.files import read_json

METRIC = 'accuracy@900'  # All of the test split.
TEN = [
    f'--config.population.{key}=10' for key in ('num_speakers', 'num_listeners', 'pairs_per_step')
]
CONDITIONS = {
    'one pair': [],
    'ten pairs': TEN,
    'imitation': [
        *TEN,
        '--config.updates.imitate.every=10',
        '--config.updates.imitate.num_students=4',
    ],
}


def runs(root: Path) -> dict[Path, list[str]]:
    """As many updates for each agent in all conditions; then fresh listeners of every language."""
    found = {}
    for name, flags in CONDITIONS.items():
        found[_run(root, name)] = [f'--config={claim.RECIPE}:imitation', *flags]
    for name in CONDITIONS:
        found[_run(root, name, '-ease')] = [
            '--config=configs/ease_of_learning.py',
            f'--config.from_run={_run(root, name)}',
            '--config.training_steps=1000',
            '--config.ease_of_learning.max_speakers=3',
        ]
    return found


def crossed(root: Path) -> dict[Path, list[str]]:
    """Everybody with everybody, with noise of half a deviation and without."""
    return {
        _run(root, name, '-noise'): [f'--runs={_run(root, name)}', '--input_noise=0.5']
        for name in CONDITIONS
    }


def conclude(root: Path) -> tuple[Figure, str]:
    """Each outcome by condition, and what imitation changes, paired by seed."""
    outcomes: dict[str, dict[str, np.ndarray]] = {}
    for name in CONDITIONS:
        run, noise = _run(root, name), read_json(_run(root, name, '-noise') / 'cross_play.json')
        outcomes[name] = {
            'generalisation': claim.replicas(run, METRIC),
            # A listener that is alone has no vote but its own.
            'vote': claim.replicas(run, METRIC if name == 'one pair' else 'accuracy_vote@900'),
            'ease of learning': claim.learning(_run(root, name, '-ease'), 'area_under_curve'),
            'drop under noise': np.diag(noise['relative_drop'][METRIC]['blocks']),
            'topsim': claim.replicas(run, 'topographic_similarity'),
        }
    measures = list(outcomes['one pair'])
    figure, panels = claim.figure(len(measures))
    for ax, measure in zip(panels, measures, strict=True):
        claim.dots(ax, {name: outcomes[name][measure] for name in CONDITIONS}, measure)
    lines = [[name, *(claim.mean(x) for x in outcomes[name].values())] for name in CONDITIONS]
    for one, other in (('ten pairs', 'one pair'), ('imitation', 'ten pairs')):
        paired = [claim.difference(outcomes[one][m], outcomes[other][m]) for m in measures]
        lines.append([f'{one} - {other}', *paired])
    gain = [
        f'{name}: {claim.difference(found["vote"], found["generalisation"])}'
        for name, found in outcomes.items()
        if name != 'one pair'
    ]
    text = claim.table(['', *measures], lines)
    return figure, f'{text}\n\nVote less the mean listener: {"; ".join(gain)}.'


def _run(root: Path, name: str, kind: str = '') -> Path:
    return root / (name.replace(' ', '_') + kind)


CLAIM = claim.Claim(runs, conclude, crossed)
