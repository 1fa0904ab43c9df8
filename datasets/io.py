"""Read image, mask and map files of any kind as 8-bit pixels: the one reader of training, check, scoring and inference.

Of a file with several frames the first is read. Alpha is dropped. An EXIF orientation is not applied, because masks are
drawn on the pixels as stored. What may be unintended comes with the pixels as a `FileWarning`. What would be read wrong
is refused. Torch is imported by `read_pixels` alone: scoring does without it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from datasets.decode import decode, naming, open_regular, refuse_large
from datasets.file_warnings import FileWarning, exif_warning, is_dark, mask_warnings
from datasets.levels import color_spread, deep_values, image_rgb, is_deep, mask_levels
from datasets.memory import decoded_image
from datasets.raster import Bands, Bounds, open_raster
from datasets.raster_reader import Reader

_JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Reading:
    """How images are read whose files do not say it: see `datasets.raster`.

    Attributes:
        bands: numbers of the red, green and blue band, from 1; None where the files say it.
        bounds: the values that become black and white; None for the whole range of 8-bit values.
    """

    bands: Bands | None = None
    bounds: Bounds | None = None

    def __bool__(self) -> bool:
        return self.bands is not None or self.bounds is not None


AS_STORED = Reading()


def open_image(path: Path | str, reading: Reading = AS_STORED) -> Image.Image:
    """Return a wholly decoded image file as 8-bit RGB; of 16-bit pixels the high byte, as Pillow reads 16-bit RGB.

    Raises:
        ValueError: as `inspect_image`.
    """
    return inspect_image(path, reading)[0]


def inspect_image(path: Path | str, reading: Reading = AS_STORED) -> tuple[Image.Image, FileWarning]:
    """Return an image as `open_image` does, and its warnings.

    Args:
        path: the file.
        reading: bands and value range; with either, rasterio reads the file.

    Raises:
        ValueError: the file cannot be read, or does not say what its values mean: bands other than gray or RGB, signed
            or floating-point values, 16-bit values that end within a quarter of their range. The message is one line
            that names the file.
    """
    if reading:
        return _by_bands(path, reading)
    pixels, found = _jpeg(path)
    if pixels is not None:
        image = Image.fromarray(pixels)
        return image, found | (FileWarning.DARK if is_dark(image) else FileWarning(0))
    with naming(path):
        decoded = decode(path)
        image = image_rgb(decoded)
        return image, decoded.warnings | (FileWarning.DARK if is_dark(image) else FileWarning(0))


def open_mask(path: Path | str) -> Image.Image:
    """Return a wholly decoded mask file as 8-bit gray (mode 'L'), 255 the salient object; see `inspect_mask`."""
    return inspect_mask(path)[0]


def inspect_mask(path: Path | str) -> tuple[Image.Image, FileWarning]:
    """Return a mask as 8-bit gray (mode 'L'), 255 the salient object, and its warnings.

    Grays stay. A mask whose greatest value is 1 is multiplied by 255. Colors, in a palette or not, stand for classes
    and become 255; black is the background. Of more than 256 colors the luma is taken. Of 16-bit values the high byte
    is taken, or the low byte where none exceeds 255. Floating-point values must be whole numbers, or from 0 to 1.

    Raises:
        ValueError: the file cannot be read, its values mean nothing of that, or it has several colors and no black,
            which leaves the background unknown. The message is one line that names the file.
    """
    with naming(path):
        decoded = decode(path)
        mask, found = mask_levels(decoded)
        return mask, decoded.warnings | found | mask_warnings(mask)


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize an image to `size` (height, width) by Pillow's antialiased bilinear: the paper's preprocessing."""
    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class MapFile:
    """A saliency map as stored.

    Attributes:
        values: H×W, uint8 or (deep) int32.
        deep: the values are 16-bit.
        warnings: COLORED, and those of any file.
    """

    values: np.ndarray
    deep: bool
    warnings: FileWarning

    def pixels(self, top: int | None = None) -> np.ndarray:
        """Return the map as H×W uint8.

        Args:
            top: the stored value that is white, 1 or 255; None: 255, or 65535 of a deep map.
        """
        if top == 1:
            return (np.minimum(self.values, 1) * 255).astype(np.uint8)
        if self.deep and top is None:
            return (self.values >> 8).astype(np.uint8)
        return np.minimum(self.values, 255).astype(np.uint8)


