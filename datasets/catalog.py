"""Find a data set's files: its layouts, splits and published counts; pairs of image and mask.

Files are paired by their names. No image is decoded here.
"""

import os
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Literal

from datasets.layouts import DATASETS as DATASETS  # commands name them
from datasets.layouts import LAYOUTS, Layout, is_called
from datasets.layouts import dataset_name as dataset_name
from datasets.layouts import run_if_file as run_if_file
from utils.text import read_text

Split = Literal["train", "test"]

IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".j2k", ".avif",
})  # fmt: skip
"""What makes a file an image or a mask for every command; its content decides how it is read (`datasets.decode`)."""

MAP_SUFFIX = ".png"
"""What makes a file a saliency map: the format that getsmaps.py writes."""

SAMPLE_ROOT = Path(__file__).with_name("sample")
"""The rendered sample set of this repository: what 'sample' means where no root is given."""


@dataclass(frozen=True)
class Pair:
    """An image and its mask, and a teacher's saliency maps of the image, where there is a teacher.

    `stem` is the image's path below its folder without the suffix (`name` or `class/name`). The saliency map gets
    this name too.
    """

    stem: str
    image: Path
    mask: Path
    teacher_maps: tuple[Path, ...] = ()


def find_pairs(dataset: str, root: Path | str | None, split: Split) -> list[Pair]:
    """Return the pairs of one split, sorted by stem.

    Any of `LAYOUTS` is recognized under any set's name. A count other than the published one gives a warning.

    Args:
        dataset: the set's name in any spelling.
        root: the set's folder, or a folder that holds it under the set's name. None is `SAMPLE_ROOT` for 'sample'.
        split: 'train' or 'test'.

    Raises:
        ValueError: no layout or more than one is there, or images and masks do not match.
    """
    name = dataset_name(dataset)
    folder, layout = _recognize(name, root, split)
    where = f"{name} {split} ({folder})"
    if not (folder / layout.masks).is_dir():
        raise ValueError(f"{where}: {layout.images}/ is there but its masks' folder {layout.masks}/ is not")
    images = _files_by_stem(folder / layout.images, where)
    masks = _files_by_stem(folder / layout.masks, where)
    if layout.listing:
        stems = _listed_once(folder / layout.listing)
        images = {stem: images[stem] for stem in stems if stem in images}
        masks = {stem: masks[stem] for stem in stems if stem in masks}
        lost = stems - images.keys() - masks.keys()
        _refuse_unless_none(where, f"neither image nor mask, though in {layout.listing}", lost)
    pairs = _paired(images, masks, where)
    _warn_of_count(name, split, len(pairs), folder)
    return pairs


def find_images(dataset: str, root: Path | str | None, split: Split) -> list[tuple[str, Path]]:
    """Return (stem, image) of one split, sorted by stem; the masks may be absent. Otherwise as `find_pairs`."""
    name = dataset_name(dataset)
    folder, layout = _recognize(name, root, split)
    where = f"{name} {split} ({folder})"
    images = _files_by_stem(folder / layout.images, where)
    if layout.listing:
        stems = _listed_once(folder / layout.listing)
        _refuse_unless_none(where, f"no image, though in {layout.listing}", stems - images.keys())
        images = {stem: images[stem] for stem in stems}
    if not images:
        raise ValueError(f"{where}: no images found")
    _warn_of_count(name, split, len(images), folder)
    return sorted(images.items())


def pair_folders(images: Path | str, masks: Path | str) -> list[Pair]:
    """Return the pairs of a folder of images and a folder of masks, sub-folders included, sorted by stem.

    Raises:
        ValueError: a folder is missing, or images and masks do not match.
    """
    images, masks = Path(images), Path(masks)
    for what, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise ValueError(f"the folder of {what} {folder} is not there")
    if images.resolve() == masks.resolve():
        raise ValueError(f"{images} is given as the folder of images and as that of masks: keep them in two folders")
    return _paired(_files_by_stem(images, str(images)), _files_by_stem(masks, str(masks)), f"{images} and {masks}")


