"""Interventions: what listeners do that hear all of a message, a part, or nothing."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BATCH, LENGTH, all_combinations, drawn_pair, tiny_config, tiny_game
from scipy import stats

from emcom_jax import channels, metrics
from emcom_jax.data.bank import make_bank
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.interventions import (
    INTERVENTIONS,
    Interventions,
    influence,
    tamper,
    total_variation,
)
from emcom_jax.stacks import agents_of
from emcom_jax.types import Agent, Groups, Guess, InterventionRecord, Learner, Population, Split

V, T = 3, 3
NUMBERS = all_combinations(T, V)  # Every referent is a number of three digits.
N = len(NUMBERS)
ALL, FIRST_TWO, DEAF = range(3)  # Listeners.
SPEAKS, MUTE = range(2)


class Digits:
    """A speaker spells the number that it sees, or always the same; a listener reads the digits at
    some positions. Candidates are the digits themselves."""

    kind, vocab_size, variable_length, has_candidates = 'symbols', V, False, True
    converses = False
    trunks, augmentation = 'none', None

    def __init__(self, label=None):
        self.has_candidates = label is None
        self._label = label

    def look(self, shared, batch):
        return batch

    def say_greedy(self, speaker, batch):
        digits = batch.speaker_inputs.reshape(-1, T, V).argmax(-1) * speaker.params
        return channels.make_message(digits.astype(jnp.int32), None, False)

    def hear_greedy(self, listener, key, batch, message, channel_noise):
        read = jax.nn.one_hot(message.symbols, V) * listener.params[None, :, None]
        if self._label == 'first':
            return Guess(None, None, {'first': 50 * read[:, 0]})
        if self._label == 'digits':
            return Guess(None, None, {'digits': 50 * read})
        return Guess(50 * read.reshape(-1, T * V), batch.listener_inputs, {})

    def scores(self, prediction, candidates):
        return prediction @ candidates.T


def population_of(speakers, listeners):
    learners = [Learner(Agent(jnp.asarray(x), {}), (), 0, 0) for x in (speakers, listeners)]
    return Population(*learners, {}, Learner(Agent({}, {}), (), 0, 0))


DIGITS = make_bank(
    Split(
        np.eye(V, dtype=np.float32)[NUMBERS].reshape(N, -1),
        {'first': NUMBERS[:, 0].astype(np.int32), 'digits': NUMBERS.astype(np.int32)},
    ),
    'float32',
)
AGENTS = population_of(np.array([1, 0]), np.array([[1.0, 1, 1], [1, 1, 0], [0, 0, 0]]))


def intervene(label=None, seed=0, **changes):
    config = tiny_config({f'evaluation.{name}': value for name, value in changes.items()})
    return Interventions(Digits(label), config)(AGENTS, DIGITS, seed)


@pytest.fixture(scope='module')
def digits():
    """Among all referents."""
    return intervene(num_candidates=(2, N))


# --- equations ------------------------------------------------------------------------------------


def test_influence_by_hand():
    # A binary symmetric channel: 1 - H(1/4) bits, from either message.
    chances = jnp.array([[0.75, 0.25], [0.25, 0.75]])
    told = 1 - stats.entropy([0.25, 0.75], base=2)
    np.testing.assert_allclose(influence(chances), [told, told], rtol=1e-5)
    # One message decides, the other leaves it open: the mean is 1/4, 3/4.
    chances = jnp.array([[0.0, 1.0], [0.5, 0.5]])
    each = [np.log2(4 / 3), 0.5 * np.log2(2) + 0.5 * np.log2(2 / 3)]
    np.testing.assert_allclose(influence(chances), each, rtol=1e-5)


def test_influence_is_mutual_information_in_its_bounds():
    chances = np.random.default_rng(0).dirichlet(np.ones(5), 12)
    told = np.asarray(influence(jnp.asarray(chances, jnp.float32)))
    joint = chances / 12
    independent = joint.sum(0) * joint.sum(1, keepdims=True)
    expected = stats.entropy(joint.ravel(), independent.ravel(), base=2)
    np.testing.assert_allclose(told.mean(), expected, rtol=1e-4)
    assert (told > 0).all()
    same = jnp.full((7, 3), 1 / 3) * jnp.array([[0.3, 1.7, 1.0]])
    assert not np.asarray(influence(same)).any()  # Exactly.
    np.testing.assert_allclose(influence(jnp.eye(8)), np.full(8, 3.0), rtol=1e-5)


def test_total_variation_in_its_bounds_and_by_hand():
    p = jnp.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    q = jnp.array([[0.0, 0.5, 0.5], [0.5, 0.5, 0.0], [0.4, 0.2, 0.4]])
    np.testing.assert_allclose(total_variation(p, q), [1.0, 0.0, 0.2], atol=1e-6)
    with pytest.raises(AssertionError):
        total_variation(p, q[:2])


# --- listeners that are known ---------------------------------------------------------------------


def test_who_understands_everything_falls_to_chance(digits):
    correct = {name: each[:, SPEAKS, ALL].mean(-1) for name, each in digits.correct.items()}
    assert digits.num_candidates == N
    assert correct['intact'] == 1
    assert not correct['replaced'].any()  # Each position counts.
    np.testing.assert_allclose(correct['silenced'], 1 / N, rtol=1e-6)
    own = ~digits.altered['shuffled'][0, SPEAKS]
    np.testing.assert_array_equal(digits.correct['shuffled'][0, SPEAKS, ALL], own)
    assert own.mean() < 0.2
    # Nothing moves where two digits are alike, and all else is wrong.
    moved = digits.altered['swapped'][0, SPEAKS]
    np.testing.assert_array_equal(digits.correct['swapped'][0, SPEAKS, ALL], ~moved)
    assert 0.3 < moved.mean() < 1
    for name, change in digits.change.items():
        expected = digits.altered[name][:, SPEAKS]
        if name == 'silenced':  # Of one referent, silence is the name.
            np.testing.assert_array_equal(~expected, (NUMBERS == 0).all(1)[None])
        np.testing.assert_allclose(change[:, SPEAKS, ALL], expected, atol=1e-6)
    np.testing.assert_allclose(digits.influence[SPEAKS, ALL], np.full(N, np.log2(N)), rtol=1e-4)


def test_a_position_that_is_not_read_has_no_influence(digits):
    correct, change = (x['replaced'][:, SPEAKS, FIRST_TWO] for x in (digits.correct, digits.change))
    intact = digits.correct['intact'][0, SPEAKS, FIRST_TWO]
    np.testing.assert_allclose(intact, np.full(N, 1 / 3), rtol=1e-6)
    assert digits.altered['replaced'].all()
    assert not change[2].any()
    np.testing.assert_array_equal(correct[2], intact)
    assert not correct[:2].any()
    np.testing.assert_allclose(change[:2], np.ones((2, N)), rtol=1e-5)
    np.testing.assert_allclose(digits.influence[SPEAKS, FIRST_TWO].mean(), np.log2(9), rtol=1e-4)


def test_who_does_not_listen_is_not_influenced(digits):
    for name in digits.correct:
        np.testing.assert_allclose(digits.correct[name][:, :, DEAF], 1 / N, rtol=1e-6)
        assert not digits.change[name][:, :, DEAF].any()
    assert not digits.influence[:, DEAF].any()


def test_who_says_always_the_same_has_no_influence_though_all_listen(digits):
    assert not digits.influence[MUTE].any()
    assert not digits.altered['shuffled'][:, MUTE].any()
    assert not digits.altered['swapped'][:, MUTE].any()
    assert digits.change['replaced'][:, MUTE, ALL].all()  # They would listen.


def test_influence_is_bounded_by_the_candidates():
    few = intervene(num_candidates=(9,), redraws=4)
    assert few.num_candidates == 9
    np.testing.assert_allclose(few.influence[SPEAKS, ALL].mean(), np.log2(9), rtol=1e-4)


def test_listeners_that_name_what_they_hear():
    named = intervene('first')
    assert named.num_candidates == 0
    correct = {name: each[:, SPEAKS, ALL].mean(-1) for name, each in named.correct.items()}
    assert correct['intact'] == 1
    np.testing.assert_array_equal(correct['replaced'], [0, 1, 1])
    np.testing.assert_allclose(correct['silenced'], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(named.influence[SPEAKS, ALL], np.log2(3), rtol=1e-4)
    # Of several attributes, a mean over them.
    both = intervene('digits')
    np.testing.assert_allclose(both.correct['replaced'][:, SPEAKS, ALL], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(both.change['replaced'][:, SPEAKS, ALL], 1 / 3, rtol=1e-4)
    two_of_three = both.influence[SPEAKS, FIRST_TWO].mean()
    np.testing.assert_allclose(two_of_three, np.log2(3) * 2 / 3, rtol=1e-4)
    assert not both.influence[:, DEAF].any()


def test_no_more_referents_than_asked_for():
    some = intervene(max_examples=10, num_candidates=(4, 16))
    assert some.influence.shape == (2, 3, 10) and some.num_candidates == 10
    assert some.correct['replaced'].shape == (T, 2, 3, 10)
    assert (some.correct['intact'][0, SPEAKS, ALL] == 1).all()


# --- games as they are ----------------------------------------------------------------------------

CONTINUOUS = {
    'channel.kind': 'continuous',
    'loss.speaker.name': 'pathwise',
    'loss.speaker.entropy': 0.0,
    'loss.speaker.kl': 0.0,
}


def stacked(game, batch):
    """Two drawn speakers and three listeners."""
    pair = drawn_pair(game, batch)

    def stack(agent, count):
        factors = 1.0 + np.arange(count)
        return jax.tree.map(lambda leaf: jnp.stack([factor * leaf for factor in factors]), agent)

    none = Learner(Agent({}, {}), (), 0, 0)
    speakers, listeners = (
        Learner(stack(agent, count), (), 0, 0)
        for agent, count in ((pair.speaker, 2), (pair.listener, 3))
    )
    return Population(speakers, listeners, {}, none)


@pytest.mark.parametrize(
    ('changes', 'missing'),
    [
        ({'channel.variable_length': True, 'evaluation.channel_noise': 0.2}, set()),
        ({'channel.variable_length': True, 'channel.vocab_size': 2}, {'replaced', 'swapped'}),
        ({'channel.length': 1}, {'swapped'}),
        (CONTINUOUS, {'replaced'}),
    ],
    ids=['variable_length', 'one_word', 'one_symbol', 'continuous'],
)
def test_intact_messages_are_judged_as_ever_and_others_where_they_mean_something(
    changes, missing, bank, batch
):
    changes |= {'evaluation.batch_size': 24, 'evaluation.redraws': 2}
    config, game = tiny_config(changes), tiny_game(changes)
    population = stacked(game, batch)
    record = Evaluator(game, config)(population, bank, 'test', 0, seed=3)
    tampered = Interventions(game, config)(population, bank, seed=3)
    np.testing.assert_allclose(tampered.correct['intact'][0], record.correct[-1], rtol=1e-5)
    assert tampered.num_candidates == record.num_candidates[-1]
    of_drawings = {'erased', 'erased_group'}
    assert set(tampered.correct) == set(INTERVENTIONS) - of_drawings - missing
    for name in tampered.correct:
        ways = config.channel.length if name == 'replaced' else 1
        assert tampered.correct[name].shape == tampered.change[name].shape == (ways, 2, 3, 64)
        altered = tampered.altered[name]
        assert altered.shape == (ways, 2, 64)
        assert altered.any() == (name != 'intact')
        unaltered = np.broadcast_to(~altered[:, :, None], tampered.change[name].shape)
        np.testing.assert_allclose(tampered.change[name][unaltered], 0, atol=1e-5)
    assert tampered.influence.min() >= 0 and tampered.influence.max() > 0
    values = metrics.listening_of(tampered, num_resamples=20)
    assert set(values) >= {f'accuracy_{name}@16' for name in tampered.correct}


def test_groups_are_tampered_with_as_one_population(bank, batch):
    changes = {'evaluation.redraws': 2}
    config, game = tiny_config(changes), tiny_game(changes)
    whole = stacked(game, batch)
    everyone = Interventions(game, config)(whole, bank, seed=3)

    def parts(role, *rows):
        return tuple(jax.tree.map(lambda leaf, x=x: leaf[x], agents_of(role)) for x in rows)

    speakers = parts(whole.speakers, slice(1), slice(1, 2))
    listeners = parts(whole.listeners, slice(2), slice(2, 3))
    learners = (tuple(Learner(x, (), 0, 0) for x in agents) for agents in (speakers, listeners))
    games = tuple(tuple(tiny_game(changes) for _ in range(2)) for _ in range(2))
    groups = Interventions(games, config)(Groups(*learners, (), whole.shared), bank, seed=3)
    chex.assert_trees_all_close(groups, everyone, rtol=1e-5, atol=1e-6)
    assert groups.correct['replaced'].shape == (LENGTH, 2, 3, 64)


def test_a_symbol_is_replaced_where_the_message_has_a_word(batch):
    game = tiny_game({'channel.variable_length': True})
    symbols = np.random.default_rng(0).integers(0, 3, (BATCH, LENGTH), dtype=np.int32)
    message = channels.make_message(jnp.asarray(symbols), None, True)
    tampered = tamper(jax.random.key(0), message, game)['replaced']
    words = np.asarray(message.symbols) > 0
    for place in range(LENGTH):
        differs = (tampered.symbols[place] != message.symbols).any(1)
        np.testing.assert_array_equal(differs, words[:, place])
    assert words.any() and not words.all()


# --- in numbers -----------------------------------------------------------------------------------


def test_values_of_known_listeners(digits):
    values = metrics.listening_of(digits, num_resamples=50)
    mean = np.mean([1, 1 / 3, 1 / N] + 3 * [1 / N])
    assert values[f'accuracy_intact@{N}'] == pytest.approx(mean, rel=1e-5)
    assert values['intervention_examples'] == N
    told = (np.log2(27) + np.log2(9)) / 6
    assert values[f'causal_influence@{N}'] == pytest.approx(told, rel=1e-4)
    low, high = values[f'causal_influence@{N}_ci95']
    assert low <= values[f'causal_influence@{N}'] <= high
    # Two of three listeners read the first digit, one the last, whoever speaks.
    changes = values[f'guess_change_by_position@{N}']
    assert changes == pytest.approx([2 / 3, 2 / 3, 1 / 3], rel=1e-4)
    assert values[f'guess_change_replaced@{N}'] == pytest.approx(5 / 9, rel=1e-4)
    assert f'guess_change_intact@{N}' not in values


def test_values_by_hand():
    """One speaker, two listeners, four referents; messages of one, two, no and two words."""
    altered = {'replaced': np.array([[[1, 1, 0, 1]], [[0, 1, 0, 1]], [[0, 0, 0, 0]]], bool)}
    altered['intact'] = np.zeros((1, 1, 4), bool)
    correct = {'intact': np.ones((1, 1, 2, 4), np.float32)}
    correct['replaced'] = np.repeat(correct['intact'], 3, axis=0)
    correct['replaced'][0, 0, :, 0] = 0  # Referent 0 is lost by the first symbol ...
    correct['replaced'][1, 0, 1, 1] = 0  # ... referent 1 by the second, for one listener.
    change = {name: 1 - each for name, each in correct.items()}
    record = InterventionRecord(0, altered, correct, change, np.ones((1, 2, 4), np.float32))
    values = metrics.listening_of(record, num_resamples=20)
    assert values['accuracy_intact'] == 1
    # A message without words stays as it was.
    assert values['accuracy_replaced'] == pytest.approx((0 + 0.75 + 1 + 1) / 4)
    drop = values['accuracy_drop_by_position']
    np.testing.assert_allclose(drop, [1 / 3, 1 / 4, np.nan])
    assert np.isnan(values['accuracy_drop_by_position_ci95'][2]).all()
    assert len(values['accuracy_drop_by_position_ci95']) == 3
    assert values['causal_influence'] == 1


def test_all_that_is_stated_is_named(digits):
    values = metrics.listening_of(digits, num_resamples=20)
    known = metrics.listening.VALUES
    for name in values:
        assert name.partition('@')[0].removesuffix('_ci95') in known, name
    stated = {name.partition('@')[0] for name in values}
    elsewhere = ('unanswered', 'later', 'flipped', 'by_turn', 'by_region')  # Of dialogues alone.
    elsewhere += ('erased', 'by_stroke', 'by_group')  # Of drawings.
    others = {name for name in known if any(part in name for part in elsewhere)}
    assert stated == set(known) - others - {'guess_change_intact'}
