"""Lists of classes for the split 'ood', by WordNet: apart from all that agents were trained on.

R. Dessi, E. Kharitonov, M. Baroni (*Interpretable agent communication from scratch*, NeurIPS 2021)
test their agents on 128 images each of 80 synsets of ImageNet-21k that are disjoint from the 1,000
of ILSVRC. This makes such a list of whatever classes there are:

    python -m emcom_datasets.ood_classes --candidates=imagenet21k --training=imagenet/train \
        --wordnet=data.noun --output=ood.txt

`--config.data.ood_path=imagenet21k --config.data.ood_classes=ood.txt` then plays on it.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

# A synset -> all ways from it up to a root, each a sequence of synsets that begins with itself and
# ends with the root.
Paths = Callable[[str], Sequence[Sequence[str]]]


def choose(
    candidates: Iterable[str], training: Iterable[str], paths: Paths, count: int, seed: int
) -> list[str]:
    """Draws synsets that are apart from those of training, and from each other.

    None is a training synset, a hypernym or a hyponym of one; none is a hypernym of another that is
    drawn; and no two have the same direct hypernym, so that the list is varied.

    Args:
      candidates: synsets to draw from, such as 'n02084071'; those that `paths` does not know
        (it raises a KeyError, or there is no way to a root) are left out.
      training: synsets of the training classes.
      paths: the hypernyms of a synset.
      count: how many to draw.
      seed: of the draw.

    Returns:
      `count` synsets, sorted.

    Raises:
      ValueError: a training synset is not known, or the candidates are too few.
    """
    known, above = set(training), set()
    for synset in known:
        try:
            above |= _above(synset, paths)
        except KeyError:
            raise ValueError(
                f"'{synset}' is not in WordNet; training classes must be synsets, as 'n02084071'."
            ) from None
    order = sorted(set(candidates) - known - above)
    chosen: dict[str, set[str]] = {}  # Synset -> its hypernyms.
    parents: set[str] = set()
    for index in np.random.default_rng(seed).permutation(len(order)):
        synset = order[index]
        try:
            hypernyms, direct = _above(synset, paths), {way[1] for way in paths(synset) if way[1:]}
        except KeyError:
            continue
        related = hypernyms & (known | chosen.keys()) or direct & parents
        if direct and not related and not any(synset in others for others in chosen.values()):
            chosen[synset] = hypernyms
            parents |= direct
        if len(chosen) == count:
            return sorted(chosen)
    raise ValueError(
        f'only {len(chosen)} candidates are apart from the training synsets and from each other, '
        f'where {count} are wanted; give more candidates, or ask for fewer.'
    )


def _above(synset: str, paths: Paths) -> set[str]:
    """All hypernyms of a synset, without itself."""
    return {above for way in paths(synset) for above in way[1:]}


def read_nouns(path: pathlib.Path) -> Paths:
    """Returns the hypernyms of WordNet's nouns, by ImageNet's ids ('n' and eight digits).

    Args:
      path: of WordNet 3.0's dictionary file `data.noun` (ImageNet's ids are the positions in it);
        its format is described in WordNet's manual page wndb(5).

    Raises:
      OSError: it cannot be read.
      ValueError: it is no such file.
    """
    hypernyms: dict[str, list[str]] = {}
    try:
        for line in path.read_text().splitlines():
            if line.startswith(' '):  # The licence.
                continue
            fields = line.split(' ')
            first = 4 + 2 * int(
                fields[3], 16
            )  # After the words: the number of pointers, then they.
            end = first + 1 + 4 * int(fields[first])
            if fields[end] != '|':
                raise ValueError('the pointers do not end where the definition begins')
            pointers = zip(fields[first + 1 : end : 4], fields[first + 2 : end : 4], strict=True)
            hypernyms[f'n{fields[0]}'] = [f'n{to}' for kind, to in pointers if kind in ('@', '@i')]
        if not hypernyms:
            raise ValueError('it is empty')
    except (ValueError, IndexError) as error:
        raise ValueError(f'{path} is not the file data.noun of WordNet.') from error

    def paths(synset: str) -> list[list[str]]:
        above = hypernyms[synset]
        return [[synset, *way] for parent in above for way in paths(parent)] or [[synset]]

    return paths


# --- the command ----------------------------------------------------------------------------------


def _synsets(path: pathlib.Path) -> list[str]:
    """The names of the folders in a folder, or of the lines of a file."""
    if path.is_dir():
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]


def _images(folder: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())


def _parse(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        prog='python -m emcom_datasets.ood_classes',
        description="Writes a list of classes for the split 'ood': no training class is a kind of "
        'them, nor they of it.',
    )
    for name, meaning in {
        'candidates': 'folder of class folders named as synsets, such as n02084071',
        'training': 'the like, or a text file with a synset on each line',
        'wordnet': 'the file data.noun of WordNet 3.0',
        'output': 'text file to write',
    }.items():
        parser.add_argument(f'--{name}', help=meaning, type=pathlib.Path, required=True)
    for name, meaning, default in (
        ('count', 'classes', 80),
        ('images', 'images of each, drawn and listed; 0: whole classes', 128),
        ('seed', 'of the draws', 0),
    ):
        parser.add_argument(f'--{name}', help=f'{meaning} ({default})', type=int, default=default)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes a list: a class on each line, or '<class>/<image>' for a number of images of each."""
    options = _parse(arguments)
    candidates = [
        name
        for name in _synsets(options.candidates)
        if len(_images(options.candidates / name)) >= max(options.images, 1)
    ]
    lines = choose(
        candidates,
        _synsets(options.training),
        read_nouns(options.wordnet),
        options.count,
        options.seed,
    )
    if options.images:
        rng = np.random.default_rng(options.seed)
        drawn = {
            name: rng.choice(_images(options.candidates / name), options.images, replace=False)
            for name in lines
        }
        lines = [f'{name}/{image}' for name in lines for image in sorted(drawn[name])]
    options.output.write_text('\n'.join(lines) + '\n')
    print(f'{options.output}: {options.count} classes, {len(lines):,} lines')


if __name__ == '__main__':
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
