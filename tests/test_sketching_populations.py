"""Populations of sketchers: how they learn, are evaluated, and are tampered with."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import population_of
from sketches import (
    COUNT,
    FROZEN,
    GAME,
    KEY,
    LIKENESS,
    OWN,
    ROLES,
    SIDE,
    STEP,
    STROKES,
    bank_of,
    batch_of,
    config_of,
    game_of,
    pair_of,
)

from emcom_jax import updates
from emcom_jax.data.batches import others_of
from emcom_jax.evaluation.cross_play import Group, cross_play
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.interventions import tamper
from emcom_jax.evaluation.judging import make_draws
from emcom_jax.experiments import trunks
from emcom_jax.optimizers import make_optimizer
from emcom_jax.population import Optimizers, make_meetings
from emcom_jax.types import Message

TWO = {
    'population.num_speakers': 2,
    'population.num_listeners': 2,
    'population.pairs_per_step': 2,
    'population.pairing': 'fixed',
    'population.pairs': ((0, 1), (1, 0)),
}


def population(game, batch, optimizers):
    first = pair_of(game, batch)
    pairs = [jax.tree.map(lambda leaf, n=n: (1 + n / 4) * leaf, first) for n in range(2)]
    return population_of([pairs[0], pairs[1]._replace(shared=first.shared)], optimizers)


@cache
def after_step(execution):
    changes = LIKENESS | TWO
    config, game, batch = config_of(changes), game_of(changes), batch_of(changes)
    optimizers = Optimizers(
        *(make_optimizer(trunks.frozen_in(config, role), 100, 8) for role in ROLES)
    )
    members = population(game, batch, optimizers)
    update = updates.communicate(
        game, optimizers, make_meetings(config.population), execution, 0.9, None
    )
    after, scalars = jax.jit(lambda members, batch: update(KEY, STEP, members, batch))(
        members, batch
    )
    return members, after, scalars


def test_pairs_at_once_are_pairs_one_by_one():
    _, one, scalars = after_step('unroll')
    _, other, same = after_step('vmap')
    chex.assert_trees_all_close(one, other, rtol=2e-3, atol=2e-5)
    chex.assert_trees_all_close(scalars, same, rtol=2e-3, atol=2e-5)


def test_a_frozen_trunk_stays_and_its_projection_learns():
    before, after, _ = after_step('unroll')
    for path, leaves in before.shared.agent.params.items():
        for name, value in leaves.items():
            moved = np.any(after.shared.agent.params[path][name] != value)
            assert moved == (not path.startswith('trunk')), (path, name)


@pytest.fixture(scope='module', params=['shared', 'own'])
def evaluated(request):
    changes = {'shared': FROZEN, 'own': OWN}[request.param] | TWO
    game, batch, bank = game_of(changes), batch_of(changes), bank_of(changes)
    members = population(game, batch, Optimizers(None, None, None))
    return game, members, bank, Evaluator(game, config_of(changes))(members, bank, 'valid', 3, 0)


def test_a_record_holds_what_was_drawn(evaluated):
    game, members, bank, record = evaluated
    assert record.kind == 'drawings' and record.messages.shape == (2, COUNT, STROKES, 4)
    assert record.lengths.shape == (2, COUNT) and (record.lengths == STROKES).all()
    assert record.correct.shape == (1, 2, 2, COUNT) and record.num_candidates == (GAME,)
    one = jax.tree.map(lambda leaf: leaf[1], members.speakers.agent)
    images = np.asarray(bank.inputs[:4], np.float32) / 255 * 2 - 1

    @jax.jit
    def said(images):
        batch = batch_of({})._replace(speaker_inputs=images, listener_inputs=images)
        batch = game.look(members.shared.agent, batch)
        seen = game.perceive('speaker', one, batch.speaker_inputs)
        return game.say_greedy(one, batch._replace(speaker_inputs=seen)).relaxed

    np.testing.assert_allclose(record.messages[1, :4], said(images), rtol=1e-3, atol=1e-4)


def test_a_record_shows_games(evaluated):
    _, _, bank, record = evaluated
    games, labels = record.games, np.asarray(bank.labels['class'])
    rows, images = games['rows'], np.asarray(bank.inputs)
    assert len(set(rows.tolist())) == len(rows) == 40
    assert games['images'].shape[1:] == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(games['images'][games['shown']], images[rows])
    np.testing.assert_array_equal(games['images'], images[games['image_rows']])
    everyone = jnp.arange(COUNT)
    others = np.asarray(others_of(bank, everyone, everyone, make_draws(0).inputs))
    right = games['candidates'][np.arange(40), games['target']]
    np.testing.assert_array_equal(games['images'][right], images[others[rows]])
    for among in games['candidates']:
        chosen = [np.flatnonzero((images == games['images'][k]).all((1, 2, 3)))[0] for k in among]
        assert len(set(labels[chosen])) == GAME
    # Two draws are judged, and this is the first of them.
    hit = games['picked'] == games['target']
    share = record.correct[0][..., rows]
    assert (share[hit] >= 0.5).all() and (share[~hit] <= 0.5).all()


def test_strangers_look_at_drawings_with_eyes_of_their_own(evaluated):
    game, members, bank, record = evaluated
    agents = (members.speakers.agent, members.listeners.agent)
    weights = jax.tree.map(lambda leaf: -0.5 * leaf, members.shared.agent.params)
    blind = jax.tree.map(jnp.zeros_like, agents[1])
    strange = members.shared.agent._replace(params=weights)
    groups = [
        Group('one', game, bank, *agents, members.shared.agent),
        Group('two', game, bank, *agents, strange),
        Group('three', game, bank, agents[0], blind, strange),
    ]
    found = cross_play(groups, config_of(TWO | {'evaluation.redraws': 2}).evaluation, 0).accuracy
    # Of one's own it is what an evaluation finds.
    np.testing.assert_allclose(found[:, :2, :2], record.correct.mean(axis=-1), atol=1e-6)
    np.testing.assert_allclose(found[:, :, 4:], 1 / GAME)  # They see no difference.
    if game.trunks == 'own':
        np.testing.assert_array_equal(found[:, :2, 2:4], found[:, :2, :2])
    else:
        ones = jnp.ones((COUNT, STROKES))
        strokes = jnp.asarray(record.messages[0])
        message = Message(jnp.zeros((COUNT, STROKES), jnp.int32), strokes, ones, ones)
        one, other = (
            jax.jit(game.show)(shared, message).seen for shared in (members.shared.agent, strange)
        )
        assert one.shape == other.shape and np.any(one != other)


def test_silence_is_a_blank_canvas():
    game, batch = game_of(FROZEN), batch_of(FROZEN)
    pair = pair_of(game, batch)

    @jax.jit
    def drawn():
        message = game.say_greedy(pair.speaker, game.look(pair.shared, batch))
        found = tamper(KEY, message, game)
        return {
            name: game._drawing(jax.tree.map(lambda x: x[0], m), 0.05) for name, m in found.items()
        }

    found = drawn()
    assert set(found) == {'intact', 'shuffled', 'silenced', 'erased'}  # No four strokes to group.
    np.testing.assert_allclose(found['silenced'], 1.0)  # White.
    assert np.min(found['intact']) < 0


@pytest.mark.parametrize('gates', [False, True])
def test_strokes_are_left_out_one_by_one_and_by_length(gates):
    rng, count = np.random.default_rng(0), 6
    strokes = rng.uniform(-1, 1, (2, count, 4 + gates)).astype(np.float32)
    lengths = np.linalg.norm(strokes[..., :2] - strokes[..., 2:4], axis=-1)
    mask = np.ones((2, count), np.float32)
    if gates:
        strokes[..., 4] = mask[0, 2] = 1
        strokes[1, 5, 4] = mask[1, 5] = lengths[1, 5] = 0  # One that is not drawn has no length.
    symbols = jnp.zeros((2, count), int)
    message = Message(symbols, jnp.asarray(strokes), jnp.asarray(mask), jnp.asarray(mask))
    found = tamper(KEY, message, game_of(FROZEN))

    def left(name):
        """Which strokes [k, 2, T] are left, as far as can be seen."""
        seen = found[name].relaxed
        assert seen.shape[1:] == strokes.shape
        there = (np.asarray(seen) == strokes[None]).all(axis=-1)
        np.testing.assert_array_equal(found[name].mask, there * mask[None])
        assert not np.asarray(seen)[~there].any()
        return there

    wanted = np.repeat(~np.eye(count, dtype=bool)[:, None], 2, axis=1)
    wanted[:, :] |= mask[None] == 0
    np.testing.assert_array_equal(left('erased'), wanted)
    rank = (-lengths).argsort(axis=1).argsort(axis=1)
    quarter = np.array([0, 0, 1, 2, 2, 3])[rank]  # Of six strokes.
    gone = (quarter[None] == np.arange(4)[:, None, None]) & (mask[None] > 0)
    np.testing.assert_array_equal(left('erased_group'), ~gone)
