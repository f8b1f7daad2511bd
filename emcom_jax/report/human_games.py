"""Games that people play as receivers: a message of the first speaker, and candidates.

All is read off a run directory. Mihai & Hare 2021, Learning to draw, asked people in this way what
sketches tell them (30 games of each setting, the same for everybody).
"""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from emcom_jax.metrics import arguments, records
from emcom_jax.report import sketches
from emcom_jax.report.dialogue import class_names
from emcom_jax.report.messages import noun, pictured
from emcom_jax.runtime.files import read_json
from emcom_jax.runtime.run_directory import RunDirectory, RunDirectoryError
from emcom_jax.types import EvalRecord

EXAMPLES = 6  # Referents of the other split, at most, for which nearly the same was said.
LABEL = 'class'


class Tile(NamedTuple):
    """What stands for a referent. picture: [h, w, 3] uint8, or None: the text alone."""

    picture: np.ndarray | None
    text: str


class Game(NamedTuple):
    """A message and its candidates.

    row: the referent, of the record.
    message: {'sketch': a document of SVG}; or {'symbols': [...]}; or {'turns': [...]}, each
        {'who', 'values'}, with `who` empty where nobody answers.
    examples: referents of another split, and what was said of them; the most similar first.
    candidates: C of them. target: which is right.
    same_class: [C], whether it is of the target's class; None where classes are not known.
    agent: how often the first listener is right, in [0, 1], with this message among as many
        candidates: of drawings these very ones; None where that is not known.
    agent_class: whether what it picks is of the target's class; None where that is not known.
    """

    row: int
    message: dict[str, Any]
    examples: list[tuple[Tile, dict[str, Any]]]
    candidates: list[Tile]
    target: int
    same_class: list[bool] | None
    agent: float | None
    agent_class: float | None


class Setting(NamedTuple):
    """The games of a run. digest: tells them from other games of the run."""

    run_dir: Path
    split: str
    step: int
    games: list[Game]
    digest: str


def load(run_dir: str | Path, split: str = 'test', count: int = 30, seed: int = 0) -> Setting:
    """The games of a run (of its first replica): as many as are asked for, if there are so many.

    Drawings are played among the candidates that agents had. Other messages, for which records
    keep none, among referents drawn anew, as many as agents had at least; or among the classes,
    where agents name the class.

    Args:
      split: whose referents are played with; examples are of 'valid', or of 'test' if that is it.
      seed: of the draws of games and candidates.

    Raises:
      RunDirectoryError: `run_dir` is not a run, or lacks what games need.
    """
    run = RunDirectory(run_dir)
    if not run.config.is_file():
        raise RunDirectoryError(f'{run} is not a run: it has no config.json')
    try:
        config = read_json(run.config)
        source = run.path / 'source.json'
        image_shape = (read_json(source) if source.exists() else {}).get('image_shape')
        replica = 0 if config.get('replicas', 1) > 1 else None
        record = pictured(records.load(run.record(split, replica)), image_shape)
        shown = run.record('test' if split == 'valid' else 'valid', replica)
        other = pictured(records.load(shown), image_shape) if shown.exists() else None
        rng = np.random.default_rng(seed)
        if record.kind == 'drawings':
            games = _with_drawings(record, sketches.style_of(config), count, rng)
        elif record.num_candidates == (0,):
            games = _with_classes(record, other, config, count, rng)
        else:
            games = _with_referents(record, other, count, rng)
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f'{run} has no games for people: {error}') from None
    return Setting(run.path, split, record.step, games, _digest(split, record.step, games))


def _with_drawings(
    record: EvalRecord, style: sketches.Style, count: int, rng: np.random.Generator
) -> list[Game]:
    played = record.games
    if not played:
        raise ValueError(f'the record of {record.split} keeps none: evaluate that split again')
    labels = _classes(record)
    known = labels is not None and 'image_rows' in played  # Older records do not say.
    games = []
    for number in rng.permutation(len(played['rows']))[:count]:
        row, among = int(played['rows'][number]), played['candidates'][number]
        picked, target = int(played['picked'][0, 0, number]), int(played['target'][number])
        alike = None
        if known and labels is not None:
            alike = (labels[played['image_rows'][among]] == labels[row]).tolist()
        drawing = sketches.strokes_of(record.messages[0, row], style.kind)
        games.append(
            Game(
                row=row,
                message={'sketch': sketches.to_svg(*drawing, style)},
                examples=[],
                candidates=[Tile(played['images'][image], '') for image in among],
                target=target,
                same_class=alike,
                agent=float(picked == target),
                agent_class=None if alike is None else float(alike[picked]),
            )
        )
    return games


