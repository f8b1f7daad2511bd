"""Strokes as polylines, cut from Bernstein and Catmull-Rom curves, and the distance to them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from emcom_jax.tables import look_up
from emcom_jax.types import Array


def quadratic_bezier(params: Array, t: Array) -> Array:
    """`(1-t)^2 p_0 + 2 t (1-t) p_1 + t^2 p_2`, [..., 3, 2] and [T] in [0, 1] -> [..., T, 2]."""
    chex.assert_axis_dimension(params, -2, 3)
    s = 1 - t
    weights = jnp.stack([s * s, 2 * s * t, t * t])
    return jnp.einsum('pt,...pd->...td', weights, params, precision='highest')


def cubic_bezier(params: Array, t: Array) -> Array:
    """`(1-t)^3 p_0 + 3 t (1-t)^2 p_1 + 3 t^2 (1-t) p_2 + t^3 p_3`, [..., 4, 2] and [T] in [0, 1]
    -> [..., T, 2]."""
    chex.assert_axis_dimension(params, -2, 4)
    s = 1 - t
    weights = jnp.stack([s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t])
    return jnp.einsum('pt,...pd->...td', weights, params, precision='highest')


def catmull_rom(params: Array, t: Array, alpha: float = 0.5) -> Array:
    """The piece between the middle two of four points that a Catmull-Rom spline passes through.

    The pyramid of Barry and Goldman (1988), with knots `|p_j - p_j+1|^alpha` apart (Yuksel et al.
    2011). An outer point that lies on its neighbour has no say (the limit for alpha < 1); where the
    middle two coincide, so does the piece. There the gradient of the knots, which may be infinite,
    is taken to be 0.

    Args:
      params: [..., 4, 2].
      t: [T], 0 at the second point and 1 at the third.
      alpha: 0 uniform, 0.5 centripetal, 1 chordal.

    Returns:
      [..., T, 2].
    """
    chex.assert_axis_dimension(params, -2, 4)
    chord = jnp.diff(params, axis=-2)
    length2 = jnp.sum(chord * chord, axis=-1)
    apart = length2 > negligible(length2)
    # 0 ** 0 is 1: the knots of the uniform spline are 1 apart, also where points coincide.
    knots = jnp.where(apart, jnp.where(apart, length2, 1) ** (alpha / 2), 0.0**alpha)[..., None]
    velocity = jnp.where(apart[..., None], chord / jnp.where(knots > 0, knots, 1), 0)
    before, during, after = (knots[..., i, None, :] for i in range(3))  # [..., 1, 1]
    second, third = params[..., 1, None, :], params[..., 2, None, :]  # [..., 1, 2]

    t = t.reshape((1,) * (params.ndim - 2) + (-1, 1))
    since = t * during  # The second point, and 0 if none: knots are counted from there.
    first_line = second + since * velocity[..., 0, None, :]
    second_line = second + since * velocity[..., 1, None, :]
    third_line = third + (since - during) * velocity[..., 2, None, :]
    first_arc = _between(first_line, second_line, since + before, during + before)
    second_arc = _between(second_line, third_line, since, during + after)
    return first_arc + t * (second_arc - first_arc)


class Kind(NamedTuple):
    """A kind of stroke. num_points: of control; curve: of (params, t, alpha), None if straight."""

    num_points: int
    curve: Callable[[Array, Array, float], Array] | None


KINDS = {
    'point': Kind(1, None),
    'line': Kind(2, None),
    'quadratic': Kind(3, lambda params, t, alpha: quadratic_bezier(params, t)),
    'cubic': Kind(4, lambda params, t, alpha: cubic_bezier(params, t)),
    'catmull_rom': Kind(4, catmull_rom),
}


def polyline(params: Array, kind: str, segments: int = 10, alpha: float = 0.5) -> Array:
    """The points that straight segments join to make a stroke.

    Args:
      params: [B, L, P, 2], P control points: 1 of 'point', 2 of 'line' (start, end), 3 of
        'quadratic', 4 of 'cubic' and of 'catmull_rom'.
      kind: a key of `KINDS`.
      segments: into how many a curve is cut, at equal steps of its parameter.
      alpha: of `catmull_rom`.

    Returns:
      [B, L, M, 2]; M is segments + 1 for curves, and 2 for points (twice the same) and lines.

    Raises:
      ValueError: for an unknown kind, another number of control points, or no segments.
    """
    num_points, curve = look_up(KINDS, kind, 'kind of stroke')
    chex.assert_shape(params, (None, None, None, 2))
    if params.shape[2] != num_points:
        raise ValueError(
            f'a stroke of kind {kind!r} has {num_points} control points, not {params.shape[2]}: '
            f'its parameters are [B, L, {num_points}, 2]'
        )
    if curve is None:
        return jnp.broadcast_to(params, (*params.shape[:2], 2, 2))
    if segments < 1:
        raise ValueError(f'segments={segments} must be at least 1')
    return curve(params, jnp.linspace(0, 1, segments + 1, dtype=params.dtype), alpha)


def _between(start: Array, end: Array, passed: Array, whole: Array) -> Array:
    """The point after `passed` of `whole`; at the start if the whole is 0."""
    share = jnp.where(whole > 0, passed / jnp.where(whole > 0, whole, 1), 0)
    return start + share * (end - start)


# --- distance -------------------------------------------------------------------------------------


@jax.custom_vjp
def polyline_distance2(vertices: Array, rows: Array, columns: Array) -> Array:
    """Squared distance to one polyline of each example.

    Its gradient takes the nearest point for fixed on its segment (the envelope theorem: moving it
    along does not change the distance), and needs memory for a few images only, however many the
    segments.

    Args:
      vertices: [B, M, 2].
      rows, columns: [1, H, W] or, as constant along an axis, [1, H, 1] and [1, 1, W]; constants.

    Returns:
      [B, H, W].
    """
    return _nearest(vertices, rows, columns)[0]


def _nearest(vertices: Array, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Squared distance [B, H, W], and which segment is nearest, int32 (the first of equals)."""

    def distance2(start: Array, end: Array) -> Array:
        y, x, _ = _from_segment(start, end, rows, columns)
        return y * y + x * x

    def nearer(best: tuple[Array, Array], segment: tuple[Array, ...]) -> Any:
        index, start, end = segment
        d2 = distance2(start, end)
        return (jnp.minimum(d2, best[0]), jnp.where(d2 < best[0], index, best[1])), None

    index, starts, ends = _segments(vertices)
    first = distance2(starts[0], ends[0])
    rest = (index[1:], starts[1:], ends[1:])
    return jax.lax.scan(nearer, (first, jnp.zeros(first.shape, jnp.int32)), rest)[0]


