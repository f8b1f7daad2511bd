"""Metrics: known languages, bounds and invariances first, values of independent origin second."""

import itertools
from pathlib import Path

import editdistance
import numpy as np
import pytest
from conftest import all_combinations, make_record
from scipy import stats

from emcom_jax import metrics
from emcom_jax.metrics import distances, language, records
from emcom_jax.tables import look_up

GOLDEN = np.load(Path(__file__).parent / 'golden' / 'metric_vectors.npz')
CASES = [f'case{i}' for i in range(4)]


OF_SYMBOLS = [name for name, metric in metrics.METRICS.items() if 'symbols' in metric.kinds]

# --- topographic similarity -----------------------------------------------------------------------


def test_topographic_similarity_of_a_compositional_language_is_one():
    meanings = all_combinations(3, 4)
    permuted_per_position = (meanings + np.arange(3)) % 4 + 4 * np.arange(3)
    rho = metrics.topographic_similarity(permuted_per_position, meanings, 'hamming')
    # Edit distance equals Hamming distance here: the three vocabularies are disjoint.
    assert rho == pytest.approx(1.0, abs=1e-12)


def test_topographic_similarity_of_a_random_language_is_about_zero():
    rng = np.random.default_rng(1)
    rho = metrics.topographic_similarity(
        rng.integers(0, 20, (400, 10)), rng.standard_normal((400, 16))
    )
    assert abs(rho) < 0.02  # Five standard deviations.


def test_topographic_similarity_by_hand():
    # Edit distances 01: 1/2, 02: 1, 12: 1; meaning distances 01: 1, 02: 3, 12: 2.
    messages, meanings = np.array([[1, 2], [1, 3], [4, 5]]), np.array([[0.0], [1.0], [3.0]])
    expected = np.corrcoef([1, 2.5, 2.5], [1, 3, 2])[0, 1]
    assert metrics.topographic_similarity(messages, meanings, 'euclidean') == pytest.approx(
        expected
    )


@pytest.mark.parametrize('distance', language.MEANING_DISTANCES)
def test_topographic_similarity_equals_scipy_and_editdistance_across_blocks(distance):
    rng = np.random.default_rng(2)
    n = 300  # More than one block of rows.
    messages, lengths = rng.integers(0, 5, (n, 6)), rng.integers(0, 7, n)
    meanings = rng.integers(0, 3, (n, 5)) + 1.0
    edits, expected = [], []
    for i, j in itertools.combinations(range(n), 2):
        longer = max(lengths[i], lengths[j], 1)
        x, y = messages[i, : lengths[i]].tolist(), messages[j, : lengths[j]].tolist()
        edits.append(editdistance.eval(x, y) / longer)
        u, v = meanings[i], meanings[j]
        expected.append(
            {
                'cosine': 1 - u @ v / np.sqrt((u @ u) * (v @ v)),
                'euclidean': np.sqrt(np.sum((u - v) ** 2)),
                'hamming': np.mean(u != v),
            }[distance]
        )
    rho = stats.spearmanr(edits, np.round(expected, 12)).statistic
    got = metrics.topographic_similarity(messages, meanings, distance, lengths)
    assert got == pytest.approx(rho, abs=1e-9)


def test_topographic_similarity_does_not_see_what_symbols_are_called():
    rng = np.random.default_rng(3)
    # Enough symbols for all code points below, at and above the surrogates.
    names = rng.permutation(120_000)
    messages = rng.integers(0, 120_000, (10_000, 12))
    messages[:60] = rng.integers(0xD7F0, 0xE010, (60, 12))
    messages[:60, :6] = rng.integers(0xD7FF, 0xD803, (60, 6))
    strings = distances.as_strings(messages, np.full(len(messages), 12))
    assert {len(s) for s in strings} == {12}
    assert len(set(''.join(strings))) == len(np.unique(messages))
    meanings = rng.standard_normal((60, 4))
    assert metrics.topographic_similarity(messages[:60], meanings) == pytest.approx(
        metrics.topographic_similarity(names[messages[:60]], meanings), abs=1e-12
    )


def test_symbols_after_the_end_do_not_count():
    rng = np.random.default_rng(4)
    messages, meanings = rng.integers(0, 4, (30, 6)), rng.standard_normal((30, 3))
    lengths = rng.integers(1, 5, 30)
    other = np.where(np.arange(6) < lengths[:, None], messages, rng.integers(0, 4, (30, 6)))
    assert not np.array_equal(messages, other)
    got = [metrics.topographic_similarity(m, meanings, lengths=lengths) for m in (messages, other)]
    assert got[0] == got[1]


