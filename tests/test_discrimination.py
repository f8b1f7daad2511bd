"""The discrimination game: what is computed is what was published; who learns; what does not leak;
every channel; memory; devices; what is refused."""

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
    COUNT,
    SPACE,
    VOCAB,
    bank_of,
    batch_of,
    config_of,
    game_of,
    pair_of,
    source_of,
    step_of,
)

from emcom_jax import channels, losses
from emcom_jax.checks import check
from emcom_jax.data.bank import make_bank
from emcom_jax.data.batches import look_at
from emcom_jax.games import AXIS, GAMES
from emcom_jax.types import Population, Source, Split

KEY = jax.random.key(0)
STEP = jnp.array(50)
ROLES = ('speaker', 'listener', 'shared')


def play_of(game, pair, batch, params=None, forced=None):
    """(loss, (episode, pair with new states, terms)) of a play by a pair with these parameters."""
    if params is not None:
        changes = {
            role: getattr(pair, role)._replace(params=own)
            for role, own in zip(ROLES, params, strict=False)
        }
        if len(params) == 4:
            changes['target'] = params[3]
        pair = pair._replace(**changes)
    episode, after = game.play(pair, KEY, batch, STEP, forced)
    terms = game.terms(episode, KEY, batch, None)
    loss = sum(term.coefficient * term.value.mean() for term in terms.values())
    return loss, (episode, after, terms)


def gradients_of(game, pair, batch):
    """Of the loss with respect to speaker, listener, trunk and target; and what `play_of` tells."""
    params = (pair.speaker.params, pair.listener.params, pair.shared.params, pair.target)
    return jax.grad(lambda params: play_of(game, pair, batch, params), has_aux=True)(params)


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


def cosines(x, y):
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    return x @ y.T / norms


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


@jax.disable_jit()
def test_the_target_is_read_and_never_differentiated():
    game, batch = game_of('features', {'loss.speaker.kl': 0.5}), batch_of(bank_of('features'))
    pair = pair_of(game, batch)
    gradients, (episode, _, terms) = gradients_of(game, pair, batch)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients[3]))
    assert terms['kl'].coefficient == 0.5 and (terms['kl'].value > 0).all()
    with_itself = pair._replace(target=pair.speaker.params)
    _, (again, _, terms) = play_of(game, with_itself, batch)
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


# --- every channel --------------------------------------------------------------------------------

WAYS = {
    'reinforce': {
        'channel.kind': 'categorical',
        'loss.speaker.name': 'reinforce',
        'speaker.head': 'policy_value',
    },
    'policy_gradient': {
        'channel.kind': 'categorical',
        'loss.speaker.name': 'policy_gradient',
        'speaker.head': 'policy_q_value',
    },
    'gumbel': {},
    'gumbel_scheduled': {'channel.temperature_mode': 'scheduled'},
    'gumbel_learned': {'channel.temperature_mode': 'learned'},
    'gumbel_st': {'channel.kind': 'gumbel_st'},
    'continuous': {'channel.kind': 'continuous'},
}
REGULARISED = {'loss.speaker.entropy': 0.01, 'loss.speaker.kl': 0.5}
TASKS = {
    'one_symbol': {},
    'three_symbols': {'channel.length': 3},
    'variable': {'channel.length': 3, 'channel.variable_length': True},
    'classification': {
        'loss.listener.name': 'classification',
        'evaluation.best_metric': 'accuracy',
    },
    'multi_classification': {
        'loss.listener.name': 'multi_classification',
        'loss.listener.label': 'attributes',
        'evaluation.best_metric': 'accuracy',
    },
    'sampled': {'loss.listener.num_distractors': 3},
    'noisy': {'channel.noise': 0.5},
}


def settings():
    for number, (way, changes) in enumerate(WAYS.items()):
        regularised = {} if way == 'continuous' else REGULARISED
        for task, more in TASKS.items():
            if way in ('reinforce', 'gumbel') or task in ('one_symbol', 'three_symbols'):
                sight = ('shared', 'own')[number % 2]
                yield f'{way}-{task}-{sight}', sight, regularised | changes | more


