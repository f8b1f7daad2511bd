"""Two devices with half the batch each compute what one device computes with the whole of it.

JAX counts its devices once, so the two live in a process of their own, which runs this file.
"""

import os
import pickle
import subprocess
import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BATCH, ROLES, TARGET_EMA, drawn, tiny_config, tiny_source

from emcom_jax import dynamics, losses, steps, updates
from emcom_jax.data.bank import make_bank
from emcom_jax.data.batches import draw, look_at
from emcom_jax.games import AXIS, GAMES
from emcom_jax.optimizers import make_optimizer
from emcom_jax.population import Optimizers, init_population, make_meetings

DISTRACTORS = {'all_others': None, 'sampled_others': 5}


# --- in the process of two devices ----------------------------------------------------------------


def pmapped(function, *arguments):
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), arguments)
    return jax.pmap(function, AXIS)(*twice)


def sharded(function, *arguments):
    everywhere = jax.shard_map(
        lambda *own: jax.tree.map(lambda leaf: leaf[None], function(*own)),
        mesh=jax.make_mesh((2,), (AXIS,)),
        in_specs=jax.P(),
        out_specs=jax.P(AXIS),
        check_vma=False,
    )
    return jax.jit(everywhere)(*arguments)


def alone(function, *arguments):
    return jax.tree.map(lambda leaf: leaf[None], jax.jit(function)(*arguments))


WAYS = {'alone': alone, 'pmap': pmapped, 'shard_map': sharded}


def train(way):
    """What three steps, the last of which imitates, return on each device: [devices, ...]."""
    config = tiny_config(
        {
            'channel.noise': 0.2,
            'loss.speaker.kl': 0.0,
            'channel.variable_length': True,
            'optimizer.speaker.name': 'sgd',  # Adam makes whole steps of rounding errors.
            'optimizer.listener.name': 'sgd',
        }
    )
    axis_name = None if way == 'alone' else AXIS
    bank = make_bank(tiny_source().splits['train'], 'float32')
    game = GAMES[config.game.name].make(config, tiny_source())
    optimizers = Optimizers(*(make_optimizer(config.optimizer[role], 100, BATCH) for role in ROLES))
    communicate = updates.communicate(
        game, optimizers, make_meetings(config.population), 'unroll', TARGET_EMA, axis_name
    )
    imitate = dynamics.imitate(game, optimizers, config.updates.imitate, axis_name)
    batches = partial(draw, batch_size=BATCH, noise=0.2, axis_name=axis_name)
    periodic = [steps.Periodic(steps.after_every(3), imitate)]
    many = steps.make_steps(communicate, periodic, batches, 'vmap').many

    fresh = jax.tree.map(lambda x: x[None], drawn_population(game, optimizers, bank))
    return WAYS[way](many, fresh, bank, jax.random.key(0)[None], jnp.array(0), jnp.array(3))


def drawn_population(game, optimizers, bank):
    """One speaker and one listener with drawn parameters, which costs no compiling."""
    example = look_at(bank, jnp.arange(1), jnp.arange(1), jax.random.key(0), noise=0.0)
    shapes = jax.eval_shape(
        lambda key: init_population(game, optimizers, key, example, 1, 1), jax.random.key(0)
    )
    population = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    speakers, listeners = drawn((population.speakers.agent, population.listeners.agent))
    return population._replace(
        speakers=population.speakers._replace(agent=speakers),
        listeners=population.listeners._replace(agent=listeners),
        targets=speakers.params,
    )


def discriminate(way, num_distractors):
    """Loss of each prediction and gradient with respect to each candidate: [devices, ...]."""
    rng = np.random.default_rng(0)
    vectors = jnp.asarray(rng.standard_normal((2, BATCH, 4)), jnp.float32)
    axis_name = None if way == 'alone' else AXIS

    def part(vectors, key):
        position = jnp.arange(BATCH)
        if axis_name:
            local = BATCH // jax.lax.axis_size(axis_name)
            position = jax.lax.axis_index(axis_name) * local + jnp.arange(local)
        predictions, targets = vectors[:, position]

        def loss(targets):
            both = (predictions, targets)
            if num_distractors is None:
                return losses.info_nce(*both, 0.5, axis_name)[0]
            more = (num_distractors, key, position, 0.5, axis_name)
            return losses.sampled_info_nce(*both, *more)[0]

        values, pull = jax.vjp(loss, targets)
        return values, pull(jnp.ones_like(values))[0]

    return WAYS[way](part, vectors, jax.random.key(0))


def main():
    trained = {way: train(way) for way in WAYS}
    compared = {
        others: {way: discriminate(way, count) for way in WAYS}
        for others, count in DISTRACTORS.items()
    }
    pickle.dump(jax.device_get((trained, compared)), sys.stdout.buffer)


# --- in the process of the tests ------------------------------------------------------------------


@pytest.fixture(scope='module')
def results():
    more = {
        'PYTHONPATH': os.pathsep.join(sys.path),
        'XLA_FLAGS': '--xla_force_host_platform_device_count=2',
    }
    command = [sys.executable, '-W', 'error', __file__]
    done = subprocess.run(command, env=os.environ | more, stdout=subprocess.PIPE, check=True)
    return pickle.loads(done.stdout)


@pytest.mark.parametrize('way', ['pmap', 'shard_map'])
def test_two_devices_train_as_one(results, way):
    one, two = results[0]['alone'], results[0][way]
    population, done, _ = two
    np.testing.assert_array_equal(done, [3, 3])
    for device in range(2):
        ours = jax.tree.map(lambda leaf, device=device: leaf[device : device + 1], two)
        chex.assert_trees_all_close(ours, one, rtol=1e-4, atol=1e-5)
    # Not a bit apart, or they would drift.
    for leaf in jax.tree.leaves(population):
        np.testing.assert_array_equal(leaf[0], leaf[1])


@pytest.mark.parametrize('way', ['pmap', 'shard_map'])
@pytest.mark.parametrize('others', DISTRACTORS)
def test_distractors_come_from_all_devices_and_are_learnt_from(results, others, way):
    one, two = results[1][others]['alone'], results[1][others][way]
    for ours, whole in zip(two, one, strict=True):
        assert len(ours) == 2
        np.testing.assert_allclose(np.concatenate(ours), whole[0], rtol=1e-4, atol=1e-6)


if __name__ == '__main__':
    main()
