"""From an image or mask file of any kind to 8-bit pixels, without torch.

Images: whatever their mode, three channels of 8 bits; alpha is dropped, 16-bit pixels give their high byte (as Pillow
reads 16-bit RGB), the first frame counts, and EXIF orientation is not applied, because masks are drawn on the pixels as
stored. Masks: one gray channel, see `open_mask`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
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


def open_gray(path: Path | str) -> Image.Image:
    """A gray file such as a saliency map, wholly decoded, as 8-bit gray (mode 'L'). Raises ValueError naming the file.

    Colors become their luma, alpha being dropped; 1-bit pixels become 0 and 255; 16-bit pixels give their high byte,
    but are taken as they are where none is above 255.
    """
    with _naming(path):
        return _gray(_decode(path))


def open_mask(path: Path | str) -> Image.Image:
    """A mask file, wholly decoded, as 8-bit gray (mode 'L', 255 the salient object). Raises ValueError naming the file.

    As `open_gray`, but for two kinds that hold classes, not grays, and would silently come out all but black: a palette
    with colors (index 0 is the background, any other is foreground), and a mask whose greatest value is 1 (times 255).
    """
    with _naming(path):
        mask = _decode(path)
        mask = _gray_of_palette(mask) if mask.mode in ("P", "PA") else _gray(mask)
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


def _gray(image: Image.Image) -> Image.Image:
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


def _gray_of_palette(mask: Image.Image) -> Image.Image:
    """The palette's grays; where it has colors, 0 for index 0 and 255 for all others."""
    mask.info.pop("transparency", None)
    red, green, blue = mask.convert("RGB").split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    return Image.fromarray(np.where(np.asarray(mask.getchannel(0)) > 0, np.uint8(255), np.uint8(0)))


START = b"\xff\xd8\xff"
COLORS = ("YCbCr", "Gray")


def jpeg_pixels(path: Path | str) -> np.ndarray | None:
    """The pixels of an ordinary, sound JPEG file.

    Both use libjpeg-turbo, but Pillow keeps four bytes a pixel in between and decodes in small pieces.

    Returns:
        H×W×3 uint8 RGB, as stored (EXIF orientation is not applied); or None where it takes `open_image` to read the
        file, or to say what is wrong with it: another format, CMYK, damaged, too large, or not there.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(START)) != START:
                return None
            file.seek(0)
            data = file.read()
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in COLORS or height * width > (Image.MAX_IMAGE_PIXELS or float("inf")):
            return None
        return simplejpeg.decode_jpeg(data)  # strict: where libjpeg has but a warning, it raises
    except (OSError, ValueError):
        return None


def read_pixels(image: Path | str | Image.Image, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """What inference reads of an image, H×W×3 uint8 RGB for size (H, W), and the image's own (height, width).

    The pixels are those that `datasets.cache` keeps for training, or a gray level beside them: Pillow's antialiased
    bilinear, as torch computes it in half the time. Raises ValueError naming a broken file.
    """
    pixels = None if isinstance(image, Image.Image) else jpeg_pixels(image)
    if pixels is None:
        pixels = np.array(image.convert("RGB") if isinstance(image, Image.Image) else open_image(image))
    import torch  # scoring reads files too, and does without

    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    return planes[0].permute(1, 2, 0).contiguous().numpy(), pixels.shape[:2]


def read_map(path: Path) -> np.ndarray:
    """Read a saliency map as an (H, W) uint8 array; modes and errors as `datasets.io.open_gray`."""
    return np.asarray(open_gray(path))


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as an (H, W) uint8 array, 255 the object; modes and errors as `datasets.io.open_mask`."""
    return np.asarray(open_mask(path))