@pytest.mark.parametrize(
    ('sight', 'changes'), [s[1:] for s in settings()], ids=[s[0] for s in settings()]
)
def test_every_way_to_speak_of_images_has_its_shapes(sight, changes):
    check(config_of(sight, changes), source_of(sight), 1)
    game, batch = game_of(sight, changes), batch_shapes(sight)
    pair = jax.eval_shape(partial(pair_of, game), batch)
    # Nothing is computed.
    gradients, (episode, after, terms) = jax.eval_shape(partial(gradients_of, game), pair, batch)
    params = (pair.speaker.params, pair.listener.params, pair.shared.params, pair.target)
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, params)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, pair)
    length = changes.get('channel.length', 1)
    assert episode.utterance.log_policy.shape == (BATCH, length, VOCAB)
    assert {term.value.shape for term in terms.values()} == {(BATCH,)}


@cache
def batch_shapes(sight):
    return jax.eval_shape(lambda: batch_of(bank_of(sight)))


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('task', ['one_symbol', 'three_symbols', 'classification'])
@jax.disable_jit()
def test_every_way_to_speak_learns(way, task):
    changes = ({} if way == 'continuous' else REGULARISED) | WAYS[way] | TASKS[task]
    game, batch = game_of('features', changes), batch_of(bank_of('features'))
    pair = pair_of(game, batch)
    gradients, (episode, after, terms) = gradients_of(game, pair, batch)
    chex.assert_tree_all_finite((gradients, episode, after, terms))
    still = {
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients[:2])
        if not np.any(leaf)
    }
    assert not still
    value = episode.utterance.value
    assert (value is None) == (game.kind == 'continuous' or way.startswith('gumbel'))
    moved = jax.tree.map(lambda w, g: w - 0.01 * g, pair.speaker.params, gradients[0])
    loss, _ = play_of(game, pair, batch, (moved, pair.listener.params, {}))
    assert np.isfinite(loss)


# --- memory ---------------------------------------------------------------------------------------

MEMORY = 2 * BATCH + 3


@cache
def remembered():
    """The pair after 0, 1, 2 and 3 plays of batches that follow each other, and the episodes."""
    game = game_of('features', {'loss.listener.memory': MEMORY})
    bank = bank_of('features')
    first = batch_of(bank)
    pair = pair_of(game, first)
    empty = {**pair.listener.state, 'listener': {'memory': jnp.zeros((MEMORY, SPACE))}}
    pairs = [pair._replace(listener=pair.listener._replace(state=empty))]
    play, episodes = jax.jit(partial(play_of, game)), []
    for number in range(3):
        inputs = bank.inputs[number * BATCH :][:BATCH]
        batch = first._replace(speaker_inputs=inputs, listener_inputs=inputs)
        _, (episode, after, terms) = play(pairs[-1], batch)
        pairs.append(after)
        episodes.append((episode, terms))
    return game, pairs, episodes


def memory_of(pair):
    return np.asarray(pair.listener.state['listener']['memory'])


def test_the_newest_candidates_are_remembered_first():
    _, pairs, episodes = remembered()
    seen = [np.asarray(episode.guess.candidates) for episode, _ in episodes]
    for count in range(4):
        newest = np.concatenate([*reversed(seen[:count]), np.zeros((MEMORY, SPACE))])[:MEMORY]
        np.testing.assert_array_equal(memory_of(pairs[count]), newest)


def test_what_is_remembered_are_distractors_of_all():
    _, pairs, episodes = remembered()
    for count, (pair, (episode, terms)) in enumerate(zip(pairs, episodes, strict=False)):
        np.testing.assert_array_equal(episode.guess.memory, memory_of(pair))
        known = memory_of(pair)[: count * BATCH]
        both = np.concatenate([episode.guess.candidates, known]).astype(np.float64)
        scores = cosines(np.float64(episode.guess.prediction), both) / 0.1
        loss = -np.diag(scipy.special.log_softmax(scores, axis=1))
        np.testing.assert_allclose(terms['listener_loss'].value, loss, rtol=1e-3, atol=1e-4)
        right = scores.argmax(1) == np.arange(BATCH)
        np.testing.assert_array_equal(terms['accuracy'].value, right)


def test_nothing_is_learnt_from_what_is_remembered():
    game, _, episodes = remembered()
    batch, (episode, _) = batch_of(bank_of('features')), episodes[2]

    def loss(memory):
        return game.terms(
            episode._replace(guess=episode.guess._replace(memory=memory)), KEY, batch, None
        )['listener_loss'].value.sum()

    assert not np.any(jax.jit(jax.grad(loss))(episode.guess.memory))
    assert loss(episode.guess.memory) > loss(jnp.zeros((MEMORY, SPACE)))


