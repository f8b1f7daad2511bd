"""The page of a run: what was asked for, what came out, what it looks like, in one HTML file."""

import base64
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure

from emcom_jax import config as config_lib
from emcom_jax import estimates
from emcom_jax.architectures import kinds
from emcom_jax.metrics import compute, records
from emcom_jax.report import (
    columns_of,
    corpus,
    curves,
    dialogue,
    languages,
    learning,
    linear,
    messages,
    noise,
    sketches,
    symbols,
    usage,
)
from emcom_jax.runtime.files import read_json, replace_text, strict, write_json
from emcom_jax.runtime.run_directory import RunDirectory, RunDirectoryError, flatten, tuples
from emcom_jax.runtime.writers import read_lines
from emcom_jax.types import EvalRecord

DPI = 160
CHANCE, CEILING = 'accuracy_chance', 'accuracy_ceiling'  # They have columns of their own.
CURVES = """Lines are means. Bands are one standard error over replicas, if there are several;
else the 95% interval of a validation, or the extremes over the pairs of a training step. Dotted is
chance; dashed, where messages are one symbol, the accuracy that the vocabulary allows at best. The
triangle marks the step whose agents were kept."""
LEARNING = {  # Experiment -> title and caption.
    'ease_of_learning': (
        'Ease of learning',
        """How fast fresh listeners acquire each speaker's language: accuracy on batches that
they have not learnt from yet. Thick lines are means over a speaker's listeners, thin ones its
listeners; many speakers have a thin line each. Dotted is chance.""",
    ),
    'newcomer': (
        'Newcomers',
        """How fast fresh agents learn to communicate with a trained population, in which nobody
else learns: accuracy on batches that they have not learnt from yet. The thick line is their mean,
thin ones are newcomers (of several replicas, each has a line). Dotted are chance, and what the
residents reach with each other.""",
    ),
}
MESSAGES = """What the speakers say of the test split, greedily. A row is a group of referents of
which the same was said: in full, or, where hardly any message is said twice, at its beginning.
Further symbols are then the commonest of the group at their position, the paler the rarer, with a
number if half of the group agree. Accuracy is the mean over the listeners. Of several replicas,
the first is shown."""
USAGE = """Left, accuracy on the test split, with messages as they were said and tampered with;
dotted is chance. Right, what it does to replace the symbol at a position, in messages that have a
word there: how much accuracy it costs, and how far the listener's distribution moves (total
variation distance, from 0 to 1)."""


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

    def draw(figure: Figure, name: str, title: str, caption: str) -> dict[str, str]:
        run.pictures.mkdir(exist_ok=True)
        png = io.BytesIO()
        figure.savefig(png, format='png', dpi=DPI)
        (run.pictures / f'{name}.png').write_bytes(png.getvalue())
        data = base64.b64encode(png.getvalue()).decode()
        return {'title': title, 'caption': caption, 'data': data}

    def show(*about: Any) -> None:
        pictures.append(draw(*about))

    experiment, plays = config.get('experiment', 'population'), 'game' in config
    if summary.get('linear_evaluation'):
        accuracies = linear.by_labels(summary['linear_evaluation'])
        show(accuracies, 'linear_evaluation', 'Linear evaluation', linear.CAPTION)
    figure = curves.learning_curves(lines, summary.get('best_step'), _ceilings(summary))
    if figure is not None:
        show(figure, 'learning_curves', 'Learning curves', CURVES)
    elif plays:
        missing.append('There are no learning curves: metrics.jsonl holds nothing to draw.')
    if run.learning(experiment).exists():
        with np.load(run.learning(experiment)) as curve:
            steps, accuracy = curve['steps'], curve['accuracy']
        levels = {'chance': _chance(config), 'residents': _residents(lines)}
        whose = {'ease_of_learning': 'speaker', 'newcomer': 'population'}[experiment]
        show(learning.learning(steps, accuracy, levels, whose), experiment, *LEARNING[experiment])
    record, examples = None, ''
    try:
        shown = 0 if config.get('replicas', 1) > 1 else None  # Of the replicas.
        record = records.load(run.record('test', shown))
    except (OSError, ValueError) as error:
        if plays:
            missing.append(f'There are no messages: {error}')
    else:
        if record.kind == 'symbols':
            _export(run, config)
            figure = messages.gallery(record, about.get('image_shape'), kinds(config, 'speaker'))
            show(figure, 'messages', 'Messages', MESSAGES)
            if symbols.has_one(record):
                found = _records(run, ('valid', 'test', 'ood'), shown)
                if 'valid' in found and found['valid'].images is not None:
                    figure = symbols.gallery(found['valid'], found.get('ood'))
                    show(figure, 'symbols', 'Images that share a symbol', symbols.GALLERY)
                figure = symbols.frequencies(list(found.values()))
                show(figure, 'symbol_frequencies', 'Frequencies of symbols', symbols.FREQUENCIES)
        elif record.games:
            for one in _sketches(run, config, shown):
                show(*one)
        elif record.exchange:
            dialogue.export(record, run.path)
            show(dialogue.draw(record), 'dialogues', 'Dialogues', dialogue.CAPTION)
            show(dialogue.draw_places(record), 'turns', 'What turns look like', dialogue.PLACES)
            examples = dialogue.sample(record, config['evaluation'].get('exchange_samples', 3))
        else:
            missing.append(f'The messages are {record.kind}, which are not shown here.')

    used, count = usage.find(summary.get('test', {}))
    interventions = {}
    if used:
        figure = usage.draw(used, 1 / count if count else None)
        picture = draw(figure, 'usage', 'Is the message used?', USAGE)
        interventions = {'picture': picture, **_usage(used, record)}

    ladder = {}
    if summary.get('noise'):
        photo = None if record is None or record.images is None else record.images[0]
        figure = noise.draw(summary['noise'], photo)
        picture = draw(figure, 'noise', 'Do they talk about noise?', noise.CAPTION)
        ladder = {'picture': picture, **_noise(summary['noise'])}

    path = run.path / 'report.html'
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
        dialogues=examples,
        usage=interventions,
        noise=ladder,
        pictures=pictures,
        changes=changed(config),
        command=command(_recipe(config), changed(config, experiment)),
        files=_files(run, config.get('replicas', 1)),
        missing=missing,
    )
    replace_text(path, page)
    return Report(path, missing)


