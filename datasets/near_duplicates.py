"""Find near-duplicates: turned, mirrored, recompressed, edited and cropped copies of a scene.

An approximate index (faiss) over low frequencies proposes pairs in all eight symmetries; each proposed pair is then
verified on finer pixels. Images of one color have nothing to compare and are left out.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import faiss
import numpy as np

from datasets.alignment import Alignment, align, forget, read_gray
from datasets.descriptors import CENTER, WINDOWS, Descriptor, is_mirroring, transformed, vectors

_EXACT_UP_TO = 40_000
"""Vectors up to which the index compares all; above, it is an approximate graph (HNSW)."""

_NEIGHBORS = 24
_LEAST_COSINE = 0.5
_MOST_CANDIDATES = 4
"""Pairs an image proposes at most; each image of a group can propose others."""

_SAME_DETAIL = 0.92
"""Correlation of two images' details above which they are near-duplicates without alignment; unrelated: 0.77."""

_SAME_GRAY = 0.99
"""Correlation of two blurred images above which they are near-duplicates without alignment; two beaches: 0.986."""

_SIMILAR = 0.6
"""Least correlation of two aligned images, which differ in objects only."""


Progress = Callable[[Iterable[Alignment | None], int], Iterable[Alignment | None]]

# Transposing swaps rows and columns; the three bits are those of `datasets.descriptors.transformed`.
_SYMMETRIES = (
    "", "mirrored top to bottom", "mirrored left to right", "turned 180°",
    "turned 270°, mirrored", "turned 90°", "turned 270°", "turned 90°, mirrored",
)  # fmt: skip


def _silent(done: Iterable[Alignment | None], _: int) -> Iterable[Alignment | None]:
    return done


@dataclass(frozen=True)
class Entry:
    """An image to compare: the name of its split or folder, its stem, its file and its descriptor."""

    part: str
    stem: str
    path: Path
    descriptor: Descriptor


@dataclass(frozen=True)
class NearDuplicate:
    """Two images of one scene.

    Attributes:
        first, second: the images.
        similarity: correlation of their gray values once aligned, −1 to 1.
        how: how the second differs, such as 'turned by 180°', or ''.
        identical: the files have the same bytes.
    """

    first: Entry
    second: Entry
    similarity: float
    how: str
    identical: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of their splits, one where both are in the same."""
        return tuple(dict.fromkeys((self.first.part, self.second.part)))

    def record(self) -> dict[str, object]:
        """Return the pair for JSON."""
        first, second = ([of.part, of.stem] for of in (self.first, self.second))
        return {"first": first, "second": second, "similarity": round(self.similarity, 4), "how": self.how}

    def __str__(self) -> str:
        named = len(self.parts) > 1
        first, second = (f"{of.part} {of.stem}" if named else of.stem for of in (self.first, self.second))
        return f"{first} ~ {second} ({self.similarity:.3f}{', ' * bool(self.how)}{self.how})"


@dataclass(frozen=True)
class _Proposals:
    """Proposed pairs, as arrays of one length.

    Attributes:
        first, second: the images' indices, first < second.
        symmetry: how the first must be transformed to look like the second.
        cosine: of the vectors.
        whole: whether two whole images are alike, not crops.
    """

    first: np.ndarray
    second: np.ndarray
    symmetry: np.ndarray
    cosine: np.ndarray
    whole: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "_Proposals":
        return _Proposals(*(values[chosen] for values in vars(self).values()))


class _Groups:
    """Disjoint sets of numbers, each named by its smallest."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def root(self, of: int) -> int:
        while (above := self._above.get(of, of)) != of:
            self._above[of] = self._above.get(above, above)
            of = above
        return of

    def join(self, one: int, other: int) -> bool:
        """Join two groups; return whether they were apart."""
        one, other = sorted((self.root(one), self.root(other)))
        self._above[other] = one
        return one != other


