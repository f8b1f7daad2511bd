"""The sketching game: what is drawn and seen is what was published; who learns; what does not
leak."""

import importlib
import re
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from pictures import population_of
from sketches import (
    BATCH,
    FROZEN,
    GAME,
    GATES,
    KEY,
    LIKENESS,
    OWN,
    ROLES,
    SETTINGS,
    SIDE,
    SPACE,
    STEP,
    STROKES,
    bank_of,
    batch_of,
    config_of,
    game_of,
    gradients_of,
    pair_of,
    play_of,
    source_of,
)

from emcom_jax import losses
from emcom_jax.agents.sketching import POINTS, make_drawing
from emcom_jax.checks import check
from emcom_jax.data.bank import make_bank
from emcom_jax.data.batches import look_at
from emcom_jax.experiments import trunks
from emcom_jax.games import GAMES
from emcom_jax.population import Optimizers
from emcom_jax.types import Source, Split


@cache
def played(name):
    """One play: game, pair, batch, gradients and what came of it."""
    changes = SETTINGS[name]
    check(config_of(changes), source_of(), 1)
    game, batch = game_of(changes), batch_of(changes)
    pair = pair_of(game, batch)
    return game, pair, batch, *jax.device_get(jax.jit(partial(gradients_of, game))(pair, batch))


# --- contracts ------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', SETTINGS)
def test_a_play_holds_what_types_says(name):
    channel = config_of(SETTINGS[name]).channel
    _, _, _, _, (episode, after, terms) = played(name)
    chex.assert_tree_all_finite((episode, terms))
    message, values = episode.utterance.message, 2 * POINTS[channel.stroke] + channel.gates
    chex.assert_shape(message.relaxed, (BATCH, STROKES, values))
    chex.assert_shape((message.symbols, message.mask, message.end), (BATCH, STROKES))
    assert not message.symbols.any() and set(np.unique(message.mask)) <= {0.0, 1.0}
    assert np.abs(message.relaxed).max() <= 1
    if not channel.gates:
        assert message.mask.all()
    chex.assert_shape((episode.guess.prediction, episode.guess.candidates), (BATCH, SPACE))
    for term in terms.values():
        chex.assert_shape((term.value, term.weight), (BATCH,))
    assert terms['message_length'].value.tolist() == message.mask.sum(axis=1).tolist()


@pytest.mark.parametrize('name', SETTINGS)
def test_all_that_learns_has_a_gradient_and_nothing_else(name):
    config = config_of(SETTINGS[name])
    _, _, _, gradients, _ = played(name)
    for role, tree in zip(ROLES, gradients, strict=True):
        frozen = config['listener' if role == 'listener' else 'speaker'].trunk.frozen
        for path, leaves in tree.items():
            for leaf, value in leaves.items():
                stays = frozen and path.startswith('trunk')
                assert np.any(value) != stays, (role, path, leaf)


@pytest.mark.parametrize('name', ['likeness', 'original'])
def test_greedy_listeners_see_what_is_seen_in_training(name):
    # The batch statistics of a frozen trunk are those of evaluation.
    changes = SETTINGS[name] | FROZEN | {'channel.sigma2_end': None}
    game, batch = game_of(changes), batch_of(changes)
    pair = pair_of(game, batch)

    @jax.jit
    def both():
        looked = game.look(pair.shared, batch)
        message = game.say_greedy(pair.speaker, looked)
        shown = game.show(pair.shared, message)
        guess = game.hear_greedy(pair.listener, KEY, looked, shown, 0.0)
        return guess, game.play(pair, KEY, batch, STEP, message)[0].guess

    for ours, theirs in zip(*jax.tree.map(np.asarray, both())[:2], strict=True):
        if theirs is not None:
            chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-5)


# --- as published ---------------------------------------------------------------------------------


def test_agents_have_the_layers_of_the_paper():
    recipe = importlib.import_module('configs.sketching').get_config('stl10_original')
    split = Split(np.zeros((4, 96, 96, 3), np.uint8), {})
    source = Source('images', dict.fromkeys(('train', 'valid', 'test'), split), {})
    game = GAMES['sketching'].make(recipe, source)
    batch = look_at(make_bank(split, 'float32'), jnp.arange(2), jnp.arange(2), KEY, 0.0)
    made = jax.eval_shape(
        lambda: tuple(init(KEY, batch) for init in (game.init_speaker, game.init_listener))
    )
    shared = jax.eval_shape(lambda: game.init_shared(KEY, batch))
    sizes = [
        sorted(leaf.shape for leaf in jax.tree.leaves(agent.params) if leaf.ndim == 2)
        for agent in made
    ]
    # Two hidden layers, and 20 lines of four coordinates; an MLP of the listener.
    assert sizes == [[(64, 64), (64, 256), (256, 80)], [(64, 64), (64, 64)]]
    assert shared.params['projection']['w'].shape == (18432, 64)
    trunk = {path: each for path, each in shared.params.items() if path.startswith('trunk')}
    # torchvision's VGG16 has 14,714,688 parameters before its classifier.
    assert sum(leaf.size for leaf in jax.tree.leaves(trunk)) == 14_714_688


