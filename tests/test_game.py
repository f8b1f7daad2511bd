"""The contract of a game, for every way to speak with every core and with every task: what a play
holds, who learns from it, and what does not leak."""

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import (
    BATCH,
    LENGTH,
    SIZE,
    VOCAB,
    drawn_pair,
    tiny_config,
    tiny_game,
    tiny_source,
)
from ml_collections import ConfigDict

from emcom_jax import channels, losses
from emcom_jax.agents.networks import CORES
from emcom_jax.checks import check
from emcom_jax.games import GAMES, Game
from emcom_jax.types import Agent, Episode, Pair, Term, Tree

KEY = jax.random.key(0)
STEP = jnp.array(50)
TASKS = {
    'sampled_distractors': {'loss.listener.num_distractors': 3},
    'impatient': {'listener.impatient': True},
    'classification': {
        'loss.listener.name': 'classification',
        'evaluation.best_metric': 'accuracy',
    },
    'multi_classification': {
        'loss.listener.name': 'multi_classification',
        'loss.listener.label': 'attributes',
        'evaluation.best_metric': 'accuracy',
    },
}


def settings():
    """Name -> changes of the config: every way to speak, and with every kind of channel each core
    and each task."""
    for kind, differentiable in channels.DIFFERENTIABLE.items():
        lengths = ('fixed',) if kind == 'continuous' else ('fixed', 'variable')
        ways = {}
        for name, loss in losses.SPEAKER_LOSSES.items():
            for length in lengths if loss.differentiable == differentiable else ():
                ways[f'{kind}-{name}-{length}'] = {
                    'channel.kind': kind,
                    'channel.variable_length': length == 'variable',
                    'loss.speaker.name': name,
                    'loss.speaker.length_cost': 0.1 * (length == 'variable'),
                    # As little as it needs, so that all parameters of a speaker learn.
                    'speaker.head': 'policy_value' if name == 'reinforce' else loss.heads[0],
                }
                if kind == 'continuous':
                    ways[f'{kind}-{name}-{length}'] |= {
                        'loss.speaker.entropy': 0.0,
                        'loss.speaker.kl': 0.0,
                    }
        yield from ways.items()
        name, way = list(ways.items())[-1]
        for core in (core for core in CORES if core != 'gru'):
            yield f'{name}-{core}', way | {'speaker.core': core, 'listener.core': core}
        for task, changes in TASKS.items():
            yield f'{name}-{task}', way | changes


SETTINGS = dict(settings())


class Play(NamedTuple):
    """A pair of a game, and what one play of it gave: episode, terms, and the gradients of the loss
    with respect to speaker, listener and target."""

    game: Game
    config: ConfigDict
    pair: Pair
    episode: Episode
    terms: dict[str, Term]
    gradients: tuple[Tree, Tree, Tree]


# Nothing here is compiled as a whole: its operations are, once for all settings.
@jax.disable_jit()
def play_and_differentiate(changes, batch):
    config, source = tiny_config(changes), tiny_source()
    check(config, source, num_devices=1)
    game = GAMES['lewis'].make(config, source)
    pair = drawn_pair(game, batch)

    def loss(speaker, listener, target):
        players = Pair(Agent(speaker, {}), Agent(listener, {}), target, pair.shared)
        episode, _ = game.play(players, KEY, batch, STEP)
        terms = game.terms(episode, KEY, batch, axis_name=None)
        return sum(t.coefficient * t.value.mean() for t in terms.values()), (episode, terms)

    gradients, (episode, terms) = jax.grad(loss, (0, 1, 2), has_aux=True)(
        pair.speaker.params, pair.listener.params, pair.target
    )
    return Play(game, config, pair, *jax.device_get((episode, terms, gradients)))


@jax.disable_jit()
def replay(play, batch, message=None, target=None):
    """Plays the message of a play (or another one) again."""
    message = play.episode.utterance.message if message is None else message
    pair = play.pair if target is None else play.pair._replace(target=target)
    return play.game.play(pair, KEY, batch, STEP, message)[0]


@pytest.fixture(scope='module', params=SETTINGS)
def play(request, batch):
    return play_and_differentiate(SETTINGS[request.param], batch)