def find_near_duplicates(
    entries: Sequence[Entry], against: Collection[str] = (), workers: int | None = None, progress: Progress = _silent
) -> list[NearDuplicate]:
    """Return the near-duplicates, most similar first.

    Each group of n images of one scene gives n − 1 pairs, which connect it: a hundred copies are 99 pairs.

    Args:
        entries: the images of all parts.
        against: parts whose images are not compared among themselves.
        workers: threads; by default one for each core, at most eight.
        progress: wraps the alignments, whose number it gets, for a progress bar.
    """
    entries = [entry for entry in entries if not entry.descriptor.is_blank]
    groups = _Groups()
    copies = _equal_pixels(entries)
    for one, other in copies:
        groups.join(one, other)
    kept = sorted(set(range(len(entries))) - {other for _, other in copies})
    proposals = _propose([entries[number].descriptor for number in kept])
    proposals.first[:], proposals.second[:] = np.take(kept, proposals.first), np.take(kept, proposals.second)
    outside = np.array([entry.part in against for entry in entries], bool)
    proposals = proposals[~(outside[proposals.first] & outside[proposals.second])]
    pairs = [_compared(entries[one], entries[other], 0) for one, other in copies]
    for one, other, symmetry in _alike(entries, proposals):
        if groups.root(one) != groups.root(other):
            pair = _compared(entries[one], entries[other], symmetry)
            if pair.similarity >= _SIMILAR and groups.join(one, other):
                pairs.append(pair)
    with ThreadPool(workers or min(os.cpu_count() or 1, 8)) as pool:
        tasks = [task for task in _alignable(proposals) if groups.root(task[0]) != groups.root(task[1])]
        done = pool.imap(lambda task: _align(entries[task[0]], entries[task[1]], task[2]), tasks, chunksize=8)
        aligned = [(task, how) for task, how in zip(tasks, progress(done, len(tasks)), strict=True) if how]
    forget()
    for (one, other, _), how in sorted(aligned, key=lambda found: -found[1].similarity):
        if how.similarity >= _SIMILAR and groups.join(one, other):
            pairs.append(NearDuplicate(entries[one], entries[other], how.similarity, _says(how)))
    return sorted((pair for pair in pairs if not {*pair.parts} <= {*against}), key=lambda pair: -pair.similarity)


def grouped(pairs: Iterable[NearDuplicate]) -> list[list[Entry]]:
    """Return the images that pairs connect, as groups in the pairs' order."""
    entries: dict[Path, int] = {}
    listed: list[Entry] = []
    groups = _Groups()
    for pair in pairs:
        for entry in (pair.first, pair.second):
            if entry.path not in entries:
                entries[entry.path] = len(listed)
                listed.append(entry)
        groups.join(entries[pair.first.path], entries[pair.second.path])
    found = defaultdict(list)
    for number, entry in enumerate(listed):
        found[groups.root(number)].append(entry)
    return list(found.values())


