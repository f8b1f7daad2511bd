"""The dialogue game: what is computed is what was published; who learns; what does not leak; and
how whole populations converse."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from conftest import BATCH, drawn_pair, tiny_config, tiny_source
from ml_collections import ConfigDict

from emcom_jax import channels
from emcom_jax.agents.dialogue import halves
from emcom_jax.checks import check
from emcom_jax.data.batches import look_at
from emcom_jax.evaluation.dialogues import tamperings
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.interventions import Interventions
from emcom_jax.games import GAMES
from emcom_jax.losses import dialogue as equations
from emcom_jax.types import Agent, Learner, Message, Population

K, V, D, H = 3, 5, 4, 6
KEY, STEP = jax.random.key(0), jnp.array(50)
AMONG = np.array([True, True, True, False])
DIALOGUE = {
    'game.name': 'dialogue',
    'channel.kind': 'bernoulli',
    'channel.length': K,
    'channel.vocab_size': V,
    'channel.variable_length': True,
    'speaker.baseline_size': 4,
    'listener.baseline_size': 4,
    'listener.word_size': 3,
    'loss.speaker.name': 'reinforce',
    'loss.speaker.reward': 'log_likelihood',
    'loss.speaker.entropy': 0.01,
    'loss.speaker.kl': 0.0,
    'loss.listener.name': 'classification',
    'loss.listener.entropy': 0.02,
    'loss.listener.stop_entropy': 0.08,
    'evaluation.best_metric': 'accuracy',
    'evaluation.batch_size': 40,
}
FIXED = {'channel.variable_length': False, 'loss.listener.stop_entropy': 0.0}
PATHWISE = {
    'channel.kind': 'bernoulli_st',
    'loss.speaker.name': 'pathwise',
    'loss.speaker.reward': 'success',
}
SETTINGS = {
    'adaptive': {},
    'fixed': FIXED | {'speaker.mix': 'product'},
    'attention': {
        'speaker.attention': 4,
        'speaker.mix': 'mixture',
        'listener.word_attention': 3,
        'loss.speaker.length_cost': 0.1,
        'loss.speaker.bit_cost': 0.01,
    },
    'straight_through': PATHWISE | {'loss.speaker.length_cost': 0.1},
    'relaxed': PATHWISE | FIXED | {'channel.kind': 'relaxed_bernoulli', 'listener.words': 'ngrams'},
    'continuous': PATHWISE | {'channel.kind': 'continuous'},
}


def config_of(changes=None) -> ConfigDict:
    return tiny_config(DIALOGUE | (changes or {}))


def game_of(changes=None):
    config, source = config_of(changes), tiny_source()
    check(config, source, num_devices=1)
    return GAMES['dialogue'].make(config, source)


@cache
def game_named(setting):
    return game_of(SETTINGS[setting])


@partial(jax.jit, static_argnums=0)
def play_once(game, pair, batch):
    episode, _ = game.play(pair, KEY, batch, STEP)
    return episode, game.terms(episode, KEY, batch, None)


@partial(jax.jit, static_argnames=('game', 'noise'))
def talk(game, speaker, listener, batch, tampering=None, noise=0.0):
    voice = game.voice(speaker, batch)
    return game.converse(listener, KEY, batch, voice, noise, tampering)


@pytest.fixture(scope='module')
def seen(bank):
    """The first examples; the last class is not to be chosen."""
    rows = jnp.arange(BATCH)
    shown = bank._replace(among=jnp.asarray(AMONG))
    batch = look_at(shown, rows, rows, KEY, 0.1)
    return batch._replace(labels={'class': batch.labels['class'] % 3})


@pytest.fixture(scope='module', params=SETTINGS)
def played(request, seen):
    """(changes, game, pair, episode, terms, gradients of speaker and listener)."""
    changes, game = SETTINGS[request.param], game_named(request.param)
    pair = drawn_pair(game, seen)

    def loss(speaker, listener):
        both = pair._replace(speaker=Agent(speaker, {}), listener=Agent(listener, {}))
        episode, _ = game.play(both, KEY, seen, STEP)
        terms = game.terms(episode, KEY, seen, None)
        return sum(t.coefficient * t.value.mean() for t in terms.values()), (episode, terms)

    # Nothing is compiled as a whole: operations are, once for all settings.
    with jax.disable_jit():
        play = jax.grad(loss, (0, 1), has_aux=True)
        gradients, (episode, terms) = jax.device_get(
            play(pair.speaker.params, pair.listener.params)
        )
    return DIALOGUE | changes, game, pair, episode, terms, gradients


# --- contracts ------------------------------------------------------------------------------------


def test_a_dialogue_holds_what_types_says(played):
    changes, game, _, episode, terms, _ = played
    message, exchange = episode.utterance.message, episode.exchange
    chex.assert_tree_all_finite((episode, terms))
    chex.assert_shape((message.relaxed, exchange.answers, exchange.said_logits), (BATCH, K, V))
    chex.assert_shape((message.mask, message.end, exchange.go_logits), (BATCH, K))
    chex.assert_shape(exchange.choices, (BATCH, K, D))
    np.testing.assert_allclose(message.end.sum(1), 1.0, rtol=1e-5)
    for bits in (message.relaxed, exchange.answers):
        assert bits.min() >= 0 and bits.max() <= 1
        hard = np.isin(bits, (0, 1)).all()
        assert hard == (changes['channel.kind'] in ('bernoulli', 'bernoulli_st'))
    assert (message.mask[:, 0] == 1).all() and (np.diff(message.mask) <= 0).all()
    assert (message.mask == 1).all() != game.variable_length
    assert (episode.guess.logits['class'][:, 3] == -1e9).all()
    np.testing.assert_array_equal(episode.heard.relaxed, message.relaxed)
    for term in terms.values():
        chex.assert_shape((term.value, term.weight), (BATCH,))
    assert terms['accuracy'].coefficient == terms['message_length'].coefficient == 0
    np.testing.assert_array_equal(terms['message_length'].value, message.mask.sum(1))


def test_all_that_can_learn_does(played):
    changes, _, _, _, _, gradients = played
    still = {
        _name(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.any(leaf)
    }
    expected = set()
    if changes['loss.speaker.name'] == 'pathwise':  # Nobody predicts a reward that nobody gets.
        names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(gradients)]
        expected |= {name for name in names if '/baseline/' in name}
    if not changes['channel.variable_length']:  # All turns are played.
        expected |= {'listener/go/w', 'listener/go/b'}
    # A constant before a softmax.
    shifts = {'listener/score/b'}
    assert still - shifts == expected


def _name(path):
    name = jax.tree_util.keystr(path[1:], simple=True, separator='/')
    return name.replace('/~', '')


def test_a_forced_message_is_replayed(played, seen):
    _, game, pair, episode, _, _ = played
    with jax.disable_jit():
        replay, _ = game.play(pair, KEY, seen, STEP, episode.utterance.message)
    chex.assert_trees_all_close(replay, episode, rtol=1e-4, atol=1e-5)
    other = episode.utterance.message._replace(relaxed=1 - episode.utterance.message.relaxed)
    with jax.disable_jit():
        changed, _ = game.play(pair, KEY, seen, STEP, other)
    assert np.abs(changed.exchange.choices - episode.exchange.choices)[..., :3].max() > 1e-3


def test_what_the_speaker_sees_reaches_the_listener_by_what_is_said_alone(played, seen):
    changes, game, pair, episode, _, _ = played

    def told(inputs, forced):
        batch = seen._replace(speaker_inputs=inputs)
        exchange = game.play(pair, KEY, batch, STEP, forced)[0].exchange
        return (exchange.choices[..., :3] ** 2).sum()

    with jax.disable_jit():
        assert not np.any(jax.grad(told)(seen.speaker_inputs, episode.utterance.message))
        free = jax.grad(told)(seen.speaker_inputs, None)
    assert np.any(free) == (changes['loss.speaker.name'] == 'pathwise')


# --- as published ---------------------------------------------------------------------------------


def by_hand(episode, labels, adaptive, rates):
    """The loss of each agent, example by example, from the description of the published code."""
    message, exchange = episode.utterance.message, episode.exchange
    sigmoid = lambda x: 1 / (1 + np.exp(-np.asarray(x, np.float64)))  # noqa: E731
    bits, answers = message.relaxed, exchange.answers
    masks = np.ones((K + 1, BATCH))
    for t in range(K):
        masks[t + 1] = np.minimum(masks[t], exchange.goes_on[:, t]) if adaptive else 1
    masks[K] = 0
    reward = np.zeros(BATCH)
    for i in range(BATCH):
        for t in range(K):
            if min(1 - masks[t + 1, i], masks[t, i]):
                y = exchange.choices[i, t].astype(np.float64)
                reward[i] = y[labels[i]] - np.log(np.exp(y - y.max()).sum()) - y.max()

    def multistep(actions, logits, values, use, rate):
        total, count = 0.0, 0
        for t in range(K):
            rows = [i for i in range(BATCH) if use[t][i]]
            if not rows:
                continue
            p = sigmoid(logits[rows, t])
            a = actions[rows, t]
            logp = (a * np.log(p + 1e-8) + (1 - a) * np.log(1 - p + 1e-8)).sum(1)
            gain = reward[rows] - values[rows, t]
            if len(rows) > 1:
                gain = gain / max(1, np.std(gain, ddof=1))
            negent = (p * np.log(p + 1e-8) + (1 - p) * np.log(1 - p + 1e-8)).sum(1).mean()
            total += len(rows) * (-(gain * logp).mean() + rate * negent)
            count += len(rows)
        return total / count if count else 0.0

    said, answered = exchange.said_value, exchange.answer_value
    after = [*masks[1:K], np.zeros(BATCH)]
    speaker = multistep(bits, exchange.said_logits, said, masks[:K], rates[0])
    listener = -reward.mean()
    listener += multistep(answers, exchange.answer_logits, answered, after, rates[1])
    if adaptive:
        decided, odds = exchange.goes_on[..., None], exchange.go_logits[..., None]
        listener += multistep(decided, odds, answered, masks[:K], rates[2])
    used = masks[:K].T
    errors = [(used * (v - reward[:, None]) ** 2).sum() / used.sum() for v in (said, answered)]
    return speaker + listener + sum(errors)


@pytest.mark.parametrize('setting', ['adaptive', 'fixed'])
def test_the_loss_is_the_published_one(setting, seen):
    game = game_named(setting)
    pair = drawn_pair(game, seen)
    scale = jax.tree.map(lambda leaf: 5 * leaf, pair.listener.params)  # Deviations above 1, too.
    pair = pair._replace(listener=Agent(scale, {}))
    episode, terms = jax.device_get(play_once(game, pair, seen))
    loss = sum(t.coefficient * (t.value * t.weight).sum() / t.weight.sum() for t in terms.values())
    adaptive = setting == 'adaptive'
    labels = np.asarray(seen.labels['class'])
    expected = by_hand(episode, labels, adaptive, (0.01, 0.02, 0.08))
    assert float(loss) == pytest.approx(expected, rel=2e-5)
    assert adaptive == (len(set(episode.utterance.message.mask.sum(1))) > 1)


def test_examples_spread_over_devices_are_one_batch(seen):
    game = game_named('adaptive')
    episode, _ = play_once(game, drawn_pair(game, seen), seen)
    weight = np.ones(BATCH, np.float32)
    weight[-1] = 0.0  # Padding.

    def means(episode, batch, axis_name):
        terms = game.terms(episode, KEY, batch, axis_name)
        return {name: ((t.value * t.weight).sum(), t.weight.sum()) for name, t in terms.items()}

    def halves(leaf):
        return leaf.reshape(2, BATCH // 2, *leaf.shape[1:])

    @jax.jit
    def both(episode, batch):
        split = jax.tree.map(halves, (episode, batch._replace(among=None)))
        over_devices = jax.vmap(partial(means, axis_name='i'), axis_name='i')
        return means(episode, batch, None), over_devices(*split)

    whole, parts = jax.device_get(both(episode, seen._replace(weight=weight)))
    for name, (total, weight) in whole.items():
        np.testing.assert_allclose(
            parts[name][0].sum() / parts[name][1].sum(), total / weight, rtol=1e-5, err_msg=name
        )


def test_a_turn_that_nobody_plays_costs_nothing():
    nobody, weight = jnp.zeros((4, 3)), jnp.ones(4)
    values = equations.of_turns(jnp.ones((4, 3)), nobody, weight, None)
    np.testing.assert_array_equal(values, np.zeros(4))
    alone = nobody.at[0].set(1.0)  # One example has no deviation.
    gain = equations.advantage(jnp.full(4, 9.0), None, alone, weight, None)
    np.testing.assert_array_equal(gain[0], np.full(3, 9.0))


def test_turns_end_where_somebody_stops():
    goes_on = jnp.array([[1.0, 1, 1], [0, 1, 1], [1, 0, 0]])
    mask, end = equations.stopping(goes_on)
    np.testing.assert_array_equal(mask, [[1, 1, 1], [1, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(end, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    _, end = equations.stopping(jnp.array([[0.5, 0.2, 0.9]]))
    np.testing.assert_allclose(end, [[0.5, 0.4, 0.1]], rtol=1e-6)


def test_reinforce_is_the_gradient_of_the_expected_reward(seen):
    """One turn of two bits: all four messages can be listed."""
    changes = FIXED | {'channel.length': 1, 'channel.vocab_size': 2, 'loss.speaker.entropy': 0.0}
    game = game_of(changes | {'loss.speaker.baseline': False, 'loss.listener.entropy': 0.0})
    pair = drawn_pair(game, seen)
    messages = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)

    def outcomes(speaker):
        """Of each message its probability, surrogate loss and reward: [4, B]."""

        def of(bits):
            said = jnp.broadcast_to(bits, (BATCH, 1, 2))
            ones = jnp.ones((BATCH, 1))
            forced = Message(jnp.zeros((BATCH, 1), int), said, ones, ones)
            both = pair._replace(speaker=Agent(speaker, {}))
            episode, _ = game.play(both, KEY, seen, STEP, forced)
            terms = game.terms(episode, KEY, seen, None)
            log_chance = episode.utterance.log_policy.sum((1, 2))
            return jnp.exp(log_chance), terms['policy_loss'].value, -terms['listener_loss'].value

        return jax.vmap(of)(messages)

    def expected(speaker):
        chance, _, reward = outcomes(speaker)
        return -(chance * jax.lax.stop_gradient(reward)).mean(1).sum()

    def estimated(speaker):
        chance, loss, _ = outcomes(speaker)
        return (jax.lax.stop_gradient(chance) * loss).mean(1).sum()

    exact, mean = jax.jit(lambda params: (jax.grad(expected)(params), jax.grad(estimated)(params)))(
        pair.speaker.params
    )
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(exact)) > 1e-3
    chex.assert_trees_all_close(mean, exact, rtol=1e-4, atol=1e-6)


# --- conversation ---------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def society(bank):
    """A game, a population of two speakers and three listeners, and a bank of 64 examples."""
    game = game_named('adaptive')
    bank = bank._replace(among=jnp.asarray(AMONG))
    bank = bank._replace(labels={'class': bank.labels['class'] % 3})
    batch = look_at(bank, jnp.arange(2), jnp.arange(2), KEY, 0.0)

    def many(init, count):
        agents = jax.jit(jax.vmap(lambda key: init(key, batch)))(jax.random.split(KEY, count))
        agents = jax.tree.map(lambda leaf: 4 * np.asarray(leaf), agents)  # Of firm opinions.
        return Learner(agents, {}, jnp.zeros(count), jnp.zeros(count, int))

    nobody = Learner(Agent({}, {}), {}, jnp.zeros(()), jnp.zeros((), int))
    return (
        game,
        Population(many(game.init_speaker, 2), many(game.init_listener, 3), {}, nobody),
        bank,
    )


def agent(role, number):
    return jax.tree.map(lambda leaf: leaf[number], role.agent)


def converse(society, speaker, listener, tampering=None, noise=0.0):
    game, members, bank = society
    rows = jnp.arange(bank.size)
    batch = look_at(bank, rows, rows, KEY, 0.0)
    pair = agent(members.speakers, speaker), agent(members.listeners, listener)
    return jax.device_get(talk(game, *pair, batch, tampering, noise))


@pytest.fixture(scope='module')
def record(society):
    game, members, bank = society
    return Evaluator(game, config_of())(members, bank, 'valid', step=3, seed=1)


def test_each_speaker_talks_with_each_listener(society, record):
    labels = np.asarray(society[2].labels['class'])
    lengths = set()
    for speaker in range(2):
        for listener in range(3):
            message, guess, exchange = converse(society, speaker, listener)
            right = guess.logits['class'].argmax(1) == labels
            np.testing.assert_array_equal(record.correct[0, speaker, listener], right)
            if listener == speaker:
                np.testing.assert_array_equal(record.messages[speaker], message.relaxed)
                np.testing.assert_array_equal(record.lengths[speaker], message.mask.sum(1))
                np.testing.assert_array_equal(record.exchange['answers'][speaker], exchange.answers)
                beliefs = scipy.special.softmax(exchange.choices, axis=-1)
                np.testing.assert_allclose(record.exchange['beliefs'][speaker], beliefs, atol=1e-6)
            lengths |= set(message.mask.sum(1).tolist())
    assert len(lengths) > 1
    np.testing.assert_array_equal(record.exchange['among'], AMONG)
    assert not record.exchange['beliefs'][..., 3].any()


def test_conversations_stop_where_the_product_of_probabilities_says(record):
    going_on = np.cumprod(record.exchange['going_on'], axis=2) > 0.5
    lengths = 1 + going_on[..., :-1].cumprod(axis=2).sum(axis=2)
    np.testing.assert_array_equal(record.lengths, lengths)


def test_noise_flips_bits_on_their_way(society):
    calm, _, before = converse(society, 0, 0)
    wild, _, after = converse(society, 0, 0, noise=1.0)
    np.testing.assert_array_equal(wild.relaxed[:, 0], calm.relaxed[:, 0])  # As it was said.
    flip_all = jax.tree.map(lambda x: x[0], tamperings(K, V)['intact'])
    flipped = flip_all._replace(flipped=jnp.ones((K, V), bool))
    _, _, same = converse(society, 0, 0, flipped)
    np.testing.assert_allclose(after.choices[:, 0], same.choices[:, 0], rtol=1e-5)
    assert np.abs(before.choices - after.choices)[:, 0, :3].max() > 0.01


def test_shuffled_dialogues_are_those_of_others_in_training_and_in_evaluation(society, seen):
    plain, mixed = (game_of(PATHWISE | {'channel.shuffled': mixes}) for mixes in (False, True))
    pair = drawn_pair(plain, seen)
    size = seen.position.shape[0]
    episodes = [game.play(pair, KEY, seen, STEP)[0] for game in (plain, mixed)]
    first = [np.asarray(each.heard.relaxed)[:, 0] for each in episodes]
    said = np.asarray(episodes[1].utterance.message.relaxed)[:, 0]
    for one in range(size):  # What it hears was said, and not to it.
        others = np.delete(said, one, axis=0)
        assert (np.abs(others - first[1][one]).max(axis=1) < 1e-6).any()
    voices = [game.voice(pair.speaker, seen) for game in (plain, mixed)]
    guesses = [
        game.converse(pair.listener, KEY, seen, voice, 0.0)[2].choices
        for game, voice in zip((plain, mixed), voices, strict=True)
    ]
    told, untold = (np.asarray(each)[:, 0] for each in guesses)
    np.testing.assert_allclose(np.sort(told, axis=0), np.sort(untold, axis=0), rtol=1e-5)
    assert np.abs(told - untold).max() > 1e-3


@pytest.mark.parametrize('size', [2, 3, 8])
def test_who_hears_whom_is_one_circle(size):
    other = np.asarray(channels.others(KEY, size))
    passed, at = [], 0
    for _ in range(size):
        passed.append(at)
        at = int(other[at])
    assert sorted(passed) == list(range(size)) and at == 0


def test_tampering_does_what_it_says(society):
    ways = tamperings(K, V)
    assert {name: len(way.swapped) for name, way in ways.items()} == {
        'intact': 1,
        'shuffled': 1,
        'silenced': 1,
        'unanswered': 1,
        'later_shuffled': 1,
        'later_silenced': 1,
        'flipped_turn': K,
        'flipped_region': 4,
    }
    flipped = np.asarray(ways['flipped_region'].flipped)
    assert flipped.any(1).sum(0).tolist() == [1] * V
    held = {
        name: converse(society, 0, 0, jax.tree.map(lambda x: x[0], way))
        for name, way in ways.items()
    }
    intact = held['intact'][2].choices
    chex.assert_trees_all_equal(held['intact'], converse(society, 0, 0))
    silent = held['silenced'][2].choices
    np.testing.assert_allclose(silent, np.broadcast_to(silent[:1], silent.shape), rtol=1e-5)
    for name in ('unanswered', 'later_shuffled', 'later_silenced'):
        choices = held[name][2].choices
        np.testing.assert_allclose(choices[:, 0], intact[:, 0], rtol=1e-5)
        assert np.abs(choices - intact)[:, 1:, :3].max() > 1e-3, name
    assert np.abs(held['flipped_turn'][2].choices - intact)[:, 0, :3].max() > 1e-3


def test_interventions_on_dialogues(society, record):
    game, members, bank = society
    config = config_of()
    found = Interventions(game, config)(members, bank, seed=1)
    for name, values in found.correct.items():
        assert values.shape == (len(tamperings(K, V)[name].swapped), 2, 3, 64)
        assert found.altered[name].all() == (name != 'intact')
    np.testing.assert_array_equal(found.correct['intact'][0], record.correct[0])
    silent = found.correct['silenced'][0].reshape(-1, 64)
    labels = np.asarray(bank.labels['class'])
    for each in silent:  # One guess for all.
        assert len(set(labels[each > 0])) <= 1


# --- the agents -----------------------------------------------------------------------------------


def test_scoring_descriptions_apart_is_scoring_each_with_the_memory(seen):
    """The published listener has one linear layer on [memory, description], for each of D."""
    game = game_of(FIXED | {'channel.length': 1})
    pair = drawn_pair(game, seen._replace(among=None))
    episode, _ = jax.device_get(play_once(game, pair, seen._replace(among=None)))
    p = jax.device_get(pair.listener.params)
    weights = {
        name.removeprefix('listener/~/').removeprefix('listener/'): x for name, x in p.items()
    }
    heard, words = episode.utterance.message.relaxed[:, 0], weights['listener']
    x = np.asarray(heard) @ weights['gru_heard']['w'] + weights['gru_heard']['b']
    h = np.broadcast_to(weights['gru_memory']['b'], x.shape)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    reset, update = sigmoid(x[:, :H] + h[:, :H]), sigmoid(x[:, H : 2 * H] + h[:, H : 2 * H])
    memory = (1 - update) * np.tanh(x[:, 2 * H :] + reset * h[:, 2 * H :])
    of_class = {  # Without stop words, in the alphabetical order of the vocabulary.
        0: ('red', 'wheel'),
        1: ('red', 'large', 'window'),
        2: ('blue', 'wheel', 'window'),
        3: ('large', 'wheel'),
    }
    order = ['blue', 'large', 'red', 'wheel', 'window']
    for label, names in of_class.items():
        mean = np.mean([words['words'][order.index(name)] for name in names], axis=0)
        both = np.concatenate([memory, np.broadcast_to(mean, (BATCH, 3))], axis=1)
        stacked = [weights[f'score_{part}']['w'] for part in ('memory', 'description')]
        hidden = np.maximum(both @ np.concatenate(stacked) + weights['score_memory']['b'], 0)
        score = hidden @ weights['score']['w'] + weights['score']['b']
        np.testing.assert_allclose(episode.exchange.choices[:, 0, label], score[:, 0], rtol=1e-4)


def test_the_first_turn_does_not_depend_on_how_many_follow(seen):
    short, long = game_of({'channel.length': 1}), game_named('adaptive')
    pair = drawn_pair(long, seen)
    one, many = (talk(game, pair.speaker, pair.listener, seen) for game in (short, long))
    np.testing.assert_allclose(one[2].choices[:, 0], many[2].choices[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(one[0].relaxed[:, 0], many[0].relaxed[:, 0])


def test_a_deaf_speaker_says_the_same_in_all_turns(seen):
    game = game_of({'speaker.deaf': True})
    pair = drawn_pair(game, seen)
    message, _, _ = jax.device_get(talk(game, pair.speaker, pair.listener, seen))
    np.testing.assert_array_equal(message.relaxed, message.relaxed[:, :1].repeat(K, 1))


def test_what_is_not_to_be_chosen_teaches_nothing(seen):
    """The words of a class that is held out: none of the others has 'blue'."""
    game = game_named('adaptive')
    pair = drawn_pair(game, seen)
    batch = seen._replace(among=jnp.array([True, True, False, True]))

    def loss(listener):
        episode, _ = game.play(pair._replace(listener=Agent(listener, {})), KEY, batch, STEP)
        return game.terms(episode, KEY, batch, None)['listener_loss'].value.mean()

    labels = {'class': jnp.zeros(BATCH, int)}
    batch = batch._replace(labels=labels)
    words = jax.jit(jax.grad(loss))(pair.listener.params)['listener']['words']
    assert not np.any(words[0]) and np.all(np.any(words[1:], axis=1))


def test_each_sees_a_half_where_both_see(seen):
    game = game_of({'listener.sees': True})
    pair = drawn_pair(game, seen)

    def known(speaker_inputs, listener_inputs):
        batch = seen._replace(speaker_inputs=speaker_inputs, listener_inputs=listener_inputs)
        exchange = game.play(pair, KEY, batch, STEP)[0].exchange
        said = (exchange.said_logits[:, 0] ** 2).sum()
        return said + (exchange.choices[:, 0, :3] ** 2).sum()

    with jax.disable_jit():
        both = jax.grad(known, (0, 1))(seen.speaker_inputs, seen.listener_inputs)
        message, _, exchange = game.converse(
            pair.listener, KEY, seen, game.voice(pair.speaker, seen), 0.0
        )
        other = seen._replace(listener_inputs=seen.listener_inputs[::-1])
        same, _, changed = game.converse(
            pair.listener, KEY, other, game.voice(pair.speaker, other), 0.0
        )
    left, right = ([bool(np.any(column)) for column in gradient.T] for gradient in both)
    assert left == [True, False, True, False, True, True]
    assert right == [False, True, False, True, True, True]
    np.testing.assert_array_equal(message.relaxed[:, 0], same.relaxed[:, 0])
    assert np.abs(exchange.choices - changed.choices)[:, 0, :3].max() > 1e-3


def test_both_see_the_middle_of_a_map():
    masks = halves((9, 2), 19)
    columns = {role: mask[:6].reshape(3, 2)[:, 0].tolist() for role, mask in masks.items()}
    assert columns == {'speaker': [1, 1, 0], 'listener': [0, 1, 1]}
    for mask in masks.values():
        np.testing.assert_array_equal(mask[:18].reshape(3, 6), np.broadcast_to(mask[:6], (3, 6)))
        assert mask[18] == 1 and mask.dtype == np.float32


# --- refusals -------------------------------------------------------------------------------------

REFUSED = [
    ({'channel.kind': 'gumbel'}, 'unknown channel kind of dialogues'),
    ({'loss.speaker.name': 'pathwise'}, "must be one of \\('reinforce', 'none'\\)"),
    ({'loss.listener.name': 'info_nce'}, 'whose listeners name the class'),
    ({'loss.speaker.kl': 0.1}, 'which has no EMA speaker'),
    ({'updates.imitate.every': 3}, 'which has no imitation'),
    ({'listener.impatient': True}, 'decide for themselves'),
    ({'speaker.mix': 'maximum'}, 'sum, product, mixture'),
    ({'channel.noise': 1.5}, 'is a rate'),
    ({'channel.temperature_mode': 'learned'}, 'fixed, scheduled'),
    (FIXED | {'loss.listener.stop_entropy': 0.1}, 'nobody decides to stop'),
    (FIXED | {'loss.speaker.length_cost': 0.1}, 'where all turns are played'),
    (PATHWISE | {'loss.speaker.reward': 'log_likelihood'}, 'is not read with'),
    ({'speaker.attention': 0}, 'at least 1'),
    ({'optimizer.speaker.clip_apart': ('speaker/baseline',)}, 'no effect without'),
]


@pytest.mark.parametrize(
    ('changes', 'sentence'), REFUSED, ids=[str(n) for n in range(len(REFUSED))]
)
def test_what_cannot_be_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        check(config_of(changes), tiny_source(), num_devices=1)
    assert '\n' not in str(error.value)


def test_a_map_without_halves_is_refused():
    source = tiny_source()._replace(map_shape=(2, 2))
    with pytest.raises(ValueError, match='needs a square map'):
        check(config_of({'listener.sees': True}), source, num_devices=1)


def test_classes_without_descriptions_are_refused():
    with pytest.raises(ValueError, match='needs descriptions of classes'):
        check(config_of(), tiny_source()._replace(class_descriptions=None), num_devices=1)
