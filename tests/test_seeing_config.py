"""Configs of agents that see: everything impossible is refused in one sentence."""

import re

import pytest
from pictures import config_of, source_of

from emcom_jax.checks import check

# --- refusals -------------------------------------------------------------------------------------

WEIGHTS = {'speaker.trunk.weights': 'weights.npz'}
PAIRS = {'population.num_speakers': 2, 'population.num_listeners': 2}
REFUSED = [
    # What is seen with, the changes, the last of which is refused, and what the sentence says.
    ('shared', {'game.views': 'mirrored'}, 'same, viewpoint, same_class, augmented'),
    ('features', {'game.views': 'augmented'}, 'needs images, and tiny has features'),
    ('shared', {'evaluation.augment': True}, "no effect without game.views='augmented'"),
    *(
        ('shared', {'game.views': 'augmented', f'game.augmentation.{key}': value}, sentence)
        for key, value, sentence in (
            ('crop_scale', (0.0, 1.0), 'two shares above 0, up to 1'),
            ('crop_scale', (0.2,), 'two shares above 0, up to 1'),
            ('crop_ratio', (2.0, 1.0), 'two ratios above 0'),
            ('flip', -0.1, 'a probability, 0 to 1'),
            ('jitter', (0.8, 0.8, 0.8), 'four strengths'),
            ('jitter', (0.8, 0.8, 0.8, 0.6), 'at most 0.5'),
            ('jitter_rate', 1.1, 'a probability, 0 to 1'),
            ('greyscale', 2.0, 'a probability, 0 to 1'),
            ('blur', 1.5, 'a probability, 0 to 1'),
            ('blur_sigma', (-1.0, 2.0), 'numbers of pixels, from 0 up'),
        )
    ),
    ('shared', {'data.channels': 'rgb'}, 'own, imagenet, plain'),
    ('shared', {'game.distractors': 'family'}, 'random, neighbours, one_of_each, class, object'),
    ('shared', {'game.distractors': 'class', 'game.together': 3}, 'divide the batch .* is 8'),
    ('shared', {'game.distractors': 'class', 'game.together': 1}, 'at least 2'),
    ('shared', {'evaluation.distractors': 'easy'}, 'random, hard'),
    ('shared', {'evaluation.distractors': 'hard'}, "must be 'random' while game.distractors is"),
    ('features', {'loss.listener.memory': -1}, 'must be 0 unless'),
    ('features', {'channel.length': 2, 'loss.listener.memory': 4}, 'must be 0 unless channel.leng'),
    (
        'features',
        {
            'evaluation.best_metric': 'accuracy',
            'loss.listener.name': 'classification',
            'loss.listener.memory': 4,
        },
        "unless .* loss.listener.name='info_nce'",
    ),
    (
        'features',
        {'loss.listener.memory': 4, 'loss.listener.num_distractors': 3},
        'unset with a memory',
    ),
    ('features', {'speaker.trunk.name': 'small_cnn'}, 'is not read: tiny has features'),
    ('features', {'listener.trunk.name': 'small_cnn'}, 'is not read: tiny has features'),
    ('features', WEIGHTS, 'is not read: tiny has features'),
    ('features', {'speaker.trunk.frozen': True}, 'is not read: tiny has features'),
    ('shared', {'listener.trunk.name': 'small_cnn'}, 'is not read: one trunk is shared'),
    ('shared', {'listener.trunk.weights': 'x.npz'}, 'is not read: one trunk is shared'),
    ('shared', {'listener.trunk.frozen': True}, 'is not read: one trunk is shared'),
    ('shared', {'speaker.trunk.name': None}, 'resnet10'),
    ('shared', {'speaker.trunk.name': 'resnet19'}, 'resnet10'),
    ('own', {'listener.trunk.name': None}, 'resnet10'),
    ('shared', {'speaker.trunk.width': 0}, 'at least 1'),
    ('shared', {'speaker.trunk.stem': 'large'}, 'imagenet, small'),
    ('own', {'listener.trunk.precision': 'f16'}, 'float32, bf16'),
    ('own', {'population.execution': 'vmap'}, "'auto', 'map' or 'unroll'"),
    ('own', WEIGHTS | {'updates.reset.every': 5}, 'unset with speaker.trunk.weights'),
    ('own', WEIGHTS | {'updates.generations.every': 5}, 'unset with speaker.trunk.weights'),
    *(
        (
            sight,
            WEIGHTS | PAIRS | {f'{role}.groups': ({'size': 1}, {'size': 1})},
            'unset with speaker.trunk.weights',
        )
        for sight in ('shared', 'own')
        for role in ('speaker', 'listener')
    ),
    *(
        ('shared', {'data.most_bytes': 100, key: value}, sentence)
        for key, value, sentence in (
            ('game.views', 'viewpoint', "must be 'same' or 'augmented' with the tiny images, more"),
            ('game.distractors', 'class', "is 'random' with the tiny images"),
            ('replicas', 2, 'must be 1 with the tiny images'),
            ('evaluation.train', True, 'must be False with the tiny images'),
            ('population.updates_per_call', 2, 'must be 1 with the tiny images'),
        )
    ),
]


