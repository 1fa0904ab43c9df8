"""Decoded pixels of any mode to 8-bit RGB (images) or gray (masks), or a refusal of what they do not say."""

import numpy as np
from PIL import Image

from datasets.decode import REMEDY, Decoded
from datasets.file_warnings import FileWarning, is_dark

_SPREAD = 32
"""Pixels whose channels differ by more are colored; JPEG's noise on grays is less."""

_MOST_COLORS = 256
"""Colors up to which a mask lists classes; more are a picture."""


def image_rgb(decoded: Decoded) -> Image.Image:
    """Return an image as 8-bit RGB, its values scaled from the whole range of their type.

    Raises:
        ValueError: signed, floating-point or 32-bit values, whose range is unknown; 16-bit values that fill less than a
            quarter of their range, as 11-bit values do.
    """
    image, layout = decoded.image, decoded.layout
    if layout and not (layout.is_integer and layout.bits <= 16):
        raise ValueError(f"it has {layout}, whose range is unknown: {REMEDY}")
    if is_deep(image):
        values = deep_values(decoded)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            kind = "floating-point" if image.mode == "F" else "32-bit"
            raise ValueError(f"its values are {kind}, {values.min():g} to {values.max():g}: {REMEDY}")
        rgb = Image.fromarray((values >> max(_bits(decoded) - 8, 0)).astype(np.uint8)).convert("RGB")
    elif image.mode == "RGB":
        rgb = image
    else:
        if "transparency" in image.info:
            image = image.convert("RGBA")  # Pillow warns of a palette's transparency otherwise
        rgb = image.convert("RGB")
    if decoded.bits > 14 and is_dark(rgb, 64) and any(high for _, high in rgb.getextrema()):  # type: ignore[misc]
        top = (1 << decoded.bits) // 4
        raise ValueError(
            f"its values are {decoded.bits}-bit, yet hardly any reaches {top}, as if they had 11 or 12 bits: "
            f"{REMEDY} (--range 0:{(1 << decoded.bits) - 1} reads them as they are)"
        )
    return rgb


def mask_levels(decoded: Decoded) -> tuple[Image.Image, FileWarning]:
    """Return a mask as 8-bit gray, 255 the object, and COLORED where it has colors; see `datasets.io.inspect_mask`."""
    mask, layout = decoded.image, decoded.layout
    if is_deep(mask):
        return _gray_of_deep(decoded), FileWarning(0)
    if layout and layout.type == "int8":
        if (np.asarray(mask) > 127).any():
            raise ValueError(f"it has {layout}, some below 0: save the mask as 8-bit gray, 255 the object")
    elif layout and not layout.is_integer:
        raise ValueError(f"it has {layout}: save the mask as 8-bit gray, 255 the object")
    mask.info.pop("transparency", None)  # Pillow warns of a palette's
    if mask.mode in ("1", "L", "LA", "La"):
        gray, found = mask if mask.mode == "L" else mask.convert("L"), FileWarning(0)
    else:
        rgb = mask.convert("RGB")
        if decoded.bits > 8 and not any(high for _, high in rgb.getextrema()):  # type: ignore[misc]
            raise ValueError("all its 16-bit values are less than 256: save the mask as 8-bit gray, 255 the object")
        gray, found = class_levels(rgb)
    return (gray.point(lambda value: 255 * value) if gray.getextrema()[1] == 1 else gray), found


def class_levels(rgb: Image.Image) -> tuple[Image.Image, FileWarning]:
    """Return a mask's grays, with 255 for colors, and COLORED where there are some.

    Raises:
        ValueError: there are several colors, and no pixel is black or dark gray.
    """
    colored = color_spread(rgb)
    if not colored.any():
        return rgb.convert("L"), FileWarning(0)
    colors = rgb.getcolors(_MOST_COLORS)
    if colors is None:
        return rgb.convert("L"), FileWarning.COLORED
    levels = np.where(colored, np.uint8(255), np.asarray(rgb.convert("L")))
    if len(colors) > 1 and levels.min() >= 128:
        raise ValueError(
            f"it holds {len(colors)} colors and no black, so that the background is unknown: "
            "save the mask as 8-bit gray, 255 the object"
        )
    return Image.fromarray(levels), FileWarning.COLORED


def color_spread(rgb: Image.Image) -> np.ndarray:
    """Return which pixels of an RGB image are colored, H×W bool."""
    red, green, blue = rgb.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return np.zeros((rgb.height, rgb.width), bool)
    pixels = np.asarray(rgb)
    return pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2) > _SPREAD


def is_deep(image: Image.Image) -> bool:
    """Return whether an image has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def deep_values(decoded: Decoded) -> np.ndarray:
    """Return the values of a deep image, int32 or float32, white being the greatest."""
    values = np.asarray(decoded.image)
    if values.dtype.kind != "f":
        values = values.astype(np.int32)
    if decoded.layout and decoded.layout.inverted and decoded.layout.is_integer and decoded.bits <= 16:
        values = (1 << decoded.bits) - 1 - values
    return values


def _bits(decoded: Decoded) -> int:
    """Return the bits that the values of a deep image fill: Pillow scales those of JPEG 2000 to 16."""
    return decoded.bits if decoded.layout else 16


def _gray_of_deep(decoded: Decoded) -> Image.Image:
    values = deep_values(decoded)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("some of its values are not finite: save the mask as 8-bit gray, 255 the object")
        if (values != np.rint(values)).any():
            if values.min() < 0 or values.max() != 1:
                raise ValueError(
                    f"its values are fractions from {values.min():g} to {values.max():g}: "
                    "save the mask as 8-bit gray, 255 the object"
                )
            values = values * 255
        values = np.rint(values).clip(-1, 65536).astype(np.int32)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ValueError(f"its pixels are from {low} to {high}: save the mask with 8 or 16 bits")
    if high == 1:
        return Image.fromarray((values * 255).astype(np.uint8))
    shift = max(min(_bits(decoded), 16) - 8, 0)
    return Image.fromarray((values if high <= 255 else values >> shift).astype(np.uint8))
