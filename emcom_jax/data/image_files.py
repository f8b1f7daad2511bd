"""Folders of images: a folder for every class, decoded when they are looked at."""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from emcom_jax import types
from emcom_jax.data import class_folders, decoding, splitting
from emcom_jax.data.class_folders import Found

_FOLDERS = {'train': 'train', 'valid': 'valid', 'val': 'valid', 'validation': 'valid'}
_FOLDERS |= {'test': 'test', 'ood': 'ood'}  # Folder -> split.
_SYNSET = re.compile(r'n\d{8}')


def load(config: Any) -> types.Source:
    """Loads images from `path`: train/<class>/<image>, and valid (or val), test, ood likewise; or
    <class>/<image> alone, which is split.

    A class is a folder that holds images, named by its path, so that 'a/abbey' is one. What is not
    there of valid and test is made from what is, see `splitting.complete`. Of a dataset such as
    ImageNet, with train and val, val is for the test and a part of train is for validation.

    Reads the keys `path, image_size, bad_files, seed, ood_path, ood_classes` of the data group.
    'ood' is the folder of that name, or `ood_path`, a folder of class folders; `ood_classes` is a
    text file that says which of its classes (a line each), or which of its images (as
    'n01322604/n01322604_12.JPEG'). Without such a folder, the classes are held out of the others.

    Returns:
      A source with inputs [N, S, S, 3] uint8 decoded on demand (`decoding.Images`) and the label
      'class' [N], numbered in the order of the sorted names; classes that are only in 'ood' come
      after all others. `synsets` if all names are ImageNet's ids such as n01440764.

    Raises:
      FileNotFoundError: a folder or file is not there.
      ValueError: a folder is not laid out as it should be, or (bad_files='refuse') an image cannot
        be decoded.
    """
    check(config)
    if not config.path:
        raise ValueError(
            'data.name=image_folder reads images of yours: set --config.data.path to a folder of '
            'class folders, or of train, val and test with class folders in them.'
        )
    root = _folder(config.path, 'data.path')
    parts = {split: (root, names) for split, names in _find_splits(root, config).items()}
    parts |= _find_ood(root, parts, config)
    if empty := [split for split, (_, found) in parts.items() if not len(found.names)]:
        raise ValueError(f'{root}: no image is left for {empty[0]} when ood is taken out of it.')
    seen = {split: found.class_names() for split, (_, found) in parts.items()}
    for split in seen.keys() - {'train', 'ood'}:
        if missing := seen[split] - seen['train']:
            raise ValueError(
                f"{root}: '{min(missing)}' is a class of {split} but not of train; class folders "
                'must be the same.'
            )
    if both := seen.get('ood', set()) & seen['train']:
        raise ValueError(
            f"{root}: '{min(both)}' is a class of ood and of train; those of ood must be others."
        )
    classes = [*sorted(seen['train']), *sorted(seen.get('ood', ()))]
    number = {name: index for index, name in enumerate(classes)}
    splits = {
        split: _split(folder, found, number, config) for split, (folder, found) in parts.items()
    }
    return make_source('image_folder', splits, classes, str(root), config)


def check(config: Any) -> None:
    """Raises ValueError unless the keys of the data group that image sources share are right."""
    if config.image_size < 1:
        raise ValueError(f'data.image_size={config.image_size} must be at least 1 pixel.')
    if config.bad_files not in ('skip', 'refuse'):
        raise ValueError(f"data.bad_files='{config.bad_files}' must be 'skip' or 'refuse'.")


def make_source(
    name: str,
    splits: dict[str, types.Split],
    classes: Sequence[str],
    where: str,
    config: Any,
) -> types.Source:
    """Completes the splits [N, S, S, 3] of one label, whose values `classes` name."""
    (label,) = splits['train'].labels
    synsets = all(_SYNSET.fullmatch(value) for value in classes)
    return types.Source(
        name,
        splitting.complete(splits, where, config.seed),
        {label: len(classes) if label == 'class' else 2},
        image_shape=(config.image_size, config.image_size, 3),
        synsets={label: tuple(classes)} if synsets else None,
    )


