"""Pictures of messages of one symbol, from fabricated records."""

import json

import numpy as np
import pytest
from conftest import make_record, tiny_config
from test_report import LINES, Page

from emcom_jax import metrics
from emcom_jax.metrics import records, symbol_ceiling
from emcom_jax.report import curves, make_report, messages, symbols
from emcom_jax.runtime.files import write_json
from emcom_jax.types import EvalRecord

V = 20
NAMES = ('dog.n.01', 'fire_engine.n.01', 'cat.n.01', 'cup.n.01')
# Symbol 7 of six images, 3 of three, 5 of two, 11 of one.
SAID = np.array([7, 3, 7, 5, 7, 3, 7, 7, 11, 3, 7, 5])
CLASSES = np.array([1, 0, 1, 2, 1, 0, 0, 1, 3, 2, 1, 2])
SAID_OOD = np.array([7, 9, 3, 7, 9, 9, 9, 9])


def one_symbol(said=SAID, classes=CLASSES, split='valid', kept=None) -> EvalRecord:
    """Image n is of the grey 10 n, and understood by the first of two listeners alone; a second
    speaker says the same of all. `kept`: of which the record has images; None: of all."""
    count = len(said)
    rows = np.arange(count) if kept is None else np.array(kept)
    record = make_record(speakers=2, listeners=2, examples=count, candidates=(2, 4))
    correct = np.zeros((2, 2, 2, count), np.float32)
    correct[:, :, 0] = 1
    grey = (10 * np.arange(count)).astype(np.uint8)
    return record._replace(
        split=split,
        vocab_size=V,
        messages=np.stack([said, np.full(count, 2)])[..., None].astype(np.int32),
        lengths=np.ones((2, count), np.int32),
        labels={'class': classes.astype(np.int32)},
        synsets={'class': NAMES},
        correct=correct,
        images=np.broadcast_to(grey[rows, None, None, None], (len(rows), 8, 8, 3)),
        image_rows=rows,
    )