def _pull_distance2(residuals: tuple[Array, ...], cotangent: Array) -> tuple[Array, ...]:
    vertices, rows, columns, nearest = residuals

    def pull(_: None, segment: tuple[Array, ...]) -> Any:
        index, start, end = segment
        y, x, t = _from_segment(start, end, rows, columns)
        weight = jnp.where(nearest == index, -2 * cotangent, 0)
        both = jnp.stack([sum_pixels(weight * z) for z in (y, x)], -1)
        of_end = jnp.stack([sum_pixels(weight * t * z) for z in (y, x)], -1)
        return None, (both - of_end, of_end)

    _, (starts, ends) = jax.lax.scan(pull, None, _segments(vertices))
    zeros = jnp.zeros_like(starts[:1])
    total = jnp.concatenate([starts, zeros]) + jnp.concatenate([zeros, ends])
    return jnp.swapaxes(total, 0, 1), jnp.zeros_like(rows), jnp.zeros_like(columns)


def _push_distance2(*inputs: Array) -> tuple[Array, tuple[Array, ...]]:
    d2, nearest = _nearest(*inputs)
    return d2, (*inputs, nearest)


polyline_distance2.defvjp(_push_distance2, _pull_distance2)


def _segments(vertices: Array) -> tuple[Array, Array, Array]:
    """Number, start and end of each segment: [M - 1], [M - 1, B, 2], [M - 1, B, 2]."""
    vertices = jnp.swapaxes(vertices, 0, 1)
    return jnp.arange(len(vertices) - 1, dtype=jnp.int32), vertices[:-1], vertices[1:]


def _from_segment(
    start: Array, end: Array, rows: Array, columns: Array
) -> tuple[Array, Array, Array]:
    """The way to each pixel from the nearest point of a segment [B, 2], as rows and columns, and
    where on the segment that point lies (0 start, 1 end); all [B, H, W]."""
    (y0, x0), (y1, x1) = (p.T[..., None, None] for p in (start, end - start))
    length2 = y1 * y1 + x1 * x1
    extended = length2 > negligible(length2)  # Else a point, which is its start.
    inverse = jnp.where(extended, 1 / jnp.where(extended, length2, 1), 0)
    y, x = rows - y0, columns - x0
    t = jnp.clip(y * (y1 * inverse) + x * (x1 * inverse), 0, 1)
    return y - t * y1, x - t * x1, t


def sum_pixels(image: Array) -> Array:
    """[B, H, W] -> [B]. As a product with ones: on CPUs XLA's sum is far slower. Products are
    asked for in full precision, which accelerators do not give by themselves."""
    ones = jnp.ones(image.shape[-1], image.dtype)
    return jnp.sum(jnp.matmul(image, ones, precision='highest'), axis=-1)


def negligible(x: Array) -> float:
    """A positive number of which x's type still holds the square: what is below counts as 0."""
    return float(jnp.finfo(x.dtype).tiny) ** 0.5
