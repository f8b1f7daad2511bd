"""Configs: every recipe is possible, and everything impossible is refused in one sentence."""

import functools
import importlib.util
import json
import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import tiny_config, tiny_source

from emcom_jax import config as config_lib
from emcom_jax.checks import check
from emcom_jax.checks.keys import READ_BY, check_keys
from emcom_jax.experiments import EXPERIMENTS
from emcom_jax.population import make_meetings
from emcom_jax.types import Source, Split

# --- recipes --------------------------------------------------------------------------------------


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return recipe


RECIPES = {path.stem: load(path) for path in (Path(__file__).parents[1] / 'configs').glob('*.py')}
VARIANTS = [
    (name, variant) for name, recipe in RECIPES.items() for variant in ('', *recipe.VARIANTS)
]


@pytest.fixture(scope='module')
def large_source():
    rng = np.random.default_rng(0)
    labels = {'class': np.zeros(4096, np.int32), 'attributes': np.zeros((4096, 2), np.int32)}
    split = Split(rng.standard_normal((4096, 4)).astype(np.float32), labels)
    return Source(
        'large',
        dict.fromkeys(('train', 'valid', 'test'), split),
        {'class': 9, 'attributes': 9},
        class_descriptions=('a word',) * 9,
        map_shape=(4, 1),
    )


@pytest.fixture(scope='module')
def images():
    labels = {
        'class': np.arange(4096, dtype=np.int32) % 12,
        'object': np.arange(4096, dtype=np.int32) // 2,
    }
    split = Split(np.broadcast_to(np.uint8(0), (4096, 16, 16, 3)), labels)
    return Source(
        'images',
        dict.fromkeys(('train', 'valid', 'test'), split),
        {'class': 12, 'object': 2048},
        (16, 16, 3),
        synsets={'class': ('dog.n.01',) * 12},
    )


def sees_images(config):
    return config.game.name in ('discrimination', 'simclr', 'sketching')


@pytest.fixture(scope='module')
def resolved(tmp_path_factory):
    """(recipe, variant) -> the config that is run; some start from the run of another."""
    run = tmp_path_factory.mktemp('run')
    (run / 'config.json').write_text(json.dumps(tiny_config().to_dict()))

    def resolve(name, variant):
        config = RECIPES[name].get_config(variant)
        if config.experiment != 'population':
            config.from_run = str(run)
        return EXPERIMENTS[config.experiment].resolve(config)

    return resolve


@pytest.mark.parametrize(('name', 'variant'), VARIANTS)
def test_every_variant_of_every_recipe_is_possible(
    name, variant, large_source, images, resolved, small_wordnet
):
    config = resolved(name, variant)
    if 'game' in config:  # Else nothing is played.
        check(config, images if sees_images(config) else large_source, num_devices=1)
    assert config.is_locked


def test_variants_join_with_commas():
    joined = RECIPES['lewis'].get_config('imagenet,debug')
    assert joined.loss.speaker.kl == 0.5 and joined.channel.vocab_size == 5
    assert joined.data.name == 'digits'  # What is debugged needs no download.


def test_an_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match="variant 'debgu'; did you mean 'debug'"):
        RECIPES['lewis'].get_config('debgu')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [({'channel.vocab': 5}, 'vocab_size'), ({'channel.vocab_size': 'five'}, 'vocab_size')],
    ids=['unknown_key', 'wrong_type'],
)
def test_a_config_is_locked_and_typed(changes, message):
    with pytest.raises((AttributeError, KeyError, TypeError), match=message):
        tiny_config(changes)


# --- refusals -------------------------------------------------------------------------------------

