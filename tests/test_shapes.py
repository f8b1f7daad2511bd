"""Drawn scenes: what is held out is held out, and nothing but the outline tells the class."""

import json
import pathlib
import re

import ml_collections
import numpy as np
import pytest
import scipy.stats

from emcom_datasets import shapes
from emcom_datasets.shapes_classes import (
    ATTRIBUTES,
    CLASSES,
    COLOURS,
    DRAWN,
    FAMILIES,
    NUM_TRAINED,
    PARTS,
    PLANT,
    SIZES,
    TEXTURES,
    TRANSFER,
    count_parts,
    describe,
    plural,
)
from emcom_datasets.shapes_drawing import BACKGROUNDS, draw_scene, place, project, render
from emcom_jax import data
from emcom_jax.config import base

SENSES = json.loads((pathlib.Path(__file__).parent / 'golden' / 'shape_senses.json').read_text())
NUM_IMAGES = 384  # Of train; 48 of the others.


def load(path, **keys):
    config = base().data.to_dict() | {'name': 'shapes', 'path': str(path)} | keys
    return data.load(ml_collections.ConfigDict(config).lock())


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return load(tmp_path_factory.mktemp('shapes'), num_images=NUM_IMAGES)


# --- what is loaded -------------------------------------------------------------------------------


def test_pictures_and_labels_are_as_the_contract_says(source):
    sizes = {'train': NUM_IMAGES, 'valid': 48, 'test': 48, 'ood': 48}
    assert {name: len(split.inputs) for name, split in source.splits.items()} == sizes
    assert source.image_shape == (32, 32, 3)
    for name, split in source.splits.items():
        assert split.inputs.shape == (sizes[name], 32, 32, 3) and split.inputs.dtype == np.uint8
        assert set(split.labels) == {'class', 'family', 'object', 'attributes'}
        assert split.labels['attributes'].shape == (sizes[name], len(ATTRIBUTES))
        for label, values in split.labels.items():
            assert values.dtype == np.int32
            assert 0 <= values.min() and values.max() < source.num_values[label]
        np.testing.assert_array_equal(
            split.labels['family'],
            [FAMILIES.index(CLASSES[kind].family) for kind in split.labels['class']],
        )
        np.testing.assert_array_equal(split.labels['attributes'][:, 0], split.labels['family'])
        assert len(source.descriptions[name]) == sizes[name]
    assert source.synsets == {'class': tuple(one.synset for one in CLASSES)}
    assert len(source.class_descriptions) == source.num_values['class'] == len(CLASSES)


def test_one_noun_of_each_family_is_held_out_and_classes_are_as_frequent(source):
    counts = {
        name: np.bincount(split.labels['class'], minlength=len(CLASSES))
        for name, split in source.splits.items()
    }
    trained = np.arange(len(CLASSES)) < NUM_TRAINED
    for name in ('train', 'valid', 'test'):
        np.testing.assert_array_equal(counts[name], trained * counts[name].max())
    np.testing.assert_array_equal(counts['ood'], ~trained * counts['ood'].max())
    assert sorted(one.family for one in CLASSES[NUM_TRAINED:]) == sorted(FAMILIES)
    assert len({one.synset for one in CLASSES}) == len(CLASSES) == 30


def test_each_object_is_seen_twice_and_in_one_split(source):
    objects = np.concatenate([split.labels['object'] for split in source.splits.values()])
    np.testing.assert_array_equal(np.bincount(objects), 2)
    assert len(np.unique(objects)) == source.num_values['object']
    size = ATTRIBUTES.index('size')
    for split in source.splits.values():
        first, second = (split.labels['attributes'][n::2] for n in (0, 1))
        np.testing.assert_array_equal(split.labels['object'][::2], split.labels['object'][1::2])
        np.testing.assert_array_equal(split.labels['class'][::2], split.labels['class'][1::2])
        np.testing.assert_array_equal(np.delete(first, size, 1), np.delete(second, size, 1))
        assert (first[:, size] != second[:, size]).mean() > 0.4  # Two in three, by chance.
        apart = np.abs(split.inputs[::2].astype(int) - split.inputs[1::2]).mean((1, 2, 3))
        assert apart.min() > 10
    pictures = np.concatenate([split.inputs for split in source.splits.values()])
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) == len(pictures)


def test_the_seed_draws_everything(source, tmp_path):
    again = load(tmp_path, num_images=16)
    other = load(tmp_path, num_images=16, seed=1)
    np.testing.assert_array_equal(again.splits['train'].inputs, source.splits['train'].inputs[:16])
    assert (again.splits['train'].inputs != other.splits['train'].inputs).any((1, 2, 3)).all()