def inspect_map(path: Path | str) -> MapFile:
    """Return a saliency map as stored. Colors become their luma, 1-bit pixels 0 and 255.

    Raises:
        ValueError: the file cannot be read, or its values are not 8-bit or 16-bit gray; one line names it.
    """
    with naming(path):
        decoded = decode(path)
        image = decoded.image
        if is_deep(image):
            values = deep_values(decoded)
            if image.mode == "F" or values.min() < 0 or values.max() > 65535:
                found = f"{values.min():g} to {values.max():g}"
                raise ValueError(f"its pixels are from {found}, neither 8-bit nor 16-bit: save the map as 8-bit gray")
            return MapFile(values, True, decoded.warnings)
        if decoded.bits > 8 or (decoded.layout and decoded.layout.type != f"uint{decoded.bits}"):
            raise ValueError("its pixels are neither 8-bit nor 16-bit gray: save the map as 8-bit gray")
        colored = image.mode not in ("1", "L", "LA", "La") and color_spread(image.convert("RGB")).any()
        image.info.pop("transparency", None)  # Pillow warns of a palette's
        gray = np.asarray(image if image.mode == "L" else image.convert("L"))
        return MapFile(gray, False, decoded.warnings | (FileWarning.COLORED if colored else FileWarning(0)))


def read_map(path: Path, top: int | None = None) -> np.ndarray:
    """Return a saliency map as an H×W uint8 array; `top` as in `MapFile.pixels`, errors as `inspect_map`.

    The scale depends on the type alone, never on the values: a faint map stays faint.
    """
    return inspect_map(path).pixels(top)


def read_mask(path: Path) -> np.ndarray:
    """Return a mask as an H×W uint8 array, 255 the object; modes and errors as `inspect_mask`."""
    return np.asarray(open_mask(path))


ImageSource = Path | str | Image.Image | np.ndarray


def read_pixels(
    image: ImageSource, size: tuple[int, int], reading: Reading = AS_STORED
) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image for inference, as `inspect_pixels` without the warnings."""
    return inspect_pixels(image, size, reading)[:2]


def inspect_pixels(
    image: ImageSource, size: tuple[int, int], reading: Reading = AS_STORED
) -> tuple[np.ndarray, tuple[int, int], FileWarning]:
    """Read an image for inference.

    The resize is Pillow's antialiased bilinear, as torch computes it in half the time: the pixels differ from those of
    `datasets.cache` by one gray level at most.

    Args:
        image: a file; a PIL image; or an array: H×W or H×W×3 (RGB), uint8 or uint16.
        size: (H, W) of the result.
        reading: bands and value range of a file.

    Returns:
        H×W×3 uint8 RGB at `size`, the image's own (height, width), and its warnings.

    Raises:
        ValueError: as `inspect_image`.
    """
    import torch

    found, pixels = FileWarning(0), None
    if isinstance(image, (Path, str)):
        if not reading:
            pixels, found = _jpeg(image)
        if pixels is None:
            opened, found = inspect_image(image, reading)
            pixels = np.array(opened)
    elif reading:
        raise ValueError("bands and range are for files: choose and scale the bands of an image in memory before")
    else:
        with naming("the image"):
            decoded = decoded_image(image)
            pixels, found = np.array(image_rgb(decoded)), decoded.warnings
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    small = planes[0].permute(1, 2, 0).contiguous().numpy()
    found |= FileWarning.DARK if is_dark(small) else FileWarning(0)
    return small, (pixels.shape[0], pixels.shape[1]), found


def jpeg_pixels(path: Path | str) -> np.ndarray | None:
    """Return the pixels of an ordinary, sound JPEG file as H×W×3 uint8 RGB.

    None is returned where the file needs `open_image`, to be read or to say what is wrong with it: another format,
    CMYK, damaged, too large or missing. Both decode with libjpeg-turbo and give the same pixels. This function is
    faster, because Pillow keeps four bytes for each pixel and decodes in small pieces.
    """
    return _jpeg(path)[0]


def _jpeg(path: Path | str) -> tuple[np.ndarray | None, FileWarning]:
    try:
        with open_regular(path) as file:
            if file.read(len(_JPEG_START)) != _JPEG_START:
                return None, FileWarning(0)
            file.seek(0)
            data = file.read()
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in ("YCbCr", "Gray") or height * width > (Image.MAX_IMAGE_PIXELS or float("inf")):
            return None, FileWarning(0)
        return simplejpeg.decode_jpeg(data), exif_warning(data)  # strict: it raises where libjpeg only warns
    except (OSError, ValueError):
        return None, FileWarning(0)


def _by_bands(path: Path | str, reading: Reading) -> tuple[Image.Image, FileWarning]:
    """Return what rasterio reads of chosen bands, scaled from the range, which is never an image's own."""
    open_regular(path).close()
    with naming(path), open_raster(path) as dataset:
        refuse_large(dataset.width, dataset.height)
        reader = Reader(dataset, reading.bands, reading.bounds)
        if reader.estimated:
            raise ValueError(f"it has {reader.raster}, whose range is unknown: give --range LOW:HIGH")
        pixels, valid = reader.read(0, 0, dataset.height, dataset.width)
        image = Image.fromarray(pixels)
        found = FileWarning.DARK if is_dark(image) else FileWarning(0)
        return image, found | (FileWarning(0) if valid is None else FileWarning.HIDDEN)
