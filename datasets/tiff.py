"""What a TIFF file says of its pixels: bands, type, order, nodata. Pillow reads some of them wrong without an error."""

from dataclasses import dataclass
from typing import BinaryIO, Literal

from PIL import TiffImagePlugin

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TYPES = {1: "uint", 2: "int", 3: "float"}
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
"""Color bands by photometric interpretation: gray, RGB, palette, CMYK, YCbCr, L*a*b*."""

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 258, 262, 277, 284
_COMPRESSION, _EXTRA, _FORMAT, _NODATA = 259, 338, 339, 42113


@dataclass(frozen=True)
class TiffLayout:
    """The layout of a TIFF file's first image.

    Attributes:
        bands: number of bands.
        type: numpy's name of the pixels' type, such as uint16; uint12 and uint4 are packed.
        bits: bits of a value.
        color_bands: how many of the bands are colors; the others are alpha or unknown.
        unknown_bands: how many bands are neither colors nor alpha.
        is_rgb, inverted: the colors are RGB; gray with 0 for white.
        planar: the bands are stored one after another.
        raw: the values are not compressed.
        nodata: the value that marks pixels without data, as text; None without one.
    """

    bands: int
    type: str
    bits: int
    color_bands: int
    unknown_bands: int
    is_rgb: bool
    inverted: bool
    planar: bool
    raw: bool
    nodata: str | None

    @property
    def is_integer(self) -> bool:
        """Whether the values are unsigned integers."""
        return self.type.startswith("uint")

    def __str__(self) -> str:
        order = ", stored one after another" if self.planar and self.bands > 1 else ""
        return f"{self.bands} band{'s' * (self.bands > 1)} of {self.type}{order}"


def tiff_layout(file: BinaryIO) -> TiffLayout | None:
    """Return the layout of an open TIFF file, None for any other file; the position is left at the start.

    Raises:
        ValueError: the file has no sound directory.
    """
    file.seek(0)
    header = file.read(8)
    if header[:4] not in _STARTS:
        file.seek(0)
        return None
    if header[:4] == b"MM\0+":
        raise ValueError("it is a BigTIFF with big-endian values: give --bands, or convert it (gdal_translate)")
    try:
        if header[2:3] == b"+":
            header += file.read(8)
        directory = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
        return layout_of(directory)
    except Exception as error:  # of a broken directory Pillow raises almost anything
        raise ValueError("its TIFF directory is broken") from error
    finally:
        file.seek(0)


def layout_of(directory: TiffImagePlugin.ImageFileDirectory_v2) -> TiffLayout:
    """Return the layout that a directory of tags says."""
    bands = int(_first(directory.get(_SAMPLES), 1))
    bits = int(_first(directory.get(_BITS), 1))
    kind = _TYPES.get(int(_first(directory.get(_FORMAT), 1)), "undefined")
    photometric = int(_first(directory.get(_PHOTOMETRIC), 1))
    # Without the tag Pillow takes 0 for white, and GDAL for black.
    colors = min(_COLORS.get(photometric, bands), bands) if _PHOTOMETRIC in directory else 0
    extra = directory.get(_EXTRA, ())
    extra = (extra,) if isinstance(extra, int) else tuple(extra)
    alpha = min(sum(value in (1, 2) for value in extra), bands - colors)
    nodata = directory.get(_NODATA)
    return TiffLayout(
        bands=bands,
        type=f"{kind}{bits}",
        bits=bits,
        color_bands=colors,
        unknown_bands=bands - colors - alpha,
        is_rgb=photometric == 2,
        inverted=photometric == 0,
        planar=int(_first(directory.get(_PLANAR), 1)) == 2,
        raw=int(_first(directory.get(_COMPRESSION), 1)) == 1,
        nodata=None if nodata is None else str(nodata).strip(" \0"),
    )


def _first(value: object, default: int) -> int:
    if isinstance(value, tuple):
        value = value[0] if value else default
    return default if value is None else int(value)  # type: ignore[call-overload]


def one_band_contiguous(file: BinaryIO) -> bytes:
    """Return a file of one band with the planar order declared contiguous: the same bytes, which Pillow then reads."""
    file.seek(0)
    content = bytearray(file.read())
    order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"
    is_big = 43 in content[2:4]
    start, counted, length, value = (8, 8, 20, 12) if is_big else (4, 2, 12, 8)
    directory = int.from_bytes(content[start : start + (8 if is_big else 4)], order)
    count = int.from_bytes(content[directory : directory + counted], order)
    for place in range(directory + counted, directory + counted + count * length, length):
        if int.from_bytes(content[place : place + 2], order) == _PLANAR:
            content[place + value : place + value + 2] = (1).to_bytes(2, order)
    return bytes(content)
