"""Trunks that have learnt elsewhere: their weights, and what they see once and for all."""

import json
from types import SimpleNamespace

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import (
    BATCH,
    COUNT,
    bank_of,
    batch_of,
    config_of,
    game_of,
    optimizers_of,
    pair_of,
    pairs_of,
    population_of,
    run_of,
    source_of,
)

from emcom_jax import data
from emcom_jax.experiments import trunks
from emcom_jax.experiments.population import PopulationExperiment
from emcom_jax.runtime.devices import bcast_local_devices, first

KEY = jax.random.key(0)
STEP = jnp.array(50)
PAIRS = {
    'population.num_speakers': 2,
    'population.num_listeners': 2,
    'population.pairs_per_step': 2,
}


@pytest.fixture(autouse=True)
def sources(monkeypatch):
    """The tiny data, by what is seen."""
    monkeypatch.setitem(data.SOURCES, 'tiny', lambda config: source_of(config.path or 'shared'))


# --- weights --------------------------------------------------------------------------------------


def torch_names(agent):
    """The trunk of an agent as torch would save it: name -> array."""
    names = {'scale': 'weight', 'offset': 'bias', 'mean': 'running_mean'}
    names |= {'variance': 'running_var', 'w': 'weight'}
    found = {}
    for tree in agent:
        for module, leaf, value in hk.data_structures.traverse(tree):
            if module.startswith('trunk/'):
                array = np.asarray(value)
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
                found[f'{module.removeprefix("trunk/")}.{names[leaf]}'] = array
    return found


def write_safetensors(path, arrays):
    header, block = {}, b''
    for name, array in arrays.items():
        content = np.ascontiguousarray(array, '<f4').tobytes()
        ends = [len(block), len(block) + len(content)]
        header[name] = {'dtype': 'F32', 'shape': list(array.shape), 'data_offsets': ends}
        block += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, 'little') + text + block)


def trunk_alone(tree):
    return {path: leaves for path, leaves in tree.items() if path.startswith('trunk/')}


def population_for(sight, changes=None, factor=1.0):
    """Of two pairs."""
    changes = PAIRS | (changes or {})
    game, batch = game_of(sight, changes), batch_of(bank_of(sight))
    pairs = jax.tree.map(lambda leaf: factor * leaf, pairs_of(game, batch, 2))
    return config_of(sight, changes), game, population_of(pairs, optimizers_of(sight, changes))


