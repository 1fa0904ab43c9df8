"""Decode files to Pillow images; refuse what Pillow would read wrong, and say what it does not."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from datasets.damage import jpeg_damage, tiff_damage
from datasets.file_warnings import FileWarning
from datasets.tiff import TiffLayout, one_band_contiguous, tiff_layout
from utils.text import one_line

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "AVIF")
"""Formats of the content, whatever the suffix. Pillow reads more, some of them by running Ghostscript."""

MOST_BYTES = 1 << 30
"""The largest file that is opened, in bytes: more than any image that Pillow considers safe to decode."""

REMEDY = "give --bands and --range (train.py: --data.bands, --data.range), or save it as 8-bit RGB"
SMALLER = "cut it into tiles (getsmaps.py --scene does so itself), or shrink it"

_ORIENTATION = 0x0112
_SUBFILE = 254
_UNDONE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What undoes the orientation that Pillow applies to TIFF files, and to no others."""


class RefusedError(ValueError):
    """A message that names its file already."""


@dataclass(frozen=True)
class Decoded:
    """A wholly decoded file.

    Attributes:
        image: the first frame, as stored, in any of Pillow's modes.
        bits: bits of a stored value: Pillow keeps only 8 of the 16 of a color file.
        warnings: TURNED, FRAMES, HIDDEN and DAMAGED.
        layout: of a TIFF file.
    """

    image: Image.Image
    bits: int
    warnings: FileWarning
    layout: TiffLayout | None = None


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Turn every error about a file into a ValueError of one line that names it."""
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:  # on broken files Pillow raises almost anything: SyntaxError, struct.error, …
        raise ValueError(f"{path} cannot be read: {one_line(error) or type(error).__name__}") from error


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file, without ever waiting for a pipe or a device.

    Raises:
        ValueError: the file is missing, empty, too large or not regular; the message is one line that names it.
    """
    try:
        _refuse_irregular(path, os.stat(path))
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError as error:
        dangling = "is a link to a file that is not there" if os.path.islink(path) else "is not there"
        raise RefusedError(f"{path} {dangling}") from error
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
    try:
        _refuse_irregular(path, os.fstat(file.fileno()))  # it may have been replaced in between
    except ValueError:
        file.close()
        raise
    return file


def decode(path: Path | str) -> Decoded:
    """Return a decoded file; called inside `naming`."""
    with open_regular(path) as file:
        layout = tiff_layout(file)
        return decode_opened(file, layout)


