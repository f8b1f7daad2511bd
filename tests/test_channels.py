"""Channels and draws: what is sampled, what is relaxed, and what does not depend on the split."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from emcom_jax import channels, draws

B, T, V = 8, 4, 5

gumbel_noise = jax.jit(channels.gumbel_noise, static_argnums=(2, 3))
make_message = jax.jit(channels.make_message, static_argnums=2)
permuted = jax.jit(draws.permuted, static_argnums=2)
relax = jax.jit(channels.relax, static_argnums=0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def logits(rng):
    return jnp.asarray(rng.standard_normal((B, T, V)), jnp.float32)


@pytest.fixture(scope='module')
def noise():
    return gumbel_noise(jax.random.key(0), jnp.arange(B), T, V)


@pytest.fixture
def relaxed(logits):
    return jax.nn.softmax(logits)


# --- symbols --------------------------------------------------------------------------------------


def test_noise_makes_the_likeliest_symbol_a_sample(logits):
    noise = gumbel_noise(jax.random.key(0), jnp.arange(4000), T, V)
    symbols = np.asarray(channels.choose(logits[:1] + noise))
    for position, expected in enumerate(scipy.special.softmax(np.float64(logits[0]), -1)):
        counts = np.bincount(symbols[:, position], minlength=V)
        assert scipy.stats.chisquare(counts, 4000 * expected).pvalue > 1e-3
    pairs = scipy.stats.contingency.crosstab(symbols[:, 0], symbols[:, 1]).count
    assert scipy.stats.chi2_contingency(pairs).pvalue > 1e-3


def test_relaxation_tends_to_the_sample_as_the_temperature_tends_to_0(logits, noise):
    sample = jax.nn.one_hot(channels.choose(logits + noise), V)
    cold = relax('gumbel', logits, noise, 1e-4)
    np.testing.assert_allclose(cold, sample, atol=1e-6)
    warm = relax('gumbel', logits, noise, 1.0)
    np.testing.assert_allclose(warm, scipy.special.softmax(logits + noise, -1), rtol=1e-5)


def test_straight_through_is_hard_forward_and_soft_backward(logits, noise, rng):
    weight = jnp.asarray(rng.standard_normal((B, T, V)), jnp.float32)

    def read(kind):
        def value(x):
            vectors = relax(kind, x, noise, 0.7)
            return (vectors * weight).sum(), vectors

        return jax.jit(jax.grad(value, has_aux=True))(logits)

    (hard_gradient, hard), (soft_gradient, soft) = read('gumbel_st'), read('gumbel')
    np.testing.assert_array_equal(hard, np.eye(V)[np.argmax(soft, -1)])
    np.testing.assert_allclose(hard_gradient, soft_gradient, rtol=1e-5, atol=1e-7)


def test_a_continuous_channel_has_no_noise(logits, noise):
    vectors = relax('continuous', logits, noise, 0.1)
    np.testing.assert_allclose(vectors, np.tanh(logits), rtol=1e-5)


# --- where messages end ---------------------------------------------------------------------------


def test_a_message_of_fixed_length_has_no_end_symbol():
    symbols = jnp.array([[0, 3, 0, 1]])
    message = make_message(symbols, None, variable_length=False)
    np.testing.assert_array_equal(message.symbols, symbols)
    np.testing.assert_array_equal(message.mask, np.ones((1, 4)))
    np.testing.assert_array_equal(message.end, [[0, 0, 0, 1]])
    np.testing.assert_array_equal(channels.message_length(message), [4])


@pytest.mark.parametrize(
    ('symbols', 'bounded', 'length'),
    [
        ([2, 3, 0, 4], [2, 3, 0, 0], 3),
        ([0, 3, 0, 4], [0, 0, 0, 0], 1),
        ([2, 3, 1, 0], [2, 3, 1, 0], 4),
        ([2, 3, 1, 4], [2, 3, 1, 4], 4),
    ],
    ids=['in_the_middle', 'at_once', 'at_the_end', 'never'],
)
def test_a_message_of_variable_length_ends_with_its_first_end_symbol(symbols, bounded, length):
    message = make_message(jnp.array([symbols]), None, variable_length=True)
    np.testing.assert_array_equal(message.symbols, [bounded])
    np.testing.assert_array_equal(message.mask, [np.arange(4) < length])
    np.testing.assert_array_equal(message.end, [np.arange(4) == length - 1])
    np.testing.assert_array_equal(channels.message_length(message), [length])


def test_a_relaxed_message_ends_at_each_symbol_with_the_probability_of_ending_there(relaxed):
    message = make_message(channels.choose(relaxed), relaxed, variable_length=True)
    stop = np.asarray(relaxed[..., channels.END], np.float64)
    expected = np.array(
        [
            [row[t] * np.prod(1 - row[:t]) for t in range(T - 1)] + [np.prod(1 - row[:-1])]
            for row in stop
        ]
    )
    np.testing.assert_allclose(message.end, expected, rtol=1e-5)
    np.testing.assert_allclose(message.end.sum(1), np.ones(B), rtol=1e-6)
    length = expected @ np.arange(1, T + 1)
    np.testing.assert_allclose(channels.message_length(message), length, rtol=1e-5)


@jax.jit
@jax.grad
def slope_of_the_length(relaxed):
    message = make_message(channels.choose(relaxed), relaxed, variable_length=True)
    return channels.message_length(message).sum()


def test_ending_earlier_shortens_a_message(relaxed):
    slope = slope_of_the_length(relaxed)
    assert (slope[:, :-1, channels.END] < 0).all()
    assert not slope[..., channels.END + 1 :].any() and not slope[:, -1].any()


def test_a_hard_message_that_has_ended_is_not_ended_again():
    hard = jnp.asarray(np.tile(np.eye(V, dtype=np.float32)[[3, 0, 0, 1]], (B, 1, 1)))
    slope = slope_of_the_length(hard)[0, :, channels.END]
    # Ending at the first symbol would save one; not ending at the second would cost one, since the
    # third ends; what stands after the end is not read.
    np.testing.assert_allclose(slope, [-1.0, -1.0, 0.0, 0.0])


# --- noise on the way -----------------------------------------------------------------------------


@partial(jax.jit, static_argnums=(1, 2))
def corrupt(message, rate, variable_length, position=None):
    position = jnp.arange(len(message.symbols)) if position is None else position
    return channels.corrupt(jax.random.key(0), position, message, V, rate, variable_length)


@pytest.fixture(params=[False, True], ids=['fixed_length', 'variable_length'])
def variable_length(request):
    return request.param


@pytest.fixture
def message(rng, variable_length):
    symbols = rng.integers(0, V, (400, T), dtype=np.int32)
    return jax.device_get(make_message(symbols, None, variable_length))


def content_of(message, variable_length):
    """Which symbols noise may replace."""
    return (message.mask > 0) & ((message.symbols != channels.END) | (not variable_length))


def test_without_noise_the_message_arrives(message, variable_length):
    arrived = corrupt(message, 0.0, variable_length)
    np.testing.assert_array_equal(arrived.symbols, message.symbols)


def test_certain_noise_replaces_every_symbol_but_the_end(message, variable_length):
    sent, arrived = message.symbols, np.asarray(corrupt(message, 1.0, variable_length).symbols)
    content = content_of(message, variable_length)
    np.testing.assert_array_equal(sent != arrived, content)
    first = channels.END + 1 if variable_length else 0
    for symbol in range(first, V):
        counts = np.bincount(arrived[content & (sent == symbol)], minlength=V)
        assert not counts[:first].any()
        others = np.delete(counts[first:], symbol - first)
        assert scipy.stats.chisquare(others).pvalue > 1e-3


def test_the_rate_is_the_share_of_symbols_that_are_replaced(message, variable_length):
    arrived = corrupt(message, 0.3, variable_length)
    content = content_of(message, variable_length)
    changed = message.symbols != arrived.symbols
    assert not changed[~content].any()
    assert scipy.stats.binomtest(int(changed.sum()), int(content.sum()), 0.3).pvalue > 1e-3
    np.testing.assert_array_equal(arrived.end, message.end)
    np.testing.assert_array_equal(arrived.mask, message.mask)


def test_noise_does_not_depend_on_where_in_the_batch_a_message_stands(message, variable_length):
    position = np.arange(400)
    arrived = corrupt(message, 0.3, variable_length, position).symbols
    backwards = jax.tree.map(lambda leaf: leaf[::-1], message)
    arrived_backwards = corrupt(backwards, 0.3, variable_length, position[::-1]).symbols
    np.testing.assert_array_equal(arrived_backwards, arrived[::-1])


def test_a_replaced_symbol_carries_no_gradient(relaxed, variable_length):
    @jax.jit
    @partial(jax.grad, has_aux=True)
    def slope_and_messages(relaxed):
        sent = make_message(channels.choose(relaxed), relaxed, variable_length)
        arrived = corrupt(sent, 0.5, variable_length)
        return arrived.relaxed.sum(), (sent, arrived)

    slope, (sent, arrived) = jax.device_get(slope_and_messages(relaxed))
    kept = sent.symbols == arrived.symbols
    assert kept.any() and not kept.all()
    np.testing.assert_array_equal(slope, np.broadcast_to(kept[..., None], slope.shape))
    np.testing.assert_array_equal(arrived.relaxed[kept], sent.relaxed[kept])
    np.testing.assert_array_equal(arrived.relaxed[~kept], np.eye(V)[arrived.symbols[~kept]])


# --- interventions --------------------------------------------------------------------------------


@pytest.mark.parametrize('place', [0, T - 1])
def test_a_symbol_is_replaced_at_one_place(message, variable_length, place):
    replace = jax.jit(channels.replace, static_argnums=(3, 5))
    key, index = jax.random.key(1), jnp.arange(400)
    changed = jax.device_get(replace(key, index, message, V, place, variable_length))
    hit = content_of(message, variable_length) & (np.arange(T) == place)
    assert hit.any()
    np.testing.assert_array_equal(changed.symbols != message.symbols, hit)
    np.testing.assert_array_equal(changed.mask, message.mask)
    np.testing.assert_array_equal(changed.end, message.end)
    first = channels.END + 1 if variable_length else 0
    for symbol in range(first, V):
        said = changed.symbols[hit & (message.symbols == symbol)]
        others = np.delete(np.bincount(said, minlength=V), [*range(first), symbol])
        assert others.sum() == len(said) and scipy.stats.chisquare(others).pvalue > 1e-3


def test_two_symbols_are_swapped_and_the_end_stays(message, variable_length):
    swap = jax.jit(channels.swap, static_argnums=3)
    swapped = jax.device_get(swap(jax.random.key(1), jnp.arange(400), message, variable_length))
    np.testing.assert_array_equal(np.sort(swapped.symbols), np.sort(message.symbols))
    moved = swapped.symbols != message.symbols
    assert set(moved.sum(1)) == {0, 2}
    content = content_of(message, variable_length)
    assert not (moved & ~content).any()
    np.testing.assert_array_equal(swapped.end, message.end)
    # Of messages that are all content, each pair of places is as likely as the others.
    distinct = jnp.broadcast_to(jnp.arange(1, T + 1), (2400, T))
    full = make_message(distinct, None, variable_length)
    drawn = swap(jax.random.key(2), jnp.arange(2400), full, variable_length).symbols
    pairs, counts = np.unique(np.asarray(drawn), axis=0, return_counts=True)
    assert len(pairs) == T * (T - 1) // 2 and scipy.stats.chisquare(counts).pvalue > 1e-3


def test_vectors_are_swapped_and_silenced_like_symbols(relaxed):
    message = make_message(channels.choose(relaxed), relaxed, variable_length=False)
    swapped = channels.swap(jax.random.key(1), jnp.arange(B), message, variable_length=False)
    np.testing.assert_array_equal(channels.choose(swapped.relaxed), swapped.symbols)
    assert (swapped.relaxed != relaxed).any((1, 2)).all()
    assert not channels.silence(message, variable_length=False).relaxed.any()
    ended = channels.silence(message, variable_length=True)
    np.testing.assert_array_equal(ended.end, np.eye(T)[:1].repeat(B, 0))


def test_silence_is_one_message_and_says_nothing(message, variable_length):
    silent = channels.silence(message, variable_length)
    assert not silent.symbols.any()
    length = 1 if variable_length else T
    np.testing.assert_array_equal(silent.mask.sum(1), np.full(400, length))
    np.testing.assert_array_equal(silent.end, np.eye(T)[[length - 1]].repeat(400, 0))


# --- draws ----------------------------------------------------------------------------------------


def test_gumbel_noise_depends_on_the_position_alone(noise):
    backwards = gumbel_noise(jax.random.key(0), jnp.arange(B)[::-1], T, V)
    np.testing.assert_array_equal(backwards[::-1], noise)
    assert len(np.unique(noise)) == noise.size


@pytest.mark.parametrize('size', [1, 2, 3, 7, 16, 97, 1000, 4096])
def test_permuted_is_a_permutation(size):
    shuffled = permuted(jax.random.key(size), jnp.arange(size), size)
    np.testing.assert_array_equal(np.sort(shuffled), np.arange(size))


def test_permuted_is_fixed_by_its_key_and_differs_from_key_to_key():
    positions = np.arange(97)
    first, again, other = (permuted(jax.random.key(k), positions, 97) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.mean(first != other) > 0.9 and np.mean(first != positions) > 0.9


def test_a_part_of_a_permutation_is_that_part_of_the_whole():
    whole = permuted(jax.random.key(0), np.arange(97), 97)
    part = permuted(jax.random.key(0), np.array([[90], [5]]), 97)
    np.testing.assert_array_equal(part, np.asarray(whole)[[[90], [5]]])


def test_every_permutation_of_four_is_equally_likely():
    keys = jax.random.split(jax.random.key(0), 4800)
    shuffled = jax.jit(jax.vmap(lambda key: permuted(key, jnp.arange(4), 4)))(keys)
    _, counts = np.unique(shuffled, axis=0, return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_every_element_is_equally_likely_at_every_place():
    keys = jax.random.split(jax.random.key(0), 2900)
    shuffled = jax.jit(jax.vmap(lambda key: permuted(key, jnp.arange(29), 29)))(keys)
    for place in (0, 14, 28):
        counts = np.bincount(shuffled[:, place], minlength=29)
        assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_shuffled_messages_are_those_of_other_referents():
    symbols = jnp.arange(24).reshape(8, 3) % 7
    message = channels.make_message(symbols, jax.nn.one_hot(symbols, 7), True)
    shuffled = channels.shuffle(jax.random.key(1), message, picks=True)
    told, untold = (jax.tree.leaves(each) for each in (shuffled, message))
    rows = [[leaf[i] for leaf in told] for i in range(8)]
    order = [
        next(j for j in range(8) if all(map(np.array_equal, row, [leaf[j] for leaf in untold])))
        for row in rows
    ]
    assert len(set(order)) >= 5 and order != sorted(order)  # Some messages are alike.


def test_of_those_who_pick_one_in_b_hears_its_own_message_and_of_others_nobody():
    rows = jnp.arange(8)[:, None]
    message = channels.make_message(rows, None, variable_length=False)

    def own(picks):
        keys = jax.random.split(jax.random.key(0), 2000)
        heard = jax.vmap(lambda key: channels.shuffle(key, message, picks).symbols)(keys)
        return np.asarray(heard == rows[None])

    share = own(True).mean()
    assert abs(share - 1 / 8) < 4 * np.sqrt(1 / 8 / own(True).size)
    assert not own(False).any()
