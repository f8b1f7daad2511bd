"""What people picked in the games of a run, and how well they understood: without JAX.

human_games.jsonl   one answer a line, see `KEYS`
human_games.json    the analysis: a list, with what `analyse` returns for each setting
"""

import fcntl
import json
import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emcom_jax.runtime.writers import drop_half_line, read_lines

ANSWERS, ANALYSIS = 'human_games.jsonl', 'human_games.json'
KEYS: dict[str, Any] = {
    'participant': str,
    'games': str,  # A digest: which games these are.
    'game': int,  # From 0, in the order in which everybody plays them.
    'of': int,  # How many games there are.
    'feedback': bool,  # Whether people were told if they were right, and what was right.
    'split': str,
    'step': int,
    'row': int,  # The referent.
    'candidates': int,
    'target': int,  # A candidate, as `picked`.
    'picked': int,
    'correct': bool,
    'same_class': (bool, type(None)),  # Whether a candidate of the target's class was picked.
    'agent': (int, float, type(None)),  # As in `human_games.Game`.
    'agent_class': (int, float, type(None)),
    'seconds': (int, float, type(None)),  # From seeing the game to the answer.
    'answered_at': str,  # ISO 8601, UTC.
}


def add(run_dir: Path, answer: dict[str, Any]) -> bool:
    """Appends an answer, and returns when it is on the disk; False if it was there before.

    Safe to call from several threads and processes.
    """
    path = run_dir / ANSWERS
    with path.open('ab') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        drop_half_line(path)
        same = ('participant', 'games', 'feedback', 'game')
        if any(all(line[key] == answer[key] for key in same) for line in read(run_dir)):
            return False
        file.write(json.dumps(answer, allow_nan=False).encode() + b'\n')
        file.flush()
        os.fsync(file.fileno())
    return True


def read(run_dir: Path) -> list[dict[str, Any]]:
    """The answers of a run; [] if there are none.

    Raises:
      ValueError: the file is damaged.
    """
    path = run_dir / ANSWERS
    lines = read_lines(path)
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict):
            raise ValueError(f'line {number} of {path} is no answer: restore it, or remove it')
        for key, kind in KEYS.items():
            if not isinstance(line.get(key, ...), kind):
                raise ValueError(
                    f'line {number} of {path} is no answer, its {key!r} is missing or of the wrong '
                    'kind: restore it, or remove it'
                )
    return lines


def played(run_dir: Path, games: str, feedback: bool, participant: str) -> set[int]:
    """Which of the games a participant has played, in this session or in earlier ones."""
    wanted = {'games': games, 'feedback': feedback, 'participant': participant}
    return {
        line['game']
        for line in read(run_dir)
        if all(line[key] == value for key, value in wanted.items())
    }


def analyse(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rates of the people who finished, by setting: which games, with or without feedback.

    As in tables 5 and 6 of Mihai & Hare 2021: `communication_rate`, how often what was picked is
    right, and `class_rate`, how often it is of the target's class, as {'mean', 'sd', 'each'} over
    participants (the sample's standard deviation, None of one alone); `agent_communication_rate`
    and `agent_class_rate` of the agent on the same games; None where it is not known. `chance` is
    the mean of 1 / candidates; `seconds` the median of what an answer took.
    """
    settings: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for line in lines:
        settings.setdefault((line['games'], line['feedback']), []).append(line)
    return [_rates(answers) for answers in settings.values()]


def _rates(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    people: dict[str, list[dict[str, Any]]] = {}
    for answer in answers:
        people.setdefault(answer['participant'], []).append(answer)
    first = answers[0]
    finished = {name: own for name, own in people.items() if len(own) == first['of']}
    games = list({answer['game']: answer for answer in answers}.values())
    if finished:  # Else on those that were played so far.
        games = next(iter(finished.values()))
    waits = [a['seconds'] for own in finished.values() for a in own if a['seconds'] is not None]
    return {
        'games': first['games'],
        'feedback': first['feedback'],
        'split': first['split'],
        'step': first['step'],
        'num_games': first['of'],
        'participants': len(finished),
        'unfinished': len(people) - len(finished),
        'communication_rate': _spread(finished, 'correct'),
        'class_rate': _spread(finished, 'same_class'),
        'agent_communication_rate': _mean([game['agent'] for game in games]),
        'agent_class_rate': _mean([game['agent_class'] for game in games]),
        'chance': _mean([1 / game['candidates'] for game in games]),
        'seconds': statistics.median(waits) if waits else None,
    }


def _spread(people: dict[str, list[dict[str, Any]]], key: str) -> dict[str, Any]:
    each = {name: _mean([answer[key] for answer in own]) for name, own in people.items()}
    known = [rate for rate in each.values() if rate is not None]
    return {
        'mean': _mean(known),
        'sd': statistics.stdev(known) if len(known) > 1 else None,
        'each': each,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is not known."""
    known = [float(value) for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


HEADERS = ('setting', 'feedback', 'people', 'games', 'chance', 'agent', 'human', 'agent class',
           'human class')  # fmt: skip


def table(runs: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> str:
    """Rates in percent, in columns. runs: names, and what `analyse` returned of each."""
    rows = [HEADERS]
    for name, settings in runs:
        for found in settings:
            unfinished = f' (+{found["unfinished"]} unfinished)' if found['unfinished'] else ''
            rows.append(
                (
                    name,
                    'yes' if found['feedback'] else 'no',
                    f'{found["participants"]}{unfinished}',
                    str(found['num_games']),
                    _percent(found['chance']),
                    _percent(found['agent_communication_rate']),
                    _with_deviation(found['communication_rate']),
                    _percent(found['agent_class_rate']),
                    _with_deviation(found['class_rate']),
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _percent(value: float | None) -> str:
    return '–' if value is None else f'{100 * value:.1f}'


def _with_deviation(rate: dict[str, Any]) -> str:
    deviation = '' if rate['sd'] is None else f' ± {100 * rate["sd"]:.1f}'
    return _percent(rate['mean']) + deviation
