"""What metrics say of languages that are known, and the languages that others are compared with."""

import collections
import itertools
from pathlib import Path

import numpy as np
import pytest
from conftest import all_combinations, make_record
from scipy import stats

from emcom_jax import metrics
from emcom_jax.metrics import arguments, references, segmentation

GOLDEN = np.load(Path(__file__).parent / 'golden' / 'metric_vectors.npz')
ATTRIBUTES = all_combinations(3, 4)
OWN_SYMBOLS = ATTRIBUTES + np.array([1, 5, 9])
LANGUAGE_METRICS = list(metrics.OF_LANGUAGE)


def random_language(seed=0, examples=300, length=6, vocab_size=12, attributes=(4, 4, 4)):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, length + 1, examples)
    labels = np.stack([rng.integers(0, n, examples) for n in attributes], axis=1)
    return rng.integers(1, vocab_size, (examples, length)), labels, lengths


def record_of(messages, attributes, vocab_size, lengths=None):
    """A record of one speaker."""
    full = np.full(len(messages), messages.shape[1])
    meanings = np.concatenate([np.eye(int(c.max()) + 1)[c] for c in attributes.T], axis=1)
    return make_record(speakers=1, examples=len(messages))._replace(
        vocab_size=vocab_size,
        messages=messages[None].astype(np.int32),
        lengths=(full if lengths is None else lengths)[None].astype(np.int32),
        meanings=meanings.astype(np.float32),
        labels={'attributes': attributes.astype(np.int32)},
    )


# --- compositionality -----------------------------------------------------------------------------


def test_a_compositional_language_is_wholly_compositional():
    assert metrics.context_independence(OWN_SYMBOLS, ATTRIBUTES) == pytest.approx(1, abs=1e-6)
    assert metrics.concept_best_matching(OWN_SYMBOLS, ATTRIBUTES) == 1
    assert metrics.tree_reconstruction_error(OWN_SYMBOLS, ATTRIBUTES) == (0, 0)
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(OWN_SYMBOLS, axis=1)  # Free word order.
    assert metrics.context_independence(shuffled, ATTRIBUTES) == pytest.approx(1, abs=1e-6)
    assert metrics.concept_best_matching(shuffled, ATTRIBUTES) == 1
    assert metrics.tree_reconstruction_error(shuffled, ATTRIBUTES)[1] > 0.5


def test_names_and_noise_are_not_compositional():
    rng = np.random.default_rng(1)
    names = rng.integers(1, 13, (64, 3))  # One for each meaning.
    noise, labels, _ = random_language(examples=2_000)
    for messages, attributes in ((names, ATTRIBUTES), (noise, labels)):
        assert metrics.context_independence(messages, attributes) < 0.25
        assert metrics.concept_best_matching(messages, attributes) < 0.5
    # A free vector a value of an attribute takes up its share of chance, (10 - 1) of 2,000.
    relative = metrics.tree_reconstruction_error(noise, labels)[1]
    assert relative == pytest.approx(1 - 9 / 1_999, abs=0.002)


@pytest.mark.parametrize(
    'metric',
    [
        metrics.context_independence,
        metrics.concept_best_matching,
        metrics.tree_reconstruction_error,
    ],
)
def test_compositionality_sees_neither_names_nor_what_follows_the_end(metric):
    messages, attributes, lengths = random_language(examples=80)
    expected = metric(messages, attributes, lengths)
    rng = np.random.default_rng(2)
    renamed, other = rng.permutation(100)[messages], messages.copy()
    ended = np.arange(6) >= lengths[:, None]
    other[ended] = rng.integers(1, 12, ended.sum())
    relabelled = np.stack([rng.permutation(9)[column] for column in attributes.T], axis=1)
    order = rng.permutation(80)
    for again in (
        metric(renamed, attributes, lengths),
        metric(other, attributes, lengths),
        metric(messages, relabelled, lengths),
        metric(messages[order], attributes[order], lengths[order]),
    ):
        assert again == pytest.approx(expected, abs=1e-6)
    assert metric(messages, attributes) != pytest.approx(expected, abs=1e-3)


