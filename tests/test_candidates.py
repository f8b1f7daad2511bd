"""Candidates of the discrimination game: those of earlier steps, and of all devices."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from pictures import (
    BATCH,
    KEY,
    SPACE,
    bank_of,
    batch_of,
    cosines,
    game_of,
    pair_of,
    play_of,
    step_of,
)

from emcom_jax.games import AXIS

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
