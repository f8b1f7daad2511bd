"""What a drawing is made of: parts with a name, a fill and an outline, and ways to make outlines.

Coordinates are (x, y) in a square of side 1 or so, y downwards; outlines [n, 2] are closed.
"""

from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """A part of a drawing; later parts lie above earlier ones.

    name: what a description calls it (singular), or '' for what it does not mention.
    fill: 'main' (the object's colour and texture), 'accent' (its second colour), 'dark', 'light'.
    outline: float64 [n, 2].
    """

    name: str
    fill: str
    outline: np.ndarray


def polygon(*points: tuple[float, float]) -> np.ndarray:
    """The polygon through `points`."""
    return np.array(points, float)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """An upright rectangle."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def arc(
    x: float, y: float, width: float, height: float, start: float = 0, stop: float = 360
) -> np.ndarray:
    """The ellipse of half axes `width` and `height` about (x, y), from `start` to `stop` degrees:
    0 points right, 90 down."""
    angles = np.deg2rad(np.linspace(start, stop, 24))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], -1)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """A full circle."""
    return arc(x, y, radius, radius)


def smooth(*points: tuple[float, float], closed: bool = True) -> np.ndarray:
    """A Catmull-Rom curve through `points`, 6 steps from each to the next."""
    knots = np.array(points, float)
    if closed:
        knots = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, 6, endpoint=False)[:, None]
    before, start, stop, after = (
        knots[i : len(knots) - 3 + i, None] for i in range(4)
    )  # Each [segments, 1, 2].
    curve = start + t / 2 * (
        stop
        - before
        + t * (2 * before - 5 * start + 4 * stop - after)
        + t**2 * (3 * (start - stop) + after - before)
    )
    ends = [] if closed else [knots[-2:-1]]
    return np.concatenate([curve.reshape(-1, 2), *ends])


def stroke(path: np.ndarray, start: float, stop: float | None = None) -> np.ndarray:
    """A line of a width along an open `path` [n, 2]: `start` at its start, `stop` at its end."""
    along = np.gradient(path, axis=0)
    across = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=-1, keepdims=True)
    width = np.linspace(start, start if stop is None else stop, len(path))[:, None] / 2
    return np.concatenate([path + width * across, (path - width * across)[::-1]])


def line(
    x0: float, y0: float, x1: float, y1: float, start: float, stop: float | None = None
) -> np.ndarray:
    """A straight `stroke`."""
    return stroke(polygon((x0, y0), (x1, y1)), start, stop)
