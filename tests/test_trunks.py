"""Trunks in a population: how often they are evaluated, that one step is one of many, and that
evaluation sees each image as the game does."""

import itertools
from collections import Counter
from functools import partial

import chex
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
    step_of,
)

from emcom_jax import data, dynamics, steps, updates
from emcom_jax.data.batches import draw, look_at
from emcom_jax.evaluation.evaluator import Evaluator, _thumbnails
from emcom_jax.evaluation.judging import make_draws
from emcom_jax.evaluation.setting import Setting
from emcom_jax.evaluation.strangers import gather
from emcom_jax.metrics import records
from emcom_jax.population import make_meetings

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


# --- how often ------------------------------------------------------------------------------------

# Of the four convolutions of the small network two are made products of matrices, since images of
# 16 pixels have become small there. Each of the others has a gradient of its weights, and all but
# the first one of its input.
FORWARD, BACKWARD = 2, 2 + 1


def equations(program):
    for equation in program.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(value):
                yield from equations(value)


def _is_program(value):
    return hasattr(value, 'eqns')


def convolutions(function, *args):
    """How many there are by the number of their groups, in a program and all that is inside."""
    program = jax.make_jaxpr(function)(*args)
    return Counter(
        max(each.params['feature_group_count'], each.params['batch_group_count'])
        for each in equations(program)
        if each.primitive.name == 'conv_general_dilated'
    )


def convolutions_of_step(*args, **keys):
    members, batch, step = step_of(*args, **keys)
    return convolutions(step, members, batch)


@pytest.mark.parametrize('pairs', [1, 3])
def test_a_shared_trunk_sees_once_for_all_pairs(pairs):
    once = {1: FORWARD + BACKWARD}
    assert convolutions_of_step('shared', execution='vmap', pairs=pairs) == once
    # Where listeners have views of their own, it sees two.
    views = convolutions_of_step('shared', execution='vmap', pairs=pairs, same=False)
    assert views == {1: 2 * (FORWARD + BACKWARD)}
    frozen = {'speaker.trunk.frozen': True}
    assert convolutions_of_step('shared', frozen, execution='vmap', pairs=pairs) == {1: FORWARD}


def test_trunks_of_agents_see_one_after_the_other():
    assert convolutions_of_step('own', pairs=2) == {1: 4 * (FORWARD + BACKWARD)}
    frozen = {f'{role}.trunk.frozen': True for role in ('speaker', 'listener')}
    assert convolutions_of_step('own', frozen, pairs=2) == {1: 4 * FORWARD}
    # At once they would be grouped: such is refused, and never chosen.
    assert max(convolutions_of_step('own', pairs=2, execution='vmap')) > 1


@pytest.mark.parametrize('what', ['imitate', 'transmit'])
def test_imitation_differentiates_no_trunk_in_a_loop(what):
    changes = PAIRS | {'updates.imitate.every': 1}
    config, game, optimizers = config_of('own', changes), game_of('own'), optimizers_of('own')
    batch = batch_of(bank_of('own'))
    members = population_of(pairs_of(game, batch, 2), optimizers)
    update = {
        'imitate': dynamics.imitate(game, optimizers, config.updates.imitate, None),
        'transmit': dynamics.transmit(game, optimizers, None),
    }[what]
    program = jax.make_jaxpr(update)(KEY, STEP, members, batch)
    loops = [each for each in equations(program) if each.primitive.name in ('scan', 'while')]
    assert not any(
        each.primitive.name == 'conv_general_dilated'
        for loop in loops
        for value in loop.params.values()
        if _is_program(value)
        for each in equations(value)
    )
    assert set(convolutions(update, KEY, STEP, members, batch)) == {1}


def test_teachers_of_a_generation_speak_as_they_did():
    game, optimizers = game_of('own'), optimizers_of('own')
    batch = batch_of(bank_of('own'))
    before = population_of(pairs_of(game, batch, 2), optimizers)
    program = dynamics.succeed(game, optimizers)
    after = jax.eval_shape(program, KEY, STEP, before, batch)[0]
    chex.assert_trees_all_equal_shapes_and_dtypes(after, before)
    # The very variables: parameters as targets, statistics as their states.
    trace = jax.make_jaxpr(lambda *args: program(*args)[0])(KEY, STEP, before, batch).jaxpr
    inputs = jax.tree.structure((KEY, STEP, before, batch)).unflatten(trace.invars)[2]
    outputs = jax.tree.structure(after).unflatten(trace.outvars)
    for one, other in (
        (inputs.speakers.agent.params, outputs.targets),
        (inputs.speakers.agent.state, outputs.speakers.agent.state),
    ):
        assert all(a is b for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))


