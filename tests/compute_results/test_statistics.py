"""Bootstrap intervals, permutation tests and Holm's correction against SciPy and hand computation."""

import numpy as np
import pytest
from scipy import stats

from compute_results import statistics
from compute_results.statistics import Sample, bootstrap, holm, interval, permutation_p


def sample(images: int, seed: int, thresholds: int = 40) -> Sample:
    """Two averages and a curve of random images."""
    rng = np.random.default_rng(seed)
    curve = np.sin(np.linspace(0, 3, thresholds)) * rng.uniform(0.5, 1, (images, 1))
    return Sample(rng.normal(0.8, 0.1, (images, 2)), (curve + rng.normal(0, 0.05, curve.shape),))


def maximum_of_average(curves: np.ndarray, axis: int) -> np.ndarray:
    return curves.mean(axis=axis).max(axis=-1)


def test_holm_is_the_hand_computation():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]


def test_intervals_of_averages_are_scipys_percentile_bootstrap():
    one, other = sample(80, 1), sample(80, 2)
    draws = bootstrap([one, other])
    for column in range(2):
        difference = one.means[:, column] - other.means[:, column]
        found = stats.bootstrap((difference,), np.mean, n_resamples=40_000, method="percentile", rng=1)
        oracle = found.confidence_interval
        spread = oracle.high - oracle.low
        assert interval((draws[0] - draws[1])[:, column]) == pytest.approx((oracle.low, oracle.high), abs=0.04 * spread)


def test_a_draw_of_a_maximum_redraws_the_images_of_the_curve():
    """With the same draws, the figures are those of a plain loop over redrawn images."""
    one = sample(23, 3)
    figures = bootstrap([one], draws=50, seed=7)[0]
    taken = np.random.default_rng(7).integers(0, 23, (50, 23))
    expected = [maximum_of_average(one.curves[0][images], axis=0) for images in taken]
    np.testing.assert_allclose(figures[:, 2], expected, rtol=1e-12)
    np.testing.assert_allclose(figures[:, :2], [one.means[images].mean(axis=0) for images in taken], rtol=1e-12)


def test_exact_p_values_are_scipys():
    """Up to thirteen images every exchange is tried; SciPy does the same, for curves too."""
    one, other = sample(9, 4), sample(9, 5)
    found = permutation_p([one], other)[0]
    for column in range(2):
        oracle = stats.permutation_test(
            (one.means[:, column], other.means[:, column]),
            lambda a, b, axis: np.mean(a - b, axis=axis),
            permutation_type="samples",
            vectorized=True,
        )
        assert found[column] == pytest.approx(oracle.pvalue, abs=1e-12)
    curves = [values.curves[0] for values in (one, other)]

    def of_exchanged(first: np.ndarray, second: np.ndarray) -> float:
        """The difference of maxima for images that carry their method's number."""
        index = np.arange(9)
        both = np.stack(curves)
        return maximum_of_average(both[first.astype(int), index], 0) - maximum_of_average(
            both[second.astype(int), index], 0
        )

    oracle = stats.permutation_test((np.zeros(9), np.ones(9)), of_exchanged, permutation_type="samples")
    assert found[2] == pytest.approx(oracle.pvalue, abs=1e-12)


def test_random_p_values_come_close_to_scipys():
    one, other = sample(60, 6), sample(60, 6)
    other.means[:, 0] += np.random.default_rng(0).normal(0.02, 0.08, 60)
    oracle = stats.permutation_test(
        (one.means[:, 0], other.means[:, 0]),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        rng=2,
    )
    found = permutation_p([one], other)[0]
    assert found[0] == pytest.approx(oracle.pvalue, abs=0.015)
    assert list(found[1:]) == [1, 1]  # nothing differs there


def test_identical_samples_do_not_differ():
    one = sample(30, 8)
    assert list(permutation_p([one], one)[0]) == [1, 1, 1]
    first, second = bootstrap([one, one], draws=20)
    assert np.array_equal(first, second)


def test_the_draws_do_not_depend_on_the_memory_for_them(monkeypatch):
    one, other = sample(50, 9), sample(50, 10)
    whole = bootstrap([one, other], draws=300), permutation_p([one], other, draws=300)[0]
    monkeypatch.setattr(statistics, "_CELLS", 700)
    parts = bootstrap([one, other], draws=300), permutation_p([one], other, draws=300)[0]
    np.testing.assert_allclose(whole[0], parts[0], rtol=1e-12)
    np.testing.assert_allclose(whole[1], parts[1], atol=0.02)


def test_more_images_than_a_number_has_digits():
    """There are more exchanges of 1,100 images than a float can hold."""
    one, other = sample(1100, 11, thresholds=5), sample(1100, 12, thresholds=5)
    found = permutation_p([one], other, draws=100)[0]
    assert np.all((found > 0) & (found <= 1))