def test_topographic_similarity_is_nan_where_undefined():
    rng = np.random.default_rng(5)
    messages, meanings = rng.integers(0, 4, (10, 3)), rng.standard_normal((10, 4))
    undefined = [
        metrics.topographic_similarity(np.ones_like(messages), meanings),
        metrics.topographic_similarity(messages, np.ones_like(meanings)),
        metrics.topographic_similarity(messages, np.ones_like(meanings), 'euclidean'),
        metrics.topographic_similarity(messages, np.where(meanings > 1, np.nan, meanings)),
        metrics.topographic_similarity(messages, meanings, lengths=np.zeros(10, int)),
        metrics.topographic_similarity(messages[:1], meanings[:1]),
        metrics.topographic_similarity(messages[:0], meanings[:0]),
    ]
    assert np.isnan(undefined).all()
    meanings[0] = 0  # At cosine distance 1 from all others: defined.
    assert np.isfinite(metrics.topographic_similarity(messages, meanings))


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'messages': np.zeros(5, int)}, 'messages must be int'),
        ({'messages': np.zeros((5, 2))}, 'messages must be int'),
        ({'meanings': np.zeros((4, 2))}, 'meanings must be'),
        ({'lengths': np.zeros(4, int)}, 'lengths must be'),
        ({'lengths': np.full(5, 3)}, 'between 0 and 2'),
        ({'meaning_distance': 'cosin'}, "did you mean 'cosine'"),
        ({'messages': np.zeros((10_001, 1), int), 'meanings': np.zeros((10_001, 1))}, 'sample'),
    ],
)
def test_wrong_input_is_named_in_a_sentence(change, sentence):
    valid = {'messages': np.zeros((5, 2), int), 'meanings': np.zeros((5, 3))}
    with pytest.raises(ValueError, match=sentence):
        metrics.topographic_similarity(**valid | change)


def test_topographic_similarity_is_the_same_in_pieces(monkeypatch):
    rng = np.random.default_rng(10)
    messages, lengths = rng.integers(0, 4, (120, 5)), rng.integers(0, 6, 120)
    for distance, meanings in (
        ('cosine', rng.standard_normal((120, 3))),
        ('euclidean', rng.integers(0, 3, (120, 2))),
        ('hamming', rng.integers(0, 3, (120, 4))),
    ):
        whole = metrics.topographic_similarity(messages, meanings, distance, lengths)
        with monkeypatch.context() as patch:
            patch.setattr(distances, '_BLOCK', 97)
            patch.setattr(distances, '_ROWS', 13)
            pieces = metrics.topographic_similarity(messages, meanings, distance, lengths)
        assert pieces == pytest.approx(whole, abs=1e-12)


def test_distances_far_apart_keep_their_order():
    rng = np.random.default_rng(11)
    messages = rng.integers(0, 9, (60, 6))
    meanings = rng.standard_normal((60, 2))
    meanings[0] *= 1e7  # One outlier takes all the variance.
    edits, expected = [], []
    for i, j in itertools.combinations(range(1, 60), 2):
        edits.append(editdistance.eval(messages[i].tolist(), messages[j].tolist()))
        expected.append(np.sum((meanings[i] - meanings[j]) ** 2))
    rho = stats.spearmanr(edits, expected).statistic
    got = metrics.topographic_similarity(messages[1:], meanings[1:], 'euclidean')
    assert got == pytest.approx(rho, abs=1e-9)
    assert np.isfinite(metrics.topographic_similarity(messages, meanings, 'euclidean'))
    # However many others there are, a distance leaves room for the place of an edit distance.
    line = np.arange(8_000.0)[:, None] / 8_000
    line[0] = 1e9
    furthest = distances.MEANING_DISTANCES['euclidean'](line)(slice(1), slice(8_000)).max()
    assert 2**40 < furthest < 2**45


def test_mantel_p_values_of_a_regular_and_of_random_languages():
    meanings = all_combinations(2, 4)
    p = metrics.topographic_similarity_p(meanings + [0, 4], meanings, 'hamming')
    assert p == 1 / 200
    rng = np.random.default_rng(12)
    p_values = [
        metrics.topographic_similarity_p(
            rng.integers(0, 5, (12, 4)),
            rng.standard_normal((12, 3)),
            num_permutations=99,
            seed=seed,
        )
        for seed in range(200)
    ]
    assert stats.kstest(p_values, 'uniform').pvalue > 0.01


