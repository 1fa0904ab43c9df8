"""Cut a scene into overlapping windows of several scales, and into bands and blocks that bound the memory.

A band is a strip of rows, a block a part of its columns. Each window belongs to the block that its first pixel lies in,
and ends in the next band and the next block at the latest.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

CONTEXT_LIMITS = (32, 2048)
"""Sides of a window in source pixels."""
MAX_OVERLAP = 0.9
BLOCK_SIDE = (256, 2048)
"""Least rows of a band and columns of a block."""


@dataclass(frozen=True)
class Axis:
    """The windows along one side of a scene, evenly spaced from its first pixel to its last.

    Attributes:
        length: pixels of the scene along this side.
        side: pixels of a window, at most `length`.
        overlap: fraction of a window that the next one overlaps at least, [0, 1).
    """

    length: int
    side: int
    overlap: float

    @cached_property
    def starts(self) -> np.ndarray:
        """Return the first pixel of each window."""
        stride = max(round(self.side * (1 - self.overlap)), 1)
        count = math.ceil((self.length - self.side) / stride) + 1
        return np.rint(np.linspace(0, self.length - self.side, count)).astype(np.int64)

    @cached_property
    def weights(self) -> np.ndarray:
        """Return each window's weights, N×side float32: a Hann window, scaled so that they sum to 1 at each pixel."""
        hann = np.sin(np.pi * (np.arange(self.side) + 0.5) / self.side) ** 2
        total = np.zeros(self.length)
        for start in self.starts:
            total[start : start + self.side] += hann
        return np.stack([hann / total[start : start + self.side] for start in self.starts]).astype(np.float32)

    def within(self, first: int, end: int) -> range:
        """Return the numbers of the windows that start at a pixel from `first` to before `end`."""
        low, high = np.searchsorted(self.starts, (first, end))
        return range(int(low), int(high))


@dataclass(frozen=True)
class Window:
    """A window: its scale's number, its first row and column, and its numbers along the two axes."""

    scale: int
    row: int
    column: int
    i: int
    j: int


@dataclass(frozen=True)
class Scale:
    """The windows of one scale: those along the rows and along the columns."""

    rows: Axis
    columns: Axis

    @property
    def shape(self) -> tuple[int, int]:
        """Return a window's (height, width) in source pixels."""
        return self.rows.side, self.columns.side


@dataclass(frozen=True)
class Area:
    """A rectangle of a scene: its first row and column, and the first beyond it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Return the number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Return the number of columns."""
        return self.right - self.left


@dataclass(frozen=True)
class Grid:
    """A scene's windows, bands and blocks.

    Attributes:
        height, width: of the scene in pixels.
        scales: distinct, each window no larger than the scene.
        cell: side in pixels of a cell of the quick look; bands and blocks consist of whole cells.
    """

    height: int
    width: int
    scales: tuple[Scale, ...]
    cell: int = 1

    @cached_property
    def band_rows(self) -> int:
        """Return the rows of a band, at least those of the largest window."""
        return self._whole_cells(max(BLOCK_SIDE[0], *(scale.rows.side for scale in self.scales)))

    @cached_property
    def block_columns(self) -> int:
        """Return the columns of a block, at least those of the largest window."""
        return self._whole_cells(max(BLOCK_SIDE[1], *(scale.columns.side for scale in self.scales)))

    @property
    def bands(self) -> int:
        """Return the number of bands."""
        return math.ceil(self.height / self.band_rows)

    @property
    def blocks(self) -> int:
        """Return the number of blocks in a band."""
        return math.ceil(self.width / self.block_columns)

    def area(self, band: int, block: int) -> Area:
        """Return the pixels of a block."""
        top, left = band * self.band_rows, block * self.block_columns
        return Area(top, left, min(top + self.band_rows, self.height), min(left + self.block_columns, self.width))

    def reach(self, band: int, block: int) -> Area:
        """Return the pixels of a block and of all windows that belong to it."""
        own, ends = self.area(band, block), list(self.ends(band, block))
        bottom = max([own.bottom, *(end for end, _ in ends)])
        return Area(own.top, own.left, bottom, max([own.right, *(end for _, end in ends)]))

    def ends(self, band: int, block: int) -> Iterator[tuple[int, int]]:
        """Yield the first row and column beyond the last window of each scale that has windows in a block."""
        own = self.area(band, block)
        for scale in self.scales:
            rows, columns = scale.rows.within(own.top, own.bottom), scale.columns.within(own.left, own.right)
            if rows and columns:
                last_row, last_column = scale.rows.starts[rows[-1]], scale.columns.starts[columns[-1]]
                yield int(last_row) + scale.rows.side, int(last_column) + scale.columns.side

    def windows(self, band: int, block: int) -> Iterator[list[Window]]:
        """Yield the windows that belong to a block, one scale after the other."""
        own = self.area(band, block)
        for number, scale in enumerate(self.scales):
            yield [
                Window(number, int(scale.rows.starts[i]), int(scale.columns.starts[j]), i, j)
                for i in scale.rows.within(own.top, own.bottom)
                for j in scale.columns.within(own.left, own.right)
            ]

    def _whole_cells(self, side: int) -> int:
        return math.ceil(side / self.cell) * self.cell


def make_grid(
    size: tuple[int, int],
    contexts: list[float],
    overlap: float,
    ratio: float = 1.0,
    input_size: tuple[int, int] = (1, 1),
    look_side: int = 1024,
) -> Grid:
    """Return the grid of a scene.

    Args:
        size: (height, width) of the scene in pixels.
        contexts: longer side of each scale's windows, in pixels of the scene's columns. Windows larger than the scene
            are cut to its size.
        overlap: fraction of a window that the next one overlaps at least, [0, `MAX_OVERLAP`].
        ratio: height of a pixel divided by its width on the ground.
        input_size: (height, width) of the network's input; windows cover areas of this shape on the ground.
        look_side: longest side of the quick look.

    Raises:
        ValueError: a context or the overlap is out of bounds.
    """
    if not 0 <= overlap <= MAX_OVERLAP:
        raise ValueError(f"--overlap {overlap:g}: give a fraction of a window from 0 to {MAX_OVERLAP}")
    scales: dict[tuple[int, int], Scale] = {}
    for context in contexts:
        longer = max(input_size)
        sides = [round(context * input_size[0] / longer / ratio), round(context * input_size[1] / longer)]
        if not CONTEXT_LIMITS[0] <= max(sides) <= CONTEXT_LIMITS[1]:
            low, high = CONTEXT_LIMITS
            raise ValueError(
                f"a context of {context:g} pixels: give {low} to {high}; for more, reduce the scene first, such as by "
                "gdal_translate -of VRT -r average -outsize 25% 25%"
            )
        shape = tuple(max(min(side, length), 1) for side, length in zip(sides, size, strict=True))
        axes = (Axis(length, side, overlap) for side, length in zip(shape, size, strict=True))
        scales.setdefault((shape[0], shape[1]), Scale(*axes))
    cell = max(math.ceil(max(size) / look_side), 1)
    return Grid(*size, tuple(scales.values()), cell)
