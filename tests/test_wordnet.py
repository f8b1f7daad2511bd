"""WordNet's nouns: what we read of a dictionary is what NLTK reads of it."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from dictionaries import HEADER, read_by_nltk, write_dictionary

from emcom_jax.metrics import wordnet

DEBIAN = Path('/usr/share/wordnet')  # Of the package wordnet-base.

# Some of the 1,000 classes of ImageNet, the first and the last in WordNet's file among them: their
# ids with the first of their names in its own list.
IMAGENET = {
    'n01440764': 'tench',
    'n01443537': 'goldfish',
    'n01514668': 'cock',
    'n02012849': 'crane',
    'n02085620': 'chihuahua',
    'n02113799': 'standard_poodle',
    'n02123045': 'tabby',
    'n02510455': 'giant_panda',
    'n03126707': 'crane',
    'n04067472': 'reel',
    'n04254777': 'sock',
    'n06359193': 'web_site',
    'n07693725': 'bagel',
    'n15075141': 'toilet_tissue',
}


@pytest.fixture
def small(tmp_path):
    write_dictionary(tmp_path / 'small')
    return wordnet._read(tmp_path / 'small')


@pytest.fixture
def whole(monkeypatch):
    """The real one."""
    monkeypatch.delenv('WNSEARCHDIR')
    return wordnet.load()


def agree_with_nltk(known, nltk_wordnet, synsets):
    """Asserts that both know the same of the synsets [K]."""
    theirs = [nltk_wordnet.synset_from_pos_and_offset('n', synset) for synset in synsets]
    similarities = known.path_similarity(synsets)
    for i, synset in enumerate(synsets):
        name = known.name(synset)
        assert name == theirs[i].name()
        assert known.synset(name) == known.synset(f'n{synset:08}') == synset
        steps = theirs[i]._shortest_hypernym_paths(False)
        assert known.ancestors(synset) == {each.offset(): n for each, n in steps.items()}
        for lemma in theirs[i].lemma_names():
            senses = [
                each.offset()
                for each in nltk_wordnet.synsets(lemma, 'n')
                if lemma.lower() in map(str.lower, each.lemma_names())  # Not of 'work' for 'works'.
            ]
            assert [known.synset(f'{lemma}.n.{n + 1:02}') for n in range(len(senses))] == senses
        for j in range(i + 1):
            similarity = theirs[i].path_similarity(theirs[j])
            assert similarities[i, j] == similarities[j, i] == pytest.approx(similarity, abs=1e-15)


# --- dictionaries that tests write ----------------------------------------------------------------


def test_a_random_hierarchy_is_what_nltk_makes_of_it(tmp_path):
    rng = np.random.default_rng(0)
    names = [f'{"A" if rng.random() < 0.2 else "a"}{i // 2}.n.{i % 2 + 1:02}' for i in range(50)]
    nouns = {
        name: [names[kind] for kind in rng.choice(i, min(i, int(rng.integers(1, 4))), False)]
        for i, name in enumerate(names)
    }
    offsets = write_dictionary(tmp_path / 'random', nouns)
    known = wordnet._read(tmp_path / 'random')
    nltk_wordnet = read_by_nltk(tmp_path / 'random', tmp_path / 'data')
    agree_with_nltk(known, nltk_wordnet, list(offsets.values()))


def test_hypernyms_and_similarities_by_hand(small):
    dog, cat, car, laika, entity = (
        small.synset(f'{lemma}.n.01') for lemma in ('dog', 'cat', 'car', 'laika', 'entity')
    )
    assert small.hypernyms(dog) == (small.synset('carnivore.n.01'), small.synset('pet.n.01'))
    assert small.hypernyms(entity) == ()
    steps = {small.name(kind): n for kind, n in small.ancestors(laika).items()}
    assert steps == {
        'laika.n.01': 0,
        'dog.n.01': 1,
        'carnivore.n.01': 2,
        'pet.n.01': 2,
        'animal.n.01': 3,
        'entity.n.01': 4,
    }
    assert small.is_a(laika, dog) and small.is_a(dog, dog)
    assert not small.is_a(dog, laika) and not small.is_a(dog, cat)
    similarities = small.path_similarity([dog, cat, car, laika])
    lengths = [[0, 2, 6, 1], [2, 0, 6, 3], [6, 6, 0, 7], [1, 3, 7, 0]]
    np.testing.assert_array_equal(similarities, 1 / (1 + np.array(lengths)))
    assert small.synset('Dog.n.1') == small.synset('dog_so_called.n.01') == dog


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('dgo.n.01', "no noun 'dgo.n.01'; did you mean 'dog.n.01'?"),
        ('dog.n.03', "no noun 'dog.n.03': .* dog.n.01 to dog.n.02"),
        ('dog.n.00', 'dog.n.01 to dog.n.02'),
        ('dog.n.-1', 'must look like dog.n.01'),
        ('cat', 'must look like cat.n.01 or n02084071'),
        ('cat.v.01', 'must look like cat.n.01'),
        ('.n.01', 'must look like'),
        ('', 'must look like dog.n.01'),
        ('n00000000', "no noun 'n00000000'; did you mean n[0-9]{8}, entity.n.01"),
        ('n99999999', 'did you mean n[0-9]{8}, laika.n.01'),
        (f'n{len(HEADER) + 1:08}', f'did you mean n{len(HEADER):08}, entity.n.01'),
    ],
)
def test_an_unknown_name_is_refused_with_a_near_one(small, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        small.synset(name)


def test_an_offset_between_synsets_is_refused(small):
    for offset in (-1, len(HEADER) + 1, 10**7):
        with pytest.raises(ValueError, match=f'no noun at {offset}'):
            small.hypernyms(offset)


def test_it_is_found_where_nltk_and_the_environment_have_it(tmp_path, monkeypatch):
    monkeypatch.delenv('WNSEARCHDIR')
    data = tmp_path / 'data'
    corpora = data / 'corpora'
    monkeypatch.setenv('NLTK_DATA', f'{tmp_path / "empty"}:{data}')
    write_dictionary(corpora / 'packed', {'packed.n.01': []})
    with zipfile.ZipFile(corpora / 'wordnet.zip', 'w') as archive:
        for name in ('data.noun', 'index.noun'):
            archive.write(corpora / 'packed' / name, f'wordnet/{name}')
    assert wordnet.load().synset('packed.n.01')
    write_dictionary(corpora / 'wordnet', {'unpacked.n.01': []})
    assert wordnet.load().synset('unpacked.n.01')
    write_dictionary(tmp_path / 'own', {'own.n.01': []})
    monkeypatch.setenv('WNSEARCHDIR', str(tmp_path / 'own'))
    assert wordnet.load().synset('own.n.01')
    assert wordnet.load() is wordnet.load()
    assert wordnet.installed()


def test_without_wordnet_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    write_dictionary(tmp_path)
    (tmp_path / 'index.noun').unlink()
    monkeypatch.setenv('WNSEARCHDIR', str(tmp_path))
    for where in (str(tmp_path), 'on this machine'):
        assert not wordnet.installed()
        with pytest.raises(wordnet.WordNetMissing, match=f'{where}.*wordnet-base.*nltk') as caught:
            wordnet.load()
        assert isinstance(caught.value, OSError)
        monkeypatch.delenv('WNSEARCHDIR', raising=False)
        monkeypatch.setattr(wordnet, '_places', lambda: iter(()))


def test_another_version_is_refused(tmp_path, monkeypatch):
    write_dictionary(tmp_path)
    data = tmp_path / 'data.noun'
    data.write_text(data.read_text().replace('WordNet 3.0', 'WordNet 3.1'))
    monkeypatch.setenv('WNSEARCHDIR', str(tmp_path))
    with pytest.raises(ValueError, match='is not WordNet 3.0'):
        wordnet.load()


# --- the real one ---------------------------------------------------------------------------------


@pytest.mark.wordnet
def test_random_nouns_are_what_nltk_makes_of_them(whole, tmp_path):
    nltk_wordnet = read_by_nltk(DEBIAN, tmp_path)
    nouns = sorted({each.offset() for each in nltk_wordnet.all_synsets('n')})
    assert len(nouns) == 82_115  # As WordNet's manual counts them (wnstats(7WN)).
    chosen = np.random.default_rng(0).choice(nouns, 400, replace=False)
    agree_with_nltk(whole, nltk_wordnet, chosen.tolist())


@pytest.mark.wordnet
def test_ids_of_imagenet_are_its_classes(whole):
    lemmas = {name: whole.name(whole.synset(name)).split('.')[0] for name in IMAGENET}
    assert lemmas == IMAGENET
    dog, animal = whole.synset('n02084071'), whole.synset('animal.n.01')
    dogs = [name for name in IMAGENET if whole.is_a(whole.synset(name), dog)]
    assert dogs == ['n02085620', 'n02113799']
    animals = [name for name in IMAGENET if whole.is_a(whole.synset(name), animal)]
    assert animals == list(IMAGENET)[:8]
