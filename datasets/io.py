"""Read image, mask and map files of any kind as 8-bit pixels.

Of a file with several frames the first is read. Alpha is dropped. EXIF orientation is not applied, because masks are
drawn on the pixels as stored. Torch is imported by `read_pixels` alone: scoring does without it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from utils.text import one_line

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
"""Formats of the content, whatever the suffix. Pillow reads more, some of them by running Ghostscript."""

_JPEG_START = b"\xff\xd8\xff"


def open_image(path: Path | str) -> Image.Image:
    """Return a wholly decoded image file as 8-bit RGB; of 16-bit pixels the high byte, as Pillow reads 16-bit RGB.

    Raises:
        ValueError: the file cannot be read; the message is one line that names it.
    """
    with _naming(path):
        image = _decode(path)
        if _is_deep(image):
            image = Image.fromarray((_deep_pixels(image) >> 8).astype(np.uint8))
        elif "transparency" in image.info and image.mode != "RGB":
            image = image.convert("RGBA")  # Pillow warns of a palette's transparency otherwise
        return image if image.mode == "RGB" else image.convert("RGB")


def open_gray(path: Path | str) -> Image.Image:
    """Return a wholly decoded gray file, such as a saliency map, as 8-bit gray (mode 'L').

    Colors become their luma. 1-bit pixels become 0 and 255. Of 16-bit pixels the high byte is taken, or the low byte
    where no value exceeds 255.

    Raises:
        ValueError: the file cannot be read; the message is one line that names it.
    """
    with _naming(path):
        return _gray(_decode(path))


def open_mask(path: Path | str) -> Image.Image:
    """Return a wholly decoded mask file as 8-bit gray (mode 'L'), 255 the salient object.

    As `open_gray`, except for two kinds of files that hold classes instead of grays. In a palette with colors, index 0
    is the background and any other index foreground. A mask whose greatest value is 1 is multiplied by 255.

    Raises:
        ValueError: the file cannot be read; the message is one line that names it.
    """
    with _naming(path):
        mask = _decode(path)
        mask = _gray_of_palette(mask) if mask.mode in ("P", "PA") else _gray(mask)
        return mask.point(lambda value: 255 * value) if mask.getextrema()[1] == 1 else mask


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize an image to `size` (height, width) by Pillow's antialiased bilinear: the paper's preprocessing."""
    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


def read_map(path: Path) -> np.ndarray:
    """Return a saliency map as an H×W uint8 array; modes and errors as `open_gray`."""
    return np.asarray(open_gray(path))


def read_mask(path: Path) -> np.ndarray:
    """Return a mask as an H×W uint8 array, 255 the object; modes and errors as `open_mask`."""
    return np.asarray(open_mask(path))


def read_pixels(image: Path | str | Image.Image, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image for inference.

    The resize is Pillow's antialiased bilinear, as torch computes it in half the time: the pixels differ from those of
    `datasets.cache` by one gray level at most.

    Returns:
        H×W×3 uint8 RGB at `size` (H, W), and the image's own (height, width).

    Raises:
        ValueError: the file cannot be read; the message is one line that names it.
    """
    import torch

    pixels = None if isinstance(image, Image.Image) else jpeg_pixels(image)
    if pixels is None:
        pixels = np.array(image.convert("RGB") if isinstance(image, Image.Image) else open_image(image))
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    return planes[0].permute(1, 2, 0).contiguous().numpy(), (pixels.shape[0], pixels.shape[1])


def jpeg_pixels(path: Path | str) -> np.ndarray | None:
    """Return the pixels of an ordinary, sound JPEG file as H×W×3 uint8 RGB.

    None is returned where the file needs `open_image`, to be read or to say what is wrong with it: another format,
    CMYK, damaged, too large or missing. Both decode with libjpeg-turbo and give the same pixels. This function is
    faster, because Pillow keeps four bytes for each pixel and decodes in small pieces.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(_JPEG_START)) != _JPEG_START:
                return None
            file.seek(0)
            data = file.read()
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in ("YCbCr", "Gray") or height * width > (Image.MAX_IMAGE_PIXELS or float("inf")):
            return None
        return simplejpeg.decode_jpeg(data)  # strict: it raises where libjpeg only warns
    except (OSError, ValueError):
        return None


@contextmanager
def _naming(path: Path | str) -> Iterator[None]:
    """Turn every error about a file into a ValueError of one line that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{path} is not there") from error
    except Exception as error:  # on broken files Pillow raises almost anything: SyntaxError, struct.error, …
        raise ValueError(f"{path} cannot be read: {one_line(error) or type(error).__name__}") from error


def _decode(path: Path | str) -> Image.Image:
    with Image.open(path, formats=FORMATS) as image:
        pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
        if most and pixels > most:  # Pillow only warns of it, until there are twice as many
            raise ValueError(f"its {image.width}×{image.height} pixels are more than the {most} that Pillow deems safe")
        image.load()
        return image


def _gray(image: Image.Image) -> Image.Image:
    if _is_deep(image):
        values = _deep_pixels(image)
        return Image.fromarray((values if values.max() <= 255 else values >> 8).astype(np.uint8))
    image.info.pop("transparency", None)  # Pillow warns of a palette's
    return image if image.mode == "L" else image.convert("L")


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _deep_pixels(image: Image.Image) -> np.ndarray:
    """Return the pixels of a 16-bit image as int32."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range, save it with 8 bits")
    pixels = np.asarray(image).astype(np.int32)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"its pixels are from {pixels.min()} to {pixels.max()}, save it with 8 or 16 bits")
    return pixels


def _gray_of_palette(mask: Image.Image) -> Image.Image:
    """Return the palette's grays; where it has colors, 0 for index 0 and 255 for all others."""
    mask.info.pop("transparency", None)
    red, green, blue = mask.convert("RGB").split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    return Image.fromarray(np.where(np.asarray(mask.getchannel(0)) > 0, np.uint8(255), np.uint8(0)))
