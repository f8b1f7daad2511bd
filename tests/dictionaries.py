"""WordNet in small: dictionaries that tests write, and NLTK's reader of any of them."""

import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import nltk
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.data import FileSystemPathPointer

HEADER = '  1 A dictionary for tests in the format of WordNet 3.0 (wndb(5WN)).  \n'

# An instance of a kind begins with a capital.
NOUNS = {
    'entity.n.01': [],
    'animal.n.01': ['entity.n.01'],
    'carnivore.n.01': ['animal.n.01'],
    'pet.n.01': ['animal.n.01'],
    'dog.n.01': ['carnivore.n.01', 'pet.n.01'],
    'cat.n.01': ['carnivore.n.01'],
    'artifact.n.01': ['entity.n.01'],
    'vehicle.n.01': ['artifact.n.01'],
    'car.n.01': ['vehicle.n.01'],
    'bus.n.01': ['vehicle.n.01'],
    'dog.n.02': ['artifact.n.01'],
    'Laika.n.01': ['dog.n.01'],
}


def write_dictionary(folder: Path, nouns: Mapping[str, Sequence[str]] = NOUNS) -> dict[str, int]:
    """Writes data.noun and index.noun of nouns with what each is directly a kind of; returns the
    offset of each. A synset has 2 to 17 words, a number that is written to the base of 16."""
    words = {
        name: [lemma, f'{lemma}_so_called', *(f'{lemma}_{n}' for n in range(i % 16))]
        for i, name in enumerate(nouns)
        for lemma in [name.split('.')[0]]
    }

    def line(name: str, offsets: Mapping[str, int]) -> str:
        up = '@i' if name[0].isupper() else '@'
        pointers = [('#m', other) for other in list(nouns)[:1]]  # A member of it, to be ignored.
        pointers += [(up, kind) for kind in nouns[name]]
        pointers += [('~', other) for other, kinds in nouns.items() if name in kinds]
        stated = ''.join(f'{p} {offsets[other]:08} n 0000 ' for p, other in pointers)
        said = f'{len(words[name]):02x} ' + ' '.join(f'{word} 0' for word in words[name])
        return f'{offsets[name]:08} 03 n {said} {len(pointers):03} {stated}| @ 00000000 n  \n'

    offsets, at = {}, len(HEADER)
    for name in nouns:
        offsets[name] = at
        at += len(line(name, dict.fromkeys(nouns, 0)))
    senses: dict[str, dict[int, int]] = {}
    for name, offset in offsets.items():
        for word in words[name]:
            senses.setdefault(word.lower(), {})[int(name.split('.')[2])] = offset
    index = ''
    for word, found in sorted(senses.items()):
        count, synsets = len(found), ' '.join(f'{found[key]:08}' for key in sorted(found))
        index += f'{word} n {count} 2 @ ~ {count} 0 {synsets}  \n'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'data.noun').write_text(HEADER + ''.join(line(name, offsets) for name in nouns))
    (folder / 'index.noun').write_text(HEADER + index)
    return offsets


def read_by_nltk(dictionary: Path, data: Path) -> WordNetCorpusReader:
    """NLTK's reader of a folder's nouns, which needs more files, below a path that NLTK trusts.

    data: an empty folder, which is added to NLTK's paths.
    """
    folder = data / 'corpora' / 'wordnet'
    folder.mkdir(parents=True)
    for part in ('noun', 'verb', 'adj', 'adv'):
        for name in (f'data.{part}', f'index.{part}', f'{part}.exc'):
            (folder / name).touch()
    for name in ('data.noun', 'index.noun'):
        shutil.copy(dictionary / name, folder / name)
    (folder / 'index.sense').touch()
    (folder / 'lexnames').write_text(''.join(f'{i:02}\tx{i}\t0\n' for i in range(45)))
    nltk.data.path.append(str(data))
    with warnings.catch_warnings(action='ignore'):  # There is no multilingual WordNet.
        return WordNetCorpusReader(FileSystemPathPointer(str(folder)), None)
