"""The page of a run: what was asked for, what came out, what it looks like, in one HTML file."""

import base64
import io
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure

from emcom_jax import config as config_lib
from emcom_jax.architectures import kinds
from emcom_jax.metrics import records
from emcom_jax.report import corpus, curves, languages, learning, messages
from emcom_jax.runtime.files import read_json, replace_text, strict, write_json
from emcom_jax.runtime.run_directory import RunDirectory, RunDirectoryError, flatten, tuples
from emcom_jax.runtime.writers import read_lines

DPI = 160
CURVES = """Lines are means. Bands are one standard error over replicas, if there are several;
else the 95% interval of a validation, or the extremes over the pairs of a training step. Dotted is
chance. The triangle marks the step whose agents were kept."""
LEARNING = """How fast fresh listeners acquire each speaker's language: accuracy on batches that
they have not learnt from yet. Thick lines are means over a speaker's listeners, thin ones its
listeners; many speakers have a thin line each. Dotted is chance."""
MESSAGES = """What the speakers say of the test split, greedily. A row is a group of referents of
which the same was said: in full, or, where hardly any message is said twice, at its beginning.
Further symbols are then the commonest of the group at their position, the paler the rarer, with a
number if half of the group agree. Accuracy is the mean over the listeners. Of several replicas,
the first is shown."""


class Report(NamedTuple):
    """path: of report.html. missing: a sentence for each thing that could not be shown."""

    path: Path
    missing: list[str]


def make(run_dir: str | Path) -> Report:
    """Does what `emcom_jax.report.make_report` says.

    Raises:
      RunDirectoryError: `run_dir` is not a run, or one of its JSON files is damaged.
    """
    run = RunDirectory(run_dir)
    if not run.config.is_file():
        raise RunDirectoryError(f'{run} is not a run: it has no config.json')
    try:
        config = read_json(run.config)
        summary = run.read_summary() or {}
        lines = read_lines(run.metrics)
        source = run.path / 'source.json'
        about = read_json(source) if source.exists() else {}
    except ValueError as error:
        raise RunDirectoryError(str(error)) from None

    missing = [] if summary else ['There is no summary.json: the run is not finished.']
    pictures = []

    def show(figure: Figure, name: str, title: str, caption: str) -> None:
        run.pictures.mkdir(exist_ok=True)
        png = io.BytesIO()
        figure.savefig(png, format='png', dpi=DPI)
        (run.pictures / f'{name}.png').write_bytes(png.getvalue())
        data = base64.b64encode(png.getvalue()).decode()
        pictures.append({'title': title, 'caption': caption, 'data': data})

    figure = curves.learning_curves(lines, summary.get('best_step'))
    if figure is None:
        missing.append('There are no learning curves: metrics.jsonl holds nothing to draw.')
    else:
        show(figure, 'learning_curves', 'Learning curves', CURVES)
    if run.learning.exists():
        with np.load(run.learning) as curve:
            figure = learning.ease_of_learning(curve['steps'], curve['accuracy'], _chance(config))
        show(figure, 'ease_of_learning', 'Ease of learning', LEARNING)
    try:
        shown = 0 if config.get('replicas', 1) > 1 else None  # Of the replicas.
        record = records.load(run.record('test', shown))
    except (OSError, ValueError) as error:
        missing.append(f'There are no messages: {error}')
    else:
        if record.kind == 'symbols':
            corpus.export(record, run.path, _system(config))
            figure = messages.gallery(record, about.get('image_shape'), kinds(config, 'speaker'))
            show(figure, 'messages', 'Messages', MESSAGES)
        else:
            missing.append(f'The messages are {record.kind}, which are not shown here.')

    path = run.path / 'report.html'
    changes = changed(config)
    template = Path(__file__).with_name('template.html').read_text()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(template).render(
        name=run.path.resolve().name,
        config=config,
        summary=summary,
        table=_table(summary),
        languages=_languages(run, shown),
        pictures=pictures,
        changes=changes,
        command=command(_recipe(config), changes),
        files=_files(run),
        missing=missing,
    )
    replace_text(path, page)
    return Report(path, missing)


