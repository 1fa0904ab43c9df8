"""Everything that is wrong with a data set, at once: `python -m datasets.check --dataset ORSSD --root data/ORSSD`.

Errors are what training would refuse; warnings are what it only warns of, and what it cannot see. Nothing is changed.
"""

import argparse
import hashlib
import json
import os
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from datasets.catalog import (
    DATASETS,
    IMAGE_SUFFIXES,
    LAYOUTS,
    Pair,
    dataset_name,
    find_pairs,
    image_files,
    pair_folders,
)
from datasets.pairs import ErrorKind, MaskWarning, PairError, inspect_pair, mask_warnings

_SAYS = {
    MaskWarning.GRAY: "masks that hold values between 0 and 255",
    MaskWarning.FULL: "masks that are all 255",
    MaskWarning.EMPTY: "masks without foreground",
}


@dataclass(frozen=True)
class Finding:
    """Something that was found: what it is, and the stems, or whole lines, that it was found of."""

    what: str
    names: tuple[str, ...] = ()
    is_error: bool = True


@dataclass(frozen=True)
class Part:
    """What was found in one split, or in the one pair of folders.

    Attributes:
        pairs: how many images have a mask.
        published: how many should; None where that is not known.
        widths, heights: the (least, greatest) of the images that could be read, in pixels; None where none could.
        refusal: what the catalog stops at when it pairs the files for training; None where it does not.
        findings: what is wrong with it.
    """

    pairs: int
    published: int | None
    widths: tuple[int, int] | None
    heights: tuple[int, int] | None
    refusal: str | None
    findings: list[Finding]

    def count(self, is_error: bool) -> int:
        """How many errors there are, or mask_warnings; a refusal that the findings do not explain is an error too."""
        counted = _count(self.findings, is_error)
        return counted or int(is_error and self.refusal is not None)


@dataclass
class Report:
    """What a check found.

    Attributes:
        of: what was checked.
        seconds: how long it took.
        parts: what was found in each part, by its name.
        absent: splits that are not there.
        shared: what several parts have in common and should not.
    """

    of: str
    seconds: float = 0.0
    parts: dict[str, Part] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    shared: list[Finding] = field(default_factory=list)

    def count(self, is_error: bool) -> int:
        """How many errors there are, or mask_warnings: the names, and the findings that have none."""
        return sum(part.count(is_error) for part in self.parts.values()) + _count(self.shared, is_error)


@dataclass(frozen=True)
class _Place:
    """Where a part keeps its files, and how the catalog pairs them."""

    images: Path
    masks: Path
    catalog: Callable[[], list[Pair]]
    listing: Path | None = None
    published: int | None = None


@dataclass(frozen=True)
class _Inspected:
    pair: Pair
    size: tuple[int, int] | None
    remark: MaskWarning
    faults: list[PairError]


def check_dataset(dataset: str, root: Path | str, workers: int | None = None) -> Report:
    """Check every split of a known data set that is there.

    Args:
        dataset: its name, as `datasets.catalog` knows it.
        root: its folder, or the one that holds it.
        workers: threads that decode, each with one pair in memory; by default one a core, eight at most.

    Raises:
        ValueError: the name is not known, or there is nothing at `root` to check.
    """
    name, root = dataset_name(dataset), Path(root)
    found = {split: _find(name, root, split) for split in DATASETS[name]}
    places = {split: place for split, place in found.items() if place}
    if not places:
        find_pairs(name, root, "train")  # says what was looked for, and what is there
    return _check(
        Report(f"{name} in {root}", absent=[split for split in found if split not in places]), places, workers
    )


def check_folders(images: Path | str, masks: Path | str, workers: int | None = None) -> Report:
    """Check any folder of images and folder of masks; `workers` as in `check_dataset`."""
    images, masks = Path(images), Path(masks)
    place = _Place(images, masks, lambda: pair_folders(images, masks))
    return _check(Report(f"{images} and {masks}"), {"folders": place}, workers)


