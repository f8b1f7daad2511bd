"""Random draws that do not depend on how a batch is split over devices, each in O(1)."""

from typing import Any

import jax
import jax.numpy as jnp

from emcom_jax.types import Array, Key

_ROUNDS = 6  # Of the Feistel network.
_SMALL = 64  # Sizes of which a Feistel network reaches too few of the permutations.


def example_keys(key: Key, index: Array) -> Key:
    """Returns one key for each example, [B], folded from its position in the global batch."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def games_of(size: int, count: int) -> Array:
    """Divides range(size) into games of `count` candidates that follow each other: of each example
    its game, int32 [size, count], itself first and the others as they follow, around. The last game
    is filled up with the first examples."""
    row = jnp.arange(size)[:, None]
    first = row // count * count
    return (first + (row - first + jnp.arange(count)[None]) % count) % size


def permuted(key: Key, position: Array, size: int) -> Array:
    """Returns elements of a random permutation of `range(size)` without making the permutation.

    A Feistel network over the grid a x b >= size, with cycle walking: an element outside the range
    is permuted again until it falls inside. Cost and memory are those of `position`, where
    `jax.random.permutation` needs O(size log size).

    Args:
      key: one key; the same key is the same permutation.
      position: int32 of any shape, in [0, size).
      size: number of elements, at most 2**30.

    Returns:
      int32 like `position`; distinct positions give distinct elements.
    """
    if size <= _SMALL:
        return jax.random.permutation(key, size)[position]
    return _walked(key, position, size, max(1, int(size**0.5)))


def permuted_in(key: Key, position: Array, size: Array) -> Array:
    """As `permuted`, of ranges whose sizes are known only where this runs, each with its key.

    The permutations of a small range do not all occur.

    Args:
      key: [B]; the same key and size are the same permutation.
      position, size: int32 [B], 0 <= position < size < 2**24.

    Returns:
      int32 [B].
    """
    side = jnp.sqrt(size.astype(jnp.float32)).astype(jnp.int32)
    return jax.vmap(_walked)(key, position, size, side)


def _walked(key: Key, position: Array, size: Any, a: Any) -> Array:
    """A Feistel network over the grid of a rows, about the root of the size, and as many columns as
    it takes."""
    b = -(-size // a)
    rows, columns = (jnp.asarray(x).astype(jnp.uint32) for x in (a, b))
    rounds = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def permute_grid(x: Array) -> Array:
        left, right = x // b, x % b
        for i in range(_ROUNDS):
            if i % 2 == 0:
                left = (left + (_mix(right, rounds[i]) % rows).astype(jnp.int32)) % a
            else:
                right = (right + (_mix(left, rounds[i]) % columns).astype(jnp.int32)) % b
        return left * b + right

    def outside(x: Array) -> Array:
        return jnp.any(x >= size)

    def walk(x: Array) -> Array:
        return jnp.where(x >= size, permute_grid(x), x)

    return jax.lax.while_loop(outside, walk, permute_grid(position))


def _mix(x: Array, salt: Array) -> Array:
    """A 32-bit integer hash (the finaliser of MurmurHash3, public domain) of x and a salt."""
    h = x.astype(jnp.uint32) * jnp.uint32(0x9E3779B9) ^ salt
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
