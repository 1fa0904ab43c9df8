"""Find the images that a command asks for, and decide which maps are still to be made. Reads file names, no image."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.catalog import Split, find_images, images_at
from datasets.io import AS_STORED, Reading, inspect_map
from utils.outputs import check_folder
from utils.unfinished import remove_unfinished

LOOKED_AT = 100
"""Older files that are looked at before they are replaced."""


@dataclass(frozen=True)
class Plan:
    """The maps to make.

    Attributes:
        images: (stem, image file) of each map to make. Files are strings: a million Path objects take a gigabyte.
        kept: number of maps that exist and are kept.
        output: folder of the maps.
        suffix: text between stem and .png.
        reading: bands and value range of the images.
    """

    images: list[tuple[str, str]]
    kept: int
    output: Path
    suffix: str = ""
    reading: Reading = AS_STORED

    def map_file(self, stem: str) -> Path:
        """Return the file of an image's map."""
        return _map_file(self.output, stem, self.suffix)


def find_requested(
    source: Path | None, dataset: str | None, root: Path | None, split: Split, output: Path
) -> list[tuple[str, str]]:
    """Return (stem, image file) of every requested image.

    Args:
        source: an image, a folder or a list of images; None for a data set.
        dataset, root, split: a data set's name, folder and part, where `source` is None.
        output: folder for the maps; images inside it are not requested.

    Raises:
        FileNotFoundError, ValueError: there are no such images, or two of them would have the same map.
    """
    check_folder(output)
    if source is None:
        if dataset is None or root is None:
            raise ValueError("give either a source or a data set's name and root")
        return [(stem, str(image)) for stem, image in find_images(dataset, root, split)]
    if source.is_dir() and output.resolve() == source.resolve():
        raise ValueError(f"--output {output} is --input too: maps would be taken for images the next time")
    return images_at(source, leave_out=output)


def plan_maps(images: list[tuple[str, str]], output: Path, suffix: str = "", resume: bool = False) -> Plan:
    """Return what is left to do, and remove what a killed process left unfinished in the maps' folders.

    Args:
        images: what `find_requested` returned.
        output: folder for the maps.
        suffix: text between stem and .png.
        resume: keep the maps that exist; otherwise they are replaced. An empty file, which a power failure leaves of a
            map, is no map.

    Raises:
        ValueError: a map would overwrite one of the images, or a mask.
    """
    existing = {_identity(target) for stem, _ in images if os.path.exists(target := _map_file(output, stem, suffix))}
    for _, image in images if existing else ():
        if os.path.exists(image) and _identity(image) in existing:
            raise ValueError(f"{image} would be overwritten by a map: give another --output, or a --suffix")
    if not resume:
        _refuse_masks(output, [f"{stem}{suffix}.png" for stem, _ in images])
    for folder in {os.path.dirname(stem) for stem, _ in images}:
        remove_unfinished(output / folder)
    left = [(stem, image) for stem, image in images if not (resume and _is_there(_map_file(output, stem, suffix)))]
    return Plan(left, len(images) - len(left), output, suffix)


def _map_file(output: Path, stem: str, suffix: str) -> Path:
    return output / f"{stem}{suffix}.png"


def _refuse_masks(output: Path, names: Sequence[str]) -> None:
    """Raise ValueError where maps would replace masks: of the first files that are there, one is black and white only.

    Masks of a data set have the names of its maps, and cannot be had again.
    """
    there = (path for path in map(output.joinpath, names) if path.is_file())
    for path in itertools.islice(there, LOOKED_AT):
        try:
            levels = np.bincount(inspect_map(path).pixels().ravel(), minlength=256)
        except ValueError:
            continue  # no picture
        if levels[0] and levels[255] and not levels[1:255].any():
            raise ValueError(
                f"{path} looks like a mask, black and white only, and would be replaced by a map: "
                "give another --output, or a --suffix"
            )


def _is_there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _identity(path: Path | str) -> tuple[int, int]:
    """Return device and inode, which all names of one file share."""
    found = os.stat(path)
    return found.st_dev, found.st_ino