def as_text(report: Report, shown: int = 20) -> str:
    """The report in Markdown; of each finding, `shown` names at most."""
    errors, told = report.count(is_error=True), report.count(is_error=False)
    lines = [f"# {report.of}", "", f"errors: {errors}, mask_warnings: {told} ({report.seconds:.1f} s)"]
    for name, part in report.parts.items():
        published = "" if part.published is None else f", {part.published} published"
        lines += ["", f"## {name}: {part.pairs} pairs{published}", ""]
        if part.widths and part.heights:
            lines.append("- image sizes: {}–{} × {}–{} pixels".format(*part.widths, *part.heights))
        if part.refusal:
            lines.append(f"- **training stops at**: {part.refusal}")
        lines += [_as_item(finding, shown) for finding in part.findings]
    for split in report.absent:
        lines += ["", f"## {split}: not there"]
    if report.shared:
        lines += ["", f"## {' and '.join(report.parts)}", "", *(_as_item(finding, shown) for finding in report.shared)]
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """The report as JSON, with every name."""
    counts = {"errors": report.count(is_error=True), "mask_warnings": report.count(is_error=False)}
    return json.dumps(counts | asdict(report), indent=1, ensure_ascii=False) + "\n"


def _count(findings: Iterable[Finding], is_error: bool) -> int:
    return sum(max(len(finding.names), 1) for finding in findings if finding.is_error == is_error)


def _as_item(finding: Finding, shown: int) -> str:
    """An item of a Markdown list: an error's names below it, a remark's behind it."""
    names = [*finding.names[:shown]]
    if len(finding.names) > shown:
        names.append(f"and {len(finding.names) - shown} more")
    count = f" ({len(finding.names)})" if names else ""
    if finding.is_error:
        return "\n  - ".join([f"- **error**: {finding.what}{count}", *names])
    return f"- {finding.what}{count}" + ": " * bool(names) + ", ".join(names)


