"""Read a scene's windows as they are needed: batches for the network, and each block's validity and quick look."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from datasets.io import read_pixels
from datasets.raster_reader import Reader
from inference.scenes.blending import BlockEnd
from inference.scenes.windows import Area, Grid, Window

MAX_ENDS = 8
"""Ends of blocks that wait for the windows before them."""


@dataclass(frozen=True)
class Batch:
    """What the network sees at a time.

    Attributes:
        pixels: N×H×W×3 uint8, or None without windows.
        steps: windows, in the order of `pixels`, and the ends of blocks.
    """

    pixels: np.ndarray | None
    steps: list[Window | BlockEnd]


def read_batches(
    reader: Reader, grid: Grid, bands: Iterable[int], input_size: tuple[int, int], batch_size: int, fill: np.ndarray
) -> Iterator[Batch]:
    """Yield the windows of each band in batches. Windows without a valid pixel are left out.

    A band's last batch is padded to `batch_size` if the band has others, since runtimes compile for each size and keep
    memory for it. No batch has windows of two bands, so the batches are the same wherever a run starts.

    Args:
        reader: the open scene.
        grid: its windows.
        bands: numbers of the bands to read.
        input_size: (height, width) of the network's input, to which windows are resized as images are.
        batch_size: most windows of a batch.
        fill: RGB of invalid pixels.

    Raises:
        ValueError: the scene cannot be read.
    """
    for band in bands:
        views: list[np.ndarray] = []
        steps: list[Window | BlockEnd] = []
        filled = False
        for step, view in _read_band(reader, grid, band, input_size, fill):
            steps.append(step)
            if view is not None:
                views.append(view)
            filled = filled or len(views) == batch_size
            if len(views) == batch_size or not views or len(steps) - len(views) > MAX_ENDS:
                yield Batch(_stacked(views, batch_size if filled else 0), steps)
                views, steps = [], []
        if steps:
            yield Batch(_stacked(views, batch_size if filled else 0), steps)


def _read_band(
    reader: Reader, grid: Grid, band: int, input_size: tuple[int, int], fill: np.ndarray
) -> Iterator[tuple[Window | BlockEnd, np.ndarray | None]]:
    """Yield each window with the network's input, and the end of each block with None."""
    for block in range(grid.blocks):
        own, reach = grid.area(band, block), grid.reach(band, block)
        pixels, valid = reader.read(reach.top, reach.left, reach.height, reach.width)
        if valid is not None:
            pixels[~valid] = fill
        for window in grid.windows(band, block):
            place = _place(window, grid, reach)
            if valid is None or valid[place].any():
                yield window, read_pixels(Image.fromarray(pixels[place]), input_size)[0]
        inside = np.s_[: own.height, : own.width]
        look = _look(pixels[inside], grid.cell)
        yield BlockEnd(band, block, None if valid is None else valid[inside].copy(), look), None


def _stacked(views: list[np.ndarray], count: int) -> np.ndarray | None:
    """Return views as one array, the last one repeated until there are `count`."""
    return np.stack(views + views[-1:] * (count - len(views))) if views else None


def _place(window: Window, grid: Grid, reach: Area) -> tuple[slice, slice]:
    height, width = grid.scales[window.scale].shape
    top, left = window.row - reach.top, window.column - reach.left
    return slice(top, top + height), slice(left, left + width)


def _look(pixels: np.ndarray, cell: int) -> np.ndarray:
    """Return the mean color of each cell; cells at the scene's end may be cut."""
    if cell == 1:
        return pixels.copy()
    height, width = (-(-side // cell) for side in pixels.shape[:2])
    padded = np.pad(
        pixels, ((0, height * cell - pixels.shape[0]), (0, width * cell - pixels.shape[1]), (0, 0)), mode="edge"
    )
    return cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA)