def test_evaluation_neither_reads_nor_writes_memory():
    game, pairs, _ = remembered()
    batch = batch_of(bank_of('features'))
    said = game.say_greedy(pairs[0].speaker, batch)
    assert game.hear_greedy(pairs[3].listener, KEY, batch, said, 0.0).memory is None


# --- devices --------------------------------------------------------------------------------------


def test_two_devices_are_one_with_the_doubled_batch():
    """Loss, trunk, batch statistics and memory; a mapped axis stands in for devices."""
    changes = {'loss.listener.memory': BATCH + 3}
    members, batch, alone = step_of('shared', changes)
    one, scalars = jax.jit(alone)(members, batch)
    _, _, step = step_of('shared', changes, AXIS)
    halves = jax.tree.map(lambda leaf: leaf.reshape(2, -1, *leaf.shape[1:]), batch)
    two, both = jax.jit(jax.vmap(step, (None, 0), axis_name=AXIS))(members, halves)
    for device in range(2):
        own = jax.tree.map(lambda leaf, d=device: leaf[d], (two, both))
        chex.assert_trees_all_close(own, (one, scalars), rtol=2e-3, atol=2e-5)
    memory = one.listeners.agent.state['listener']['memory'][0]
    assert np.any(memory[:BATCH]) and memory.shape == (BATCH + 3, SPACE)
    moved = jax.tree.map(lambda a, b: np.any(a != b), members.shared.agent, one.shared.agent)
    assert all(jax.tree.leaves(moved))


# --- refusals -------------------------------------------------------------------------------------

WEIGHTS = {'speaker.trunk.weights': 'weights.npz'}
PAIRS = {'population.num_speakers': 2, 'population.num_listeners': 2}
REFUSED = [
    # What is seen with, the changes, the last of which is refused, and what the sentence says.
    ('shared', {'game.views': 'mirrored'}, 'same, augmented, viewpoint, same_class'),
    ('features', {'game.views': 'augmented'}, 'needs images, and tiny has features'),
    ('shared', {'evaluation.augment': True}, "no effect without game.views='augmented'"),
    ('shared', {'data.channels': 'rgb'}, 'own, imagenet, plain'),
    ('shared', {'game.distractors': 'family'}, 'random, neighbours, class, object'),
    ('shared', {'game.distractors': 'class', 'game.together': 3}, 'divide the batch .* is 8'),
    ('shared', {'game.distractors': 'class', 'game.together': 1}, 'at least 2'),
    ('shared', {'evaluation.distractors': 'easy'}, 'random, hard'),
    ('shared', {'evaluation.distractors': 'hard'}, "must be 'random' while game.distractors is"),
    ('features', {'loss.listener.memory': -1}, 'must be 0 unless'),
    ('features', {'channel.length': 2, 'loss.listener.memory': 4}, 'must be 0 unless channel.leng'),
    (
        'features',
        {
            'evaluation.best_metric': 'accuracy',
            'loss.listener.name': 'classification',
            'loss.listener.memory': 4,
        },
        "unless .* loss.listener.name='info_nce'",
    ),
    (
        'features',
        {'loss.listener.memory': 4, 'loss.listener.num_distractors': 3},
        'unset with a memory',
    ),
    ('features', {'speaker.trunk.name': 'small_cnn'}, 'is not read: tiny has features'),
    ('features', {'listener.trunk.name': 'small_cnn'}, 'is not read: tiny has features'),
    ('features', WEIGHTS, 'is not read: tiny has features'),
    ('features', {'speaker.trunk.frozen': True}, 'is not read: tiny has features'),
    ('shared', {'listener.trunk.name': 'small_cnn'}, 'is not read: one trunk is shared'),
    ('shared', {'listener.trunk.weights': 'x.npz'}, 'is not read: one trunk is shared'),
    ('shared', {'listener.trunk.frozen': True}, 'is not read: one trunk is shared'),
    ('shared', {'speaker.trunk.name': None}, 'resnet10'),
    ('shared', {'speaker.trunk.name': 'resnet19'}, 'resnet10'),
    ('own', {'listener.trunk.name': None}, 'resnet10'),
    ('shared', {'speaker.trunk.width': 0}, 'at least 1'),
    ('shared', {'speaker.trunk.stem': 'large'}, 'imagenet, small'),
    ('own', {'listener.trunk.precision': 'f16'}, 'float32, bf16'),
    ('own', {'population.execution': 'vmap'}, "'auto', 'map' or 'unroll'"),
    ('own', WEIGHTS | {'updates.reset.every': 5}, 'unset with speaker.trunk.weights'),
    ('own', WEIGHTS | {'updates.generations.every': 5}, 'unset with speaker.trunk.weights'),
    *(
        (
            sight,
            WEIGHTS | PAIRS | {f'{role}.groups': ({'size': 1}, {'size': 1})},
            'unset with speaker.trunk.weights',
        )
        for sight in ('shared', 'own')
        for role in ('speaker', 'listener')
    ),
    *(
        ('shared', {'data.most_bytes': 100, key: value}, sentence)
        for key, value, sentence in (
            ('game.views', 'viewpoint', "must be 'same' or 'augmented' with the tiny images, more"),
            ('game.distractors', 'class', "is 'random' with the tiny images"),
            ('replicas', 2, 'must be 1 with the tiny images'),
            ('evaluation.train', True, 'must be False with the tiny images'),
            ('population.updates_per_call', 2, 'must be 1 with the tiny images'),
        )
    ),
]


