"""What symbols stand for: by enumeration, by pairs, and against SciPy and scikit-learn."""

import itertools

import numpy as np
import pytest
from conftest import make_record, tiny_config, tiny_source
from scipy import stats
from scipy.spatial import distance
from sklearn import metrics as sklearn_metrics

from emcom_jax import metrics
from emcom_jax.checks import check
from emcom_jax.metrics import records, representations, semantics, wordnet
from emcom_jax.report import languages

SYNSETS = ('dog.n.01', 'cat.n.01', 'car.n.01', 'bus.n.01')
SAID = np.array([0, 0, 0, 1, 1, 2])
SEEN = np.array([0, 1, 0, 2, 2, 3])
ORDERS = np.array(list(itertools.permutations(range(6))))


def with_synsets(record):
    return record._replace(synsets={'class': SYNSETS})


def pair_by_pair(symbols, names):
    known = wordnet.load()
    similarities = [
        known.path_similarity([known.synset(names[i]), known.synset(names[j])])[0, 1]
        for i, j in itertools.combinations(range(len(symbols)), 2)
        if symbols[i] == symbols[j]
    ]
    return np.mean(similarities)


# --- mutual information ---------------------------------------------------------------------------


def test_expected_information_is_the_mean_over_all_permutations():
    for function, expected in (
        (metrics.mutual_information, metrics.expected_mutual_information),
        (
            metrics.normalized_mutual_information,
            metrics.expected_normalized_mutual_information,
        ),
    ):
        mean = np.mean([function(SAID, SEEN[order]) for order in ORDERS])
        assert expected(SAID, SEEN) == pytest.approx(mean, abs=1e-12)
        assert function(SAID, SEEN) > mean + 0.1


def test_expected_information_of_constants_and_of_distinct_symbols():
    expected = metrics.expected_normalized_mutual_information
    constant, distinct = np.zeros(8, int), np.arange(8)
    assert expected(constant, constant) == 1
    assert expected(constant, distinct) == pytest.approx(0, abs=1e-12)
    assert expected(distinct, distinct) == pytest.approx(1)  # A symbol for each example.
    assert expected(distinct, distinct // 4) == pytest.approx(1 / 2)  # 1 bit, of a mean of 2.


def test_uniform_symbols_have_the_information_that_chance_gives_them():
    # 50,000 images in 1,000 classes and 2,048 symbols have 0.51; here a tenth of each.
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(100), 50)
    symbols = rng.integers(0, 205, 5_000)
    nmi = metrics.normalized_mutual_information(symbols, labels)
    assert nmi == pytest.approx(
        metrics.expected_normalized_mutual_information(symbols, labels), abs=0.01
    )
    assert 0.3 < nmi < 0.4


def test_the_table_has_means_over_speakers_of_all_that_belongs_to_nmi():
    record = make_record()
    values = metrics.compute(record, ['normalized_mutual_information'])
    classes = record.labels['class']
    by_speaker = []
    for messages in record.messages:
        distinct, said = np.unique(messages, axis=0, return_inverse=True)
        said = said.ravel()
        by_speaker.append(
            (
                sklearn_metrics.normalized_mutual_info_score(classes, said),
                metrics.expected_normalized_mutual_information(said, classes),
                sklearn_metrics.adjusted_mutual_info_score(classes, said),
                len(distinct),
                40 / len(distinct),
            )
        )
    nmi, permuted, adjusted, symbols, examples = np.mean(by_speaker, axis=0)
    p = values.pop('nmi_p')
    assert values == pytest.approx(
        {
            'nmi': nmi,
            'nmi_permuted': permuted,
            'nmi_excess': nmi - permuted,
            'adjusted_mi': adjusted,
            'num_symbols': symbols,
            'examples_per_symbol': examples,
        }
    )
    assert 1 / 200 <= p <= 1
    unlabelled = record._replace(labels={'attributes': record.labels['attributes']})
    assert metrics.compute(unlabelled, ['normalized_mutual_information']) == {}


def one_symbol(said, seen, speakers=1):
    """A record of messages of one symbol."""
    record = make_record(speakers=speakers, examples=len(said))
    messages = np.broadcast_to(said[:, None], (speakers, len(said), 1)).astype(np.int32)
    return with_synsets(
        record._replace(
            messages=messages,
            lengths=np.ones(messages.shape[:2], np.int32),
            labels={'class': seen.astype(np.int32)},
        )
    )