def changed(config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """'group.key' -> (value, default) of what a resolved config has unlike `config.base()`.

    A key without a default has None for it; where the run lies (`run_dir`) is left out.
    """
    defaults = flatten(strict(config_lib.base().to_dict()))
    values = flatten(config)
    return {
        key: (value, defaults.get(key))
        for key, value in values.items()
        if key != 'run_dir' and (key not in defaults or value != defaults[key])
    }


def _recipe(config: Mapping[str, Any]) -> str:
    """The stem of the recipe: that of the experiment, unless it is the usual one of the game."""
    experiment = config.get('experiment', 'population')
    return config['game']['name'] if experiment == 'population' else experiment


def command(recipe: str, changes: Mapping[str, tuple[Any, Any]]) -> str:
    """The command line that trains with these changes of the defaults, quoted for a shell."""
    flags = [f'--config.{key}={_flag(value)}' for key, (value, _) in changes.items()]
    first = f'python -m emcom_jax.main --config={shlex.quote(f"configs/{recipe}.py")}'
    return ' \\\n    '.join([first, *map(shlex.quote, flags)])


def _flag(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    if value and all(isinstance(x, str | int | float) for x in value):
        return ','.join(map(str, value))
    return repr(tuples(value))


def _system(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a corpus says of the system, besides what the record knows."""
    return {
        'name': config['game']['name'],
        'data_source': config['data']['name'],
        'game_type': 'signalling',
        'game_subtype': 'discrimination'
        if config['loss']['listener']['name'] == 'info_nce'
        else 'reconstruction',
    }


def _languages(run: RunDirectory, shown: int | None) -> dict[str, Any]:
    """The language metrics of the validation split, and of other languages for it: 'languages', and
    'rows' of (name, a text for each language); both empty where there is nothing to compare."""
    paths = [run.record(name, shown) for name in ('valid', 'untrained')]
    if not all(path.exists() for path in paths):
        return {'languages': [], 'rows': []}
    record, untrained = map(records.load, paths)
    if record.kind != 'symbols':
        return {'languages': [], 'rows': []}
    table = languages.compare(record, untrained)
    write_json(run.languages, table)
    names = [name for name, value in table['emergent'].items() if not isinstance(value, list)]
    rows = [(name, [_text(values.get(name)) for values in table.values()]) for name in names]
    return {'languages': list(table), 'rows': rows}


def _table(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the summary: 'splits', and 'rows' of (name, chance, a text for each split)."""
    splits = {name: values for name, values in summary.items() if isinstance(values, dict)}
    names = dict.fromkeys(name for values in splits.values() for name in values)
    rows = []
    for name in sorted(names, key=_by_number):
        if name.endswith(('_ci95', '_se', '_replicas')):
            continue
        kind, _, count = name.partition('@')
        chance = f'{1 / int(count):.3g}' if kind == 'accuracy' and count.isdigit() else ''
        cells = [
            _text(values.get(name), values.get(f'{name}_ci95'), values.get(f'{name}_se'))
            for values in splits.values()
        ]
        rows.append((name, chance, cells))
    return {'splits': list(splits), 'rows': rows}


def _chance(config: Mapping[str, Any]) -> float | None:
    """The training accuracy of guessing, where it is picking among candidates."""
    listener = config['loss']['listener']
    if listener['name'] != 'info_nce':
        return None
    others = listener['num_distractors']
    return 1 / (config['data']['batch_size'] if others is None else 1 + others)


def _by_number(name: str) -> tuple[str, int]:
    kind, _, count = name.partition('@')
    return kind, int(count) if count.isdigit() else 0


def _text(value: Any, interval: Any = None, error: float | None = None) -> str:
    if value is None:
        return '–'
    if isinstance(value, list):
        return ', '.join(map(_text, value))
    if value != value:
        return '–'  # Undefined.
    text = f'{value:,.0f}' if value == int(value) and abs(value) > 1 else f'{value:.3f}'
    if isinstance(error, float):
        text += f' ± {error:.3f}'
    return f'{text} [{_text(interval[0])}, {_text(interval[1])}]' if interval else text


def _files(run: RunDirectory) -> list[str]:
    """The files and folders of a run that a reader may want, as paths in it."""
    paths = [
        *(run.config, run.metrics, run.summary, run.languages, run.learning, run.messages),
        *(run.path / name for name in corpus.SIDECARS),
        *sorted(run.records.glob('*.npz')),
        *sorted(run.pictures.glob('*.png')),
        *(run.checkpoints, run.tensorboard),
    ]
    return [str(path.relative_to(run.path)) for path in paths if path.exists()]