# --- contracts ------------------------------------------------------------------------------------


def test_a_play_holds_what_types_says(play):
    config, (utterance, target_log_policy, heard, guess, *_) = play.config, play.episode
    message = utterance.message
    chex.assert_tree_all_finite((play.episode, play.terms))
    chex.assert_shape(message.symbols, (BATCH, LENGTH))
    chex.assert_type(message.symbols, np.int32)
    assert message.symbols.min() >= 0 and message.symbols.max() < VOCAB
    chex.assert_shape((message.mask, message.end), (BATCH, LENGTH))
    np.testing.assert_allclose(message.end.sum(1), np.ones(BATCH), rtol=1e-6)
    assert (message.relaxed is None) == (config.channel.kind == 'categorical')
    tables = [utterance.log_policy, message.relaxed, utterance.q_values, target_log_policy]
    chex.assert_shape([x for x in tables if x is not None], (BATCH, LENGTH, VOCAB))
    np.testing.assert_allclose(np.exp(utterance.log_policy).sum(-1), 1.0, rtol=1e-5)
    assert (target_log_policy is None) == (config.loss.speaker.kl == 0)
    assert (utterance.value is None) == (config.speaker.head == 'policy')
    assert (utterance.q_values is None) == (config.speaker.head != 'policy_q_value')
    chex.assert_trees_all_equal(heard, message)
    if play.game.has_candidates:
        chex.assert_shape((guess.prediction, guess.candidates), (BATCH, SIZE))
        assert not guess.logits
    else:
        shape = {'class': (BATCH, 4), 'attributes': (BATCH, 2, 3)}[config.loss.listener.label]
        chex.assert_shape(guess.logits[config.loss.listener.label], shape)
        assert guess.prediction is None and guess.candidates is None


def test_a_play_is_worth_terms_for_each_example(play):
    for term in play.terms.values():
        chex.assert_shape((term.value, term.weight), (BATCH,))
    accuracy, length = play.terms['accuracy'], play.terms['message_length']
    assert accuracy.coefficient == length.coefficient == 0
    assert accuracy.value.min() >= 0 and accuracy.value.max() <= 1
    assert length.value.min() >= 1 and length.value.max() <= LENGTH
    if not play.config.channel.variable_length:
        np.testing.assert_allclose(length.value, np.full(BATCH, LENGTH))


def test_speaker_and_listener_learn_and_the_target_does_not(play):
    speaker, listener, target = play.gradients
    chex.assert_tree_all_finite(play.gradients)
    still = {
        path: leaf
        for learner in (speaker, listener)
        for path, leaf in jax.tree_util.tree_leaves_with_path(learner)
        if not np.any(leaf)
    }
    assert not still
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(target))


def test_the_listener_hears_the_message_alone(play, batch):
    other = batch._replace(speaker_inputs=batch.speaker_inputs[::-1])
    guess = replay(play, other).guess
    chex.assert_trees_all_close(guess, play.episode.guess, rtol=1e-5, atol=1e-5)
    # What it sees are candidates.
    other = batch._replace(listener_inputs=batch.listener_inputs[::-1])
    guess = replay(play, other).guess
    chex.assert_trees_all_equal(guess.prediction, replay(play, batch).guess.prediction)
    chex.assert_trees_all_close(guess.logits, play.episode.guess.logits, rtol=1e-5, atol=1e-5)
    if play.game.has_candidates:
        np.testing.assert_allclose(guess.candidates, play.episode.guess.candidates[::-1], rtol=1e-5)


def test_what_follows_the_end_is_not_read(play, batch):
    message = play.episode.utterance.message
    ended = message.mask == 0
    junk = message._replace(symbols=np.where(ended, VOCAB - 1, message.symbols))
    if message.relaxed is not None:
        vectors = np.full_like(message.relaxed, 7.0)
        junk = junk._replace(relaxed=np.where(ended[..., None], vectors, message.relaxed))
    hard = ((message.end == 0) | (message.end == 1)).all()
    assert ended.any() == play.config.channel.variable_length
    assert hard == (play.config.channel.kind != 'gumbel' or not ended.any())
    if hard:
        clean, noisy = (replay(play, batch, one) for one in (message, junk))
        chex.assert_trees_all_equal(clean.guess, noisy.guess)
        with jax.disable_jit():
            worth = [play.game.terms(one, KEY, batch, None) for one in (clean, noisy)]
        chex.assert_trees_all_equal(*worth)


