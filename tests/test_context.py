"""Speakers that see the distractors, too: the agents and the game of Lazaridou et al. 2017."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from pictures import (
    COUNT,
    KEY,
    STEP,
    bank_of,
    config_of,
    game_of,
    optimizers_of,
    pair_of,
    population_of,
    source_of,
)

from emcom_jax import draws, losses
from emcom_jax.checks import check
from emcom_jax.data.batches import look_at
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.judging import context_order

C, B = 5, 10  # Candidates of a game; of 24 examples the last game has but four.
TINY = {
    'data.batch_size': B,
    'channel.kind': 'categorical',
    'speaker.embed_size': 3,
    'speaker.hidden_size': 4,
    'speaker.head': 'policy_value',
    'listener.projection_sizes': (3,),
    'loss.speaker.name': 'reinforce',
    'loss.listener.name': 'cross_entropy',
    'loss.listener.num_distractors': C - 1,
    'loss.listener.temperature': 0.5,
    'evaluation.distractors': 'context',
    'evaluation.num_candidates': (C,),
    'evaluation.redraws': 1,
    'evaluation.batch_size': B,
    'evaluation.best_metric': f'accuracy@{C}',
}
KINDS = ('agnostic', 'informed')


def changes_of(kind):
    return TINY | {'speaker.context': kind}


@cache
def played(kind):
    """Of a batch of two games: features, parameters, and the episode with its terms."""
    game = game_of('features', changes_of(kind))
    batch = look_at(bank_of('features'), jnp.arange(B), jnp.arange(B), KEY, 0.0)
    pair = pair_of(game, batch)
    # Sigmoids make differences small, next to which biases and means are large.
    larger = jax.tree.map(lambda leaf: 5 * (leaf - leaf.mean(0)[None]), pair.speaker)
    pair = pair._replace(speaker=larger)

    @jax.jit
    def play(features):
        seen = batch._replace(speaker_inputs=features)
        episode, _ = game.play(pair, KEY, seen, STEP)
        return episode, game.terms(episode, KEY, seen, None)

    return batch.speaker_inputs, pair, play


def matrices(agent):
    """By the last part of their path; the bias of 'policy' is 'policy_b'."""
    named = {path.split('/')[-1]: leaves for path, leaves in agent.params.items()}
    found = {name: np.asarray(leaves['w'], float) for name, leaves in named.items()}
    if 'policy' in named:
        found['policy_b'] = np.asarray(named['policy']['b'], float)
    return found


def test_a_game_is_of_examples_that_follow_each_other():
    games = np.asarray(draws.games_of(2 * C, C))
    assert games.shape == (2 * C, C)
    np.testing.assert_array_equal(games[:, 0], np.arange(2 * C))
    np.testing.assert_array_equal(np.sort(games) // C, np.arange(2 * C)[:, None] // C + 0 * games)
    assert all(len(set(row)) == C for row in games.tolist())
    # The last one is filled up with the first.
    assert sorted(np.asarray(draws.games_of(7, C))[6].tolist()) == [0, 1, 2, 5, 6]


def test_the_loss_is_the_softmax_over_the_dot_products_of_a_game():
    rng = np.random.default_rng(0)
    said, seen = rng.standard_normal((2, 2 * C, 3))
    scores, own = losses.inner_products(jnp.float32(said), jnp.float32(seen), C)
    loss = losses.classification(scores / 0.5, own)
    for row in range(2 * C):
        game = np.arange(row // C * C, row // C * C + C)
        each = seen[game] @ said[row] / 0.5
        own = scipy.special.log_softmax(each)[row % C]
        np.testing.assert_allclose(loss[row], -own, rtol=1e-4)
        np.testing.assert_allclose(scores[row] / 0.5, each, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_speakers_are_those_of_the_paper(kind):
    features, pair, play = played(kind)
    episode, _ = play(features)
    weights = matrices(pair.speaker)
    x = np.asarray(features, float)
    for row in range(B):
        first = row // C * C
        game = [first + (row - first + step) % C for step in range(C)]  # The target first.
        embedded = x[game] @ weights['embed']  # [C, E]
        if kind == 'agnostic':
            hidden = scipy.special.expit(embedded.ravel())
        else:  # Dimension by dimension: a filter has a weight for each candidate.
            maps = scipy.special.expit(weights['filters'].T @ embedded)  # [filters, E]
            hidden = scipy.special.expit(weights['combine'][:, 0] @ maps)
        logits = hidden @ weights['policy'] + weights['policy_b']
        expected = scipy.special.log_softmax(logits)
        found = episode.utterance.log_policy[row, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_a_speaker_reads_the_candidates_of_its_game_and_no_other(kind):
    features, _, play = played(kind)
    before = play(features)[0].utterance.log_policy
    after = play(features.at[1].add(jnp.arange(6.0)))[0].utterance.log_policy
    moved = np.abs(after - before).max(axis=(1, 2)) > 1e-6
    np.testing.assert_array_equal(moved, np.arange(B) < C)


def test_training_and_listener_are_of_the_same_games():
    features, pair, play = played('informed')
    episode, terms = play(features)
    weights = matrices(pair.listener)
    symbols = np.asarray(episode.heard.symbols[:, 0])
    scores = weights['embed'][symbols] @ (np.asarray(features, float) @ weights['project']).T / 0.5
    for row, loss in enumerate(terms['listener_loss'].value):
        game = scores[row, row // C * C :][:C]
        np.testing.assert_allclose(
            loss, -scipy.special.log_softmax(game)[row % C], rtol=1e-3, atol=1e-4
        )
        assert terms['accuracy'].value[row] == (game.argmax() == row % C)


@pytest.mark.parametrize('kind', KINDS)
def test_in_evaluation_candidates_are_those_that_the_speaker_saw(kind):
    changes, bank = changes_of(kind), bank_of('features')
    game, config = game_of('features', changes), config_of('features', changes)
    pair = played(kind)[1]
    members = population_of([pair], optimizers_of('features', changes))
    record = Evaluator(game, config)(members, bank, 'valid', 0, seed=3)
    order = np.asarray(context_order(COUNT))
    assert sorted(order) == list(range(COUNT)) and (order != np.arange(COUNT)).any()
    whole = look_at(bank, jnp.arange(COUNT), jnp.arange(COUNT), KEY, 0.0)
    features, weights = np.asarray(whole.speaker_inputs), matrices(pair.listener)
    say = jax.jit(lambda x: game.say_greedy(pair.speaker, whole._replace(speaker_inputs=x)).symbols)
    ordered = np.asarray(say(features[order]))[:, 0]  # All in one batch.
    for place, row in enumerate(order):
        assert record.messages[0, row, 0] == ordered[place]
        start = place // C * C
        candidates = order[np.arange(start, start + C) % COUNT]
        own = list(candidates).index(row)
        scores = features[candidates] @ weights['project'] @ weights['embed'][ordered[place]] / 0.5
        loss = -scipy.special.log_softmax(scores)[own]
        np.testing.assert_allclose(record.loss[0, 0, 0, row], loss, rtol=1e-3, atol=1e-4)
        assert record.correct[0, 0, 0, row] == (scores.argmax() == own)
    assert 0 < record.correct.mean() < 1 and len(np.unique(record.messages)) > 1


REFUSED = [
    ({'speaker.context': 'curious'}, 'must be agnostic or informed'),
    (
        {
            'loss.listener.num_distractors': None,
            'loss.listener.name': 'info_nce',
            'speaker.context': 'informed',
        },
        "needs loss.listener.name='cross_entropy' with num_distractors",
    ),
    ({'evaluation.distractors': 'random'}, "must be 'context' with speaker.context, and only then"),
    ({'speaker.context': None, 'evaluation.distractors': 'context'}, 'and only then'),
    ({'channel.length': 2}, 'must be 1 with speaker.context'),
    ({'evaluation.best_metric': 'accuracy@4', 'evaluation.num_candidates': (4,)}, 'must be .5,.'),
    ({'evaluation.batch_size': 9}, 'multiple of the 5 candidates'),
    ({'evaluation.redraws': 2}, 'must be 1 with speaker.context'),
    (
        {'loss.listener.num_distractors': None, 'speaker.context': 'informed'},
        "needs loss.listener.name='cross_entropy' with num_distractors",
    ),
    ({'loss.listener.num_distractors': 3}, 'must divide the 10 examples of a device into games'),
    (
        {'game.name': 'lewis', 'speaker.context': 'informed'},
        "is read by game.name='discrimination' alone",
    ),
]


@pytest.mark.parametrize(('changes', 'sentence'), REFUSED, ids=[str(i) for i in range(11)])
def test_what_does_not_fit_is_refused(changes, sentence):
    config = config_of('features', changes_of('informed') | changes)
    key, value = list(changes.items())[-1]
    with pytest.raises(ValueError, match=f'^{re.escape(f"{key}={value!r} ")}.*{sentence}'):
        check(config, source_of('features'), num_devices=1)


@pytest.mark.parametrize('kind', KINDS)
def test_what_fits_is_not_refused(kind):
    check(config_of('features', changes_of(kind)), source_of('features'), num_devices=1)
    check(config_of('shared', changes_of(kind)), source_of('shared'), num_devices=1)