def _sketches(
    run: RunDirectory, config: Mapping[str, Any], shown: int | None
) -> list[tuple[Figure, str, str, str]]:
    """What to show of the drawings of a run, and writes the pictures of each validation."""
    found = _records(run, ('valid', 'test'), shown)
    if not found or not next(iter(found.values())).games:
        return []
    record = next(iter(found.values()))
    style, games = sketches.style_of(config), record.games
    drawn = record.messages[0, games['rows']]
    grid = sketches.mosaic(games, drawn, games['picked'][0, 0], style)
    figure = sketches.figure(grid, ('image', 'sketch', 'candidates'))
    pictures = [(figure, 'sketches', 'Sketches', sketches.GRID)]
    by_step = sketches.load(run.sketches)
    if by_step:
        sketches.write(run.pictures, games, by_step, style)
        first = {step: messages[0] for step, (messages, _) in by_step.items()}
        grid, steps = sketches.lapse(games, first, style)
        figure = sketches.figure(grid, ('image', *(f'{step:,}' for step in steps)))
        pictures.append((figure, 'sketches_by_step', 'Learning to draw', sketches.LAPSE))
    return pictures


def changed(
    config: Mapping[str, Any], experiment: str = 'population'
) -> dict[str, tuple[Any, Any]]:
    """'group.key' -> (value, default) of what a resolved config has unlike `config.base`.

    A key without a default has None for it; where the run lies (`run_dir`) is left out.
    """
    defaults = flatten(strict(config_lib.base(experiment).to_dict()))
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
        'game_subtype': 'reconstruction'
        if config['loss']['listener']['name'] in ('classification', 'multi_classification')
        else 'discrimination',
    }


def _export(run: RunDirectory, config: Mapping[str, Any]) -> None:
    """Writes the messages of the test split as a corpus, of each replica its own."""
    replicas = config.get('replicas', 1)
    for replica in range(replicas):
        path = run.record('test', replica if replicas > 1 else None)
        if path.exists():
            corpus.export(records.load(path), run.path, _system(config), replica)


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
    rows = [(name, [estimates.text(values, name) for values in table.values()]) for name in names]
    return {'languages': list(table), 'rows': rows}


