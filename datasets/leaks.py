"""Report near-duplicates, and write what to exclude so that no test image is trained on."""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import yaml

from datasets.catalog import IMAGE_SUFFIXES, image_files
from datasets.descriptors import describe
from datasets.io import open_image
from datasets.near_duplicates import Entry, NearDuplicate, grouped
from datasets.report import Finding
from datasets.side_by_side import draw_pairs
from utils.files import atomic_path, atomic_write
from utils.outputs import check_file
from utils.text import one_line

TRAINING = ("train", "folders")
"""Parts that are trained on: the training split, or the folders that are checked."""

LISTS = ("train.txt", "test.txt")
"""Files of a data set that list its images."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about near-duplicates to the command."""
    group = parser.add_argument_group("near-duplicates")
    group.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="DIR", help="folders of images to compare with too"
    )
    group.add_argument("--pictures", type=Path, metavar="FILE", help="draw the pairs side by side (.png or .pdf)")
    group.add_argument(
        "--write-exclude",
        type=Path,
        metavar="FILE",
        help="write the training images that are near-duplicates of images in the test split or in --against, "
        "as data.exclude: train.py --config CONFIG --config FILE",
    )
    group.add_argument(
        "--exclude-repeats",
        action="store_true",
        help="with --write-exclude: of near-duplicates within the training split, all but the first too",
    )
    group.add_argument(
        "--write-exclude-test",
        type=Path,
        metavar="FILE",
        help="write the test images that are near-duplicates of training images, one stem a line",
    )


def check_outputs(options: argparse.Namespace) -> None:
    """Raise OSError or ValueError where a file that the options name cannot be written, or is one of the data set's."""
    named = {
        "--json": options.json, "--write-exclude": options.write_exclude,
        "--write-exclude-test": options.write_exclude_test, "--pictures": options.pictures,
    }  # fmt: skip
    outputs = {option: path for option, path in named.items() if path is not None}
    if len({path.absolute() for path in outputs.values()}) < len(outputs):
        raise ValueError(f"{' and '.join(outputs)} name one file: give each its own")
    folders = [path for path in (options.root, options.images, options.masks, *options.against) if path]
    for option, path in outputs.items():
        check_file(path, option)
        above = Path(os.path.realpath(path)).parents
        inside = any(Path(os.path.realpath(folder)) in above for folder in folders)
        if inside and path.exists() and (path.suffix.lower() in IMAGE_SUFFIXES or path.name in LISTS):
            raise ValueError(f"{option} {path} is a file of the data set: give another name")


def write_outputs(pairs: Sequence[NearDuplicate], options: argparse.Namespace) -> None:
    """Write the files that the options name.

    Raises:
        OSError: a file cannot be written.
        ValueError: a stem cannot stand on a line, or the pictures' suffix is unknown.
    """
    if options.exclude_repeats and not options.write_exclude:
        raise ValueError("--exclude-repeats changes --write-exclude: give --write-exclude FILE too")
    if options.write_exclude:
        atomic_write(options.write_exclude, as_configuration(training_leaks(pairs, options.exclude_repeats)))
    if options.write_exclude_test:
        atomic_write(options.write_exclude_test, as_lines(test_leaks(pairs)))
    if options.pictures:
        with atomic_path(options.pictures) as temporary:
            draw_pairs(pairs, temporary, options.pictures.suffix)


