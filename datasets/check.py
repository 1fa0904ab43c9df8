"""Check a data set and report every problem: `python -m datasets.check --dataset ORSSD --root data/ORSSD`.

Errors stop training. Warnings are what training only warns of, and images that show one scene. No file is changed.
"""

from utils import command

if __name__ == "__main__":
    command.begin("no file was changed")  # before the imports, which take seconds

import argparse
import hashlib
import io
import os
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

from datasets.alignment import Alignment
from datasets.catalog import (
    DATASETS,
    SAMPLE_ROOT,
    Pair,
    Split,
    dataset_name,
    describe_passed,
    find_pairs,
    group_by_stem,
    layouts_at,
    pair_folders,
    read_listing,
)
from datasets.descriptors import Descriptor, describe
from datasets.file_warnings import TEXTS, FileWarning
from datasets.io import AS_STORED, Reading
from datasets.leaks import add_options, check_outputs, comparable, entries_in, near_duplicate_findings, write_outputs
from datasets.near_duplicates import Entry, find_near_duplicates
from datasets.pairs import ErrorKind, PairError, inspect_pair
from datasets.raster import parse_bands, parse_range
from datasets.report import Finding, Part, Report, as_json, as_text
from utils.files import atomic_write
from utils.progress import ProgressBar


@dataclass(frozen=True)
class _Place:
    """The folders of a part, and the call by which training pairs its files."""

    images: Path
    masks: Path
    catalog: Callable[[], list[Pair]]
    listing: Path | None = None
    published: int | None = None


@dataclass(frozen=True)
class _Inspected:
    pair: Pair
    size: tuple[int, int] | None
    warnings: FileWarning
    errors: list[PairError]
    descriptor: Descriptor | None


def check_dataset(
    dataset: str,
    root: Path | str | None,
    workers: int | None = None,
    reading: Reading = AS_STORED,
    against: Sequence[Path] = (),
) -> Report:
    """Check every split of a known data set that is there.

    Args:
        dataset, root: as in `datasets.catalog.find_pairs`.
        workers: threads that decode, each with one pair in memory; by default one for each core, at most eight.
        reading: bands and value range of the images.
        against: folders of images that are searched for near-duplicates of the set's images.

    Raises:
        ValueError: the name is unknown, no split is at `root`, or a folder to compare with holds no image.
    """
    name = dataset_name(dataset)
    splits: tuple[Split, ...] = ("train", "test")
    found = {split: _find(name, root, split) for split in splits}
    places: dict[str, _Place] = {split: place for split, place in found.items() if place}
    if not places:
        find_pairs(name, root, "train")  # raises an error that says what was looked for
    report = Report(f"{name} in {root or SAMPLE_ROOT}", absent=[split for split in found if split not in places])
    return _check(report, places, workers, reading, against)


def check_folders(
    images: Path | str,
    masks: Path | str,
    workers: int | None = None,
    reading: Reading = AS_STORED,
    against: Sequence[Path] = (),
) -> Report:
    """Check a folder of images and a folder of masks; the rest as in `check_dataset`."""
    images, masks = Path(images), Path(masks)
    place = _Place(images, masks, lambda: pair_folders(images, masks))
    return _check(Report(f"{images} and {masks}"), {"folders": place}, workers, reading, against)


def _find(name: str, root: Path | str | None, split: Split) -> _Place | None:
    """Return the folders of a split; None where there are none. Of several layouts, an error, the first is checked."""
    for folder, layout in layouts_at(name, root, split)[:1]:
        listing = folder / layout.listing if layout.listing else None
        images, masks = folder / layout.images, folder / layout.masks
        return _Place(images, masks, lambda: find_pairs(name, root, split), listing, DATASETS[name][split])
    return None