@pytest.mark.parametrize(
    'change, sentence',
    [
        ({'image_size': 8}, 'data.image_size=8 must be from 16 to 512'),
        ({'num_images': 20}, 'data.num_images=20 must be a multiple of 16'),
        ({'num_images': 0}, 'data.num_images=0 must be a multiple of 16'),
    ],
)
def test_impossible_pictures_are_refused(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path, **change)


# --- scenes ---------------------------------------------------------------------------------------


def scenes(count):
    return [draw_scene((7, 0, n), 0, n % len(CLASSES)) for n in range(count)]


def test_nuisances_are_independent_of_the_class():
    drawn = scenes(12_000)
    kinds = np.array([thing.kind for thing, _ in drawn])
    things, views = zip(*drawn, strict=True)
    nuisances = {
        'colour': [thing.colour for thing in things],
        'accent': [thing.accent for thing in things],
        'texture': [thing.texture for thing in things],
        'extra': [thing.extra for thing in things],
        'size': [view.size for view in views],
        'mirrored': [view.mirrored for view in views],
        'background': [view.background for view in views],
        'rotation': [(view.angle + 20) // 8 for view in views],
        'squeeze': [(view.squeeze + 0.2) // 0.08 for view in views],
        **{f'perspective {n}': [view.perspective[n] // 0.1 for view in views] for n in (0, 1)},
        **{f'place {n}': [view.place[n] // 0.2 for view in views] for n in (0, 1)},
        **{f'shade {n}': [thing.shade[n] // 0.4 for thing in things] for n in range(3)},
        **{f'proportion {n}': [thing.proportions[n] // 0.4 for thing in things] for n in (0, 1)},
    }
    p_values = {}
    for name, values in nuisances.items():
        table = scipy.stats.contingency.crosstab(kinds, values).count
        p_values[name] = scipy.stats.chi2_contingency(table).pvalue
        share = table / table.sum()
        independent = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
        bits = np.sum(share * np.log2(np.where(share, share, 1) / independent))
        bias = (table.shape[0] - 1) * (table.shape[1] - 1) / (2 * len(kinds) * np.log(2))
        assert table.shape[1] > 1 and abs(bits - bias) < 0.01, name
    assert min(p_values.values()) > 0.01 / len(p_values), p_values  # Bonferroni.
    assert set(nuisances['colour']) == set(range(len(COLOURS)))
    assert set(nuisances['texture']) == set(range(len(TEXTURES)))
    assert set(nuisances['size']) == set(range(len(SIZES)))
    assert set(nuisances['background']) == set(range(len(BACKGROUNDS)))


def test_bounding_box_of_every_object_covers_two_fifths_of_the_frame():
    for thing, view in scenes(600):
        parts = CLASSES[thing.kind].draw(*thing.proportions, thing.extra)
        frame = place(parts, view)
        points = np.concatenate([part.outline for part in parts])
        points = project(points, view) * frame.scale + frame.shift
        assert points.min() > -1e-9 and points.max() < 1 + 1e-9
        np.testing.assert_allclose(np.ptp(points, axis=0).prod(), view.area, rtol=1e-9)
        assert view.area >= 0.4
        assert view.size == int((view.area - 0.42) / 0.1)


@pytest.mark.parametrize('kind', range(len(DRAWN)))
def test_object_is_where_its_bounding_box_says(kind):
    side = 48
    thing, view = draw_scene((7, 0, kind), 0, kind)
    # What does not change with the background is the object.
    views = [view._replace(background=0, clutter=seed) for seed in range(3)]
    pictures = [render(thing, one, side).astype(int) for one in views]
    same = np.all([one == pictures[0] for one in pictures[1:]], axis=(0, 3))
    assert same.mean() > 0.08
    rows, columns = (np.flatnonzero(same.any(axis)) for axis in (1, 0))
    covered = np.ptp(rows) * np.ptp(columns) / side**2  # Pixels partly covered do change.
    assert view.area - 0.1 < covered < view.area + 0.05
    assert np.ptp(pictures[0][same].astype(float), axis=0).max() > 100


def test_a_picture_is_the_same_scene_at_every_size():
    for thing, view in scenes(6):
        small, large = (render(thing, view, side).astype(float) for side in (32, 64))
        reduced = large.reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(reduced - small).mean() < 8
        np.testing.assert_array_equal(render(thing, view, 32), small)


def test_object_does_not_depend_on_the_view_nor_the_view_on_the_class():
    (thing, one), (same, two) = (draw_scene((0, 1, 2), view, 3) for view in (0, 1))
    other, of_other = draw_scene((0, 1, 2), 0, 4)
    assert thing == same and other == thing._replace(kind=4)
    assert one.area != two.area and one.angle != two.angle and one.clutter != two.clutter
    assert one.area == of_other.area and (one.place == of_other.place).all()


# --- words ----------------------------------------------------------------------------------------


def words(sentence):
    return set(re.findall('[a-z]+', sentence))


def test_held_out_classes_are_described_in_words_of_the_trained(source):
    trained = set().union(*map(words, source.class_descriptions[:NUM_TRAINED]))
    for sentence in source.class_descriptions[NUM_TRAINED:]:
        assert words(sentence) <= trained, words(sentence) - trained
    trained = set().union(*map(words, source.descriptions['train']))
    for kind in range(NUM_TRAINED, len(CLASSES)):
        for extra in (False, True):
            row = [FAMILIES.index(CLASSES[kind].family), 0, 1, 0, 0, *count_parts(kind, extra)]
            assert words(describe(row)) <= trained, words(describe(row)) - trained
    assert len(set(source.class_descriptions)) == len(CLASSES)


def test_a_family_of_its_own_is_described_in_words_of_the_trained(source):
    trained = set().union(*map(words, source.class_descriptions[:NUM_TRAINED]))
    of_examples = set().union(*map(words, source.descriptions['train'])) | {PLANT}
    for kind, one in enumerate(TRANSFER, start=len(CLASSES)):
        assert words(one.description) <= trained, words(one.description) - trained
        for extra in (False, True):
            row = [len(FAMILIES), 0, 1, 0, 0, *count_parts(kind, extra)]
            assert words(describe(row)) <= of_examples, words(describe(row)) - of_examples
    assert PLANT in trained and PLANT not in FAMILIES
    assert not {one.family for one in TRANSFER} & {one.family for one in CLASSES}


def test_descriptions_withhold_every_noun(source):
    nouns = {noun.lower() for sense in SENSES.values() for noun in sense['nouns']}
    nouns |= {f'{noun}s' for noun in nouns}
    sentences = [*(one.description for one in DRAWN), *source.descriptions['train'], *FAMILIES]
    assert not set().union(*map(words, [*sentences, *source.descriptions['ood']])) & nouns


def test_class_descriptions_name_the_parts_that_are_always_drawn():
    for kind, one in enumerate(DRAWN):
        always, sometimes = count_parts(kind, False), count_parts(kind, True)
        assert always != sometimes, one.synset
        for part, number in zip(PARTS, always, strict=True):
            named = {part, plural(part)} & words(one.description)
            assert bool(named) == bool(number), (one.synset, part)
        assert one.family in one.description


def test_example_is_described_by_its_attributes():
    row = [ATTRIBUTES.index(part) for part in ('wheel', 'window', 'light')]
    attributes = np.zeros(len(ATTRIBUTES), int)
    attributes[:5] = 0, 4, 0, 1, 2
    attributes[row] = 2, 1, 1
    sentence = 'a large striped blue and red vehicle with a light, wheels and a window'
    assert describe(attributes) == sentence
    attributes[row] = 0, 0, 1
    assert describe(attributes).endswith('vehicle with a light')


def test_attributes_tell_what_was_drawn():
    thing, view = draw_scene((3, 0, 5), 1, 2)
    row = dict(zip(ATTRIBUTES, shapes.attributes(thing, view), strict=True))
    assert row['colour'] == thing.colour and row['second colour'] == thing.accent
    assert row['texture'] == thing.texture and row['size'] == view.size
    names = [part.name for part in CLASSES[2].draw(*thing.proportions, thing.extra)]
    assert row['wheel'] == 2 and row['cab'] == 1 and row['wing'] == 0
    assert row['light'] == names.count('light') == thing.extra


# --- senses ---------------------------------------------------------------------------------------

# What WordNet says that the members of each family are.
KIND_OF = {
    'vehicle': 'conveyance.n.03',
    'building': 'structure.n.01',
    'animal': 'animal.n.01',
    'tool': 'tool.n.01',
    'vessel': 'container.n.01',
    'piece of furniture': 'furniture.n.01',
    PLANT: 'plant.n.02',
}


def test_senses_are_of_their_family_and_none_is_a_kind_of_another():
    assert set(SENSES) == {one.synset for one in DRAWN}
    for one in DRAWN:
        above = SENSES[one.synset]['hypernyms']
        assert KIND_OF[one.family] in above, one.synset
        assert not set(above) & set(SENSES), one.synset
        assert one.synset.split('.')[0] in SENSES[one.synset]['nouns']
