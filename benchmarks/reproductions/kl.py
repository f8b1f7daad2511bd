"""KL to a moving average of the speaker stabilises training with many candidates.

Chaabouni et al., Emergent communication at scale, ICLR 2022, section 3.1.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from emcom_jax.report.curves import COLORS

# Name -> (KL coefficient, entropy coefficient).
REGULARISERS = {'none': (0.0, 0.0), 'entropy': (0.0, 0.01), 'kl': (0.5, 0.0)}
RATES = ('1e-3', '3e-3')
CANDIDATES = {1024: 'None', 16: '15'}  # In training -> num_distractors.


def runs(root: Path) -> dict[Path, list[str]]:
    """Each regulariser, at each learning rate, with many candidates and with few."""
    found = {}
    for count, distractors in CANDIDATES.items():
        for rate in RATES:
            for name, (kl, entropy) in REGULARISERS.items():
                found[_run(root, count, rate, name)] = [
                    f'--config={claim.RECIPE}:kl',
                    f'--config.loss.speaker.kl={kl}',
                    f'--config.loss.speaker.entropy={entropy}',
                    f'--config.optimizer.speaker.learning_rate={rate}',
                    f'--config.optimizer.listener.learning_rate={rate}',
                    *([f'--config.loss.listener.num_distractors={distractors}'] * (count == 16)),
                ]
    return found


def conclude(root: Path) -> tuple[Figure, str]:
    """Final accuracy, its spread over seeds, and the deepest fall from a height once reached."""
    figure, panels = claim.figure(len(CANDIDATES) * len(RATES))
    lines, place = [], 0
    for count in CANDIDATES:
        for rate in RATES:
            ax = panels[place]
            place += 1
            plain = np.zeros(0)
            for color, name in zip(COLORS, REGULARISERS, strict=False):
                steps, curves = _curves(_run(root, count, rate, name), f'accuracy@{count}')
                ax.plot(steps, curves, color=color, alpha=0.35, linewidth=0.8)
                ax.plot(steps, curves.mean(1), color=color, label=name)
                final = curves[-1]
                plain = final if name == 'none' else plain
                fall = (np.maximum.accumulate(curves) - curves).max(0)
                lines.append(
                    [
                        count,
                        rate,
                        name,
                        claim.mean(final),
                        '' if name == 'none' else claim.difference(final, plain),
                        f'{final.std(ddof=1):.3f}',
                        f'{fall.mean():.3f}, {fall.max():.3f}',
                    ]
                )
            claim.style(ax, f'{count} candidates, Adam {rate}')
            ax.set_ylim(0, 1.02)
    panels[0].legend(fontsize=8, frameon=False)
    panels[0].set_ylabel('validation accuracy', fontsize=8)
    head = ['candidates', 'rate', 'regulariser', 'final accuracy', 'less none', 's.d.']
    return figure, claim.table([*head, 'fall: mean, largest'], lines)


def _run(root: Path, count: int, rate: str, name: str) -> Path:
    return root / f'{count}-{rate}-{name}'


def _curves(run: Path, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Validation over the steps [M] -> values [M, R]."""
    lines = map(json.loads, (run / 'metrics.jsonl').read_text().splitlines())
    valid = [line for line in lines if line['split'] == 'valid']
    steps = np.array([line['step'] for line in valid])
    return steps, np.array([line[f'{metric}_replicas'] for line in valid], np.float64)


CLAIM = claim.Claim(runs, conclude)