def _find(name: str, root: Path, split: str) -> _Place | None:
    """Where the catalog finds a split; None where it knows no layout. Of several, which it refuses, the first."""
    inner = sorted(folder for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
    for folder in (root, *(folder for folder in inner if _is_called(folder.name, name))):
        for layout in (layout.of(split) for layout in LAYOUTS):
            if layout.is_at(folder):
                images, masks = folder / layout.images, folder / layout.masks
                listing = folder / layout.listing if layout.listing else None
                return _Place(images, masks, lambda: find_pairs(name, root, split), listing, DATASETS[name][split])
    return None


def _is_called(folder: str, name: str) -> bool:
    try:
        return dataset_name(folder) == name
    except ValueError:
        return False


def _check(report: Report, places: Mapping[str, _Place], workers: int | None) -> Report:
    start = time.perf_counter()
    seen: list[tuple[str, _Inspected]] = []
    with ThreadPool(workers or min(os.cpu_count() or 1, 8)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the catalog's of counts, told here, and Pillow's of odd metadata
        for name, place in places.items():
            pairs, findings = _gather(place)
            bar = tqdm(pool.imap(_inspect, pairs), name, len(pairs), leave=False, unit="pair", disable=None)
            inspected = list(bar)
            seen += [(name, one) for one in inspected]
            report.parts[name] = _part(place, findings, inspected)
        for of, finding in _identical_images(seen, pool):
            (report.parts[of].findings if of else report.shared).append(finding)
    report.seconds = time.perf_counter() - start
    return report


def _gather(place: _Place) -> tuple[list[Pair], list[Finding]]:
    """The pairs there are, and all that keeps the catalog, which stops at the first, from pairing the rest."""
    try:
        listed = _listed(place.listing) if place.listing else None
    except (OSError, ValueError):
        return [], []  # as the catalog says when it refuses the list
    if not (place.images.is_dir() and place.masks.is_dir()):
        return [], []  # as it says too
    images, masks = (_files_by_stem(folder, listed) for folder in (place.images, place.masks))
    findings = [
        *_named("two images of one stem", [_beside(files) for files in images.values() if len(files) > 1]),
        *_named("two masks of one stem", [_beside(files) for files in masks.values() if len(files) > 1]),
        *_named("images without a mask", images.keys() - masks.keys()),
        *_named("masks without an image", masks.keys() - images.keys()),
    ]
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


def _listed(listing: Path) -> Counter[str]:
    """How often a split's list names each stem; read as the catalog reads it."""
    lines = listing.read_text(encoding="utf-8-sig").splitlines()
    names = [PurePosixPath(line.strip().replace("\\", "/")) for line in lines if line.strip()]
    return Counter(str(name.with_suffix("") if name.suffix.lower() in IMAGE_SUFFIXES else name) for name in names)


def _files_by_stem(folder: Path, listed: Iterable[str] | None) -> dict[str, list[Path]]:
    files = defaultdict(list)
    for path in sorted(image_files(folder)):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if listed is None or stem in listed:
            files[stem].append(path)
    return files


def _beside(files: Sequence[Path]) -> str:
    return " and ".join(map(str, files))


def _named(what: str, names: Iterable[str], is_error: bool = True) -> list[Finding]:
    """The finding, if there is anything that it is of."""
    names = tuple(sorted(names))
    return [Finding(what, names, is_error)] if names else []


def _inspect(pair: Pair) -> _Inspected:
    image, mask, faults = inspect_pair(pair)
    no_mask = mask is None or any(fault.kind is ErrorKind.NO_MASK for fault in faults)
    return _Inspected(pair, image and image.size, MaskWarning(0) if no_mask else mask_warnings(mask), faults)


def _part(place: _Place, findings: list[Finding], inspected: list[_Inspected]) -> Part:
    sizes = [one.size for one in inspected if one.size]
    widths, heights = ((min(of), max(of)) for of in zip(*sizes, strict=True)) if sizes else (None, None)
    for kind in ErrorKind:
        texts = [fault.text for one in inspected for fault in one.faults if fault.kind is kind]
        findings += _named(kind, texts)
    if place.published not in (None, len(inspected)):
        findings.append(Finding(f"{len(inspected)} pairs, not the {place.published} published", is_error=False))
    for flag, what in _SAYS.items():
        findings += _named(what, [one.pair.stem for one in inspected if flag in one.remark], is_error=False)
    return Part(len(inspected), place.published, widths, heights, _refusal(place), findings)


def _identical_images(seen: list[tuple[str, _Inspected]], pool: ThreadPool) -> list[tuple[str | None, Finding]]:
    """Images of the same bytes, as findings of the part that they are in, or of None where they are in several."""
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


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def main() -> None:
    """Check a data set from the command line; the exit status is 1 where there are errors."""
    parser = _parser()
    options = parser.parse_args()
    sys.stdout.reconfigure(errors="replace")  # a terminal that cannot print × is no reason to lose the report
    try:
        if options.dataset == "folders":
            if not (options.images and options.masks):
                parser.error("--dataset folders needs --images DIR and --masks DIR")
            report = check_folders(options.images, options.masks, options.workers)
        elif options.root:
            report = check_dataset(options.dataset, options.root, options.workers)
        else:
            parser.error(f"--dataset {options.dataset} needs --root DIR")
        print(as_text(report), end="")
        if options.json:
            _write_whole(options.json, as_json(report))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    sys.exit(1 if report.count(is_error=True) else 0)


def _parser() -> argparse.ArgumentParser:
    about = "Report all that is wrong with a data set. The exit status is 1 where training would refuse any of it."
    parser = argparse.ArgumentParser(prog="python -m datasets.check", description=about)
    parser.add_argument("--dataset", required=True, help=f"{', '.join(DATASETS)}, or folders for any two folders")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the folder of images, with --dataset folders")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="the folder of masks, with --dataset folders")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too, with every name")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core, eight at most)")
    return parser


if __name__ == "__main__":
    main()