def test_context_independence_is_that_of_word_alignments():
    messages, attributes, lengths = random_language(3, examples=30, vocab_size=6)
    examples = [
        (
            [int(w) for w in message[:n]],
            [(a, int(v)) for a, v in enumerate(row)],
        )
        for message, row, n in zip(messages, attributes, lengths, strict=True)
    ]

    def align(pairs):
        """IBM model 1: p(target | source), by the book."""
        targets = {t for _, target in pairs for t in target}
        table = collections.defaultdict(lambda: 1 / len(targets))
        for _ in range(100):
            counts, totals = collections.Counter(), collections.Counter()
            for source, target in pairs:
                for t in target:
                    norm = sum(table[s, t] for s in source)
                    for s in source:
                        counts[s, t] += table[s, t] / norm
                        totals[s] += table[s, t] / norm
            table = collections.defaultdict(float)
            table.update({(s, t): n / totals[s] for (s, t), n in counts.items()})
        return table

    word_of = align([(concepts, words) for words, concepts in examples])
    concept_of = align(examples)
    vocabulary = sorted({w for words, _ in examples for w in words})
    concepts = sorted({c for _, row in examples for c in row})
    scores = []
    for c in concepts:
        best = max(vocabulary, key=lambda w: (round(concept_of[w, c], 9), word_of[c, w]))
        scores.append(word_of[c, best] * concept_of[best, c])
    got = metrics.context_independence(messages, attributes, lengths)
    assert got == pytest.approx(np.mean(scores), abs=1e-6)
    assert 0.05 < got < 0.95


# The algorithm of github.com/bcarmeli/cbm on the golden languages, all symbols being words.
@pytest.mark.parametrize(
    ('case', 'expected'),
    [(0, 0.5208333333333334), (1, 0.45125), (2, 0.41), (3, 0.2786458333333333)],
)
def test_concept_best_matching_equals_the_released_code(case, expected):
    messages, attributes = GOLDEN[f'case{case}/messages'], GOLDEN[f'case{case}/attributes']
    assert metrics.concept_best_matching(messages, attributes) == pytest.approx(expected, abs=1e-12)


def test_concept_best_matching_by_hand():
    attributes = np.array([[0, 0], [0, 1], [1, 0]])
    # Word 1 names value 0 of the first attribute, 2 that of the second; 3 is said without need.
    messages, lengths = np.array([[1, 2, 3], [1, 0, 0], [2, 2, 0]]), np.array([3, 1, 2])
    # (1, a0): 2; (2, b0): 3; (3, a0 or b0): 1, both taken. Of 3 + 2 + 2.
    assert metrics.concept_best_matching(messages, attributes, lengths) == pytest.approx(5 / 7)


def test_tree_reconstruction_error_is_that_of_least_squares():
    messages, attributes, lengths = random_language(4, examples=60)
    ended = np.arange(6) >= lengths[:, None]
    vectors = np.eye(12)[np.where(ended, 0, messages)].reshape(60, -1)
    design = np.concatenate([np.eye(4)[column] for column in attributes.T], axis=1)
    fitted = design @ np.linalg.lstsq(design, vectors, rcond=None)[0]
    squares = np.sum((vectors - fitted) ** 2)
    error, relative = metrics.tree_reconstruction_error(messages, attributes, lengths)
    assert error == pytest.approx(squares / 2 / 60, abs=1e-9)
    spread = np.sum((vectors - vectors.mean(axis=0)) ** 2)
    assert relative == pytest.approx(squares / spread, abs=1e-9)
    # Half of the symbols of one message differ from those of the other.
    pair = metrics.tree_reconstruction_error(np.array([[1, 2], [1, 3]]), np.zeros((2, 1), int))
    assert pair == pytest.approx((0.25, 1))


