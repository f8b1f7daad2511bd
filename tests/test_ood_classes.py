"""Lists of OOD classes: nothing in them is above or below what agents were trained on."""

import ml_collections
import pytest
from PIL import Image

from emcom_datasets import ood_classes
from emcom_jax import data
from emcom_jax.config import base

# Synset -> its direct hypernyms.
WORLD = {
    'entity': (),
    'animal': ('entity',),
    'dog': ('animal',),
    'puppy': ('dog',),
    'cat': ('animal',),
    'lynx': ('cat',),
    'fruit': ('entity',),
    'apple': ('fruit',),
    'pear': ('fruit',),
    'tool': ('entity',),
    'hammer': ('tool',),
    'ball': ('toy', 'tool'),
    'toy': ('entity',),
    'doll': ('toy',),
}
NUMBER = {name: f'n{index:08}' for index, name in enumerate(WORLD, start=1000)}


def paths(synset):
    above = WORLD[synset]
    return [[synset, *way] for parent in above for way in paths(parent)] or [[synset]]


def choose(count, seed=0, candidates=WORLD, training=('dog',)):
    return ood_classes.choose(candidates, training, paths, count, seed)


@pytest.mark.parametrize('seed', range(20))
def test_chosen_synsets_are_apart_from_training_and_from_each_other(seed):
    chosen = choose(3, seed)
    assert chosen == sorted(set(chosen)) and len(chosen) == 3
    assert not set(chosen) & {'entity', 'animal', 'dog', 'puppy'}
    for one in chosen:
        for other in chosen:
            above = {synset for way in paths(other) for synset in way[1:]}
            assert one not in above
            assert one == other or not set(WORLD[one]) & set(WORLD[other])


def test_all_that_is_apart_is_chosen_at_times_and_always_alike():
    drawn = [choose(3, seed) for seed in range(60)]
    assert set(sum(drawn, [])) == set(WORLD) - {'entity', 'animal', 'dog', 'puppy'}
    assert choose(3, 5) == drawn[5] == choose(3, 5, candidates=reversed(WORLD))


def test_too_few_or_unknown_synsets_are_refused():
    with pytest.raises(ValueError, match='only 1 candidates are apart .* where 2 are wanted'):
        choose(2, candidates=('apple', 'pear', 'dog', 'puppy', 'unheard of'))
    with pytest.raises(ValueError, match="'mouse' is not in WordNet; training classes must be"):
        choose(1, training=('mouse',))


# --- WordNet's own file ---------------------------------------------------------------------------


@pytest.fixture
def wordnet(tmp_path):
    """The world as wndb(5) describes it, with other pointers among those that count."""
    lines = ['  1 This software is licensed.  ']
    for name, above in WORLD.items():
        pointers = [('#m', 'entity'), *(('@', parent) for parent in above), ('~', 'entity')]
        pointers = [
            ('@i', to) if name == 'doll' and kind == '@' else (kind, to) for kind, to in pointers
        ]
        said = ' '.join(f'{kind} {NUMBER[to][1:]} n 0000' for kind, to in pointers)
        words = ' '.join(f'{name}_{index} 0' for index in range(11))  # Counted as 0b.
        line = f'{NUMBER[name][1:]} 03 n 0b {words} {len(pointers):03} {said} | a "gloss" @ 1  '
        lines.append(line)
    path = tmp_path / 'data.noun'
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_hypernyms_are_read_from_the_dictionary_file(wordnet):
    read = ood_classes.read_nouns(wordnet)
    for name in WORLD:
        expected = [[NUMBER[synset] for synset in way] for way in paths(name)]
        assert read(NUMBER[name]) == expected
    with pytest.raises(KeyError):
        read('n99999999')


@pytest.mark.parametrize('text', ['', 'hello world\n', '00001740 03 n 01 entity 0 003 ~ 0000\n'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / 'x').write_text(text)
    with pytest.raises(ValueError, match='x is not the file data.noun of WordNet'):
        ood_classes.read_nouns(tmp_path / 'x')


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    """Two training classes, and candidates of which two have too few images."""
    for parent, names in {
        'train': ('dog', 'cat'),
        'more': ('dog', 'puppy', 'lynx', 'animal', 'apple', 'pear', 'hammer', 'ball', 'doll'),
    }.items():
        for name in names:
            folder = tmp_path / parent / NUMBER[name]
            folder.mkdir(parents=True)
            for index in range(2 if name in ('hammer', 'doll') else 5):
                Image.new('RGB', (8, 8)).save(folder / f'{NUMBER[name]}_{index}.png')
    return tmp_path


def run(folders, wordnet, *arguments):
    ood_classes.main(
        [
            f'--candidates={folders / "more"}',
            f'--training={folders / "train"}',
            f'--wordnet={wordnet}',
            f'--output={folders / "list.txt"}',
            *arguments,
        ]
    )
    return (folders / 'list.txt').read_text().splitlines()


def test_the_command_lists_images_that_the_loader_plays_on(folders, wordnet, capsys):
    lines = run(folders, wordnet, '--count=2', '--images=3')
    assert len(set(lines)) == 6
    assert capsys.readouterr().out == f'{folders / "list.txt"}: 2 classes, 6 lines\n'
    classes = {line.split('/')[0] for line in lines}
    assert NUMBER['ball'] in classes and classes - {NUMBER['ball']} <= {
        NUMBER['apple'],
        NUMBER['pear'],
    }
    assert run(folders, wordnet, '--count=2', '--images=3') == lines
    assert run(folders, wordnet, '--count=2', '--images=3', '--seed=1') != lines
    keys = {
        'name': 'image_folder',
        'path': str(folders / 'train'),
        'ood_path': str(folders / 'more'),
        'ood_classes': str(folders / 'list.txt'),
    }
    config = ml_collections.ConfigDict(base().data.to_dict() | keys)
    source = data.load(config)
    assert len(source.splits['ood'].inputs) == 6 and source.num_values == {'class': 4}
    assert source.synsets == {
        'class': (NUMBER['dog'], NUMBER['cat'], *sorted(classes)),
    }


def test_the_command_lists_whole_classes(folders, wordnet):
    (folders / 'known.txt').write_text(f'{NUMBER["dog"]} dog\n{NUMBER["cat"]} cat\n')
    lines = run(folders, wordnet, '--count=3', '--images=0', f'--training={folders / "known.txt"}')
    assert len(lines) == 3 and not set(lines) & {NUMBER[name] for name in ('lynx', 'animal')}
