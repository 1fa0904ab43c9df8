"""Images without masks: which files an input path means, and the pixels that the network reads of them."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datasets.catalog import IMAGE_SUFFIXES, image_files
from datasets.decode import open_image
from datasets.jpeg import jpeg_pixels


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


def read_pixels(image: Path | str | Image.Image, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """What inference reads of an image, H×W×3 uint8 RGB for size (H, W), and the image's own (height, width).

    The pixels are those that `datasets.records` keeps for training, or a grey level beside them: Pillow's antialiased
    bilinear, as torch computes it in half the time. Raises ValueError naming a broken file.
    """
    pixels = None if isinstance(image, Image.Image) else jpeg_pixels(image)
    if pixels is None:
        pixels = np.array(image.convert("RGB") if isinstance(image, Image.Image) else open_image(image))
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    return planes[0].permute(1, 2, 0).contiguous().numpy(), pixels.shape[:2]


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
