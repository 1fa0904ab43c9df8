"""Pack pairs of images and masks into one large image with a known mask: a mosaic."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

BACKGROUND = 127
"""Gray of the pixels that no image covers."""

Sample = tuple[np.ndarray, np.ndarray]
"""An image, H×W×3 uint8 RGB, and its mask, H×W uint8."""


@dataclass(frozen=True)
class Place:
    """Where an image lies in a mosaic, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns of the image."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def pack(sizes: Sequence[tuple[int, int]], width: int) -> tuple[list[Place], int]:
    """Place rectangles on shelves, the tallest first: each shelf is as high as its first rectangle.

    Args:
        sizes: (height, width) of each rectangle.
        width: width of the mosaic, at least that of the widest rectangle.

    Returns:
        The place of each rectangle, in the order of `sizes`, and the mosaic's height.

    Raises:
        ValueError: a rectangle is wider than the mosaic.
    """
    if sizes and max(wide for _, wide in sizes) > width:
        raise ValueError(f"a mosaic of {width} pixels is narrower than an image of {max(w for _, w in sizes)}")
    places: dict[int, Place] = {}
    top = left = shelf = 0
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index][0]):
        high, wide = sizes[index]
        if left + wide > width:
            top, left, shelf = top + shelf, 0, 0
        shelf = shelf or high
        places[index] = Place(top, left, high, wide)
        left += wide
    return [places[index] for index in range(len(sizes))], top + shelf


def mosaic(samples: Iterable[Sample], places: Sequence[Place], height: int, width: int) -> tuple[Sample, np.ndarray]:
    """Return (image, mask) of a mosaic, and where images cover it, H×W bool."""
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    mask, covered = np.zeros((height, width), np.uint8), np.zeros((height, width), bool)
    for (pixels, objects), place in zip(samples, places, strict=True):
        image[place.slices], mask[place.slices], covered[place.slices] = pixels, objects, True
    return (image, mask), covered
