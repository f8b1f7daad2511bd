"""What was drawn: sketches beside what they are of and what was guessed, how a sketch changed while
agents learnt, and sketches as vectors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from emcom_jax.agents.sketching import POINTS, draw
from emcom_jax.curves import polyline
from emcom_jax.types import Message

ROWS, COLUMNS, STEPS, VECTORS = 8, 10, 8, 12  # At most so many are shown.
RIGHT, WRONG, TARGET = (46, 139, 87), (200, 60, 50), (90, 90, 90)
_GAP, _FRAME, _TILE = 0.14, 0.06, 64  # Shares of a tile; its pixels.

GRID = """What the first speaker draws of validation images, and among which images the first
listener looks for them. Framed is what it picks: green if that is right, else red; grey is then
what would have been. Where there are more candidates than fit, these two alone are shown. Of
several replicas, the first is shown. `pictures/` has the same of each validation, and sketches as
vectors."""
LAPSE = """The same images as they were drawn at validations on the way, the first by a speaker
that had learnt nothing yet."""


class Style(NamedTuple):
    """How strokes are drawn. kind: a key of `POINTS`; sigma2: their squared width."""

    kind: str
    sigma2: float


def style_of(config: Mapping[str, Any]) -> Style:
    """config: of the run."""
    channel = config['channel']
    last = channel['sigma2_end']
    return Style(channel['stroke'], channel['sigma2'] if last is None else last)


def strokes_of(messages: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Control points [..., T, P, 2] of strokes, (row, column), and how much of each is drawn
    [..., T], of messages [..., T, V]."""
    count = 2 * POINTS[kind]
    points = messages[..., :count].reshape(*messages.shape[:-1], POINTS[kind], 2)
    drawn = messages.shape[-1] > count
    return points, messages[..., count] if drawn else np.ones(messages.shape[:-1], np.float32)


def canvases(messages: np.ndarray, style: Style, size: tuple[int, int]) -> np.ndarray:
    """Drawings [M, H, W] in [0, 1], black on white, of messages [M, T, V]."""
    # What is drawn is in the strokes themselves; the rest of a message is not read.
    ones = jnp.ones(messages.shape[:2])
    message = Message(jnp.zeros(messages.shape[:2], int), jnp.asarray(messages), ones, ones)
    return 1 - np.asarray(_draw(message, style.kind, size, style.sigma2))


_draw = jax.jit(draw, static_argnums=(1, 2))


def mosaic(
    games: Mapping[str, np.ndarray], messages: np.ndarray, picked: np.ndarray, style: Style
) -> np.ndarray:
    """A picture [h, w, 3] uint8: in each row an image, its sketch, and candidates with the guess.

    Args:
      games: of a record, see `EvalRecord`.
      messages: [M, T, V], of one speaker. picked: [M], of one listener.
    """
    images, shown = games['images'], range(min(ROWS, len(messages)))
    sketches = canvases(messages, style, images.shape[1:3])
    rows = []
    for n in shown:
        target, guess = int(games['target'][n]), int(picked[n])
        among = list(range(games['candidates'].shape[1]))
        if len(among) > COLUMNS:
            among = list(dict.fromkeys((guess, target)))
        tiles = [_tile(images[games['shown'][n]]), _tile(sketches[n])]
        for place in among:
            colour = RIGHT if guess == target else WRONG
            frame = colour if place == guess else TARGET if place == target else None
            tiles.append(_tile(images[games['candidates'][n, place]], frame))
        rows.append(tiles)
    return _joined(rows)


def _tile(image: np.ndarray, frame: tuple[int, int, int] | None = None) -> np.ndarray:
    """An image [h, w, 3] uint8, or a sketch [h, w] in [0, 1], as a square tile with its margin."""
    if image.ndim == 2:
        image = np.repeat((255 * image).round().astype(np.uint8)[..., None], 3, axis=-1)
    tile = Image.fromarray(image).resize((_TILE, _TILE), Image.Resampling.NEAREST)
    margin, width = round(_GAP * _TILE / 2), round(_FRAME * _TILE)
    whole = np.full((_TILE + 2 * margin,) * 2 + (3,), 255, np.uint8)
    if frame is not None:
        first, last = margin - width, margin + _TILE + width
        whole[first:last, first:last] = frame
    whole[margin : margin + _TILE, margin : margin + _TILE] = np.asarray(tile)
    return whole


