"""What can pass from a speaker to a listener: how a symbol comes out of logits, and what of it
arrives.

Sampled symbols and their relaxations share one noise: Gumbel noise g makes `argmax(logits + g)` an
exact sample, and `softmax((logits + g) / temperature)` its relaxation, which tends to that sample
as the temperature tends to 0.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import draws
from emcom_jax.types import Array, Key, Message

END = 0  # The symbol that ends a message of variable length.

# Of one symbol, and of the bits of a turn: kind -> whether the listener's gradient passes.
DIFFERENTIABLE = {'categorical': False, 'gumbel': True, 'gumbel_st': True, 'continuous': True}
BITS = {'bernoulli': False, 'relaxed_bernoulli': True, 'bernoulli_st': True, 'continuous': True}


def gumbel_noise(key: Key, index: Array, length: int, vocab_size: int) -> Array:
    """Returns standard Gumbel noise [B, T, V] float32, drawn for each example from its own key."""
    keys = draws.example_keys(key, index)
    return jax.vmap(lambda k: jax.random.gumbel(k, (length, vocab_size)))(keys)


def choose(logits: Array) -> Array:
    """Returns the likeliest symbol, int32; with Gumbel noise added to the logits, a sample."""
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def relax(kind: str, logits: Array, noise: Array, temperature: Array | float) -> Array:
    """Returns the vectors [..., V] by which a differentiable channel transmits symbols.

    gumbel: Gumbel-softmax weights (Jang et al. 2017; Maddison et al. 2017).
    gumbel_st: the same, one-hot in the forward pass (straight-through).
    continuous: tanh of the logits, without noise; a control, not a language.
    """
    if kind == 'continuous':
        return jnp.tanh(logits)
    weights = jax.nn.softmax((logits + noise) / temperature)
    if kind == 'gumbel':
        return weights
    hard = jax.nn.one_hot(choose(weights), logits.shape[-1], dtype=weights.dtype)
    return hard + (weights - jax.lax.stop_gradient(weights))


def temperature_at(channel: ConfigDict, step: Array, steps: int) -> Array | float:
    """The temperature of a channel (its group of the config) after `step` of `steps` steps of
    training; one that is learned is the speaker's."""
    if channel.temperature_mode != 'scheduled':
        return channel.temperature
    return by_factors(channel.temperature, channel.temperature_end, step, steps)


def by_factors(first: float, last: float, step: Array, steps: int) -> Array:
    """From `first` to `last` in so many steps, by the same factor in each."""
    return first * (last / first) ** jnp.clip(step / steps, 0.0, 1.0)


def logistic_noise(key: Key, index: Array, shape: tuple[int, ...]) -> Array:
    """Returns standard logistic noise [B, *shape] float32, drawn for each example from its own key.

    Of bits it is what Gumbel noise is of symbols: `logits + noise > 0` is an exact sample."""
    keys = draws.example_keys(key, index)
    return jax.vmap(lambda k: jax.random.logistic(k, shape))(keys)


def choose_bits(logits: Array) -> Array:
    """Returns the likelier value of each bit, 0.0 or 1.0 (0.0 where both are alike); with logistic
    noise added to the logits, a sample."""
    return (logits > 0).astype(jnp.float32)


def transmit_bits(kind: str, logits: Array, noise: Array, temperature: Array | float) -> Array:
    """Returns the bits, or what stands for them, that a channel of `BITS` transmits in training.

    bernoulli: samples, through which no gradient passes.
    relaxed_bernoulli: in (0, 1), binary concrete (Maddison et al. 2017, appendix B).
    bernoulli_st: the same, 0 or 1 in the forward pass (straight-through).
    continuous: the probabilities, without noise; a control, not a language.
    """
    if kind == 'continuous':
        return jax.nn.sigmoid(logits)
    hard = choose_bits(logits + noise)
    if kind == 'bernoulli':
        return hard
    soft = jax.nn.sigmoid((logits + noise) / temperature)
    if kind == 'relaxed_bernoulli':
        return soft
    return hard + (soft - jax.lax.stop_gradient(soft))


def flip_bits(bits: Array, hit: Array) -> Array:
    """Returns bits with 1 - b for b where hit, bool of the same shape."""
    return jnp.where(hit, 1.0 - bits, bits)


def make_message(symbols: Array, relaxed: Array | None, variable_length: bool) -> Message:
    """Bounds a message: everything after its end symbol is masked.

    Args:
      symbols: int32 [B, T].
      relaxed: [B, T, V] float32 or None.
      variable_length: whether symbol `END` ends a message. A message without it ends at T.
    """
    batch, length = symbols.shape
    last = jnp.broadcast_to(jnp.arange(length) == length - 1, (batch, length))
    if not variable_length:
        ones = jnp.ones((batch, length), jnp.float32)
        return Message(symbols, relaxed, ones, last.astype(jnp.float32))
    # The hard mask bounds what is counted; the weights of the end carry a gradient if relaxed.
    mask = _alive((symbols == END).astype(jnp.float32))
    stops = (symbols == END).astype(jnp.float32) if relaxed is None else relaxed[..., END]
    end = _alive(stops) * jnp.where(last, 1.0, stops)
    return Message(symbols * mask.astype(jnp.int32), relaxed, mask, end)


