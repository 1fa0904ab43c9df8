"""Images without masks: which files an input path means, and the pixels that the network reads of them."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.catalog import IMAGE_SUFFIXES, image_files
from datasets.decode import open_image, resized


def images_at(path: Path | str, leave_out: Path | None = None) -> list[tuple[str, Path]]:
    """(stem, image) of every image that `path` means.

    The stem is the image's name without its suffix, behind the sub-folders that it lies in (`class/name`).

    - A folder: every image below it, sorted; hidden files and folders are passed over, and so is `leave_out`.
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
        found = [(image.relative_to(path), image) for image in _images_below(path, leave_out)]
    elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        found = [(Path(path.name), path)]
    elif path.is_file():
        found = _listed(path)
    else:
        raise FileNotFoundError(f"{path} is not there: give an image, a folder of images or a list of them")
    if not found:
        raise ValueError(f"{path}: no images in it; known suffixes are {', '.join(sorted(IMAGE_SUFFIXES))}")
    return _distinct([(name.with_suffix("").as_posix(), image) for name, image in found])


def read_pixels(image: Path | str | Image.Image, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """What inference reads of an image, H×W×3 uint8 RGB for size (H, W), and the image's own (height, width).

    The pixels are those that `datasets.records` keeps for training. Raises ValueError naming a broken file.
    """
    image = image.convert("RGB") if isinstance(image, Image.Image) else open_image(image)
    return np.array(resized(image, size)), (image.height, image.width)


def _images_below(folder: Path, leave_out: Path | None) -> list[Path]:
    images = sorted(image_files(folder))
    if leave_out and leave_out.resolve().is_relative_to(folder.resolve()):
        inside = folder / leave_out.resolve().relative_to(folder.resolve())
        images = [image for image in images if not image.is_relative_to(inside)]
    return images


def _listed(listing: Path) -> list[tuple[Path, Path]]:
    """(name below the folder that its stem starts from, image) of each line."""
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"{listing} is neither an image ({suffixes}) nor a UTF-8 list of images") from error
    home = Path(os.path.abspath(listing.parent))
    images = [Path(os.path.normpath(home / line.strip())) for line in lines if line.strip()]
    strangers = [image.parent for image in images if not image.is_relative_to(home)]
    shared = Path(os.path.commonpath(strangers)) if strangers else home
    return [(image.relative_to(home if image.is_relative_to(home) else shared), image) for image in images]


def _distinct(images: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    seen: dict[str, Path] = {}
    for stem, image in images:
        if stem in seen:
            raise ValueError(f"{seen[stem]} and {image} would write the same map, {stem}: rename one or leave it out")
        seen[stem] = image
    return images
