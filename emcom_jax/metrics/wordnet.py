"""The nouns of WordNet 3.0: what is a kind of what, and how near two of them are.

Read from WordNet's own files `data.noun` and `index.noun`, which NLTK and Debian both distribute
(Debian without other files that NLTK's reader asks for). A synset is known by its offset in
`data.noun`, the number of its ImageNet id: 2084071 is dog.n.01 and n02084071. Names, hypernyms and
similarities are NLTK's: tests compare.
"""

import difflib
import functools
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

_FILES = ('data.noun', 'index.noun')
_HYPERNYM = ('@', '@i')  # A kind, and what an instance is one of.


class WordNetMissing(OSError):
    """The files of WordNet were not found."""


class WordNet:
    """The nouns of one copy of WordNet. Methods take and return synsets as offsets."""

    def __init__(self, data: bytes, index: bytes):
        """data, index: the contents of `data.noun` and `index.noun`."""
        self._data, self._index = data, index

    def synset(self, name: str) -> int:
        """The synset called 'dog.n.01' (lemma, noun, number of the sense) or 'n02084071'.

        Raises:
          ValueError: there is none; the sentence has a near one.
        """
        if re.fullmatch(r'n\d{8}', name):
            return self._by_id(name)
        lemma, _, sense = name.lower().rpartition('.n.')
        if not lemma or not re.fullmatch(r'\d+', sense):
            raise ValueError(
                f'{name!r} is not the name of a noun in WordNet: it must look like '
                f'{self._near(name.lower().split(".")[0])} or n02084071.'
            )
        if lemma not in self._lemmas:
            raise ValueError(
                f'WordNet has no noun {name!r}; did you mean {self._near(lemma)!r}? (Senses are '
                'numbered from 01, words joined by underscores.)'
            )
        senses = self._senses(lemma)
        if not 1 <= int(sense) <= len(senses):
            raise ValueError(
                f'WordNet has no noun {name!r}: the senses of this lemma are {lemma}.n.01 to '
                f'{lemma}.n.{len(senses):02}.'
            )
        return senses[int(sense) - 1]

    def name(self, synset: int) -> str:
        """The name of a synset by its first lemma, such as 'dog.n.01'."""
        lemma = self._fields(synset)[4].lower()
        return f'{lemma}.n.{self._senses(lemma).index(synset) + 1:02}'

    def hypernyms(self, synset: int) -> tuple[int, ...]:
        """What it is directly a kind of, or an instance of; nothing for the root (entity.n.01)."""
        fields = self._fields(synset)
        at = 4 + 2 * int(fields[3], 16)  # After the words, each with a number of its own.
        pointers = fields[at + 1 : at + 1 + 4 * int(fields[at])]
        kinds, offsets = pointers[::4], pointers[1::4]
        return tuple(int(o) for kind, o in zip(kinds, offsets, strict=True) if kind in _HYPERNYM)

    def ancestors(self, synset: int) -> dict[int, int]:
        """All that it is a kind or an instance of, with the number of steps there; itself with 0,
        and first."""
        steps, found, reached = {synset: 0}, [synset], 0
        while found:
            reached += 1
            above = dict.fromkeys(kind for each in found for kind in self.hypernyms(each))
            found = [kind for kind in above if kind not in steps]
            steps |= dict.fromkeys(found, reached)
        return steps

    def is_a(self, synset: int, kind: int) -> bool:
        """Whether it is a kind or an instance of another; everything is of itself."""
        return kind in self.ancestors(synset)

    def path_similarity(self, synsets: Sequence[int]) -> np.ndarray:
        """1 / (1 + length of the shortest path) of all pairs of K synsets, float64 [K, K].

        A path goes up to a common ancestor and down. In (0, 1]: 1 for a synset with itself, 1/2 for
        a kind with what it is directly a kind of. As NLTK's `path_similarity`.
        """
        all_steps = [self.ancestors(synset) for synset in synsets]
        rows: dict[int, int] = {}
        for steps in all_steps:
            for ancestor in steps:
                rows.setdefault(ancestor, len(rows))
        below = np.full((len(rows), len(synsets)), np.inf)  # Steps down from each ancestor.
        for column, steps in enumerate(all_steps):
            below[[rows[ancestor] for ancestor in steps], column] = list(steps.values())
        lengths = np.empty((len(synsets), len(synsets)))
        for row, steps in enumerate(all_steps):
            above = np.array(list(steps.values()), np.float64)[:, None]
            lengths[row] = (above + below[[rows[ancestor] for ancestor in steps]]).min(axis=0)
        return 1 / (1 + lengths)

    @functools.cached_property
    def _lemmas(self) -> dict[str, str]:
        """Lemma -> its line in the index."""
        lines = self._index.decode().splitlines()
        return {line.partition(' ')[0]: line for line in lines if line[:1] not in ('', ' ')}

    def _senses(self, lemma: str) -> list[int]:
        """The synsets of a lemma, the most frequent sense first."""
        fields = self._lemmas[lemma].split()
        return [int(offset) for offset in fields[-int(fields[2]) :]]

    def _fields(self, synset: int) -> list[str]:
        """The fields of a synset's line: offset, file, kind, number of words, words ..."""
        end = self._data.find(b'\n', synset)
        fields = self._data[synset:end].decode().split()
        if synset < 0 or not fields or fields[0] != f'{synset:08}':
            raise ValueError(f'WordNet has no noun at {synset}, an offset in data.noun.')
        return fields

    def _by_id(self, name: str) -> int:
        offset = int(name[1:])
        if self._data[offset : offset + 9] != f'{offset:08} '.encode():
            start = self._data.rfind(b'\n', 0, min(offset, len(self._data) - 1)) + 1
            found = re.match(rb'\d{8}', self._data[start:])
            near = int(found[0]) if found else self.synset('entity.n.01')
            raise ValueError(
                f'WordNet 3.0 has no noun {name!r}; did you mean n{near:08}, {self.name(near)}?'
            )
        return offset

    def _near(self, lemma: str) -> str:
        """The first sense of a lemma much like this one; of another where there is none."""
        word = re.sub(r'\s+', '_', lemma.strip())
        known = [word] if word in self._lemmas else difflib.get_close_matches(word, self._lemmas, 1)
        return f'{known[0] if known else "dog"}.n.01'