def test_mantel_p_is_that_of_recomputed_similarities():
    rng = np.random.default_rng(13)
    n, lengths = 9, rng.integers(1, 5, 9)
    messages, meanings = rng.integers(0, 3, (n, 4)), rng.integers(0, 2, (n, 3))
    observed = metrics.topographic_similarity(messages, meanings, 'hamming', lengths)
    order = np.random.default_rng(5)
    permuted = []
    for _ in range(50):
        perm = order.permutation(n)
        permuted.append(
            metrics.topographic_similarity(messages[perm], meanings, 'hamming', lengths[perm])
        )
    expected = (1 + np.sum(np.array(permuted) >= observed - 1e-9)) / 51
    got = metrics.topographic_similarity_p(messages, meanings, 'hamming', lengths, 50, seed=5)
    assert got == pytest.approx(expected)
    assert 0.05 < got < 1  # Else the comparison would tell little.
    assert np.isnan(metrics.topographic_similarity_p(np.ones_like(messages), meanings))
    with pytest.raises(ValueError, match='at most 1000'):
        metrics.topographic_similarity_p(np.zeros((1001, 1), int), np.zeros((1001, 1)))
    with pytest.raises(ValueError, match='num_permutations must be at least 1'):
        metrics.topographic_similarity_p(messages, meanings, num_permutations=0)


# --- disentanglement ------------------------------------------------------------------------------


def test_a_compositional_language_is_fully_disentangled():
    attributes = all_combinations(2, 5)
    assert metrics.positional_disentanglement(attributes, attributes) == pytest.approx(1)
    order_free = np.where(attributes[:, :1] % 2, [[0, 1]], [[1, 0]])
    words = np.take_along_axis(attributes + np.array([1, 6]), order_free, axis=1)
    assert metrics.bag_of_symbols_disentanglement(words, attributes, 11) == pytest.approx(1)
    assert metrics.positional_disentanglement(words, attributes) < 0.5


def test_a_language_that_mixes_the_attributes_is_not_disentangled():
    attributes = all_combinations(2, 3)
    x, y = attributes.T
    messages = np.stack([3 * x + y, 3 * y + x], axis=1)  # Each says as much of x as of y.
    assert metrics.positional_disentanglement(messages, attributes) == pytest.approx(0, abs=1e-12)


def test_constant_positions_symbols_and_attributes():
    attributes = all_combinations(2, 4)
    messages = np.insert(attributes + 1, 1, 9, axis=1)  # A position that says nothing.
    with_constant = np.insert(attributes, 2, 5, axis=1)  # An attribute that never varies.
    assert metrics.positional_disentanglement(messages, with_constant) == pytest.approx(1)
    undefined = [
        metrics.positional_disentanglement(np.ones((16, 2), int), attributes),
        metrics.positional_disentanglement(attributes[:, :1], attributes),
        metrics.positional_disentanglement(attributes, attributes[:, :1]),
        metrics.bag_of_symbols_disentanglement(np.zeros((16, 2), int), attributes, 4),
    ]
    assert np.isnan(undefined).all()


def test_symbol_zero_is_no_word():
    attributes = all_combinations(2, 3)
    rng = np.random.default_rng(6)
    words = np.stack([attributes[:, 0] + 1, attributes[:, 1] + 4], axis=1)
    ended = np.concatenate([words, np.zeros_like(words)], axis=1)
    ended[rng.random(9) < 0.5, 2] = 7  # The number of zeros varies, and says nothing.
    without = metrics.bag_of_symbols_disentanglement(np.maximum(ended, 1), attributes, 8)
    assert metrics.bag_of_symbols_disentanglement(ended, attributes, 8) != without
    assert metrics.bag_of_symbols_disentanglement(words, attributes, 8) == pytest.approx(1)
    with pytest.raises(ValueError, match='outside the vocabulary'):
        metrics.bag_of_symbols_disentanglement(ended, attributes, 7)