def test_p_values_are_those_of_the_functions(small_wordnet):
    rng = np.random.default_rng(1)
    seen = rng.integers(0, 4, 30)
    said = np.where(rng.random(30) < 0.5, seen, rng.integers(0, 4, 30))
    values = metrics.compute(
        one_symbol(said, seen), ['normalized_mutual_information', 'wordnet_similarity']
    )
    names = np.array(SYNSETS)
    expected = {
        'nmi_p': metrics.permutation_test(
            metrics.normalized_mutual_information, said, seen, 199, 0
        ),
        'wnsim_p': metrics.permutation_test(
            lambda x, y: metrics.wordnet_similarity(x, names[y]), said, seen, 199, 0
        ),
    }
    assert {name: values[name] for name in expected} == expected
    assert all(1 / 200 < p < 0.6 for p in expected.values())  # Else it would tell little.


def test_a_perfect_code_is_significant_and_a_constant_one_is_not(small_wordnet):
    names = ['normalized_mutual_information', 'wordnet_similarity']
    seen = np.arange(24) % 4
    values = metrics.compute(one_symbol(seen, seen, speakers=2), names)
    assert values['nmi'] == values['adjusted_mi'] == values['wnsim'] == pytest.approx(1)
    assert values['nmi_p'] == values['wnsim_p'] == 1 / 200 <= semantics.ALPHA
    values = metrics.compute(one_symbol(np.zeros_like(seen), seen), names)
    assert values['nmi'] == values['nmi_permuted'] == pytest.approx(0, abs=1e-12)
    assert values['wnsim_excess'] == 0 < values['wnsim']
    assert values['nmi_p'] == values['wnsim_p'] == 1 > semantics.ALPHA
    values = metrics.compute(one_symbol(seen, np.zeros_like(seen)), names)
    assert values['wnsim'] == values['wnsim_permuted'] == 1


def test_p_values_are_uniform_without_a_relation(small_wordnet):
    rng = np.random.default_rng(2)
    names = ['normalized_mutual_information', 'wordnet_similarity']
    options = {name: {'num_permutations': 49} for name in names}
    found = [
        metrics.compute(one_symbol(*rng.integers(0, 4, (2, 40))), names, options)
        for _ in range(100)
    ]
    for name in ('nmi_p', 'wnsim_p'):
        assert stats.kstest([values[name] for values in found], 'uniform').pvalue > 0.01


# --- WordNet --------------------------------------------------------------------------------------


def test_wordnet_similarity_by_hand(small_wordnet):
    names = np.array(SYNSETS)
    # dog cat, dog dog, cat dog; car car; the bus is alone.
    expected = (1 / 3 + 1 + 1 / 3 + 1) / 4
    assert metrics.wordnet_similarity(SAID, names[SEEN]) == pytest.approx(expected)
    assert metrics.wordnet_similarity(SAID[:5], names[SEEN[:5]]) == pytest.approx(expected)
    assert metrics.wordnet_similarity(SAID[3:5], ['dog.n.01', 'car.n.01']) == pytest.approx(1 / 7)
    # Two names of one synset, one of them its number.
    number = f'n{small_wordnet["dog.n.01"]:08}'
    assert metrics.wordnet_similarity(SAID[:2], ['dog.n.01', number]) == 1
    assert metrics.wordnet_similarity(SAID[:2], ['dog.n.01', 'dog_so_called.n.01']) == 1
    assert np.isnan(metrics.wordnet_similarity(np.arange(4), SYNSETS))
    with pytest.raises(ValueError, match="did you mean 'dog.n.01'"):
        metrics.wordnet_similarity(SAID[:2], ['dogg.n.01', 'cat.n.01'])
    with pytest.raises(ValueError, match='same shape'):
        metrics.wordnet_similarity(SAID, SYNSETS)


@pytest.mark.parametrize('cells', [2**22, 10])
def test_wordnet_similarity_is_that_of_all_pairs(small_wordnet, monkeypatch, cells):
    monkeypatch.setattr(semantics, '_CELLS', cells)
    rng = np.random.default_rng(3)
    for count in (2, 15, 60):
        symbols = 7 * rng.integers(0, count, 80) - 9
        names = rng.choice(list(small_wordnet), 80)
        expected = pair_by_pair(symbols, names)
        assert metrics.wordnet_similarity(symbols, names) == pytest.approx(expected, abs=1e-12)


def test_expected_wordnet_similarity_is_the_mean_over_all_permutations(small_wordnet):
    names = np.array(SYNSETS)[SEEN]
    for symbols in (SAID, np.array([0, 0, 1, 2, 3, 4])):
        mean = np.mean([metrics.wordnet_similarity(symbols, names[order]) for order in ORDERS])
        assert metrics.expected_wordnet_similarity(names) == pytest.approx(mean, abs=1e-12)
    assert np.isnan(metrics.expected_wordnet_similarity(names[:1]))


