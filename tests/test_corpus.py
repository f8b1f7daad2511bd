"""Messages as a corpus: files that other programs read."""

import json

import numpy as np
import pytest
from conftest import make_record

from emcom_jax.report import corpus


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_hand():
    """Two speakers, three referents; symbol 0 ends messages."""
    messages = np.array([[[1, 2, 0], [1, 0, 0], [0, 0, 0]], [[2, 2, 2], [2, 0, 0], [1, 2, 0]]])
    return make_record(speakers=2, examples=3)._replace(
        messages=messages.astype(np.int32),
        lengths=np.array([[3, 2, 1], [3, 2, 3]], np.int32),
        variable_length=True,
    )


def test_a_line_of_the_corpus_is_a_message_and_a_line_beside_it_says_whose(tmp_path):
    record = make_record()
    path = corpus.export(record, tmp_path / 'made' / 'corpus')
    assert path.name == 'messages.jsonl'
    lines, about = read_lines(path), read_lines(path.with_name('messages_meta.jsonl'))
    assert len(lines) == len(about) == 3 * 40
    meanings = np.load(path.with_name('meanings.npy'))
    assert meanings.dtype == np.float32
    for line, meta in zip(lines, about, strict=True):
        s, n = meta['speaker'], meta['referent']
        assert line == record.messages[s, n, : record.lengths[s, n]].tolist()
        assert all(type(symbol) is int for symbol in line)
        assert meta['class'] == record.labels['class'][n]
        assert meta['attributes'] == record.labels['attributes'][n].tolist()
        assert meta['correct'] == pytest.approx(record.correct[1, s, :, n].mean())
        np.testing.assert_array_equal(meanings[n], record.meanings[n])
    assert len({(meta['speaker'], meta['referent']) for meta in about}) == 120


def test_metadata_has_the_statistics_of_elcc(tmp_path):
    path = corpus.export(by_hand(), tmp_path, {'name': 'lewis', 'game_type': 'signalling'})
    metadata = json.loads(path.with_name('metadata.json').read_text())
    # Tokens: 1 2 0, 1 0, 0, 2 2 2, 2 0, 1 2 0; 14, of which 3 are 1, 6 are 2, 5 are 0.
    one = -sum(n / 14 * np.log2(n / 14) for n in (3, 6, 5))
    # Pairs: 12 20, 10, 22 22, 20, 12 20.
    two = -sum(n / 8 * np.log2(n / 8) for n in (2, 3, 1, 2))
    assert metadata['metrics']['analysis'] == pytest.approx(
        {
            'Token Count': 14,
            'Line Count': 6,
            'Tokens per Line': 14 / 6,
            'Tokens per Line SD': np.std([3, 2, 1, 3, 2, 3]),
            'Unique Tokens': 3,
            'Unique Lines': 5,
            '1-gram Entropy': one,
            '1-gram Normalized Entropy': one / np.log2(3),
            '2-gram Entropy': two,
            '2-gram Conditional Entropy': two - one,
            'Entropy per Line': one * 14 / 6,
            'EoS Token Present': True,
            'EoS Padding': False,
        }
    )
    record = by_hand()
    assert metadata['metrics']['system']['success_rate'] == pytest.approx(record.correct[1].mean())
    system = metadata['system']
    assert (system['name'], system['game_type'], system['num_speakers']) == (
        'lewis',
        'signalling',
        2,
    )
    assert system['vocab_size'] == 7 and system['max_message_length'] == 3


def test_single_symbols_make_a_corpus_without_pairs(tmp_path):
    record = by_hand()
    short = record._replace(
        messages=record.messages[:, :, :1],
        lengths=np.ones((2, 3), np.int32),
        variable_length=False,
    )
    path = corpus.export(short, tmp_path)
    analysis = json.loads(path.with_name('metadata.json').read_text())['metrics']['analysis']
    assert analysis['2-gram Entropy'] is None
    assert analysis['EoS Token Present'] is False
    assert read_lines(path) == [[1], [1], [0], [2], [2], [1]]


def test_a_corpus_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    corpus.export(make_record(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == [
        'meanings.npy',
        'messages.jsonl',
        'messages_meta.jsonl',
        'metadata.json',
    ]
    corpus.export(make_record(seed=1), tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)


def test_only_symbols_make_a_corpus(tmp_path):
    with pytest.raises(ValueError, match='messages of symbols, but those of this record are draw'):
        corpus.export(make_record(kind='drawings'), tmp_path / 'corpus')
    assert not list(tmp_path.iterdir())