def test_symbol_zero_is_a_word_where_it_ends_no_message():
    attributes = all_combinations(2, 3)
    alike = np.where(attributes[:, 0] == attributes[:, 1], 0, 7)  # Tells nothing of one of them.
    words = np.stack([attributes[:, 0] + 1, attributes[:, 1] + 4, alike], axis=1)[None]
    record = make_record(kind='symbols')._replace(
        messages=words, lengths=np.full((1, 9), 3), labels={'attributes': attributes}, vocab_size=8
    )
    found = [
        metrics.METRICS['disentanglement'].function(record._replace(variable_length=ends))
        for ends in (False, True)
    ]
    bosdis = [values['bag_of_symbols_disentanglement'] for values in found]
    np.testing.assert_allclose(bosdis, [6 / 8, 6 / 7])


# --- information ----------------------------------------------------------------------------------


def test_entropies_at_their_bounds_and_by_hand():
    assert metrics.message_entropy(np.ones((8, 3), int)) == 0.0
    assert metrics.message_entropy(all_combinations(3, 2)) == pytest.approx(3)
    assert metrics.entropy(np.array([0, 0, 1, 2])) == pytest.approx(1.5)
    assert metrics.message_entropy(np.array([[1, 2], [1, 2], [2, 1], [3, 3]])) == pytest.approx(1.5)
    with pytest.raises(ValueError, match='at least one sample'):
        metrics.entropy(np.zeros((0, 2)))
    with pytest.raises(ValueError, match='messages must be'):
        metrics.message_entropy(np.zeros(3))


