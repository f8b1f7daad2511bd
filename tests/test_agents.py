"""Networks and agents: the ways to compute one thing agree."""

import functools

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BATCH, LENGTH, SIZE, VOCAB, drawn, tiny_config

from emcom_jax import channels
from emcom_jax.agents import recurrence
from emcom_jax.agents.networks import CORES, make_core
from emcom_jax.agents.sequence import HEADS, Speaker

INPUTS = jnp.asarray(np.random.default_rng(0).standard_normal((BATCH, SIZE)), jnp.float32)


# --- cores ----------------------------------------------------------------------------------------


@pytest.fixture(scope='module', params=CORES)
def core_outputs(request):
    """Context or not -> outputs [B, T, H] by name."""
    config = tiny_config({'speaker.core': request.param}).speaker
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.standard_normal((BATCH, LENGTH, SIZE)), jnp.float32)

    @hk.transform
    def run(context):
        core = make_core(config, LENGTH)
        state, outputs = core.begin(context, BATCH), []
        for t in range(LENGTH):
            state, output, _ = core.step(state, xs[:, t])
            outputs.append(output)
        return {
            'stepped': jnp.stack(outputs, axis=1),
            'unrolled': core.unroll(context, xs),
            'other_end': core.unroll(context, xs.at[:, -1].set(9.0)),
            'other_context': core.unroll(None if context is None else context[::-1], xs),
        }

    @jax.jit
    def both(params, bare_params):
        return {True: run.apply(params, None, INPUTS), False: run.apply(bare_params, None, None)}

    shapes = [jax.eval_shape(run.init, jax.random.key(0), context) for context in (INPUTS, None)]
    return jax.device_get(both(*map(drawn, shapes)))