def test_greedy_play_is_without_chance(play, batch):
    with jax.disable_jit():
        said = play.game.say_greedy(play.pair.speaker, batch)
        first, second = (
            play.game.hear_greedy(play.pair.listener, jax.random.key(seed), batch, said, 0.0)
            for seed in (0, 1)
        )
    chex.assert_trees_all_equal(first, second)


# --- what a play is worth -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('head', 'baseline'), [('policy_value', True), ('policy_value', False), ('policy', False)]
)
@pytest.mark.parametrize('reward', ['success', 'log_likelihood'])
def test_the_speaker_is_paid_for_success_less_the_cost_of_length(reward, head, baseline, batch):
    changes = {
        'channel.variable_length': True,
        'speaker.head': head,
        'loss.speaker.reward': reward,
        'loss.speaker.baseline': baseline,
        'loss.speaker.length_cost': 0.25,
    }
    play = play_and_differentiate(changes, batch)
    utterance, mask = play.episode.utterance, play.episode.utterance.message.mask
    values = {name: term.value for name, term in play.terms.items()}
    paid = values['accuracy'] if reward == 'success' else -values['listener_loss']
    paid = paid - 0.25 * values['message_length']
    assert np.ptp(paid) > 0 and np.ptp(values['message_length']) > 0
    symbols = utterance.message.symbols[..., None]
    log_prob = np.take_along_axis(utterance.log_policy, symbols, -1)[..., 0]
    advantage = paid[:, None] - (utterance.value if baseline else 0.0)
    policy_loss = -(advantage * log_prob * mask).sum(1)
    np.testing.assert_allclose(values['policy_loss'], policy_loss, rtol=1e-4, atol=1e-5)
    assert ('value_loss' in values) == baseline
    if baseline:
        value_loss = (advantage**2 * mask).sum(1)
        np.testing.assert_allclose(values['value_loss'], value_loss, rtol=1e-4)


def test_terms_enter_the_loss_by_the_coefficients_of_the_config(batch):
    changes = {'loss.speaker.entropy': 0.125, 'loss.speaker.kl': 0.25}
    terms = play_and_differentiate(changes, batch).terms
    assert {name: term.coefficient for name, term in terms.items() if term.coefficient} == {
        'policy_loss': 1.0,
        'value_loss': 1.0,
        'listener_loss': 1.0,
        'entropy': -0.125,
        'kl': 0.25,
    }


def test_frozen_speakers_say_what_is_likeliest(batch):
    changes = {f'loss.speaker.{key}': 0.0 for key in ('entropy', 'kl')}
    game = tiny_game(changes | {'loss.speaker.name': 'none'})
    pair = drawn_pair(game, batch)
    with jax.disable_jit():
        frozen, _ = game.play(pair, KEY, batch, STEP)
        sampled, _ = tiny_game().play(pair, KEY, batch, STEP)
        said = game.say_greedy(pair.speaker, batch).symbols
    np.testing.assert_array_equal(frozen.utterance.message.symbols, said)
    assert (sampled.utterance.message.symbols != said).any()


def test_the_target_accounts_for_the_message_that_was_said(batch):
    play = play_and_differentiate({'channel.variable_length': True}, batch)
    again = replay(play, batch, target=play.pair.speaker.params)
    np.testing.assert_array_equal(again.target_log_policy, again.utterance.log_policy)
    assert (play.episode.target_log_policy != again.target_log_policy).any()