def test_compositionality_where_it_is_undefined():
    messages, attributes, lengths = random_language(examples=20)
    nothing = np.zeros_like(lengths)
    assert np.isnan(metrics.context_independence(messages, attributes, nothing))
    assert metrics.concept_best_matching(messages, attributes, nothing) == 0
    error, relative = metrics.tree_reconstruction_error(messages, attributes, nothing)
    assert error == 0 and np.isnan(relative)
    none = attributes[:, :0]
    assert np.isnan(metrics.context_independence(messages, none))
    assert np.isnan(metrics.concept_best_matching(messages, none))
    assert np.isnan(metrics.tree_reconstruction_error(messages, none)).all()
    for metric in (metrics.context_independence, metrics.concept_best_matching):
        with pytest.raises(ValueError, match='attributes must be'):
            metric(messages, attributes[:, 0])
        with pytest.raises(ValueError, match='lengths must be'):
            metric(messages, attributes, lengths[:5])
    with pytest.raises(ValueError, match='messages must be int'):
        metrics.tree_reconstruction_error(messages[0], attributes)


# --- segmentation ---------------------------------------------------------------------------------


def sentences(seed=0, examples=400):
    """Three words a message, each of symbols that no other has."""
    rng = np.random.default_rng(seed)
    lexicon = [(1, 2, 3), (4, 5), (6, 7, 8, 9)]
    messages, lengths = np.zeros((examples, 12), int), np.zeros(examples, int)
    cuts = np.zeros((examples, 12), dtype=bool)
    for n, words in enumerate(rng.integers(0, 3, (examples, 3))):
        ends = np.cumsum([len(lexicon[word]) for word in words])
        messages[n, : ends[-1]] = sum((lexicon[word] for word in words), ())
        lengths[n] = ends[-1]
        cuts[n, ends[:-1]] = True
    return messages, lengths, cuts


def test_boundaries_are_found_where_any_word_may_follow():
    messages, lengths, cuts = sentences()
    np.testing.assert_array_equal(metrics.word_boundaries(messages, lengths, 0.5), cuts)
    words, counts = segmentation.segment(messages, lengths, cuts)
    assert (counts == 3).all()
    assert len(np.unique(words[:, :3])) == 3
    assert (words[:, 3:] == 0).all()


def test_branching_entropies_and_boundaries_equal_a_plain_loop():
    messages, _, lengths = random_language(5, examples=150, vocab_size=4)
    said = [tuple(m[:n].tolist()) for m, n in zip(messages, lengths, strict=True)]
    successors = collections.defaultdict(list)
    for s in said:
        for i, j in itertools.combinations_with_replacement(range(len(s)), 2):
            successors[s[i:j]].append(s[j])
    h = {piece: metrics.entropy(np.array(nexts)) for piece, nexts in successors.items()}
    expected = [np.full((150, 6 - n), np.nan) for n in range(6)]
    cuts = np.zeros((2, 150, 6), dtype=bool)
    for k, s in enumerate(said):
        for i, j in itertools.combinations_with_replacement(range(len(s)), 2):
            expected[j - i][k, i] = h[s[i:j]]
            for cut, threshold in zip(cuts, (-0.5, 0.1), strict=True):
                cut[k, j] |= j - i > 1 and h[s[i:j]] - h[s[i : j - 1]] > threshold
    got = metrics.branching_entropy(messages, lengths)
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12)
    for cut, threshold in zip(cuts, (-0.5, 0.1), strict=True):
        np.testing.assert_array_equal(metrics.word_boundaries(messages, lengths, threshold), cut)
        assert 0 < cut.sum() < (lengths - 1).sum()


def test_random_boundaries_are_as_many_and_inside_of_messages():
    messages, lengths, cuts = sentences(examples=2_000)
    drawn = segmentation.random_boundaries(cuts, lengths, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.sum(axis=1), cuts.sum(axis=1))
    inside = (np.arange(12) > 0) & (np.arange(12) < lengths[:, None])
    assert not drawn[~inside].any()
    share = drawn[lengths == 9].mean(axis=0)[1:9]
    np.testing.assert_allclose(share, 2 / 8, atol=0.06)  # Five standard deviations.