def test_mutual_information_of_copies_and_of_independent_variables():
    x, y = all_combinations(2, 4).T
    assert metrics.mutual_information(x, 10 - 3 * x) == pytest.approx(2)
    assert metrics.mutual_information(x, y) == pytest.approx(0, abs=1e-12)
    assert metrics.mutual_information(x, x // 2) == pytest.approx(1)


def test_normalized_mutual_information_in_the_limits():
    x, y = all_combinations(2, 4).T
    assert metrics.normalized_mutual_information(x, -x) == pytest.approx(1)
    assert metrics.normalized_mutual_information(x, y) == pytest.approx(0, abs=1e-12)
    assert metrics.normalized_mutual_information(x, x // 2) == pytest.approx(1 / 1.5)
    assert metrics.normalized_mutual_information(x, np.zeros(16, int)) == 0.0
    assert metrics.normalized_mutual_information(np.zeros(16, int), np.zeros(16, int)) == 1.0
    with pytest.raises(ValueError, match='same shape'):
        metrics.normalized_mutual_information(x, y[:3])


def test_permutation_p_values_by_hand():
    labels = np.arange(6) % 3
    nmi = metrics.normalized_mutual_information
    assert metrics.permutation_test(lambda x, y: 0.5, labels, labels, 9, 0) == 1.0  # All ties.
    assert metrics.permutation_test(nmi, np.arange(60) % 3, np.arange(60) % 3, 19, 0) == 1 / 20
    assert np.isnan(metrics.permutation_test(lambda x, y: np.nan, labels, labels, 9, 0))
    # Of the 6 orders of 3 labels one agrees with the symbols everywhere.
    three = np.arange(3)
    p = metrics.permutation_test(lambda x, y: float(np.sum(x == y)), three, three, 5_000, 0)
    assert p == pytest.approx(1 / 6, abs=0.02)
    with pytest.raises(ValueError, match='at least 1'):
        metrics.permutation_test(nmi, labels, labels, 0, 0)


def test_equal_statistics_tie_whatever_their_last_bits():
    calls = itertools.count()
    four = np.arange(4)
    p = metrics.permutation_test(lambda x, y: 0.3 - 1e-16 * next(calls), four, four, 9, 0)
    assert p == 1.0


def test_permutation_p_values_are_uniform_without_a_relation():
    rng = np.random.default_rng(7)
    p_values = [
        metrics.permutation_test(lambda x, y: float(x @ y), *rng.random((2, 12)), 99, seed)
        for seed in range(200)
    ]
    assert stats.kstest(p_values, 'uniform').pvalue > 0.01


# --- the table ------------------------------------------------------------------------------------


def test_every_metric_returns_named_numbers_for_every_kind_it_declares(small_wordnet):
    synsets = {'class': ('dog.n.01', 'cat.n.01', 'car.n.01', 'bus.n.01')}
    for name, metric in metrics.METRICS.items():
        assert set(metric.kinds) <= set(records.KINDS)
        for kind in metric.kinds:
            record = make_record(kind=kind)._replace(synsets=synsets)
            record = record._replace(listener_meanings=record.meanings[:, ::-1])
            values = metrics.compute(record, [name])
            assert values
            assert all(isinstance(key, str) for key in values)
            assert np.isfinite(np.concatenate([np.ravel(v) for v in values.values()])).all()
            assert all(type(v) in (float, list) for v in values.values())


def test_accuracy_is_the_mean_over_pairs_and_referents():
    record = make_record()
    values = metrics.compute(record, ['accuracy'])
    for q, count in enumerate(record.num_candidates):
        assert values[f'accuracy@{count}'] == pytest.approx(record.correct[q].mean())
        assert values[f'loss@{count}'] == pytest.approx(record.loss[q].mean())
        low, high = values[f'accuracy@{count}_ci95']
        assert low < values[f'accuracy@{count}'] < high
    assert len(values) == 6
    without = make_record(candidates=(0,))
    assert set(metrics.compute(without, ['accuracy'])) == {'accuracy', 'accuracy_ci95', 'loss'}


def test_bootstrap_interval_has_the_width_of_the_standard_error_and_covers():
    rng = np.random.default_rng(8)
    samples = rng.random((200, 100))
    intervals = np.array([metrics.bootstrap_interval(x, 400, 0) for x in samples])
    width = np.mean(intervals[:, 1] - intervals[:, 0])
    assert width == pytest.approx(2 * 1.96 * np.sqrt(1 / 12 / 100), rel=0.05)
    covered = np.mean((intervals[:, 0] <= 0.5) & (intervals[:, 1] >= 0.5))
    assert 0.89 < covered < 0.99
    assert metrics.bootstrap_interval(np.ones(5), 10, 0) == [1.0, 1.0]


def test_bootstrap_is_seeded_and_sees_all_of_a_large_split():
    values = np.arange(2**20, dtype=float) / 2**20  # Four resamples at a time.
    first = metrics.bootstrap_interval(values, 10, 0)
    assert first == metrics.bootstrap_interval(values, 10, 0)
    assert first != metrics.bootstrap_interval(values, 10, 1)
    assert first[0] == pytest.approx(0.5, abs=0.002)
    assert first[1] == pytest.approx(0.5, abs=0.002)
    with pytest.raises(ValueError, match='bootstrap needs'):
        metrics.bootstrap_interval(np.zeros(0), 10, 0)


def test_voting_needs_more_than_one_listener():
    record = make_record()
    values = metrics.compute(record, ['voting'])
    assert values['accuracy_vote@16'] == pytest.approx(record.vote[1].mean())
    assert values['accuracy_average@8'] == pytest.approx(record.correct[0].mean())
    assert metrics.compute(make_record(listeners=1), ['voting']) == {}


def test_language_metrics_are_means_over_speakers():
    record = make_record()
    values = metrics.compute(record, ['topographic_similarity', 'disentanglement'])
    attributes = record.labels['attributes']
    by_speaker = [
        (
            metrics.topographic_similarity(m, record.meanings, lengths=lengths),
            metrics.topographic_similarity(m, attributes, 'hamming', lengths),
            metrics.positional_disentanglement(m, attributes),
            # Symbol 0 ends no message where all are of one length, and counts.
            metrics.bag_of_symbols_disentanglement(m + 1, attributes, record.vocab_size + 1),
        )
        for m, lengths in zip(record.messages, record.lengths, strict=True)
    ]
    names = ['topographic_similarity', 'topographic_similarity_attributes']
    names += ['positional_disentanglement', 'bag_of_symbols_disentanglement']
    assert [values[name] for name in names] == pytest.approx(np.mean(by_speaker, axis=0).tolist())
    assert values['topographic_similarity_examples'] == 40
    plain = record._replace(labels={'class': record.labels['class']})
    assert set(metrics.compute(plain, ['topographic_similarity', 'disentanglement'])) == {
        'topographic_similarity',
        'topographic_similarity_examples',
    }


def test_topographic_similarity_states_the_number_of_examples_it_sampled():
    record = make_record(examples=60)
    options = {'topographic_similarity': {'max_examples': 30}}
    values = metrics.compute(record, ['topographic_similarity'], options)
    assert values['topographic_similarity_examples'] == 30
    assert values == metrics.compute(record, ['topographic_similarity'], options)
    assert values != metrics.compute(record, ['topographic_similarity'])
    # One-hot meanings are equally far apart, unless one of them is drawn twice.
    one_hot = record._replace(meanings=np.eye(60))
    assert np.isnan(
        metrics.compute(one_hot, ['topographic_similarity'], options)['topographic_similarity']
    )


def test_counts_and_entropies_of_messages_by_hand():
    record = make_record(speakers=2, examples=4)
    messages = np.array([[[1, 0], [1, 0], [2, 0], [2, 3]], [[1, 0]] * 4], np.int32)
    # The first speaker ends its one-symbol messages by stopping (length 1), the second by a 0.
    lengths = np.array([[1, 1, 1, 2], [2, 2, 2, 2]], np.int32)
    record = record._replace(messages=messages, lengths=lengths)
    assert metrics.compute(record, ['distinct_messages', 'message_entropy']) == pytest.approx(
        {
            'distinct_messages': (3 + 1) / 2,
            'distinct_messages_share': (3 / 4 + 1 / 4) / 2,
            'active_symbols': (3 + 2) / 2,
            'message_length': (5 / 4 + 2) / 2,
            'message_entropy': (1.5 + 0) / 2,
            'symbol_entropy': (metrics.entropy(np.array([1, 1, 2, 2, 3])) + 1) / 2,
        }
    )


def test_speaker_distance_is_the_mean_edit_distance_of_all_pairs_of_speakers():
    record = make_record()
    expected = []
    for n in range(40):
        said = [m[n, : k[n]].tolist() for m, k in zip(record.messages, record.lengths, strict=True)]
        for x, y in itertools.combinations(said, 2):
            expected.append(editdistance.eval(x, y) / max(len(x), len(y)))
    values = metrics.compute(record, ['speaker_distance'])
    assert values == {'speaker_edit_distance': pytest.approx(np.mean(expected), abs=1e-6)}
    alike = record._replace(messages=record.messages[[0, 0, 0]], lengths=record.lengths[[0, 0, 0]])
    assert metrics.compute(alike, ['speaker_distance']) == {'speaker_edit_distance': 0.0}
    assert metrics.compute(make_record(speakers=1), ['speaker_distance']) == {}


def test_an_undefined_value_of_one_speaker_spoils_no_other_value():
    record = make_record()
    record.messages[1], record.lengths[1] = 1, 5
    values = metrics.compute(record, OF_SYMBOLS)
    undefined = {name for name, value in values.items() if np.isnan(value).any()}
    assert undefined == {
        'topographic_similarity',
        'topographic_similarity_attributes',
        'topographic_similarity_p',
        'topographic_similarity_attributes_p',
        'word_topographic_similarity',
        'word_topographic_similarity_random',
        'tree_reconstruction_error_relative',
        'abbreviation',
        'abbreviation_class',
        'abbreviation_attributes',
        'speaker_consistency_class',
        'speaker_consistency_class_by_position',
        'speaker_consistency_attributes',
        'speaker_consistency_attributes_by_position',
        'positional_disentanglement',
        'bag_of_symbols_disentanglement',
    }


@pytest.mark.parametrize(
    ('kind', 'names', 'options', 'sentence'),
    [
        (
            'symbols',
            ['acuracy'],
            {},
            "unknown metric 'acuracy'; did you mean 'accuracy'\\? Known: ",
        ),
        ('drawings', ['accuracy', 'message_entropy'], {}, 'message_entropy.*drawings'),
        ('symbols', ['accuracy'], {'accuracy': {'sed': 1}}, "accuracy option 'sed'.*'seed'"),
        ('symbols', ['accuracy'], {'acuracy': {}}, 'unknown metric'),
        ('smoke', ['accuracy'], {}, 'kind of message'),
    ],
)
def test_compute_says_what_is_wrong(kind, names, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        metrics.compute(make_record(kind=kind), names, options)


def test_look_up_returns_the_entry_or_names_the_known_ones():
    table = {'hinge': 1, 'info_nce': 2}
    assert look_up(table, 'hinge', 'loss') == 1
    with pytest.raises(ValueError, match=r"unknown loss 'zz'\. Known: hinge, info_nce\."):
        look_up(table, 'zz', 'loss')


# --- records on disk ------------------------------------------------------------------------------


def test_a_record_comes_back_exactly_as_it_was(tmp_path):
    record, path = make_record(), tmp_path / 'records' / 'valid.npz'
    records.save(record, path)
    loaded = records.load(path)
    for name, value in record._asdict().items():
        got = getattr(loaded, name)
        assert type(got) is type(value), name
        pairs = [(value, got)]
        if name == 'labels':
            assert list(got) == list(value)
            pairs = list(zip(value.values(), got.values(), strict=True))
        for x, y in pairs:
            np.testing.assert_array_equal(x, y)
            assert np.asarray(x).dtype == np.asarray(y).dtype
    names = OF_SYMBOLS
    assert metrics.compute(loaded, names) == metrics.compute(record, names)


@pytest.mark.parametrize('flag', [True, False])
def test_whether_symbol_0_ends_messages_is_kept_and_else_guessed(tmp_path, flag):
    path = tmp_path / 'valid.npz'
    record = make_record()
    last = np.arange(5) == record.lengths[..., None] - 1
    messages = np.where(last & (record.lengths[..., None] < 5), 0, record.messages)
    record = record._replace(messages=messages.astype(np.int32), variable_length=flag)
    records.save(record, path)
    assert records.load(path).variable_length is flag
    # An older record does not say.
    with np.load(path) as file:
        old = {name: file[name] for name in file.files if name != 'variable_length'}
    np.savez(path, **old)
    assert records.load(path).variable_length is True
    for others in (
        {'messages': make_record().messages},  # Nothing ends with it ...
        {'lengths': np.full_like(record.lengths, 5)},  # ... or nothing ends before T.
    ):
        np.savez(path, **old | others)
        assert records.load(path).variable_length is False


def test_a_failed_save_leaves_the_old_record_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'valid.npz'
    records.save(make_record(), path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b'half a')
        raise OSError('disk full')

    monkeypatch.setattr(np, 'savez', fail)
    with pytest.raises(OSError, match='disk full'):
        records.save(make_record(seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_or_damaged_record_is_named_in_a_sentence(tmp_path):
    path = tmp_path / 'valid.npz'
    with pytest.raises(FileNotFoundError, match=r'no evaluation record at .*valid\.npz'):
        records.load(path)
    records.save(make_record(), path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for content in (b'', b'no record', whole[:middle], flipped):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'valid\.npz is not a whole evaluation record'):
            records.load(path)
    np.savez(path, step=1)
    with pytest.raises(ValueError, match='not a whole evaluation record'):
        records.load(path)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'correct': np.zeros((2, 3, 2, 39))}, 'correct of an evaluation record must begin with'),
        ({'vote': np.zeros((2, 2, 40))}, 'vote of'),
        ({'labels': {'class': np.zeros(39)}}, "labels\\['class'\\] of"),
        ({'meanings': np.full((40, 1), None)}, 'numbers, not objects'),
        ({'messages': np.zeros((3, 40))}, 'must have rank 3'),
        ({'correct': np.zeros((2, 3, 0, 40))}, 'none of them empty'),
    ],
)
def test_a_record_whose_shapes_disagree_is_not_saved(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        records.save(make_record()._replace(**change), tmp_path / 'valid.npz')
    assert not list(tmp_path.iterdir())


# --- golden values --------------------------------------------------------------------------------


@pytest.mark.parametrize('case', CASES)
def test_values_of_independent_origin(case):
    messages, attributes, meanings = (
        GOLDEN[f'{case}/{name}'] for name in ('messages', 'attributes', 'meanings')
    )
    first_symbol, first_attribute = messages[:, 0], attributes[:, 0]
    vocab_size = int(GOLDEN[f'{case}/vocab_size'])
    values = {
        'topsim_cosine': metrics.topographic_similarity(messages, meanings),
        'topsim_euclidean': metrics.topographic_similarity(messages, meanings, 'euclidean'),
        'topsim_attributes_hamming': metrics.topographic_similarity(
            messages, attributes, 'hamming'
        ),
        'posdis': metrics.positional_disentanglement(messages, attributes),
        'bosdis': metrics.bag_of_symbols_disentanglement(messages, attributes, vocab_size),
        'message_entropy_bits': metrics.message_entropy(messages),
        'mutual_info_first_symbol_first_attribute_bits': metrics.mutual_information(
            first_symbol, first_attribute
        ),
        'nmi_first_symbol_first_attribute': metrics.normalized_mutual_information(
            first_symbol, first_attribute
        ),
    }
    expected = {name: float(GOLDEN[f'{case}/{name}']) for name in values}
    assert values == pytest.approx(expected, abs=1e-6, rel=0, nan_ok=True)
