"""Agents that draw for success alone succeed with drawings that nobody else can read; a perceptual
loss costs little success and makes them readable. So does what the game is about.

Mihai & Hare, Learning to draw: emergent communication through sketching, NeurIPS 2021, tables 1, 2
and 5 and figures 2 to 4.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim, drawings
from benchmarks.reproductions.drawings import LOSSES, MEASURES, TOLD
from emcom_jax.data.noise import LADDER
from emcom_jax.runtime.files import read_json

GAMES = ('original', 'same', 'different')
BLOCKS = 4
# What is changed of the game 'different' with the perceptual loss.
CHANGES: dict[str, dict[str, object]] = {
    'cross-entropy': {'loss.listener.name': 'cross_entropy'},
    'wide': {
        'game.latent_size': 1024,
        'speaker.head_sizes': '(1024,1024)',
        'listener.projection_sizes': '(1024,1024)',
    },
    **{
        f'block {number + 1} alone': {
            'loss.perceptual.weights': str(tuple(float(n == number) for n in range(BLOCKS)))
        }
        for number in range(BLOCKS)
    },
}
_LIKE = 'with perceptual loss'
_BASE = f'different, {_LIKE}'


def runs(root: Path) -> dict[Path, claim.Flags]:
    """The trunk; three games without the perceptual loss and with it; then one change at a time."""
    found = drawings.trunk(root)
    for game in GAMES:
        for loss, config in LOSSES.items():
            found[drawings.run(root, game, loss)] = drawings.play(root, game, config)
    for name, change in CHANGES.items():
        found[_changed(root, name)] = drawings.play(root, 'different', LOSSES[_LIKE], change)
    return found


def crossed(root: Path) -> dict[Path, claim.Flags]:
    """Strangers, for all but the trunk."""
    return drawings.crossed(root, runs(root))


def conclude(root: Path) -> tuple[Figure, str]:
    """Success and readability by game and loss, what the changes change, what is in drawings, which
    strokes count, and what becomes of games about noise."""
    conditions = {
        f'{game}, {loss}': drawings.run(root, game, loss) for game in GAMES for loss in LOSSES
    }
    changed = {name: _changed(root, name) for name in CHANGES}
    values = {name: drawings.measures(run) for name, run in (conditions | changed).items()}

    def line(name: str) -> list[str]:
        return [name, *(claim.mean(values[name][each]) for each in MEASURES)]

    def less(one: str, other: str) -> list[str]:
        pairs = ((values[one][each], values[other][each]) for each in MEASURES)
        return [f'{one} - {other}', *(claim.difference(*pair) for pair in pairs)]

    ceiling = drawings.of_outlines(conditions[_BASE])
    games = [line(name) for name in conditions]
    games.append(['the outlines themselves', '', '', *(f'{x:.3f}' for x in ceiling.values())])
    games += [less(*(f'{game}, {loss}' for loss in reversed(LOSSES))) for game in GAMES]
    changes = [line(_BASE)]
    changes += [each for name in CHANGES for each in (line(name), less(name, _BASE))]
    told = [
        [name, *(claim.mean(x) for x in drawings.attributes(run).values())]
        for name, run in conditions.items()
    ]
    text = '\n\n'.join(
        [
            claim.table(['game', *MEASURES], games),
            claim.table([f'changes of: {_BASE}', *MEASURES], changes),
            claim.table(['attributes decoded', 'class', *TOLD], told),
            claim.table(
                ['strokes left out', 'none', 'one', 'quarter: longest', '2nd', '3rd', 'shortest'],
                [[name, *_left_out(run)] for name, run in conditions.items()],
            ),
            claim.table(
                ['among images of noise', *(rung.replace('_', ' ') for rung in LADDER)],
                [[name, *_on_noise(run)] for name, run in conditions.items()],
            ),
        ]
    )
    return _picture(values, conditions), text


def _picture(values: dict[str, dict[str, np.ndarray]], conditions: dict[str, Path]) -> Figure:
    figure = Figure(figsize=(13, 9), layout='constrained')
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 2.4))[:, 0]
    for ax, each in zip(above.subplots(1, len(MEASURES)), MEASURES, strict=True):
        short = {name[0] + '+' * (_LIKE in name): values[name][each] for name in conditions}
        claim.dots(ax, short, each)
    drawings.gallery(below, conditions)
    return figure


def _left_out(run: Path) -> list[str]:
    """Accuracy of a run with all strokes, with one less, with each quarter less."""
    test = read_json(run / 'summary.json')['test']
    (intact,) = (key for key in test if key.startswith('accuracy_intact@') and key[-1].isdigit())
    whole, one = (
        np.array(test[f'{intact.replace("intact", name)}_replicas'], np.float64)
        for name in ('intact', 'erased')
    )
    drops = test.get(f'{intact.replace("intact", "drop_by_group")}', [float('nan')] * 4)
    return [claim.mean(whole), claim.mean(one), *(f'{whole.mean() - drop:.3f}' for drop in drops)]


def _on_noise(run: Path) -> list[str]:
    """Accuracy among images of each rung."""
    noise = read_json(run / 'summary.json')['noise']
    rungs = (drawings.METRIC.replace('accuracy', f'accuracy_{rung}') for rung in LADDER)
    return [claim.mean(np.array(noise[f'{rung}_replicas'], np.float64)) for rung in rungs]


def _changed(root: Path, name: str) -> Path:
    return root / name.replace(' ', '_')


CLAIM = claim.Claim(runs, conclude, crossed)
