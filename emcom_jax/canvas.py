"""All strokes on one canvas, one after the other, with memory for a few images on the way back."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emcom_jax.curves import negligible, polyline_distance2
from emcom_jax.types import Array

# 1 - ink, of d2 / sigma2: exact close to the stroke, where the ink itself rounds to 1.
BARE: dict[str, Callable[[Array], Array]] = {
    'exp': lambda x: -jnp.expm1(-x),
    'sigmoid': lambda x: jnp.tanh(x / 2),
    'hard': lambda x: (x > 1).astype(x.dtype),
}


class Strokes(NamedTuple):
    """What is drawn, L strokes first.

    vertices: [L, B, M, 2], of polylines.
    sigma2: [L, B].
    gates: [L, B] in [0, 1], factors of the ink.
    colours: [L, B, K]; read by 'over' only.
    """

    vertices: Array
    sigma2: Array
    gates: Array
    colours: Array


class Style(NamedTuple):
    """How it is drawn: height and width of the canvas, keys of `BARE` and of `COMPOSITIONS`."""

    height: int
    width: int
    ink: str
    composition: str


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def paint(style: Style, strokes: Strokes) -> Array:
    """The canvas [B, H, W], or [B, H, W, K] of 'over'. Differentiable in all of `strokes`.

    On the way back each stroke is drawn again, the last one first, from what its composition
    remembers: memory does not grow with the number of strokes or segments, but for the gradient.
    """
    return _push_paint(style, strokes)[0]


def _push_paint(style: Style, strokes: Strokes) -> tuple[Array, tuple[Strokes, Any]]:
    composition = COMPOSITIONS[style.composition]
    batch, channels = strokes.colours.shape[1:]
    blank = jnp.ones((batch, style.height, style.width), strokes.vertices.dtype)

    def put(memory: Any, stroke: tuple[Array, Strokes]) -> tuple[Any, None]:
        number, (vertices, sigma2, gate, colour) = stroke
        bare = _bare(style, vertices, sigma2, gate)
        return composition.put(memory, number, bare, colour), None

    start = composition.start(blank, channels)
    memory, _ = jax.lax.scan(put, start, (_numbers(strokes), strokes))
    return composition.canvas(memory), (strokes, memory)


def _pull_paint(style: Style, residuals: tuple[Strokes, Any], cotangent: Array) -> tuple[Strokes]:
    composition = COMPOSITIONS[style.composition]
    strokes, memory = residuals

    def take(back: Any, stroke: tuple[Array, Strokes]) -> tuple[Any, Strokes]:
        number, (vertices, sigma2, gate, colour) = stroke
        bare, pull = jax.vjp(partial(_bare, style), vertices, sigma2, gate)
        back, of_bare, of_colour = composition.take(back, number, bare, colour)
        of_vertices, of_sigma2, of_gate = pull(of_bare)
        return back, Strokes(of_vertices, of_sigma2, of_gate, of_colour)

    back = composition.turn(memory, cotangent)
    _, gradient = jax.lax.scan(take, back, (_numbers(strokes), strokes), reverse=True)
    return (gradient,)


paint.defvjp(_push_paint, _pull_paint)


def _numbers(strokes: Strokes) -> Array:
    return jnp.arange(len(strokes.gates), dtype=jnp.int32)


def _bare(style: Style, vertices: Array, sigma2: Array, gate: Array) -> Array:
    """How much of what lies behind a stroke still shows, 1 - gate * ink, [B, H, W]; [B, M, 2], [B]
    and [B]."""
    rows = jnp.linspace(-1, 1, style.height, dtype=vertices.dtype)[None, :, None]
    columns = jnp.linspace(-1, 1, style.width, dtype=vertices.dtype)[None, None]
    d2 = polyline_distance2(vertices, rows, columns)
    # As products with ones, whose gradients are too: see `sum_pixels`.
    spread = partial(jnp.einsum, 'hw,b->bhw', jnp.ones_like(d2[0]), precision='highest')
    sigma2, gate = spread(sigma2), spread(gate)
    return (1 - gate) + gate * BARE[style.ink](d2 / sigma2)


# --- compositions ---------------------------------------------------------------------------------


class _Composition(NamedTuple):
    """How strokes become a canvas one by one, with little to remember for the way back.

    `bare` [B, H, W] is how much of what lies behind a stroke still shows, 1 - gate * ink.

    start: (blank [B, H, W] of ones, K) -> the memory before the first stroke.
    put: (memory, number, bare, colour [B, K]) -> the memory after this stroke.
    canvas: memory -> canvas.
    turn: (last memory, canvas's cotangent) -> what the way back remembers.
    take: (memory of the way back, number, bare, colour) -> (that memory, cotangent of `bare`,
        cotangent of `colour`), called for the last stroke first.
    """

    start: Callable[..., Any]
    put: Callable[..., Any]
    canvas: Callable[..., Array]
    turn: Callable[..., Any]
    take: Callable[..., tuple[Any, Array, Array]]


def _no_less(bare: Array) -> Array:
    """Never 0, so that a factor can be divided out of a product again. Where one factor is 0, this
    gives the product of the others; where two are, at most the floor, for 0."""
    return jnp.maximum(bare, negligible(bare))


_SOFT_OR = _Composition(
    start=lambda blank, _: blank,
    put=lambda product, _, bare, __: product * _no_less(bare),
    canvas=lambda product: 1 - product,
    turn=lambda product, cotangent: -cotangent * product,
    take=lambda back, _, bare, colour: (back, back / _no_less(bare), jnp.zeros_like(colour)),
)


def _put_max(memory: tuple[Array, Array], number: Array, bare: Array, _: Array) -> Any:
    least, which = memory
    return jnp.minimum(bare, least), jnp.where(bare < least, number, which)


_MAX = _Composition(
    start=lambda blank, _: (blank, jnp.full(blank.shape, -1, jnp.int32)),
    put=_put_max,
    canvas=lambda memory: 1 - memory[0],
    turn=lambda memory, cotangent: (memory[1], -cotangent),
    take=lambda back, number, bare, colour: (
        back,
        jnp.where(back[0] == number, back[1], 0),
        jnp.zeros_like(colour),
    ),
)


def _put_over(memory: tuple[Array, ...], number: Array, bare: Array, colour: Array) -> Any:
    """The memory is the canvas so far; how many strokes light has passed; how much of it passed.
    A stroke that lets no light pass stops the count: nothing behind it is seen."""
    canvas, passed, light = memory
    seen = jnp.where(passed == number, light, 0)
    canvas = canvas + (seen * (1 - bare))[..., None] * colour[:, None, None]
    through = (passed == number) & (light * bare > negligible(bare))
    return canvas, passed + through.astype(passed.dtype), jnp.where(through, light * bare, light)


def _take_over(memory: tuple[Array, ...], number: Array, bare: Array, colour: Array) -> Any:
    """The memory of the way back is what is seen behind this stroke (it alone, in full light)."""
    behind, passed, light, cotangent = memory
    light = jnp.where(number < passed, light / _no_less(bare), light)  # That falls on this stroke.
    seen = jnp.where(number <= passed, light, 0)
    alpha, colour = 1 - bare, colour[:, None, None]
    of_bare = seen * jnp.sum(cotangent * (behind - colour), axis=-1)
    of_colour = jnp.einsum('bhw,bhwk->bk', seen * alpha, cotangent, precision='highest')
    behind = alpha[..., None] * colour + bare[..., None] * behind
    return (behind, passed, light, cotangent), of_bare, of_colour


_OVER = _Composition(
    start=lambda blank, channels: (
        jnp.zeros((*blank.shape, channels), blank.dtype),
        jnp.zeros(blank.shape, jnp.int32),
        blank,
    ),
    put=_put_over,
    canvas=lambda memory: memory[0],
    turn=lambda memory, cotangent: (jnp.zeros_like(cotangent), *memory[1:], cotangent),
    take=_take_over,
)

COMPOSITIONS = {'soft_or': _SOFT_OR, 'max': _MAX, 'over': _OVER}
