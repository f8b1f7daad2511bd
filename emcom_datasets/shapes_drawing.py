"""Scenes of `shapes`: what is drawn at random, and how a scene becomes a picture.

A scene is an object (class, colours, texture, proportions) and a view of it (size, rotation,
mirror, perspective, place, background). Everything but the class is drawn independently of the
class, and the same whatever the size of the picture.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from emcom_datasets.outlines.geometry import Part
from emcom_datasets.shapes_classes import COLOURS, DRAWN, SIZES, TEXTURES

BACKGROUNDS = ('gradient', 'noise', 'clutter')
# The bounding box of an object covers a share of the frame in this range; sizes divide it evenly.
SMALLEST, LARGEST = 0.42, 0.72
# Its shorter side over its longer one is at least this, so that the largest still fit the frame.
ASPECT = 0.75

_SUPERSAMPLING = 4
_LINE = 0.018  # Width of outlines, a share of the frame.
_DARK, _LIGHT = (35, 35, 45), (236, 240, 245)


class Object(NamedTuple):
    """What stays the same when it is seen again.

    kind: class, a position in `shapes_classes.DRAWN`.
    colour, accent: positions in COLOURS; texture: position in TEXTURES.
    proportions: two floats in [-1, 1]; extra: whether it has its optional part.
    shade: three floats in [-1, 1], by which its colour differs from the named one.
    """

    kind: int
    colour: int
    accent: int
    texture: int
    proportions: tuple[float, float]
    extra: bool
    shade: tuple[float, float, float]


class View(NamedTuple):
    """How an object is seen.

    area: share of the frame that the bounding box of the object covers.
    angle: rotation in degrees, in [-20, 20]; mirrored: whether it faces the other way.
    perspective: float64 [2], coefficients in [-0.25, 0.25] of the plane seen aslant.
    squeeze: logarithm in [-0.2, 0.2] of width over height, beyond that of its outline.
    place: float64 [2] in [0, 1], from the upper left to the lower right of the room that is left.
    background: position in BACKGROUNDS; `clutter`: the seed of its random parts.
    """

    area: float
    angle: float
    mirrored: bool
    perspective: np.ndarray
    squeeze: float
    place: np.ndarray
    background: int
    clutter: int

    @property
    def size(self) -> int:
        """Position in SIZES."""
        share = (self.area - SMALLEST) / (LARGEST - SMALLEST)
        return min(int(share * len(SIZES)), len(SIZES) - 1)


def draw_object(kind: int, rng: np.random.Generator) -> Object:
    """Draws an object of a class."""
    colour, other = int(rng.integers(len(COLOURS))), int(rng.integers(1, len(COLOURS)))
    a, b = rng.uniform(-1, 1, 2).tolist()
    red, green, blue = rng.uniform(-1, 1, 3).tolist()
    return Object(
        kind=kind,
        colour=colour,
        accent=(colour + other) % len(COLOURS),
        texture=int(rng.integers(len(TEXTURES))),
        proportions=(a, b),
        extra=bool(rng.integers(2)),
        shade=(red, green, blue),
    )


def draw_view(rng: np.random.Generator) -> View:
    """Draws a view of whatever object."""
    return View(
        area=float(rng.uniform(SMALLEST, LARGEST)),
        angle=float(rng.uniform(-20, 20)),
        mirrored=bool(rng.integers(2)),
        perspective=rng.uniform(-0.25, 0.25, 2),
        squeeze=float(rng.uniform(-0.2, 0.2)),
        place=rng.uniform(size=2),
        background=int(rng.integers(len(BACKGROUNDS))),
        clutter=int(rng.integers(2**31)),
    )


# --- geometry -------------------------------------------------------------------------------------


def project(points: np.ndarray, view: View) -> np.ndarray:
    """Turns points [n, 2] of a drawing into points of the plane that is seen, before they are
    scaled and put in their place."""
    x, y = (points - 0.5).T
    x = -x if view.mirrored else x
    angle = np.deg2rad(view.angle)
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    depth = 1 + view.perspective[0] * x + view.perspective[1] * y
    return np.stack([x * np.exp(view.squeeze) / depth, y / depth], -1)


class Frame(NamedTuple):
    """Scale [2] and shift [2] that put what is projected where it is in a frame of side 1."""

    scale: np.ndarray
    shift: np.ndarray


def place(parts: list[Part], view: View) -> Frame:
    """Returns the frame in which the bounding box of `parts` covers exactly `view.area`.

    A box narrower than ASPECT is widened until it is not.
    """
    points = project(np.concatenate([part.outline for part in parts]), view)
    low, high = points.min(0), points.max(0)
    extent = high - low
    wanted = np.maximum(extent, ASPECT * extent.max())
    wanted *= np.sqrt(view.area / wanted.prod())
    corner = view.place * (1 - wanted)
    scale = wanted / extent
    return Frame(scale, corner - low * scale)


# --- colours --------------------------------------------------------------------------------------

Colour = tuple[int, int, int]


def _rgb(values: np.ndarray) -> Colour:
    red, green, blue = np.clip(np.rint(values), 0, 255).astype(int).tolist()
    return red, green, blue


def _fills(thing: Object) -> dict[str, Colour]:
    main, accent = (
        _rgb(np.array(COLOURS[name]) + 14 * np.array(thing.shade))
        for name in (list(COLOURS)[thing.colour], list(COLOURS)[thing.accent])
    )
    return {'main': main, 'accent': accent, 'dark': _DARK, 'light': _LIGHT}


def _away_from(
    colours: list[Colour], shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Random colours [*shape, 3], none near one of `colours`."""
    drawn = rng.uniform(40, 250, (*shape, 24, 3))
    near = np.min([np.linalg.norm(drawn - np.array(colour), axis=-1) for colour in colours], axis=0)
    best = near.argmax(-1)  # Of so many; the first that is far enough, if there is one.
    first = (near > 110).argmax(-1)
    chosen = np.where((near > 110).any(-1), first, best)
    return np.take_along_axis(drawn, chosen[..., None, None], -2)[..., 0, :]