GROUPS = {
    'population.num_speakers': 4,
    'population.num_listeners': 4,
    'speaker.groups': ({'core': 'gru'}, {'core': 'lstm'}),
}
REFUSED = [
    # The changes, the last of which is refused, and what the sentence says besides.
    *(
        ({key: 0}, 'at least 1')
        for key in (
            'training_steps',
            'replicas',
            'log_train_data_interval',
            'save_checkpoint_interval',
            'max_checkpoints_to_keep',
            'data.batch_size',
            'speaker.hidden_size',
            'speaker.embed_size',
            'speaker.num_layers',
            'speaker.num_heads',
            'listener.hidden_size',
            'listener.embed_size',
            'listener.num_layers',
            'listener.num_heads',
            'population.num_speakers',
            'population.num_listeners',
            'population.pairs_per_step',
            'population.updates_per_call',
            'evaluation.redraws',
            'evaluation.batch_size',
            'evaluation.patience',
            'updates.imitate.every',
            'updates.reset.every',
            'channel.length',
        )
    ),
    ({'interval_type': 'minutes'}, 'steps, secs'),
    ({'data.batch_size': 65}, 'at most 64, the number of training examples of tiny'),
    ({'data.dtype': 'int8'}, 'float16, float32'),
    ({'loss.listener.num_distractors': 8}, 'between 1 and 7'),
    ({'loss.listener.num_distractors': 0}, 'between 1 and 7'),
    ({'population.pairing': 'random'}, 'matching, independent, fixed'),
    ({'population.execution': 'scan'}, 'auto, vmap, map, unroll'),
    ({'population.pairs_per_step': 2}, 'at most 1'),
    ({'population.pairing': 'fixed', 'population.pairs': ()}, 'must list pairs'),
    (
        {
            'population.pairing': 'fixed',
            'population.pairs': ((0, 0), (0, 0)),
            'population.pairs_per_step': 1,
        },
        'must be 2',
    ),
    ({'population.pairs': ((0, 0),)}, 'only with pairing=fixed'),
    ({'updates.imitate.teacher': 'first'}, 'best, worst, random'),
    ({'updates.imitate.every': 5, 'updates.imitate.num_students': 2}, 'there are 1 speakers'),
    ({'updates.reset.who': 'both'}, 'speaker, listener, pair, all'),
    ({'updates.reset.every': 100}, 'never comes: .* less than training_steps=100'),
    ({'updates.generations.every': 4400}, 'never comes: .* less than training_steps=100'),
    ({'updates.generations.transmit_steps': -1}, 'not be negative'),
    ({'updates.generations.listen_steps': 5}, 'no effect without'),
    (
        {'updates.generations.transmit_steps': 5, 'updates.generations.every': 5},
        'more than 6: one step',
    ),
    (
        {'updates.generations.every': 20, 'updates.reset.every': 5},
        'unset with updates.generations.every',
    ),
    ({'population.structure': 'islands'}, 'mixing, partitioned, isolated'),
    ({'population.num_speakers': 2, 'population.structure': 'isolated'}, 'as many listeners'),
    ({'population.structure': 'isolated', 'population.graph': ((0, 0),)}, 'which sets it'),
    (
        {'population.structure': 'partitioned', 'population.listener_learns': ((0, 0),)},
        'which sets it',
    ),
    ({'population.speaker_speeds': (1.0, 2.0)}, 'each of the 1 speakers'),
    ({'population.listener_speeds': (-1.0,)}, '0 or more'),
    ({'population.speaker_chances': (1.5,)}, 'a probability'),
    ({'optimizer.target_ema': 1.5}, r'in \[0, 1\]'),
    ({'evaluation.every': -1}, '0 .at the end only. or more'),
    ({'evaluation.num_candidates': ()}, 'at least 2'),
    ({'evaluation.num_candidates': (16, 1)}, 'at least 2'),
    ({'evaluation.input_noise': -0.5}, 'not be negative'),
    ({'evaluation.channel_noise': 1.5}, r'in \[0, 1\]'),
    ({'evaluation.best_metric': 'accuracy@17'}, 'accuracy@4, loss@4, accuracy@16, loss@16'),
    ({'evaluation.best_metric': 'acuracy@16'}, 'one of accuracy@4'),
    (
        {'evaluation.best_metric': 'symbol_entropy', 'evaluation.metrics': ('accuracy',)},
        "must have 'message_entropy' for evaluation.best_metric='symbol_entropy'",
    ),
    (
        {
            'evaluation.metrics': ('speaker_distance',),
            'evaluation.best_metric': 'speaker_edit_distance',
        },
        'needs a population of more than one',
    ),
    ({'evaluation.every': 0, 'evaluation.patience': 3}, 'no effect with evaluation.every=0'),
    ({'training_steps': 2**31}, 'less than 2,147,483,648'),
    ({'loss.speaker.kl': math.inf}, 'must be a finite number'),
    ({'loss.listener.name': 'classification', 'evaluation.best_metric': 'accuracy@16'}, 'accuracy'),
    ({'speaker.core': 'transformer', 'speaker.hidden_size': 7}, 'multiple of speaker.num_heads=2'),
    ({'listener.num_layers': 2}, '1 unless a transformer'),
    ({'game.input_noise': -0.5}, 'not be negative'),
    ({'loss.speaker.length_cost': 0.1}, 'set channel.variable_length'),
    ({'loss.speaker.length_cost_power': 2.0}, 'changes nothing with loss.speaker.length_cost'),
    (
        {
            'channel.kind': 'gumbel',
            'loss.speaker.name': 'pathwise',
            'loss.speaker.reward': 'log_likelihood',
        },
        "not read with loss.speaker.name='pathwise'",
    ),
    ({'channel.vocab_size': 1}, 'at least 2'),
    (
        {'channel.variable_length': True, 'channel.noise': 0.1, 'channel.vocab_size': 2},
        'at least 3',
    ),
    ({'channel.noise': -0.5}, r'in \[0, 1\]'),
    ({'channel.temperature': 0.0}, 'above 0'),
    ({'channel.temperature_end': 0.0}, 'above 0'),
    ({'channel.temperature_mode': 'annealed'}, 'fixed.*scheduled.*learned'),
    ({'channel.kind': 'gumbel', 'loss.speaker.name': 'reinforce'}, 'pathwise'),
    ({'loss.speaker.name': 'pathwise'}, 'reinforce.*policy_gradient'),
    ({'loss.speaker.reward': 'accuracy'}, 'success.*log_likelihood'),
    ({'loss.speaker.name': 'policy_gradient', 'speaker.head': 'policy_value'}, 'policy_q_value'),
    ({'speaker.head': 'policy'}, "'policy_value'"),
    ({'speaker.torso': 'cnn'}, "'identity' or 'mlp'"),
    ({'loss.listener.temperature': 0.0}, 'above 0'),
    *(
        (
            {'channel.kind': 'continuous', 'loss.speaker.name': 'pathwise', **others, key: value},
            'must be off',
        )
        for others, key, value in (
            ({'loss.speaker.entropy': 0.0}, 'loss.speaker.kl', 0.5),
            ({}, 'loss.speaker.entropy', 0.5),
            ({}, 'channel.noise', 0.5),
            ({}, 'channel.variable_length', True),
        )
    ),
    ({'speaker.groups': ()}, 'must hold groups'),
    ({'speaker.groups': ('lstm', 'gru')}, "such as {'core': 'gru'}"),
    ({'speaker.groups': ({'core': 1},)}, 'has core=1, which must be of type str'),
    ({'speaker.groups': ({}, {})}, "needs a 'size' in each: 2 do not divide num_speakers=1"),
    ({'listener.groups': ({'size': 1}, {})}, "a 'size' in each group or none"),
    ({'listener.groups': ({'size': 1}, {'size': 1})}, 'population.num_listeners=1'),
    ({'listener.groups': ({'size': 2}, {'size': -1})}, 'sizes of at least 1'),
    *(
        (GROUPS | changes, sentence)
        for changes, sentence in (
            ({'population.pairing': 'independent'}, "must be 'matching' or 'fixed' with groups"),
            (
                {'population.pairs_per_step': 4, 'population.pairing': 'every_speaker'},
                "must be 'matching' or 'fixed' with groups",
            ),
            ({'population.graph': ((0, 0),)}, 'cannot be set with speaker.groups'),
            (
                {'population.structure': 'isolated', 'population.pairs_per_step': 2},
                "must be 4, all of them, with groups and structure='isolated'",
            ),
            (
                {'updates.imitate.every': 5, 'updates.imitate.num_students': 2},
                'as there are 2 speakers in a group',
            ),
        )
    ),
]