# --- schedules and noise --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('mode', 'step', 'temperature'),
    [
        ('fixed', 50, 2.0),
        ('scheduled', 0, 2.0),
        ('scheduled', 50, 1.0),
        ('scheduled', 100, 0.5),
        ('scheduled', 900, 0.5),
    ],
)
@jax.disable_jit()
def test_the_temperature_of_the_channel(mode, step, temperature, batch):
    changes = {
        'channel.kind': 'gumbel',
        'channel.temperature': 2.0,
        'channel.temperature_end': 0.5,
        'channel.temperature_mode': mode,
        'loss.speaker.name': 'pathwise',
    }
    game = tiny_game(changes)
    utterance = game.play(drawn_pair(game, batch), KEY, batch, jnp.array(step))[0].utterance
    noise = channels.gumbel_noise(jax.random.split(KEY)[0], batch.position, LENGTH, VOCAB)
    first = jax.nn.softmax((utterance.log_policy + noise)[:, 0] / temperature)
    np.testing.assert_allclose(utterance.message.relaxed[:, 0], first, rtol=1e-4)


@jax.disable_jit()
def test_noise_of_training_and_of_evaluation_are_apart(batch):
    game = tiny_game({'channel.noise': 1.0})
    pair = drawn_pair(game, batch)
    trained, _ = game.play(pair, KEY, batch, STEP)
    assert (trained.heard.symbols != trained.utterance.message.symbols).all()
    said = game.say_greedy(pair.speaker, batch)
    clean, noisy, heard = (
        game.hear_greedy(pair.listener, KEY, batch, message, rate)
        for message, rate in ((said, 0.0), (said, 1.0), (trained.heard, 0.0))
    )
    assert (clean.prediction != noisy.prediction).any(axis=1).all()
    again, _ = game.play(pair, KEY, batch, STEP, said)  # With the channel's noise of training.
    assert (again.heard.symbols != said.symbols).all() and (heard.prediction != 0).any()


@jax.disable_jit()
@pytest.mark.parametrize('task', ['classification', 'multi_classification'])
def test_who_names_labels_never_hears_its_own_message_if_they_are_shuffled(task, batch):
    game = tiny_game(TASKS[task] | {'channel.shuffled': True})
    pair = drawn_pair(game, batch)
    digits = np.arange(BATCH, dtype=np.int32)[:, None] // VOCAB ** np.arange(LENGTH) % VOCAB
    message = channels.make_message(jnp.array(digits), None, variable_length=False)
    for key in jax.random.split(KEY, 3):
        heard = game.play(pair, key, batch, STEP, message)[0].heard.symbols
        np.testing.assert_array_equal(np.unique(heard, axis=0), np.unique(digits, axis=0))
        assert (heard != digits).any(axis=1).all()


# --- after training -------------------------------------------------------------------------------


def test_shuffled_messages_bring_accuracy_to_chance(world, trained, batch):
    first = partial(jax.tree.map, lambda leaf: leaf[0])
    speaker, listener = first(trained.speakers.agent), first(trained.listeners.agent)
    pair = Pair(speaker, listener, first(trained.targets), Agent({}, {}))

    @jax.jit
    def accuracy(pair):
        said = world.game.say_greedy(pair.speaker, batch)

        def of_shifted(shift):
            message = jax.tree.map(lambda leaf: jnp.roll(leaf, shift, axis=0), said)
            episode, _ = world.game.play(pair, KEY, batch, STEP, message)
            return world.game.terms(episode, KEY, batch, None)['accuracy'].value.mean()

        return jax.vmap(of_shifted)(jnp.arange(BATCH))

    by_shift = accuracy(pair)
    assert by_shift[0] > 0.4
    # Every message beside every referent: a listener that hears nothing else is right once in B.
    np.testing.assert_allclose(by_shift.mean(), 1 / BATCH, rtol=1e-6)


# --- lazy speakers, impatient listeners -----------------------------------------------------------


