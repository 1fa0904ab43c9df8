"""Find near-duplicates: turned, mirrored, recompressed, edited and cropped copies of a scene.

An index proposes pairs in all eight symmetries (`datasets.proposals`). A pair is verified block by block on thumbnails
(`datasets.agreement`); what is still open, by keypoints (`datasets.alignment`). Images of one color have nothing to
compare and are left out.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from datasets.agreement import agreement, detail, overlap
from datasets.alignment import Alignment, align, forget
from datasets.descriptors import Descriptor, is_mirroring
from datasets.proposals import Proposals, propose

_COMPARED = 16
"""Proposals of an image whose thumbnails are compared; each image of a group can propose others."""

_LARGE = 20_000
"""Images above which an image proposes half as many; below, alignment chooses among more than are compared."""

_MOST_CANDIDATES = 4
"""Pairs an image proposes at most to be aligned."""

_MOST_ALIGNED = 40_000
"""Pairs to align, those with the most similar low frequencies: an alignment costs as much as everything else."""

_AGREEMENT = 0.25
"""Agreement from which two images are near-duplicates without alignment; unrelated: 0.21."""

_SAME_DETAIL = 0.92
"""Correlation of two whole thumbnails' details above which they are near-duplicates, even where few blocks have any."""

_SIMILAR = 0.6
"""Least correlation of two aligned images, which differ in objects only."""

_CHUNK = 256


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
    kept = np.array(sorted(set(range(len(entries))) - {other for _, other in copies}), np.int32)
    most = _COMPARED // 2 if len(kept) > _LARGE else 8 * _COMPARED
    proposals = propose([entries[number].descriptor for number in kept], most)
    proposals.first[:], proposals.second[:] = kept[proposals.first], kept[proposals.second]
    outside = np.array([entry.part in against for entry in entries], bool)
    proposals = proposals[~(outside[proposals.first] & outside[proposals.second])]
    pairs = [_copy(entries[one], entries[other]) for one, other in copies]
    with ThreadPool(workers or min(os.cpu_count() or 1, 8)) as pool:
        pairs += _agreeing(entries, proposals, groups, pool)
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


def _agreeing(entries: Sequence[Entry], proposals: Proposals, groups: _Groups, pool: ThreadPool) -> list[NearDuplicate]:
    """Return the pairs whose thumbnails agree, the best first, and join their groups."""
    proposals = proposals[proposals.rank < _COMPARED]
    chunks = [proposals[start : start + _CHUNK] for start in range(0, len(proposals), _CHUNK)]
    done = pool.map(lambda chunk: _agreements(entries, chunk), chunks)
    values = np.where(proposals.by_gray, proposals.cosine, np.concatenate(done) if done else 0)
    numbers = np.flatnonzero(values >= _AGREEMENT)
    pairs = []
    for number in numbers[np.argsort(-values[numbers], kind="stable")].tolist():
        one, other = int(proposals.first[number]), int(proposals.second[number])
        if groups.root(one) == groups.root(other):
            continue
        pair = _compared(entries[one], entries[other], int(proposals.symmetry[number]), *proposals.windows[number])
        if not proposals.by_gray[number] or pair.similarity >= _SIMILAR:
            groups.join(one, other)
            pairs.append(pair)
    return pairs


def _agreements(entries: Sequence[Entry], proposals: Proposals) -> np.ndarray:
    """Return the agreement of each proposed pair."""
    windows, symmetries = proposals.windows.tolist(), proposals.symmetry.tolist()
    firsts, seconds = (
        [entries[number].descriptor.thumbnail for number in numbers] for numbers in (proposals.first, proposals.second)
    )
    first = np.stack([detail(of, one, by) for of, (one, _), by in zip(firsts, windows, symmetries, strict=True)])
    second = np.stack([detail(of, other) for of, (_, other) in zip(seconds, windows, strict=True)])
    norms = [np.sqrt(np.einsum("nij,nij->n", of, of)) for of in (first, second)]
    same = np.einsum("nij,nij->n", first, second) / np.maximum(norms[0] * norms[1], 1e-6)
    same[(same < _SAME_DETAIL) | proposals.windows.any(1)] = 0
    return np.maximum(agreement(first, second), same)


def _alignable(proposals: Proposals) -> list[tuple[int, int, bool]]:
    """Return the pairs to align as (first, second, mirrored), at most `_MOST_CANDIDATES` for each image."""
    proposals = proposals[~proposals.by_gray]
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
        if len(chosen) == _MOST_ALIGNED:
            break
    return sorted(chosen)  # an image's keypoints are found once where its pairs follow one another


def _align(first: Entry, second: Entry, mirrored: bool) -> Alignment | None:
    try:
        return align(first.path, second.path, mirrored)
    except (OSError, ValueError):  # deleted meanwhile
        return None


def _copy(first: Entry, second: Entry) -> NearDuplicate:
    """Return a pair of images whose descriptors are equal."""
    try:
        identical = first.path.read_bytes() == second.path.read_bytes()
    except OSError:  # deleted meanwhile
        identical = False
    return NearDuplicate(first, second, 1.0, "", identical)


def _compared(first: Entry, second: Entry, symmetry: int, window: int, other_window: int) -> NearDuplicate:
    """Return a pair of images with the correlation of windows that show the same."""
    similarity, part = overlap(first.descriptor.thumbnail, second.descriptor.thumbnail, symmetry, window, other_window)
    says = [_SYMMETRIES[symmetry]] if symmetry else []
    says += [f"overlap {part:.0%}"] if part < 0.95 or (window, other_window) != (0, 0) else []
    return NearDuplicate(first, second, similarity, ", ".join(says))


def _says(how: Alignment) -> str:
    turn = round(how.degrees) % 360
    parts = [f"turned {turn}°"] if 2 < turn < 358 else []
    parts += ["mirrored"] if how.mirrored else []
    parts += [f"overlap {how.overlap:.0%}"] if how.overlap < 0.98 or abs(how.scale - 1) > 0.03 else []
    return ", ".join(parts)
