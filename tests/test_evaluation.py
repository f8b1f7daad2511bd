"""Evaluation: guesses made by hand are judged as by hand."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from conftest import tiny_config

from emcom_jax import channels
from emcom_jax.data.bank import make_bank
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.metrics import records
from emcom_jax.types import Agent, Groups, Guess, Learner, Population, Split

S, L, T, D = 2, 3, 4, 5
SPANS = (slice(2), slice(2, 3))
LABELS = {'class': 3, 'attributes': 2}


class Tables:
    """Speakers and listeners that know every referent by its row: a speaker what to say of it, a
    listener what to make of it, which depends on who says it. Candidates are what the listener
    sees."""

    kind, vocab_size, variable_length, reads_target = 'symbols', 6, True, False
    trunks, augmentation, converses = 'none', None, False

    def __init__(self, label=None):
        self.has_candidates = label is None
        self._label = label

    def look(self, shared, batch):
        return batch

    def say_greedy(self, speaker, batch):
        symbols = speaker.params['symbols'][batch.position]
        signed = jnp.full(symbols.shape[:1], speaker.state)
        return channels.make_message(symbols, None, True)._replace(relaxed=signed)

    def hear_greedy(self, listener, key, batch, message, channel_noise):
        answers = listener.params[message.relaxed, batch.position]
        if self._label:
            return Guess(None, None, {self._label: answers})
        return Guess(answers, batch.listener_inputs, {})

    def scores(self, prediction, candidates):
        return prediction @ candidates.T


def evaluate(answers, inputs=None, label=None, labels=None, own=False, **changes):
    """Evaluates listeners that answer [S, L, N, ...]; `own`: the first L/S of them are the first
    speaker's, and so on."""
    speakers, listeners, size = answers.shape[:3]
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((size, D)) if inputs is None else inputs
    bank = make_bank(Split(np.asarray(inputs, np.float32), labels or {}), 'float32')
    symbols = jnp.asarray(rng.integers(0, 6, (speakers, size, T)), jnp.int32)
    says = Agent({'symbols': symbols}, jnp.arange(speakers))
    hears = Agent(jnp.asarray(np.swapaxes(answers, 0, 1), jnp.float32), {})
    empty = Agent({}, {})
    population = Population(
        *(Learner(agent, (), 0, 0) for agent in (says, hears)),
        {},
        Learner(empty, (), 0, 0),
    )
    config = tiny_config({f'evaluation.{key}': value for key, value in changes.items()})
    record = Evaluator(Tables(label), config, own)(population, bank, 'valid', 7, config.random_seed)
    records.check(record)
    return record


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- picking among candidates ---------------------------------------------------------------------


