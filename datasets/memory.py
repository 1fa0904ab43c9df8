"""Images in memory, PIL images and arrays, as decoded files: the same pixels as by the file's own door."""

import numpy as np
from PIL import Image, TiffImagePlugin

from datasets.decode import Decoded, decode, hidden, refuse_large, refuse_misread, stored_bits
from datasets.file_warnings import FileWarning
from datasets.tiff import layout_of

_SHAPES = "give H×W gray or H×W×3 RGB"


def decoded_image(image: Image.Image | np.ndarray) -> Decoded:
    """Return a PIL image or an array as a decoded file.

    Raises:
        ValueError: an array of another shape or type; a file that Pillow opened and would read wrong.
        TypeError: neither image nor array.
    """
    if isinstance(image, np.ndarray):
        return _decoded_array(image)
    if not isinstance(image, Image.Image):
        raise TypeError(f"{type(image).__name__} is neither a file, a PIL image nor an array")
    path = getattr(image, "filename", "")
    if path and getattr(image, "tile", ()) and image.tell() == 0:  # not loaded yet
        return decode(path)
    layout = layout_of(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    if layout:
        refuse_misread(layout)
    refuse_large(image.width, image.height)
    if not (image.width and image.height):
        raise ValueError("it has no pixels")
    bits = stored_bits(image, layout)
    image.load()
    return Decoded(image.copy(), bits, hidden(image, layout), layout)


def _decoded_array(pixels: np.ndarray) -> Decoded:
    shape = "×".join(map(str, pixels.shape))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if not pixels.size or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(f"an array of {shape}: {_SHAPES}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"an array of {pixels.dtype}: {_SHAPES}, as uint8 or uint16")
    refuse_large(pixels.shape[1], pixels.shape[0])
    pixels = np.ascontiguousarray(pixels)
    bits = 8 * pixels.dtype.itemsize
    if pixels.ndim == 3 and bits == 16:
        pixels = (pixels >> 8).astype(np.uint8)
    return Decoded(Image.fromarray(pixels), bits, FileWarning(0))