def comparable(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries without files that another entry names, as where --against holds a split of the set."""
    by_path: dict[Path, Entry] = {}
    for entry in entries:
        by_path.setdefault(Path(os.path.realpath(entry.path)), entry)
    return list(by_path.values())


def entries_in(folders: Sequence[Path], pool: ThreadPool) -> tuple[list[Entry], list[Finding]]:
    """Return the images of folders, sub-folders included, as parts called by their folders; and those unreadable.

    Raises:
        ValueError: a folder is missing or holds no image.
    """
    entries: list[Entry] = []
    findings = []
    for folder in folders:
        files = list(image_files(folder)) if folder.is_dir() else []
        if not files:
            raise ValueError(f"--against {folder} holds no image: give a folder of images")
        described = pool.starmap(_entry, [(folder, file) for file in files])
        entries += [of for of in described if isinstance(of, Entry)]
        if unread := tuple(of for of in described if isinstance(of, str)):
            findings.append(Finding(f"images of {folder} that cannot be read", unread, is_error=False))
    return entries, findings


def near_duplicate_findings(
    entries: Sequence[Entry], pairs: Iterable[NearDuplicate]
) -> list[tuple[str | None, Finding]]:
    """Return near-duplicates as findings, each with the name of its part, or None for images of several parts.

    Byte-identical images are left out: they have a finding of their own. Images of one color are named once.

    Args:
        entries: the images of the checked parts.
        pairs: near-duplicates, of images in other folders too.
    """
    parts = {entry.part for entry in entries}
    blank = defaultdict(list)
    for entry in entries:
        if entry.descriptor.is_blank:
            blank[entry.part].append(entry.stem)
    texts = defaultdict(list)
    for pair in pairs:
        if not (pair.identical and parts.issuperset(pair.parts)):
            texts[pair.parts[0] if len(pair.parts) == 1 else None].append(str(pair))
    found = [(of, Finding("near-duplicates", tuple(names), is_error=False)) for of, names in texts.items()]
    what = "images of nearly one color, not compared"
    return found + [(of, Finding(what, tuple(stems), is_error=False)) for of, stems in blank.items()]


def training_leaks(pairs: Sequence[NearDuplicate], repeats: bool = False) -> dict[str, str]:
    """Return the stems of training images to exclude, each with the reason.

    Args:
        pairs: near-duplicates, which connect images to groups.
        repeats: of a group without a test image, all training images but the first too.
    """
    leaks = {}
    for group in grouped(pairs):
        training = sorted((entry for entry in group if entry.part in TRAINING), key=lambda entry: entry.stem)
        others = [entry for entry in group if entry.part not in TRAINING]
        first = others[0] if others else training[0]
        for entry in training if others else training[1:] if repeats else []:
            leaks[entry.stem] = f"{first.part} {first.stem}"
    return dict(sorted(leaks.items()))


def test_leaks(pairs: Sequence[NearDuplicate]) -> dict[str, str]:
    """Return the stems of test images that show a training image's scene, each with that image."""
    leaks = {}
    for group in grouped(pairs):
        training = sorted(f"{entry.part} {entry.stem}" for entry in group if entry.part in TRAINING)
        leaks.update({entry.stem: training[0] for entry in group if entry.part == "test" and training})
    return dict(sorted(leaks.items()))


def as_configuration(leaks: dict[str, str]) -> str:
    """Return the leaks as a configuration of train.py that sets data.exclude."""
    comments = "".join(f"# {one_line(stem)}: {one_line(why)}\n" for stem, why in leaks.items())
    head = (
        "# Training images to leave out, and what each is a near-duplicate of: train.py --config CONFIG --config FILE\n"
    )
    if not leaks:
        return f"{head}data:\n  exclude: []\n"
    # Quoted, because an unquoted 0009 is the number 9 to some readers.
    stems = (yaml.safe_dump(stem, default_style='"', width=float("inf")) for stem in leaks)
    return f"{head}{comments}data:\n  exclude:\n" + "".join(f"  - {stem}" for stem in stems)


def as_lines(leaks: dict[str, str]) -> str:
    """Return the leaks one stem a line, as compute_metrics.py --exclude reads them."""
    for stem in leaks:
        if stem != stem.strip() or stem.startswith("#") or len(stem.splitlines()) != 1:
            raise ValueError(f"{stem!r} cannot stand in a list with one stem a line: rename the image")
    head = "# Test images that are near-duplicates of training images\n"
    return head + "".join(f"{stem}\n" for stem in leaks)


def _entry(folder: Path, file: Path) -> Entry | str:
    try:
        image = open_image(file)
    except ValueError as error:
        return str(error)
    return Entry(str(folder), file.relative_to(folder).with_suffix("").as_posix(), file, describe(image))
