"""From an image or mask file of any kind to 8-bit pixels, without torch.

Images: whatever their mode, three channels of 8 bits; alpha is dropped, 16-bit pixels give their high byte (as Pillow
reads 16-bit RGB), the first frame counts, and EXIF orientation is not applied, because masks are drawn on the pixels as
stored. Masks: one grey channel, see `open_mask`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
"""What a file's content may be, whatever its name says. Pillow knows more, and would start Ghostscript for some."""


def open_image(path: Path | str) -> Image.Image:
    """An image file, wholly decoded, as 8-bit RGB (see the module's text). Raises ValueError naming the file."""
    with _naming(path):
        image = _decode(path)
        if _is_deep(image):
            image = Image.fromarray((_deep_pixels(image) >> 8).astype(np.uint8))
        elif "transparency" in image.info and image.mode != "RGB":
            image = image.convert("RGBA")  # drops it through alpha: Pillow warns of a palette's otherwise
        return image if image.mode == "RGB" else image.convert("RGB")


def open_grey(path: Path | str) -> Image.Image:
    """A grey file such as a saliency map, wholly decoded, as 8-bit grey (mode 'L'). Raises ValueError naming the file.

    Colours become their luma, alpha being dropped; 1-bit pixels become 0 and 255; 16-bit pixels give their high byte,
    but are taken as they are where none is above 255.
    """
    with _naming(path):
        return _grey(_decode(path))


def open_mask(path: Path | str) -> Image.Image:
    """A mask file, wholly decoded, as 8-bit grey (mode 'L', 255 the salient object). Raises ValueError naming the file.

    As `open_grey`, but for two kinds that hold classes, not greys, and would silently come out all but black: a palette
    with colours (index 0 is the background, any other is foreground), and a mask whose greatest value is 1 (times 255).
    """
    with _naming(path):
        mask = _decode(path)
        mask = _grey_of_palette(mask) if mask.mode in ("P", "PA") else _grey(mask)
        return mask.point(lambda value: 255 * value) if mask.getextrema()[1] == 1 else mask


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image at `size` (height, width) by Pillow's antialiased bilinear: the paper's preprocessing."""
    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


@contextmanager
def _naming(path: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong with a file into a ValueError of one line that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{path} is not there") from error
    except Exception as error:  # on broken files Pillow's decoders raise what they like: SyntaxError, struct.error, …
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error


def _decode(path: Path | str) -> Image.Image:
    with Image.open(path, formats=FORMATS) as image:
        pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
        if most and pixels > most:  # Pillow only warns of it, until there are twice as many
            raise ValueError(f"its {image.width}×{image.height} pixels are more than the {most} that Pillow deems safe")
        image.load()
        return image


def _grey(image: Image.Image) -> Image.Image:
    if _is_deep(image):
        values = _deep_pixels(image)
        return Image.fromarray((values if values.max() <= 255 else values >> 8).astype(np.uint8))
    image.info.pop("transparency", None)  # of a palette, about which Pillow warns
    return image if image.mode == "L" else image.convert("L")


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _deep_pixels(image: Image.Image) -> np.ndarray:
    """The pixels of a 16-bit image as int32."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range, save it with 8 bits")
    pixels = np.asarray(image).astype(np.int32)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"its pixels are from {pixels.min()} to {pixels.max()}, save it with 8 or 16 bits")
    return pixels


def _grey_of_palette(mask: Image.Image) -> Image.Image:
    """The palette's greys; where it has colours, 0 for index 0 and 255 for all others."""
    mask.info.pop("transparency", None)
    red, green, blue = mask.convert("RGB").split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    return Image.fromarray(np.where(np.asarray(mask.getchannel(0)) > 0, np.uint8(255), np.uint8(0)))
