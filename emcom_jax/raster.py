"""Strokes to pictures: squared distance -> ink -> canvas, each differentiable (Mihai and Hare
2021, Differentiable drawing and sketching, sections 3 and 4).

A point is (row, column); the canvas is the square from (-1, -1), the centre of its first pixel, to
(1, 1), that of its last. Distances, and sigma2 with them, are in those units, not in pixels.

`draw` goes from strokes to a canvas one stroke at a time and keeps a few images, however many the
strokes. The functions that it stands for (`curve_distance2`, `exp_ink`, `soft_or` ...) hold all L
of them in memory, and are there for other uses and orders.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from emcom_jax.canvas import BARE, COMPOSITIONS, Strokes, Style, paint
from emcom_jax.curves import polyline, polyline_distance2
from emcom_jax.tables import look_up
from emcom_jax.types import Array

# --- squared distance -----------------------------------------------------------------------------


def grid(height: int, width: int) -> Array:
    """The centres of pixels, [H, W, 2], (row, column) in [-1, 1], both ends included."""
    rows, columns = jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width)
    return jnp.stack(jnp.meshgrid(rows, columns, indexing='ij'), axis=-1)


def point_distance2(points: Array, grid: Array) -> Array:
    """Squared distance to points, [B, L, 2] and a constant grid [H, W, 2] -> [B, L, H, W]."""
    chex.assert_shape(points, (None, None, 2))
    return _distance2(polyline(points[:, :, None], 'point'), grid)


def line_distance2(lines: Array, grid: Array) -> Array:
    """Squared distance to the nearest point of each segment, [B, L, 2, 2] (start, end) and a
    constant grid [H, W, 2] -> [B, L, H, W]."""
    return _distance2(polyline(lines, 'line'), grid)


def curve_distance2(
    params: Array, grid: Array, kind: str, segments: int = 10, alpha: float = 0.5
) -> Array:
    """Squared distance to curves, to the nearest of the segments that a curve is cut into.

    Args:
      params: [B, L, P, 2], control points; see `curves.polyline`.
      grid: [H, W, 2], a constant.
      kind: 'quadratic' (P = 3), 'cubic' (4) or 'catmull_rom' (4).
      segments, alpha: see `curves.polyline`.

    Returns:
      [B, L, H, W].

    Raises:
      ValueError: for an unknown kind, another number of control points, or no segments.
    """
    return _distance2(polyline(params, kind, segments, alpha), grid)


def _distance2(vertices: Array, grid: Array) -> Array:
    chex.assert_shape(grid, (None, None, 2))
    rows, columns = jax.lax.stop_gradient(grid[None, :, :, 0]), grid[None, :, :, 1]
    per_stroke = jax.vmap(polyline_distance2, (1, None, None), 1)
    return per_stroke(vertices, rows, jax.lax.stop_gradient(columns))


# --- ink ------------------------------------------------------------------------------------------


def exp_ink(distance2: Array, sigma2: Array | float) -> Array:
    """`exp(-d2 / sigma2)`, 1 on the stroke; shapes that broadcast."""
    return jnp.exp(-distance2 / sigma2)


def sigmoid_ink(distance2: Array, sigma2: Array | float) -> Array:
    """`2 sigmoid(-d2 / sigma2)`, 1 on the stroke; shapes that broadcast."""
    return 2 * jax.nn.sigmoid(-distance2 / sigma2)


def hard_ink(distance2: Array, sigma2: Array | float) -> Array:
    """1 where `d2 <= sigma2` and else 0; no gradient."""
    return (distance2 <= sigma2).astype(distance2.dtype)


# --- composition ----------------------------------------------------------------------------------


def soft_or(ink: Array, axis: int = 1) -> Array:
    """`1 - prod(1 - ink)` along an axis, ink in [0, 1]."""
    return 1 - jnp.prod(1 - ink, axis=axis)


def over(alpha: Array, colours: Array) -> Array:
    """Strokes upon each other, the first in front (Porter and Duff 1984).

    Args:
      alpha: [B, L, H, W] in [0, 1], how much each stroke hides what lies behind it.
      colours: [B, L, K], the colour of each stroke in K channels.

    Returns:
      [B, H, W, K], `sum over l of c_l alpha_l prod over k < l of (1 - alpha_k)`: colours on black.
      What lies behind all strokes shows by as much as `soft_or(alpha)` lacks to 1.
    """
    chex.assert_rank([alpha, colours], [4, 3])
    bare = jnp.cumprod(1 - alpha, axis=1)
    seen = jnp.concatenate([jnp.ones_like(bare[:, :1]), bare[:, :-1]], axis=1)
    return jnp.einsum('blhw,blk->bhwk', alpha * seen, colours, precision='highest')


# --- drawing --------------------------------------------------------------------------------------


def draw_lines(lines: Array, height: int, width: int, sigma2: Array | float) -> Array:
    """Straight strokes on a canvas, `soft_or(exp_ink(line_distance2(lines, grid), sigma2))`.

    Args:
      lines: [B, L, 2, 2], (start, end) of (row, column).
      height, width: H, W, in pixels.
      sigma2: scalar or [B, L], above 0, in squared canvas units.

    Returns:
      [B, H, W] in [0, 1], 1 = ink. Differentiable in `lines` and `sigma2`.
    """
    return draw(lines, height, width, sigma2)


def draw(
    strokes: Array,
    height: int,
    width: int,
    sigma2: Array | float,
    kind: str = 'line',
    *,
    gates: Array | None = None,
    colours: Array | None = None,
    background: Sequence[float] | Array = (1.0, 1.0, 1.0),
    ink: str = 'exp',
    composition: str = 'soft_or',
    segments: int = 10,
    alpha: float = 0.5,
) -> Array:
    """Strokes on a canvas, in memory O(B H W), however many the strokes.

    Differentiable (in reverse, once) in all arrays; the gradient is finite and exact also where
    strokes meet the centre of a pixel. A stroke of no length is a point, and pulls at its start.

    Args:
      strokes: [B, L, P, 2], control points (row, column); see `curves.polyline`.
      height, width: H, W, in pixels.
      sigma2: scalar or [B, L], above 0, in squared canvas units: the width of strokes.
      kind: 'point', 'line', 'quadratic', 'cubic' or 'catmull_rom'.
      gates: [B, L] in [0, 1], factors of the ink (0: not drawn); None is 1.
      colours: [B, L, 3], of strokes; needed by 'over' and by nothing else.
      background: [3], what 'over' shows where there is no ink.
      ink: 'exp', 'sigmoid' or 'hard'; see `exp_ink` and its like.
      composition: 'soft_or'; 'max', which gives the gradient to the first of equals; or 'over',
        which has the first stroke in front.
      segments, alpha: of curves; see `curves.polyline`.

    Returns:
      [B, H, W] in [0, 1], 1 = ink; with 'over' the picture [B, H, W, 3].

    Raises:
      ValueError: for an unknown kind, ink or composition, another number of control points, no
        segments, or colours with anything but 'over'.
    """
    look_up(BARE, ink, 'ink')
    look_up(COMPOSITIONS, composition, 'composition')
    if (composition == 'over') != (colours is not None):
        raise ValueError(
            f"colours go with composition='over' and it with them, not with {composition!r}"
            if colours is not None
            else "composition='over' needs colours, [B, L, 3]"
        )
    vertices = polyline(strokes, kind, segments, alpha)
    shape, dtype = strokes.shape[:2], strokes.dtype
    gates = jnp.ones(shape, dtype) if gates is None else gates
    sigma2 = jnp.asarray(sigma2, dtype)
    sigma2 = jnp.broadcast_to(sigma2, shape) if sigma2.ndim == 0 else sigma2
    chex.assert_shape([gates, sigma2], shape)
    # How much ink there is counts as one more channel.
    channels = jnp.ones((*shape, 1), dtype)
    if colours is not None:
        chex.assert_shape(colours, (*shape, 3))
        channels = jnp.concatenate([colours, channels], axis=-1)
    arrays = Strokes(*(jnp.swapaxes(x, 0, 1) for x in (vertices, sigma2, gates, channels)))
    canvas = paint(Style(height, width, ink, composition), arrays)
    if colours is None:
        return canvas
    return (
        canvas[..., :3] + (1 - canvas[..., 3:]) * jnp.asarray(background, dtype)[None, None, None]
    )
