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

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """Return the figures of each draw, averages first: `weights` is draws × images, a draw's weights sum to 1."""
        maxima = [(weights.astype(curve.dtype, copy=False) @ curve).max(axis=1) for curve in self.curves]
        return np.column_stack([weights @ self.means, *maxima])


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
        weights = np.bincount(taken.ravel(), minlength=size * images).reshape(size, images) / images
        for sample, figures in zip(samples, found, strict=True):
            figures.append(sample.figures(weights))
    return [np.concatenate(figures) for figures in found]


def interval(figures: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of a figure's draws."""
    low, high = np.percentile(figures, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def permutation_p(one: Sample, other: Sample, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """Return two-sided p-values of the differences of two samples' figures.

    Under the null hypothesis the two methods' results on an image could as well be exchanged. Each draw exchanges them
    on half of the images at random. Where there are no more than `draws` ways to do it, each is taken once.

    Returns:
        A p-value for each figure, averages first: the share of draws, the observed one included, whose figures differ
        as much as the observed ones.
    """
    images = len(one.means)
    halves = [(_halves(one.means, other.means))]
    halves += [_halves(a, b) for a, b in zip(one.curves, other.curves, strict=True)]
    observed = _differences(halves, np.ones((1, images)))
    reached = np.zeros(observed.shape[1], dtype=int)
    # The same numbers summed in another order differ in their last digits, but are a draw as extreme as the observed.
    least = np.abs(observed) - np.array([1e-12] * one.means.shape[1] + [1e-6] * len(one.curves))
    exact = 2.0**images <= draws
    for signs in _all_signs(images) if exact else _random_signs(images, draws, seed):
        reached += (np.abs(_differences(halves, signs)) >= least).sum(axis=0)
    return reached / 2**images if exact else (reached + 1) / (draws + 1)


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


def _halves(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the average over images of the two values' middle, and half their difference over the image count."""
    half = (one - other) / 2
    return one.mean(axis=0, dtype=np.float64) - half.mean(axis=0, dtype=np.float64), half / len(half)


def _differences(halves: Sequence[tuple[np.ndarray, np.ndarray]], signs: np.ndarray) -> np.ndarray:
    """Return the differences of the figures, draws × figures, where a sign of −1 exchanges an image's values."""
    columns = []
    for index, (middle, half) in enumerate(halves):
        moved = signs.astype(half.dtype) @ half
        if index == 0:
            columns.append(2 * moved)
        else:
            columns.append(((middle + moved).max(axis=1) - (middle - moved).max(axis=1))[:, None])
    return np.hstack(columns)


def _random_signs(images: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for size in _chunks(draws, images):
        yield 2.0 * generator.integers(0, 2, (size, images), dtype=np.int8) - 1


def _all_signs(images: int) -> Iterator[np.ndarray]:
    yield 1.0 - 2 * ((np.arange(2**images)[:, None] >> np.arange(images)) & 1)