def weighted(sight, changes):
    """(before, after) `with_weights`, of one replica."""
    config, game, members = population_for(sight, changes)
    stack = jax.tree.map(lambda leaf: leaf[None], members)
    after = trunks.with_weights(stack, config, game)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, stack)
    return members, jax.tree.map(lambda leaf: leaf[0], after)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Trunks elsewhere: files, and runs with a trunk for all and for each; and what they hold."""
    folder = tmp_path_factory.mktemp('weights')
    runs = {}
    for sight in ('shared', 'own', 'features'):
        config, _, members = population_for(sight, {'data.path': sight}, factor=3.0)
        runs[sight] = (run_of(folder / sight, members, config), members)
    shared = runs['shared'][1].shared.agent
    first = jax.tree.map(lambda leaf: leaf[0], runs['own'][1].speakers.agent)
    np.savez(folder / 'trunk.npz', **torch_names(shared))
    write_safetensors(folder / 'trunk.safetensors', torch_names(first))
    return SimpleNamespace(
        folder=folder,
        npz=str(folder / 'trunk.npz'),
        safetensors=str(folder / 'trunk.safetensors'),
        runs={sight: run for sight, (run, _) in runs.items()},
        shared=[trunk_alone(tree) for tree in shared],
        first=[trunk_alone(tree) for tree in first],
    )


@pytest.mark.parametrize('kind', ['npz', 'safetensors', 'shared', 'own'])
def test_a_shared_trunk_begins_with_weights(weights, kind):
    path = getattr(weights, kind) if kind in ('npz', 'safetensors') else weights.runs[kind]
    before, after = weighted('shared', {'speaker.trunk.weights': path})
    wanted = weights.shared if kind in ('npz', 'shared') else weights.first
    assert wanted[0]
    chex.assert_trees_all_equal(list(after.shared.agent), wanted)
    assert np.any(after.shared.agent.params['trunk/conv1']['w'] != before_of(before, 'shared'))
    for name in ('speakers', 'listeners', 'targets'):
        chex.assert_trees_all_equal(getattr(after, name), getattr(before, name))


def before_of(members, role):
    return getattr(members, role).agent.params['trunk/conv1']['w']


def test_agents_begin_with_weights_of_their_role(weights):
    changes = {
        'speaker.trunk.weights': weights.npz,
        'listener.trunk.weights': weights.runs['own'],
    }
    before, after = weighted('own', changes)
    for role, wanted in (('speakers', weights.shared), ('listeners', weights.first)):
        old, new = (getattr(members, role).agent for members in (before, after))
        for number in range(2):
            one = [trunk_alone(jax.tree.map(lambda x, n=number: x[n], tree)) for tree in new]
            chex.assert_trees_all_equal(one, wanted)
        rest = {path for path in old.params if not path.startswith('trunk/')}
        assert rest
        chex.assert_trees_all_equal(*({path: x.params[path] for path in rest} for x in (old, new)))
    chex.assert_trees_all_equal(after.targets, after.speakers.agent.params)
    # Only one role: the other stays.
    before, after = weighted('own', {'listener.trunk.weights': weights.npz})
    chex.assert_trees_all_equal(after.speakers, before.speakers)
    chex.assert_trees_all_equal(after.targets, before.targets)


def test_without_weights_nothing_changes():
    before, after = weighted('own', {})
    chex.assert_trees_all_equal(before, after)


def test_weights_that_do_not_fit_are_refused(weights):
    def refused(sentence, **changes):
        named = {f'speaker.trunk.{key}': value for key, value in changes.items()}
        with pytest.raises(ValueError, match=sentence):
            weighted('shared', named)

    refused(
        r'the weights do not fit small_cnn: they have in another shape bn1.bias \(2,\) for \(4,\)',
        weights=weights.npz,
        width=4,
    )
    refused(r'are of another trunk: one is \[2\], not \[4\]', weights=weights.runs['own'], width=4)
    small = {'name': 'resnet10', 'stem': 'small'}
    refused(
        'are of another trunk: they differ in .*trunk/bn2', weights=weights.runs['shared'], **small
    )
    refused('features has no trunk: its agents see features', weights=weights.runs['features'])
    refused("by its suffix '.bin'", weights=str(weights.folder / 'trunk.bin'))
    with pytest.raises(OSError, match='none.npz'):
        weighted('shared', {'speaker.trunk.weights': str(weights.folder / 'none.npz')})


# --- seen once ------------------------------------------------------------------------------------

BOTH_FROZEN = {f'{role}.trunk.frozen': True for role in ('speaker', 'listener')}
ONE_FROZEN = {'speaker.trunk.frozen': True}


@pytest.mark.parametrize(
    ('sight', 'changes', 'replicas', 'alike', 'once'),
    [
        ('features', {}, 1, True, False),
        ('shared', {}, 1, True, False),
        ('shared', ONE_FROZEN, 1, True, True),
        ('shared', ONE_FROZEN, 2, True, True),
        ('shared', ONE_FROZEN, 2, False, False),
        ('shared', {'population.listener_learns': ()}, 1, True, True),
        ('shared', ONE_FROZEN | {'game.views': 'augmented'}, 1, True, False),
        ('shared', ONE_FROZEN | {'game.views': 'same_class'}, 1, True, True),
        ('shared', ONE_FROZEN | {'game.input_noise': 0.1}, 1, True, False),
        ('shared', ONE_FROZEN | {'data.most_bytes': 100}, 1, True, True),
        ('shared', ONE_FROZEN | {'updates.reset.every': 5}, 1, True, True),
        ('own', BOTH_FROZEN, 1, True, True),
        ('own', BOTH_FROZEN, 1, False, False),
        ('own', ONE_FROZEN, 1, True, False),
        ('own', BOTH_FROZEN | {'updates.reset.every': 5}, 1, True, False),
        ('own', BOTH_FROZEN | {'updates.generations.every': 5}, 1, True, False),
    ],
)
def test_what_stays_alike_is_seen_once(sight, changes, replicas, alike, once):
    changes = PAIRS | changes
    game, batch = game_of(sight, changes), batch_of(bank_of(sight))
    members = population_of([pair_of(game, batch)] * 2, optimizers_of(sight, changes))
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf] * replicas), members)
    if not alike:  # The last of them is not.
        role = 'shared' if sight == 'shared' else 'listeners'
        learner = getattr(stack, role)
        last = jax.tree.map(lambda leaf: leaf.reshape(-1)[-1:], learner.agent.params)
        assert last
        changed = jax.tree.map(
            lambda leaf: leaf.at[(-1,) * leaf.ndim].add(1.0), learner.agent.params
        )
        stack = stack._replace(
            **{role: learner._replace(agent=learner.agent._replace(params=changed))}
        )
    assert trunks.sees_once(config_of(sight, changes), game, stack) == once


def test_groups_that_share_a_frozen_trunk_see_once():
    """Nothing of agents is read but the trunk."""
    groups = ({'head': 'policy'}, {'head': 'policy_value'})
    changes = PAIRS | ONE_FROZEN | {'speaker.groups': groups}
    game, bank = game_of('shared', changes), bank_of('shared')
    one = population_of([pair_of(game, batch_of(bank))], optimizers_of('shared', changes))
    members = one._replace(speakers=(one.speakers, one.speakers))
    stack = jax.tree.map(lambda leaf: leaf[None], members)
    config = config_of('shared', changes)
    assert trunks.sees_once(config, game, stack)
    seen = trunks.seen_once(config, game, stack, bank)
    batch = game.look(one.shared.agent, batch_of(bank))
    np.testing.assert_allclose(seen.inputs[:BATCH], batch.speaker_inputs, rtol=1e-4, atol=1e-5)
    assert seen.inputs.shape == (COUNT, 16) and seen.labels is bank.labels


def experiment(sight, changes):
    """One that trains, of the tiny data."""
    config = config_of(sight, changes | {'data.path': sight})
    run = SimpleNamespace(
        describe=lambda source: None,
        checkpointer=SimpleNamespace(can_be_restored=lambda: False),
        directory=SimpleNamespace(checkpoints=None),
    )
    return PopulationExperiment('train', KEY, config, run)


def test_training_on_what_was_seen_is_training(weights):
    """Of frozen trunks of the agents' own; listeners see another view of the object."""
    named = {
        'speaker.trunk.weights': weights.npz,
        'listener.trunk.weights': weights.safetensors,
    }
    ours = experiment('own', BOTH_FROZEN | named | {'game.views': 'viewpoint'})
    before = jax.tree.map(np.array, first(ours._population))
    bank = first(ours._feed.at(0))
    assert trunks.sees_once(ours._config, ours._game, before)
    seen = trunks.seen_once(ours._config, ours._game, before, bank)
    assert seen.inputs.shape == seen.listener_sight.inputs.shape == (COUNT, 16)
    looked = [ours._advance(step, 1) for step in range(2)]
    after = jax.tree.map(np.array, first(ours._population))
    ours._population = bcast_local_devices(before)
    ours._feed.replace(seen)
    cached = [ours._advance(step, 1) for step in range(2)]
    chex.assert_trees_all_close(cached, looked, rtol=1e-4, atol=1e-5)
    members = jax.tree.map(np.array, first(ours._population))
    chex.assert_trees_all_close(members, after, rtol=1e-4, atol=1e-5)
    for role in ('speakers', 'listeners'):
        agents = [getattr(x, role).agent for x in (before, after)]
        for one, other in zip(*agents, strict=True):
            chex.assert_trees_all_equal(trunk_alone(one), trunk_alone(other))
    assert np.any(
        before.speakers.agent.params['speaker/~/policy']['w']
        != after.speakers.agent.params['speaker/~/policy']['w']
    )


