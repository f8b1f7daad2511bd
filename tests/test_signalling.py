"""Signalling: whether what is said depends on what is seen, beyond chance."""

import numpy as np
import pytest
from conftest import all_combinations, make_record
from scipy import stats
from sklearn.metrics import adjusted_mutual_info_score

from emcom_jax import metrics
from emcom_jax.metrics import arguments
from emcom_jax.metrics.signalling import said_at

consistency, information = metrics.speaker_consistency, metrics.symbol_information


def record_of(*languages, **labels):
    """A record of speakers of int [N, T] each."""
    said = np.stack(languages).astype(np.int32)
    return make_record(speakers=len(said), examples=said.shape[1])._replace(
        messages=said,
        lengths=np.full(said.shape[:2], said.shape[2], np.int32),
        labels={name: np.asarray(values, np.int32) for name, values in labels.items()},
    )


def test_a_label_that_determines_the_message_is_consistent():
    labels = np.random.default_rng(0).integers(0, 6, 50)
    names = np.array([[1, 2], [2, 1], [3, 3], [1, 1], [1, 1], [1, 1]])  # Some say the same.
    assert consistency(names[labels], labels) == pytest.approx(1)
    assert consistency(labels, labels) == pytest.approx(1)
    # Not the other way round: a class with two names of which one is said.
    two = labels + 6 * np.random.default_rng(1).integers(0, 2, 50)
    assert 0.3 < consistency(two, labels) < 0.9


def test_consistency_by_hand():
    said = np.array([0, 0, 1, 1])
    # I = 0, and over permutations I = 1 once in three: (0 - 1/3) / (1 - 1/3).
    assert consistency(said, np.array([0, 1, 1, 0])) == pytest.approx(-0.5)
    # All permutations tell as much.
    assert consistency(said, np.array([0, 0, 0, 1])) == pytest.approx(0, abs=1e-12)


def test_consistency_is_adjusted_information_over_the_entropy_of_messages():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 60)
    said = np.where(rng.random(60) < 0.5, labels % 4, rng.integers(0, 4, 60))
    assert metrics.entropy(said) < metrics.entropy(labels)
    expected = adjusted_mutual_info_score(labels, said, average_method='min')
    assert consistency(said, labels) == pytest.approx(expected) and 0 < expected < 1


def test_unrelated_messages_are_not_consistent_though_information_is_far_from_0():
    rng = np.random.default_rng(0)
    drawn = [(rng.integers(0, 8, 40), rng.integers(0, 6, 40)) for _ in range(200)]
    plain = np.mean([metrics.mutual_information(*one) for one in drawn])
    assert plain == pytest.approx(7 * 5 / (2 * 40 * np.log(2)), rel=0.3)
    values = [consistency(*one) for one in drawn]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(200)


def test_consistency_where_it_is_undefined():
    rows = np.arange(30)
    assert np.isnan(consistency(np.zeros(30, int), rows % 3))
    assert np.isnan(consistency(rows % 5, rows))  # A label for each example: nothing to go by.


def test_information_of_symbols_is_the_sum_over_positions():
    rng = np.random.default_rng(0)
    messages, labels = rng.integers(0, 5, (80, 4)), rng.integers(0, 3, (80, 2))
    each = [
        sum(metrics.mutual_information(column, seen) for column in messages.T) for seen in labels.T
    ]
    assert information(messages, labels[:, 0]) == pytest.approx(each[0])
    assert information(messages, labels) == pytest.approx(np.mean(each))
    assert information(np.ones((80, 4), int), labels) == pytest.approx(0, abs=1e-12)


def test_p_values_are_as_rarely_small_as_they_say_unless_speakers_signal():
    rng = np.random.default_rng(0)
    options = {'positive_signalling': {'num_permutations': 19}}

    def p_value(messages, labels):
        record = record_of(messages, **{'class': labels})
        return metrics.compute(record, options, options)['positive_signalling_class_p']

    drawn = [p_value(rng.integers(0, 4, (30, 3)), rng.integers(0, 3, 30)) for _ in range(200)]
    assert stats.binomtest(sum(p <= 0.1 for p in drawn), 200, 0.1).pvalue > 1e-3
    labels = np.arange(30) % 3
    noise = rng.integers(0, 9, (30, 3))
    signal = np.concatenate([noise, labels[:, None]], axis=1)
    assert len(np.unique(noise, axis=0)) > 28  # Whole messages would all tell alike.
    assert p_value(signal, labels) == 1 / 20


