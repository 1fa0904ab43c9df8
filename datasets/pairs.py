"""What is wrong with a pair of files: faults, which training refuses, and mask_warnings, which it tells and goes on."""

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
"""Grays up to this far from 0 or 255 pass for black or white. Most of a JPEG's ringing is; of ORSSD's and EORSSD's
images, dark water and all, 2171 of 2200 hold more than half of their values outside it."""

MOST_BYTES = 1 << 30
"""The largest file that is opened: more than any image takes that Pillow deems safe to decode."""

_STRAY = 0.01
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)  # neither stuffed nor filled, no restart


class MaskWarning(IntFlag):
    """What is odd about a mask, but may be meant. A byte holds it.

    EMPTY: no foreground, that is no pixel of at least 128. FULL: every pixel is 255. GRAY: values other than 0 and 255.
    """

    EMPTY = 1
    FULL = 2
    GRAY = 4


class ErrorKind(StrEnum):
    """The kinds of fault, as headings of what is of that kind."""

    UNREADABLE = "files that cannot be read"
    SIZES = "image and mask of different sizes"
    NO_MASK = "masks that are none"


@dataclass(frozen=True)
class PairError:
    """One fault of a pair: its kind, and one line that names the file, or both."""

    kind: ErrorKind
    text: str


def open_pair(pair: Pair) -> tuple[Image.Image, Image.Image]:
    """The image (8-bit RGB) and its mask (8-bit gray, 255 the salient object), wholly decoded and of one size.

    Raises ValueError, in one line that names the file or both, where the pair cannot be trained on; see `inspect_pair`.
    """
    image, mask, faults = inspect_pair(pair)
    if image is None or mask is None or faults:
        raise ValueError("; ".join(fault.text for fault in faults))
    return image, mask


def inspect_pair(pair: Pair) -> tuple[Image.Image | None, Image.Image | None, list[PairError]]:
    """What can be read of a pair, as `open_pair` gives it, and all that is wrong with it.

    A file that is missing, empty, cut off, broken, no regular file or a decompression bomb is a fault, and None takes
    its place. So is an image of another size than its mask, and a mask that is none: more than half of its pixels are
    neither black nor white (within `NEAR`), or the image holds nothing but black and white while the mask does not.

    Changed bytes that leave a readable file are told in PNG, by its checksums. JPEG, BMP, TIFF and WebP have none; of
    these only a JPEG whose end is lost, as where zeros were left in its place, is told.
    """
    image, image_faults = _opened(pair.image, open_image)
    mask, mask_faults = _opened(pair.mask, open_mask)
    faults = image_faults + mask_faults
    if image is not None and mask is not None:
        faults = [fault for fault in (_of_sizes(pair, image, mask), _of_mask(pair, image, mask)) if fault]
    return image, mask, faults


def mask_warnings(mask: Image.Image) -> MaskWarning:
    """What is odd about a mask, 8-bit gray as `open_pair` gives it."""
    counts = mask.histogram()
    found = MaskWarning(0)
    if not any(counts[128:]):
        found |= MaskWarning.EMPTY
    if not any(counts[:255]):
        found |= MaskWarning.FULL
    if any(counts[1:255]):
        found |= MaskWarning.GRAY
    return found


def warning_lines(name: str, remarked: Iterable[tuple[str, MaskWarning]], shown: int = 5) -> list[str]:
    """One short line for each kind of remark that there is, from (stem, remark) of the set called `name`.

    The first stems are named, `shown` of them at most; empty masks, which are common, are only counted.
    """
    of = {flag: [] for flag in (MaskWarning.GRAY, MaskWarning.FULL, MaskWarning.EMPTY)}
    for stem, remark in remarked:
        for flag in remark:
            of[flag].append(stem)
    says = {
        MaskWarning.GRAY: ("mask holds values between 0 and 255", "masks hold values between 0 and 255"),
        MaskWarning.FULL: ("mask is all 255", "masks are all 255"),
        MaskWarning.EMPTY: ("mask is empty", "masks are empty"),
    }
    lines = []
    for flag, stems in of.items():
        if stems:
            named = "" if flag is MaskWarning.EMPTY else f" ({', '.join(stems[:shown])}{', …' * (len(stems) > shown)})"
            lines.append(f"{name}: {len(stems)} {says[flag][len(stems) > 1]}{named}")
    return lines


def _opened(path: Path, opener: Callable[[Path], Image.Image]) -> tuple[Image.Image | None, list[PairError]]:
    try:
        _refuse_at_sight(path)
        image = opener(path)
        _refuse_damaged(path)
        return image, []
    except ValueError as error:
        return None, [PairError(ErrorKind.UNREADABLE, " ".join(str(error).split()))]


def _refuse_at_sight(path: Path) -> None:
    """Raise ValueError for what need not be opened, or, like a named pipe, would never answer."""
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
    """Raise ValueError where an image decodes though its file is damaged, as far as the file itself can tell."""
    try:
        with Image.open(path) as image:
            kind = image.format
            image.verify()
    except Exception as error:  # Pillow raises what it likes here: SyntaxError, struct.error, …
        raise ValueError(f"{path} is damaged: {error}") from error
    if kind in ("JPEG", "MPO") and not _reaches_its_end(path.read_bytes()):
        raise ValueError(f"{path} is damaged: the JPEG's end is lost")


def _reaches_its_end(jpeg: bytes) -> bool:
    """Whether the markers of a JPEG, each skipped with the segment that it begins, lead to its end marker."""
    place = 2
    while marker := _JPEG_MARKER.search(jpeg, place):
        if marker[1] == b"\xd9":
            return True
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return False


def _of_sizes(pair: Pair, image: Image.Image, mask: Image.Image) -> PairError | None:
    if image.size == mask.size:
        return None
    sizes = [f"{width}×{height}" for width, height in (image.size, mask.size)]
    turned = ": width and height are swapped, one of the two is turned" if image.size == mask.size[::-1] else ""
    text = f"{pair.image} has {sizes[0]} pixels, its mask {pair.mask} {sizes[1]}{turned}"
    return PairError(ErrorKind.SIZES, " ".join(text.split()))


def _of_mask(pair: Pair, image: Image.Image, mask: Image.Image) -> PairError | None:
    part = _in_between(mask, NEAR)
    if part > 0.5:
        why = f"{part:.0%} of its pixels are neither black nor white; it may be the image, swapped with {pair.image}"
    elif _in_between(image, 0) == 0 and _in_between(mask, 0) > _STRAY:
        why = f"it holds grays while {pair.image} is all black and white; the two may be swapped"
    else:
        return None
    return PairError(ErrorKind.NO_MASK, " ".join(f"{pair.mask} is no mask: {why}".split()))


def _in_between(image: Image.Image, near: int) -> float:
    """The part of all values, over all channels, that are further than `near` from 0 and from 255."""
    counts = image.histogram()
    channels = [counts[start : start + 256] for start in range(0, len(counts), 256)]
    return sum(sum(channel[near + 1 : 255 - near]) for channel in channels) / sum(counts)