def _alive(stops: Array) -> Array:
    """Returns the probability [B, T] that no end came before, given those [B, T] of ending."""
    before = jnp.pad(1.0 - stops[:, :-1], ((0, 0), (1, 0)), constant_values=1.0)
    return jnp.cumprod(before, axis=1)


def message_length(message: Message) -> Array:
    """Returns the (expected) number of symbols [B], the end symbol included; differentiable through
    `end` on a relaxed channel of variable length."""
    positions = jnp.arange(1, message.end.shape[1] + 1, dtype=jnp.float32)
    return message.end @ positions


def corrupt(
    key: Key, index: Array, message: Message, vocab_size: int, rate: float, variable_length: bool
) -> Message:
    """Replaces each symbol, at `rate`, by another one drawn uniformly.

    With variable length the end neither moves nor is made: only content symbols are replaced, and
    only by content symbols. A replaced symbol carries no gradient.
    """
    if rate == 0.0:
        return message
    first = END + 1 if variable_length else 0  # Of the symbols that may be replaced.
    count = vocab_size - first

    def draw(k: Key) -> tuple[Array, Array]:
        hit_key, shift_key = jax.random.split(k)
        shape = message.symbols.shape[1:]
        hit = jax.random.bernoulli(hit_key, rate, shape)
        return hit, jax.random.randint(shift_key, shape, 1, count)

    hit, shift = jax.vmap(draw)(draws.example_keys(key, index))
    return _replaced(message, hit, shift, vocab_size, first)


def replace(
    key: Key, index: Array, message: Message, vocab_size: int, place: Array, variable_length: bool
) -> Message:
    """Replaces the symbol at one place, int32 [], by another one drawn uniformly (`corrupt` at rate
    1, there alone). A message without content there stays as it is, so lengths stay."""
    first = END + 1 if variable_length else 0
    shift = jax.vmap(lambda k: jax.random.randint(k, (), 1, vocab_size - first))(
        draws.example_keys(key, index)
    )
    length = message.symbols.shape[1]
    hit = jnp.broadcast_to(jnp.arange(length) == place, message.symbols.shape)
    return _replaced(message, hit, jnp.repeat(shift[:, None], length, 1), vocab_size, first)


def _replaced(message: Message, hit: Array, shift: Array, vocab_size: int, first: int) -> Message:
    """Replaces symbols where hit, bool [B, T], each by the one that follows it by a shift, int32
    [B, T] from 1 up, in the circle of symbols from `first` up; those below stay."""
    hit &= message.symbols >= first  # After the end all symbols are `END`, so none is hit.
    other = first + (message.symbols - first + shift) % (vocab_size - first)
    symbols = jnp.where(hit, other, message.symbols)
    if message.relaxed is None:
        return message._replace(symbols=symbols)
    vectors = jax.nn.one_hot(other, vocab_size, dtype=message.relaxed.dtype)
    relaxed = jnp.where(hit[..., None], vectors, message.relaxed)
    return message._replace(symbols=symbols, relaxed=relaxed)


def swap(key: Key, index: Array, message: Message, variable_length: bool) -> Message:
    """Exchanges what stands at two places, drawn for each message from those with content. A
    message with fewer than two stays as it is; the end does not move."""
    batch, length = message.symbols.shape
    content = message.mask > 0
    if variable_length:
        content &= message.symbols != END
    drawn = jax.vmap(lambda k: jax.random.uniform(k, (length,)))(draws.example_keys(key, index))
    places = jnp.argsort(jnp.where(content, drawn, 2.0), axis=1)  # Those with content come first.
    one, other = places[:, :1], places[:, 1:2]
    order = jnp.broadcast_to(jnp.arange(length), (batch, length))
    exchanged = jnp.where(order == one, other, jnp.where(order == other, one, order))
    order = jnp.where(content.sum(axis=1, keepdims=True) > 1, exchanged, order)
    relaxed = message.relaxed
    if relaxed is not None:
        relaxed = jnp.take_along_axis(relaxed, order[..., None], axis=1)
    return message._replace(
        symbols=jnp.take_along_axis(message.symbols, order, axis=1), relaxed=relaxed
    )


def silence(message: Message, variable_length: bool) -> Message:
    """Returns messages that are all alike: nothing but the end symbol where there is one, else T
    times symbol 0; vectors, but those of the end symbol, are zeros."""
    symbols = jnp.zeros_like(message.symbols)
    relaxed = None if message.relaxed is None else jnp.zeros_like(message.relaxed)
    if relaxed is not None and variable_length:
        relaxed = relaxed.at[..., END].set(1.0)  # It ends at once.
    return make_message(symbols, relaxed, variable_length)


def shuffle(key: Key, message: Message, picks: bool) -> Message:
    """Returns the messages in another order of the batch: a control, from which nothing is learnt
    about the referents.

    picks: whether listeners pick a referent among candidates. Then any order may come: with 1 of B
        who hears its own message, and others misled by those of their distractors, accuracy is
        exactly at chance. Else nobody hears its own, which would be above chance by as much.
    """
    size = message.symbols.shape[0]
    order = jax.random.permutation(key, size) if picks else others(key, size)
    return jax.tree.map(lambda leaf: leaf[order], message)


def others(key: Key, size: int) -> Array:
    """For each of some messages or dialogues another one, int [size]. All are one circle: what is
    told to a wrong listener does not come back in its answers before all others have passed it
    on."""
    drawn = jax.random.permutation(key, size)
    return drawn.at[drawn].set(jnp.roll(drawn, 1))