def test_words_that_mean_something_are_more_regular_than_random_pieces():
    meanings = all_combinations(4, 3)
    lexicon = np.arange(1, 25).reshape(4, 3, 2)  # A word of two symbols for each value.
    messages = lexicon[np.arange(4), meanings].reshape(81, 8)
    values = metrics.compute(record_of(messages, meanings, 25), ['segmentation'])
    assert values['word_boundaries'] == 3
    assert values['distinct_words'] == 12
    assert values['word_entropy'] == pytest.approx(np.log2(12))
    assert values['word_topographic_similarity'] == pytest.approx(1)
    assert values['word_topographic_similarity_random'] < 0.9
    # After the last symbol of a word but the message's, any of three may follow; else just one.
    shares = np.array([3 / 7, 3 / 6, 2 / 5, 2 / 4, 1 / 3, 1 / 2, 0])
    expected = [np.log2(24), *(shares * np.log2(3))]
    assert values['branching_entropy'] == pytest.approx(expected)


# --- information ----------------------------------------------------------------------------------


def test_conditional_entropy_in_the_limits_and_by_scipy():
    rng = np.random.default_rng(6)
    x, y = rng.integers(0, 5, (2, 200))
    table = np.histogram2d(x, y, bins=(5, 5), range=((0, 5), (0, 5)))[0]
    expected = stats.entropy(table.ravel(), base=2) - stats.entropy(table.sum(axis=0), base=2)
    assert metrics.conditional_entropy(x, y) == pytest.approx(expected)
    assert metrics.conditional_entropy(x, np.zeros(200, int)) == pytest.approx(metrics.entropy(x))
    assert metrics.conditional_entropy(x % 2, x) == pytest.approx(0, abs=1e-12)
    rows = np.stack([x, y], axis=1)
    assert metrics.conditional_entropy(rows, rows[:, ::-1]) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match='same shape'):
        metrics.conditional_entropy(x, y[:5])


def test_mutual_information_of_unrelated_symbols_is_large_by_chance_unless_adjusted():
    rng = np.random.default_rng(7)
    symbols, classes = rng.integers(0, 2_048, 50_000), rng.integers(0, 1_000, 50_000)
    assert metrics.normalized_mutual_information(symbols, classes) == pytest.approx(0.51, abs=0.01)
    few = symbols[:2_000] % 300, classes[:2_000] % 200
    assert metrics.normalized_mutual_information(*few) > 0.5
    assert abs(metrics.adjusted_mutual_information(*few)) < 0.02
    assert metrics.adjusted_mutual_information(few[0], -few[0]) == pytest.approx(1)


def test_position_entropy_counts_the_messages_that_reach_a_position():
    messages = np.array([[1, 1, 9, 0], [1, 2, 9, 0], [1, 1, 3, 0], [1, 2, 4, 0]])
    got = metrics.position_entropy(messages, np.array([2, 2, 3, 3]))
    np.testing.assert_allclose(got, [0, 1, 1, np.nan])
    np.testing.assert_allclose(metrics.position_entropy(messages), [0, 1, 1.5, 0])


def test_redundancy_in_the_limits_and_by_hand():
    assert metrics.redundancy(np.arange(8), 8) == pytest.approx(0, abs=1e-12)
    assert metrics.redundancy(np.zeros(5, int), 8) == 1
    assert metrics.redundancy(np.array([0, 0, 1, 2]), 8) == pytest.approx(1 - 1.5 / 3)
    assert np.isnan(metrics.redundancy(np.zeros(5, int), 1))
    assert np.isnan(metrics.redundancy(np.zeros(0, int), 3))
    with pytest.raises(ValueError, match='outside the vocabulary'):
        metrics.redundancy(np.arange(9), 8)
    with pytest.raises(ValueError, match='symbols .N.'):
        metrics.redundancy(np.zeros((2, 2), int), 8)


def test_messages_tell_what_determines_them():
    record = record_of(OWN_SYMBOLS, ATTRIBUTES, 13)
    values = metrics.compute(record, ['mutual_information'])
    assert values.pop('mutual_information_attributes_each') == pytest.approx([2, 2, 2])
    assert values == pytest.approx(
        {
            'message_entropy_given_attributes': 0,
            'mutual_information_attributes': 6,
            'normalized_mutual_information_attributes': 1,
            'adjusted_mutual_information_attributes': 1,
        },
        abs=1e-9,
    )
    values = metrics.compute(make_record(), ['mutual_information', 'message_entropy'])
    for label in ('class', 'attributes'):
        total = values[f'message_entropy_given_{label}'] + values[f'mutual_information_{label}']
        assert total == pytest.approx(values['message_entropy'])
    assert abs(values['adjusted_mutual_information_class']) < 0.2
    assert values['normalized_mutual_information_class'] > 0.4