def test_the_drawing_is_black_lines_on_white():
    game, _, _, _, (episode, _, _) = played('frozen')
    message = episode.utterance.message
    lines = message.relaxed.reshape(BATCH, STROKES, 2, 2)
    # By the definition: the distance of each pixel to each segment, in NumPy.
    nodes = np.stack(np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2, indexing='ij'), -1)
    start, along = lines[:, :, 0, None, None], (lines[:, :, 1] - lines[:, :, 0])[:, :, None, None]
    t = np.clip(((nodes - start) * along).sum(-1) / (along**2).sum(-1), 0, 1)
    d2 = ((nodes - start - t[..., None] * along) ** 2).sum(-1)
    ink = 1 - np.prod(1 - np.exp(-d2 / 0.05), axis=1)
    image = np.asarray(game._drawing(message, 0.05))
    assert image.shape == (BATCH, SIDE, SIDE, 3)
    for channel in range(3):
        np.testing.assert_allclose(image[..., channel], ((1 - ink) - 0.5) / 0.5, atol=1e-4)


def test_what_is_heard_is_computed_by_hand():
    game, pair, batch, _, (episode, _, terms) = played('frozen')
    shared, listener = pair.shared, pair.listener.params
    images = game._drawing(episode.utterance.message, 0.05)
    seen = [
        np.asarray(game._see('speaker', pair, x).maps['layer4']).reshape(BATCH, -1)
        for x in (images, batch.listener_inputs)
    ]

    def linear(x, layer):
        return x @ np.float64(layer['w']) + np.float64(layer['b'])

    names = sorted(listener)
    made = []
    for flat in seen:
        hidden = linear(linear(flat, shared.params['projection']), listener[names[0]])
        made.append(linear(np.maximum(hidden, 0), listener[names[1]]))
    np.testing.assert_allclose(episode.guess.prediction, made[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(episode.guess.candidates, made[1], rtol=1e-3, atol=1e-4)
    for i in range(BATCH):  # Games of four in a row.
        first = i // GAME * GAME
        scores = made[1][first : first + GAME] @ made[0][i]
        margins = [max(0, 1 - scores[i % GAME] + s) for j, s in enumerate(scores) if j != i % GAME]
        np.testing.assert_allclose(terms['listener_loss'].value[i], sum(margins) / GAME, rtol=1e-3)
        right = scores.argmax() == i % GAME
        assert terms['accuracy'].value[i] == right


def test_the_width_of_strokes_follows_the_schedule():
    game = game_of(SETTINGS['original'])
    widths = [float(game._sigma2(jnp.array(step))) for step in (0, 50, 100, 1000)]
    np.testing.assert_allclose(widths, [0.05, (0.05 * 0.01) ** 0.5, 0.01, 0.01], rtol=1e-5)
    assert game_of({})._sigma2(STEP) == 0.05


# --- losses ---------------------------------------------------------------------------------------


def test_hinge_is_that_of_the_paper():
    # By the definition; and by hand: 0.5 + 1.5 of the first, nothing of the second.
    scores = np.array([[1.0, 0.5, 1.5, -3.0], [0.0, 5.0, 1.0, 4.0]])
    target = np.array([0, 1])
    np.testing.assert_allclose(losses.hinge(scores, target, 'sum'), [2.0, 0.0])
    np.testing.assert_allclose(losses.hinge(scores, target), [0.5, 0.0])
    rng = np.random.default_rng(0)
    scores, target = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    wanted = [
        sum(max(0, 1 - row[y] + s) for j, s in enumerate(row) if j != y)
        for row, y in zip(scores, target, strict=True)
    ]
    np.testing.assert_allclose(losses.hinge(scores, target, 'sum'), wanted, rtol=1e-5)
    np.testing.assert_allclose(losses.hinge(scores, target), np.array(wanted) / 5, rtol=1e-5)


def test_candidates_are_those_of_the_game():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 6, 3))
    scores, own = losses.inner_products(x, y, 3)
    np.testing.assert_allclose(scores[:3], x[:3] @ y[:3].T, rtol=1e-5)
    np.testing.assert_allclose(scores[3:], x[3:] @ y[3:].T, rtol=1e-5)
    assert own.tolist() == [0, 1, 2] * 2
    scores, own = losses.inner_products(x, y)
    np.testing.assert_allclose(scores, x @ y.T, rtol=1e-5)
    assert own.tolist() == list(range(6))
    halves = jax.vmap(partial(losses.inner_products, axis_name='i'), axis_name='i')
    scores, own = halves(x.reshape(2, 3, 3), y.reshape(2, 3, 3))
    np.testing.assert_allclose(scores.reshape(6, 6), x @ y.T, rtol=1e-5)
    assert own.ravel().tolist() == list(range(6))