# --- pictures -------------------------------------------------------------------------------------


def _backdrop(view: View, avoid: list[Colour], side: int) -> Image.Image:
    """What is behind the object, in colours away from its own."""
    rng = np.random.default_rng(view.clutter)
    name = BACKGROUNDS[view.background]
    cells = 9 if name == 'noise' else 2
    colours = _away_from(avoid, (cells, cells), rng)
    if name == 'noise':  # About one colour, or it would hide the object.
        colours = 0.35 * colours + 0.65 * _away_from(avoid, (1, 1), rng)
    grid = Image.fromarray(np.rint(colours).astype(np.uint8))
    image = grid.resize((side, side), Image.Resampling.BILINEAR)
    if name == 'clutter':
        draw = ImageDraw.Draw(image)
        things = _away_from(avoid, (10,), rng)
        for colour, (x, y, radius) in zip(things, rng.uniform(size=(10, 3)), strict=True):
            corners = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            ring = np.stack([np.cos(corners), np.sin(corners)], -1) * (0.05 + 0.13 * radius)
            draw.polygon(_pixels((x, y) + ring, side), fill=_rgb(colour))
    return image


def _pixels(points: np.ndarray, side: int) -> list[float]:
    """Points of a frame of side 1 as Pillow takes them: x, y, x, y, ..."""
    flat: list[float] = (points * side).ravel().tolist()
    return flat


def _pattern(texture: str) -> list[np.ndarray]:
    """Outlines of the darker or lighter parts of a texture, over all a drawing may cover."""
    if texture == 'striped':
        return [
            np.array([(x, -0.3), (x + 0.11, -0.3), (x + 0.11, 1.3), (x, 1.3)])
            for x in np.arange(-0.3, 1.3, 0.22)
        ]
    if texture == 'dotted':
        angles = np.arange(0, 2 * np.pi, np.pi / 5)
        disc = 0.062 * np.stack([np.cos(angles), np.sin(angles)], -1)
        return [
            disc + (x + 0.11 * (row % 2), y)
            for row, y in enumerate(np.arange(-0.2, 1.3, 0.19))
            for x in np.arange(-0.3, 1.3, 0.22)
        ]
    return []


def render(thing: Object, view: View, side: int) -> np.ndarray:
    """Draws a scene: uint8 [side, side, 3], RGB."""
    fills = _fills(thing)
    canvas = side * _SUPERSAMPLING
    parts, seen = _seen(thing, view, canvas)
    image = _backdrop(view, [fills['main'], fills['accent']], canvas)
    texture = Image.new('RGB', (canvas, canvas), fills['main'])
    pattern = _pattern(TEXTURES[thing.texture])
    if pattern:
        other = _rgb(np.array(fills['main']) * 0.45 + (110 if thing.shade[0] > 0 else 0))
        ink = ImageDraw.Draw(texture)
        for outline in pattern:
            ink.polygon(seen(outline), fill=other)
    textured = Image.new('1', (canvas, canvas))
    draw, mask = ImageDraw.Draw(image), ImageDraw.Draw(textured)
    width = max(round(_LINE * canvas), 1)
    for part in parts:
        points = seen(part.outline)
        draw.polygon(points, fill=fills[part.fill])
        draw.line(points + points[:4], fill=_DARK, width=width)
        mask.polygon(points, fill=part.fill == 'main')
        mask.line(points + points[:4], fill=0, width=width)
    image.paste(texture, mask=textured)
    return np.asarray(image.reduce(_SUPERSAMPLING))


def render_outlines(thing: Object, view: View, side: int, width: float) -> np.ndarray:
    """Draws the outlines of the parts of an object, as far as no part hides them, in black on
    white: uint8 [side, side]. Colours, textures and background are left out.

    width: of lines, a share of the frame; that of `render` is 0.018.
    """
    canvas = side * _SUPERSAMPLING
    parts, seen = _seen(thing, view, canvas)
    image = Image.new('L', (canvas, canvas), 255)
    draw = ImageDraw.Draw(image)
    for part in parts:
        points = seen(part.outline)
        draw.polygon(points, fill=255)
        draw.line(points + points[:4], fill=0, width=max(round(width * canvas), 1), joint='curve')
    return np.asarray(image.reduce(_SUPERSAMPLING))


def _seen(
    thing: Object, view: View, canvas: int
) -> tuple[list[Part], Callable[[np.ndarray], list[float]]]:
    """The parts of an object, and where points of it are seen on a canvas of so many pixels."""
    parts = DRAWN[thing.kind].draw(*thing.proportions, thing.extra)
    frame = place(parts, view)

    def seen(outline: np.ndarray) -> list[float]:
        return _pixels(project(outline, view) * frame.scale + frame.shift, canvas)

    return parts, seen


def draw_scene(key: Sequence[int], view: int, kind: int) -> tuple[Object, View]:
    """Draws a view (0, 1, ...) of the object of class `kind` whose draws are seeded by `key`."""
    thing = draw_object(kind, np.random.default_rng([*key, 0]))
    return thing, draw_view(np.random.default_rng([*key, 1 + view]))