def _with_referents(
    record: EvalRecord, other: EvalRecord | None, count: int, rng: np.random.Generator
) -> list[Game]:
    tiles, labels = _tiles(record), _classes(record)
    theirs = {} if other is None else _tiles(other)
    rows, size = np.array(list(tiles)), record.num_candidates[0]
    games = []
    for row in rng.permutation(rows)[:count].tolist():
        # Referents that look alike in writing cannot be told apart.
        among = {tiles[n].text or n: n for n in rng.permutation(rows).tolist()}
        among[tiles[row].text or row] = row
        others = [n for n in among.values() if n != row][: size - 1]
        candidates = rng.permutation([row, *others]).tolist()
        fair = len(candidates) == size
        games.append(
            Game(
                row=row,
                message=_message(record, row),
                examples=_examples(record, row, other, theirs, rng),
                candidates=[tiles[n] for n in candidates],
                target=candidates.index(row),
                same_class=None if labels is None else (labels[candidates] == labels[row]).tolist(),
                agent=float(record.correct[0, 0, 0, row]) if fair else None,
                agent_class=None,  # Of what it picks, a record tells no more than if it is right.
            )
        )
    return games


def _with_classes(
    record: EvalRecord,
    other: EvalRecord | None,
    config: Mapping[str, Any],
    count: int,
    rng: np.random.Generator,
) -> list[Game]:
    listener = config['loss']['listener']
    if listener['name'] != 'classification':
        raise ValueError('its listeners choose among neither referents nor classes')
    labels = record.labels[listener['label']]
    classes = np.unique(labels)
    if record.exchange:
        classes = np.flatnonzero(record.exchange['among'])
    if listener['label'] == LABEL:
        names = class_names(record, classes)
    else:
        names = [f'{listener["label"]} {value}' for value in classes]
    tiles = {value: Tile(None, name) for value, name in zip(classes.tolist(), names, strict=True)}
    shown = {}
    if other is not None:
        theirs = other.labels[listener['label']].tolist()
        shown = {n: tiles[value] for n, value in enumerate(theirs) if value in tiles}
    games = []
    for row in rng.permutation(len(labels))[:count].tolist():
        same = classes == labels[row]
        correct = float(record.correct[-1, 0, 0, row])
        games.append(
            Game(
                row=row,
                message=_message(record, row),
                examples=_examples(record, row, other, shown, rng),
                candidates=list(tiles.values()),
                target=int(same.argmax()),
                same_class=same.tolist(),
                agent=correct,
                agent_class=correct,
            )
        )
    return games


def _classes(record: EvalRecord) -> np.ndarray | None:
    labels = record.labels.get(LABEL)
    return labels if labels is not None and labels.ndim == 1 else None


def _tiles(record: EvalRecord) -> dict[int, Tile]:
    """What there is to show of the referents, by row: pictures of those that the record kept, or
    what is known of them in writing."""
    if record.images is not None and record.image_rows is not None:
        rows = record.image_rows.tolist()
        return {
            row: Tile(picture, '')
            for row, picture in zip(rows, _pixels(record.images), strict=True)
        }
    labels, parts = _classes(record), []
    if labels is not None:
        synsets = record.synsets.get(LABEL)
        parts.append([noun(synsets[c]) if synsets else f'class {c}' for c in labels.tolist()])
    for name, values in record.labels.items():
        if values.ndim == 2:
            parts.append([f'{name} {" ".join(map(str, each))}' for each in values.tolist()])
    if not parts:
        raise ValueError('there are neither images nor labels by which to show candidates')
    return {row: Tile(None, ', '.join(about)) for row, about in enumerate(zip(*parts, strict=True))}


def _pixels(images: np.ndarray) -> np.ndarray:
    """[N, h, w(, channels)], pictures or features that were such, as [N, h, w, 3] uint8."""
    if images.dtype != np.uint8:
        low, high = float(images.min()), float(images.max())
        images = (255 * (images.astype(np.float32) - low) / ((high - low) or 1.0)).astype(np.uint8)
        if images.ndim == 3 or images.shape[3] != 3:  # Ink on paper, as in the gallery.
            images = 255 - images
    if images.ndim == 4 and images.shape[3] == 3:
        return images
    return np.repeat(images.reshape(*images.shape[:3], -1)[..., :1], 3, axis=-1)