@pytest.mark.parametrize('context', [True, False], ids=['context', 'no_context'])
def test_step_by_step_is_all_at_once(core_outputs, context):
    outputs = core_outputs[context]
    np.testing.assert_allclose(outputs['stepped'], outputs['unrolled'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('context', [True, False], ids=['context', 'no_context'])
def test_outputs_depend_on_the_past_alone(core_outputs, context):
    whole, other = core_outputs[context]['unrolled'], core_outputs[context]['other_end']
    np.testing.assert_array_equal(whole[:, :-1], other[:, :-1])
    assert (whole[:, -1] != other[:, -1]).any()


def test_outputs_depend_on_the_context(core_outputs):
    differs = core_outputs[True]['unrolled'] != core_outputs[True]['other_context']
    assert differs.any(axis=-1).all()


# --- recurrence -----------------------------------------------------------------------------------

CELLS = {'lstm': (recurrence.LSTM, 2), 'gru': (recurrence.GRU, 1)}  # Arrays in a state.


@pytest.mark.parametrize('name', CELLS)
@pytest.mark.parametrize('length', [3, 9], ids=['unrolled', 'looped'])
def test_the_gradient_of_a_run_is_that_of_its_steps(name, length):
    cell, num_states = CELLS[name]
    rng = np.random.default_rng(0)
    size, hidden = 3, 4

    def normal(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    state = tuple(normal(2, hidden) for _ in range(num_states))
    args = (normal(size + hidden + 1, 4 * hidden), state, normal(length, 2, size))
    cotangent = normal(length * 2, hidden)

    def stepped(weights, state, xs):
        outs = []
        for x in xs:
            state, trace = recurrence.step(cell, weights, state, x)
            outs.append(trace.out)
        return jnp.concatenate(outs)

    @jax.jit
    def both(args):
        ways = (stepped, functools.partial(recurrence.run, cell))
        return [(outs, back(cotangent)) for outs, back in (jax.vjp(way, *args) for way in ways)]

    plain, ours = both(args)
    chex.assert_trees_all_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_lstm_is_haikus():
    """Haiku has its gates in another order, and adds 1 to those that forget."""
    rng = np.random.default_rng(1)
    size, hidden = 3, 4
    weights = rng.standard_normal((size + hidden + 1, 4, hidden)).astype(np.float32)
    x, *state = (jnp.asarray(rng.standard_normal((2, n)), jnp.float32) for n in (size, 4, 4))
    theirs = weights[:, [0, 3, 1, 2]]
    theirs[-1, 2] -= 1
    theirs = theirs.reshape(-1, 4 * hidden)
    params = {'lstm/linear': {'w': theirs[:-1], 'b': theirs[-1]}}
    run = hk.without_apply_rng(hk.transform(lambda x, state: hk.LSTM(hidden)(x, state)))
    _, expected = run.apply(params, x, hk.LSTMState(*state))
    new, _ = recurrence.step(recurrence.LSTM, weights.reshape(-1, 4 * hidden), tuple(state), x)
    chex.assert_trees_all_close(new, tuple(expected), rtol=1e-5, atol=1e-6)


def test_gru_is_that_of_its_equations():
    rng = np.random.default_rng(2)
    state, *gates = rng.standard_normal((5, 2, 4))
    r, z, of_x, of_h = gates

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    expected = sigmoid(z) * state + (1 - sigmoid(z)) * np.tanh(of_x + sigmoid(r) * of_h)
    (new,), _ = recurrence.GRU.forward(jnp.concatenate(gates, axis=1), (jnp.asarray(state),))
    np.testing.assert_allclose(new, expected, rtol=1e-5)


def test_a_gru_reads_x_and_h_apart():
    config = tiny_config({'speaker.core': 'gru'}).speaker
    run = hk.transform(lambda: make_core(config, LENGTH)._weights(SIZE))
    weights = run.apply(run.init(jax.random.key(0)), None)
    hidden = config.hidden_size
    of_x, of_h = np.split(np.asarray(weights)[:, 2 * hidden :], 2, axis=1)
    is_h = np.arange(SIZE + hidden + 1) // SIZE > 0
    is_h[-1] = False  # The bias.
    assert is_h.sum() == hidden
    assert not of_x[is_h].any() and not of_h[~is_h].any()
    assert of_x[:SIZE].all() and of_h[is_h].all()


# --- speakers -------------------------------------------------------------------------------------

KINDS = tuple(channels.DIFFERENTIABLE)


def speaking(changes, way):
    """One way to speak as a pure function."""
    config = tiny_config({'speaker.head': 'policy_q_value', **changes})

    def speak(*args):
        return getattr(Speaker(config.speaker, config.channel), way)(*args)

    return hk.without_apply_rng(hk.transform(speak))


@pytest.fixture(scope='module')
def noise():
    return channels.gumbel_noise(jax.random.key(0), jnp.arange(BATCH), LENGTH, VOCAB)


@pytest.fixture(scope='module', params=CORES)
def speaker(request, noise):
    """Parameters, and the compiled function from them to kind -> utterances by name."""

    @jax.jit
    def speak(params):
        def of_kind(kind):
            changes = {'speaker.core': request.param, 'channel.kind': kind}
            sample, greedy, force = (
                speaking(changes, way).apply for way in ('sample', 'greedy', 'force')
            )
            said = sample(params, INPUTS, noise, 0.7)
            return {
                'sampled': said,
                'replayed': force(params, INPUTS, said.message),
                'cold': sample(params, INPUTS, jnp.zeros_like(noise), 1e-4),
                'greedy': greedy(params, INPUTS),
            }

        return {kind: of_kind(kind) for kind in KINDS}

    init = speaking({'speaker.core': request.param}, 'greedy').init
    params = drawn(jax.eval_shape(init, jax.random.key(0), INPUTS))
    return params, speak


@pytest.fixture(scope='module')
def utterances(speaker):
    params, speak = speaker
    return jax.device_get(speak(params))


@pytest.mark.parametrize('kind', KINDS)
def test_forced_replay_reproduces_what_was_said(utterances, kind):
    sampled, replayed = utterances[kind]['sampled'], utterances[kind]['replayed']
    for field in ('log_policy', 'value', 'q_values'):
        ours, theirs = getattr(sampled, field), getattr(replayed, field)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=field)
    np.testing.assert_array_equal(sampled.message.symbols, replayed.message.symbols)


def test_sampling_adds_the_noise_to_the_log_probabilities(utterances, noise):
    said = utterances['categorical']['sampled']
    np.testing.assert_array_equal(said.message.symbols, np.argmax(said.log_policy + noise, -1))
    np.testing.assert_allclose(np.exp(said.log_policy).sum(-1), np.ones((BATCH, LENGTH)), rtol=1e-5)


def test_greedy_says_the_likeliest_symbols(utterances):
    said = utterances['categorical']['greedy']
    np.testing.assert_array_equal(said.message.symbols, np.argmax(said.log_policy, -1))
    assert len(np.unique(said.message.symbols, axis=0)) > 1


@pytest.mark.parametrize('kind', KINDS)
def test_greedy_is_the_limit_without_noise_or_temperature(utterances, kind):
    greedy, cold = utterances[kind]['greedy'], utterances[kind]['cold']
    np.testing.assert_array_equal(greedy.message.symbols, cold.message.symbols)
    np.testing.assert_allclose(greedy.log_policy, cold.log_policy, rtol=1e-4, atol=1e-5)
    if kind == 'continuous':
        np.testing.assert_array_equal(greedy.message.relaxed, cold.message.relaxed)
    else:
        assert greedy.message.relaxed is None


def test_the_advantage_of_a_dueling_head_has_mean_0(speaker, utterances):
    params, speak = speaker
    name = 'speaker/~/advantage/~/linear_0'
    moved = params | {name: {'w': params[name]['w'], 'b': params[name]['b'] + 3.0}}
    before = utterances['categorical']['sampled'].q_values
    after = speak(moved)['categorical']['sampled'].q_values
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    moved = params | {name: {'w': params[name]['w'], 'b': params[name]['b'].at[0].add(VOCAB)}}
    after = speak(moved)['categorical']['sampled'].q_values
    expected = np.array([VOCAB - 1.0] + [-1.0] * (VOCAB - 1))
    np.testing.assert_allclose(after - before, np.broadcast_to(expected, after.shape), atol=1e-4)


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('core', CORES)
def test_all_ways_to_speak_have_the_same_parameters(core, head, noise):
    changes = {'speaker.core': core, 'speaker.head': head, 'speaker.torso': 'mlp'}
    message = channels.make_message(jnp.zeros((BATCH, LENGTH), jnp.int32), None, False)
    arguments = {'sample': (noise, 1.0), 'greedy': (), 'force': (message,)}
    shapes = [
        jax.eval_shape(speaking(changes, way).init, jax.random.key(0), INPUTS, *more)
        for way, more in arguments.items()
    ]
    assert shapes[0] == shapes[1] == shapes[2]
    has_value, has_q = HEADS[head]
    assert [any(name in path for path in shapes[0]) for name in ('/value', 'advantage')] == [
        has_value,
        has_q,
    ]


def test_a_learned_temperature_starts_as_the_config_says(noise):
    changes = {'channel.kind': 'gumbel', 'channel.temperature': 0.7}
    learned = speaking(changes | {'channel.temperature_mode': 'learned'}, 'sample')

    @jax.jit
    def compare(key):
        params = learned.init(key, INPUTS, noise, 9.0)
        fixed = speaking(changes, 'sample').apply(params, INPUTS, noise, 0.7)
        slope = jax.grad(
            lambda p: learned.apply(p, INPUTS, noise, 9.0).message.relaxed[..., 0].sum()
        )
        return fixed, learned.apply(params, INPUTS, noise, 9.0), slope(params)['speaker']

    fixed, ours, slope = compare(jax.random.key(0))
    np.testing.assert_allclose(ours.message.relaxed, fixed.message.relaxed, rtol=1e-4, atol=1e-6)
    assert slope['temperature'] != 0