def with_teacher_maps(pairs: Sequence[Pair], folders: Sequence[Path | str]) -> list[Pair]:
    """Return the pairs with their maps from each folder, `<stem>.png` as getsmaps.py writes them.

    Raises:
        ValueError: a folder, or a pair's map in one, is missing.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            found = "a file" if Path(folder).exists() else "not there"
            raise ValueError(
                f"teacher's maps {folder}: expected a folder, it is {found}; getsmaps.py --weights FILE --dataset NAME "
                "--root DIR --split train --raw --output DIR writes one"
            )
        missing = [pair.stem for pair in pairs if not Path(folder, f"{pair.stem}{MAP_SUFFIX}").is_file()]
        _refuse_unless_none(f"teacher's maps {folder}", f"no map, of {len(pairs)} training images", missing)
    maps = [tuple(Path(folder, f"{pair.stem}{MAP_SUFFIX}") for folder in folders) for pair in pairs]
    return [replace(pair, teacher_maps=own) for pair, own in zip(pairs, maps, strict=True)]


def image_files(folder: Path, passed: Counter[str] | None = None) -> Iterator[Path]:
    """Yield every image file below a folder, in no particular order.

    Hidden files (macOS leaves `._0001.jpg`) and hidden folders are skipped. Links are followed, except a link to a
    folder that it lies in.

    Args:
        folder: the folder.
        passed: counts the suffixes of the other files, which are passed over.
    """
    above = {os.fspath(folder): [folder.resolve()]}
    for parent, folders, names in os.walk(folder, followlinks=True):
        chain = above.pop(parent)
        places = {name: Path(parent, name).resolve() for name in folders if not name.startswith(".")}
        folders[:] = [name for name, place in places.items() if place not in chain]
        above |= {os.path.join(parent, name): [*chain, places[name]] for name in folders}
        for name in names:
            if name.startswith("."):
                continue
            suffix = os.path.splitext(name)[1].lower()
            if suffix in IMAGE_SUFFIXES:
                yield Path(parent, name)
            elif passed is not None:
                passed[suffix] += 1


def describe_passed(passed: Mapping[str, int], shown: int = 4) -> str:
    """Return a clause on the files that `image_files` passed over; empty without any."""
    count = sum(passed.values())
    if not count:
        return ""
    kinds = sorted(passed.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{number} {suffix or 'without suffix'}" for suffix, number in kinds[:shown])
    more = ", …" * (len(kinds) > shown)
    return f"{count} file{'s' * (count > 1)} passed over, no image by the suffix: {listed}{more}"


def group_by_stem(folder: Path, passed: Counter[str] | None = None) -> dict[str, list[Path]]:
    """Return the image files below a folder by stem, sorted; a stem with more than one file is a mistake of the set.

    Stems are composed (Unicode's NFC), since macOS decomposes accents in names. `passed` as in `image_files`.
    """
    files = defaultdict(list)
    for path in sorted(image_files(folder, passed)):
        files[composed(path.relative_to(folder).with_suffix("").as_posix())].append(path)
    return dict(files)


def composed(stem: str) -> str:
    """Return a stem with composed characters (Unicode's NFC): one spelling for names that look alike."""
    return unicodedata.normalize("NFC", stem)


def lookalikes(paths: list[Path]) -> str:
    """Return a remark where the names of files differ in nothing that can be seen, or ''."""
    stems = {path.stem for path in paths}
    return (
        " (composed and decomposed letters look alike)" if len(stems) > len({composed(stem) for stem in stems}) else ""
    )


def read_listing(listing: Path) -> list[str]:
    """Return the stems in a split's list, a UTF-8 text file with one stem or file name a line.

    Raises:
        ValueError: the file is not UTF-8 text.
    """
    try:
        lines = read_text(listing).splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{listing} is not a UTF-8 text file: {error}") from error
    names = [PurePosixPath(line.strip().replace("\\", "/")) for line in lines if line.strip()]
    stems = [name.with_suffix("") if name.suffix.lower() in IMAGE_SUFFIXES else name for name in names]
    return [composed(stem.as_posix()) for stem in stems]


def layouts_at(name: str, root: Path | str | None, split: str) -> list[tuple[Path, Layout]]:
    """Return (folder, layout) of each layout of a split that is there: at most one in a sound set.

    The folder is `root`, or a folder in it that is called as the set. `root` None is as in `find_pairs`.

    Raises:
        ValueError: there is no such folder.
    """
    root = _root(name, root)
    if not root.is_dir():
        hint = ": render the sample set with python -m tools.make_sample ROOT" * (name == "sample")
        raise ValueError(f"{name}: the folder {root} is not there{hint}")
    inner = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and is_called(folder.name, name)]
    for folder in (root, *inner):
        found = [layout for layout in (layout.of(split) for layout in LAYOUTS) if layout.is_at(folder)]
        if found:
            return [(folder, layout) for layout in found]
    return []


def images_at(path: Path | str, leave_out: Path | None = None) -> list[tuple[str, str]]:
    """Return (stem, image) of every image that `path` stands for, as text: a million of them take 300 MB.

    - A folder: every image below it, sorted by stem. Hidden files, hidden folders and `leave_out` are skipped.
    - A file with an image's suffix: this image.
    - Any other file: a UTF-8 list of images, one path a line, relative to the list's folder. Blank lines are skipped.
      The stems of images below this folder begin there. The stems of all others begin at the deepest folder that they
      share. Listed files need not exist.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: there are no images, the file is neither image nor list, or two images have the same stem.
    """
    path = Path(path)
    passed: Counter[str] = Counter()
    if path.is_dir():
        found = sorted(_below(path, leave_out, passed))
    elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        found = [(_stem(path.name), str(path))]
    elif path.is_file():
        found = _listed(path)
    elif path.exists():
        raise ValueError(f"{path} is a pipe or a device: give an image, a folder of images or a list of them")
    else:
        raise FileNotFoundError(f"{path} is not there: give an image, a folder of images or a list of them")
    clause = describe_passed(passed)
    if not found:
        known = f"known suffixes are {', '.join(sorted(IMAGE_SUFFIXES))}"
        raise ValueError(f"{path}: no images in it{f' ({clause})' if clause else ''}; {known}")
    if clause:
        warnings.warn(f"{path}: {clause}", stacklevel=2)
    _check_distinct(found)
    return found


def _root(name: str, root: Path | str | None) -> Path:
    if root is None and name != "sample":
        raise ValueError(f"{name}: no root is given, but only the sample set has one by default: name its folder")
    return SAMPLE_ROOT if root is None else Path(root)


def _recognize(name: str, root: Path | str | None, split: str) -> tuple[Path, Layout]:
    """Return the folder and the one layout that is there."""
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}: choose train or test")
    found = layouts_at(name, root, split)
    if len(found) > 1:
        layouts = "; ".join(str(layout) for _, layout in found)
        raise ValueError(f"{name} {split}: {found[0][0]} holds more than one layout: {layouts}")
    if not found:
        root, looked_for = _root(name, root), "; ".join(str(layout.of(split)) for layout in LAYOUTS)
        there = _contents(root)
        raise ValueError(f"{name} {split}: no known layout in {root}. Looked for: {looked_for}. There is: {there}")
    return found[0]