OOD = one_symbol(SAID_OOD, np.full(8, 3), 'ood')
BOTH = (one_symbol(), OOD)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def shown(figure):
    """Of each row of images, from above: (where it is, the number of the image)."""
    found = {}
    for image in figure.axes[0].images:
        left, _, _, top = image.get_extent()
        found.setdefault(round(top, 3), []).append((left, int(image.get_array()[0, 0, 0]) // 10))
    return [sorted(found[top]) for top in sorted(found)]


def numbers(row, after=0.0):
    return [number for left, number in row if left > after]


# --- the gallery ----------------------------------------------------------------------------------


def test_rows_are_the_commonest_symbols_with_images_that_get_them():
    figure = symbols.gallery(one_symbol())
    tiles = [text for text in texts(figure) if text.isdigit()]
    assert tiles == ['7', '3', '5', '11'] or set(tiles) == {'7', '3', '5', '11'}
    rows = shown(figure)
    assert [numbers(row) for row in rows] == [[0, 2, 4, 6, 7, 10], [1, 5, 9], [3, 11], [8]]
    lines = texts(figure)
    assert '6×, 50.0%; accuracy 0.50' in lines
    assert '1×, 8.3%; accuracy 0.50' in lines
    at = lines.index('6×, 50.0%; accuracy 0.50')
    assert lines[at + 1 : at + 3] == ['fire engine 83%', 'dog 17%']
    assert '12 images, 4 symbols in use; of the images, these have 100%' in lines


def test_beside_them_are_unseen_images_that_get_the_same_symbols():
    figure = symbols.gallery(one_symbol(), OOD)
    middle = figure.axes[0].get_xlim()[1] / 2
    rows = shown(figure)
    assert [numbers(row, middle) for row in rows] == [[0, 3], [2], [], []]
    lines = texts(figure)
    assert lines.count('never said') == 2  # 5 and 11; 9 is not one of valid's.
    assert '2×, 25.0%; accuracy 0.50' in lines and '9' not in lines
    assert 'Images of classes never seen' in lines
    assert '8 images, 3 symbols in use; of the images, these have 38%' in lines


def test_many_images_of_a_symbol_are_shown_from_first_to_last():
    said = np.repeat([4, 6], [100, 20])
    rows = shown(symbols.gallery(one_symbol(said, np.zeros(120, int))._replace(
        images=(np.arange(120) // 5 * 10).astype(np.uint8)[:, None, None, None]
        * np.ones((1, 8, 8, 3), np.uint8)
    )))  # fmt: skip
    assert numbers(rows[0]) == [0, 4, 8, 11, 15, 19]  # Of 20 objects, five views each.


def test_what_a_record_has_not_is_left_out():
    lines = texts(symbols.gallery(one_symbol()._replace(synsets={})))
    assert 'class 1 83%' in lines
    figure = symbols.gallery(one_symbol()._replace(labels={}))
    assert not any('class' in line or 'dog' in line for line in texts(figure))
    # Images that were not kept: all is counted, but not shown.
    figure = symbols.gallery(one_symbol(kept=[2, 4, 5, 7, 11]))
    assert [numbers(row) for row in shown(figure)] == [[2, 4, 7], [5], [11]]
    assert '6×, 50.0%; accuracy 0.50' in texts(figure)
    assert not figure.axes[0].images[5:]
    assert (
        not symbols.gallery(*(each._replace(images=None, image_rows=None) for each in BOTH))
        .axes[0]
        .images
    )


def test_only_a_message_of_one_symbol_has_one():
    assert symbols.has_one(one_symbol())
    assert not symbols.has_one(make_record())
    assert not symbols.has_one(one_symbol()._replace(kind='continuous'))


def test_the_general_gallery_names_classes_by_their_nouns():
    lines = texts(messages.gallery(one_symbol()))
    assert 'fire engine' in lines and not {'0', '1'} & set(lines)
    lines = texts(messages.gallery(one_symbol()._replace(synsets={})))
    assert '1' in lines and 'fire engine' not in lines
    assert messages.noun('dog.n.01') == 'dog' and messages.noun('n02084071') == 'n02084071'


def test_with_wordnet_ids_are_nouns(small_wordnet):
    ids = [f'n{small_wordnet[name]:08}' for name in ('dog.n.02', 'bus.n.01', 'cat.n.01')]
    record = one_symbol()._replace(synsets={'class': (*ids, 'n00000001')})
    lines = texts(symbols.gallery(record))
    assert {'bus 83%', 'dog 17%', 'cat 100%'} <= set(lines)
    assert 'n00000001 100%' in lines  # Which that WordNet does not have.
    assert 'bus' in texts(messages.gallery(record))


def test_the_general_gallery_shows_the_images_that_were_kept():
    """Image n is of the grey 10 n, which the lightest kept makes a share of."""
    kept = [2, 4, 5, 7, 11]
    figure = messages.gallery(one_symbol(kept=kept))
    greys = [float(image.get_array()[0, 0, 0]) for image in figure.axes[0].images]
    first = np.round(np.array(greys) * 90 + 20).astype(int) // 10
    # Of 7, of 3 and of 5; another speaker says the same of all.
    assert [*map(int, first)] == [2, 4, 7, 5, 11, *kept]


# --- frequencies ----------------------------------------------------------------------------------


def test_frequencies_are_sorted_shares_beside_uniform_ones():
    figure = symbols.frequencies([one_symbol(), OOD])
    (ax,) = figure.axes
    assert ax.get_xscale() == ax.get_yscale() == 'log'
    first, second, ood, _, uniform, level = ax.lines
    np.testing.assert_allclose(first.get_ydata(), np.array([6, 3, 2, 1]) / 12)
    np.testing.assert_allclose(second.get_ydata(), [1])
    np.testing.assert_allclose(ood.get_ydata(), np.array([5, 2, 1]) / 8)
    assert level.get_ydata()[0] == 1 / V
    assert (np.diff(uniform.get_ydata()) <= 0).all()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ['valid: 4 of 20 symbols', 'ood: 3 of 20 symbols']


def test_uniform_symbols_are_uneven_by_chance_alone():
    few, many = (symbols._sorted_uniform(count, 10) for count in (20, 100_000))
    assert few[0] > 0.15 and few.sum() > 0.9  # The likeliest most frequent one of 20 draws is 4.
    np.testing.assert_allclose(many, 0.1, rtol=0.03)
    assert len(many) == 10


# --- in a report ----------------------------------------------------------------------------------


@pytest.fixture
def run_dir(tmp_path):
    """A run whose agents said one symbol of images."""
    changes = {'channel.length': 1, 'channel.vocab_size': V, 'population.num_speakers': 2}
    config = tiny_config(changes).unlock()
    config.run_dir = str(tmp_path)
    write_json(tmp_path / 'config.json', config.to_dict())
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in LINES))
    for record in (one_symbol(), one_symbol(split='test'), OOD):
        records.save(record, tmp_path / 'records' / f'{record.split}.npz')
    values = metrics.compute(one_symbol(), ['accuracy']) | metrics.bounds_of(one_symbol())
    noise = {'accuracy_gaussian@4': 0.25, 'accuracy_gaussian@4_ci95': [0.125, 0.375]}
    noise |= {'accuracy_valid@4': 0.5, 'ratio_gaussian@4': 0.5, 'accuracy_grid_2@4': 0.375}
    write_json(
        tmp_path / 'summary.json',
        {
            'step': 200,
            'best_step': 100,
            'stopped': '',
            'test': values,
            'valid': values,
            'noise': noise,
        },
    )
    return tmp_path


def test_the_page_has_gallery_frequencies_ceiling_and_noise(run_dir):
    page = Page(make_report(run_dir))
    for name in ('symbols', 'symbol_frequencies', 'noise', 'messages'):
        assert (run_dir / 'pictures' / f'{name}.png').stat().st_size > 2000
    results = page.tables['results']
    assert results[0] == ['', 'chance', 'ceiling', 'test', 'valid']
    at_4 = next(row for row in results if row[0] == 'accuracy@4')
    assert at_4[1:3] == ['0.25', f'{symbol_ceiling(V, 4):.3g}']
    assert not any('chance' in row[0] or 'ceiling' in row[0] for row in results)
    assert page.tables['noise'] == [
        ['seen', 'accuracy@4', 'ratio@4'],
        ['validation images', '0.500', ''],
        ['2 × 2', '0.375', ''],
        ['Gaussian blobs', '0.250 [0.125, 0.375]', '0.500'],
    ]


def test_without_unseen_classes_or_noise_the_page_is_made_all_the_same(run_dir):
    (run_dir / 'records' / 'ood.npz').unlink()
    summary = json.loads((run_dir / 'summary.json').read_text())
    del summary['noise']
    write_json(run_dir / 'summary.json', summary)
    page = Page(make_report(run_dir))
    assert 'noise' not in page.tables
    assert (run_dir / 'pictures' / 'symbols.png').exists()


def test_curves_have_the_ceiling_of_each_number_of_candidates():
    def dashed(figure):
        lines = [line for line in figure.axes[0].lines if line.get_linestyle() == '--']
        return [line.get_ydata()[0] for line in lines if len(line.get_ydata())]

    figure = curves.learning_curves(LINES, ceilings={2: 0.8, 8: 0.2})
    assert dashed(figure) == [0.8, 0.2]
    # The panel reaches up to it.
    low = [{**LINES[0], 'step': step, 'accuracy@2_ci95': [0.1, 0.2]} for step in (0, 9)]
    low[1] |= {'accuracy@2': 0.15}
    figure = curves.learning_curves(low, ceilings={2: 0.8, 8: 0.2})
    assert figure.axes[0].get_ylim()[1] >= 0.8
    assert dashed(curves.learning_curves(LINES)) == []
