"""What is read off records of dialogues: metrics, pictures, samples and exports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_record

from emcom_jax import metrics
from emcom_jax.metrics import dialogue, records
from emcom_jax.report import dialogue as report

S, N, K, V, D = 2, 48, 3, 4, 4
NOTEBOOK = Path(__file__).parents[1] / 'docs' / 'dialogues.ipynb'


def told(turn, classes=D):
    """Dialogues in which the listener is sure of the target from a turn on, and knows nothing
    before; class c takes c + 1 turns, at most K."""
    labels = np.arange(N, dtype=np.int32) % classes
    beliefs = np.full((S, N, K, D), 1 / D, np.float32)
    beliefs[:, :, turn:] = np.eye(D)[labels][None, :, None]
    record = make_record(kind='bits', speakers=S, listeners=1, examples=N, candidates=(0,))
    bits = (np.arange(K)[:, None] >= np.arange(V)[None]).astype(np.float32)  # 1000, 1100, 1110
    bits = np.broadcast_to(bits, (S, N, K, V)).copy()
    lengths = np.minimum(np.broadcast_to(labels + 1, (S, N)), K).astype(np.int32)
    chances = np.full((S, N, K, V), 0.5, np.float32)
    exchange = {
        'said': chances,
        'answered': chances,
        'answers': bits,
        'going_on': np.full((S, N, K), 0.9, np.float32),
        'beliefs': beliefs,
        'among': np.ones(D, bool),
    }
    played = np.zeros((1, S, 1, N), np.float32)
    labels = {'class': labels}
    return record._replace(
        messages=bits,
        lengths=lengths,
        labels=labels,
        exchange=exchange,
        correct=played,
        loss=played,
    )


def test_what_is_told_in_the_first_turn_is_all_there_is():
    values = metrics.compute(told(0), ['dialogues'])
    assert values['information_by_turn'] == pytest.approx([2, 2, 2])
    assert values['information_first_share'] == pytest.approx(1)
    assert values['belief_entropy_by_turn'] == pytest.approx([0, 0, 0], abs=1e-6)
    assert values['accuracy_by_turn'] == pytest.approx([1, 1, 1])


def test_what_is_told_later_is_known_of_those_who_talk_so_long():
    values = metrics.compute(told(1), ['dialogues'])
    # A quarter of the dialogues ends after the first turn, with all classes believed in alike.
    unsure = -np.log2(1 / D) / 4
    assert values['information_by_turn'] == pytest.approx([0, 2 - unsure, 2 - unsure], abs=1e-5)
    assert values['information_first_share'] == pytest.approx(0, abs=1e-5)
    assert values['belief_entropy_by_turn'] == pytest.approx([2, 0, 0], abs=1e-5)
    assert values['accuracy_by_turn'] == pytest.approx([1 / D, 1, 1])


def test_turns_differ_from_the_turn_before():
    values = metrics.compute(told(0), ['dialogues'])
    assert values['said_distance_by_turn'] == pytest.approx([1, 1, 1])
    assert values['said_entropy_by_turn'] == pytest.approx([0, 0, 0])
    record = told(0)
    record.messages[:, :, 0] = np.arange(N)[:, None] // 2 ** np.arange(V) % 2
    entropy = metrics.compute(record, ['dialogues'])['said_entropy_by_turn']
    assert entropy == pytest.approx([4, 0, 0])  # N = 3 * 16.


def test_lengths_that_betray_the_class_are_found_out():
    values = metrics.compute(told(0), ['turns'])
    assert values['turns_each'] == [1, 2, 3, 3]
    # Two of four classes have a length of their own. Of the others, the one that is the commoner
    # in one half is the rarer in the other.
    assert 0.6 < values['turns_probe'] <= 0.75
    assert values['turns_probe_chance'] <= 0.25
    assert values['turns_nmi'] == pytest.approx(2 * 1.5 / (1.5 + 2))
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, K + 1, (S, N)).astype(np.int32)
    values = metrics.compute(told(0)._replace(lengths=lengths), ['turns'])
    assert values['turns_nmi'] < 0.2 and values['turns_probe'] < 0.45


def test_longer_talks_about_harder_classes_correlate():
    record = told(0)
    easy = (np.arange(N) // D % D >= record.labels['class']).astype(np.float32)
    harder = record._replace(correct=np.broadcast_to(easy, (1, S, 1, N)))
    record.lengths[:] = record.labels['class'] + 1
    assert metrics.compute(harder, ['turns'])['turns_difficulty'] == pytest.approx(1)
    record.lengths[:] = 4 - record.labels['class']
    assert metrics.compute(harder, ['turns'])['turns_difficulty'] == pytest.approx(-1)
    record.lengths[:] = 2
    assert np.isnan(metrics.compute(harder, ['turns'])['turns_difficulty'])


def test_what_is_reached_without_a_word_is_the_commonest_class():
    record = told(0)
    assert metrics.bounds_of(record) == {'accuracy_constant': 1 / D}
    record.labels['class'][: N // 2] = 3
    assert metrics.bounds_of(record) == {'accuracy_constant': pytest.approx(0.5 + 0.5 / D)}
    assert metrics.bounds_of(record._replace(exchange={})) == {}


def test_top_k_breaks_ties_by_chance():
    beliefs = np.array([[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.5, 0.2, 0.2, 0.1]])
    labels = np.array([1, 0, 2])
    np.testing.assert_allclose(dialogue.top_k(beliefs, labels, 1), [0, 0.25, 0])
    np.testing.assert_allclose(dialogue.top_k(beliefs, labels, 2), [1, 0.5, 0.5])
    np.testing.assert_allclose(dialogue.top_k(beliefs, labels, 3), [1, 0.75, 1])
    values = metrics.compute(told(0), ['top_k'])
    assert values['accuracy_top1'] == 1 and values['chance_top3'] == 0.75
    assert 'accuracy_top6' not in values  # There are four classes.


def test_the_confusion_of_classes():
    counts = dialogue.confusion(told(0))
    np.testing.assert_array_equal(counts, np.eye(D))
    record = told(0, classes=3)
    record.exchange['beliefs'][:] = np.eye(D)[0]
    counts = dialogue.confusion(record)
    np.testing.assert_array_equal(counts[:3], np.broadcast_to(np.eye(D)[0], (3, D)))
    assert np.isnan(counts[3]).all()


def test_records_of_dialogues_come_back(tmp_path):
    record = make_record(kind='bits')
    records.save(record, tmp_path / 'test.npz')
    loaded = records.load(tmp_path / 'test.npz')
    assert loaded.exchange.keys() == record.exchange.keys()
    for name, values in record.exchange.items():
        np.testing.assert_array_equal(loaded.exchange[name], values)
    few = records.sample(record, 5)
    assert few.exchange['beliefs'].shape[1] == 5 and few.exchange['among'].shape == (4,)
    wrong = record.exchange | {'answers': record.exchange['answers'][:, :3]}
    with pytest.raises(ValueError, match="exchange\\['answers'\\]"):
        records.check(record._replace(exchange=wrong))


def test_exports_hold_every_turn(tmp_path):
    h5py = pytest.importorskip('h5py')
    record = told(1)
    paths = report.export(record, tmp_path)
    assert [path.name for path in paths] == list(report.FILES)
    lines = [json.loads(line) for line in paths[0].read_text().splitlines()]
    assert len(lines) == S * N
    one = lines[N + 2]  # Speaker 1, example 2, of class 2, three turns.
    assert (one['speaker'], one['listener'], one['example'], one['target']) == (1, 0, 2, 2)
    assert one['turns'] == 3 and len(one['exchange']) == K
    assert one['exchange'][1]['said'] == [1, 1, 0, 0] and one['exchange'][1]['belief'][2] == 1
    assert [turn['played'] for turn in lines[0]['exchange']] == [True, False, False]
    with h5py.File(paths[1]) as file:
        said, guessed = file['Communication'][()], file['Predictions'][()]
    assert len(said) == 2 * S * N * K and len(guessed) == S * N * K
    assert said['Index'][: 2 * K].tolist() == list(range(2 * K))
    assert said['AgentId'][:2].tolist() == [b'S', b'R'] and said['ExampleId'][-1] == b'1-47'
    np.testing.assert_array_equal(said['BinaryVec'][2], [1, 1, 0, 0])
    assert guessed['StopMask'][:K].tolist() == [1, 0, 0]
    np.testing.assert_allclose(guessed['StopProb'][:K], [0.9, 0.81, 0.729], rtol=1e-6)
    assert guessed['Rank'][1] == 1


def test_the_notebook_reads_the_export(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MPLBACKEND', 'Agg')
    record = make_record(kind='bits', speakers=1, examples=12, candidates=(0,))
    report.export(record, tmp_path / 'runs' / 'dialogue')
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())['cells']:
        if cell['cell_type'] == 'code':
            exec(''.join(cell['source']), names)
    length = record.messages.shape[2]
    assert capsys.readouterr().out.startswith(f'12 dialogues of {length} turns')
    assert len(names['said']) == record.lengths.sum()
    own = np.take_along_axis(
        record.exchange['beliefs'][0], record.labels['class'][:, None, None], axis=2
    )
    np.testing.assert_allclose(names['belief'], own[..., 0], atol=1e-4)
    names['plt'].close('all')


def test_ranks_count_the_classes_believed_in_more():
    record = told(0)
    record.exchange['beliefs'][0, 0, 0] = [0.5, 0.9, 0.1, 0.0]  # Of class 0, the second.
    assert report._tables(record)['Predictions']['Rank'][0] == 2


def test_pictures_and_samples_of_dialogues():
    record = told(1)._replace(synsets={'class': ('car.n.01', 'bus.n.01', 'cup.n.01', 'ax.n.01')})
    titles = [ax.get_title(loc='left') for ax in report.draw(record).axes]
    assert titles[0] == 'What the listener knows' and titles[-1] == 'Confusion'
    assert len(report.draw_places(record).axes) == 2
    text = report.sample(record, 2)
    assert text.count('example') == 2 and '1···' in text and 'goes on 0.90' in text
    assert any(name in text for name in ('car', 'bus', 'cup', 'ax'))
    points = np.random.default_rng(0).standard_normal((50, 5)) * [1, 9, 1, 5, 1]
    found = report.principal(points)
    assert np.abs(np.corrcoef(found[:, 0], points[:, 1])[0, 1]) > 0.95
