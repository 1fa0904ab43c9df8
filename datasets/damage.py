"""What decoders pass over in silence: pixels of a damaged file that look like any others."""

import zlib
from typing import BinaryIO

import simplejpeg
from PIL import Image, TiffImagePlugin

from datasets.file_warnings import FileWarning

_COMPRESSION, _TABLES = 259, 347
_PLACES = ((273, 279), (324, 325))
"""Tags of where a TIFF file's strips or tiles are, and of their sizes in bytes."""
_JPEG, _DEFLATE = 7, (8, 32946)
_SAID = ("Corrupt JPEG data", "Premature end of JPEG")
_PIECE = 1 << 20


def jpeg_damage(data: bytes) -> FileWarning:
    """Return DAMAGED where libjpeg remarks that a JPEG stream's data are corrupt, which Pillow does not pass on."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        if not Image.MAX_IMAGE_PIXELS or height * width <= Image.MAX_IMAGE_PIXELS:
            simplejpeg.decode_jpeg(data)
    except ValueError as error:
        return FileWarning.DAMAGED if str(error).startswith(_SAID) else FileWarning(0)
    return FileWarning(0)


def tiff_damage(file: BinaryIO, tags: TiffImagePlugin.ImageFileDirectory_v2, size: int) -> FileWarning:
    """Return DAMAGED where a part of a TIFF file is a corrupt JPEG stream.

    Args:
        file: the open file.
        tags: of the image.
        size: bytes of its pixels.

    Raises:
        ValueError: the checksum of a compressed part is wrong; libtiff does not read it.
    """
    kind = tags.get(_COMPRESSION)
    if kind != _JPEG and kind not in _DEFLATE:
        return FileWarning(0)
    tables, left = tags.get(_TABLES, b""), 4 * size + _PIECE
    offsets, counts = next(((tags[at], tags[of]) for at, of in _PLACES if at in tags and of in tags), ((), ()))
    for number, (offset, count) in enumerate(zip(offsets, counts, strict=False), 1):
        file.seek(offset)
        part = file.read(count)
        if kind == _JPEG:
            stream = tables[:-2] + part[2:] if tables else part  # without the end of the one, the start of the other
            if jpeg_damage(stream):
                return FileWarning.DAMAGED
        else:
            left = _checked(part, number, left)
            if left < 0:  # more than an image has: parts that overlap
                break
    return FileWarning(0)


def _checked(part: bytes, number: int, most: int) -> int:
    """Decompress a part of a TIFF file piece by piece, and return how many bytes of `most` are left."""
    stream = zlib.decompressobj()
    try:
        while not stream.eof and most >= 0:
            piece = stream.decompress(part, _PIECE)
            part = stream.unconsumed_tail
            if not piece and not part:
                break
            most -= len(piece)
    except zlib.error as error:
        raise ValueError(f"part {number} of its compressed pixels is damaged: copy or save the file again") from error
    return most
