"""From saliency to an 8-bit map, by the release's rule or raw, and to a file."""

import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

THRESHOLD = 0.25
"""Where a map's maximum is not above this, the release takes it for a scene without objects."""


def gray_map(saliency: np.ndarray, size: tuple[int, int] | None = None, raw: bool = False) -> Image.Image:
    """The map that is written for an image: 8-bit gray.

    Args:
        saliency: H×W float32, [0, 1].
        size: (height, width) to resize the saliency to, bilinearly (antialiased where it shrinks), before it becomes
            gray; None keeps H×W.
        raw: saliency × 255 as it is, instead of the release's threshold and stretch.

    Raises:
        ValueError: the saliency holds something that is not a number.
    """
    if not np.isfinite(saliency).all():
        raise ValueError("its saliency is not finite: the network overflows; try --precision bf16 or fp32")
    if size is not None:
        height, width = size
        saliency = np.asarray(Image.fromarray(saliency).resize((width, height), Image.Resampling.BILINEAR))
    return Image.fromarray(truncated(saliency if raw else stretched(saliency)))


def stretched(saliency: np.ndarray) -> np.ndarray:
    """Saliency by the release's rule, float32 in [0, 1].

    If the maximum is at most 0.25, values under 0.25 become 0 and the rest stays; otherwise minimum and maximum are
    stretched to 0 and 1. The release leaves a constant map above 0.25 open (0/0): there is nothing to stretch in it,
    and it is kept as it is.
    """
    least, greatest = saliency.min(), saliency.max()
    if greatest <= THRESHOLD:
        return np.where(saliency < THRESHOLD, np.float32(0), saliency)
    if least == greatest:
        return saliency
    return (saliency - least) / (greatest - least)


def truncated(values: np.ndarray) -> np.ndarray:
    """[0, 1] to gray levels as the release has them: × 255, cut off, not rounded. uint8."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def write_map(path: Path, gray: Image.Image) -> None:
    """Write a map as PNG, whole or not at all; its folder is made, and a file that is there replaced.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        gray.save(temporary, "PNG", compress_type=zlib.Z_RLE)  # half the time of the default, and no larger
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