@pytest.mark.parametrize(
    ('sight', 'changes', 'sentence'),
    REFUSED,
    ids=[f'{sight}-{list(changes)[-1]}-{i}' for i, (sight, changes, _) in enumerate(REFUSED)],
)
def test_what_is_impossible_is_refused_by_key_and_value(sight, changes, sentence):
    config = config_of(sight, changes)
    key, value = list(changes.items())[-1]
    with pytest.raises(ValueError, match=f'^{re.escape(f"{key}={value!r} ")}.*{sentence}'):
        check(config, source_of(sight), num_devices=1)


@pytest.mark.parametrize(
    ('sight', 'changes'),
    [
        ('shared', WEIGHTS | {'updates.reset.every': 5}),  # It resets no trunk.
        ('shared', WEIGHTS | {'updates.generations.every': 5}),
        ('shared', {'data.most_bytes': 100, 'game.views': 'augmented'}),
        # A crop that is not made.
        (
            'shared',
            {
                'game.views': 'augmented',
                'game.augmentation.crop': False,
                'game.augmentation.crop_scale': (0.0, 0.0),
            },
        ),
        ('features', {'game.distractors': 'neighbours', 'evaluation.distractors': 'hard'}),
        ('own', {'game.views': 'same_class', 'population.execution': 'unroll'}),
    ],
)
def test_what_is_possible_is_not_refused(sight, changes):
    check(config_of(sight, changes), source_of(sight), num_devices=1)


@pytest.mark.parametrize('label', ['object', 'class'])
def test_a_view_needs_its_label(label):
    source = source_of('shared')
    views = {'object': 'viewpoint', 'class': 'same_class'}[label]
    labels = {k: v for k, v in source.splits['train'].labels.items() if k != label}
    split = source.splits['train']._replace(labels=labels)
    without = source._replace(splits=dict.fromkeys(source.splits, split))
    with pytest.raises(ValueError, match=f"game.views='{views}' needs a label '{label}', and tiny"):
        check(config_of('shared', {'game.views': views}), without, 1)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        (
            {'loss.listener.memory': 3},
            "loss.listener.memory=3 is read by game.name='discrimination'",
        ),
        ({'speaker.trunk.name': 'vgg16'}, "speaker.trunk.name='vgg16' is not read by game.name"),
        ({'listener.trunk.weights': 'x.npz'}, "listener.trunk.weights='x.npz' is not read by game"),
        ({}, "game.name='lewis' sees features, not the images of 'tiny': choose 'discrimination'"),
    ],
)
def test_the_other_game_has_no_trunk_and_no_memory(changes, sentence):
    sight = 'features' if changes else 'shared'
    config = config_of('features', {'game.name': 'lewis'} | changes)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        check(config, source_of(sight), 1)


def test_batches_are_of_so_many_on_each_device():
    config = config_of('shared', {'game.distractors': 'class', 'game.together': 8})
    check(config, source_of('shared'), 1)
    with pytest.raises(ValueError, match='game.together=8 must .* divide the batch .* is 4'):
        check(config, source_of('shared'), 2)
