"""Do agents agree about images that mean nothing: accuracy by rung of the noise ladder."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from emcom_jax import estimates
from emcom_jax.data.noise import FROM_IMAGES, LADDER
from emcom_jax.metrics import noise
from emcom_jax.report.curves import COLORS, FAINT, INK

WHAT = {
    noise.REFERENCE: 'validation images',
    **{f'grid_{k}': f'{k} × {k}' for k in (1, 2, 4, 8, 16)},
    'gaussian': 'Gaussian\nblobs',
    'phase_scrambled': 'phase-\nscrambled',
    'patch_shuffled': 'patch-\nshuffled',
}
CAPTION = (
    """Accuracy when speaker and listener see the same image that means nothing, and nothing
else is among the candidates. Agents that do as well here as on photographs (dashed) talk of
something else than what these show; dotted is chance. N × N are cells of random colours, Gaussian
blobs a cell for each pixel. Phase-scrambled images keep the spectrum, patch-shuffled ones the
parts, of test images. Bars are 95% intervals, or one standard error over replicas.
"""
    + noise.RATIO
)


def rows(values: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """For a table: headers, and of each rung what it is and the names of its values."""
    rungs, counts = noise.rungs(values)
    columns = [(what, count) for count in counts for what in ('accuracy', 'ratio')]
    named = [
        (WHAT.get(rung, rung).replace('-\n', '-').replace('\n', ' '),
         [f'{what}_{rung}@{count}' for what, count in columns])
        for rung in rungs
    ]  # fmt: skip
    return [f'{what}@{count}' for what, count in columns], named


def draw(values: Mapping[str, Any], photo: np.ndarray | None = None) -> Figure:
    """Draws accuracy by rung, with that on the validation split and chance as lines.

    Args:
      values: of `metrics.noise_of`, or their means over replicas.
      photo: [h, w, 3] uint8, an image of which examples of the last rungs are made; if given, an
        example of each rung is shown.
    """
    rungs, counts = noise.rungs(values)
    rungs = [rung for rung in rungs if rung != noise.REFERENCE]
    figure = Figure(figsize=(8.2, 4.0 if photo is not None else 3.2), layout='constrained')
    heights = [1.0, 4.2] if photo is not None else [4.2]
    ax = figure.subplots(len(heights), height_ratios=heights, squeeze=False)[-1, 0]
    places = np.arange(len(rungs), dtype=float)
    places[[rung in FROM_IMAGES for rung in rungs]] += 0.5  # Apart from noise.
    for shift, count, color in zip(_shifts(len(counts)), counts, COLORS, strict=False):
        names = [f'accuracy_{rung}@{count}' for rung in rungs]
        points = np.array([estimates.number(values.get(name)) for name in names])
        error = np.array([estimates.reach(values, name) for name in names]).T
        plain = np.array([rung not in FROM_IMAGES for rung in rungs])
        ax.plot(places[plain] + shift, points[plain], color=color, linewidth=1.4)
        ax.errorbar(
            places + shift, points, yerr=error, color=color, fmt='o', markersize=4.5, capsize=2.5,
            linewidth=1, label=f'{count} candidates',
        )  # fmt: skip
        reference = estimates.number(values.get(f'accuracy_{noise.REFERENCE}@{count}'))
        if np.isfinite(reference):
            ax.axhline(reference, color=color, linewidth=1, linestyle='--', zorder=0)
        ax.axhline(1 / count, color=color, linewidth=1, linestyle=':', zorder=0)
    ax.plot([], [], color=FAINT, linewidth=1, linestyle='--', label='validation images')
    ax.plot([], [], color=FAINT, linewidth=1, linestyle=':', label='chance')
    if any(rung in FROM_IMAGES for rung in rungs) and len(set(rungs) - set(FROM_IMAGES)):
        ax.axvline(len(rungs) - len(FROM_IMAGES) - 0.25, color='#dddddd', linewidth=1)
    ax.set_xticks(places, [WHAT.get(rung, rung) for rung in rungs])
    ax.set_xlim(-0.5, places[-1] + 0.5)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel('accuracy', fontsize=8, color=INK)
    ax.set_xlabel('noise from coarse to fine, then what is left of images', fontsize=8, color=INK)
    ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK, length=3)
    ax.spines[['top', 'right']].set_visible(False)
    ax.spines[['left', 'bottom']].set_color(FAINT)
    ax.grid(axis='y', color='#eeeeee', linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(
        fontsize=7, labelcolor=INK, edgecolor='none', framealpha=0.85, loc='center left',
        bbox_to_anchor=(1.0, 0.5),
    )  # fmt: skip
    if photo is not None:
        _draw_examples(figure, rungs, places, photo)
    return figure


def _draw_examples(figure: Figure, rungs: list[str], places: np.ndarray, photo: np.ndarray) -> None:
    """An example above each rung."""
    strip, ax = figure.axes[0], figure.axes[-1]
    strip.sharex(ax)
    strip.set_aspect('equal', anchor='S')
    for rung, place in zip(rungs, places, strict=True):
        box = (place - 0.4, place + 0.4, 0, 0.8)
        strip.imshow(example(rung, photo), extent=box, interpolation='nearest')
    strip.set_xlim(*ax.get_xlim())
    strip.set_ylim(0, 0.8)
    strip.axis('off')


def example(rung: str, photo: np.ndarray) -> np.ndarray:
    """An image of a rung as people can see it, float32 [s, s, 3] in [0, 1]: grey is 0, and what is
    more than two deviations away is black or white.

    photo: [h, w, 3] uint8, of which it is made if the rung takes images; it is cut to a square.
    """
    side = min(photo.shape[:2]) // 4 * 4
    image = photo[:side, :side].astype(np.float32) / 255
    mean, deviation = image.mean(), max(float(image.std()), 1e-3)
    drawn = LADDER[rung](jax.random.key(0), jnp.asarray((image - mean) / deviation)[None])[0]
    seen = np.asarray(drawn, np.float32)
    shown = seen * deviation + mean if rung in FROM_IMAGES else 0.5 + seen / 4
    return np.clip(shown, 0, 1)


def _shifts(count: int) -> np.ndarray:
    """Of the points of each number of candidates, lest they cover each other."""
    return (np.arange(count) - (count - 1) / 2) * 0.12