@pytest.mark.parametrize(('size', 'count'), [(16, 4), (10, 4), (7, 7)])
def test_every_referent_is_judged_among_exactly_so_many(size, count):
    # Listener 0 knows them all: one that stood twice among its candidates would tie with itself.
    # Listener 1 answers the same to everything, and is at the chance of one in so many.
    answers = np.stack([100 * np.eye(size), np.zeros((size, size))])[None]
    record = evaluate(answers, np.eye(size), num_candidates=(count,))
    knows, guesses = np.ones(size), np.full(size, 1 / count)
    np.testing.assert_allclose(record.correct, [[[knows, guesses]]], rtol=1e-5)
    np.testing.assert_allclose(record.loss, -np.log([[[knows, guesses]]]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(record.vote, [[knows]], rtol=1e-5)


def judged_by_brute_force(answers, inputs):
    """correct and loss [S, L, N], vote [S, N] with all referents as candidates."""
    scores = answers @ inputs.T
    own = np.arange(scores.shape[-1])
    chances = scipy.special.softmax(scores, axis=-1)
    vote = chances.mean(axis=1).argmax(axis=-1) == own
    return scores.argmax(-1) == own, -np.log(chances[..., own, own]), vote


def test_among_all_referents_it_is_brute_force(rng):
    inputs = rng.standard_normal((9, D))
    answers = inputs + rng.standard_normal((S, L, 9, D))
    record = evaluate(answers, inputs, num_candidates=(9,))
    correct, loss, vote = judged_by_brute_force(answers, inputs)
    assert 0 < correct.mean() < 1 and (vote != correct[:, 0]).any()
    np.testing.assert_allclose(record.correct[0], correct)
    np.testing.assert_allclose(record.loss[0], loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(record.vote[0], vote)


def test_fewer_candidates_are_a_fair_sample_of_the_others(rng):
    inputs = rng.standard_normal((10, D))
    answers = inputs + rng.standard_normal((1, 1, 10, D))
    record = evaluate(answers, inputs, num_candidates=(4,), redraws=2000)
    scores = (answers @ inputs.T)[0, 0]
    better = (scores > np.diag(scores)[:, None]).sum(1)
    assert better.max() > 1
    # None of those that are better is among the three others.
    right = scipy.special.comb(9 - better, 3) / scipy.special.comb(9, 3)
    np.testing.assert_allclose(record.correct[0, 0, 0], right, atol=5 * 0.5 / math.sqrt(2000))
    assert not np.isin(record.correct[0, 0, 0][(better > 0) & (better < 7)], (0, 1)).any()


def test_one_listener_votes_for_itself(rng):
    record = evaluate(rng.standard_normal((S, 1, 10, D)), num_candidates=(4,))
    np.testing.assert_allclose(record.vote, record.correct[:, :, 0])


def test_more_candidates_than_referents_are_all_of_them(rng):
    answers = rng.standard_normal((1, 1, 10, D))
    record = evaluate(answers, num_candidates=(100, 4, 16))
    assert record.num_candidates == (4, 10)
    assert record.correct.shape == (2, 1, 1, 10)
    exact = evaluate(answers, num_candidates=(10,))
    np.testing.assert_array_equal(record.correct[1], exact.correct[0])


def test_a_record_does_not_depend_on_the_batches_it_was_made_in(rng):
    answers = rng.standard_normal((S, L, 10, D))
    noisy = {'input_noise': 0.5, 'num_candidates': (4,)}
    whole, by_threes = (evaluate(answers, **noisy, batch_size=size) for size in (1024, 3))
    for field in ('messages', 'lengths', 'correct', 'loss', 'vote'):
        ours, theirs = getattr(whole, field), getattr(by_threes, field)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=field)
    clean = evaluate(answers, num_candidates=(4,))
    assert (clean.loss != whole.loss).all()


def test_own_listeners_are_the_block_of_each_speaker(rng):
    answers = rng.standard_normal((2, 4, 12, D))
    options = {'num_candidates': (3, 12), 'batch_size': 5}
    everyone, own = (evaluate(answers, own=own, **options) for own in (False, True))
    assert own.correct.shape == (2, 2, 2, 12)
    for name in ('correct', 'loss'):
        whole, part = getattr(everyone, name), getattr(own, name)
        np.testing.assert_allclose(part[:, 0], whole[:, 0, :2], rtol=1e-6)
        np.testing.assert_allclose(part[:, 1], whole[:, 1, 2:], rtol=1e-6)
    np.testing.assert_array_equal(own.messages, everyone.messages)
    # They vote among themselves.
    alone = evaluate(answers[:, :2], **options)
    np.testing.assert_allclose(own.vote[:, 0], alone.vote[:, 0], rtol=1e-6)
    assert (own.vote[:, 0] != everyone.vote[:, 0]).any()


def test_own_listeners_of_speakers_of_several_groups(rng):
    answers = rng.standard_normal((3, 6, 12, D))
    bank = make_bank(Split(rng.standard_normal((12, D)).astype(np.float32), {}), 'float32')
    symbols = jnp.asarray(rng.integers(0, 6, (3, 12, T)), jnp.int32)

    def learner(params, state):
        return Learner(Agent(params, state), (), 0, 0)

    listeners, shared = learner(np.float32(np.swapaxes(answers, 0, 1)), {}), learner({}, {})
    whole = Population(learner({'symbols': symbols}, jnp.arange(3)), listeners, {}, shared)
    speakers = tuple(learner({'symbols': symbols[x]}, jnp.arange(3)[x]) for x in SPANS)
    groups = Groups(speakers, (listeners,), ({}, {}), shared)
    config = tiny_config({'evaluation.num_candidates': (4,)})
    ours, theirs = (
        Evaluator(game, config, own=True)(members, bank, 'test', 0, 1)
        for game, members in (((((Tables(),),) * 2), groups), (Tables(), whole))
    )
    assert ours.correct.shape == (1, 3, 2, 12) and 0 < ours.correct.mean() < 1
    for field in ('messages', 'lengths', 'correct', 'loss', 'vote'):
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), rtol=1e-6)