def _check(
    report: Report, places: Mapping[str, _Place], workers: int | None, reading: Reading, against: Sequence[Path] = ()
) -> Report:
    start = time.perf_counter()
    seen: list[tuple[str, _Inspected]] = []
    with ThreadPool(workers or min(os.cpu_count() or 1, 8)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of counts, which the report has too, and Pillow's of metadata
        for name, place in places.items():
            pairs, findings = _gather(place)
            done = pool.imap(partial(_inspect, reading=reading), pairs)
            inspected = list(ProgressBar(done, name, len(pairs), leave=False, unit="pair"))
            seen += [(name, one) for one in inspected]
            report.parts[name] = _part(place, findings, inspected)
        for of, finding in _identical_images(seen, pool):
            (report.parts[of].findings if of else report.shared).append(finding)
        entries = [Entry(name, one.pair.stem, one.pair.image, one.descriptor) for name, one in seen if one.descriptor]
        others, unread = entries_in(against, pool)
    report.shared += unread
    report.near_duplicates = find_near_duplicates(
        comparable([*entries, *others]), {entry.part for entry in others}, workers, _aligning
    )
    for of, finding in near_duplicate_findings(entries, report.near_duplicates):
        (report.parts[of].findings if of else report.shared).append(finding)
    report.seconds = time.perf_counter() - start
    return report


def _aligning(done: Iterable[Alignment | None], count: int) -> Iterable[Alignment | None]:
    return ProgressBar(done, "near-duplicates", count, leave=False, unit="pair")


def _gather(place: _Place) -> tuple[list[Pair], list[Finding]]:
    """Return the pairs of a part, and everything that keeps its other files from being paired."""
    try:
        listed = Counter(read_listing(place.listing)) if place.listing else None
    except (OSError, ValueError):
        return [], []  # `_refusal` says why
    if not (place.images.is_dir() and place.masks.is_dir()):
        return [], []  # `_refusal` says which
    passed: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    images, masks = group_by_stem(place.images, passed[0]), group_by_stem(place.masks, passed[1])
    if listed is not None:
        images, masks = ({stem: of[stem] for stem in of if stem in listed} for of in (images, masks))
    findings = [
        *_named("two images of one stem", _repeated(images)),
        *_named("two masks of one stem", _repeated(masks)),
        *_named("images without a mask", images.keys() - masks.keys()),
        *_named("masks without an image", masks.keys() - images.keys()),
    ]
    for folder, over in zip((place.images, place.masks), passed, strict=True):
        if clause := describe_passed(over):
            findings.append(Finding(f"{folder}: {clause}", is_error=False))
    if listed is not None and place.listing:
        lost, twice = listed.keys() - images.keys() - masks.keys(), [stem for stem in listed if listed[stem] > 1]
        findings += _named(f"neither image nor mask, though in {place.listing.name}", lost)
        findings += _named(f"more than once in {place.listing.name}", twice)
    pairs = [Pair(stem, images[stem][0], masks[stem][0]) for stem in sorted(images.keys() & masks.keys())]
    return pairs, findings


def _refusal(place: _Place) -> str | None:
    try:
        place.catalog()
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _repeated(files: Mapping[str, list[Path]]) -> list[str]:
    return [" and ".join(map(str, paths)) for paths in files.values() if len(paths) > 1]


def _named(what: str, names: Iterable[str], is_error: bool = True) -> list[Finding]:
    """Return the finding, in a list that is empty where there are no names."""
    names = tuple(sorted(names))
    return [Finding(what, names, is_error)] if names else []


def _inspect(pair: Pair, reading: Reading) -> _Inspected:
    found = inspect_pair(pair, reading)
    no_mask = any(error.kind is ErrorKind.NO_MASK for error in found.errors)
    warned = FileWarning(0) if no_mask else found.warnings
    image = found.image
    return _Inspected(pair, image.size if image else None, warned, found.errors, describe(image) if image else None)


def _part(place: _Place, findings: list[Finding], inspected: list[_Inspected]) -> Part:
    sizes = [one.size for one in inspected if one.size]
    widths, heights = ((min(of), max(of)) for of in zip(*sizes, strict=True)) if sizes else (None, None)
    for kind in ErrorKind:
        texts = [error.text for one in inspected for error in one.errors if error.kind is kind]
        findings += _named(kind, texts)
    if place.published not in (None, len(inspected)):
        findings.append(Finding(f"{len(inspected)} pairs, not the {place.published} published", is_error=False))
    for flag, (_, what) in TEXTS.items():
        findings += _named(what, [one.pair.stem for one in inspected if flag in one.warnings], is_error=False)
    return Part(len(inspected), place.published, widths, heights, _refusal(place), findings)


def _identical_images(seen: list[tuple[str, _Inspected]], pool: ThreadPool) -> list[tuple[str | None, Finding]]:
    """Return byte-identical images as findings, each with the name of its part, or None for images of several parts."""
    by_size = defaultdict(list)
    for name, one in seen:
        if one.size:
            by_size[one.pair.image.stat().st_size].append((name, one.pair))
    alike = [entry for entries in by_size.values() if len(entries) > 1 for entry in entries]
    groups = defaultdict(list)
    for (name, pair), digest in zip(alike, pool.map(_digest, [pair.image for _, pair in alike]), strict=True):
        groups[digest].append((name, pair.stem))
    found = defaultdict(list)
    for group in groups.values():
        if len(group) > 1:
            parts = {name for name, _ in group}
            stems = [stem if len(parts) == 1 else f"{name} {stem}" for name, stem in group]
            found[parts.pop() if len(parts) == 1 else None].append(" = ".join(stems))
    return [(of, finding) for of, names in found.items() for finding in _named("byte-identical images", names, False)]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def main() -> None:
    """Check a data set from the command line; the exit status is 1 where there are errors."""
    parser = _parser()
    options = parser.parse_args()
    if options.dataset == "folders":
        parser.error("--dataset folders is gone: give --images DIR and --masks DIR alone")
    by_name, by_folders = bool(options.dataset or options.root), bool(options.images or options.masks)
    named = options.dataset and (options.root or options.dataset == "sample")
    if by_name == by_folders or not (named or (options.images and options.masks)):
        parser.error("give either --dataset NAME and --root DIR, or --images DIR and --masks DIR")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for terminals that cannot print ×
    try:
        reading = Reading(
            parse_bands(options.bands) if options.bands else None,
            parse_range(options.range) if options.range else None,
        )
        check_outputs(options)
        if by_name:
            report = check_dataset(options.dataset, options.root, options.workers, reading, options.against)
        else:
            report = check_folders(options.images, options.masks, options.workers, reading, options.against)
        print(as_text(report), end="")
        if options.json:
            atomic_write(options.json, as_json(report))
        write_outputs(report.near_duplicates, options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    sys.exit(1 if report.count(is_error=True) else 0)


def _parser() -> argparse.ArgumentParser:
    about = "Check a data set and report every problem. The exit status is 1 where an error would stop training."
    parser = argparse.ArgumentParser(prog="python -m datasets.check", description=about)
    parser.add_argument("--dataset", metavar="NAME", help=f"a known data set: {', '.join(DATASETS)}")
    parser.add_argument("--root", type=Path, metavar="DIR", help="its folder (default for sample: datasets/sample)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="instead of a data set: a folder of images")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="with --images: the folder of their masks")
    parser.add_argument("--bands", metavar="R,G,B", help="numbers of the images' red, green and blue band, if need be")
    parser.add_argument("--range", metavar="LOW:HIGH", help="values of the images that become black and white")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too, with every name")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one for each core, at most eight)")
    add_options(parser)
    return parser


if __name__ == "__main__":
    command.run(main)
