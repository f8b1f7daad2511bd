"""What `python -m emcom_jax.evaluation` does once its options are read."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from emcom_jax import estimates
from emcom_jax.evaluation.cross_play import Outcome, cross_play, summarize, summarize_drop
from emcom_jax.evaluation.strangers import Gathering, gather
from emcom_jax.games.base import table_of
from emcom_jax.runtime.files import write_arrays, write_json
from emcom_jax.runtime.progress import Progress

_DPI = 160
_MEANS = {
    'in_group': 'in-group',
    'out_group': 'out-group',
    'difference': 'difference',
    'best_pair': 'best pair',
    'best_strangers': 'best strangers',
}


def run(options: argparse.Namespace) -> None:
    """Plays, and writes and prints what came of it.

    Raises:
      RunDirectoryError, ValueError, OSError: with one sentence for the user.
    """
    gathering, out = _gather(options), _make_folder(options.out)
    outcomes = _play(gathering, options)
    _write(out, gathering, outcomes, options)


def _make_folder(path: str) -> Path:
    """Made before anything is played, for the sake of what may go wrong."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f'cannot make the folder {path} of --out: {error.strerror}') from None
    return Path(path)


def _gather(options: argparse.Namespace) -> Gathering:
    changes: dict[str, Any] = {
        'input_noise': options.input_noise or 0.0,
        'channel_noise': options.channel_noise or 0.0,
    }
    if options.num_candidates:
        changes['num_candidates'] = tuple(options.num_candidates)
    return gather(options.runs, options.split, options.data, options.data_path, changes)


def _play(gathering: Gathering, options: argparse.Namespace) -> dict[str, Outcome]:
    """Plays without noise, and with it if there is any: 'clean' and perhaps 'noisy'."""
    groups, noisy = gathering.groups, gathering.evaluation
    clean = ConfigDict(noisy.to_dict())
    clean.update(input_noise=0.0, channel_noise=0.0)
    conditions = {'clean': clean}
    if options.input_noise is not None or options.channel_noise is not None:
        conditions['noisy'] = noisy
    speakers, listeners = (sum(sizes) for sizes in zip(*(x.sizes for x in groups), strict=True))
    size = len(groups[0].bank.inputs)
    print(
        f'{speakers} speakers and {listeners} listeners of {len(groups)} populations, '
        f'{size} referents of {gathering.source} ({options.split})',
        flush=True,
    )
    larger = [str(count) for count in noisy.num_candidates if count > size]
    if larger and table_of(groups[0].game)[0][0].has_candidates:
        print(f'evaluation.num_candidates: {size} stands for {", ".join(larger)}')
    pairs, outcomes = speakers * listeners, {}
    with Progress(pairs * len(conditions), description='cross-play', unit='pairs') as progress:
        for number, (name, config) in enumerate(conditions.items()):

            def tell(done: int, before: int = number * pairs) -> None:
                progress.update(before + done, {})

            outcomes[name] = cross_play(groups, config, options.seed, tell)
    return outcomes


def _write(
    out: Path,
    gathering: Gathering,
    outcomes: Mapping[str, Outcome],
    options: argparse.Namespace,
) -> None:
    from emcom_jax.report.cross_play import cross_play as draw  # matplotlib may wait till now.

    groups, clean = gathering.groups, outcomes['clean']
    names = [group.name for group in groups]
    speakers, listeners = (
        [label for group in groups for label in group.labels[role]] for role in (0, 1)
    )
    values = {name: summarize(one, (speakers, listeners)) for name, one in outcomes.items()}
    drops = summarize_drop(clean, outcomes['noisy']) if 'noisy' in outcomes else {}
    evaluation = gathering.evaluation
    about = {
        'split': options.split,
        'data': gathering.source,
        'num_referents': clean.in_group.shape[1],
        'num_candidates': clean.num_candidates,
        'redraws': evaluation.redraws,
        'seed': options.seed,
        'input_noise': evaluation.input_noise,
        'channel_noise': evaluation.channel_noise,
    }
    write_json(
        out / 'cross_play.json',
        {
            'conditions': about,
            'populations': [
                {'name': group.name, **run, 'num_speakers': group.sizes[0]}
                | {'num_listeners': group.sizes[1]}
                for group, run in zip(groups, gathering.runs, strict=True)
            ],
            'speakers': speakers,
            'listeners': listeners,
            **values,
        }
        | ({'relative_drop': drops} if drops else {}),
    )
    arrays: dict[str, Any] = {'names': np.array(names)}
    for name, one in outcomes.items():
        arrays |= {f'{name}/{field}': np.asarray(x) for field, x in one._asdict().items()}
    write_arrays(out / 'cross_play.npz', arrays)
    last = clean.num_candidates[-1]
    task = f' among {last} candidates' if last else ''
    titles = {'clean': f'Accuracy{task}', 'noisy': 'The same, with noise'}
    matrices = {titles[name]: one.accuracy[-1] for name, one in outcomes.items()}
    figure = draw(matrices, names, clean.speaker_groups, clean.listener_groups)
    figure.savefig(out / 'cross_play.png', dpi=_DPI)
    _show(values, drops)
    print(f'\nresults: {out / "cross_play.json"}, {out / "cross_play.npz"}')
    print(f'picture: {out / "cross_play.png"}')


def _show(values: Mapping[str, Any], drops: Mapping[str, Any]) -> None:
    """Prints a table: a row for each mean, a column for each number of candidates."""
    for name, columns in values.items():
        print(f'\n{name:14}' + ''.join(f'  {column:>22}' for column in columns))
        for key, label in _MEANS.items():
            cells = [estimates.text(column, key) for column in columns.values()]
            print(f'{label:14}' + ''.join(f'  {cell:>22}' for cell in cells))
        for column, one in columns.items():
            for best, label in (('best', 'best pair'), ('best_strangers', 'best strangers')):
                if f'{best}_speaker' in one:
                    pair = f'{one[f"{best}_speaker"]} with {one[f"{best}_listener"]}'
                    print(f'  {label}, {column}: {pair}')
    if drops:
        print(f'\n{"drop":14}' + ''.join(f'  {column:>22}' for column in drops))
        for key in ('in_group', 'out_group'):
            cells = [estimates.text(column, key) for column in drops.values()]
            print(f'{_MEANS[key]:14}' + ''.join(f'  {cell:>22}' for cell in cells))