def test_the_gradient_of_a_shared_trunk_is_the_mean_over_pairs():
    members, batch, step = step_of('shared', execution='vmap', pairs=2)
    game = game_of('shared', PAIRS)
    pairs = pairs_of(game, batch, 2)

    @jax.jit
    @jax.grad
    def gradient(params, pair, key):
        play_key, loss_key = jax.random.split(key)
        pair = pair._replace(shared=members.shared.agent._replace(params=params))
        same = batch._replace(listener_inputs=batch.speaker_inputs)
        episode, _ = game.play(pair, play_key, same, STEP)
        terms = game.terms(episode, loss_key, same, None)
        return sum(term.coefficient * term.value.mean() for term in terms.values())

    keys = jax.random.split(jax.random.split(KEY)[1], 2)
    params = members.shared.agent.params
    each = [gradient(params, *both) for both in zip(pairs, keys, strict=True)]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *each)
    after, _ = jax.jit(step)(members, batch)
    found = jax.tree.map(lambda a, b: (a - b) / 0.1, params, after.shared.agent.params)
    chex.assert_trees_all_close(found, mean, rtol=1e-3, atol=1e-4)
    assert np.any(np.abs(each[0]['trunk/conv1']['w'] - each[1]['trunk/conv1']['w']) > 1e-3)


# --- one step, and many ---------------------------------------------------------------------------


KEPT_OUT = [
    {'population.structure': 'partitioned'},
    {'population.listener_learns': ((0, 0), (1, 1), (1, 0), (0, 0))},
    {'population.speaker_learns': ((0, 1),)},
]


@pytest.mark.parametrize('changes', KEPT_OUT)
def test_nobody_is_kept_out_of_what_a_shared_trunk_learns(changes):
    def make(sight, devices=1, **others):
        config = config_of(sight, {**PAIRS, **changes, **others})
        return Setting(config, source_of(sight), num_devices=devices)

    sentence = f'^{next(iter(changes))}=.* leaks through the trunk.* set game.shared_trunk=False'
    with pytest.raises(ValueError, match=sentence):
        make('shared')
    make('shared', None)  # What is trained already can be evaluated.
    make('own')
    make('features')
    make('shared', **{'speaker.trunk.frozen': True})


def test_a_shared_trunk_learns_where_all_learn():
    pairs = tuple(itertools.product(range(2), repeat=2))
    all_of_them = {'population.speaker_learns': pairs, 'population.listener_learns': pairs}
    Setting(config_of('shared', PAIRS | all_of_them), source_of('shared'), num_devices=1)


def steps_of(sight, pairs, periodic=False):
    """Compiled `many` and `one` of a population of so many pairs, and a stack of two replicas."""
    _, batch, _ = step_of(sight, pairs=pairs)
    changes = PAIRS if pairs == 2 else {}
    config, game, optimizers = (
        make(sight, changes) for make in (config_of, game_of, optimizers_of)
    )
    communicate = updates.communicate(
        game, optimizers, make_meetings(config.population), 'unroll', 0.9, None
    )
    imitate = dynamics.imitate(game, optimizers, config.updates.imitate, None)
    every_second = [steps.Periodic(steps.after_every(2), imitate)]
    draw_batch = partial(draw, batch_size=BATCH, noise=0.1, axis_name=None)
    made = steps.make_steps(communicate, every_second if periodic else [], draw_batch, 'unroll')
    alone = population_of(pairs_of(game, batch, pairs), optimizers)
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf, (leaf * 1.25).astype(leaf.dtype)]), alone)
    return made, jax.jit(made.many), jax.jit(made.one, static_argnums=4), stack


def test_one_step_is_one_of_many():
    made, many, one, stack = steps_of('features', 2, periodic=True)
    bank, keys = bank_of('features'), KEY[None]
    members = jax.tree.map(lambda leaf: leaf[:1], stack)
    for step, due in ((0, False), (1, True)):
        now = tuple(map(bool, made.conditions(np.int32(step))))
        assert now == (True, due)
        ours = one(members, bank, keys, np.int32(step), now)
        theirs = many(members, bank, keys, np.int32(step), np.int32(1))
        chex.assert_trees_all_close(ours, theirs, rtol=1e-6, atol=1e-7)
        assert ours[1] == 1
        members = ours[0]
        assert np.isfinite(ours[2]['imitation_loss']).all() == due
    assert sorted(members.speakers.updates[0].tolist()) == [2, 3]  # One of them has imitated.


def test_replicas_that_see_are_what_they_would_be_alone():
    _, _, one, stack = steps_of('shared', 1)
    bank, keys, now = bank_of('shared'), jax.random.split(KEY, 2), (True,)
    together, done, scalars = one(stack, bank, keys, np.int32(3), now)
    assert done == 1 and scalars['loss'].shape == (2, 1, 1)
    ours, theirs = jax.tree.map(lambda leaf: leaf[1:], ((together, scalars), (stack, keys)))
    alone, _, values = one(theirs[0], bank, theirs[1], np.int32(3), now)
    chex.assert_trees_all_close(ours, (alone, values), rtol=1e-4, atol=1e-5)
    assert scalars['loss'][0] != scalars['loss'][1]


# --- evaluation -----------------------------------------------------------------------------------