# --- abbreviation ---------------------------------------------------------------------------------


def test_the_law_of_abbreviation_holds_where_frequent_things_are_said_briefly():
    repeats = np.array([8, 4, 2, 1])
    meanings = np.repeat(np.arange(4), repeats)
    messages = np.array([[1, 0, 0, 0], [2, 1, 0, 0], [2, 2, 1, 0], [2, 2, 2, 1]])[meanings]
    lengths = np.array([1, 2, 3, 4])[meanings]
    assert metrics.message_abbreviation(messages, lengths) == pytest.approx(-1)
    assert metrics.meaning_abbreviation(lengths, meanings) == pytest.approx(-1)
    assert metrics.meaning_abbreviation(5 - lengths, np.stack([meanings] * 2, 1)) == pytest.approx(
        1
    )
    assert np.isnan(metrics.message_abbreviation(messages, np.full(15, 4)))
    assert np.isnan(metrics.meaning_abbreviation(lengths, np.arange(15)))
    with pytest.raises(ValueError, match='expected lengths'):
        metrics.meaning_abbreviation(lengths, meanings[:3])


def test_abbreviation_is_spearmans_correlation_over_what_is_distinct():
    rng = np.random.default_rng(8)
    messages, lengths = rng.integers(1, 3, (200, 4)), rng.integers(1, 5, 200)
    meanings = rng.integers(0, 30, 200) * rng.integers(0, 2, 200)
    said = collections.Counter(
        tuple(m[:n].tolist()) for m, n in zip(messages, lengths, strict=True)
    )
    expected = stats.spearmanr(list(said.values()), [len(m) for m in said]).statistic
    assert metrics.message_abbreviation(messages, lengths) == pytest.approx(expected)
    kinds = np.unique(meanings)
    expected = stats.spearmanr(
        [np.sum(meanings == k) for k in kinds], [lengths[meanings == k].mean() for k in kinds]
    ).statistic
    assert metrics.meaning_abbreviation(lengths, meanings) == pytest.approx(expected)


# --- the table ------------------------------------------------------------------------------------


def test_language_metrics_do_not_see_what_symbols_are_called():
    record = make_record()
    names = np.concatenate([[0], np.random.default_rng(9).permutation(6) + 1])
    renamed = record._replace(messages=names[record.messages].astype(np.int32))
    assert not np.array_equal(renamed.messages, record.messages)
    expected = metrics.compute(record, LANGUAGE_METRICS)
    got = metrics.compute(renamed, LANGUAGE_METRICS)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, abs=1e-6), name


DEGENERATE = {
    'nothing is said': lambda r: {
        'messages': np.zeros_like(r.messages),
        'lengths': np.zeros_like(r.lengths),
    },
    'all is alike': lambda r: {'messages': np.zeros_like(r.messages)},
    'one symbol': lambda r: {
        'vocab_size': 1,
        'messages': np.zeros_like(r.messages),
        'lengths': np.full_like(r.lengths, 5),
    },
    'messages of one': lambda r: {
        'messages': r.messages[:, :, :1],
        'lengths': np.ones_like(r.lengths),
    },
    'no labels': lambda r: {'labels': {}},
    'no attributes': lambda r: {'labels': {'attributes': np.zeros((40, 0), np.int32)}},
    'constant labels': lambda r: {
        'labels': {'class': np.zeros(40, np.int32), 'attributes': np.zeros((40, 1), np.int32)}
    },
    'meanings that are none': lambda r: {'meanings': np.full((40, 6), np.nan, np.float32)},
}