def installed() -> bool:
    """Whether WordNet is where `load` looks."""
    return any(map(_has_files, _places()))


def load() -> WordNet:
    """WordNet, from the folder in the environment variable WNSEARCHDIR (WordNet's own) if it is
    set, else from the data of NLTK (a folder or an archive), else from Debian's package.

    Reading takes about 0.1 s, the first time only.

    Raises:
      WordNetMissing: it is not there; says how to get it.
      ValueError: it is another version than 3.0, whose ids are not those of ImageNet.
    """
    for place in _places():
        if _has_files(place):
            return _read(place)
    named = os.environ.get('WNSEARCHDIR')
    where = f'in {named}, the folder that WNSEARCHDIR names' if named else 'on this machine'
    raise WordNetMissing(
        f'WordNet is not {where}: install the package wordnet-base of Debian, or pip install '
        "'emcom_jax[wordnet]' and run python -m nltk.downloader wordnet, or name the folder of its "
        'files data.noun and index.noun in WNSEARCHDIR.'
    )


@functools.cache
def _read(place: Path) -> WordNet:
    if place.suffix == '.zip':
        with zipfile.ZipFile(place) as archive:
            data, index = (archive.read(f'{place.stem}/{name}') for name in _FILES)
    else:
        data, index = ((place / name).read_bytes() for name in _FILES)
    if b'WordNet 3.0 ' not in data[:4096]:
        raise ValueError(
            f'{place} is not WordNet 3.0, to which the ids of ImageNet belong: name the folder of '
            'its files data.noun and index.noun in WNSEARCHDIR.'
        )
    return WordNet(data, index)


def _places() -> Iterator[Path]:
    """Where WordNet may be, first come first served."""
    named = os.environ.get('WNSEARCHDIR')
    if named:
        yield Path(named)
        return
    folders = [
        Path(folder) for folder in os.environ.get('NLTK_DATA', '').split(os.pathsep) if folder
    ]
    folders.append(Path('~/nltk_data').expanduser())
    folders += [Path(sys.prefix, *below, 'nltk_data') for below in ((), ('share',), ('lib',))]
    folders += [Path(above, 'nltk_data') for above in ('/usr/share', '/usr/local/share')]
    folders += [Path(above, 'nltk_data') for above in ('/usr/lib', '/usr/local/lib')]
    for folder in folders:
        yield folder / 'corpora' / 'wordnet'
        yield folder / 'corpora' / 'wordnet.zip'
    yield Path('/usr/share/wordnet')


def _has_files(place: Path) -> bool:
    if place.suffix == '.zip':
        return place.is_file()
    return all((place / name).is_file() for name in _FILES)
