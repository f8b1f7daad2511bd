"""Optimisers: each is that of optax, or of the formula in its docstring, with the options of its
group; norms and biases do not decay; what is frozen stays; the rate is that of its schedule."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import tiny_config

from emcom_jax import optimizers
from emcom_jax.optimizers import make_optimizer, make_schedule

RNG = np.random.default_rng(0)
SHAPES = {
    'trunk/~/conv': {'w': (2, 2, 1, 3)},
    'trunk/~/batch_norm': {'scale': (1, 1, 1, 3), 'offset': (1, 1, 1, 3)},
    'head/linear': {'w': (3, 2), 'b': (2,)},
}
PARAMS = {
    module: {name: 1 + RNG.random(shape, np.float32) for name, shape in shapes.items()}
    for module, shapes in SHAPES.items()
}
WEIGHTS = {
    'trunk/~/conv': {'w': True},
    'trunk/~/batch_norm': {'scale': False, 'offset': False},
    'head/linear': {'w': True, 'b': False},
}
NONE_YET = jnp.array(0)
RATE, STEPS, BATCH = 0.1, 100, 32
OPTIONS = {
    'adam': {'b1': 0.8, 'b2': 0.9, 'eps': 1e-3},
    'adamw': {'weight_decay': 0.1},
    'sgd': {'momentum': 0.9, 'nesterov': True},
    'rmsprop': {'decay': 0.5, 'momentum': 0.9},
    'lamb': {'weight_decay': 0.1},
    'lars': {
        'weight_decay': 0.1,
        'momentum': 0.5,
        'nesterov': True,
        'trust_coefficient': 0.02,
        'eps': 1e-3,
    },
}
MASKS = {
    'adamw': {'mask': WEIGHTS},
    'lamb': {'mask': WEIGHTS},
    'lars': {'weight_decay_mask': WEIGHTS, 'trust_ratio_mask': WEIGHTS},
}
OURS = {
    'sgd': {'momentum': 0.9, 'nesterov': True, 'weight_decay': 0.1},
    'larc': {'weight_decay': 0.1, 'momentum': 0.5, 'trust_coefficient': 0.02, 'eps': 1e-3},
}


def group(**changes):
    """One group of `config.optimizer`, at a constant rate."""
    changes = {'learning_rate': RATE, 'schedule': 'constant'} | changes
    config = tiny_config({f'optimizer.speaker.{key}': value for key, value in changes.items()})
    return config.optimizer.speaker


def make(**changes):
    return make_optimizer(group(**changes), STEPS, BATCH)


def gradient(params):
    return jax.tree.map(lambda leaf: 2 * leaf, params)


def three_updates(optimizer, params=PARAMS, step=NONE_YET):
    """The parameters after each of three updates."""
    state, history = optimizer.init(params), []
    for _ in range(3):
        params, state = optimizer.update(gradient(params), state, params, step)
        history.append(params)
    return history


def assert_close(actual, expected, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol), actual, expected)


# --- by name --------------------------------------------------------------------------------------


@pytest.mark.parametrize(('name', 'options'), OPTIONS.items())
def test_an_optimiser_is_that_of_optax_with_its_options(name, options):
    theirs = getattr(optax, name)(RATE, **options, **MASKS.get(name, {}))
    params, state = PARAMS, theirs.init(PARAMS)
    for _ in range(3):
        moves, state = theirs.update(gradient(params), state, params)
        params = optax.apply_updates(params, moves)
    ours = three_updates(make(name=name, **options))[-1]
    assert_close(ours, params)
    jax.tree.map(lambda new, old: np.testing.assert_array_less(np.abs(new), old), ours, PARAMS)


@pytest.mark.parametrize(
    ('name', 'option', 'has'),
    [
        ('adam', 'momentum', 'b1, b2, eps, nesterov'),
        ('sgd', 'b1', 'weight_decay, momentum, nesterov'),
        ('larc', 'decay', 'eps, weight_decay, momentum, nesterov, trust_coefficient'),
        ('lars', 'b2', 'eps, weight_decay, momentum, nesterov, trust_coefficient'),
        ('adamw', 'trust_coefficient', 'b1, b2, eps, weight_decay, nesterov'),
    ],
)
def test_an_option_that_an_optimiser_does_not_have_is_refused(name, option, has):
    with pytest.raises(ValueError, match=f'{name} has no option {option}; of ours it has: {has}$'):
        make(name=name, **{option: 0.5})


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'name': 'adamm'}, "optimiser 'adamm'; did you mean 'adam"),
        ({'name': 'larcc'}, "optimiser 'larcc'; did you mean 'larc'"),
        ({'schedule': 'cosinus'}, "schedule 'cosinus'; did you mean 'cosine'"),
    ],
)
def test_an_unknown_optimiser_or_schedule_names_the_nearest(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**changes)


@pytest.mark.parametrize('name', ['noisy_sgd', 'scale_by_rprop', '_deprecated_dpsgd'])
def test_what_is_no_whole_optimiser_is_unknown(name):
    with pytest.raises(ValueError, match=f"unknown optimiser '{name}'"):
        make(name=name)


def test_an_optimiser_that_needs_more_than_a_gradient_is_refused():
    with pytest.raises(ValueError, match='lbfgs needs more than a gradient'):
        make(name='lbfgs')


@pytest.mark.parametrize(('name', 'options'), [*OPTIONS.items(), *OURS.items()])
def test_a_stack_of_agents_is_updated_as_each_alone(name, options):
    # A stack's biases are of rank 2, and its norms are over several agents.
    optimizer = make(name=name, clip_norm=1.0, frozen=('trunk/conv',), **options)
    agents = [jax.tree.map(lambda leaf, i=i: leaf * (1 + i), PARAMS) for i in range(3)]
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *agents)
    state = jax.vmap(optimizer.init)(stack)
    together, _ = jax.vmap(optimizer.update, (0, 0, 0, None))(
        gradient(stack), state, stack, NONE_YET
    )
    for i, agent in enumerate(agents):
        alone = three_updates(optimizer, agent)[0]
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone)


def test_rmsprop_is_that_of_pytorch():
    """Its update, from the documentation of `torch.optim.RMSprop`: eps after the root."""
    optimizer = make(name='rmsprop', eps=0.5)
    params, state = {'m': {'w': jnp.array([[1.0]])}}, optimizer.init({'m': {'w': jnp.ones((1, 1))}})
    square, value = 0.0, 1.0
    for grad in (2.0, -1.0, 0.5):
        square = 0.99 * square + 0.01 * grad**2
        value -= RATE * grad / (square**0.5 + 0.5)
        params, state = optimizer.update({'m': {'w': jnp.full((1, 1), grad)}}, state, params, 0)
    assert float(params['m']['w'][0, 0]) == pytest.approx(value, rel=1e-6)


def test_parts_are_clipped_by_themselves():
    optimizer = make(name='sgd', clip_norm=1.0, clip_apart=('head',))
    grads = {'trunk': {'w': np.full((3, 3), 2.0)}, 'head/~/linear': {'w': np.full((2, 2), 0.1)}}
    params = jax.tree.map(np.zeros_like, grads)
    moved, _ = optimizer.update(grads, optimizer.init(params), params, NONE_YET)
    np.testing.assert_allclose(moved['trunk']['w'], np.full((3, 3), -RATE / 3), rtol=1e-6)
    np.testing.assert_allclose(moved['head/~/linear']['w'], np.full((2, 2), -0.01), rtol=1e-6)
    with pytest.raises(ValueError, match="clip_apart=.*'tail', under which there are no"):
        make(name='sgd', clip_norm=1.0, clip_apart=('tail',)).init(params)


# --- weights, norms and biases --------------------------------------------------------------------


def network(pixels):
    """Modules of all kinds, with the names that they are given in practice."""
    norms = [
        hk.BatchNorm(True, True, 0.9, name=name)
        for name in ('batch_norm', 'bn1', 'downsample_norm', 'first')
    ]
    x = hk.Conv2D(4, 3, name='normalized_conv')(pixels)
    for norm in norms:
        x = norm(x, is_training=True)
    x = hk.GroupNorm(2)(x)
    x = hk.InstanceNorm(True, True)(x)
    x = hk.Flatten()(x)
    x = hk.BatchNorm(True, True, 0.9, name='of_vectors')(x, is_training=True)
    x = hk.RMSNorm(-1)(hk.LayerNorm(-1, True, True)(x))
    return hk.Linear(1, name='subnet')(x) + hk.Embed(5, 1)(jnp.zeros(2, jnp.int32))


def test_weights_are_what_is_of_rank_2_and_not_of_a_norm():
    init = hk.transform_with_state(network).init
    params, _ = jax.eval_shape(init, jax.random.key(0), jnp.ones((2, 4, 4, 3)))
    kinds = optimizers.weights(params)
    found = {(module, name) for module in kinds for name in kinds[module] if kinds[module][name]}
    assert found == {('normalized_conv', 'w'), ('subnet', 'w'), ('embed', 'embeddings')}
    assert sum(map(len, kinds.values())) == len(found) + 2 + 5 * 2 + 3 * 2 + 1
    assert not optimizers.weights({'norm': {'w': np.ones((2, 2))}})['norm']['w']


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'lamb', 'lars', 'lion'])
def test_weights_alone_decay(name):
    optimizer = make(name=name, weight_decay=0.1)
    still = jax.tree.map(np.zeros_like, PARAMS)
    params, _ = optimizer.update(still, optimizer.init(PARAMS), PARAMS, NONE_YET)
    shrunk = jax.tree.map(lambda new, old: bool((new < old).all()), params, PARAMS)
    assert shrunk == WEIGHTS
    same = jax.tree.map(lambda new, old: bool((new == old).all()), params, PARAMS)
    assert same == jax.tree.map(lambda weight: not weight, WEIGHTS)


@pytest.mark.parametrize('nesterov', [False, True])
def test_the_decay_of_sgd_is_coupled(nesterov):
    # The update in PyTorch's documentation of torch.optim.SGD, without dampening.
    optimizer = make(name='sgd', momentum=0.9, nesterov=nesterov, weight_decay=0.1)
    ours = three_updates(optimizer)
    for module, names in PARAMS.items():
        for name, start in names.items():
            p, buffer = start.astype(np.float64), 0.0
            for step in range(3):
                g = 2 * p + (0.1 * p if WEIGHTS[module][name] else 0.0)
                buffer = 0.9 * buffer + g
                p = p - RATE * (g + 0.9 * buffer if nesterov else buffer)
                np.testing.assert_allclose(ours[step][module][name], p, rtol=1e-5)


def test_the_decay_of_adamw_is_decoupled():
    with_decay, without = (make(name='adamw', weight_decay=decay) for decay in (0.1, 0.0))
    one, other = three_updates(with_decay)[0], three_updates(without)[0]
    decayed = jax.tree.map(
        lambda new, old, weight: new - RATE * 0.1 * old * weight, other, PARAMS, WEIGHTS
    )
    assert_close(one, decayed)


# --- LARC -----------------------------------------------------------------------------------------

LARC = {'momentum': 0.9, 'weight_decay': 0.1, 'trust_coefficient': 0.001, 'eps': 1e-8}


@pytest.mark.parametrize('nesterov', [False, True])
def test_larc_is_the_published_formula(nesterov):
    # By hand in float64 from a reading of apex's LARC (clip=False) around torch.optim.SGD, of which
    # EGG has a copy: groups with and without decay, both scaled.
    rate = [2.4, 1.8, 1.2, 0.6]
    optimizer = make_optimizer(
        group(name='larc', learning_rate=2.4, schedule='linear', nesterov=nesterov, **LARC), 4, 1
    )
    params = jax.tree.map(np.copy, PARAMS)
    params['trunk/~/batch_norm']['offset'][:] = 0  # As it begins.
    rng = np.random.default_rng(1)
    grads = [
        jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), PARAMS)
        for _ in rate
    ]
    grads[0]['trunk/~/conv']['w'][:] = 0  # Then it does not even decay.
    expected = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    buffers = jax.tree.map(np.zeros_like, expected)
    state = optimizer.init(params)
    for step, grad in enumerate(grads):
        params, state = optimizer.update(grad, state, params, jnp.array(step))
        for module, names in expected.items():
            for name, p in names.items():
                g = grad[module][name].astype(np.float64)
                decay = LARC['weight_decay'] if WEIGHTS[module][name] else 0.0
                p_norm, g_norm = np.sqrt((p**2).sum()), np.sqrt((g**2).sum())
                if p_norm != 0 and g_norm != 0:
                    g = (g + decay * p) * (0.001 * p_norm / (g_norm + p_norm * decay + 1e-8))
                buffer = 0.9 * buffers[module][name] + g
                buffers[module][name] = buffer
                names[name] = p - rate[step] * (g + 0.9 * buffer if nesterov else buffer)
        assert_close(params, expected, rtol=2e-6)


def test_the_steps_of_larc_do_not_depend_on_the_scale_of_the_gradient():
    optimizer = make(name='larc')  # Defaults: no decay, as published.
    for scale in (1e-3, 1.0, 1e3):
        grads = jax.tree.map(lambda leaf, scale=scale: np.flip(scale * leaf), PARAMS)
        params, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS, NONE_YET)

        def check(new, old):
            length = np.linalg.norm(np.ravel(new.astype(np.float64) - old))
            np.testing.assert_allclose(length, RATE * 0.001 * np.linalg.norm(old.ravel()), 1e-2)

        jax.tree.map(lambda new, old: check(np.asarray(new), old), params, PARAMS)


# --- the rate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('schedule', 'halfway', 'end'),
    [
        ('constant', 1.0, 1.0),
        ('cosine', 0.505, 0.01),
        ('linear', 0.505, 0.01),
        ('exponential', 0.1, 0.01),
    ],
)
@pytest.mark.parametrize('warmup', [0, 20])
@pytest.mark.parametrize(('base', 'factor'), [(None, 1.0), (8, 4.0), (64, 0.5)])
def test_schedules_at_their_corners(schedule, halfway, end, warmup, base, factor):
    changes = {'warmup_steps': warmup, 'end_factor': 0.01, 'scale_with_batch': base}
    rate = make_schedule(group(schedule=schedule, **changes), STEPS, BATCH)
    middle = warmup + (STEPS - warmup) // 2
    corners = {0: 0.0 if warmup else 1.0, warmup: 1.0, middle: halfway, STEPS: end}
    if warmup:
        corners[warmup // 2] = 0.5
    rates = [rate(jnp.array(step)) for step in corners]
    expected = factor * RATE * np.array(list(corners.values()))
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('name', ['sgd', 'larc', 'lars'])
def test_the_rate_follows_the_step_of_the_run_not_the_count_of_the_agent(name):
    optimizer = make(name=name, schedule='linear', momentum=0.0)
    whole, state = optimizer.update(gradient(PARAMS), optimizer.init(PARAMS), PARAMS, NONE_YET)
    for step, factor in ((50, 0.5), (90, 0.1), (0, 1.0)):
        params, state = optimizer.update(gradient(PARAMS), state, PARAMS, jnp.array(step))
        part = jax.tree.map(lambda new, old, f=factor: old + f * (new - old), whole, PARAMS)
        assert_close(params, part)
    if name == 'sgd':
        assert_close(whole, jax.tree.map(lambda leaf: (1 - 2 * RATE) * leaf, PARAMS))


# --- clipping and freezing ------------------------------------------------------------------------


@pytest.mark.parametrize('norm', [1.0, 1000.0])
@pytest.mark.parametrize('frozen', [None, ('trunk',)])
def test_gradients_are_clipped_to_their_norm_over_all_that_learns(norm, frozen):
    optimizer = make(name='sgd', clip_norm=norm, frozen=frozen)
    params = three_updates(optimizer)[0]
    learning = {key: leaf for key, leaf in PARAMS.items() if not (frozen and 'trunk' in key)}
    length = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient(learning))))
    factor = 1 - 2 * RATE * min(1.0, norm / length)
    assert_close(
        {key: params[key] for key in learning},
        jax.tree.map(lambda leaf: factor * leaf, learning),
    )


@pytest.mark.parametrize(
    ('frozen', 'still'),
    [
        (('trunk',), {'conv', 'batch_norm'}),
        (('trunk/conv',), {'conv'}),
        (('trunk/~/conv', 'head'), {'conv', 'linear'}),
        (('trunk', 'head'), {'conv', 'batch_norm', 'linear'}),
    ],
)
@pytest.mark.parametrize('name', ['adam', 'adamw', 'larc', 'lars'])
def test_what_is_frozen_stays_and_has_no_state(name, frozen, still):
    optimizer = make(name=name, frozen=frozen)
    params = three_updates(optimizer)[-1]
    moving = {key: leaf for key, leaf in PARAMS.items() if key.split('/')[-1] not in still}
    alone = make(name=name)
    expected = PARAMS | (three_updates(alone, moving)[-1] if moving else {})
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    shapes = jax.tree.map(np.shape, jax.tree.leaves(optimizer.init(PARAMS)))
    assert shapes == jax.tree.map(np.shape, jax.tree.leaves(alone.init(moving)))


def test_a_single_parameter_can_be_frozen():
    params = three_updates(make(name='sgd', frozen=('head/linear/b',)))[-1]
    same = jax.tree.map(lambda new, old: bool((new == old).all()), params, PARAMS)
    assert {key for key in same if any(same[key].values())} == {'head/linear'}
    assert same['head/linear'] == {'w': False, 'b': True}


@pytest.mark.parametrize(
    ('frozen', 'sentence'),
    [
        (('trunk', 'trnk'), "has 'trnk', under which there are no parameters; .*: head, trunk$"),
        (('trun',), "has 'trun', .* at this depth there are: head, trunk$"),
        (('trunk/con',), ': head/linear, trunk/batch_norm, trunk/conv$'),
    ],
)
def test_what_is_frozen_must_exist(frozen, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(frozen=frozen).init(PARAMS)
    with pytest.raises(ValueError, match='at this depth there are: none$'):
        make(frozen=frozen).init({})
