"""Convert saliency to 8-bit gray maps, by the rule of the released code or raw, and write them."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from utils.files import atomic_file

THRESHOLD = 0.25
"""Maximum up to which the released code takes a map for a scene without objects."""


def gray_map(saliency: np.ndarray, size: tuple[int, int] | None = None, raw: bool = False) -> Image.Image:
    """Return the 8-bit gray map of an image.

    Args:
        saliency: H×W float32, [0, 1].
        size: (height, width) to resize the saliency to, bilinearly (antialiased where it shrinks), before the
            conversion; None keeps H×W.
        raw: return saliency × 255, without the threshold and stretch of the released code.

    Raises:
        ValueError: the saliency holds NaN or infinity.
    """
    return Image.fromarray(truncated(float_map(saliency, size, raw)))


def float_map(saliency: np.ndarray, size: tuple[int, int] | None = None, raw: bool = False) -> np.ndarray:
    """Return the map of an image before its conversion to 8 bits: H×W float32 in [0, 1]. Otherwise as `gray_map`."""
    if not np.isfinite(saliency).all():
        raise ValueError("its saliency is not finite: the network overflows; try --precision bf16 or fp32")
    if size is not None:
        height, width = size
        saliency = np.asarray(Image.fromarray(saliency).resize((width, height), Image.Resampling.BILINEAR))
    return np.clip(saliency if raw else stretched(saliency), 0, 1)


def stretched(saliency: np.ndarray) -> np.ndarray:
    """Return the saliency by the rule of the released code, float32 in [0, 1].

    If the maximum is at most 0.25, values under 0.25 become 0 and the rest stays. Otherwise the range is stretched to
    [0, 1]. The released code divides 0 by 0 for a constant map above 0.25; here such a map stays as it is.
    """
    minimum, maximum = saliency.min(), saliency.max()
    if maximum <= THRESHOLD:
        return np.where(saliency < THRESHOLD, np.float32(0), saliency)
    if minimum == maximum:
        return saliency
    return (saliency - minimum) / (maximum - minimum)


def truncated(values: np.ndarray) -> np.ndarray:
    """Return [0, 1] values as uint8 gray levels: × 255, truncated as in the released code, not rounded."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def write_map(path: Path, gray: Image.Image) -> None:
    """Write a map as PNG, atomically: create its folder, replace an older file. `utils.files.sync_disk` follows a run.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_file(path, sync=False) as file:
        gray.save(file, "PNG", compress_type=zlib.Z_RLE)  # half the time of the default, and no larger