@pytest.mark.parametrize('case', DEGENERATE)
def test_what_is_undefined_is_nan_and_raises_nothing(case):
    record = make_record()
    record = record._replace(**DEGENERATE[case](record))
    table = metrics.compare(record, LANGUAGE_METRICS, num_draws=1)
    for values in table.values():
        for name, value in values.items():
            assert isinstance(value, float | list), name
            assert not np.isinf(value).any(), name


@pytest.mark.parametrize('examples', [1, 2])
def test_few_examples_raise_nothing(examples):
    record = make_record(examples=examples)
    values = metrics.compare(record, LANGUAGE_METRICS, num_draws=1)['emergent']
    assert np.isnan(values['topographic_similarity'])


def test_the_end_symbol_is_no_word():
    said = make_record()
    room = said._replace(  # Longer, so that no message fills what there is room for.
        messages=np.pad(said.messages, ((0, 0), (0, 0), (0, 1))), lengths=said.lengths
    )
    ended = room._replace(lengths=room.lengths + 1, variable_length=True)
    np.testing.assert_array_equal(arguments.content_lengths(ended), said.lengths)
    names = ['context_independence', 'concept_best_matching', 'segmentation']
    expected, got = metrics.compute(room, names), metrics.compute(ended, names)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, nan_ok=True), name
    # A message that fills what there is room for may end without it.
    full = said._replace(lengths=np.full_like(said.lengths, 5), variable_length=True)
    last = full.messages[..., -1]
    np.testing.assert_array_equal(arguments.content_lengths(full), 5 - (last == 0))
    assert 0 < np.mean(last == 0) < 1
    # Where it ends nothing, it is a word like the others.
    words = full._replace(variable_length=False)
    np.testing.assert_array_equal(arguments.content_lengths(words), full.lengths)


# --- languages to compare with --------------------------------------------------------------------


def test_the_ideal_language_is_ideal():
    record = record_of(random_language(examples=64)[0], ATTRIBUTES, 13)
    values = metrics.compute(references.compositional_language(record), LANGUAGE_METRICS)
    for name in (
        'topographic_similarity_attributes',
        'positional_disentanglement',
        'bag_of_symbols_disentanglement',
        'concept_best_matching',
        'context_independence',
        'normalized_mutual_information_attributes',
    ):
        assert values[name] == pytest.approx(1, abs=1e-6), name
    assert values['tree_reconstruction_error'] == 0
    assert values['message_entropy_given_attributes'] == 0


def test_the_ideal_language_shares_symbols_or_is_not_made_where_it_does_not_fit():
    messages = np.ones((64, 4), int)
    shared = references.compositional_language(record_of(messages, ATTRIBUTES, 5))
    assert shared.messages.max() == 4
    values = metrics.compute(shared, ['disentanglement', 'tree_reconstruction_error'])
    assert values['positional_disentanglement'] == pytest.approx(1)
    assert values['bag_of_symbols_disentanglement'] < 0.5
    assert values['tree_reconstruction_error'] == 0
    assert references.compositional_language(record_of(messages, ATTRIBUTES, 4)) is None
    assert references.compositional_language(record_of(messages[:, :2], ATTRIBUTES, 50)) is None
    unlabelled = make_record()._replace(labels={})
    assert references.compositional_language(unlabelled) is None


def test_random_language_keeps_lengths_and_ends_and_uses_all_symbols_alike():
    record = make_record(examples=400)
    ended = record._replace(
        messages=np.where(np.arange(5) == record.lengths[..., None] - 1, 0, record.messages).astype(
            np.int32
        ),
        variable_length=True,
    )
    for known, first in ((record, 0), (ended, 1)):
        made = references.random_language(known, seed=1)
        np.testing.assert_array_equal(made.lengths, known.lengths)
        words = arguments.content_lengths(known)
        np.testing.assert_array_equal(arguments.content_lengths(made), words)
        on = np.arange(5) < words[..., None]
        assert (made.messages[~on] == 0).all()
        counts = np.bincount(made.messages[on], minlength=7)
        assert (counts[:first] == 0).all()
        assert stats.chisquare(counts[first:]).pvalue > 0.001
    full = record._replace(lengths=np.full_like(record.lengths, 5))
    assert set(np.unique(references.random_language(full).messages)) == set(range(7))


