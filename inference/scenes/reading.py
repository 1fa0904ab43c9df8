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


@dataclass(frozen=True)
class Batch:
    """Windows of one block and one scale: N windows and the network's input, N×H×W×3 uint8."""

    band: int
    block: int
    windows: list[Window]
    pixels: np.ndarray


def read_blocks(
    reader: Reader, grid: Grid, bands: Iterable[int], input_size: tuple[int, int], batch_size: int, fill: np.ndarray
) -> Iterator[Batch | BlockEnd]:
    """Yield the batches of each block and then its end. Windows without a valid pixel are left out.

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
        for block in range(grid.blocks):
            own, reach = grid.area(band, block), grid.reach(band, block)
            pixels, valid = reader.read(reach.top, reach.left, reach.height, reach.width)
            if valid is not None:
                pixels[~valid] = fill
            for windows in grid.windows(band, block):
                seen = [window for window in windows if _is_seen(valid, _place(window, grid, reach))]
                for start in range(0, len(seen), batch_size):
                    part = seen[start : start + batch_size]
                    yield Batch(
                        band,
                        block,
                        part,
                        np.stack([_input(pixels[_place(window, grid, reach)], input_size) for window in part]),
                    )
            inside = np.s_[: own.height, : own.width]
            look = _look(pixels[inside], grid.cell)
            yield BlockEnd(band, block, None if valid is None else valid[inside].copy(), look)


def _place(window: Window, grid: Grid, reach: Area) -> tuple[slice, slice]:
    height, width = grid.scales[window.scale].shape
    top, left = window.row - reach.top, window.column - reach.left
    return slice(top, top + height), slice(left, left + width)


def _is_seen(valid: np.ndarray | None, place: tuple[slice, slice]) -> bool:
    return valid is None or bool(valid[place].any())


def _input(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return read_pixels(Image.fromarray(pixels), size)[0]


def _look(pixels: np.ndarray, cell: int) -> np.ndarray:
    """Return the mean color of each cell; cells at the scene's end may be cut."""
    if cell == 1:
        return pixels.copy()
    height, width = (-(-side // cell) for side in pixels.shape[:2])
    padded = np.pad(
        pixels, ((0, height * cell - pixels.shape[0]), (0, width * cell - pixels.shape[1]), (0, 0)), mode="edge"
    )
    return cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA)
