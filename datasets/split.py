"""Choose the pairs that train and those that validate."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable

from datasets.catalog import Pair, composed

VALIDATION_SEED = 2021
"""Seed that chooses the held-back part, the same for every run's own seed."""


def leave_out(pairs: Iterable[Pair], stems: Iterable[str]) -> list[Pair]:
    """Return the pairs without those of the given stems. Raises ValueError for a stem that no pair has."""
    pairs, stems = list(pairs), {composed(stem) for stem in stems}
    if missing := sorted(stems - {pair.stem for pair in pairs}):
        raise ValueError(f"{', '.join(missing)}: no pair of that stem (file name without suffix) to leave out")
    return [pair for pair in pairs if pair.stem not in stems]


def split_validation(
    pairs: Iterable[Pair], fraction: float, seed: int, exclude: Iterable[str] = ()
) -> tuple[list[Pair], list[Pair]]:
    """Split a training set into (training part, validation part), each sorted by stem.

    Groups of byte-identical images are ordered by a hash of seed and stem, and the first ones validate. A group stays
    on one side, so no validation image is trained on. The split is made before pairs are excluded: another `exclude`
    moves no pair to the other side. A pair that is added to the set or removed from it moves one group at most where
    all images are distinct.

    Args:
        pairs: all pairs of the set, in any order.
        fraction: part of all pairs that validates, in [0, 1). The part has round(fraction · n) pairs, fewer where a
            group does not fit, and at least one unless `fraction` is 0.
        seed: another seed gives another split.
        exclude: stems that are in neither part.

    Raises:
        ValueError: `fraction` is out of range, no pair has an excluded stem, or a part is left without pairs.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the validation fraction must be at least 0 and below 1, not {fraction}")
    pairs = sorted(pairs, key=lambda pair: pair.stem)
    kept = leave_out(pairs, exclude)
    if fraction == 0:
        return kept, []
    groups = sorted(identical_images(pairs), key=lambda group: _rank(group[0].stem, seed))
    wanted = min(max(round(fraction * len(pairs)), 1), len(pairs) - 1)
    validating: set[str] = set()
    for group in groups:
        if len(validating) + len(group) <= wanted:
            validating.update(pair.stem for pair in group)
    if not validating:
        raise ValueError(f"{len(pairs)} pairs, {len(groups)} of them distinct, are too few for a validation part")
    training, validation = [p for p in kept if p.stem not in validating], [p for p in kept if p.stem in validating]
    if not (training and validation):
        empty = "validation" if training else "training"
        raise ValueError(f"all pairs of the {empty} part are excluded: exclude fewer, or take another validation seed")
    return training, validation


def _rank(stem: str, seed: int) -> bytes:
    return hashlib.sha256(os.fsencode(f"{seed} {stem}")).digest()


def identical_images(pairs: list[Pair]) -> list[list[Pair]]:
    """Group pairs by their images' bytes, keeping their order; only files of equal size are read."""
    by_size = defaultdict(list)
    for pair in pairs:
        by_size[pair.image.stat().st_size].append(pair)
    groups = defaultdict(list)
    for size, alike in by_size.items():
        for pair in alike:
            digest = hashlib.sha256(pair.image.read_bytes()).hexdigest() if len(alike) > 1 else ""
            groups[size, digest].append(pair)
    return list(groups.values())
