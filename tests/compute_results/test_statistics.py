"""Paired bootstrap and Holm's correction against SciPy and hand computation."""

import numpy as np
import pytest
from scipy import stats

from compute_results.statistics import holm, interval


def test_holm_is_the_hand_computation():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]


def test_interval_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(3).normal(0.01, 0.05, 80)
    oracle = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert interval(values) == pytest.approx((oracle.low, oracle.high), abs=6e-4)
