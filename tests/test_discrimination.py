"""The discrimination game: what is computed is what was published; who learns; what does not
leak."""

import importlib
import re
from functools import cache, partial

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from pictures import (
    BATCH,
    KEY,
    ROLES,
    STEP,
    VOCAB,
    bank_of,
    batch_of,
    cosines,
    game_of,
    gradients_of,
    pair_of,
    play_of,
    step_of,
)

from emcom_jax import channels, losses
from emcom_jax.data.bank import make_bank
from emcom_jax.data.batches import look_at
from emcom_jax.games import GAMES
from emcom_jax.types import Population, Source, Split


@cache
def played(sight):
    """One play of the published game: pair, batch, gradients and what came of it."""
    game, batch = game_of(sight), batch_of(bank_of(sight))
    pair = pair_of(game, batch)
    return pair, batch, *jax.device_get(jax.jit(partial(gradients_of, game))(pair, batch))


# --- as published ---------------------------------------------------------------------------------


def published():
    """The paper's recipe: what agents are made of, for images so large as the trunk allows."""
    recipe = importlib.import_module('configs.discrimination').get_config('imagenet')
    split = Split(np.zeros((4, 32, 32, 3), np.uint8), {})
    source = Source('images', dict.fromkeys(('train', 'valid', 'test'), split), {})
    game = GAMES['discrimination'].make(recipe, source)
    batch = look_at(make_bank(split, 'float32'), jnp.arange(2), jnp.arange(2), KEY, 0.0)
    return jax.eval_shape(
        lambda: (
            game.init_speaker(KEY, batch),
            game.init_listener(KEY, batch),
            game.init_shared(KEY, batch),
        )
    )


def test_agents_have_the_layers_of_the_paper():
    speaker, listener, trunk = jax.tree.map(jnp.shape, published())
    size, square = (2048,), (2048, 2048)
    norm = {'scale': size, 'offset': size}
    assert speaker.params == {
        'speaker/~/policy': {'w': square, 'b': size},
        'speaker/~/norm': norm,
    }
    assert listener.params == {
        'listener/embed': {'w': square},
        'listener/~_project/project1': {'w': square, 'b': size},
        'listener/~_project/norm1': norm,
        'listener/~_project/project': {'w': square},
    }
    averages = {'mean': size, 'variance': size}
    assert speaker.state == {'speaker/~/norm': averages}
    assert listener.state == {'listener/~_project/norm1': averages}
    # torchvision's ResNet-50 has 25,557,032 parameters, of which the classifier 2,049,000.
    assert sum(np.prod(leaf) for leaf in jax.tree.leaves(trunk.params, is_leaf=_is_shape)) == (
        25_557_032 - 2_049_000
    )


def _is_shape(tree):
    return isinstance(tree, tuple)


def by_hand(pair, batch, noise=None, temperature=1.0):
    """Logits [B, V], relaxed message, meaning and candidates [B, D], and the averages after it, in
    float64. Without noise as in evaluation."""
    inputs, others = (np.asarray(x, np.float64) for x in batch[:2])

    def norm(x, params, state):
        mean, variance, after = state['mean'], state['variance'], state
        if noise is not None:
            mean, variance = x.mean(0), x.var(0)
            unbiased = x.var(0, ddof=1)
            after = {
                'mean': 0.9 * state['mean'] + 0.1 * mean,
                'variance': 0.9 * state['variance'] + 0.1 * unbiased,
            }
        scaled = (x - mean) / np.sqrt(variance + 1e-5)
        return scaled * params['scale'] + params['offset'], after

    says, hears = (jax.tree.map(np.float64, pair.speaker), jax.tree.map(np.float64, pair.listener))
    policy = says.params['speaker/~/policy']
    logits, spoken = norm(
        inputs @ policy['w'] + policy['b'],
        says.params['speaker/~/norm'],
        says.state['speaker/~/norm'],
    )
    said = np.eye(VOCAB)[logits.argmax(1)]
    if noise is not None:
        said = scipy.special.softmax((logits + noise) / temperature, axis=1)
    meaning = said @ hears.params['listener/embed']['w']
    first = hears.params['listener/~_project/project1']
    hidden, heard = norm(
        others @ first['w'] + first['b'],
        hears.params['listener/~_project/norm1'],
        hears.state['listener/~_project/norm1'],
    )
    candidates = np.maximum(hidden, 0) @ hears.params['listener/~_project/project']['w']
    return logits, said, meaning, candidates, (spoken, heard)