def _records(run: RunDirectory, splits: Sequence[str], shown: int | None) -> dict[str, EvalRecord]:
    """The records of splits that the run has."""
    paths = {split: run.record(split, shown) for split in splits}
    return {split: records.load(path) for split, path in paths.items() if path.exists()}


def _table(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the summary: 'splits', and 'rows' of (name, chance, ceiling, a text for each
    split); 'bounded' is whether any has a ceiling."""
    splits = columns_of(summary)
    ceilings = {str(count): value for count, value in _ceilings(summary).items()}
    names = dict.fromkeys(name for values in splits.values() for name in values)
    rows = []
    for name in sorted(names, key=_by_number):
        if estimates.split_name(name)[1] or usage.tells(name):
            continue
        kind, _, count = name.partition('@')
        if kind in (CHANCE, CEILING):
            continue
        ceiling = f'{ceilings[count]:.3g}' if kind == 'accuracy' and count in ceilings else ''
        chance = f'{1 / int(count):.3g}' if kind == 'accuracy' and count.isdigit() else ''
        cells = [estimates.text(values, name) for values in splits.values()]
        rows.append((name, chance, ceiling, cells))
    return {'splits': list(splits), 'rows': rows, 'bounded': bool(ceilings)}


def _noise(values: Mapping[str, Any]) -> dict[str, Any]:
    """The noise ladder: 'headers', and 'rows' of (what was seen, a text for each header)."""

    def cell(name: str) -> str:
        return estimates.text(values, name) if name in values else ''

    headers, rows = noise.rows(values)
    return {'headers': headers, 'rows': [(what, list(map(cell, names))) for what, names in rows]}


def _usage(found: Mapping[str, Any], record: EvalRecord | None) -> dict[str, Any]:
    """What interventions did: 'rows' of (what was heard, accuracy, its drop, change of the guess),
    and 'signals' of (name, text): the causal influence, and what messages signal."""

    def cell(name: str | None) -> str:
        return '' if name is None else estimates.text(found, name)

    made = usage.interventions(found)
    drops = {name: found['accuracy_intact'] - found[name] for _, name, _ in made}
    rows = [
        (label, [cell(name), estimates.text(drops, name) if change else '', cell(change)])
        for label, name, change in made
    ]
    signals = [('causal influence, bits', cell('causal_influence'))]
    if record is not None:
        values = compute(record, ('speaker_consistency', 'positive_signalling'))
        signals += [(name.replace('_', ' '), estimates.text(values, name)) for name in values]
    return {'rows': rows, 'signals': signals}


def _chance(config: Mapping[str, Any]) -> float | None:
    """The training accuracy of guessing, where it is picking among candidates."""
    listener = config['loss']['listener']
    if listener['name'] not in ('info_nce', 'hinge', 'cross_entropy'):
        return None
    others = listener['num_distractors']
    return 1 / (config['data']['batch_size'] if others is None else 1 + others)


def _ceilings(summary: Mapping[str, Any]) -> dict[int, float]:
    """Number of candidates -> the accuracy that messages allow at best, where that is known."""
    return {
        int(name.partition('@')[2]): value
        for values in summary.values()
        if isinstance(values, dict)
        for name, value in values.items()
        if name.startswith(f'{CEILING}@')
    }


def _residents(lines: list[dict[str, Any]]) -> float | None:
    """What the residents reach with each other, mean over replicas, where newcomers join them."""
    found = [line['accuracy'] for line in lines if line['split'] == 'residents']
    return float(np.mean(found)) if found else None


def _by_number(name: str) -> tuple[str, int]:
    kind, _, count = name.partition('@')
    return kind, int(count) if count.isdigit() else 0


def _files(run: RunDirectory, replicas: int) -> list[str]:
    """The files and folders of a run that a reader may want, as paths in it."""
    paths = [
        *(run.config, run.metrics, run.summary, run.languages),
        *(run.path / name for replica in range(replicas) for name in corpus.files(replica)),
        *(run.path / name for name in dialogue.FILES),
        *(run.learning(experiment) for experiment in LEARNING),
        *sorted(run.records.glob('*.npz')),
        *sorted(run.pictures.glob('*.png')),
        *sorted(run.pictures.glob('*.svg')),
        *(run.checkpoints, run.tensorboard),
    ]
    return [str(path.relative_to(run.path)) for path in paths if path.exists()]
