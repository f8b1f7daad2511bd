"""Reports, from fabricated run directories."""

import base64
import html
import itertools
import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from emcom_jax import config as config_lib
from emcom_jax.metrics import compute, records
from emcom_jax.report import __main__ as command_line
from emcom_jax.report import corpus, curves, make_report, messages, usage
from emcom_jax.runtime.files import write_json
from emcom_jax.runtime.run_directory import RunDirectoryError
from emcom_jax.types import EvalRecord

ROOT = Path(__file__).parents[1]
SPEAKERS, LISTENERS, EXAMPLES = 2, 3, 24
WORDS = np.array([[3, 1, 2], [3, 0, 0], [4, 4, 4]])  # The second one ends after two symbols.
LENGTHS = np.array([3, 2, 3])
CHANGES = {
    'training_steps': 200,
    'channel.variable_length': True,
    'evaluation.num_candidates': (2, 8),
    'listener.projection_sizes': (16,),
    'population.num_speakers': 2,
    'population.num_listeners': 3,
    'population.graph': ((0, 0), (1, 2)),
    'optimizer.speaker.clip_norm': 0.5,
}
LINES = [
    {'step': 0, 'split': 'valid', 'wall_s': 2.0, 'accuracy@2': 0.5, 'accuracy@2_ci95': [0.4, 0.6],
     'accuracy@8': 0.1, 'loss@2': 0.7, 'loss@8': 2.1, 'topographic_similarity': 0.0},
    {'step': 100, 'split': 'train', 'wall_s': 60.0, 'accuracy': [0.2, 0.6], 'entropy': [3.0, 5.0],
     'policy_loss': [0.1, -0.1], 'imitation_loss': None, 'message_length': [3.0, 3.0]},
    {'step': 200, 'split': 'train', 'wall_s': 3700.0, 'accuracy': [0.4, 0.8], 'entropy': [2.0, 2.0],
     'policy_loss': [0.0, 0.2], 'imitation_loss': None, 'message_length': [3.0, 3.0]},
    {'step': 200, 'split': 'valid', 'wall_s': 3725.0, 'accuracy@2': 0.9,
     'accuracy@2_ci95': [0.8, 1.0], 'accuracy@8': 0.7, 'loss@2': 0.2, 'loss@8': 0.9,
     'topographic_similarity': None},
]  # fmt: skip
SUMMARY = {
    'step': 200,
    'best_step': 100,
    'stopped': 'no better for <b>3</b> validations',
    'wall_s': 3725.0,
    'test': {
        'accuracy@2': 0.875,
        'accuracy@2_ci95': [0.75, 1.0],
        'accuracy@16': 0.5,
        'distinct_messages': 3.0,
        'topographic_similarity': None,
        'per_listener': [0.25, 0.75],
    },
    'valid': {'accuracy@2': 0.9},
}


def make_record(kind: str = 'symbols') -> EvalRecord:
    """Speaker 0 names class i with word i, speaker 1 says word 2 of everything."""
    classes = np.arange(EXAMPLES) % 3
    said = np.stack([classes, np.full_like(classes, 2)])
    shape = (2, SPEAKERS, LISTENERS, EXAMPLES)
    spoken = WORDS[said].astype(np.int32)
    return EvalRecord(
        split='test',
        step=100,
        kind=kind,
        vocab_size=5,
        variable_length=True,
        messages=spoken if kind == 'symbols' else spoken[..., None].astype(np.float32),
        lengths=LENGTHS[said].astype(np.int32),
        meanings=np.random.default_rng(0).random((EXAMPLES, 12)).astype(np.float32),
        labels={
            'class': classes.astype(np.int32),
            'attributes': np.stack([classes, np.arange(EXAMPLES) % 2], 1).astype(np.int32),
        },
        num_candidates=(2, 8),
        correct=np.full(shape, 0.25, np.float32),
        loss=np.ones(shape, np.float32),
        vote=np.ones((2, SPEAKERS, EXAMPLES), np.float32),
    )


