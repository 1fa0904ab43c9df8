"""Resample paired figures: bootstrap intervals, permutation tests and Holm's correction.

SciPy's `bootstrap` and `permutation_test` give the same intervals and p-values for one figure at a time. Here all
figures of all methods share the draws, and a draw of an average curve is one row of a matrix product, so that thousands
of images take seconds. Memory does not grow with the number of draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
"""Draws of the bootstrap and of the permutation test."""

SEED = 2021
LEVEL = 0.95
"""Coverage of the intervals."""

_CELLS = 1 << 22  # of the matrix of draws × images that is held at a time


@dataclass(frozen=True)
class Sample:
    """A method's values of each image that its figures are computed from.

    Attributes:
        means: for figures that are averages: a float array of images × figures.
        curves: for each figure that is the maximum of an average curve: a float array of images × thresholds.
    """

    means: np.ndarray
    curves: tuple[np.ndarray, ...]

    def figures(self, weights: "Rows") -> np.ndarray:
        """Return the figures of each draw, averages first: a draw's weights of the images sum to 1."""
        return np.column_stack([weights @ self.means, *((weights @ curve).max(axis=1) for curve in self.curves)])


class Rows:
    """A matrix of draws × images that multiplies arrays in their own precision."""

    def __init__(self, values: np.ndarray) -> None:
        """Hold `values` in both precisions: one conversion serves all products."""
        self._of = {np.dtype(kind): values.astype(kind, copy=False) for kind in (np.float64, np.float32)}

    def __matmul__(self, columns: np.ndarray) -> np.ndarray:
        """Return the matrix product."""
        return self._of[columns.dtype] @ columns


def bootstrap(samples: Sequence[Sample], draws: int = DRAWS, seed: int = SEED) -> list[np.ndarray]:
    """Return the figures of each sample when its images are drawn anew, with replacement.

    Args:
        samples: values of the same images, at least one; all samples take the same draws.
        draws: number of draws.
        seed: of the draws.

    Returns:
        Arrays of draws × figures, one for each sample.
    """
    images, generator = len(samples[0].means), np.random.default_rng(seed)
    found: list[list[np.ndarray]] = [[] for _ in samples]
    for size in _chunks(draws, images):
        taken = generator.integers(0, images, (size, images)) + images * np.arange(size)[:, None]
        weights = Rows(np.bincount(taken.ravel(), minlength=size * images).reshape(size, images) / images)
        for sample, figures in zip(samples, found, strict=True):
            figures.append(sample.figures(weights))
    return [np.concatenate(figures) for figures in found]


def interval(figures: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of a figure's draws."""
    low, high = np.percentile(figures, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def permutation_p(
    samples: Sequence[Sample], reference: Sample, draws: int = DRAWS, seed: int = SEED
) -> list[np.ndarray]:
    """Return two-sided p-values of the differences of samples' figures from the reference's.

    Under the null hypothesis the two methods' results on an image could as well be exchanged. Each draw exchanges them
    on half of the images at random. Where there are no more than `draws` ways to do it, each is taken once.

    Args:
        samples: values of the same images as the reference's.
        reference: the values that they are compared with.
        draws: number of draws; all samples take the same.
        seed: of the draws.

    Returns:
        For each sample the p-values of the figures, averages first: the share of draws, the observed one included,
        whose figures differ as much as the observed ones.
    """
    images = len(reference.means)
    pairs = [_Pair(sample, reference) for sample in samples]
    exact = images < draws.bit_length()  # the 2 ** images ways to exchange are no more than the draws
    for signs in _all_signs(images) if exact else _random_signs(images, draws, seed):
        rows = Rows(signs)
        for pair in pairs:
            pair.count(rows)
    return [pair.reached / 2**images if exact else (pair.reached + 1) / (draws + 1) for pair in pairs]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method, in the given order."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    return adjusted.tolist()


def _chunks(draws: int, images: int) -> Iterator[int]:
    """Yield numbers of draws that sum to `draws`, each few enough for memory."""
    most = max(1, min(draws, _CELLS // images))
    for start in range(0, draws, most):
        yield min(most, draws - start)


class _Pair:
    """Two samples whose images are exchanged.

    Attributes:
        reached: for each figure the number of draws that differ as much as observed.
    """

    def __init__(self, sample: Sample, reference: Sample) -> None:
        self._halves = [(one - other) / (2 * len(one)) for one, other in _arrays(sample, reference)]
        self._middle = [
            (curve.mean(axis=0, dtype=np.float64) - half.sum(axis=0, dtype=np.float64)).astype(curve.dtype)
            for curve, half in zip(sample.curves, self._halves[1:], strict=True)
        ]
        observed = self._differences(Rows(np.ones((1, len(sample.means)))))
        # The same numbers added in another order differ in the last digits, but are as extreme as the observed.
        self._least = np.abs(observed) - np.array([1e-12] * sample.means.shape[1] + [1e-6] * len(sample.curves))
        self.reached = np.zeros(observed.shape[1], dtype=int)

    def count(self, signs: Rows) -> None:
        """Count the draws that differ as much as observed; a sign of −1 exchanges an image's values."""
        self.reached += (np.abs(self._differences(signs)) >= self._least).sum(axis=0)

    def _differences(self, signs: Rows) -> np.ndarray:
        """Return the differences of the figures, draws × figures."""
        columns = [2 * (signs @ self._halves[0])]
        for middle, half in zip(self._middle, self._halves[1:], strict=True):
            moved = signs @ half
            columns.append(((middle + moved).max(axis=1) - (middle - moved).max(axis=1))[:, None])
        return np.hstack(columns)


def _arrays(one: Sample, other: Sample) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the two samples' averages, then each of their curves."""
    yield one.means, other.means
    yield from zip(one.curves, other.curves, strict=True)


def _random_signs(images: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for size in _chunks(draws, images):
        yield 2.0 * generator.integers(0, 2, (size, images), dtype=np.int8) - 1


def _all_signs(images: int) -> Iterator[np.ndarray]:
    yield 1.0 - 2 * ((np.arange(2**images)[:, None] >> np.arange(images)) & 1)
