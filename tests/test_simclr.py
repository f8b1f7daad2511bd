"""SimCLR: its loss, its network as a trunk that learns, and what it says without having learnt to
talk."""

import re
from functools import partial

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from ml_collections import ConfigDict

from configs import discrimination
from configs import simclr as recipe
from emcom_jax import losses, updates
from emcom_jax.agents.vision import make_trunk
from emcom_jax.checks import check
from emcom_jax.data.bank import make_bank
from emcom_jax.data.batches import draw, look_at
from emcom_jax.evaluation import noise_ladder
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.games import GAMES
from emcom_jax.optimizers import make_optimizer
from emcom_jax.population import Optimizers, init_population, make_meetings
from emcom_jax.types import Agent, Batch, Guess, Pair, Source, Split

ITEMS, UNITS, SPACE, FEATURES = 8, 16, 5, 32  # s, z and h have so many units.
TEMPERATURE = 0.2
KEY = jax.random.key(0)


# --- the loss -------------------------------------------------------------------------------------


@pytest.fixture
def views():
    return jnp.asarray(np.random.default_rng(0).standard_normal((2, ITEMS, SPACE)), jnp.float32)


def nt_xent_by_hand(first, second, temperature):
    """Chen et al. 2020, equation 1 and the line after it, term by term in float64; [B]."""
    views = np.concatenate([first, second]).astype(np.float64)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    number, total = len(views), np.zeros(len(first))

    def similarity(i, j):
        return np.exp(views[i] @ views[j] / temperature)

    for i in range(number):
        positive = similarity(i, (i + len(first)) % number)
        everyone = sum(similarity(i, k) for k in range(number) if k != i)
        total[i % len(first)] -= np.log(positive / everyone) / 2
    return total


@pytest.mark.parametrize('temperature', [0.1, 1.0])
def test_nt_xent_is_the_equation(views, temperature):
    loss, scores = losses.nt_xent(*views, temperature)
    np.testing.assert_allclose(loss, nt_xent_by_hand(*views, temperature), rtol=1e-5)
    np.testing.assert_array_equal(scores, losses.cosine_scores(*views, temperature))


def test_nt_xent_is_a_cross_entropy_over_all_other_views(views):
    both = views.reshape(-1, SPACE)
    logits = np.array(losses.cosine_scores(both, both, TEMPERATURE), np.float64)
    np.fill_diagonal(logits, -np.inf)
    partner = np.roll(np.arange(2 * ITEMS), ITEMS)
    each = -scipy.special.log_softmax(logits, 1)[np.arange(2 * ITEMS), partner]
    loss, _ = losses.nt_xent(*views, TEMPERATURE)
    np.testing.assert_allclose(loss, each.reshape(2, ITEMS).mean(0), rtol=1e-5)
    # Both directions of InfoNCE lack the negatives of the same view.
    one_way = [losses.info_nce(*pair, TEMPERATURE)[0] for pair in (views, views[::-1])]
    assert (loss > (one_way[0] + one_way[1]) / 2).all()


def test_nt_xent_is_symmetric_in_the_views_and_teaches_both(views):
    loss, scores = losses.nt_xent(*views, TEMPERATURE)
    other, transposed = losses.nt_xent(*views[::-1], TEMPERATURE)
    np.testing.assert_allclose(loss, other, rtol=1e-6)
    np.testing.assert_allclose(scores, transposed.T, rtol=1e-6)
    gradient = jax.grad(lambda pair: losses.nt_xent(*pair, TEMPERATURE)[0].sum())
    there, back = gradient(views), gradient(views[::-1])
    assert jnp.isfinite(there).all() and jnp.abs(there).sum(-1).all()
    np.testing.assert_allclose(there, back[::-1], rtol=1e-4, atol=1e-6)