@pytest.mark.parametrize('sight', ['shared', 'own'])
def test_evaluation_sees_as_the_game_does_image_by_image(sight, tmp_path):
    """Nine at a time of 24, each seen once; the listener sees another one of the class."""
    changes = PAIRS | {'evaluation.num_candidates': (COUNT,), 'evaluation.redraws': 1}
    game, bank = game_of(sight, changes), bank_of(sight, partners='class')
    members = population_of(pairs_of(game, batch_of(bank), 2), optimizers_of(sight, changes))
    record = Evaluator(game, config_of(sight, changes))(members, bank, 'test', 7, seed=3)
    draws = make_draws(3)

    @jax.jit
    def alone(speaker, listener, row):
        """Message, prediction, candidate and what both see of one image."""
        batch = look_at(bank, row[None], row[None], draws.inputs, 0.0)
        batch = game.look(members.shared.agent, batch)
        inputs = (
            game.perceive('speaker', speaker, batch.speaker_inputs),
            game.perceive('listener', listener, batch.listener_inputs),
        )
        batch = batch._replace(speaker_inputs=inputs[0], listener_inputs=inputs[1])
        said = game.say_greedy(speaker, batch)
        guess = game.hear_greedy(listener, KEY, batch, said, 0.0)
        return said.symbols[0], guess.prediction[0], guess.candidates[0], *(x[0] for x in inputs)

    for s in range(2):
        for k in range(2):
            speaker, listener = (
                jax.tree.map(lambda leaf, i=i: leaf[i], stack.agent)
                for i, stack in ((s, members.speakers), (k, members.listeners))
            )
            seen = [alone(speaker, listener, np.int32(row)) for row in range(COUNT)]
            symbols, predictions, candidates, *views = map(np.stack, zip(*seen, strict=True))
            np.testing.assert_array_equal(record.messages[s], symbols)
            scores = game.scores(predictions, candidates)
            loss = -np.diag(jax.nn.log_softmax(scores))
            np.testing.assert_allclose(record.loss[0, s, k], loss, rtol=1e-4, atol=1e-4)
            if s == k == 0:
                close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
                close(record.meanings, views[0])
                close(record.listener_meanings, views[1])
                assert np.abs(views[0] - views[1]).max() > 0.1
    assert len(np.unique(record.messages[0])) > 1
    np.testing.assert_array_equal(record.images, bank.inputs)
    np.testing.assert_array_equal(record.image_rows, np.arange(COUNT))
    records.save(record, tmp_path / 'test.npz')
    again = records.load(tmp_path / 'test.npz')
    for name in ('meanings', 'listener_meanings', 'images', 'image_rows', 'messages', 'loss'):
        ours, theirs = getattr(record, name), getattr(again, name)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    # Of a record without them, they are not there.
    bare = record._replace(listener_meanings=None, images=None, image_rows=None)
    records.save(bare, tmp_path / 'bare.npz')
    again = records.load(tmp_path / 'bare.npz')
    assert again.listener_meanings is None and again.images is None and again.image_rows is None
    with pytest.raises(ValueError, match='must say which of its 24 referents the 24 images are'):
        records.check(record._replace(image_rows=np.arange(COUNT) + 1))
    with pytest.raises(ValueError, match='image_rows just where it has images'):
        records.check(record._replace(image_rows=None))
    # An older record has the first ones.
    arrays = dict(np.load(tmp_path / 'test.npz'))
    arrays['images'] = arrays['images'][:3]
    del arrays['image_rows']
    np.savez(tmp_path / 'older.npz', **arrays)
    np.testing.assert_array_equal(records.load(tmp_path / 'older.npz').image_rows, [0, 1, 2])


def test_records_keep_small_images():
    large = jnp.arange(130)[None, :, None, None] * jnp.ones((2, 130, 130, 3), jnp.uint8)
    kept, rows = _thumbnails(large.astype(jnp.uint8))
    assert kept.shape == (2, 44, 44, 3) and kept.dtype == np.uint8
    np.testing.assert_array_equal(kept[0, :, 0, 0], np.arange(0, 130, 3))
    np.testing.assert_array_equal(rows, [0, 1])


def test_records_keep_images_of_all_parts_of_a_split():
    count = 5000
    images = np.stack(np.divmod(np.arange(count), 250) * 2, axis=-1)[:, None, None, :3]
    kept, rows = _thumbnails(jnp.asarray(images, jnp.uint8))
    assert len(rows) == 4096 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(kept, images[rows])  # Which tell their row.
    by_part = np.bincount(rows // 500, minlength=10)
    assert by_part.min() > 380  # A tenth is 410.


def test_strangers_see_as_in_their_own_run(tmp_path):
    """With one bank for each way to show the referents."""
    runs = []
    for name, views in (('a', 'same'), ('b', 'viewpoint'), ('c', 'same')):
        config = config_of('shared', {'game.views': views})
        members = population_of(
            [pair_of(game_of('shared'), batch_of(bank_of('shared')))], optimizers_of('shared')
        )
        runs.append(run_of(tmp_path / name, members, config))
    one, two, three = (group.bank for group in gather(runs, 'test').groups)
    assert one is three and one.partners is None and two.partners is not None
    larger = config_of('shared', {'data.image_size': 64})
    other = run_of(tmp_path / 'd', members, larger)
    with pytest.raises(ValueError, match='data.image_size is 32 in .*/a and 64 in .*/d'):
        gather([runs[0], other], 'test')