def test_the_table_has_means_over_speakers_of_wordnet_similarity(small_wordnet):
    record = with_synsets(make_record())
    # In pairs, since messages of five symbols hardly come twice.
    record = record._replace(messages=record.messages[:, np.arange(40) // 2])
    names = np.array(SYNSETS)[record.labels['class']]
    values = metrics.compute(record, ['wordnet_similarity'])
    by_speaker = [
        metrics.wordnet_similarity(np.unique(m, axis=0, return_inverse=True)[1].ravel(), names)
        for m in record.messages
    ]
    assert values['wnsim'] == pytest.approx(np.mean(by_speaker))
    permuted = metrics.expected_wordnet_similarity(names)
    assert values['wnsim_permuted'] == pytest.approx(permuted)
    assert values['wnsim_excess'] == pytest.approx(np.mean(by_speaker) - permuted)
    assert set(values) == {'wnsim', 'wnsim_permuted', 'wnsim_excess', 'wnsim_p'}
    for unknown in ({'synsets': {}}, {'labels': {}}):
        assert metrics.compute(record._replace(**unknown), ['wordnet_similarity']) == {}


def test_without_wordnet_the_metric_says_so_and_a_report_is_made_all_the_same(
    tmp_path, monkeypatch, request
):
    record = with_synsets(make_record(speakers=1, examples=12))
    with pytest.raises(wordnet.WordNetMissing, match='wordnet-base'):
        metrics.compute(record, ['wordnet_similarity'])
    changes = {
        'evaluation.metrics': ('accuracy', 'wordnet_similarity'),
        'evaluation.every': 5,
        'evaluation.best_metric': 'wnsim',
    }
    source = tiny_source()._replace(synsets={'class': SYNSETS})
    with pytest.raises(wordnet.WordNetMissing):
        check(tiny_config(changes), source, 1)
    table = languages.compare(record, None)
    assert 'nmi' in table['emergent'] and 'wnsim' not in table['emergent']
    request.getfixturevalue('small_wordnet')
    check(tiny_config(changes), source, 1)
    with pytest.raises(ValueError, match='best_metric'):
        check(tiny_config(changes), tiny_source(), 1)
    assert all('wnsim' in values for values in languages.compare(record, record).values())


@pytest.mark.wordnet
def test_wordnet_similarity_of_imagenet_classes_is_that_of_all_pairs(monkeypatch):
    monkeypatch.delenv('WNSEARCHDIR')
    classes = 'n01440764 n02085620 n02113799 n03126707 n04067472 dog.n.01 web_site.n.01'.split()
    rng = np.random.default_rng(4)
    symbols, names = rng.integers(0, 5, 60), rng.choice(classes, 60)
    expected = pair_by_pair(symbols, names)
    assert metrics.wordnet_similarity(symbols, names) == pytest.approx(expected, abs=1e-12)


# --- how often symbols are used -------------------------------------------------------------------


def test_counts_and_shares_of_symbols_by_hand():
    symbols = np.array([7, 2, 7, 7, 2, 0, 7, 5])
    np.testing.assert_array_equal(metrics.symbol_counts(symbols), [4, 2, 1, 1])
    shares = [metrics.top_share(symbols, k) for k in (1, 2, 3, 4, 9)]
    assert shares == [4 / 8, 6 / 8, 7 / 8, 1, 1]
    messages = np.array([[1, 2], [1, 2], [2, 1]])
    np.testing.assert_array_equal(metrics.symbol_counts(messages), [2, 1])
    record = one_symbol(symbols, np.zeros(8), speakers=2)
    other = np.arange(8, dtype=np.int32)[:, None]
    record = record._replace(messages=np.stack([record.messages[0], other]))
    values = metrics.compute(record, ['symbol_frequencies'])
    shares = [5 / 16, 8 / 16, 12 / 16, *[1.0] * (len(semantics.TOP) - 3)]
    assert values == {'symbol_top_share': shares}
    with pytest.raises(ValueError, match='k=0'):
        metrics.top_share(symbols, 0)


@pytest.mark.parametrize(('vocab_size', 'candidates'), [(1, 4), (2, 1), (2, 5), (3, 4), (5, 3)])
def test_symbol_ceiling_is_the_accuracy_of_the_best_listener(vocab_size, candidates):
    right = []
    for symbols in itertools.product(range(vocab_size), repeat=candidates):
        # Of each target, among the candidates with its symbol.
        right += [1 / symbols.count(symbols[target]) for target in range(candidates)]
    assert metrics.symbol_ceiling(vocab_size, candidates) == pytest.approx(np.mean(right))


def test_symbol_ceiling_of_the_paper_and_at_its_ends():
    assert metrics.symbol_ceiling(2048, 128) == pytest.approx(0.97, abs=0.005)
    assert metrics.symbol_ceiling(64, 128) == pytest.approx(0.43, abs=0.005)
    assert metrics.symbol_ceiling(10**30, 128) == pytest.approx(1, abs=1e-12)
    assert metrics.symbol_ceiling(1, 128) == 1 / 128
    for wrong in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match='at least one symbol and one candidate'):
            metrics.symbol_ceiling(*wrong)


# --- representations ------------------------------------------------------------------------------


def test_a_record_tells_how_alike_its_agents_see():
    record = make_record()
    assert metrics.compute(record, ['representation_similarity']) == {}
    same = record._replace(listener_meanings=3 * record.meanings)
    values = metrics.compute(same, ['representation_similarity'])
    assert values['representation_similarity'] == pytest.approx(1)
    other = np.random.default_rng(1).standard_normal((40, 9))
    values = metrics.compute(
        record._replace(listener_meanings=other), ['representation_similarity']
    )
    assert abs(values['representation_similarity']) < 0.3


def test_representation_similarity_is_scipys():
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((50, 6)).astype(np.float32), rng.standard_normal((50, 3))
    b[:, 0] += a[:, 0]
    b[7] = b[8]
    x, y = 1 - distance.pdist(a.astype(float), 'cosine'), 1 - distance.pdist(b, 'cosine')
    values = metrics.representation_similarity(a, b)
    assert values == pytest.approx(
        {
            'representation_similarity': np.corrcoef(x, y)[0, 1],
            'representation_similarity_spearman': stats.spearmanr(x, y).statistic,
            'representation_similarity_examples': 50,
        },
        abs=1e-7,
    )
    assert values['representation_similarity'] > 0.1


def test_representation_similarity_sees_neither_rotation_nor_scale():
    rng = np.random.default_rng(6)
    a = rng.standard_normal((30, 5))
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0][:5]
    b = rng.uniform(1e-30, 1e200, (30, 1)) * (a @ rotation)
    values = metrics.representation_similarity(a, b)
    assert values['representation_similarity'] == pytest.approx(1)
    assert values['representation_similarity_spearman'] == pytest.approx(1)
    other = metrics.representation_similarity(a, rng.permutation(b))
    assert abs(other['representation_similarity']) < 0.5