NPZ = [f'records/{name}.npz' for name in ('test', 'valid', 'untrained')]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run with pictures of 3 by 4 pixels."""
    path = tmp_path / 'lewis & more'
    path.mkdir()
    config = config_lib.recipe('x', {'x': CHANGES}).unlock()
    config.run_dir = str(path)
    write_json(path / 'config.json', config.to_dict())
    write_json(path / 'summary.json', SUMMARY)
    write_json(path / 'source.json', {'name': 'digits', 'image_shape': [3, 4], 'num_values': {}})
    (path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in LINES))
    for name in NPZ:
        records.save(make_record(), path / name)
    return path


class Page(HTMLParser):
    """What a reader gets of a page: the text, tables by their ids, and what it refers to."""

    def __init__(self, path: Path):
        super().__init__()
        self.text, self.references = '', []
        self.tables: dict[str | None, list[list[str]]] = {}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.references += [values[name] for name in ('src', 'href') if name in values]
        if tag == 'table':
            self._rows = self.tables.setdefault(values.get('id'), [])
        elif tag == 'tr':
            self._rows.append([])
        elif tag in ('td', 'th'):
            self._rows[-1].append('')

    def handle_data(self, data):
        self.text += data
        if self.lasttag in ('td', 'th') and data.strip():
            self._rows[-1][-1] += data


def chances(ax) -> list[float]:
    dotted = [line.get_ydata() for line in ax.lines if line.get_linestyle() == ':']
    return [float(values[0]) for values in dotted if len(values)]


def texts(figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts if text.get_text()]


# --- the page -------------------------------------------------------------------------------------


def test_the_page_shows_the_results_and_what_was_asked_for(run_dir):
    page = Page(make_report(run_dir))
    assert page.tables['results'] == [
        ['', 'chance', 'test', 'valid'],
        ['accuracy@2', '0.5', '0.875 [0.750, 1.000]', '0.900'],
        ['accuracy@16', '0.0625', '0.500', '–'],
        ['distinct_messages', '', '3', '–'],
        ['per_listener', '', '0.250, 0.750', '–'],
        ['topographic_similarity', '', '–', '–'],
    ]
    assert ['training_steps', '200', '4000'] in page.tables['config']
    assert ['optimizer.speaker.clip_norm', '0.5', '–'] in page.tables['config']
    assert {row[0] for row in page.tables['config'][1:]} == set(CHANGES)
    assert 'The agents of step 100' in page.text
    assert 'lewis on digits' in page.text and '2 speakers' in page.text
    # Escaped: as text, not as tags.
    assert 'no better for <b>3</b> validations' in page.text


def test_the_page_sets_a_language_beside_others(run_dir):
    table = Page(make_report(run_dir)).tables['languages']
    assert table[0] == [
        '',
        'emergent',
        'untrained',
        'random',
        'permuted',
        'holistic',
        'compositional',
    ]
    values = json.loads((run_dir / 'languages.json').read_text())
    rows = {name: cells for name, *cells in table[1:]}
    emergent = values['emergent']['message_entropy']
    assert rows['message_entropy'][0] == rows['message_entropy'][1] == f'{emergent:.3f}'
    assert rows['abbreviation'][2] == '–'  # All messages have one length: undefined.
    assert not any(isinstance(values['emergent'][name], list) for name in rows)


def test_without_untrained_speakers_there_is_nothing_beside(run_dir):
    (run_dir / 'records' / 'untrained.npz').unlink()
    assert 'languages' not in Page(make_report(run_dir)).tables


INTERVENTIONS = {
    'intervention_examples': 24.0,
    'accuracy_intact@8': 0.75,
    'accuracy_intact@8_ci95': [0.5, 1.0],
    'accuracy_replaced@8': 0.5,
    'accuracy_shuffled@8': 0.125,
    'guess_change_replaced@8': 0.25,
    'guess_change_replaced@8_ci95': [0.125, 0.375],
    'guess_change_shuffled@8': 0.875,
    'causal_influence@8': 2.5,
    'accuracy_drop_by_position@8': [0.25, None],
    'accuracy_drop_by_position@8_ci95': [[0.125, 0.375], [None, None]],
    'guess_change_by_position@8': [0.5, None],
    'guess_change_by_position@8_ci95': [[0.25, 0.75], [None, None]],
}


def test_the_page_says_whether_the_message_is_used(run_dir):
    assert 'usage' not in Page(make_report(run_dir)).tables
    summary = SUMMARY | {'test': SUMMARY['test'] | INTERVENTIONS}
    write_json(run_dir / 'summary.json', summary)
    tables = Page(make_report(run_dir)).tables
    assert tables['usage'] == [
        ['heard', 'accuracy', 'drop', 'change of the guess'],
        ['as it was said', '0.750 [0.500, 1.000]', '', ''],
        ['a symbol replaced', '0.500', '0.250', '0.250 [0.125, 0.375]'],
        ['that of another referent', '0.125', '0.625', '0.875'],
    ]
    signals = dict(tables['signals'])
    assert signals['causal influence, bits'] == '2.500'
    expected = compute(make_record(), ['positive_signalling'])['positive_signalling_class_p']
    assert signals['positive signalling class p'] == f'{expected:.3f}'
    for kind in ('bits', 'continuous', 'drawings'):
        records.save(make_record(kind), run_dir / 'records' / 'test.npz')
        signals = dict(Page(make_report(run_dir)).tables['signals'])
        expected = compute(make_record(kind), ['speaker_consistency'])
        consistency = expected['speaker_consistency_class_of_positions']
        assert signals['speaker consistency class of positions'] == f'{consistency:.3f}'
        assert 'positive signalling class p' in signals
    records.save(make_record(), run_dir / 'records' / 'test.npz')
    # They are stated there alone.
    assert not {row[0] for row in tables['results']} & set(INTERVENTIONS)
    assert len(tables['results']) == 6


def test_the_picture_shows_each_intervention_and_each_position():
    found, count = usage.find(INTERVENTIONS)
    assert count == 8 and found['accuracy_intact_ci95'] == [0.5, 1.0]
    left, right = usage.draw(found, 1 / 8).axes
    assert texts(left.figure) == ['  0.75', '  0.50', '  0.12']
    assert [bar.get_width() for bar in left.patches] == [0.75, 0.5, 0.125]
    assert [label.get_text() for label in left.get_yticklabels()][0] == 'as it was said'
    dotted = [line.get_xdata()[0] for line in left.lines if line.get_linestyle() == ':']
    assert dotted == [0.125]
    shown = [line.get_ydata()[0] for line in right.lines if len(line.get_ydata()) == 2]
    assert 0.25 in shown and 0.5 in shown
    # Of replicas, errors; of a task without candidates and without symbols, one panel.
    bare = {'accuracy_intact': 0.5, 'accuracy_intact_se': 0.1, 'accuracy_shuffled': 0.25}
    found, count = usage.find(bare | {'guess_change_shuffled': 0.5, 'causal_influence': 0.1})
    assert count == 0 and len(usage.draw(found, None).axes) == 1


def test_of_replicas_the_page_shows_the_standard_error_and_the_first_one(run_dir):
    config = json.loads((run_dir / 'config.json').read_text()) | {'replicas': 2}
    write_json(run_dir / 'config.json', config)
    values = {'accuracy@4': 0.75, 'accuracy@4_se': 0.125, 'accuracy@4_replicas': [0.625, 0.875]}
    write_json(run_dir / 'summary.json', SUMMARY | {'test': values, 'valid': values})
    for name in NPZ:
        (run_dir / name).rename((run_dir / name).with_suffix('.0.npz'))
    second = make_record()._replace(messages=make_record().messages[::-1])
    records.save(second, run_dir / 'records' / 'test.1.npz')
    page = Page(make_report(run_dir))
    assert page.tables['results'][1:] == [['accuracy@4', '0.25', *2 * ['0.750 ± 0.125']]]
    assert 'There are no messages' not in page.text and 'languages' in page.tables
    # Each replica has a corpus.
    for path, record in (('messages.jsonl', make_record()), ('messages.1.jsonl', second)):
        lines = (run_dir / path).read_text().splitlines()
        assert list(map(json.loads, lines)) == corpus.said(record)
        assert path in page.references
    for name in ('messages_meta.1.jsonl', 'meanings.1.npy', 'metadata.1.json'):
        assert name in page.references


def test_the_page_stands_alone_and_links_to_files_of_the_run(run_dir):
    (run_dir / 'checkpoints').mkdir()
    references = Page(make_report(run_dir)).references
    pictures = [base64.b64decode(x.partition(',')[2]) for x in references if x[:5] == 'data:']
    links = [x for x in references if x[:5] != 'data:']
    on_disk = [run_dir / 'pictures' / f'{name}.png' for name in ('learning_curves', 'messages')]
    assert pictures == [path.read_bytes() for path in on_disk]
    assert links == [
        'config.json',
        'metrics.jsonl',
        'summary.json',
        'languages.json',
        'messages.jsonl',
        'messages_meta.jsonl',
        'meanings.npy',
        'metadata.json',
        'records/test.npz',
        'records/untrained.npz',
        'records/valid.npz',
        'pictures/learning_curves.png',
        'pictures/messages.png',
        'checkpoints',
    ]
    assert 'http' not in (run_dir / 'report.html').read_text()


def test_the_command_on_the_page_makes_the_same_configuration(run_dir):
    make_report(run_dir)
    command = re.search(
        r'<pre id="command">(.*?)</pre>', (run_dir / 'report.html').read_text(), re.DOTALL
    )
    script = """
