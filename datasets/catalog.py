"""What each data set is on disk: its layouts, splits and expected counts; from a name and a root to pairs of files.

Nothing here opens an image: pairing goes by file names alone.
"""

import hashlib
import os
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Literal

Split = Literal["train", "test"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

DATASETS: Mapping[str, Mapping[str, int | None]] = {
    "ORSSD": {"train": 600, "test": 200},
    "EORSSD": {"train": 1400, "test": 600},
    "ORSI-4199": {"train": 2000, "test": 2199},
    "RSISOD": {"train": 3784, "test": 1270},
    "RSSOD": {"train": None, "test": None},
    "sample": {"train": None, "test": None},
}
"""Pairs that each split holds as published; None where that is unknown or, for sample.py's set, one's own choice."""

_ALIASES = {"ors4199": "ORSI-4199"}


@dataclass(frozen=True)
class Pair:
    """An image and its mask.

    `stem` is the image's name without its suffix, with `/` between it and the sub-folders it lies in (`class/name`):
    what its saliency map is called.
    """

    stem: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Layout:
    """Where a set keeps a split's images and masks; `listing` is its file of stems where splits share folders."""

    images: str
    masks: str
    listing: str | None = None

    def of(self, split: str) -> "Layout":
        """This layout with the split's name filled in."""
        return Layout(*(part and part.format(split=split) for part in (self.images, self.masks, self.listing)))

    def is_at(self, root: Path) -> bool:
        """Whether the images are where this layout has them; masks may be absent."""
        return (root / self.images).is_dir() and (self.listing is None or (root / self.listing).is_file())

    def __str__(self) -> str:
        return " + ".join([f"{self.images}/", f"{self.masks}/", *([self.listing] if self.listing else [])])


LAYOUTS = (
    Layout("{split}-images", "{split}-labels"),  # ORSSD, EORSSD and the rendered sample set
    Layout("{split}set/images", "{split}set/gt"),  # ORSI-4199
    Layout("{split}/images", "{split}/labels"),  # RSISOD, with a folder a class below
    Layout("images", "labels", "{split}.txt"),  # every set as the paper's authors keep it
)


def dataset_name(dataset: str) -> str:
    """The name in `DATASETS` for any spelling of it: case, hyphens and underscores do not matter, nor ORS for ORSI.

    Raises ValueError for a set that is not known, naming those that are.
    """
    key = _plain(dataset)
    known = {_plain(name): name for name in DATASETS} | _ALIASES
    if key not in known:
        raise ValueError(f"unknown data set {dataset!r}: choose one of {', '.join(DATASETS)}, or give folders")
    return known[key]


def find_pairs(dataset: str, root: Path | str, split: Split) -> list[Pair]:
    """The pairs of one split, sorted by stem.

    `root` is the set's own folder, or one that holds it under the set's name. Whichever of `LAYOUTS` is there is
    recognized by itself, under any set's name. A count other than the published one is a warning.

    Raises ValueError where no layout is found (or two are), and where an image has no mask or a mask no image.
    """
    name, root = dataset_name(dataset), Path(root)
    folder, layout = _recognize(name, root, split)
    where = f"{name} {split} ({folder})"
    if not (folder / layout.masks).is_dir():
        raise ValueError(f"{where}: {layout.images}/ is there but its masks' folder {layout.masks}/ is not")
    images = _files_by_stem(folder / layout.images, where)
    masks = _files_by_stem(folder / layout.masks, where)
    if layout.listing:
        stems = _listed_stems(folder / layout.listing)
        images = {stem: images[stem] for stem in stems if stem in images}
        masks = {stem: masks[stem] for stem in stems if stem in masks}
        lost = stems - images.keys() - masks.keys()
        _refuse_unless_none(where, f"neither image nor mask, though in {layout.listing}", lost)
    pairs = _paired(images, masks, where)
    _warn_of_count(name, split, len(pairs), folder)
    return pairs


def find_images(dataset: str, root: Path | str, split: Split) -> list[tuple[str, Path]]:
    """(stem, image) of one split, sorted by stem: as `find_pairs`, for a split that need not have masks."""
    name, root = dataset_name(dataset), Path(root)
    folder, layout = _recognize(name, root, split)
    where = f"{name} {split} ({folder})"
    images = _files_by_stem(folder / layout.images, where)
    if layout.listing:
        stems = _listed_stems(folder / layout.listing)
        _refuse_unless_none(where, f"no image, though in {layout.listing}", stems - images.keys())
        images = {stem: images[stem] for stem in stems}
    if not images:
        raise ValueError(f"{where}: no images found")
    _warn_of_count(name, split, len(images), folder)
    return sorted(images.items())


def pair_folders(images: Path | str, masks: Path | str) -> list[Pair]:
    """The pairs of any folder of images and folder of masks, sub-folders included, sorted by stem.

    Raises ValueError where a folder is missing or the two do not match file by file.
    """
    images, masks = Path(images), Path(masks)
    for what, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise ValueError(f"the folder of {what} {folder} is not there")
    if images.resolve() == masks.resolve():
        raise ValueError(f"{images} is given as the folder of images and as that of masks: keep them in two folders")
    return _paired(_files_by_stem(images, str(images)), _files_by_stem(masks, str(masks)), f"{images} and {masks}")


def image_files(folder: Path) -> Iterator[Path]:
    """Every image file below a folder; hidden files (macOS leaves `._0001.jpg`) and hidden folders are passed over."""
    seen = {folder.resolve()}
    for parent, folders, names in os.walk(folder, followlinks=True):
        places = {name: Path(parent, name).resolve() for name in folders if not name.startswith(".")}
        folders[:] = [name for name, place in places.items() if place not in seen]  # links may lead round in circles
        seen.update(places.values())
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(parent, name)


def images_at(path: Path | str, leave_out: Path | None = None) -> list[tuple[str, str]]:
    """(stem, image) of every image that `path` means, as text: a million of them take 300 MB.

    The stem is the image's name without its suffix, behind the sub-folders that it lies in (`class/name`).

    - A folder: every image below it, sorted by stem; hidden files and folders are passed over, and so is `leave_out`.
    - A file with an image's suffix: that image.
    - Any other file: a UTF-8 list of images, one path a line, relative to the list's own folder; blank lines do not
      count. Images below that folder keep their sub-folders in their stems, those elsewhere the sub-folders below the
      deepest folder that all of these share. Listed files are not looked for here: whoever reads them will see.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no images in it, the file is neither image nor list, or two images have the same stem.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(_below(path, leave_out))
    elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        found = [(_stem(path.name), str(path))]
    elif path.is_file():
        found = _listed(path)
    else:
        raise FileNotFoundError(f"{path} is not there: give an image, a folder of images or a list of them")
    if not found:
        raise ValueError(f"{path}: no images in it; known suffixes are {', '.join(sorted(IMAGE_SUFFIXES))}")
    _check_distinct(found)
    return found


def leave_out(pairs: Iterable[Pair], stems: Iterable[str]) -> list[Pair]:
    """The pairs but those of these stems. Raises ValueError for a stem that no pair has."""
    pairs, stems = list(pairs), list(stems)
    if missing := sorted(set(stems) - {pair.stem for pair in pairs}):
        raise ValueError(f"{', '.join(missing)}: no pair of that stem (file name without suffix) to leave out")
    return [pair for pair in pairs if pair.stem not in stems]


def split_validation(pairs: Iterable[Pair], fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Split a training set into (training part, validation part), each sorted by stem.

    The same stems and seed give the same parts, in whatever order and wherever they lie. Byte-identical images stay
    on one side, so that the validation part is never trained on. The validation part has round(fraction · n) pairs
    (fewer by a few where such a group did not fit; at least one unless `fraction` is 0).

    Raises ValueError unless 0 ≤ fraction < 1, and where too few distinct images are left to fill both parts.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the validation fraction must be at least 0 and below 1, not {fraction}")
    pairs = sorted(pairs, key=lambda pair: pair.stem)
    if fraction == 0:
        return pairs, []
    wanted = min(max(round(fraction * len(pairs)), 1), len(pairs) - 1)
    groups = _identical_images(pairs)
    random.Random(seed).shuffle(groups)
    held_out: set[str] = set()
    for group in groups:
        if len(held_out) + len(group) <= wanted:
            held_out.update(pair.stem for pair in group)
    if not held_out:
        raise ValueError(f"{len(pairs)} pairs, {len(groups)} of them distinct, are too few for a validation part")
    return [p for p in pairs if p.stem not in held_out], [p for p in pairs if p.stem in held_out]


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _recognize(name: str, root: Path, split: str) -> tuple[Path, Layout]:
    """The folder (root, or the one in it named as the set) and the one layout that is there."""
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}: choose train or test")
    if not root.is_dir():
        raise ValueError(f"{name}: the folder {root} is not there")
    inner = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _is_called(folder.name, name)]
    for folder in (root, *inner):
        found = [layout for layout in (layout.of(split) for layout in LAYOUTS) if layout.is_at(folder)]
        if len(found) > 1:
            raise ValueError(f"{name} {split}: {folder} holds more than one layout: {'; '.join(map(str, found))}")
        if found:
            return folder, found[0]
    looked_for = "; ".join(str(layout.of(split)) for layout in LAYOUTS)
    there = _contents(root)
    raise ValueError(f"{name} {split}: no known layout in {root}. Looked for: {looked_for}. There is: {there}")


def _is_called(folder: str, name: str) -> bool:
    key = _plain(folder)
    return key == _plain(name) or _ALIASES.get(key) == name


def _contents(folder: Path, shown: int = 8) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "") or "nothing"


def _files_by_stem(folder: Path, where: str) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in image_files(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise ValueError(f"{where}: two files are called {stem}: {files[stem].name}, {path.name} in {path.parent}")
        files[stem] = path
    return files


def _listed_stems(listing: Path) -> set[str]:
    """The stems of a split's list, one a line; a file name is taken too."""
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{listing} is not a UTF-8 text file: {error}") from error
    names = [PurePosixPath(line.strip().replace("\\", "/")) for line in lines if line.strip()]
    stems = [(name.with_suffix("") if name.suffix.lower() in IMAGE_SUFFIXES else name).as_posix() for name in names]
    repeated = [stem for stem, count in Counter(stems).items() if count > 1]
    _refuse_unless_none(str(listing), "listed more than once", repeated)
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


def _identical_images(pairs: list[Pair]) -> list[list[Pair]]:
    """The pairs grouped by their images' bytes, in the order of each group's first stem; only equal sizes are read."""
    by_size = defaultdict(list)
    for pair in pairs:
        by_size[pair.image.stat().st_size].append(pair)
    groups = defaultdict(list)
    for size, alike in by_size.items():
        for pair in alike:
            digest = hashlib.sha256(pair.image.read_bytes()).hexdigest() if len(alike) > 1 else ""
            groups[size, digest].append(pair)
    return sorted(groups.values(), key=lambda group: group[0].stem)


def _below(folder: Path, leave_out: Path | None) -> Iterator[tuple[str, str]]:
    inside = None
    if leave_out and leave_out.resolve().is_relative_to(folder.resolve()):
        inside = folder / leave_out.resolve().relative_to(folder.resolve())
    for image in image_files(folder):
        if inside is None or not image.is_relative_to(inside):
            yield _stem(image.relative_to(folder).as_posix()), str(image)


def _listed(listing: Path) -> list[tuple[str, str]]:
    """(stem, image) of each line."""
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"{listing} is neither an image ({suffixes}) nor a UTF-8 list of images") from error
    home = os.path.abspath(listing.parent)
    images = [os.path.normpath(os.path.join(home, line.strip())) for line in lines if line.strip()]
    strangers = {os.path.dirname(image) for image in images if not image.startswith(os.path.join(home, ""))}
    shared = os.path.commonpath(strangers) if strangers else home
    below = tuple(os.path.join(folder, "") for folder in (home, shared))
    return [(_stem(image.removeprefix(below[not image.startswith(below[0])])), image) for image in images]


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _check_distinct(images: list[tuple[str, str]]) -> None:
    """Raise a ValueError where two images have the same stem."""
    for (stem, image), (next_stem, next_image) in pairwise(sorted(images)):
        if stem == next_stem:
            raise ValueError(f"{image} and {next_image} would write the same map, {stem}: rename one or leave it out")