def _contents(folder: Path, shown: int = 8) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "") or "nothing"


def _files_by_stem(folder: Path, where: str) -> dict[str, Path]:
    passed: Counter[str] = Counter()
    files = group_by_stem(folder, passed)
    if clause := describe_passed(passed):
        warnings.warn(f"{folder}: {clause}", stacklevel=4)
    for stem, paths in files.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            names += f" in {paths[0].parent}{lookalikes(paths)}"
            raise ValueError(f"{where}: two files are called {stem}: {names}: keep one of them")
    return {stem: paths[0] for stem, paths in files.items()}


def _listed_once(listing: Path) -> set[str]:
    stems = Counter(read_listing(listing))
    _refuse_unless_none(str(listing), "listed more than once", [stem for stem, count in stems.items() if count > 1])
    return set(stems)


def _paired(images: Mapping[str, Path], masks: Mapping[str, Path], where: str) -> list[Pair]:
    if not images and not masks:
        raise ValueError(f"{where}: no images found")
    _refuse_unless_none(where, "images without a mask", images.keys() - masks.keys())
    _refuse_unless_none(where, "masks without an image", masks.keys() - images.keys())
    return [Pair(stem, images[stem], masks[stem]) for stem in sorted(images)]


def _refuse_unless_none(where: str, what: str, stems: Iterable[str], shown: int = 5) -> None:
    stems = sorted(stems)
    if stems:
        raise ValueError(f"{where}: {what} ({len(stems)}): {', '.join(stems[:shown])}{', …' * (len(stems) > shown)}")


def _warn_of_count(name: str, split: str, count: int, folder: Path) -> None:
    expected = DATASETS[name][split]
    if expected is not None and count != expected:
        warnings.warn(f"{name} {split}: {count} found in {folder}, {expected} expected", stacklevel=3)


def _below(folder: Path, leave_out: Path | None, passed: Counter[str]) -> Iterator[tuple[str, str]]:
    inside = None
    if leave_out and leave_out.resolve().is_relative_to(folder.resolve()):
        inside = folder / leave_out.resolve().relative_to(folder.resolve())
    for image in image_files(folder, passed):
        if inside is None or not image.is_relative_to(inside):
            yield _stem(image.relative_to(folder).as_posix()), str(image)


def _trimmed(line: str, home: str) -> str:
    """Return a line of a list without the spaces around it, unless they are part of a file's name."""
    return line if line != line.strip() and os.path.exists(os.path.join(home, line)) else line.strip()


def _listed(listing: Path) -> list[tuple[str, str]]:
    """Return (stem, image) of each line."""
    try:
        lines = read_text(listing).splitlines()
    except UnicodeDecodeError as error:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"{listing} is neither an image ({suffixes}) nor a UTF-8 list of images") from error
    home = os.path.abspath(listing.parent)
    images = [os.path.normpath(os.path.join(home, _trimmed(line, home))) for line in lines if line.strip()]
    strangers = {os.path.dirname(image) for image in images if not image.startswith(os.path.join(home, ""))}
    shared = os.path.commonpath(strangers) if strangers else home
    below = tuple(os.path.join(folder, "") for folder in (home, shared))
    return [(_stem(image.removeprefix(below[not image.startswith(below[0])])), image) for image in images]


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _check_distinct(images: list[tuple[str, str]]) -> None:
    """Raise ValueError where two images have the same stem."""
    for (stem, image), (next_stem, next_image) in pairwise(sorted(images)):
        if stem == next_stem:
            raise ValueError(f"{image} and {next_image} would write the same map, {stem}: rename one or leave it out")