def _joined(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Tiles in rows, of which the shorter ones are filled up with white."""
    longest, blank = max(map(len, rows)), np.full_like(rows[0][0], 255)
    lines = [np.concatenate([*row, *[blank] * (longest - len(row))], axis=1) for row in rows]
    return np.concatenate(lines, axis=0)


def lapse(
    games: Mapping[str, np.ndarray], by_step: Mapping[int, np.ndarray], style: Style
) -> tuple[np.ndarray, list[int]]:
    """A picture as of `mosaic`: in each row an image, and its sketches by step; and these steps.

    by_step: step -> messages [M, T, V] of one speaker.
    """
    steps = sorted(by_step)
    chosen = [
        steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, STEPS).round().astype(int))
    ]
    size = games['images'].shape[1:3]
    drawn = [canvases(by_step[step], style, size) for step in chosen]
    rows = [
        [_tile(games['images'][games['shown'][n]]), *(_tile(sketches[n]) for sketches in drawn)]
        for n in range(min(ROWS, len(drawn[0])))
    ]
    return _joined(rows), chosen


def figure(picture: np.ndarray, headers: Sequence[str]) -> Figure:
    """Shows a mosaic with a header above each of its first columns."""
    side = _TILE + 2 * round(_GAP * _TILE / 2)
    height, width = picture.shape[:2]
    made = Figure(figsize=(0.75 * width / side, 0.75 * (height / side + 0.4)))
    ax = made.add_axes((0, 0, 1, height / (height + 0.4 * side)))
    ax.imshow(picture, interpolation='nearest', aspect='auto')
    for number, header in enumerate(headers):
        ax.text((number + 0.5) * side, -0.12 * side, header, size=8, ha='center')
    ax.axis('off')
    return made


def to_svg(strokes: np.ndarray, weights: np.ndarray, style: Style) -> str:
    """A sketch as a document of Scalable Vector Graphics, with a path for each stroke.

    The canvas is the square from -1 to 1; a path is as wide as the stroke has half its ink,
    2 sigma sqrt(ln 2).

    Args:
      strokes: [T, P, 2], control points (row, column).
      weights: [T] in [0, 1], how much of each is drawn.
    """
    width = 2 * (style.sigma2 * np.log(2)) ** 0.5
    paths = [
        f'<path d="{_path(points, style.kind)}" stroke-opacity="{weight:.3g}"/>'
        for points, weight in zip(strokes, weights, strict=True)
        if weight > 0
    ]
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 2 2" width="256" height="256">\n'
        '<rect x="-1" y="-1" width="2" height="2" fill="white"/>\n'
        f'<g fill="none" stroke="black" stroke-linecap="round" stroke-width="{width:.4g}">'
    )
    return '\n'.join([head, *paths, '</g>\n</svg>\n'])


def _path(points: np.ndarray, kind: str) -> str:
    """Path data; a Catmull-Rom curve, for which there is no letter, as the lines that are drawn."""
    letter = {'line': 'L', 'quadratic': 'Q', 'cubic': 'C', 'catmull_rom': 'L'}[kind]
    if kind == 'catmull_rom':
        points = np.asarray(polyline(jnp.asarray(points)[None, None], kind))[0, 0]
    places = [f'{column:.4f},{row:.4f}' for row, column in points]
    return f'M{places[0]} {letter}{" ".join(places[1:])}'


def load(folder: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Step -> what was drawn in that validation, messages [S, M, T, V] and picked [S, L, M]."""
    found = {}
    for path in sorted(folder.glob('*.npz'), key=lambda path: int(path.stem)):
        with np.load(path, allow_pickle=False) as file:
            found[int(path.stem)] = (file['messages'], file['picked'])
    return found


def write(
    pictures: Path,
    games: Mapping[str, np.ndarray],
    by_step: Mapping[int, tuple[np.ndarray, np.ndarray]],
    style: Style,
) -> None:
    """Writes `sketches_<step>.png` of each validation, and `sketch_<n>.svg` of the last."""
    pictures.mkdir(exist_ok=True)
    for step, (messages, picked) in by_step.items():
        grid = mosaic(games, messages[0], picked[0, 0], style)
        Image.fromarray(grid).save(pictures / f'sketches_{step}.png')
    messages, _ = by_step[max(by_step)]
    for number, message in enumerate(messages[0, :VECTORS]):
        text = to_svg(*strokes_of(message, style.kind), style)
        (pictures / f'sketch_{number}.svg').write_text(text)