import json, sys
from emcom_jax.runtime import files, flags
flags.parse(sys.argv)
print(json.dumps(files.strict(flags.CONFIG.value.to_dict())))
"""
    words = shlex.split(html.unescape(command[1]).replace('\\\n', ''))
    assert words[:4] == ['python', '-m', 'emcom_jax.main', '--config=configs/lewis.py']
    assert '--config.evaluation.num_candidates=2,8' in words
    output = subprocess.run(
        [sys.executable, '-c', script, *words[3:]], cwd=ROOT, capture_output=True, check=True
    ).stdout
    config = json.loads((run_dir / 'config.json').read_text())
    assert json.loads(output) == {**config, 'run_dir': None}


@pytest.mark.parametrize('picture', ['learning_curves', 'messages'])
def test_pictures_are_not_blank_and_nothing_is_cut_off(run_dir, picture):
    make_report(run_dir)
    pixels = imread(run_dir / 'pictures' / f'{picture}.png')[..., :3]
    assert pixels.shape[1] > 1000 and pixels.shape[0] > 400
    assert 0.03 < (pixels < 0.9).any(axis=2).mean() < 0.6
    border = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    assert all((edge == 1).all() for edge in border)


def test_messages_are_written_as_they_were_said(run_dir):
    make_report(run_dir)
    first = ['[3, 1, 2]', '[3, 0]', '[4, 4, 4]'] * 8
    assert (run_dir / 'messages.jsonl').read_text().splitlines() == first + ['[4, 4, 4]'] * 24


# --- what is missing ------------------------------------------------------------------------------


def test_of_a_run_that_has_just_begun_the_page_says_what_is_missing(run_dir, capsys):
    for name in ('summary.json', 'source.json', 'metrics.jsonl', *NPZ):
        (run_dir / name).unlink()
    assert command_line.main([str(run_dir)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f'{run_dir}/report.html\n'
    sentences = [line.strip() for line in printed.err.splitlines()]
    assert sentences == [
        'There is no summary.json: the run is not finished.',
        'There are no learning curves: metrics.jsonl holds nothing to draw.',
        f'There are no messages: no evaluation record at {run_dir}/records/test.npz: '
        'evaluate that split first.',
    ]
    page = Page(run_dir / 'report.html')
    assert all(sentence in page.text for sentence in sentences)
    assert list(page.tables) == ['config'] and page.references == ['config.json']


def test_messages_that_are_not_symbols_are_named_as_missing(run_dir, capsys):
    records.save(make_record('drawings'), run_dir / 'records' / 'test.npz')
    command_line.main([str(run_dir)])
    assert 'The messages are drawings, which are not shown here.' in capsys.readouterr().err
    assert not (run_dir / 'messages.jsonl').exists()


def test_a_folder_that_is_no_run_gives_one_sentence_and_the_others_are_reported(
    run_dir, tmp_path, capsys
):
    assert command_line.main([str(tmp_path), str(run_dir)]) == 2
    printed = capsys.readouterr()
    assert printed.err == f'error: {tmp_path} is not a run: it has no config.json\n'
    assert printed.out == f'{run_dir}/report.html\n'
    assert list(tmp_path.iterdir()) == [run_dir]


def test_a_damaged_file_gives_one_sentence(run_dir):
    (run_dir / 'summary.json').write_text('{"step": ')
    with pytest.raises(
        RunDirectoryError, match='summary.json is damaged .*: restore it, or remove it'
    ):
        make_report(run_dir)


def test_importing_the_package_does_not_import_matplotlib():
    script = 'import sys, emcom_jax.report; sys.exit("matplotlib" in sys.modules)'
    subprocess.run([sys.executable, '-c', script], cwd=ROOT, check=True)


# --- learning curves ------------------------------------------------------------------------------


def test_a_panel_for_each_quantity_that_was_logged_and_is_not_constant():
    figure = curves.learning_curves(LINES, 100)
    panels = {ax.get_title(loc='left'): ax for ax in figure.axes}
    assert list(panels) == [
        'Accuracy',
        "Listener's loss",
        "Speaker's loss terms",
        "Entropy of the speaker's policy",
    ]
    assert all(ax.get_xlabel() == 'step' and ax.get_ylabel() for ax in panels.values())
    assert figure.get_suptitle() == '200 steps in 1 h 2 min   ▼ best step: 100'
    for ax in panels.values():
        assert any(list(line.get_xdata()) == [100] for line in ax.lines)


def test_panels_do_not_overlap():
    figure = curves.learning_curves(LINES, 200)
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes] + [figure._suptitle.get_window_extent()]
    assert not [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


def test_curves_are_means_with_bands_and_chance():
    figure = curves.learning_curves(LINES)
    accuracy, loss, _, entropy = figure.axes
    lines = {line.get_label(): line for line in accuracy.lines}
    assert lines['training'].get_xydata().tolist() == [[100, 0.4], [200, pytest.approx(0.6)]]
    assert lines['2 candidates'].get_xydata().tolist() == [[0, 0.5], [200, 0.9]]
    assert chances(accuracy) == [1 / 2, 1 / 8]
    assert chances(loss) == pytest.approx(np.log([2, 8]))
    # Extremes over pairs, and the interval of a validation.
    band = entropy.collections[0].get_paths()[0].vertices
    assert {tuple(x) for x in band.tolist()} == {(100, 3), (100, 5), (200, 2)}
    band = accuracy.collections[1].get_paths()[0].vertices
    assert {tuple(x) for x in band.tolist()} == {(0, 0.4), (0, 0.6), (200, 0.8), (200, 1)}


def test_nothing_logged_gives_no_figure():
    assert curves.learning_curves([]) is None
    assert (
        curves.learning_curves([{'step': 1, 'split': 'train', 'wall_s': 1.0, 'kl': None}]) is None
    )


# --- messages -------------------------------------------------------------------------------------


def test_messages_that_are_said_often_are_grouped_whole():
    said = WORDS[np.arange(12) % 3]
    groups = messages.commonest(said, LENGTHS[np.arange(12) % 3], limit=2)
    assert [group.prefix.tolist() for group in groups] == [[3, 0], [3, 1, 2]]
    assert [group.rows.tolist() for group in groups] == [[1, 4, 7, 10], [0, 3, 6, 9]]


def test_messages_that_are_said_once_are_grouped_by_their_beginnings():
    said = np.array([[i // 4, 7 - i // 4, i] for i in range(12)])
    groups = messages.commonest(said, np.full(12, 3), limit=9)
    assert [group.prefix.tolist() for group in groups] == [[0, 7], [1, 6], [2, 5]]
    assert groups[2].rows.tolist() == [8, 9, 10, 11]


def test_messages_without_anything_in_common_are_grouped_by_their_first_symbols():
    said = np.arange(10).reshape(5, 2)
    groups = messages.commonest(said, np.full(5, 2), limit=9)
    assert [group.prefix.tolist() for group in groups] == [[0], [2], [4], [6], [8]]


def test_the_gallery_shows_symbols_frequencies_and_labels():
    found = texts(messages.gallery(make_record()))
    assert found[:2] == [
        'Speaker 0: 3 distinct messages for 24 referents. '
        'The commonest messages (100% of the referents)',
        'message',
    ]
    # A column after the other: symbols, then said, accuracy, class, attributes.
    assert found[2:10] == ['3', '0', '3', '1', '2', '4', '4', '4']
    assert found[10:14] == ['said', '8×', '8×', '8×']
    assert found[14:18] == ['accuracy@8', '0.25', '0.25', '0.25']
    assert found[18:22] == ['class of the referents', '1', '0', '2']
    assert found[22:29] == ['attributes (darker: more agree)', '1', '0', '0', '0', '2', '0']
    second = found[29:]
    assert second[0].startswith('Speaker 1: 1 distinct messages for 24 referents.')
    assert second[2:5] == ['4', '4', '4'] and '24×' in second


def test_the_title_fits_where_there_is_little_else_to_show():
    figure = messages.gallery(make_record()._replace(labels={}))
    figure.draw_without_rendering()
    title = figure.axes[0].texts[0].get_window_extent()
    assert title.x1 < figure.bbox.x1 - title.x0


def tiles(figure) -> list[tuple[float, ...]]:
    return [patch.get_facecolor()[:3] for ax in figure.axes for patch in ax.patches]


def one_speaker(said: np.ndarray, lengths: np.ndarray) -> EvalRecord:
    """A record in which messages [N, T] of these lengths [N] were said."""
    return make_record()._replace(messages=said[None].astype(np.int32), lengths=lengths[None])


def test_the_gallery_blanks_what_comes_after_a_message():
    said = np.tile([[3, 0, 0]], (EXAMPLES, 1))
    short = np.full(EXAMPLES, 2)
    short[0], said[0] = 3, [4, 4, 4]
    figure = messages.gallery(one_speaker(said, short))
    assert texts(figure)[2:7] == ['3', '0', '4', '4', '4']
    assert tiles(figure)[2] == pytest.approx(to_rgb(messages.BLANK))
    assert tiles(figure).count(tiles(figure)[2]) == 1


def test_the_gallery_fades_what_a_group_does_not_share():
    said = np.stack([np.ones(EXAMPLES), np.arange(EXAMPLES) // 18 * 2, np.arange(EXAMPLES)], 1)
    figure = messages.gallery(one_speaker(said, np.full(EXAMPLES, 3)), None)
    assert 'The commonest beginnings of 2 symbols (100%' in texts(figure)[0]
    assert texts(figure)[2:6] == ['1', '0', '1', '2']  # No number for what each says differently.
    shared, rest = np.array(tiles(figure)[0]), np.array(tiles(figure)[2])
    assert shared.min() < 0.8 < 0.95 < rest.min()


@pytest.mark.parametrize(('shape', 'shown'), [([3, 4], (3, 4)), ([2, 2, 3], (2, 2, 3))])
def test_the_gallery_shows_pictures_of_what_a_message_names(shape, shown):
    record = make_record()
    images = messages.gallery(record, shape).axes[0].images
    assert len(images) == 4 * 8
    low, high = record.meanings.min(), record.meanings.max()
    # The second word comes first; it names referents 1, 4, 7 ...
    expected = ((record.meanings[4] - low) / (high - low)).reshape(shown)
    np.testing.assert_allclose(images[1].get_array(), expected, rtol=1e-6)


@pytest.mark.parametrize('shape', [None, [8, 8]])
def test_the_gallery_shows_no_pictures_where_there_are_none(shape):
    assert not messages.gallery(make_record(), shape).axes[0].images


def test_of_many_classes_the_rarest_share_one_segment():
    record = make_record()._replace(labels={'class': np.arange(EXAMPLES)})
    figure = messages.gallery(record)
    row = tiles(figure)[-messages.CLASSES - 1 :]  # Of speaker 1, who says the same of all.
    assert row[-1] == pytest.approx(to_rgb(messages.BLANK))
    widths = [patch.get_width() for patch in figure.axes[0].patches][-messages.CLASSES - 1 :]
    assert widths == pytest.approx([messages.BAR / 24] * 12 + [messages.BAR / 2])