@pytest.mark.parametrize('sight', ['shared', 'own'])
def test_of_streamed_images_too(sight, tmp_path, monkeypatch):
    """From files, which a run that goes on finds again."""
    frozen = BOTH_FROZEN if sight == 'own' else ONE_FROZEN
    ours = experiment(sight, frozen | {'data.most_bytes': 100, 'data.dtype': 'float16'})
    assert ours._feed.streams
    before = jax.tree.map(np.array, first(ours._population))
    assert trunks.sees_once(ours._config, ours._game, before)
    looked = [ours._advance(step, 1) for step in range(4)]  # Into the second epoch.
    seen = trunks.seen_in_files(ours._setting, before, tmp_path / 'features')
    assert seen.inputs.shape == (COUNT, 16) and seen.inputs.dtype == np.float16
    assert isinstance(seen.inputs, np.memmap) and seen.labels['class'].shape == (COUNT,)
    assert (seen.listener_inputs is None) == (sight == 'shared')
    ours._population = bcast_local_devices(before)
    ours._feed.replace_split(seen)
    cached = [ours._advance(step, 1) for step in range(4)]
    ours._feed.close()
    chex.assert_trees_all_close(cached, looked, rtol=0.02, atol=0.01)  # By float16.
    names = sorted(path.name for path in (tmp_path / 'features').iterdir())
    assert len(names) == (2 if sight == 'own' else 1) and names[-1].startswith('speakers.')
    monkeypatch.setattr(trunks, '_write_features', None)  # Nothing is computed again ...
    again = trunks.seen_in_files(ours._setting, before, tmp_path / 'features')
    np.testing.assert_array_equal(again.inputs, seen.inputs)
    other = jax.tree.map(lambda leaf: leaf + 1, before)
    with pytest.raises(TypeError):  # ... but for another trunk.
        trunks.seen_in_files(ours._setting, other, tmp_path / 'features')


def test_optimisers_leave_frozen_trunks_of_agents_alone():
    shared = config_of('shared', ONE_FROZEN)
    own = config_of('own', ONE_FROZEN | {'optimizer.speaker.frozen': ('speaker',)})
    for config, role, frozen in (
        (shared, 'speaker', None),
        (shared, 'shared', ('trunk',)),  # A shared projection may still learn.
        (own, 'speaker', ('speaker', 'trunk')),
        (own, 'listener', None),
    ):
        assert trunks.frozen_in(config, role).frozen == frozen