def test_two_devices_have_the_loss_and_the_gradient_of_one(views):
    def alone(pair):
        return losses.nt_xent(*pair, TEMPERATURE)[0]

    @partial(jax.vmap, in_axes=1, axis_name='i')
    def of_device(pair):
        return losses.nt_xent(*pair, TEMPERATURE, 'i')

    def halves(pair):
        return of_device(pair.reshape(2, 2, ITEMS // 2, SPACE))

    loss, scores = halves(views)
    np.testing.assert_allclose(loss.ravel(), alone(views), rtol=1e-6)
    whole = losses.nt_xent(*views, TEMPERATURE)[1]
    np.testing.assert_allclose(scores.reshape(whole.shape), whole, rtol=1e-6)
    # Each device's loss weighs otherwise, so that what comes back through the gathering shows.
    weights = jnp.arange(1.0, ITEMS + 1)
    one, two = (
        jax.grad(lambda pair, f=f: f(pair) @ weights)(views)
        for f in (alone, lambda pair: halves(pair)[0].ravel())
    )
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


def test_a_listener_loss_of_the_config_is_nt_xent_of_one_device_or_all(views):
    config = ConfigDict({'temperature': TEMPERATURE, 'across_devices': True})
    function = losses.LISTENER_LOSSES['nt_xent'].function

    @partial(jax.vmap, in_axes=1, axis_name='i')
    def judged(pair):
        guess = Guess(*pair, {})
        batch = Batch(*pair, {}, jnp.arange(ITEMS // 2), jnp.ones(ITEMS // 2))
        return function(guess, batch, config, KEY, 'i')

    halves = views.reshape(2, 2, ITEMS // 2, SPACE)
    loss, correct = judged(halves)
    expected, scores = losses.nt_xent(*views, TEMPERATURE)
    np.testing.assert_allclose(loss.ravel(), expected, rtol=1e-6)
    hits = scores.argmax(1) == np.arange(ITEMS)
    np.testing.assert_array_equal(correct.ravel(), hits)
    assert 0 < hits.sum() < ITEMS
    config.across_devices = False
    local = [losses.nt_xent(*halves[:, i], TEMPERATURE)[0] for i in range(2)]
    np.testing.assert_allclose(judged(halves)[0], local, rtol=1e-6)


# --- the game -------------------------------------------------------------------------------------


def config_of(changes=None):
    config = recipe.get_config('debug')
    config.update_from_flattened_dict(
        {
            'data.batch_size': ITEMS,
            'channel.vocab_size': UNITS,
            'listener.projection_sizes': (SPACE,),
            'evaluation.num_candidates': (4,),
            'optimizer.shared.name': 'sgd',
            'optimizer.shared.learning_rate': 0.01,
            **(changes or {}),
        }
    )
    return config


@pytest.fixture(scope='module')
def pictures():
    # Coarse patterns, which differ more to a trunk than noise does.
    coarse = np.random.default_rng(0).integers(0, 256, (24, 2, 2, 3), np.uint8)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2)
    rows = np.arange(24, dtype=np.int32)
    split = Split(images, {'class': rows % 3, 'object': rows // 2})
    splits = dict.fromkeys(('train', 'valid', 'test'), split)
    return Source('pictures', splits, {'class': 3, 'object': 12})


@pytest.fixture(scope='module')
def bank(pictures):
    return make_bank(pictures.splits['train'], 'float32')


@pytest.fixture(scope='module')
def trained(pictures, bank):
    """The population before and after three steps on one batch, and the scalars of each."""
    config = config_of()
    check(config, pictures, num_devices=1)
    game = GAMES['simclr'].make(config, pictures)
    optimizers = Optimizers(
        None,
        *(make_optimizer(config.optimizer[role], 10, ITEMS) for role in ('listener', 'shared')),
    )
    rows = jnp.arange(2)
    example = look_at(bank, rows, rows, KEY, 0.0)
    before = jax.jit(lambda: init_population(game, optimizers, KEY, example, 1, 1))()
    meetings = make_meetings(config.population)
    step = updates.communicate(game, optimizers, meetings, 'unroll', 0.9, axis_name=None)

    @jax.jit
    def advance(population, number):
        batch = draw(bank, KEY, jnp.array(0), ITEMS, noise=1.0, axis_name=None)
        return step(KEY, number, population, batch)

    population, scalars = before, []
    for number in range(3):
        population, logged = advance(population, jnp.array(number))
        scalars.append(jax.device_get(logged))
    return before, population, scalars


def test_training_lowers_the_loss_and_moves_the_shared_network_alone(trained):
    before, after, scalars = trained
    assert scalars[-1]['listener_loss'] < scalars[0]['listener_loss']
    assert all(np.isfinite(logged['loss']) for logged in scalars)
    for role in ('speakers', 'listeners'):
        old, new = (getattr(members, role).agent for members in (before, after))
        jax.tree.map(np.testing.assert_array_equal, old, new)
        assert all(leaf.shape[0] == 1 for leaf in jax.tree.leaves(new))
    old, new = before.shared.agent, after.shared.agent
    assert {path.split('/')[0] for path in new.params} == {'trunk', 'hidden', 'norm', 'output'}
    for kept, learnt in zip(jax.tree.leaves(old.params), jax.tree.leaves(new.params), strict=True):
        # What a batch norm follows needs no bias.
        assert np.any(kept != learnt) or kept.shape == (UNITS,)
    for kept, learnt in zip(jax.tree.leaves(old.state), jax.tree.leaves(new.state), strict=True):
        assert np.any(kept != learnt)


@pytest.fixture(scope='module')
def layers(trained, bank):
    """What the trained network makes of all images, h, s and z, [N, ...], and the weights [s, z] of
    its output: the trunk is the only part of the game that is run."""
    shared = jax.device_get(trained[1].shared.agent)
    rows = jnp.arange(len(bank.inputs))
    images = look_at(bank, rows, rows, KEY, 0.0).speaker_inputs
    trunk = hk.transform_with_state(
        lambda x: make_trunk(config_of().speaker.trunk)(x, False).pooled
    )
    own = {path: leaves for path, leaves in shared.params.items() if path.startswith('trunk')}
    h, _ = jax.jit(lambda x: trunk.apply(own, shared.state, None, x))(images)
    s = np.maximum(project(shared, h), 0)
    weights = shared.params['output']['w']
    return {'h': np.asarray(h), 's': s, 'z': s @ weights}, weights, shared


def project(shared, h):
    """The linear layer and the batch norm in evaluation, in NumPy."""
    linear, norm, state = (
        *(shared.params[name] for name in ('hidden', 'norm')),
        shared.state['norm'],
    )
    x = np.asarray(h) @ linear['w'] + linear['b']
    x = (x - state['mean']) / np.sqrt(state['variance'] + 1e-5)
    return x * norm['scale'] + norm['offset']


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


@pytest.mark.parametrize('layer', ['h', 's', 'z'])
def test_in_evaluation_the_most_active_unit_is_said_and_understood_by_what_follows_it(
    layer, trained, layers, pictures, bank
):
    values, weights, shared = layers
    config = config_of(
        {'evaluation.symbols_from': layer, 'evaluation.num_candidates': (len(bank.inputs),)}
    )
    game = GAMES['simclr'].make(config, pictures)
    record = Evaluator(game, config)(trained[1], bank, 'valid', 3, seed=0)
    assert record.kind == 'symbols'
    assert record.vocab_size == {'h': FEATURES, 's': UNITS, 'z': SPACE}[layer]
    np.testing.assert_allclose(record.meanings, values[layer], rtol=1e-3, atol=1e-4)
    symbols = values[layer].argmax(1)
    np.testing.assert_array_equal(record.messages[0, :, 0], symbols)
    assert len(set(symbols.tolist())) > 1
    # A one-hot vector in place of the layer, and what of the network follows.
    meanings = {
        'h': lambda: np.maximum(project(shared, np.eye(FEATURES)), 0) @ weights,
        's': lambda: weights,
        'z': lambda: np.eye(SPACE),
    }[layer]()
    scores = unit(meanings[symbols]) @ unit(values['z']).T / config.loss.listener.temperature
    own = -np.diag(scipy.special.log_softmax(scores, 1))
    np.testing.assert_allclose(record.loss[0, 0, 0], own, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(record.correct[0, 0, 0] > 0, scores.argmax(1) == np.arange(24))


def test_on_the_noise_ladder_it_plays_as_on_images(trained, pictures, bank, monkeypatch):
    """What listeners see is how well symbols fit, not the layer that speakers see."""
    monkeypatch.setattr(noise_ladder, 'LADDER', {'as_it_is': lambda key, images: images})
    monkeypatch.setattr(noise_ladder, 'FROM_IMAGES', ('as_it_is',))
    config = config_of({'evaluation.noise_images': len(bank.inputs)})
    game = GAMES['simclr'].make(config, pictures)
    climbed = noise_ladder.NoiseLadder(game, config)(trained[1], bank, seed=0)
    record = Evaluator(game, config)(trained[1], bank, 'valid', 3, seed=0)
    assert climbed.num_candidates == record.num_candidates
    np.testing.assert_allclose(climbed.correct['as_it_is'], record.correct, atol=1e-6)
    assert record.correct.std() > 0


@pytest.mark.parametrize('variant', ['', 'imagenet', 'debug'])
def test_data_trunk_and_steps_are_those_of_the_discrimination_game(variant):
    ours, theirs = recipe.get_config(variant), discrimination.get_config(variant)
    assert ours.data == theirs.data and ours.speaker.trunk == theirs.speaker.trunk
    assert ours.training_steps == theirs.training_steps
    for key in ('noise_ladder', 'noise_images', 'num_candidates', 'every'):
        assert ours.evaluation[key] == theirs.evaluation[key], key


@pytest.fixture(scope='module')
def played(trained, pictures, bank):
    """A play of two views on one device and on two, and the gradients of the shared network:
    (episode, terms, gradients)."""
    rows = jnp.arange(ITEMS)
    batch = look_at(bank, rows, rows, KEY, 0.5)
    members = trained[1]

    def play(axis_name):
        game = GAMES['simclr'].make(config_of(), pictures, axis_name)

        def loss(params, part):
            speaker, listener = (
                jax.tree.map(lambda leaf: leaf[0], role.agent)
                for role in (members.speakers, members.listeners)
            )
            pair = Pair(speaker, listener, {}, Agent(params, members.shared.agent.state))
            episode, pair = game.play(pair, KEY, part, jnp.array(0))
            terms = game.terms(episode, KEY, part, axis_name)
            total = sum(term.coefficient * term.value.sum() for term in terms.values())
            return total, (episode, terms, pair.shared.state)

        def run(part):
            grads, rest = jax.grad(loss, has_aux=True)(members.shared.agent.params, part)
            return *rest, updates.sum_over_devices(grads, axis_name)

        return run

    halves = jax.tree.map(lambda leaf: leaf.reshape(2, ITEMS // 2, *leaf.shape[1:]), batch)
    one = jax.jit(play(None))(batch)
    two = jax.jit(jax.vmap(play('i'), axis_name='i'))(halves)
    return batch, one, two


def test_a_play_is_worth_nt_xent_of_the_two_views(played):
    _, (episode, terms, _, _), _ = played
    guess, message = episode.guess, episode.utterance.message
    assert guess.prediction.shape == guess.candidates.shape == (ITEMS, SPACE)
    assert np.any(guess.prediction != guess.candidates)
    expected = nt_xent_by_hand(guess.prediction, guess.candidates, 0.1)
    np.testing.assert_allclose(terms['listener_loss'].value, expected, rtol=1e-4)
    assert terms['listener_loss'].coefficient == 1 and terms['accuracy'].coefficient == 0
    assert message.relaxed.shape == (ITEMS, 1, UNITS) and (message.relaxed >= 0).all()
    np.testing.assert_array_equal(message.symbols, message.relaxed.argmax(-1))


def test_all_of_the_network_learns(played):
    *_, gradients = played[1]
    for path, leaves in gradients.items():
        for name, leaf in leaves.items():
            assert jnp.isfinite(leaf).all()
            assert jnp.any(leaf) or (path, name) == ('hidden', 'b')


def test_two_devices_play_as_one(played):
    _, (_, terms, state, gradients), (_, parts, states, sums) = played
    for name, term in terms.items():
        np.testing.assert_allclose(parts[name].value.ravel(), term.value, rtol=1e-3, atol=1e-4)
    for whole, each in ((state, states), (gradients, sums)):
        for one, two in zip(jax.tree.leaves(whole), jax.tree.leaves(each), strict=True):
            size = max(float(jnp.abs(one).max()), 1.0)
            np.testing.assert_allclose(two[0], one, rtol=1e-2, atol=2e-4 * size)


def test_what_is_heard_is_the_message_alone(trained, pictures, played):
    game, batch, episode = GAMES['simclr'].make(config_of(), pictures), played[0], played[1][0]
    pair = Pair(Agent({}, {}), Agent({}, {}), {}, trained[1].shared.agent)
    other = batch._replace(speaker_inputs=batch.speaker_inputs[::-1])
    message = episode.utterance.message

    @jax.jit
    def replay(batch, message):
        return game.play(pair, KEY, batch, jnp.array(0), message)[0].guess

    np.testing.assert_allclose(
        replay(other, message).prediction, episode.guess.prediction, rtol=1e-3, atol=1e-4
    )
    said = replay(batch, message._replace(relaxed=None)).prediction
    rows = message.symbols[:, 0]
    np.testing.assert_allclose(
        said, trained[1].shared.agent.params['output']['w'][rows], rtol=1e-4, atol=1e-6
    )
    # In evaluation features are not looked at again, and the listener reads its own alone.
    features = jnp.abs(jnp.arange(UNITS * 3.0).reshape(3, UNITS) % 7)
    seen = Batch(features, features, {}, jnp.arange(3), jnp.ones(3))
    assert game.look(pair.shared, seen) is seen
    assert game.perceive('speaker', pair.speaker, features) is features
    spoken = game.say_greedy(pair.speaker, seen)
    for inputs in (features, jnp.full_like(features, jnp.nan)):
        blind = seen._replace(speaker_inputs=inputs)
        guess = game.hear_greedy(pair.listener, KEY, blind, spoken, 0.0)
        np.testing.assert_array_equal(guess.prediction.argmax(1), features.argmax(1))
        np.testing.assert_array_equal(guess.candidates, features)
    noisy = game.hear_greedy(pair.listener, KEY, seen, spoken, 1.0)
    assert (noisy.prediction.argmax(1) != features.argmax(1)).all()


def test_the_paper_s_optimizer_takes_what_speakers_and_listeners_are(trained):
    config = recipe.get_config('imagenet')
    assert config.optimizer.shared.name == 'lars'
    optimizer = make_optimizer(config.optimizer.shared, 10, ITEMS)
    one = {name: trained[1].shared.agent.params[name] for name in ('norm', 'output')}
    params = one | {'nothing': {'w': jnp.zeros(1)}}
    grads = jax.tree.map(jnp.zeros_like, params)
    state = optimizer.init(params)
    moved, _ = optimizer.update(grads, state, params, jnp.array(1))
    assert np.isfinite(optax.tree.norm(moved)) and not moved['nothing']['w'].any()


# --- the recipe -----------------------------------------------------------------------------------


@pytest.mark.parametrize('variant', [*recipe.VARIANTS, ''])
def test_every_variant_is_possible(variant, pictures):
    config = recipe.get_config(variant)
    config.data.batch_size = ITEMS
    check(config, pictures, num_devices=1)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'game.shared_trunk': False}, 'must be True as SimCLR is one network'),
        ({'game.views': 'same'}, 'is one view'),
        ({'game.input_noise': -1.0}, 'must not be negative'),
        ({'speaker.trunk.name': 'resnet9'}, 'must be one of'),
        ({'speaker.trunk.frozen': True}, 'must be False'),
        ({'listener.trunk.name': 'resnet10'}, 'must be None as SimCLR is one network'),
        ({'listener.projection_sizes': (8, 8)}, 'must hold one number'),
        ({'channel.kind': 'gumbel'}, "must be 'categorical'"),
        ({'channel.vocab_size': 1}, 'must be at least 2'),
        ({'channel.length': 2}, 'must be 1'),
        ({'channel.variable_length': True}, 'must be False'),
        ({'channel.noise': 0.1}, 'must be 0.0'),
        ({'channel.shuffled': True}, 'must be False'),
        ({'loss.speaker.name': 'reinforce'}, "must be 'none' as no speaker learns"),
        ({'loss.speaker.entropy': 0.1}, 'must be 0.0 as no speaker learns'),
        ({'loss.speaker.kl': 0.1}, 'must be 0.0 as no speaker learns'),
        ({'loss.speaker.length_cost': 0.1}, 'must be 0.0 as no speaker learns'),
        ({'loss.listener.name': 'info_nce'}, "must be 'nt_xent'"),
        ({'loss.listener.num_distractors': 3}, 'means nothing'),
        ({'loss.listener.temperature': 0.0}, 'must be above 0'),
        ({'population.num_speakers': 2}, 'must be 1'),
        ({'population.num_listeners': 2}, 'must be 1'),
        ({'population.listener_speeds': (0.5,)}, 'must be None'),
        ({'updates.reset.who': 'listener', 'updates.reset.every': 5}, 'nobody|no agent to reset'),
        ({'evaluation.symbols_from': 'x'}, 'must be one of h, s, z'),
        ({'experiment': 'newcomer'}, 'agents that learn'),
    ],
    ids=lambda value: list(value)[-1] if isinstance(value, dict) else '',
)
def test_what_means_nothing_is_refused_in_a_sentence(changes, sentence, pictures):
    config = config_of(changes)
    key, value = list(changes.items())[-1]
    with pytest.raises(ValueError, match=f'^{re.escape(f"{key}={value!r} ")}.*({sentence})'):
        check(config, pictures, num_devices=1)


def test_groups_and_imitation_are_refused(pictures):
    changes = {'speaker.groups': ({'head': 'policy'},)}
    with pytest.raises(ValueError, match='must be None as SimCLR is one network'):
        check(config_of(changes), pictures, num_devices=1)
    with pytest.raises(ValueError, match='must be unset'):
        check(config_of({'updates.imitate.every': 5}), pictures, num_devices=1)


def test_features_are_refused(pictures):
    split = Split(np.zeros((24, 4), np.float32), {'class': np.arange(24, dtype=np.int32) % 3})
    source = pictures._replace(splits=dict.fromkeys(pictures.splits, split))
    with pytest.raises(ValueError, match="^game.views='augmented' needs images, and pictures has"):
        check(config_of(), source, num_devices=1)
