"""Describe what a mask shows: the object's size, the number of objects, and their distance to the image's border."""

from dataclasses import dataclass

import numpy as np

EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)
"""What connects the pixels of an object."""


@dataclass(frozen=True)
class MaskFeatures:
    """What a mask shows, at its own size, binarized at > 128.

    Attributes:
        share: the foreground's share of all pixels, in [0, 1].
        objects: the number of connected parts (eight neighbors).
        border: the number of pixels between the foreground and the image's border, as a share of the image's shorter
            side: 0 if an object touches the border, below 0.5 otherwise. None for an empty mask.
    """

    share: float
    objects: int
    border: float | None


def describe_mask(mask: np.ndarray) -> MaskFeatures:
    """Return the features of a mask, (H, W) uint8."""
    from scipy import ndimage  # a third of a second, which scoring without groups need not wait for

    foreground = mask > 128
    rows, columns = np.flatnonzero(foreground.any(axis=1)), np.flatnonzero(foreground.any(axis=0))
    if not rows.size:
        return MaskFeatures(0.0, 0, None)
    height, width = foreground.shape
    top, bottom, left, right = (int(value) for value in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    inside = foreground[top:bottom, left:right]
    gap = min(top, height - bottom, left, width - right)
    objects = int(ndimage.label(inside, structure=EIGHT_NEIGHBORS)[1])
    return MaskFeatures(np.count_nonzero(inside) / foreground.size, objects, gap / min(height, width))