def test_representation_similarity_is_nan_where_undefined():
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((2, 10, 4))
    spoilt = np.where(np.arange(10)[:, None] == 3, np.nan, b)
    for x, y in ((a[:0], b[:0]), (a[:2], b[:2]), (a, np.ones_like(b)), (a, 0 * b), (a, spoilt)):
        values = metrics.representation_similarity(x, y)
        assert np.isnan(values['representation_similarity'])
        assert np.isnan(values['representation_similarity_spearman'])
    a[0] = 0  # Similar to none: defined.
    assert np.isfinite(metrics.representation_similarity(a, b)['representation_similarity'])


def test_representation_similarity_draws_the_same_referents_of_both():
    rng = np.random.default_rng(8)
    a = rng.standard_normal((60, 4))
    values = metrics.representation_similarity(a, -3 * a, max_examples=20, seed=1)
    assert values['representation_similarity'] == pytest.approx(1)
    assert values['representation_similarity_examples'] == 20
    b = rng.standard_normal((60, 4))
    drawn = [metrics.representation_similarity(a, b, 20, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(ValueError, match='same N referents'):
        metrics.representation_similarity(a, b[:5])
    with pytest.raises(ValueError, match='max_examples must lie'):
        metrics.representation_similarity(a, b, representations.MAX_EXAMPLES + 1)


# --- records --------------------------------------------------------------------------------------


def test_synsets_come_back_with_a_record(tmp_path, small_wordnet):
    record, path = with_synsets(make_record()), tmp_path / 'valid.npz'
    records.save(record, path)
    loaded = records.load(path)
    assert loaded.synsets == {'class': SYNSETS}
    assert set(loaded.labels) == set(record.labels)
    assert metrics.compute(loaded, ['wordnet_similarity']) == metrics.compute(
        record, ['wordnet_similarity']
    )
    assert records.sample(loaded, 5).synsets == {'class': SYNSETS}
    with np.load(path, allow_pickle=False) as file:  # Plain text.
        old = {name: file[name] for name in file.files if name != 'synsets/class'}
    np.savez(path, **old)
    assert records.load(path).synsets == {}


def test_a_record_with_too_few_synsets_is_refused(tmp_path):
    record = make_record()._replace(synsets={'class': SYNSETS[:3]})
    with pytest.raises(ValueError, match="synsets\\['class'\\].*3 names and values from 0 to 3"):
        records.save(record, tmp_path / 'valid.npz')
    records.check(record._replace(labels={}))