def _split(folder: pathlib.Path, found: Found, number: dict[str, int], config: Any) -> types.Split:
    labels = np.array([number.get(name, -1) for name in found.folders], np.int32)[found.classes]
    images = decoding.Images(
        decoding.Files(str(folder), found.names),
        np.arange(len(labels)),
        labels,
        config.image_size,
        refuse=config.bad_files == 'refuse',
    )
    return types.Split(cast(Any, images), {'class': labels})


# --- which images there are -----------------------------------------------------------------------


def _folder(path: str, key: str) -> pathlib.Path:
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} was not found; --config.{key} must be a folder.')
    return folder


def _find_splits(root: pathlib.Path, config: Any) -> dict[str, Found]:
    """Returns the images of each split by their paths below `root`."""
    with os.scandir(root) as entries:
        inside = sorted(entry.name for entry in entries if entry.is_dir())
    named = [name for name in inside if name in _FOLDERS]
    if set(named) <= {'ood'}:
        flat = class_folders.scan(root, config, without=tuple(named))
        return {'train': flat} | {name: _below(root, name, config) for name in named}
    if 'train' not in named:
        raise ValueError(f'{root} has a folder {named[0]} but none that is called train.')
    splits: dict[str, Found] = {}
    for name in named:
        if _FOLDERS[name] in splits:
            raise ValueError(f'{root} has two folders to validate on; keep valid or val.')
        splits[_FOLDERS[name]] = _below(root, name, config)
    return splits


def _below(root: pathlib.Path, name: str, config: Any) -> Found:
    """The images of a folder inside `root`, by their paths below `root`."""
    found = class_folders.scan(root / name, config)
    return found._replace(names=np.char.add(os.fsencode(name) + b'/', found.names))


def _find_ood(
    root: pathlib.Path, parts: dict[str, tuple[pathlib.Path, Found]], config: Any
) -> dict[str, tuple[pathlib.Path, Found]]:
    """Returns the part 'ood', if there is to be one, and those that it is taken out of."""
    wanted = _read_list(config.ood_classes) if config.ood_classes else None
    if config.ood_path:
        folder = _folder(config.ood_path, 'data.ood_path')
        whole = {'ood': (folder, class_folders.scan(folder, config))}
    else:
        whole = {'ood': parts['ood']} if 'ood' in parts else parts
    if wanted is None:
        return whole if 'ood' in whole else {}
    listed, missing = {}, wanted.copy()
    for split, (_, found) in whole.items():
        listed[split] = _listed(found, wanted)
        chosen = found.keep(listed[split])
        missing -= chosen.class_names() | set(_within(chosen))
    if missing:
        raise ValueError(
            f"{config.ood_classes} names '{min(missing)}', which is no class and no readable image "
            f'of {config.ood_path or root}.'
        )
    kept = [found.keep(listed[split]) for split, (_, found) in whole.items()]
    if 'ood' in whole:
        return {'ood': (whole['ood'][0], kept[0])}
    rest = {split: (root, found.keep(~listed[split])) for split, (_, found) in whole.items()}
    return rest | {'ood': (root, _join(kept))}


def _read_list(path: str) -> set[str]:
    try:
        lines = pathlib.Path(path).expanduser().read_text().splitlines()
    except OSError as error:
        raise FileNotFoundError(
            f'{path} cannot be read ({error.strerror}); --config.data.ood_classes must be a text '
            'file with a class on each line.'
        ) from error
    wanted = {line.strip() for line in lines if line.strip() and not line.startswith('#')}
    if not wanted:
        raise ValueError(f'{path} names no class; it must have one on each line.')
    return wanted


def _listed(found: Found, wanted: set[str]) -> np.ndarray:
    """Whether the class or the image is in a list, [N] bool."""
    names = list(wanted)
    of_class = np.isin(found.folders, names)[found.classes]
    return of_class | np.isin(_within(found), names)


def _within(found: Found) -> list[str]:
    """The images by class folder and file."""
    files = (os.fsdecode(name).rsplit('/', 1)[-1] for name in found.names)
    return [f'{c}/{f}' for c, f in zip(found.folders[found.classes], files, strict=True)]


def _join(parts: Sequence[Found]) -> Found:
    folders = np.unique(np.concatenate([part.folders for part in parts]))
    classes = [np.searchsorted(folders, part.folders)[part.classes] for part in parts]
    names = np.concatenate([part.names for part in parts])
    return Found(names, np.concatenate(classes).astype(np.int32), folders)
