"""The contract of a game, for every way to speak with every core and with every task: what a play
holds, who learns from it, and what does not leak."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BATCH, LENGTH, SIZE, VOCAB, drawn, tiny_config, tiny_source

from emcom_jax import channels, losses
from emcom_jax.agents.networks import CORES
from emcom_jax.checks import check
from emcom_jax.games import GAMES
from emcom_jax.types import Agent, Episode, Pair

KEY = jax.random.key(0)
STEP = jnp.array(50)
TASKS = {
    'info_nce': {},
    'sampled_info_nce': {'loss.listener.name': 'info_nce', 'loss.listener.num_distractors': 3},
    'classification': {},
    'multi_classification': {'loss.listener.label': 'attributes'},
}


def settings():
    """Name -> changes of the config."""
    for kind, differentiable in channels.DIFFERENTIABLE.items():
        fitting = {
            name: loss
            for name, loss in losses.SPEAKER_LOSSES.items()
            if loss.differentiable == differentiable
        }
        for name, loss in fitting.items():
            for length in ('fixed', 'variable') if kind != 'continuous' else ('fixed',):
                way = {
                    'channel.kind': kind,
                    'channel.variable_length': length == 'variable',
                    'loss.speaker.name': name,
                    # As little as it needs, so that all parameters of a speaker learn.
                    'speaker.head': 'policy_value' if name == 'reinforce' else loss.heads[0],
                    'loss.speaker.length_cost': 0.1,
                }
                if kind == 'continuous':
                    way |= {'loss.speaker.entropy': 0.0, 'loss.speaker.kl': 0.0}
                for core in CORES:
                    cores = {'speaker.core': core, 'listener.core': core}
                    yield f'{kind}-{name}-{length}-{core}', way | cores
                for task, changes in TASKS.items():
                    if task != 'info_nce':
                        changes = {'loss.listener.name': task} | changes
                        yield f'{kind}-{name}-{length}-{task}', way | changes


SETTINGS = dict(settings())


class Play(NamedTuple):
    """A game, a pair, and what one play of it gave. No program is compiled as a whole: its
    operations are, once for all settings."""

    game: object
    config: object
    pair: Pair
    episode: Episode
    terms: dict
    gradients: tuple  # Of the loss, with respect to speaker, listener, target.

    def replay(self, batch, message=None):
        message = self.episode.utterance.message if message is None else message
        with jax.disable_jit():
            return self.game.play(self.pair, KEY, batch, STEP, message)[0]


def play_and_differentiate(changes, batch):
    config, source = tiny_config(changes), tiny_source()
    check(config, source, num_devices=1)
    game = GAMES['lewis'].make(config, source)
    speaker, listener = drawn(
        jax.eval_shape(lambda: (game.init_speaker(KEY, batch), game.init_listener(KEY, batch)))
    )
    target = jax.tree.map(lambda leaf: 0.9 * leaf, speaker.params)

    def loss(params):
        pair = Pair(Agent(params[0], {}), Agent(params[1], {}), params[2], Agent({}, {}))
        episode, _ = game.play(pair, KEY, batch, STEP)
        terms = game.terms(episode, KEY, batch, axis_name=None)
        return sum(t.coefficient * t.value.mean() for t in terms.values()), (episode, terms)

    params = (speaker.params, listener.params, target)
    with jax.disable_jit():
        gradients, (episode, terms) = jax.grad(loss, has_aux=True)(params)
    pair = Pair(speaker, listener, target, Agent({}, {}))
    return Play(game, config, pair, *jax.device_get((episode, terms, gradients)))


@pytest.fixture(scope='module', params=SETTINGS)
def play(request, batch):
    return play_and_differentiate(SETTINGS[request.param], batch)


# --- contracts ------------------------------------------------------------------------------------


def test_a_play_holds_what_types_says(play):
    config, (utterance, target_log_policy, heard, guess) = play.config, play.episode
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
    guess = play.replay(other).guess
    chex.assert_trees_all_close(guess, play.episode.guess, rtol=1e-5, atol=1e-5)
    # What it sees are candidates.
    other = batch._replace(listener_inputs=batch.listener_inputs[::-1])
    guess = play.replay(other).guess
    chex.assert_trees_all_equal(guess.prediction, play.replay(batch).guess.prediction)
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
        clean, noisy = (play.replay(batch, one) for one in (message, junk))
        chex.assert_trees_all_equal(clean.guess, noisy.guess)
        with jax.disable_jit():
            worth = [play.game.terms(one, KEY, batch, None) for one in (clean, noisy)]
        chex.assert_trees_all_equal(*worth)


def test_greedy_play_is_without_chance(play, batch):
    with jax.disable_jit():
        first, second = (
            play.game.play_greedy(play.pair, jax.random.key(seed), batch, channel_noise=0.0)
            for seed in (0, 1)
        )
        said = play.game.say_greedy(play.pair.speaker, batch)
    chex.assert_trees_all_equal(first, second)
    chex.assert_trees_all_equal(first.utterance.message, said)
    assert first.target_log_policy is None
