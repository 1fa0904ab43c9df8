"""Check a pair of image and mask: errors, which stop training, and mask warnings, which do not."""

import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from pathlib import Path

from PIL import Image

from datasets.catalog import Pair
from datasets.io import open_image, open_mask

NEAR = 16
"""Grays up to this far from 0 or 255 count as black or white, because JPEG's ringing is mostly within it.

2171 of the 2200 images of ORSSD and EORSSD have more than half of their values outside.
"""

MOST_BYTES = 1 << 30
"""The largest file that is opened, in bytes: more than any image that Pillow considers safe to decode."""

_STRAY = 0.01
"""A mask with at most this part of grays is not taken for an image."""

_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)  # neither stuffed nor filled, no restart


class MaskWarning(IntFlag):
    """Unusual properties of a mask, which may be intended; they fit into a byte.

    EMPTY: no foreground: no pixel is 128 or more. FULL: every pixel is 255. GRAY: values other than 0 and 255.
    """

    EMPTY = 1
    FULL = 2
    GRAY = 4


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


def open_pair(pair: Pair) -> tuple[Image.Image, Image.Image]:
    """Return the image (8-bit RGB) and its mask (8-bit gray, 255 the salient object), decoded and of one size.

    Raises:
        ValueError: `inspect_pair` finds errors; the message is one line that names the files.
    """
    image, mask, errors = inspect_pair(pair)
    if image is None or mask is None or errors:
        raise ValueError("; ".join(error.text for error in errors))
    return image, mask


def inspect_pair(pair: Pair) -> tuple[Image.Image | None, Image.Image | None, list[PairError]]:
    """Return the image and the mask as `open_pair` does, None for one that cannot be read, and every error.

    - A file is missing, empty, cut off, broken, not a regular file, or a decompression bomb.
    - Image and mask differ in size.
    - The mask is no mask: more than half of its pixels are neither black nor white (within `NEAR`), or it holds grays
      while the image is all black and white.

    Changed bytes that leave a readable file are found in PNG files, which have checksums. Of JPEG, BMP, TIFF and WebP
    files only a JPEG with a lost end is found.
    """
    image, image_errors = _opened(pair.image, open_image)
    mask, mask_errors = _opened(pair.mask, open_mask)
    errors = image_errors + mask_errors
    if image is not None and mask is not None:
        errors = [error for error in (_size_error(pair, image, mask), _mask_error(pair, image, mask)) if error]
    return image, mask, errors


def mask_warnings(mask: Image.Image) -> MaskWarning:
    """Return the warnings of a mask, 8-bit gray as from `open_pair`."""
    counts = mask.histogram()
    found = MaskWarning(0)
    if not any(counts[128:]):
        found |= MaskWarning.EMPTY
    if not any(counts[:255]):
        found |= MaskWarning.FULL
    if any(counts[1:255]):
        found |= MaskWarning.GRAY
    return found


def warning_lines(name: str, warned: Iterable[tuple[str, MaskWarning]], shown: int = 5) -> list[str]:
    """Return one line for each kind of warning in (stem, warnings) of the set called `name`.

    The first `shown` stems are named; empty masks, which are common, are only counted.
    """
    says = {
        MaskWarning.GRAY: ("mask holds values between 0 and 255", "masks hold values between 0 and 255"),
        MaskWarning.FULL: ("mask is all 255", "masks are all 255"),
        MaskWarning.EMPTY: ("mask is empty", "masks are empty"),
    }
    warned = list(warned)
    lines = []
    for flag, (one, several) in says.items():
        stems = [stem for stem, found in warned if flag in found]
        if stems:
            named = "" if flag is MaskWarning.EMPTY else f" ({', '.join(stems[:shown])}{', …' * (len(stems) > shown)})"
            lines.append(f"{name}: {len(stems)} {several if len(stems) > 1 else one}{named}")
    return lines


def _opened(path: Path, opener: Callable[[Path], Image.Image]) -> tuple[Image.Image | None, list[PairError]]:
    try:
        _refuse_unopened(path)
        image = opener(path)
        _refuse_damaged(path)
        return image, []
    except ValueError as error:
        return None, [_error(ErrorKind.UNREADABLE, str(error))]


def _error(kind: ErrorKind, text: str) -> PairError:
    return PairError(kind, " ".join(text.split()))


def _refuse_unopened(path: Path) -> None:
    """Raise ValueError for a file that must not be opened: reading a named pipe, for example, never ends."""
    try:
        status = path.stat()
    except OSError:
        return  # opening it says why
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}")
    if not status.st_size:
        raise ValueError(f"{path} is empty, it has zero bytes")
    if status.st_size > MOST_BYTES:
        raise ValueError(f"{path} has {status.st_size} bytes, more than the {MOST_BYTES} that any image here needs")


def _refuse_damaged(path: Path) -> None:
    """Raise ValueError where an image decodes although its file is damaged, as far as the format shows it."""
    try:
        with Image.open(path) as image:
            kind = image.format
            image.verify()
    except Exception as error:  # Pillow raises almost anything here: SyntaxError, struct.error, …
        raise ValueError(f"{path} is damaged: {error}") from error
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