@pytest.mark.parametrize(
    ('changes', 'sentence'), REFUSED, ids=[f'{list(c)[-1]}-{i}' for i, (c, _) in enumerate(REFUSED)]
)
def test_what_is_impossible_is_refused_by_key_and_value(changes, sentence):
    config = tiny_config(changes)
    key, value = list(changes.items())[-1]
    with pytest.raises(ValueError, match=f'^{re.escape(f"{key}={value!r} ")}.*{sentence}'):
        check(config, tiny_source(), num_devices=1)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'game.name': 'luis'}, "unknown game 'luis'.*lewis"),
        ({'channel.kind': 'gumble'}, "channel kind 'gumble'; did you mean 'gumbel'"),
        ({'loss.speaker.name': 'reinforced'}, "did you mean 'reinforce'"),
        ({'loss.listener.name': 'info_nse'}, "did you mean 'info_nce'"),
        ({'evaluation.metrics': ('acuracy',)}, "did you mean 'accuracy'"),
        ({'speaker.groups': ({'cor': 'gru'},)}, "of speaker.groups 'cor'; did you mean 'core'"),
    ],
)
def test_an_unknown_name_is_refused_by_the_nearest(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(tiny_config(changes), tiny_source(), num_devices=1)


@pytest.mark.parametrize(
    ('groups', 'sentence'),
    [
        (
            {'listener.groups': ({'core': 'gru'}, {'core': 'rnn'})},
            "in listener.groups[1], listener.core='rnn' must be one of",
        ),
        (
            {'speaker.groups': ({'core': 'transformer', 'hidden_size': 7}, {})},
            'in speaker.groups[0], speaker.hidden_size=7 must be a multiple',
        ),
        (
            {'speaker.groups': ({}, {'head': 'policy'})},
            "in speaker.groups[1], speaker.head='policy' does not serve",
        ),
    ],
)
def test_what_is_impossible_in_a_group_is_refused_there(groups, sentence):
    with pytest.raises(ValueError, match=f'^{re.escape(sentence)}'):
        check(tiny_config(GROUPS | groups), tiny_source(), num_devices=1)


def test_what_is_only_evaluated_needs_no_batch_for_each_device_and_no_best():
    config = tiny_config({'data.batch_size': 9, 'evaluation.num_candidates': (2, 3)})
    check(config, tiny_source(), num_devices=None)
    with pytest.raises(ValueError, match='evaluation.best_metric'):
        check(config, tiny_source(), num_devices=1)


def test_a_split_of_one_example_is_refused():
    source = tiny_source()
    one = {
        name: jax.tree.map(lambda leaf: leaf[:1], split) for name, split in source.splits.items()
    }
    with pytest.raises(ValueError, match="split 'valid' of tiny has 1 example: .* at least 2"):
        splits = {**source.splits, 'valid': one['valid']}
        check(tiny_config(), source._replace(splits=splits), num_devices=1)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'data.batch_size': 9}, 'data.batch_size=9 must be a multiple of .* which is 2'),
        (
            {'loss.listener.across_devices': False, 'loss.listener.num_distractors': 4},
            'num_distractors=4 must lie between 1 and 3',
        ),
    ],
)
def test_a_batch_is_split_over_the_devices(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(tiny_config(changes), tiny_source(), num_devices=2)


@pytest.mark.parametrize(
    'changes',
    [
        {'data.batch_size': 1},
        {'listener.projection_sizes': ()},
        {'speaker.torso': 'mlp', 'speaker.torso_sizes': ()},
        {'speaker.head_sizes': (0,)},
        {'evaluation.num_candidates': ('a',)},
        {'optimizer.speaker.learning_rate': -1.0},
        {'optimizer.listener.clip_norm': -1.0},
        {'optimizer.speaker.warmup_steps': -5},
        {'optimizer.speaker.b1': 5.0},
        {'optimizer.shared.trust_coefficient': 0.0},
        {'optimizer.speaker.scale_with_batch': 0},
        {'optimizer.listener.frozen': ('listener', 3)},
        {'optimizer.listener.frozen': ('',)},
        {'optimizer.speaker.schedule': 'exponential', 'optimizer.speaker.end_factor': 0.0},
        {'loss.speaker.kl': -1.0},
        {'speaker.core': 'lstn'},
        {'evaluation.max_examples': 1_000_000},
        {'evaluation.best_metric': 'accuracy_vote@16', 'population.num_listeners': 1},
        {'channel.temperature_mode': 'learned'},
    ],
)
def test_what_no_run_could_mean_is_refused(changes, source):
    key = [*changes][-1] if 'evaluation.best_metric' not in changes else 'evaluation.best_metric'
    with pytest.raises(ValueError, match=f'^{key}='):
        check(tiny_config(changes), source, 1)


@pytest.mark.parametrize('pairs', [(0, 1), ((0, 0.5),), ((0, 1, 0),), ((5, 0),), ()])
def test_pairs_that_are_none_are_refused(pairs):
    config = tiny_config({'population.graph': pairs})
    with pytest.raises(ValueError, match='population.graph'):
        make_meetings(config.population)


@pytest.mark.parametrize(('name', 'variant'), [pair for pair in VARIANTS if pair[1]])
def test_every_variant_has_a_debug_run(name, variant, source, images, resolved, small_wordnet):
    one, two = resolved(name, f'{variant},debug'), resolved(name, f'debug,{variant}')
    assert one == two
    assert one.training_steps == resolved(name, 'debug').training_steps
    if 'game' in one:
        check(one, images if sees_images(one) else source, 1)


@pytest.mark.parametrize('key', READ_BY)
def test_a_key_that_no_agent_of_the_game_reads_is_refused(key):
    config = config_lib.base().unlock()
    config.game.name = READ_BY[key][0]
    *groups, name = key.split('.')
    group = functools.reduce(getattr, groups, config)
    other = {str: 'cubic', bool: not group[name], int: 7, float: 0.5}
    group[name] = other[group.get_type(name)]
    check_keys(config)
    config.game.name = 'lewis'
    with pytest.raises(ValueError, match=f'^{re.escape(key)}=.* is read by game.name='):
        check_keys(config)