def decode_opened(file: BinaryIO, layout: TiffLayout | None) -> Decoded:
    """Return a decoded open file."""
    if layout:
        refuse_misread(layout)
        if layout.planar and layout.bands == 1 and layout.bits > 8:
            file = BytesIO(one_band_contiguous(file))
    try:
        opened = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{one_line(error).partition(',')[0]}: {SMALLER}") from error
    except UnidentifiedImageError as error:
        if layout:
            raise ValueError(f"it has {layout}: {REMEDY}") from error
        raise ValueError("its content is no image of a known format") from error
    if opened.format == "PNG":
        _verify(file)
    with opened:
        image: Image.Image = opened
        refuse_large(image.width, image.height)
        bits = stored_bits(image, layout)
        orientation = _orientation(image) if layout else 1
        frames = _frames(image, layout)
        tags = image.tag_v2 if layout and isinstance(image, TiffImagePlugin.TiffImageFile) else None
        image.load()
        orientation = orientation if layout else _orientation(image)
        if layout and orientation in _UNDONE:
            image = image.transpose(_UNDONE[orientation])
        found = frames | hidden(image, layout)
        if orientation != 1:
            found |= FileWarning.TURNED
        if tags is not None:
            assert layout
            found |= tiff_damage(file, tags, image.width * image.height * layout.bands * max(layout.bits // 8, 1))
        elif opened.format in ("JPEG", "MPO"):
            file.seek(0)
            found |= jpeg_damage(file.read())
        return Decoded(image, bits, found, layout)


def _verify(file: BinaryIO) -> None:
    """Raise an error where a checksum is wrong: Pillow decodes the pixels all the same. The position is kept."""
    place = file.tell()
    file.seek(0)
    try:
        Image.open(BytesIO(file.read()), formats=("PNG",)).verify()
    finally:
        file.seek(place)


def refuse_large(width: int, height: int) -> None:
    """Raise ValueError for more pixels than Pillow considers safe: it only warns, until there are twice as many."""
    pixels, most = width * height, Image.MAX_IMAGE_PIXELS
    if most and pixels > most:
        raise ValueError(f"its {width}×{height} pixels are more than the {most} that Pillow deems safe: {SMALLER}")


def refuse_misread(layout: TiffLayout) -> None:
    """Raise ValueError for a TIFF file whose pixels Pillow would take for others."""
    if layout.unknown_bands and not layout.is_rgb:
        raise ValueError(f"it has {layout}, and does not say which are red, green and blue: {REMEDY}")
    if layout.planar and layout.raw and layout.bands > (1 if layout.bits > 8 else 3):
        raise ValueError(f"it has {layout}: {REMEDY}")


def stored_bits(image: Image.Image, layout: TiffLayout | None) -> int:
    """Return the bits of a stored value of an image that is opened and not yet loaded."""
    if layout:
        return layout.bits
    if image.format == "JPEG2000":
        return _jpeg2000_bits(image)
    if image.mode.startswith("I") or image.mode == "F":
        return 16 if image.mode.startswith("I;16") else 32
    tiles = getattr(image, "tile", ())
    return 16 if any(";16" in str(tile[3]) for tile in tiles) else 8


def hidden(image: Image.Image, layout: TiffLayout | None) -> FileWarning:
    """Return HIDDEN where pixels are transparent, or hold the nodata value."""
    seen = image
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        seen = image.convert("RGBA")
    if "A" in seen.getbands() and (np.asarray(seen.getchannel("A")) < 128).any():
        return FileWarning.HIDDEN
    if layout and layout.nodata:
        try:
            value = float(layout.nodata)
        except ValueError:
            return FileWarning(0)
        pixels = np.asarray(image)
        marked = pixels == value
        if (marked.all(axis=2) if marked.ndim == 3 else marked).any():
            return FileWarning.HIDDEN
    return FileWarning(0)


def _refuse_irregular(path: Path | str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise RefusedError(f"{path} is {kind}, no regular file")
    if not status.st_size:
        raise RefusedError(f"{path} is empty, it has zero bytes")
    if status.st_size > MOST_BYTES:
        raise RefusedError(f"{path} has {status.st_size} bytes, more than the {MOST_BYTES} that any image here needs")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken metadata says nothing about the pixels
        return 1
    return value if value in _UNDONE else 1


def _frames(image: Image.Image, layout: TiffLayout | None) -> FileWarning:
    """Return FRAMES for an animation or several pages, HIDDEN for a TIFF file's mask; overviews are neither."""
    if image.format in ("JPEG", "MPO"):
        return FileWarning(0)  # a telephone's preview is no second image
    try:
        count = getattr(image, "n_frames", 1)
        if count < 2 or not layout:
            return FileWarning.FRAMES if count > 1 else FileWarning(0)
        found = FileWarning(0)
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        for number in range(1, min(count, 100)):
            image.seek(number)
            kind = image.tag_v2.get(_SUBFILE, 0)
            found |= FileWarning.HIDDEN if kind & 4 else FileWarning(0) if kind & 1 else FileWarning.FRAMES
        return found
    except Exception:  # a broken later frame says nothing about the first
        return FileWarning(0)
    finally:
        if getattr(image, "n_frames", 1) > 1:
            image.seek(0)


def _jpeg2000_bits(image: Image.Image) -> int:
    """Return the precision in the codestream's header: a SIZ segment follows the start."""
    file = getattr(image, "fp", None)
    if file is None:
        return 8
    place = file.tell()
    try:
        file.seek(0)
        head = file.read(1 << 16)
        start = head.find(b"\xff\x4f\xff\x51")
        return (head[start + 42] & 0x7F) + 1 if start >= 0 and start + 42 < len(head) else 8
    finally:
        file.seek(place)
