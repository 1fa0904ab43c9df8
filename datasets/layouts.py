"""The data sets that are known by name, and the layouts that their folders may have."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from utils.user_file import run_user_file

DATASETS: dict[str, Mapping[str, int | None]] = {
    "ORSSD": {"train": 600, "test": 200},
    "EORSSD": {"train": 1400, "test": 600},
    "ORSI-4199": {"train": 2000, "test": 2199},
    "RSISOD": {"train": 3784, "test": 1270},
    "RSSOD": {"train": None, "test": None},
    "sample": {"train": None, "test": None},
}
"""Pairs in each split as published; None where the count is unknown, or free as for the rendered sample set."""

_ALIASES = {"ors4199": "ORSI-4199"}
_registered: list[str] = []


@dataclass(frozen=True)
class Layout:
    """The folders of a split's images and masks, and a file that lists its stems where splits share the folders."""

    images: str
    masks: str
    listing: str | None = None

    def of(self, split: str) -> "Layout":
        """Return this layout with the split's name filled in."""
        listing = self.listing and self.listing.format(split=split)
        return Layout(self.images.format(split=split), self.masks.format(split=split), listing)

    def is_at(self, root: Path) -> bool:
        """Return whether the folder of images (and the list) is there; the masks may be absent."""
        return (root / self.images).is_dir() and (self.listing is None or (root / self.listing).is_file())

    def __str__(self) -> str:
        return " + ".join([f"{self.images}/", f"{self.masks}/", *([self.listing] if self.listing else [])])


LAYOUTS = [
    Layout("{split}-images", "{split}-labels"),  # ORSSD, EORSSD and the rendered sample set
    Layout("{split}set/images", "{split}set/gt"),  # ORSI-4199
    Layout("{split}/images", "{split}/labels"),  # RSISOD, with a folder a class below
    Layout("images", "labels", "{split}.txt"),  # every set as the paper's authors keep it
]


def register_dataset(
    name: str, train: int | None = None, test: int | None = None, layout: Layout | None = None
) -> None:
    """Make a data set known under its name. Commands take the file that calls this in the place of a set's name.

    Args:
        name: the set's name.
        train: the published number of training pairs; None: unknown.
        test: the same of test pairs.
        layout: the set's folders, where none of `LAYOUTS` fits.
    """
    _registered.append(name)
    DATASETS[name] = {"train": train, "test": test}
    if layout is not None and layout not in LAYOUTS:
        LAYOUTS.append(layout)


def dataset_name(dataset: str) -> str:
    """Return the name in `DATASETS` for any spelling: case, hyphens, underscores and ORS for ORSI make no difference.

    FILE.py is run, and stands for the data set that it registers.

    Raises:
        ValueError: the set is not known; the message lists the known ones.
    """
    dataset = run_if_file(dataset)
    key = _plain(dataset)
    known = {_plain(name): name for name in DATASETS} | _ALIASES
    if key not in known:
        raise ValueError(f"unknown data set {dataset!r}: choose one of {', '.join(DATASETS)}, or give folders")
    return known[key]


def run_if_file(dataset: str) -> str:
    """Run a Python file that registers a data set, FILE.py, and return that set's name; return any other name as it is.

    Raises:
        ValueError: there is no such file, it fails, or it does not register one data set.
    """
    if not dataset.endswith(".py"):
        return dataset
    if not Path(dataset).is_file():
        raise ValueError(f"data set {dataset}: no such file")
    _registered.clear()
    run_user_file(dataset, f"data set {dataset}")
    if len(_registered) != 1:
        raise ValueError(f"data set {dataset}: the file registers {len(_registered)} data sets, expected one")
    return _registered[0]


def is_called(folder: str, name: str) -> bool:
    """Return whether a folder has a set's name, in any spelling."""
    key = _plain(folder)
    return key == _plain(name) or _ALIASES.get(key) == name


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