@pytest.mark.parametrize('task', ['', 'classification'])
def test_an_impatient_listener_guesses_after_each_symbol(task, batch):
    changes = TASKS.get(task, {}) | {'listener.impatient': True, 'loss.speaker.kl': 0.0}
    game = tiny_game(changes)
    pair = drawn_pair(game, batch)
    play = jax.jit(lambda pair: game.play(pair, KEY, batch, STEP)[0])
    episode = play(pair)
    early = episode.guess.early
    terms = game.terms(episode, KEY, batch, None)
    by_symbol = []
    for t in range(LENGTH):
        # The same agents, who say and hear one symbol more each time.
        shorter = tiny_game(changes | {'channel.length': t + 1, 'listener.impatient': False})
        symbols = episode.heard.symbols[:, : t + 1]
        message = channels.make_message(symbols, None, False)
        hear, _ = shorter._listener.apply
        guess = hear(*pair.listener, None, message, batch.listener_inputs, True)[0]
        one = jax.tree.map(lambda leaf, t=t: leaf[t], early)
        chex.assert_trees_all_close(one, guess._replace(candidates=None), rtol=1e-4)
        by_symbol.append(shorter._judge(guess, batch, KEY, None).loss)
    np.testing.assert_allclose(terms['listener_loss'].value, np.mean(by_symbol, 0), rtol=1e-4)
    # What counts is the last guess.
    last = losses.Outcome(by_symbol[-1], terms['accuracy'].value)
    np.testing.assert_array_equal(
        game._judge(episode.guess, batch, KEY, None).correct, last.correct
    )


@pytest.mark.parametrize('reward', ['success', 'log_likelihood'])
def test_the_speaker_of_an_impatient_listener_is_rewarded_for_all_its_guesses(reward, batch):
    game = tiny_game(
        TASKS['classification']
        | {
            'listener.impatient': True,
            'channel.variable_length': True,
            'loss.speaker.kl': 0.0,
            'loss.speaker.reward': reward,
            'loss.speaker.baseline': False,
        }
    )
    episode = jax.jit(lambda pair: game.play(pair, KEY, batch, STEP)[0])(drawn_pair(game, batch))
    mask = episode.heard.mask
    found = []
    for t in range(LENGTH):
        guess = jax.tree.map(lambda leaf, t=t: leaf[t], episode.guess.early)
        outcome = game._judge(guess._replace(candidates=episode.guess.candidates), batch, KEY, None)
        found.append(outcome.correct if reward == 'success' else -outcome.loss)
    earned = (np.stack(found, axis=1) * mask).sum(1) / mask.sum(1)
    message = episode.utterance.message
    log_prob = losses.said(episode.utterance.log_policy, message.symbols)
    expected = losses.reinforce(log_prob, earned, None, mask)
    value = game.terms(episode, KEY, batch, None)['policy_loss'].value
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert len(set(mask.sum(1).tolist())) > 1 and np.ptp(earned) > 0
    assert np.abs(earned - found[-1]).max() > 0.1


def test_an_impatient_listener_learns_nothing_after_the_end(batch):
    game = tiny_game({'listener.impatient': True, 'channel.variable_length': True})
    pair = drawn_pair(game, batch)
    forced = channels.make_message(
        jnp.zeros((BATCH, LENGTH), jnp.int32).at[:, 0].set(1), None, True
    )
    episode = jax.jit(lambda: game.play(pair, KEY, batch, STEP, forced)[0])()
    loss = game.terms(episode, KEY, batch, None)['listener_loss'].value
    guesses = [
        game._judge(
            jax.tree.map(lambda leaf, t=t: leaf[t], episode.guess.early)._replace(
                candidates=episode.guess.candidates
            ),
            batch,
            KEY,
            None,
        ).loss
        for t in range(2)
    ]
    np.testing.assert_allclose(loss, np.mean(guesses, 0), rtol=1e-5)  # A word, and the end.


def test_symbols_cost_more_once_speakers_are_understood():
    correct, weight = jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([1.0, 0.0, 1.0, 0.0])

    def cost(correct, power):
        config = tiny_config(
            {'loss.speaker.length_cost': 0.1, 'loss.speaker.length_cost_power': power}
        )
        return float(losses.length_cost(correct, weight, config.loss.speaker, None))

    assert cost(correct, 45.0) == pytest.approx(0.1)
    assert cost(0.5 * correct, 2.0) == pytest.approx(0.1 * 0.25)
    assert cost(0 * correct, 2.0) == 0.0 and cost(0 * correct, 0.0) == pytest.approx(0.1)