def test_training_is_that_of_the_paper_by_hand():
    game = game_of('features', {'channel.temperature': 5.0})
    batch = batch_of(bank_of('features'), noise=0.3)
    pair = pair_of(game, batch)
    _, (episode, after, terms) = jax.jit(partial(play_of, game))(pair, batch)
    noise = channels.gumbel_noise(jax.random.split(KEY)[0], batch.position, 1, VOCAB)[:, 0]
    logits, said, meaning, candidates, averages = by_hand(pair, batch, np.float64(noise), 5.0)
    chances = scipy.special.log_softmax(logits, axis=1)
    close = partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
    close(episode.utterance.log_policy[:, 0], chances)
    close(episode.utterance.message.relaxed[:, 0], said)
    close(episode.guess.prediction, meaning)
    close(episode.guess.candidates, candidates)
    scores = cosines(meaning, candidates) / 0.1
    close(terms['listener_loss'].value, -np.diag(scipy.special.log_softmax(scores, axis=1)))
    np.testing.assert_array_equal(terms['accuracy'].value, scores.argmax(1) == np.arange(BATCH))
    for state, wanted in zip((after.speaker.state, after.listener.state), averages, strict=True):
        ((_, found),) = state.items()
        for name in ('mean', 'variance'):
            close(found[name], wanted[name])


def test_evaluation_is_by_running_averages_and_says_the_likeliest():
    game, batch = game_of('features'), batch_of(bank_of('features'), noise=0.3)
    pair = pair_of(game, batch)

    @jax.jit
    def evaluate(pair, batch):
        said = game.say_greedy(pair.speaker, batch)
        return said, game.hear_greedy(pair.listener, KEY, batch, said, 0.0)

    message, guess = evaluate(pair, batch)
    logits, said, meaning, candidates, _ = by_hand(pair, batch)
    assert message.relaxed is None and guess.memory is None
    np.testing.assert_array_equal(message.symbols[:, 0], logits.argmax(1))
    np.testing.assert_allclose(guess.prediction, meaning, rtol=1e-5)
    np.testing.assert_allclose(guess.candidates, candidates, rtol=2e-4, atol=2e-5)


# --- who learns -----------------------------------------------------------------------------------


@pytest.mark.parametrize('sight', ['features', 'shared', 'own'])
def test_who_plays_learns(sight):
    pair, _, gradients, (_, after, _) = played(sight)
    chex.assert_tree_all_finite(gradients)
    before_norm = re.compile('policy/b|project1/b')  # Its mean is taken off again.
    for role, gradient in zip((*ROLES, 'target'), gradients, strict=True):
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            name = jax.tree_util.keystr(path, simple=True, separator='/')
            learns = role != 'target' and not before_norm.search(name)
            assert np.any(np.abs(leaf) > 1e-6) == learns, (role, name)
    for role in ROLES:
        old, new = getattr(pair, role).state, getattr(after, role).state
        for one, other in zip(*map(jax.tree.leaves, (old, new)), strict=True):
            assert np.all(one != other)


def test_the_target_is_read_and_never_differentiated():
    game, batch = game_of('features', {'loss.speaker.kl': 0.5}), batch_of(bank_of('features'))
    pair = pair_of(game, batch)
    play = jax.jit(partial(gradients_of, game))
    gradients, (episode, _, terms) = play(pair, batch)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients[3]))
    assert terms['kl'].coefficient == 0.5 and (terms['kl'].value > 0).all()
    _, (again, _, terms) = play(pair._replace(target=pair.speaker.params), batch)
    np.testing.assert_allclose(terms['kl'].value, 0, atol=1e-6)
    assert np.any(again.target_log_policy != episode.target_log_policy)


FROZEN = {
    'trunk': ({'speaker.trunk.frozen': True}, {'shared'}),
    'speaker': ({'loss.speaker.name': 'none'}, {'speakers', 'targets', 'shared'}),
    'listener': ({'population.listener_learns': ()}, {'listeners', 'shared'}),
}


@pytest.mark.parametrize('who', FROZEN)
def test_the_frozen_stay_to_the_bit(who):
    """What comes out of a step is the very variable that went in: nothing is computed of it."""
    changes, stay = FROZEN[who]
    members, batch, step = step_of('shared', changes)
    # What an agent sees with does not move under it.
    program = jax.make_jaxpr(lambda *args: step(*args)[0])(members, batch).jaxpr
    unflatten = jax.tree.structure((members, batch)).unflatten
    before = unflatten(program.invars)[0]
    after = jax.tree.structure(members).unflatten(program.outvars)
    for name in Population._fields:
        pairs = zip(*(jax.tree.leaves(getattr(x, name)) for x in (before, after)), strict=True)
        same = [one is other for one, other in pairs]
        assert all(same) if name in stay else not any(same), name


@pytest.mark.parametrize('who', [*FROZEN, 'nobody'])
def test_a_trunk_that_stays_sees_by_its_running_averages(who):
    game, batch = game_of('shared', FROZEN.get(who, ({},))[0]), batch_of(bank_of('shared'))

    def state(pair, batch):
        return game.play(pair, KEY, batch, STEP)[1].shared.state

    program = jax.make_jaxpr(state)(pair_of(game, batch), batch).jaxpr
    moved = [out not in program.invars for out in program.outvars]
    assert all(moved) if who == 'nobody' else not any(moved)


