"""Unusual properties of images, masks and maps, which may be intended: training, check and scoring word them alike."""

import io
from collections.abc import Iterable
from enum import IntFlag

import numpy as np
from PIL import Image

DARK_BELOW = 32
"""An image is dark if hardly any of its values reach this gray level, an eighth of the range."""

DARK_SHARE = 1e-3
"""The part of values that may reach it all the same: dead pixels."""

INVERTED_SHARE = 0.9
"""The part of a mask's border that is foreground where it may be inverted; none of ORSSD's or EORSSD's training masks
has more."""


class FileWarning(IntFlag):
    """Unusual properties of a file; all fit into two bytes, for the cache.

    Of masks: EMPTY: no foreground: no pixel is 128 or more. FULL: every pixel is 255. GRAY: values other than 0 and
    255. COLORED: colors, which count as foreground (in a map: colors, of which the luma is taken). INVERTED: most of
    the mask and of its border is foreground. Of maps: SWAPPED: width and height are the mask's height and width.
    Of any file: TURNED: an EXIF orientation, which is not applied. DARK: an image all but black. FRAMES: several
    frames or pages, of which the first is read. HIDDEN: transparent or nodata pixels, whose stored values are read.
    DAMAGED: data that the decoder finds corrupt, and reads all the same.
    Of inference: LARGE: many times larger than the network's input.
    """

    EMPTY = 1
    FULL = 2
    GRAY = 4
    COLORED = 8
    TURNED = 16
    DARK = 32
    FRAMES = 64
    HIDDEN = 128
    LARGE = 256
    DAMAGED = 512
    INVERTED = 1024
    SWAPPED = 2048


TEXTS = {
    FileWarning.GRAY: ("mask holds values between 0 and 255", "masks hold values between 0 and 255"),
    FileWarning.FULL: ("mask is all 255", "masks are all 255"),
    FileWarning.EMPTY: ("mask is empty", "masks are empty"),
    FileWarning.INVERTED: (
        "mask is foreground up to its border, as if black were the object",
        "masks are foreground up to their border, as if black were the object",
    ),
    FileWarning.COLORED: ("mask holds colors, read as foreground", "masks hold colors, read as foreground"),
    FileWarning.TURNED: (
        "image or mask has an EXIF orientation, which is not applied",
        "images or masks have an EXIF orientation, which is not applied",
    ),
    FileWarning.DARK: ("image is dark, all but black", "images are dark, all but black"),
    FileWarning.FRAMES: (
        "file holds several frames or pages, the first is read",
        "files hold several frames or pages, the first is read",
    ),
    FileWarning.HIDDEN: (
        "file has transparent or nodata pixels, whose stored values are read",
        "files have transparent or nodata pixels, whose stored values are read",
    ),
    FileWarning.DAMAGED: (
        "file is damaged, some of its pixels may be wrong: copy it again",
        "files are damaged, some of their pixels may be wrong: copy them again",
    ),
    FileWarning.SWAPPED: (
        "map has its mask's width and height swapped, one of the two is turned",
        "maps have their masks' width and height swapped, one of the two is turned",
    ),
    FileWarning.LARGE: (
        "image is more than 10 times as large as the network's input: small objects vanish; --scene reads windows",
        "images are more than 10 times as large as the network's input: small objects vanish; --scene reads windows",
    ),
}
"""What a report says of one file and of several."""


LARGER = 10
"""Sides of an image by those of the network's input, from which on it is LARGE."""


def large_warning(own_size: tuple[int, int], size: tuple[int, int]) -> FileWarning:
    """Return LARGE for an image whose (height, width) shrinks to `size` by more than `LARGER`."""
    shrinks = own_size[0] * own_size[1] > LARGER**2 * size[0] * size[1]
    return FileWarning.LARGE if shrinks else FileWarning(0)


def mask_warnings(mask: Image.Image | np.ndarray) -> FileWarning:
    """Return EMPTY, FULL, GRAY and INVERTED of a mask, 8-bit gray."""
    levels = np.asarray(mask)
    counts = np.bincount(levels.ravel(), minlength=256)
    found = FileWarning(0)
    if not counts[128:].any():
        found |= FileWarning.EMPTY
    if not counts[:255].any():
        found |= FileWarning.FULL
    if counts[1:255].any():
        found |= FileWarning.GRAY
    if counts[:128].any() and 2 * counts[128:].sum() > levels.size:
        border = np.concatenate([levels[0], levels[-1], levels[1:-1, 0], levels[1:-1, -1]])
        found |= FileWarning.INVERTED if (border > 127).mean() > INVERTED_SHARE else FileWarning(0)
    return found


def is_dark(pixels: Image.Image | np.ndarray, below: int = DARK_BELOW) -> bool:
    """Return whether all but `DARK_SHARE` of an 8-bit image's values are less than `below`."""
    if isinstance(pixels, Image.Image):
        counts = np.add.reduce(np.reshape(pixels.histogram(), (-1, 256)))
        return bool(counts[below:].sum() <= DARK_SHARE * counts.sum())
    return bool(np.count_nonzero(pixels >= below) <= DARK_SHARE * pixels.size)


def warning_lines(name: str, warned: Iterable[tuple[str, FileWarning]], shown: int = 5) -> list[str]:
    """Return one line for each kind of warning in (stem, warnings) of the set called `name`.

    The first `shown` stems are named; empty masks, which are common, are only counted.
    """
    warned = list(warned)
    lines = []
    for flag, (one, several) in TEXTS.items():
        stems = [stem for stem, found in warned if flag in found]
        if stems:
            named = "" if flag is FileWarning.EMPTY else f" ({', '.join(stems[:shown])}{', …' * (len(stems) > shown)})"
            lines.append(f"{name}: {len(stems)} {several if len(stems) > 1 else one}{named}")
    return lines


def exif_warning(jpeg: bytes) -> FileWarning:
    """Return TURNED where a JPEG file's EXIF data have an orientation other than the usual one."""
    if b"Exif\0\0" not in jpeg[: 1 << 16]:
        return FileWarning(0)
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return FileWarning.TURNED if image.getexif().get(0x0112, 1) in range(2, 9) else FileWarning(0)
    except Exception:  # broken metadata says nothing about the pixels
        return FileWarning(0)
