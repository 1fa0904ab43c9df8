"""Propose pairs of images that may show one scene, from an index (faiss) over low frequencies in all eight symmetries.

Above 4,000 images the index is approximate: it searches the lists whose centers are near (IVF).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from datasets.descriptors import CENTER, WINDOWS, Descriptor, vectors

_EXACT_UP_TO = 40_000
"""Vectors up to which the index compares all."""

_LISTS_SEARCHED = 12
_NEIGHBORS = 24
_LEAST_COSINE = 0.4
_LEAST_GRAY = 0.99
_MOST_WINDOWS = 2
"""Pairs of windows that are kept of two images in one symmetry."""

_ROWS = 8192


@dataclass(frozen=True)
class Proposals:
    """Proposed pairs, as arrays of one length.

    Attributes:
        first, second: the images' indices, first < second.
        symmetry: how the first must be transformed to look like the second.
        cosine: of the vectors.
        windows: n × 2 indices in `datasets.descriptors.WINDOWS`: which windows are alike.
        by_gray: the blurred images are alike, not their details.
        rank: place among the proposals of the image that was searched for, from 0.
    """

    first: np.ndarray
    second: np.ndarray
    symmetry: np.ndarray
    cosine: np.ndarray
    windows: np.ndarray
    by_gray: np.ndarray
    rank: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, chosen: np.ndarray | slice) -> "Proposals":
        return Proposals(*(values[chosen] for values in vars(self).values()))


def propose(descriptors: Sequence[Descriptor], most: int) -> Proposals:
    """Return similar windows of different images, the most similar first.

    Args:
        descriptors: of all images.
        most: proposals that an image makes, in each of two ways: by its details and by its blurred gray values.
    """
    if len(descriptors) < 2:
        return _joined([])
    coefficients = np.stack([descriptor.coefficients for descriptor in descriptors])
    found = _searched(coefficients, len(WINDOWS), (0, CENTER), True, most, _LEAST_COSINE)
    grays = np.stack([descriptor.gray for descriptor in descriptors])[:, None]
    found += _searched(grays, 1, (0,), False, most, _LEAST_GRAY)
    together = _joined(found)
    return together[np.argsort(-together.cosine, kind="stable")]


def _joined(parts: Sequence[Proposals]) -> Proposals:
    if not parts:
        none = np.zeros(0, np.int32)
        return Proposals(none, none, none, np.zeros(0, np.float32), np.zeros((0, 2), np.int8), np.zeros(0, bool), none)
    return Proposals(*(np.concatenate(values) for values in zip(*(vars(one).values() for one in parts), strict=True)))


def _searched(
    coefficients: np.ndarray, windows: int, queried: Sequence[int], balanced: bool, most: int, least: float
) -> list[Proposals]:
    """Return each image's most similar windows, under any symmetry, in an index of all windows.

    Args:
        coefficients: images × windows × 8 × 8.
        queried: windows of an image that are searched for.
        balanced: as in `datasets.descriptors.vectors`.
    """
    index = _index(vectors(coefficients.reshape(-1, *coefficients.shape[2:]), balanced=balanced))
    found = []
    for start in range(0, len(coefficients), _ROWS):
        rows = coefficients[start : start + _ROWS]
        numbers = np.arange(start, start + len(rows), dtype=np.int32)
        parts = []
        for symmetry in range(8):
            for window in queried:
                cosine, places = index.search(vectors(rows[:, window], symmetry, balanced), _NEIGHBORS)
                parts.append(_proposed(numbers, cosine, places, symmetry, window, windows, least))
        found.append(_most_similar(_joined(parts), most, not balanced))
    return found


def _proposed(
    numbers: np.ndarray, cosine: np.ndarray, places: np.ndarray, symmetry: int, window: int, windows: int, least: float
) -> Proposals:
    """Return what a search found, from each image that was searched for to another: first may be above second."""
    others, of_window = np.divmod(places, windows)
    kept = (places >= 0) & (cosine >= least) & (others != numbers[:, None])
    queries = np.broadcast_to(numbers[:, None], places.shape)[kept]
    pair = np.stack([np.full(len(queries), window), of_window[kept]], 1).astype(np.int8)
    turned = np.full(len(queries), symmetry, np.int8)
    none = np.zeros(len(queries), np.int32)
    return Proposals(queries, others[kept].astype(np.int32), turned, cosine[kept], pair, none > 0, none)


def _most_similar(found: Proposals, most: int, by_gray: bool) -> Proposals:
    """Return the `most` best proposals of each image that was searched for, with first < second."""
    alike = (found.first.astype(np.int64) << 40) + (found.second.astype(np.int64) << 3) + found.symmetry
    found = found[_best_of_each(alike, found.cosine, _MOST_WINDOWS)[0]]
    best, rank = _best_of_each(found.first, found.cosine, most)
    found = found[best]
    swapped = found.first > found.second
    inverse = np.array([0, 1, 2, 3, 4, 6, 5, 7], np.int8)  # only the quarter turns are not their own
    return Proposals(
        np.minimum(found.first, found.second),
        np.maximum(found.first, found.second),
        np.where(swapped, inverse[found.symmetry], found.symmetry),
        found.cosine,
        np.where(swapped[:, None], found.windows[:, ::-1], found.windows),
        np.full(len(found), by_gray),
        rank,
    )


def _best_of_each(keys: np.ndarray, values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the `most` greatest values of each key, and their ranks."""
    order = np.lexsort((-values, keys))
    ordered = keys[order]
    rank = (np.arange(len(order)) - np.searchsorted(ordered, ordered)).astype(np.int32)
    return order[rank < most], rank[rank < most]


def _index(items: np.ndarray) -> faiss.Index:
    """Return an index by inner product: exact for small sets, else of lists of near vectors."""
    exact = faiss.IndexFlatIP(items.shape[1])
    if len(items) <= _EXACT_UP_TO:
        exact.add(items)
        return exact
    lists = int(2 * len(items) ** 0.5)
    index = faiss.IndexIVFFlat(exact, items.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = 6, 64
    index.train(items)
    index.add(items)
    index.nprobe = _LISTS_SEARCHED
    return index
