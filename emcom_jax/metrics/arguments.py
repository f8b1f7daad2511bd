"""What metrics take: arrays of the right rank, and messages with or without their end."""

import numpy as np

from emcom_jax.types import EvalRecord


def messages_of(
    messages: np.ndarray, lengths: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Messages, int [N, T], and how many symbols of each count, int [N] (all T if None)."""
    messages = np.asarray(messages)
    if messages.ndim != 2 or not np.issubdtype(messages.dtype, np.integer):
        raise ValueError(f'messages must be int [N, T], got {messages.dtype} {messages.shape}.')
    if lengths is None:
        lengths = np.full(len(messages), messages.shape[1])
    lengths = np.asarray(lengths)
    if lengths.shape != messages.shape[:1] or not np.issubdtype(lengths.dtype, np.integer):
        raise ValueError(
            f'lengths must be int [{len(messages)}], one a message, got {lengths.dtype} '
            f'{lengths.shape}.'
        )
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= messages.shape[1]:
        raise ValueError(
            f'lengths must lie between 0 and {messages.shape[1]}, the number of symbols that a '
            f'message has room for, got {lengths.min()} to {lengths.max()}.'
        )
    return messages, lengths


def attributes_of(attributes: np.ndarray, messages: np.ndarray) -> np.ndarray:
    """Attributes, [N, A], of the N > 0 meanings of `messages`, [N, T] with T > 0."""
    attributes = np.asarray(attributes)
    if attributes.ndim != 2 or len(attributes) != len(messages) or messages.size == 0:
        raise ValueError(
            f'attributes must be [N, A] with the N > 0 of messages, got {attributes.shape} and '
            f'{messages.shape}.'
        )
    return attributes


def aligned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of the same shape [N], N > 0."""
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(
            f'expected two arrays of the same shape [N] with N > 0, got {x.shape} and {y.shape}.'
        )
    return x, y


def spoken(record: EvalRecord) -> np.ndarray:
    """Which symbols were said, bool [S, N, T]: those up to the end of a message, included."""
    return np.arange(record.messages.shape[2]) < record.lengths[:, :, None]


def content_lengths(record: EvalRecord) -> np.ndarray:
    """Symbols of each message without the one that ends it, int [S, N].

    A message without it fills all T symbols, if it ends where nothing more fits.
    """
    if not record.variable_length:
        return record.lengths
    return record.lengths - ended(record.messages, record.lengths)


def ended(messages: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether the last symbol of each message is 0, of int [..., T] and int [...]; bool [...]."""
    last = np.take_along_axis(messages, np.maximum(lengths - 1, 0)[..., None], axis=-1)[..., 0]
    return (last == 0) & (lengths > 0)


def sample(num_examples: int, max_examples: int, seed: int) -> np.ndarray:
    """Which examples a metric looks at: all, or `max_examples` drawn without replacement."""
    if num_examples <= max_examples:
        return np.arange(num_examples)
    return np.random.default_rng(seed).choice(num_examples, max_examples, replace=False)
