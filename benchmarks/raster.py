"""Drawings per second, forward and backward, and the memory that takes.

    python -m benchmarks.raster                     5, 20 and 50 strokes; 32, 96 and 128 pixels
    python -m benchmarks.raster cubic               of curves

`draw` is set beside the plain formulation: the same distances, ink and soft-or of all strokes at
once, differentiated by JAX. Memory is what the compiled program needs for intermediate results.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from emcom_jax import raster
from emcom_jax.curves import KINDS, polyline
from emcom_jax.types import Array

BATCH, SIGMA2 = 16, 5e-4
STROKES, SIZES = (5, 20, 50), (32, 96, 128)
SECONDS = 3.0  # That a measurement lasts, or until each program has run once.


def plain(strokes: Array, size: int, kind: str) -> Array:
    """[B, L, P, 2] -> [B, H, W], as one would write it down."""
    vertices = polyline(strokes, kind)
    start, extent = vertices[:, :, :-1, None, None], jnp.diff(vertices, axis=2)[:, :, :, None, None]
    way = raster.grid(size, size)[None, None, None] - start  # [B, L, M - 1, H, W, 2]
    t = (way * extent).sum(-1) / ((extent * extent).sum(-1) + 1e-7)
    nearest = jnp.clip(t, 0, 1)[..., None] * extent
    distance2 = ((way - nearest) ** 2).sum(-1).min(2)
    return raster.soft_or(raster.exp_ink(distance2, SIGMA2))


Compiled = Callable[[Array], Any]


def compiled(
    draw: Callable[[Array], Array], strokes: Array, weight: Array
) -> tuple[Compiled, float]:
    """A drawing's gradient as a program, and the MiB that it needs."""
    loss = jax.value_and_grad(lambda strokes: (weight * draw(strokes)).sum())
    program = jax.jit(loss).lower(strokes).compile()
    return program, program.memory_analysis().temp_size_in_bytes / 2**20


def rates(programs: Sequence[Compiled], strokes: Array) -> list[float]:
    """Images per second of each. They take turns, and of each the fastest call counts: what else
    the machine does falls on all alike."""
    fastest = [math.inf] * len(programs)
    started = time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        for i, program in enumerate(programs):
            before = time.perf_counter()
            jax.block_until_ready(program(strokes))
            fastest[i] = min(fastest[i], time.perf_counter() - before)
    return [BATCH / seconds for seconds in fastest]


def main(kind: str = 'line') -> None:
    print(f'{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}')
    print(f'strokes of kind {kind!r}, batch {BATCH}, float32, forward and backward')
    print('                    images/s                 MiB')
    print('strokes  size    plain     ours  ratio    plain     ours')
    for size in SIZES:
        for num_strokes in STROKES:
            key = jax.random.key(num_strokes)
            shape = (BATCH, num_strokes, KINDS[kind].num_points, 2)
            strokes = jnp.tanh(jax.random.normal(key, shape))
            weight = jax.random.normal(key, (BATCH, size, size))

            def ours(strokes: Array, size: int = size) -> Array:
                return raster.draw(strokes, size, size, SIGMA2, kind)

            def theirs(strokes: Array, size: int = size) -> Array:
                return plain(strokes, size, kind)

            both = [compiled(draw, strokes, weight) for draw in (theirs, ours)]
            slow, fast = rates([program for program, _ in both], strokes)
            print(f'{num_strokes:7} {size:5} {slow:8.0f} {fast:8.0f} {fast / slow:6.1f}', end=' ')
            print(' '.join(f'{mebibytes:8.1f}' for _, mebibytes in both), flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:2])
