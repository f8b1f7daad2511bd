"""What claims about drawings share: runs on one frozen trunk, and how well drawings are read."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reproductions import claim
from emcom_datasets import shapes
from emcom_datasets.shapes_classes import ATTRIBUTES
from emcom_jax.metrics import records
from emcom_jax.metrics.readability import contour_excess, decoded, make_reader
from emcom_jax.report.curves import COLORS
from emcom_jax.report.sketches import Style, canvases, style_of
from emcom_jax.runtime.files import read_json
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.types import EvalRecord

METRIC = 'accuracy@10'
# What is measured: accuracy of listeners of one's own and of strangers; zero-shot accuracy of a
# reader of outlines, by chance 1 / 24; how much nearer lines are to the outlines of what is drawn
# (below 0) than to those of another example of its class, in hundredths of the side.
MEASURES = ('success', 'strangers', 'read', 'own contour')
# Columns of the label 'attributes' that are not parts.
TOLD = ('family', 'colour', 'second colour', 'texture', 'size')

_WIDTH = 16
_TRUNK: dict[str, object] = {
    'training_steps': 3000,
    'replicas': 1,
    'game.views': 'augmented_same_class',
    'speaker.trunk.name': 'small_cnn',
    'speaker.trunk.width': _WIDTH,
    'listener.projection_sizes': '(128,)',
    'optimizer.shared.learning_rate': 2e-3,
    'evaluation.every': 0,
    'evaluation.noise_ladder': False,
    'evaluation.interventions': False,
}
_GAME: dict[str, object] = {
    'data.num_images': 12_288,
    'training_steps': 2000,
    'replicas': 3,
    'random_seed': 1,
    'speaker.trunk.name': 'small_cnn',
    'speaker.trunk.width': _WIDTH,
    'speaker.trunk.frozen': True,
    'evaluation.every': 0,
    'evaluation.noise_images': 512,
}
# The other image is not augmented: what a frozen trunk sees is computed once.
_VARIANTS: dict[str, dict[str, object]] = {
    'original': {},
    'same': {},
    'different': {'game.views': 'same_class'},
}
LOSSES: dict[str, dict[str, object]] = {
    'game alone': {},
    'with perceptual loss': {'loss.perceptual.coefficient': 1.0},
}


def trunk(root: Path) -> dict[Path, claim.Flags]:
    """The run whose trunk all others have; it is among those of the claim `drawing`.

    A trunk that tells classes apart, as one trained on ImageNet does, but has seen no drawing:
    SimCLR whose two views are of two images of a class (Khosla et al. 2020, Supervised contrastive
    learning).
    """
    return {_trunk(root): ['--config=configs/simclr.py', *flags(_TRUNK)]}


def _trunk(root: Path) -> Path:
    return root.parent / 'drawing' / 'trunk'


def play(root: Path, game: str, *changes: Mapping[str, object]) -> claim.Flags:
    """The flags of a run of the game 'original', 'same' or 'different'."""
    config: dict[str, object] = {}
    for change in (_GAME, _VARIANTS[game], *changes):
        config.update(change)
    weights = f'--config.speaker.trunk.weights={_trunk(root)}'
    return [f'--config=configs/sketching.py:{game}', *flags(config), weights]


def flags(config: Mapping[str, object]) -> list[str]:
    return [f'--config.{key}={value}' for key, value in config.items()]


def run(root: Path, name: str, loss: str) -> Path:
    """The directory of a run with a loss of `LOSSES`."""
    return root / (f'{name}-perceptual' if LOSSES[loss] else name)


def crossed(root: Path, runs: Mapping[Path, claim.Flags]) -> dict[Path, claim.Flags]:
    """Everybody of a run with everybody: agents of other seeds are strangers, listeners who have
    never seen these speakers draw."""
    return {_strangers(run): [f'--runs={run}'] for run in runs if run != _trunk(root)}


def _strangers(run: Path) -> Path:
    return run.with_name(f'{run.name}-strangers')


# --- measures -------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """What a replica's first speaker has drawn of a split.

    record: of the evaluation. pictures: [N, H, W] in [0, 1], black on white. style: of the strokes.
    """

    record: EvalRecord
    pictures: np.ndarray
    style: Style


def drawn(run: Path, replica: int, split: str = 'test') -> Drawn:
    """Reads the drawings of a replica."""
    directory = RunDirectory(run)
    config = directory.load_config()
    style = style_of(config.to_dict())
    number = replica if config.replicas > 1 else None
    record = records.load(directory.record(split, number))
    side = config.data.image_size
    return Drawn(record, canvases(record.messages[0], style, (side, side)), style)


def measures(run: Path) -> dict[str, np.ndarray]:
    """`MEASURES` of each replica of a run, [R] each."""
    outlines = _outlines_for(run)
    found = []
    for replica in range(RunDirectory(run).load_config().replicas):
        record, pictures, _ = drawn(run, replica)
        found.append(_read(pictures, record.labels['class'], outlines))
    blocks = np.array(read_json(_strangers(run) / 'cross_play.json')['clean'][METRIC]['blocks'])
    own = np.diag(blocks)
    others = (blocks.sum(axis=1) - own) / (len(own) - 1)
    return dict(zip(MEASURES, [own, others, *np.array(found).T], strict=True))


def of_outlines(run: Path) -> dict[str, float]:
    """The measures of a drawer who draws the outlines themselves, on the data of a run."""
    record, pictures, _ = drawn(run, 0)
    outlines = _outlines_for(run)
    shown = outlines.of('test', len(pictures))
    values = _read(shown, record.labels['class'], outlines)
    return dict(zip(MEASURES[2:], values, strict=True))


def _read(pictures: np.ndarray, classes: np.ndarray, outlines: '_Outlines') -> list[float]:
    """The last two of `MEASURES`, of pictures [N, H, W] of the examples of the split 'test'."""
    excess = contour_excess(pictures, outlines.of('test', len(pictures)), classes)
    read = np.mean(outlines.reader(pictures) == classes)
    return [float(read), 100 * float(np.nanmean(excess))]


def attributes(run: Path) -> dict[str, np.ndarray]:
    """How well a linear decoder that has learnt on the drawings of the split 'valid' tells from
    those of 'test' the class and each of `TOLD`: 0 is chance, 1 all; [R] each."""
    found = []
    for replica in range(RunDirectory(run).load_config().replicas):
        sides = [drawn(run, replica, split) for split in ('valid', 'test')]
        coarse = [_halved(side.pictures) for side in sides]
        labels = [
            {'class': side.record.labels['class']}
            | dict(zip(ATTRIBUTES, side.record.labels['attributes'].T, strict=True))
            for side in sides
        ]
        found.append(
            [
                decoded(coarse[0], labels[0][name], coarse[1], labels[1][name])
                for name in ('class', *TOLD)
            ]
        )
    return dict(zip(('class', *TOLD), np.array(found).T, strict=True))


def _halved(pictures: np.ndarray) -> np.ndarray:
    count, height, width = pictures.shape
    return pictures.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))


class _Outlines:
    """Outlines of what a dataset shows, in lines of a width, and a reader of them."""

    def __init__(self, side: int, num_images: int, seed: int, width: float):
        """width: of lines, a share of the frame."""
        self._world = shapes.ShapesConfig(side=side, num_images=num_images, seed=seed)
        self._width = width

    @functools.cache  # noqa: B019
    def of(self, split: str, count: int) -> np.ndarray:
        """Of the first so many examples of a split, [count, H, W] in [0, 1], black on white."""
        return shapes.outlines(self._world, split, np.arange(count), self._width) / 255

    @functools.cached_property
    def reader(self) -> Callable[[np.ndarray], np.ndarray]:
        """Who has seen the outlines of half of the training split."""
        count = self._world.num_images // 2
        labels = [shapes.class_of('train', row // shapes.VIEWS) for row in range(count)]
        return make_reader(self.of('train', count), np.array(labels))


_make_outlines = functools.cache(_Outlines)


def _outlines_for(run: Path) -> _Outlines:
    """Those of the data of a run, in lines as wide as its strokes are where they have half of their
    ink."""
    config = RunDirectory(run).load_config()
    data, style = config.data, style_of(config.to_dict())
    return _make_outlines(data.image_size, data.num_images, data.seed, _width(style))


def _width(style: Style) -> float:
    """Of a stroke, a share of the frame: it is 2 sigma sqrt(ln 2) wide on a canvas of side 2."""
    return float((style.sigma2 * np.log(2)) ** 0.5)


# --- tables and pictures --------------------------------------------------------------------------


def by_number(
    name: str, numbers: Sequence[int], runs: Mapping[str, Sequence[Path]]
) -> tuple[Figure, str]:
    """Measures by a number of something.

    name: what is counted. runs: name of a condition -> a run for each of the numbers.

    Returns a figure with a line for each condition and the drawings below, and a table that also
    has what a doubling adds: the slope over log2 of the number, of each seed.
    """
    values = {kind: [measures(run) for run in found] for kind, found in runs.items()}
    figure = Figure(figsize=(13, 8), layout='constrained')
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 2))[:, 0]
    for ax, measure in zip(above.subplots(1, len(MEASURES)), MEASURES, strict=True):
        for color, (kind, found) in zip(COLORS, values.items(), strict=False):
            groups = np.array([each[measure] for each in found])
            ax.plot(numbers, groups, 'o', color=color, markersize=3, alpha=0.5)
            ax.plot(numbers, groups.mean(axis=1), color=color, label=kind)
        ax.set_xscale('log', base=2)
        ax.set_xticks(numbers, numbers)
        ax.set_xlabel(name, fontsize=8)
        claim.style(ax, measure)
    above.axes[0].legend(fontsize=7, frameon=False)
    gallery(
        below,
        {
            f'{number} {name}, {kind}': run
            for kind, found in runs.items()
            for number, run in zip(numbers, found, strict=True)
        },
    )
    lines = []
    for kind, found in values.items():
        for number, each in zip(numbers, found, strict=True):
            lines.append([kind, number, *(claim.mean(each[measure]) for measure in MEASURES)])
        by_measure = (np.array([each[measure] for each in found]) for measure in MEASURES)
        slopes = [claim.mean(np.polyfit(np.log2(numbers), group, 1)[0]) for group in by_measure]
        lines.append([kind, 'a doubling adds', *slopes])
    return figure, claim.table(['', name, *MEASURES], lines)


def gallery(figure: Figure, conditions: Mapping[str, Path], count: int = 12) -> None:
    """Fills a figure with examples of the split 'test', a column each: the image, its outlines, and
    how the first speaker of the first seed draws it in each condition (a row each)."""
    rows: dict[str, list[np.ndarray]] = {}
    chosen: np.ndarray | None = None
    for name, run in conditions.items():
        record, _, style = drawn(run, 0)
        if chosen is None:
            assert record.image_rows is not None and record.images is not None
            first = np.unique(record.labels['class'][record.image_rows], return_index=True)[1]
            places = np.sort(first)[:: max(1, len(first) // count)][:count]
            chosen = record.image_rows[places]
            data = RunDirectory(run).load_config().data
            world = shapes.ShapesConfig(4 * data.image_size, data.num_images, data.seed)
            rows['image'] = list(record.images[places] / 255)
            rows['outlines'] = list(shapes.outlines(world, 'test', chosen, _width(style)) / 255)
        rows[name] = list(canvases(record.messages[0][chosen], style, (96, 96)))
    panels = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, pictures) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=7, rotation=0, ha='right', va='center')
        for ax in line:
            ax.set_xticks([], [])
            ax.set_yticks([], [])
            ax.spines[:].set_color('0.8')
        for ax, picture in zip(line, pictures, strict=False):
            ax.imshow(picture, cmap='gray', vmin=0, vmax=1)
