"""Compare two methods on the same images: paired bootstrap intervals and Holm's correction."""

from collections.abc import Iterator, Sequence

import numpy as np


def bootstrap_weights(images: int, draws: int, seed: int, chunk: int = 500) -> Iterator[np.ndarray]:
    """Yield how often each draw takes each image, divided by `images`: float64 arrays of up to (chunk, images)."""
    generator = np.random.default_rng(seed)
    for start in range(0, draws, chunk):
        taken = generator.integers(0, images, (min(chunk, draws - start), images))
        yield np.stack([np.bincount(row, minlength=images) for row in taken]) / images


def interval(differences: np.ndarray, draws: int = 10_000, seed: int = 2021) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of paired differences (one an image)."""
    means = [weights @ differences for weights in bootstrap_weights(len(differences), draws, seed)]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method, in the given order."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    return adjusted.tolist()