def _equal_pixels(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Return each entry whose descriptor an earlier one has, after that one."""
    seen: dict[bytes, int] = {}
    firsts = [
        seen.setdefault(entry.descriptor.coefficients.tobytes() + entry.descriptor.gray.tobytes(), number)
        for number, entry in enumerate(entries)
    ]
    return [(first, number) for number, first in enumerate(firsts) if first != number]


def _propose(descriptors: Sequence[Descriptor]) -> _Proposals:
    """Return for each two images and orientation the most similar windows, from an index of all windows."""
    if len(descriptors) < 2:
        none = np.zeros(0, np.int64)
        return _Proposals(none, none.copy(), none, np.zeros(0, np.float32), np.zeros(0, bool))
    coefficients = np.stack([descriptor.coefficients for descriptor in descriptors])
    index = _index(vectors(coefficients.reshape(-1, *coefficients.shape[2:])))
    grays = np.stack([descriptor.gray for descriptor in descriptors])
    whole = _index(vectors(grays, balanced=False))
    found = []
    for symmetry in range(8):
        for window in (0, CENTER):
            places = index.search(vectors(coefficients[:, window], symmetry), _NEIGHBORS)
            found.append(_proposed(*places, symmetry, _LEAST_COSINE, len(WINDOWS), window > 0))
        places = whole.search(vectors(grays, symmetry, balanced=False), _NEIGHBORS)
        found.append(_proposed(*places, symmetry, _SAME_GRAY, 1, False))
    joined = [np.concatenate(values) for values in zip(*(vars(one).values() for one in found), strict=True)]
    together = _Proposals(*joined)
    return together[np.argsort(-together.cosine, kind="stable")]


def _proposed(
    cosine: np.ndarray, places: np.ndarray, symmetry: int, least: float, windows: int, cropped: bool
) -> _Proposals:
    """Return what a search found: n × neighbors cosines and places, in an index of so many windows an image."""
    numbers = np.broadcast_to(np.arange(len(places))[:, None], places.shape)
    others, of_window = np.divmod(places, windows)
    kept = (places >= 0) & (cosine >= least) & (others != numbers)
    one, other = numbers[kept], others[kept]
    inverse = {5: 6, 6: 5}.get(symmetry, symmetry)  # of the eight symmetries only quarter turns are not their own
    turned = np.where(one < other, symmetry, inverse)
    whole = (of_window[kept] == 0) & (not cropped)
    return _Proposals(np.minimum(one, other), np.maximum(one, other), turned, cosine[kept], whole)


def _index(items: np.ndarray) -> faiss.Index:
    """Return an index by inner product: exact for small sets, else a graph of near neighbors (HNSW)."""
    if len(items) <= _EXACT_UP_TO:
        exact = faiss.IndexFlatIP(items.shape[1])
        exact.add(items)
        return exact
    graph = faiss.IndexHNSWFlat(items.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 40, 48
    graph.add(items)
    return graph


def _alike(entries: Sequence[Entry], proposals: _Proposals) -> list[tuple[int, int, int]]:
    """Return the pairs of whole images that agree pixel by pixel, as (first, second, symmetry), the best first."""
    whole = proposals[proposals.whole]
    found = []
    for one, other, symmetry in zip(whole.first.tolist(), whole.second.tolist(), whole.symmetry.tolist(), strict=True):
        first, second = entries[one].descriptor, entries[other].descriptor
        detail = correlation(transformed(first.detail, symmetry), second.detail)
        grays = [vectors(of.gray[None], by, balanced=False) for of, by in ((first, symmetry), (second, 0))]
        gray = float((grays[0] * grays[1]).sum())
        if detail >= _SAME_DETAIL or gray >= _SAME_GRAY:
            found.append((max(detail, gray), (one, other, symmetry)))
    return [pair for _, pair in sorted(found, reverse=True)]


def _alignable(proposals: _Proposals) -> list[tuple[int, int, bool]]:
    """Return the pairs to align as (first, second, mirrored), at most `_MOST_CANDIDATES` for each image."""
    chosen: dict[tuple[int, int, bool], None] = {}
    counts: dict[int, int] = defaultdict(int)
    for one, other, symmetry in zip(
        proposals.first.tolist(), proposals.second.tolist(), proposals.symmetry.tolist(), strict=True
    ):
        task = (one, other, is_mirroring(symmetry))
        if task not in chosen and min(counts[one], counts[other]) < _MOST_CANDIDATES:
            chosen[task] = None
            counts[one] += 1
            counts[other] += 1
    return sorted(chosen)  # an image's keypoints are found once where its pairs follow one another


def _align(first: Entry, second: Entry, mirrored: bool) -> Alignment | None:
    try:
        return align(first.path, second.path, mirrored)
    except (OSError, ValueError):  # deleted meanwhile
        return None


def _compared(first: Entry, second: Entry, symmetry: int) -> NearDuplicate:
    """Return a pair of whole images with the correlation of their grays."""
    try:
        grays = [cv2.resize(read_gray(of.path), (64, 64), interpolation=cv2.INTER_AREA) for of in (first, second)]
        similarity = correlation(transformed(grays[0], symmetry), grays[1])
        identical = first.path.read_bytes() == second.path.read_bytes()
    except (OSError, ValueError):  # deleted meanwhile
        similarity, identical = correlation(first.descriptor.detail, second.descriptor.detail), False
    return NearDuplicate(first, second, similarity, _SYMMETRIES[symmetry], identical)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation of two arrays of one shape, 0 where one is constant."""
    one, other = (of.astype(np.float64).ravel() - of.astype(np.float64).mean() for of in (one, other))
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norm if norm else 0.0


def _says(how: Alignment) -> str:
    turn = round(how.degrees) % 360
    parts = [f"turned {turn}°"] if 2 < turn < 358 else []
    parts += ["mirrored"] if how.mirrored else []
    parts += [f"overlap {how.overlap:.0%}"] if how.overlap < 0.98 or abs(how.scale - 1) > 0.03 else []
    return ", ".join(parts)