def test_the_likelihood_is_of_the_scores():
    _, _, _, _, (episode, _, terms) = played('gates')
    made = zip(*(np.split(np.float64(x), 2) for x in episode.guess[:2]), strict=True)
    scores = np.concatenate([p @ c.T for p, c in made])
    wanted = -scipy.special.log_softmax(scores, 1)[np.arange(BATCH), np.arange(BATCH) % GAME]
    np.testing.assert_allclose(terms['listener_loss'].value, wanted, rtol=1e-4, atol=1e-5)


def test_likeness_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((2, 3, size, size, c)) for size, c in ((4, 2), (2, 5))]
    wanted = np.zeros(3)
    for weight, (x, y) in zip((0.5, 2.0), maps, strict=True):
        x, y = (z / np.sqrt((z**2).sum(-1, keepdims=True)) for z in (x, y))
        wanted += weight * ((x - y) ** 2).sum(-1).mean((1, 2))
    found = losses.perceptual([tuple(map(jnp.asarray, pair)) for pair in maps], (0.5, 2.0))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    nothing = jnp.zeros((1, 2, 2, 3))
    steepness = jax.grad(lambda x: losses.perceptual([(x, nothing + 1)], (1.0,))[0])(nothing)
    assert np.isfinite(steepness).all()


def test_likeness_teaches_the_speaker_alone():
    changes = LIKENESS | {'loss.perceptual.coefficient': 1000.0}
    game, batch = game_of(changes), batch_of(changes)
    pair = pair_of(game, batch)
    (speaker, listener, shared), _ = jax.jit(partial(gradients_of, game))(pair, batch)
    _, _, _, (before, heard, _), _ = played('likeness')
    chex.assert_trees_all_close(listener, heard, rtol=1e-3, atol=1e-5)
    strokes = next(path for path in speaker if path.endswith('strokes'))
    assert np.abs(speaker[strokes]['w']).sum() > 100 * np.abs(before[strokes]['w']).sum()
    assert not any(np.any(x) for path in shared if 'trunk' in path for x in shared[path].values())


# --- who sees what --------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['frozen', 'own'])
def test_nothing_leaks_past_the_drawing(name):
    game, pair, batch, _, (episode, _, _) = played(name)
    message = episode.utterance.message._replace(seen=None)

    @jax.jit
    def scores(images, message):
        one = batch._replace(speaker_inputs=images)
        guess = game.play(pair, KEY, one, STEP, message)[0].guess
        return (guess.prediction * guess.candidates).sum()

    private, drawn = jax.grad(scores, (0, 1), allow_int=True)(batch.speaker_inputs, message)
    assert not np.any(private) and np.any(drawn.relaxed)


def test_features_that_were_seen_once_play_as_images_do():
    config, game = config_of(LIKENESS), game_of(LIKENESS)
    batch, bank = batch_of(LIKENESS), bank_of(LIKENESS)
    pair = pair_of(game, batch)
    rows = jnp.arange(BATCH)

    members = population_of([pair], Optimizers(None, None, None))
    members = jax.tree.map(lambda leaf: leaf[None], members)
    assert trunks.sees_once(config, game, members)
    seen = trunks.seen_once(config, game, members, bank)
    assert seen.inputs.ndim == 2 and seen.images.inputs.ndim == 4 and seen.classes is not None
    play = jax.jit(partial(play_of, game))
    one, two = (play(pair, look_at(each, rows, rows, KEY, 0.0))[1][::2] for each in (bank, seen))
    chex.assert_trees_all_close(one, two, rtol=1e-3, atol=1e-4)
    assert not trunks.sees_once(config_of({}), game_of({}), members)
    # Without the loss that reads images nothing but features is kept.
    plain = trunks.seen_once(config_of(FROZEN), game_of(FROZEN), members, bank)
    assert plain.images is None
    np.testing.assert_allclose(plain.inputs, seen.inputs, rtol=1e-5)


def test_a_trunk_that_learns_has_the_statistics_of_images():
    game, pair, batch, _, (_, after, _) = played('shared')
    state = jax.jit(lambda: game._learn_to_see('speaker', pair, batch.speaker_inputs))()[1]
    twice = jax.jit(lambda: game._learn_to_see('listener', state, batch.listener_inputs))()[1]
    chex.assert_trees_all_close(after.shared.state, twice.shared.state, rtol=1e-5)
    _, frozen, _, _, (_, later, _) = played('frozen')
    chex.assert_trees_all_equal(later.shared.state, frozen.shared.state)