class Narrow(Tables):
    """Listeners that see of the referents as many dimensions as they answer with."""

    def hear_greedy(self, listener, key, batch, message, channel_noise):
        guess = super().hear_greedy(listener, key, batch, message, channel_noise)
        dimensions = guess.prediction.shape[-1]
        return guess._replace(candidates=batch.listener_inputs[:, :dimensions])


def test_groups_are_evaluated_as_one_population(rng):
    """Two speakers and another one; a listener, and two in a space of fewer dimensions."""
    answers = rng.standard_normal((3, 3, 10, D))
    answers[:, 1:, :, 3:] = 0  # A product with those is that in three dimensions.
    inputs = rng.standard_normal((10, D))
    bank = make_bank(Split(np.asarray(inputs, np.float32), {}), 'float32')
    whole = np.swapaxes(answers, 0, 1).astype(np.float32)
    symbols = jnp.asarray(rng.integers(0, 6, (3, 10, T)), jnp.int32)

    def learner(params, state):
        return Learner(Agent(params, state), (), 0, 0)

    speakers = [learner({'symbols': symbols[x]}, jnp.arange(3)[x]) for x in SPANS]
    listeners = (learner(whole[:1], {}), learner(whole[1:, ..., :3], {}))
    shared = learner({}, {})
    config = tiny_config({'evaluation.num_candidates': (4,)})
    both = []
    for game, members in (
        (
            Tables(),
            Population(
                learner({'symbols': symbols}, jnp.arange(3)), learner(whole, {}), {}, shared
            ),
        ),
        (((Tables(), Narrow()),) * 2, Groups(tuple(speakers), listeners, ({}, {}), shared)),
    ):
        record = Evaluator(game, config)(members, bank, 'test', 0, 1)
        records.check(record)
        both.append(record)
    assert 0 < both[0].correct.mean() < 1 and len(np.unique(both[0].messages, axis=0)) == 3
    for field in ('messages', 'lengths', 'correct', 'loss', 'vote'):
        ours, theirs = (getattr(record, field) for record in both)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=field)


# --- naming ---------------------------------------------------------------------------------------


def test_naming_a_class(rng):
    labels = rng.integers(0, 3, 10).astype(np.int32)
    logits = rng.standard_normal((S, L, 10, 3))
    record = evaluate(logits, label='class', labels={'class': labels, 'other': labels})
    chances = scipy.special.softmax(logits, axis=-1)
    assert record.num_candidates == (0,)
    np.testing.assert_array_equal(record.correct[0], logits.argmax(-1) == labels)
    own = np.take_along_axis(chances, np.broadcast_to(labels, (S, L, 10))[..., None], -1)[..., 0]
    np.testing.assert_allclose(record.loss[0], -np.log(own), rtol=1e-4)
    np.testing.assert_array_equal(record.vote[0], chances.mean(1).argmax(-1) == labels)


def test_naming_attributes_is_worth_the_share_that_is_right(rng):
    labels = rng.integers(0, 3, (10, 2)).astype(np.int32)
    logits = rng.standard_normal((S, L, 10, 2, 3))
    record = evaluate(logits, label='attributes', labels={'attributes': labels})
    chances = scipy.special.softmax(logits, axis=-1)
    own = np.broadcast_to(labels, (S, L, 10, 2))[..., None]
    loss = -np.log(np.take_along_axis(chances, own, -1)[..., 0]).mean(-1)
    np.testing.assert_allclose(record.correct[0], (logits.argmax(-1) == labels).mean(-1))
    np.testing.assert_allclose(record.loss[0], loss, rtol=1e-4, atol=1e-6)
    vote = (chances.mean(1).argmax(-1) == labels).mean(-1)
    np.testing.assert_allclose(record.vote[0], vote)


# --- what is kept ---------------------------------------------------------------------------------


def test_a_record_holds_what_was_said_of_what(rng):
    inputs, label = rng.standard_normal((10, D)), np.arange(10, dtype=np.int32)
    record = evaluate(np.zeros((S, L, 10, D)), inputs, labels={'class': label})
    assert (record.split, record.step, record.kind, record.vocab_size) == ('valid', 7, 'symbols', 6)
    np.testing.assert_array_equal(record.meanings, inputs.astype(np.float32))
    np.testing.assert_array_equal(record.labels['class'], label)
    assert record.messages.shape == (S, 10, T) and (record.messages[0] != record.messages[1]).any()
    for message, length in zip(record.messages.reshape(-1, T), record.lengths.ravel(), strict=True):
        ended = (*message, 0).index(0) + 1
        assert length == min(ended, T) and not message[length:].any()
