"""A value and how sure it is, as text and as a bar."""

import numpy as np
import pytest

from emcom_jax import estimates

VALUES = {
    'accuracy': 0.8364,
    'accuracy_ci95': [0.8231, 0.8512],
    'topsim': 0.25,
    'topsim_se': 0.01,
    'topsim_replicas': [0.24, 0.26],
    'messages': 1797.0,
    'one': 1.0,
    'undefined': None,
    'nan': float('nan'),
    'unsure': 0.5,
    'unsure_se': float('nan'),
    'by_position': [0.1, None],
    'by_position_ci95': [[0.0, 0.3], [None, None]],
    'by_turn': [0.5, 0.25],
    'by_turn_se': [0.1, 0.2],
}


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('accuracy', '0.836 [0.823, 0.851]'),
        ('topsim', '0.250 ± 0.010'),
        ('messages', '1,797'),
        ('one', '1.000'),
        ('undefined', '–'),
        ('nan', '–'),
        ('missing', '–'),
        ('unsure', '0.500'),
        ('by_turn', '0.500, 0.250'),
    ],
)
def test_text(name, text):
    assert estimates.text(VALUES, name) == text


@pytest.mark.parametrize(
    ('name', 'bars'),
    [
        ('accuracy', [0.0133, 0.0148]),
        ('topsim', [0.01, 0.01]),
        ('one', [0, 0]),
        ('undefined', [0, 0]),
        ('unsure', [0, 0]),
        ('by_position', [[0.1, 0], [0.2, 0]]),
        ('by_turn', [[0.1, 0.2], [0.1, 0.2]]),
    ],
)
def test_reach(name, bars):
    np.testing.assert_allclose(estimates.reach(VALUES, name), bars, atol=1e-12)


def test_names_are_split_from_what_stands_beside():
    parts = {estimates.split_name(name) for name in VALUES if name.startswith('topsim')}
    assert parts == {('topsim', ''), ('topsim', '_se'), ('topsim', '_replicas')}
