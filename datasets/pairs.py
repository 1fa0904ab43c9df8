"""Check a pair of image and mask: errors, which stop training, and warnings, which do not."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from datasets.catalog import Pair
from datasets.decode import FORMATS, open_regular
from datasets.file_warnings import FileWarning
from datasets.io import AS_STORED, Reading, inspect_image, inspect_mask
from utils.text import one_line

NEAR = 16
"""Grays up to this far from 0 or 255 count as black or white, because JPEG's ringing is mostly within it.

2171 of the 2200 images of ORSSD and EORSSD have more than half of their values outside.
"""

_STRAY = 0.01
"""A mask with at most this part of grays is not taken for an image."""

_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)  # neither stuffed nor filled, no restart


class ErrorKind(StrEnum):
    """Kinds of errors; the values are headings of a report."""

    UNREADABLE = "files that cannot be read"
    SIZES = "image and mask of different sizes"
    NO_MASK = "files that are no masks"


@dataclass(frozen=True)
class PairError:
    """An error of a pair: its kind, and one line that names the file or both files."""

    kind: ErrorKind
    text: str


@dataclass(frozen=True)
class InspectedPair:
    """What a pair's files hold.

    Attributes:
        image: 8-bit RGB; None where it cannot be read.
        mask: 8-bit gray, 255 the salient object; None where it cannot be read.
        errors: everything that stops training.
        warnings: those of both files.
    """

    image: Image.Image | None
    mask: Image.Image | None
    errors: list[PairError]
    warnings: FileWarning


def open_pair(pair: Pair, reading: Reading = AS_STORED) -> tuple[Image.Image, Image.Image, FileWarning]:
    """Return the image (8-bit RGB), its mask (8-bit gray, 255 the salient object) and the warnings of both.

    Both are decoded and of one size.

    Raises:
        ValueError: `inspect_pair` finds errors; the message is one line that names the files.
    """
    found = inspect_pair(pair, reading)
    if found.image is None or found.mask is None or found.errors:
        raise ValueError("; ".join(error.text for error in found.errors))
    return found.image, found.mask, found.warnings


def inspect_pair(pair: Pair, reading: Reading = AS_STORED) -> InspectedPair:
    """Return the image and the mask of a pair, every error and every warning.

    - A file is missing, empty, cut off, broken, not a regular file, or a decompression bomb.
    - Image and mask differ in size.
    - The mask is no mask: more than half of its pixels are neither black nor white (within `NEAR`), or it holds grays
      while the image is all black and white.

    Changed bytes that leave a readable file are found in PNG files and deflated TIFF files, which have checksums. A
    JPEG's lost end is an error, other corrupt data that libjpeg finds a warning. Of other formats it stays unknown.
    """
    image, image_warnings, image_errors = _opened(pair.image, lambda path: inspect_image(path, reading))
    mask, mask_warnings, mask_errors = _opened(pair.mask, inspect_mask)
    errors = image_errors + mask_errors
    if image is not None and mask is not None:
        errors = [error for error in (_size_error(pair, image, mask), _mask_error(pair, image, mask)) if error]
    return InspectedPair(image, mask, errors, image_warnings | mask_warnings)


def _opened(
    path: Path, opener: Callable[[Path], tuple[Image.Image, FileWarning]]
) -> tuple[Image.Image | None, FileWarning, list[PairError]]:
    try:
        image, found = opener(path)
        _refuse_damaged(path)
        return image, found, []
    except ValueError as error:
        return None, FileWarning(0), [_error(ErrorKind.UNREADABLE, str(error))]


def _error(kind: ErrorKind, text: str) -> PairError:
    return PairError(kind, " ".join(text.split()))


def _refuse_damaged(path: Path) -> None:
    """Raise ValueError where an image decodes although its file is damaged, as far as the format shows it."""
    try:
        with open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
            kind = image.format
            image.verify()
    except UnidentifiedImageError:
        return  # another library has read it
    except Exception as error:  # Pillow raises almost anything here: SyntaxError, struct.error, …
        raise ValueError(f"{path} is damaged: {one_line(error)}") from error
    if kind in ("JPEG", "MPO") and not _reaches_its_end(path.read_bytes()):
        raise ValueError(f"{path} is damaged: the JPEG's end is lost")


def _reaches_its_end(jpeg: bytes) -> bool:
    """Return whether the markers of a JPEG, each skipped with its segment, lead to the end marker."""
    place = 2
    while marker := _JPEG_MARKER.search(jpeg, place):
        if marker[1] == b"\xd9":
            return True
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return False


def _size_error(pair: Pair, image: Image.Image, mask: Image.Image) -> PairError | None:
    if image.size == mask.size:
        return None
    sizes = [f"{width}×{height}" for width, height in (image.size, mask.size)]
    turned = ": width and height are swapped, one of the two is turned" if image.size == mask.size[::-1] else ""
    text = f"{pair.image} has {sizes[0]} pixels, its mask {pair.mask} {sizes[1]}{turned}"
    return _error(ErrorKind.SIZES, text)


def _mask_error(pair: Pair, image: Image.Image, mask: Image.Image) -> PairError | None:
    part = _in_between(mask, NEAR)
    if part > 0.5:
        why = f"{part:.0%} of its pixels are neither black nor white; it may be the image, swapped with {pair.image}"
    elif _in_between(image, 0) == 0 and _in_between(mask, 0) > _STRAY:
        why = f"it holds grays while {pair.image} is all black and white; the two may be swapped"
    else:
        return None
    return _error(ErrorKind.NO_MASK, f"{pair.mask} is no mask: {why}")


def _in_between(image: Image.Image, near: int) -> float:
    """Return the part of all values, over all channels, that differ by more than `near` from 0 and from 255."""
    counts = image.histogram()
    channels = [counts[start : start + 256] for start in range(0, len(counts), 256)]
    return sum(sum(channel[near + 1 : 255 - near]) for channel in channels) / sum(counts)