def test_holistic_language_has_one_name_a_meaning():
    record = make_record(examples=400)
    made = references.holistic_language(record, seed=2)
    rows = record.labels['attributes']
    _, first, index = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    for messages, lengths, before in zip(made.messages, made.lengths, record.lengths, strict=True):
        np.testing.assert_array_equal(messages, messages[first][index.ravel()])
        np.testing.assert_array_equal(lengths, before[first][index.ravel()])
    assert not np.array_equal(made.messages[0], made.messages[1])
    classes = record._replace(labels={'class': record.labels['class']})
    for known in (classes, record._replace(labels={})):
        of_length = known._replace(lengths=np.full_like(known.lengths, 5))
        made = references.holistic_language(of_length)
        meanings = known.labels.get('class', np.arange(400))
        for messages in made.messages:
            assert metrics.conditional_entropy(messages, meanings) == pytest.approx(0, abs=1e-9)
            assert metrics.conditional_entropy(meanings, messages) == pytest.approx(0, abs=1e-9)


def test_names_are_distinct_as_far_as_there_are_enough():
    few = record_of(np.ones((64, 3), int), ATTRIBUTES, 4)  # 64 meanings, 4^3 names.
    made = references.holistic_language(few, seed=3)
    assert len(np.unique(made.messages[0], axis=0)) > 60
    fewer = record_of(np.ones((64, 1), int), ATTRIBUTES, 4)
    assert len(np.unique(references.holistic_language(fewer).messages)) == 4


def test_comparison_sets_every_language_beside_the_others():
    record = record_of(OWN_SYMBOLS, ATTRIBUTES, 13)
    table = metrics.compare(record, LANGUAGE_METRICS, num_draws=3)
    assert list(table) == ['emergent', 'random', 'holistic', 'compositional', 'permuted']
    # Compared as text, since nan is not equal to itself.
    assert str(table['emergent']) == str(metrics.compute(record, LANGUAGE_METRICS))
    assert len({frozenset(values) for values in table.values()}) == 1
    for made in ('random', 'holistic', 'permuted'):
        values = table[made]
        assert abs(values['topographic_similarity_attributes']) < 0.1
        assert values['tree_reconstruction_error_relative'] > 0.7
        assert values['concept_best_matching'] < 0.6
        assert values['topographic_similarity_attributes_p'] > 0.05
    assert table['holistic']['message_entropy_given_attributes'] == pytest.approx(0, abs=1e-9)
    for name in ('message_entropy', 'redundancy', 'position_entropy', 'abbreviation'):
        assert table['permuted'][name] == pytest.approx(table['emergent'][name], nan_ok=True)
    assert str(table) == str(metrics.compare(record, LANGUAGE_METRICS, num_draws=3))


def test_comparison_takes_means_over_draws_and_exchanges_all_speakers_alike():
    record = make_record()
    names = ['topographic_similarity', 'speaker_distance']
    options = {'topographic_similarity': {'max_examples': 30}}
    table = metrics.compare(record, names, options, num_draws=2, seed=4)
    draws = [
        metrics.compute(references.permuted_meanings(record, seed), names, options)
        for seed in (4, 5)
    ]
    for name, value in table['permuted'].items():
        assert value == pytest.approx((draws[0][name] + draws[1][name]) / 2)
    assert draws[0] != draws[1]
    distance = table['emergent']['speaker_edit_distance']
    assert table['permuted']['speaker_edit_distance'] == pytest.approx(distance)


@pytest.mark.parametrize(
    ('kind', 'names', 'draws', 'sentence'),
    [
        ('symbols', ['accuracy'], 1, "metric 'accuracy' is not about messages"),
        ('symbols', ['message_entropi'], 1, "did you mean 'message_entropy'"),
        ('symbols', ['message_entropy'], 0, 'num_draws=0'),
        ('continuous', ['message_entropy'], 1, 'messages of symbols'),
    ],
)
def test_comparison_says_what_is_wrong(kind, names, draws, sentence):
    with pytest.raises(ValueError, match=sentence):
        metrics.compare(make_record(kind=kind), names, num_draws=draws)