# --- messages -------------------------------------------------------------------------------------


def _message(record: EvalRecord, row: int) -> dict[str, Any]:
    said, length = record.messages[0, row], int(record.lengths[0, row])
    if record.kind == 'symbols':
        if record.variable_length and arguments.ended(said[None], np.array([length]))[0]:
            length -= 1
        return {'symbols': said[:length].tolist()}
    speaker = 'speaker' if record.exchange else ''
    turns = []
    for turn in range(length):
        turns.append({'who': speaker, 'values': _rounded(said[turn])})
        if record.exchange and turn < length - 1:  # The last answer is never heard.
            answer = record.exchange['answers'][0, row, turn]
            turns.append({'who': 'listener', 'values': _rounded(answer)})
    return {'turns': turns}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in values]


def _examples(
    record: EvalRecord,
    row: int,
    other: EvalRecord | None,
    tiles: Mapping[int, Tile],
    rng: np.random.Generator,
) -> list[tuple[Tile, dict[str, Any]]]:
    """Referents of the other split of which the most similar things were said: the nearest, with
    ties broken at random, if they have anything in common. tiles: what to show of them."""
    if other is None or other.messages.shape[2:] != record.messages.shape[2:]:
        return []
    rows = rng.permutation(np.array(list(tiles), int))
    distances = distances_to(record, row, other)[rows]
    if record.kind == 'symbols':
        rows, distances = rows[distances < 1], distances[distances < 1]
    nearest = rows[np.argsort(distances, kind='stable')[:EXAMPLES]].tolist()
    return [(tiles[n], _message(other, n)) for n in nearest]


def distances_to(record: EvalRecord, row: int, other: EvalRecord) -> np.ndarray:
    """How far the messages of `other` are from one of `record`, [N], 0 for the same.

    The share of symbols that differ; else the mean difference of numbers that were said and heard.
    What only one of them has (a longer message, a further turn) differs by 1.
    """
    own, own_played = (values[row] for values in _codes(record))
    codes, played = _codes(other)
    if record.kind == 'symbols':
        differ = (codes != own).mean(axis=-1)
    else:
        differ = np.abs(codes - own).mean(axis=-1)
    differ = np.where(played & own_played, differ, 1.0)
    either = played | own_played
    return (differ * either).sum(axis=-1) / np.maximum(either.sum(axis=-1), 1)


def _codes(record: EvalRecord) -> tuple[np.ndarray, np.ndarray]:
    """What is said of each referent, [N, T, V], and whether it counts, [N, T]."""
    said, turn = record.messages[0], np.arange(record.messages.shape[2])
    played = turn < record.lengths[0][:, None]
    if record.kind == 'symbols':
        return said[..., None], played
    if record.exchange:
        heard = (turn < record.lengths[0][:, None] - 1)[..., None]
        said = np.concatenate([said, heard * record.exchange['answers'][0]], axis=-1)
    return said, played


# --- what a page needs ----------------------------------------------------------------------------


def shown(game: Game) -> dict[str, Any]:
    """What a person may see of a game, for JSON: nothing tells which candidate is right."""
    return {
        'message': _with_sketch(game.message),
        'examples': [
            {**_seen(tile), 'message': _with_sketch(message)} for tile, message in game.examples
        ],
        'candidates': [_seen(tile) for tile in game.candidates],
    }


def _seen(tile: Tile) -> dict[str, str]:
    if tile.picture is None:
        return {'text': tile.text}
    png = io.BytesIO()
    Image.fromarray(tile.picture).save(png, format='png', compress_level=1)
    return {'picture': _data('image/png', png.getvalue())}


def _with_sketch(message: dict[str, Any]) -> dict[str, Any]:
    if 'sketch' not in message:
        return message
    # Shown as an image, in which no script runs.
    return {'sketch': _data('image/svg+xml', message['sketch'].encode())}


def _data(kind: str, content: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def _digest(split: str, step: int, games: Sequence[Game]) -> str:
    told = hashlib.sha256(json.dumps([split, step]).encode())
    for game in games:
        told.update(json.dumps([game.row, game.message, game.target, game.same_class]).encode())
        for tile in [tile for tile, _ in game.examples] + game.candidates:
            told.update(tile.text.encode() if tile.picture is None else tile.picture.tobytes())
        told.update(json.dumps([message for _, message in game.examples]).encode())
    return told.hexdigest()[:16]