def test_values_are_means_over_speakers_with_each_kind_of_label():
    attributes = all_combinations(2, 4)
    record = record_of(attributes, attributes=attributes, **{'class': attributes[:, 0]})
    values = metrics.compute(record, ['speaker_consistency', 'positive_signalling'])
    # The label determines the first symbol, and says nothing of the second.
    by_position = values['speaker_consistency_class_by_position']
    assert by_position[0] == pytest.approx(1) and by_position[1] < 0
    assert np.isnan(values['speaker_consistency_attributes'])  # A referent each.
    for name in ('class', 'attributes'):
        assert values[f'symbol_information_{name}'] == pytest.approx(2)
    assert values['positive_signalling_class_p'] == 1 / 200
    two = record_of(attributes, np.ones_like(attributes), **record.labels)
    half = metrics.compute(two, ['positive_signalling'])
    assert half['symbol_information_class'] == pytest.approx(1)


def test_the_sample_is_that_of_the_options():
    record = make_record(examples=60)
    rows = arguments.sample(60, 20, seed=3)
    options = {name: {'max_examples': 20, 'seed': 3} for name in ('speaker_consistency',)}
    values = metrics.compute(record, options, options)
    each = [consistency(m[rows], record.labels['class'][rows]) for m in record.messages]
    assert values['speaker_consistency_class'] == pytest.approx(np.mean(each))


# --- messages that are no symbols -----------------------------------------------------------------


def telling(kind, labels, seed=0):
    """A record of two speakers, of whose 3 x 5 numbers the first tells the label alone."""
    rng = np.random.default_rng(seed)
    said = rng.random((2, len(labels), 3, 5), np.float32)
    if kind == 'bits':
        said = np.round(said)
    said[..., 4] = 1.0  # An open gate, or what never changes.
    said[:, :, 0, 0] = labels
    if kind != 'bits':
        said[:, :, 0, 0] += 0.1 * rng.random(said.shape[:2])
    return make_record(speakers=2, examples=len(labels), kind=kind)._replace(
        messages=said,
        lengths=np.full(said.shape[:2], 3, np.int32),
        labels={'class': labels.astype(np.int32)},
    )


@pytest.mark.parametrize('kind', ['bits', 'continuous', 'drawings'])
def test_what_one_number_of_a_message_tells_is_seen_in_every_kind(kind):
    names = ['speaker_consistency', 'positive_signalling']
    labels = np.arange(64) % 2
    record = telling(kind, labels)
    values = metrics.compute(record, names)
    noise = np.random.default_rng(1).permutation(labels)
    unrelated = metrics.compute(record._replace(labels={'class': noise}), names)
    assert values['positive_signalling_class_p'] == 1 / 200
    assert unrelated['positive_signalling_class_p'] > 0.05
    assert values['symbol_information_class'] > 1
    # Of 15 numbers 3 never change and one tells the label: a bit by itself, a number in 8 bins.
    share = (1 if kind == 'bits' else 1 / 3) / 12
    assert values['speaker_consistency_class_of_positions'] == pytest.approx(share, abs=0.03)
    assert unrelated['speaker_consistency_class_of_positions'] == pytest.approx(0, abs=0.03)
    assert ('speaker_consistency_class' in values) == (kind == 'bits')
    assert not any(isinstance(value, list) for value in values.values())


def test_bits_are_symbols_and_what_is_not_said_is_one_more():
    record = telling('bits', np.arange(64) % 2)
    record = record._replace(lengths=1 + np.arange(128, dtype=np.int32).reshape(2, 64) % 3)
    found = said_at(record, np.arange(64)).reshape(2, 64, 3, 5)
    played = np.arange(3) < record.lengths[..., None]
    assert (found[~played] == 0).all() and (found[played] > 0).all()
    low, high = (found[played & (record.messages[..., 1] == bit), 1] for bit in (0, 1))
    assert not set(low) & set(high)
    for turn in range(3):
        for s, bits in enumerate(record.messages[:, :, turn, 1]):
            on = played[s, :, turn]
            assert len(np.unique(found[s, on, turn, 1])) == len(np.unique(bits[on])) == 2


def test_numbers_are_cut_into_eight_equally_frequent_bins_in_their_order():
    record = telling('continuous', np.arange(64) % 2)
    found = said_at(record, np.arange(64))
    assert found.shape == (2, 64, 15)
    for s, messages in enumerate(record.messages.reshape(2, 64, 15)):
        for t in set(range(15)) - {4, 9, 14}:
            rank = messages[:, t].argsort().argsort()
            np.testing.assert_array_equal(found[s, :, t], 1 + rank // 8)
        assert len(np.unique(found[s, :, 4])) == 1


def test_strokes_that_are_not_drawn_are_not_said_wherever_they_stand():
    record = telling('drawings', np.arange(64) % 2)
    shut = np.random.default_rng(2).random((2, 64, 3)) < 0.5
    record.messages[shut, 4] = 0.0
    lengths = (~shut).sum(axis=2).astype(np.int32)
    found = said_at(record._replace(lengths=lengths), np.arange(64)).reshape(2, 64, 3, 5)
    assert (found[shut] == 0).all() and (found[~shut] > 0).all()
