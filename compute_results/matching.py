"""Match maps to masks by file name."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from datasets.catalog import MAP_SUFFIX, composed, describe_passed, image_files, lookalikes


class MapMask(NamedTuple):
    """A saliency map and the mask it is scored against; `stem` is the mask's, with its sub-folders ("class/name")."""

    stem: str
    map: Path
    mask: Path


@dataclass(frozen=True)
class Matching:
    """The outcome of `match_maps`.

    Attributes:
        pairs: maps with their masks, in the order of the masks.
        missing: stems of masks without a map.
        surplus: PNG files that belong to no mask, relative to the maps' folder.
        passed: number of other files by suffix, which are no maps.
    """

    pairs: list[MapMask]
    missing: list[str]
    surplus: list[str]
    passed: dict[str, int] = field(default_factory=dict)


def find_masks(folder: Path) -> dict[str, Path]:
    """Find the masks under a folder, sub-folders included.

    Returns:
        Files by stem (the path below `folder` without its ending, as "name" or "class/name"), sorted.

    Raises:
        FileNotFoundError: `folder` is not a folder.
        ValueError: it holds no image, or two with the same stem.
    """
    masks: dict[str, Path] = {}
    for path in _files(folder, "masks"):
        stem = composed(path.relative_to(folder).with_suffix("").as_posix())
        if stem in masks:
            remark = lookalikes([masks[stem], path])
            raise ValueError(f"{masks[stem]} and {path} could both be the mask of {stem}{remark}: keep one of them")
        masks[stem] = path
    if not masks:
        raise ValueError(f"no mask in {folder}: give the folder that holds one image file for each mask")
    return masks


def match_maps(masks: Mapping[str, Path], folder: Path) -> Matching:
    """Find each mask's map: `<stem>.png` or `<stem>_<anything>.png`, in the mask's own sub-folder.

    A file is the map of the longest stem that fits: beside masks `a` and `a_b`, `a_b_method.png` belongs to `a_b`.

    Raises:
        FileNotFoundError: `folder` is not a folder.
        ValueError: two files could be the map of one mask.
    """
    maps: dict[str, Path] = {}
    surplus = []
    passed: Counter[str] = Counter()
    for path in _files(folder, "maps", passed):
        if path.suffix.lower() != MAP_SUFFIX:
            passed[path.suffix.lower()] += 1
            continue
        relative = Path(composed(path.relative_to(folder).as_posix()))
        stem = _owner(masks, relative)
        if stem is None:
            surplus.append(relative.as_posix())
        elif stem in maps:
            raise ValueError(f"{maps[stem]} and {path} could both be the map of {stem}: keep one of them")
        else:
            maps[stem] = path
    pairs = [MapMask(stem, maps[stem], mask) for stem, mask in masks.items() if stem in maps]
    return Matching(pairs, [stem for stem in masks if stem not in maps], surplus, dict(passed))


def describe(matching: Matching) -> str:
    """Return a clause on which maps are missing and which are surplus: counts and the first few names."""
    clauses = []
    if matching.missing:
        clauses.append(f"{_count(matching.missing, 'mask')} without a map ({_few(matching.missing)})")
    if matching.surplus:
        clauses.append(f"{_count(matching.surplus, 'map')} without a mask ({_few(matching.surplus)})")
    if matching.missing and matching.passed:
        clauses.append(describe_passed(matching.passed).replace("no image by the suffix", f"no {MAP_SUFFIX}"))
    return " and ".join(clauses)


def _files(folder: Path, what: str, passed: Counter[str] | None = None) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder} to read {what} from: check its path")
    return sorted(image_files(folder, passed))


def _owner(masks: Mapping[str, Path], relative: Path) -> str | None:
    name = relative.stem
    while (stem := relative.with_name(name).as_posix()) not in masks:
        name, underscore, _ = name.rpartition("_")
        if not underscore or not name:
            return None
    return stem


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"


def _few(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