# --- gates ----------------------------------------------------------------------------------------


def test_gates_open_as_often_as_their_logits_say():
    channel = config_of(GATES).channel
    logits = jnp.array([-2.0, 0.0, 1.0])
    raw = jnp.concatenate([jnp.zeros((1, 3, 4)), logits[None, :, None]], axis=-1)
    raw = jnp.broadcast_to(raw, (4000, 3, 5))
    noise = jax.random.logistic(KEY, (4000, 3))
    message = make_drawing(raw, channel, noise)
    wanted = scipy.special.expit(np.array(logits))
    np.testing.assert_allclose(message.mask.mean(0), wanted, atol=0.03)
    np.testing.assert_array_equal(message.relaxed[..., -1], message.mask)
    greedy = make_drawing(raw[:1], channel, None)
    assert greedy.mask.tolist() == [[0, 0, 1]]


def test_a_stroke_whose_gate_is_shut_is_not_drawn_and_has_a_gradient():
    game = game_of(SETTINGS['gates'] | {'channel.stroke': 'line'})
    raw = jax.random.normal(KEY, (2, STROKES, 5)).at[..., -1].set(jnp.array([3.0, -3.0, 3.0]))

    def ink(raw):
        return game._drawing(make_drawing(raw, config_of(GATES).channel, None), 0.05).sum()

    moved = raw.at[:, 1, :-1].add(1.0)
    assert float(ink(raw)) == float(ink(moved))
    slope = jax.grad(ink)(raw)
    assert np.all(slope[..., -1] != 0) and not np.any(slope[:, 1, :-1])


def test_strokes_cost():
    _, _, _, _, (episode, _, terms) = played('gates')
    np.testing.assert_allclose(
        terms['length_loss'].value, 0.1 * episode.utterance.message.mask.sum(axis=1), rtol=1e-6
    )


# --- configs --------------------------------------------------------------------------------------

REFUSED = [
    ({'game.shared_trunk': False}, 'game.shared_projection=True must be False without'),
    ({'loss.listener.name': 'info_nce'}, 'hinge, cross_entropy'),
    ({'loss.listener.reduction': 'max'}, 'mean, sum'),
    ({'loss.listener.num_distractors': 1}, 'must be 3, as a game has game.together=4 candidates'),
    (
        {'game.distractors': 'random', 'loss.listener.num_distractors': 2},
        'must divide the 8 examples of a device into games of 1 more',
    ),
    ({'game.together': 8, 'loss.listener.num_distractors': 7}, 'game.together=8 must be at most 6'),
    ({'channel.stroke': 'arc'}, 'line, quadratic, cubic, catmull_rom'),
    ({'channel.kind': 'gumbel'}, "must be 'drawing'"),
    ({'channel.vocab_size': 5}, 'must be 0 as a drawing has no vocabulary'),
    ({'channel.length': 0}, 'must be at least 1'),
    ({'channel.sigma2': 0.0}, 'must be above 0'),
    ({'channel.sigma2_end': -1.0}, 'must be above 0'),
    ({'channel.noise': 0.1}, 'must be 0.0'),
    ({'data.channels': 'own'}, "must be 'imagenet' or 'plain'"),
    ({'loss.speaker.name': 'reinforce'}, 'pathwise, none'),
    ({'loss.speaker.length_cost': 0.1}, 'needs channel.gates'),
    ({'loss.perceptual.coefficient': 1.0}, 'must be 0 unless speaker.trunk.frozen'),
    (LIKENESS | {'loss.perceptual.weights': (1.0,)}, 'for each of the 4 blocks of small_cnn'),
    ({'speaker.attention': 4}, 'needs game.shared_projection=False'),
    ({'listener.trunk.name': 'small_cnn'}, 'is not read: one trunk is shared'),
    (OWN | {'population.execution': 'vmap'}, 'would group convolutions'),
    ({'updates.imitate.every': 3}, 'as nobody imitates drawings'),
]


@pytest.mark.parametrize(('changes', 'sentence'), REFUSED)
def test_what_is_impossible_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        check(config_of(changes), source_of(), 1)


def test_drawings_need_images():
    split = Split(np.zeros((16, 4), np.float32), {'class': np.arange(16, dtype=np.int32)})
    features = Source('features', dict.fromkeys(('train', 'valid', 'test'), split), {'class': 16})
    with pytest.raises(ValueError, match='sees images: features has features'):
        check(config_of({}), features, 1)