@pytest.mark.parametrize('who', ['listener', 'nobody'])
@pytest.mark.parametrize('sight', ['shared', 'own'])
def test_a_frozen_listener_hears_by_running_averages(sight, who):
    """As in evaluation; one that learns hears by the averages of the batch."""
    game = game_of(sight, FROZEN.get(who, ({},))[0])
    batch = batch_of(bank_of(sight))
    pair = pair_of(game, batch)

    @jax.jit
    def both(pair, batch):
        features = game.look(pair.shared, batch)
        said = game.say_greedy(pair.speaker, features)
        heard = game.hear_greedy(pair.listener, KEY, features, said, 0.0)
        episode, after = game.play(pair, KEY, batch, STEP, said)
        return heard.candidates, episode.guess.candidates, after.listener

    stored, played, after = both(pair, batch)
    if who == 'listener':
        np.testing.assert_allclose(played, stored, rtol=1e-5, atol=1e-5)
        chex.assert_trees_all_equal(after, pair.listener)
    else:
        assert np.abs(played - stored).max() > 0.1


def test_frozen_trunks_of_agents_stay_with_their_statistics():
    members, batch, step = step_of('own', {'speaker.trunk.frozen': True})
    after, scalars = jax.jit(step)(members, batch)
    assert np.isfinite(scalars['loss']).all()
    for role, frozen in (('speakers', True), ('listeners', False)):
        old, new = getattr(members, role).agent, getattr(after, role).agent
        for before, now in zip(old, new, strict=True):  # Parameters and state.
            for module, leaf, value in hk.data_structures.traverse(before):
                stays = frozen and module.startswith('trunk/')
                if leaf != 'b':  # A bias before a norm hardly moves.
                    same = np.array_equal(value, now[module][leaf])
                    assert same == stays, (role, module, leaf)


# --- no leak --------------------------------------------------------------------------------------


@pytest.mark.parametrize('sight', ['features', 'shared'])
def test_the_speakers_view_reaches_no_score_but_by_the_message(sight):
    game, batch = game_of(sight), batch_of(bank_of(sight), noise=0.2)
    pair = pair_of(game, batch)
    message = channels.make_message(
        jnp.arange(BATCH, dtype=jnp.int32)[:, None] % VOCAB, None, False
    )

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def slopes(speaker_inputs, listener_inputs):
        seen = batch._replace(speaker_inputs=speaker_inputs, listener_inputs=listener_inputs)
        guess = game.play(pair, KEY, seen, STEP, message)[0].guess
        scores = losses.cosine_scores(guess.prediction, guess.candidates)
        return (scores * jnp.arange(BATCH**2).reshape(BATCH, BATCH)).sum()

    private, candidates = slopes(*batch[:2])
    assert not np.any(private)
    assert np.any(candidates)


def test_shuffled_messages_bring_accuracy_to_chance():
    game = game_of('features', {'channel.vocab_size': 32, 'listener.projection_sizes': (32, 16)})
    batch = batch_of(bank_of('features'))

    @jax.jit
    def trained(pair, batch):
        params = (pair.speaker.params, pair.listener.params, {})

        def step(number, params):
            key = jax.random.fold_in(KEY, number)

            def loss(params):
                whole = zip((pair.speaker, pair.listener), params, strict=False)
                agents = [agent._replace(params=own) for agent, own in whole]
                players = pair._replace(speaker=agents[0], listener=agents[1])
                episode, _ = game.play(players, key, batch, STEP)
                return game.terms(episode, key, batch, None)['listener_loss'].value.mean()

            return jax.tree.map(lambda w, g: w - 0.3 * g, params, jax.grad(loss)(params))

        return jax.lax.fori_loop(0, 300, step, params)

    @jax.jit
    def accuracy(pair, batch):
        said = game.say_greedy(pair.speaker, batch)

        def of_shifted(shift):
            message = jax.tree.map(lambda leaf: jnp.roll(leaf, shift, axis=0), said)
            guess = game.hear_greedy(pair.listener, KEY, batch, message, 0.0)
            return losses.info_nce(guess.prediction, guess.candidates)[1]

        scores = jax.vmap(of_shifted)(jnp.arange(BATCH))
        return losses.is_correct(scores, jnp.broadcast_to(jnp.arange(BATCH), scores.shape[:2]))

    pair = pair_of(game, batch)
    params = trained(pair, batch)
    # Averages of this batch alone, so that evaluation sees it as training did.
    learnt = pair._replace(
        speaker=pair.speaker._replace(params=params[0]),
        listener=pair.listener._replace(params=params[1]),
    )
    learnt = settled(game, learnt, batch)
    by_shift = accuracy(learnt, batch).mean(axis=1)
    assert by_shift[0] > 0.8
    np.testing.assert_allclose(by_shift.mean(), 1 / BATCH, rtol=1e-6)


def settled(game, pair, batch):
    """The pair after it has played the batch so often that running averages are its own."""

    def play(_, pair):
        return game.play(pair, KEY, batch, STEP)[1]

    return jax.jit(lambda pair: jax.lax.fori_loop(0, 200, play, pair))(pair)
