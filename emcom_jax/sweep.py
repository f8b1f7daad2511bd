"""A grid of runs, one process each, and the table and picture that set them side by side.

    python -m emcom_jax.sweep --out=runs/kl --vary=loss.speaker.kl=0,0.5 \\
        --vary=optimizer.speaker.learning_rate=1e-3,3e-3 --config=configs/lewis.py ...

The same command again goes on where it was stopped: finished runs are kept, a started one resumes.
"""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from emcom_jax import estimates
from emcom_jax.report.curves import FAINT, INK
from emcom_jax.runtime.files import write_json
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.tables import look_up


class SweepError(Exception):
    """A sweep cannot go on; the message is one sentence for the user."""


def run_all(runs: Mapping[Path, Sequence[str]]) -> None:
    """Makes runs, one after the other, each in a process of its own; finished ones are passed over.

    runs: run directory -> the flags of `python -m emcom_jax.main`, without --config.run_dir.

    Raises:
      SweepError: a run ended with an error, or was stopped.
    """
    for number, (path, flags) in enumerate(runs.items(), start=1):
        command = ['-m', 'emcom_jax.main', *flags, f'--config.run_dir={path}']
        print(f'\n[{number} of {len(runs)}] {path}', flush=True)
        status = subprocess.run([sys.executable, *command], check=False).returncode
        if status:
            raise SweepError(
                f'{path} ended with status {status}; the same command goes on from there'
            )


def grid(varied: Mapping[str, Sequence[str]], out: Path) -> dict[Path, dict[str, str]]:
    """Returns run directory -> {key: value} for each combination of the values of each key.

    A directory is named by what distinguishes it, with the last part of each key.

    Raises:
      SweepError: two combinations would have the same directory.
    """
    combinations = [
        dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())
    ]
    runs = {out / _name(settings): settings for settings in combinations}
    if len(runs) < len(combinations):
        raise SweepError('a value is given twice, or two keys end alike: name each only once')
    return runs


def collect(runs: Mapping[Path, Mapping[str, str]], split: str) -> list[dict[str, Any]]:
    """Returns for each run its settings, its directory and its final values on a split."""
    rows = []
    for path, settings in runs.items():
        summary = RunDirectory(path).read_summary()
        if summary is None or split not in summary:
            raise SweepError(f'{path} has no final evaluation on {split!r}')
        rows.append({'run': str(path), 'settings': dict(settings), split: summary[split]})
    return rows


def table(rows: Sequence[Mapping[str, Any]], split: str, names: Sequence[str]) -> str:
    """The values of the runs as text, a line each; with standard errors if there are replicas."""
    lines = [[*rows[0]['settings'], *names]]
    for row in rows:
        values = row[split]
        lines.append([*row['settings'].values(), *(estimates.text(values, name) for name in names)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def picture(rows: Sequence[Mapping[str, Any]], split: str, names: Sequence[str]) -> Figure:
    """A panel for each metric: each run's value with its standard error, replicas as faint dots."""
    figure = Figure(figsize=(2.4 + 2.6 * len(names), 1.1 + 0.28 * len(rows)), layout='constrained')
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    labels = [', '.join(f'{_last(k)}={v}' for k, v in row['settings'].items()) for row in rows]
    for ax, name in zip(panels, names, strict=True):
        for place, row in enumerate(rows):
            values = row[split]
            each = [x for x in values.get(name + estimates.REPLICAS, ()) if x is not None]
            ax.plot(each, [place] * len(each), 'o', color=FAINT, markersize=3, alpha=0.6)
            if values[name] is not None:
                error = values.get(name + estimates.ERROR)
                ax.errorbar(values[name], place, xerr=error, fmt='o', color=INK, markersize=4)
        ax.set_title(f'{name} ({split})', fontsize=9, loc='left')
        ax.spines[['top', 'right']].set_visible(False)
        ax.tick_params(labelsize=8)
    panels[0].set_yticks(range(len(rows)), labels)
    panels[0].invert_yaxis()
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 after one sentence about what is wrong."""
    parser = argparse.ArgumentParser(
        prog='python -m emcom_jax.sweep',
        description='Makes a run for each combination of the values that vary, and compares them. '
        'All other flags are those of python -m emcom_jax.main.',
        allow_abbrev=False,
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='of all the runs')
    parser.add_argument(
        '--vary',
        action='append',
        required=True,
        metavar='KEY=A,B,...',
        help='a key of the config (or config, for recipes) and its values; '
        'with semicolons between them if a value holds commas',
    )
    parser.add_argument('--split', default='test', help='to compare on (default: test)')
    parser.add_argument(
        '--metrics', metavar='NAME,...', help='to compare (default: all of the summary)'
    )
    options, flags = parser.parse_known_args(argv)
    try:
        if any(flag.startswith('--config.run_dir') for flag in flags):
            raise SweepError('--config.run_dir follows from --out: leave it away')
        runs = grid(dict(map(_varied, options.vary)), options.out)
        run_all({path: _flags(settings, flags) for path, settings in runs.items()})
        rows = collect(runs, options.split)
        names = _names(rows, options.split, options.metrics)
    except SweepError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    write_json(options.out / 'sweep.json', rows)
    picture(rows, options.split, names).savefig(options.out / 'sweep.png', dpi=150)
    print(f'\n{table(rows, options.split, names)}\n')
    print(f'table:   {options.out / "sweep.json"}\npicture: {options.out / "sweep.png"}')
    return 0


def _varied(argument: str) -> tuple[str, list[str]]:
    key, equals, values = argument.partition('=')
    split = [value for value in values.split(';' if ';' in values else ',') if value]
    if not equals or not split:
        raise SweepError(f'--vary={argument} must be a key and its values: KEY=A,B')
    return key.removeprefix('config.'), split


def _flags(settings: Mapping[str, str], others: Sequence[str]) -> list[str]:
    """Of one run: a recipe comes before all overrides, and what varies has the last word."""
    recipe = [f'--config={value}' for key, value in settings.items() if key == 'config']
    varied = [f'--config.{key}={value}' for key, value in settings.items() if key != 'config']
    return [*recipe, *others, *varied]


def _name(settings: Mapping[str, str]) -> str:
    return '-'.join(f'{_last(key)}={Path(value).name}' for key, value in settings.items())


def _last(key: str) -> str:
    return key.rpartition('.')[2]


def _names(rows: Sequence[Mapping[str, Any]], split: str, asked: str | None) -> list[str]:
    known = [
        name
        for name, value in rows[0][split].items()
        if not isinstance(value, list | dict) and not estimates.split_name(name)[1]
    ]
    if not asked:
        return known
    try:
        return [look_up({one: one for one in known}, name, 'metric') for name in asked.split(',')]
    except ValueError as error:
        raise SweepError(str(error)) from None


if __name__ == '__main__':
    sys.exit(main())
