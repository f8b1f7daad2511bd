"""More candidates in training make for better generalisation and for languages that are easier to
learn; topographic similarity does not tell how well a language generalises, ease of learning does.

Chaabouni et al., Emergent communication at scale, ICLR 2022.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from emcom_jax.report.curves import COLORS

DISTRACTORS = (1, 15, 127, 1023)
METRIC = 'accuracy@1024'


def runs(root: Path) -> dict[Path, list[str]]:
    """A language for each number of distractors and seed, and fresh listeners for each of them."""
    found = {
        root / f'{count}': [
            f'--config={claim.RECIPE}:candidates',
            f'--config.loss.listener.num_distractors={count}',
        ]
        for count in DISTRACTORS
    }
    for count in DISTRACTORS:
        found[root / f'{count}-ease'] = [
            '--config=configs/ease_of_learning.py',
            f'--config.from_run={root / str(count)}',
            '--config.training_steps=600',
            '--config.ease_of_learning.steps=100,300,600',
            # Fresh listeners all have the same task, whatever that of the speakers was.
            '--config.loss.listener.num_distractors=1023',
        ]
    return found


def conclude(root: Path) -> tuple[Figure, str]:
    """Values by number of distractors; then correlations over the languages."""
    values = {
        'generalisation': [claim.replicas(root / f'{n}', METRIC) for n in DISTRACTORS],
        'ease of learning': [
            claim.learning(root / f'{n}-ease', 'area_under_curve') for n in DISTRACTORS
        ],
        'topographic similarity': [
            claim.replicas(root / f'{n}', 'topographic_similarity') for n in DISTRACTORS
        ],
    }
    lines = [
        [count, *(claim.mean(groups[place]) for groups in values.values())]
        for place, count in enumerate(DISTRACTORS)
    ]
    figure, panels = claim.figure(5)
    labels = [str(count + 1) for count in DISTRACTORS]
    for ax, (name, groups) in zip(panels, values.items(), strict=False):
        claim.dots(ax, dict(zip(labels, groups, strict=True)), name)
        ax.set_xlabel('candidates in training', fontsize=8)
    general = np.concatenate(values['generalisation'])
    row = np.repeat(np.arange(len(DISTRACTORS)), len(values['generalisation'][0]))
    related = {}
    for ax, name in zip(panels[3:], ('ease of learning', 'topographic similarity'), strict=True):
        for place, groups in enumerate(zip(values[name], values['generalisation'], strict=True)):
            ax.plot(*groups, 'o', color=COLORS[place], markersize=4, label=labels[place])
        ax.set_xlabel(name, fontsize=8)
        claim.style(ax, 'generalisation')
        related[name] = [
            claim.correlation(np.concatenate(values[name]), general),
            # Among languages of one number of candidates: not only the condition's doing.
            claim.correlation(np.concatenate(values[name]), general, row),
        ]
    panels[3].legend(fontsize=7, frameon=False, title='candidates', title_fontsize=7)
    head = ['distractors', f'generalisation ({METRIC}, test)', 'ease of learning (area)', 'topsim']
    text = claim.table(head, lines)
    text += '\n\n' + claim.table(
        [
            'Spearman correlation with generalisation',
            'all languages',
            'mean of those within each row',
        ],
        [[name, *both] for name, both in related.items()],
    )
    return figure, text


CLAIM = claim.Claim(runs, conclude)