@pytest.mark.parametrize(
    ('sight', 'changes', 'sentence'),
    REFUSED,
    ids=[f'{sight}-{list(changes)[-1]}-{i}' for i, (sight, changes, _) in enumerate(REFUSED)],
)
def test_what_is_impossible_is_refused_by_key_and_value(sight, changes, sentence):
    config = config_of(sight, changes)
    key, value = list(changes.items())[-1]
    with pytest.raises(ValueError, match=f'^{re.escape(f"{key}={value!r} ")}.*{sentence}'):
        check(config, source_of(sight), num_devices=1)


@pytest.mark.parametrize(
    ('sight', 'changes'),
    [
        ('shared', WEIGHTS | {'updates.reset.every': 5}),  # It resets no trunk.
        ('shared', WEIGHTS | {'updates.generations.every': 5}),
        ('shared', {'data.most_bytes': 100, 'game.views': 'augmented'}),
        ('features', {'game.distractors': 'neighbours', 'evaluation.distractors': 'hard'}),
        ('own', {'game.views': 'same_class', 'population.execution': 'unroll'}),
    ],
)
def test_what_is_possible_is_not_refused(sight, changes):
    check(config_of(sight, changes), source_of(sight), num_devices=1)


@pytest.mark.parametrize('label', ['object', 'class'])
def test_a_view_needs_its_label(label):
    source = source_of('shared')
    views = {'object': 'viewpoint', 'class': 'same_class'}[label]
    labels = {k: v for k, v in source.splits['train'].labels.items() if k != label}
    split = source.splits['train']._replace(labels=labels)
    without = source._replace(splits=dict.fromkeys(source.splits, split))
    with pytest.raises(ValueError, match=f"game.views='{views}' needs a label '{label}', and tiny"):
        check(config_of('shared', {'game.views': views}), without, 1)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'loss.listener.memory': 3}, "loss.listener.memory=3 must be 0 for game.name='lewis'"),
        ({'speaker.trunk.name': 'vgg16'}, "speaker.trunk.name='vgg16' is not read by game.name"),
        ({'listener.trunk.weights': 'x.npz'}, "listener.trunk.weights='x.npz' is not read by game"),
        ({}, "game.name='lewis' sees features, not the images of 'tiny': choose 'discrimination'"),
    ],
)
def test_the_other_game_has_no_trunk_and_no_memory(changes, sentence):
    sight = 'features' if changes else 'shared'
    config = config_of('features', {'game.name': 'lewis'} | changes)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        check(config, source_of(sight), 1)


def test_batches_are_of_so_many_on_each_device():
    config = config_of('shared', {'game.distractors': 'class', 'game.together': 8})
    check(config, source_of('shared'), 1)
    with pytest.raises(ValueError, match='game.together=8 must .* divide the batch .* is 4'):
        check(config, source_of('shared'), 2)
    assert COUNT % BATCH == 0
