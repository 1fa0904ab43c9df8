"""What is to be made of one scene: its bands, value range and windows, and whether its files are still the same."""

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datasets.raster import Bands, Bounds, Raster, open_raster
from datasets.raster_reader import Reader
from inference.scenes.ground import pixel_size
from inference.scenes.windows import Grid, make_grid

DEFAULT_CONTEXT = (448.0, 640.0)
SQUARE = 0.05
"""Pixels whose sides differ by less than this fraction are taken for square."""


@dataclass(frozen=True)
class Wishes:
    """What the user asks of every scene.

    Attributes:
        bands, bounds: as `Reader` takes them.
        context: longer sides of the windows in pixels; None: `context_m`, or `DEFAULT_CONTEXT`.
        context_m: the same in meters.
        gsd: ground sampling distance in meters, instead of what the scene's georeference says.
        overlap: fraction of a window.
        dtype: type of the map.
    """

    bands: Bands | None = None
    bounds: Bounds | None = None
    context: tuple[float, ...] | None = None
    context_m: tuple[float, ...] | None = None
    gsd: float | None = None
    overlap: float = 0.5
    dtype: str = "uint8"


@dataclass(frozen=True)
class Job:
    """What is to be made of one scene.

    Attributes:
        source: file or address.
        raster: what its header says.
        bands, bounds: the bands that are seen as red, green and blue, and their value range.
        estimated: whether the range was estimated.
        fill: RGB that stands for invalid pixels, the mean color of a sample.
        grid: the windows.
        input_size: (height, width) of the network's input.
        pixel_m: (height, width) of a pixel in meters, or None.
        georeference: what is known of the place, for messages.
        files: size and time of the last change of each local file.
        digest: hash of the sample, by which a changed remote scene is noticed.
    """

    source: str
    raster: Raster
    bands: Bands
    bounds: Bounds
    estimated: bool
    fill: tuple[int, int, int]
    grid: Grid
    input_size: tuple[int, int]
    pixel_m: tuple[float, float] | None
    georeference: str
    digest: str
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, source: str, wishes: Wishes, input_size: tuple[int, int]) -> "Job":
        """Open a scene and decide how it is read.

        Raises:
            ValueError: it cannot be opened or read, its bands are ambiguous, or a context does not fit.
        """
        with open_raster(source) as dataset:
            files = {path: _state(path) for path in dataset.files if os.path.exists(path)}
            reader = Reader(dataset, wishes.bands, wishes.bounds)
            values, valid = reader.sampled()
            pixels = reader.convert(values if valid is None else values[:, valid][:, None])
            pixel_m = pixel_size(dataset, wishes.gsd)
            ratio = pixel_m[0] / pixel_m[1] if pixel_m else 1.0
            grid = make_grid(
                (dataset.height, dataset.width),
                _contexts(wishes, pixel_m, source),
                wishes.overlap,
                1.0 if abs(ratio - 1) < SQUARE else ratio,
                input_size,
            )
            return cls(
                source,
                reader.raster,
                reader.bands,
                reader.bounds,
                reader.estimated,
                _mean_color(pixels),
                grid,
                input_size,
                pixel_m,
                _georeference(dataset),
                hashlib.sha256(values.tobytes()).hexdigest()[:16],
                files,
            )

    def check_source(self) -> None:
        """Raise a ValueError if a file of the scene was changed or removed since the job was made."""
        for path, state in self.files.items():
            try:
                if _state(path) == state:
                    continue
                what = "was changed"
            except FileNotFoundError:
                what = "was removed"
            raise ValueError(f"{path} {what} while its map was made: restore it and use --resume, or start over")

    def key(self) -> dict[str, Any]:
        """Return what the map depends on, as JSON values."""
        grid = self.grid
        return {
            "scene": self.source,
            "files": {path: list(state) for path, state in self.files.items()},
            "content": self.digest,
            "size": [grid.height, grid.width],
            "bands": list(self.bands),
            "range": list(self.bounds),
            "context": [list(scale.shape) for scale in grid.scales],
            "overlap": grid.scales[0].rows.overlap,
        }

    def __str__(self) -> str:
        """Return one line: the scene, its bands, range, windows and place."""
        grid, (low, high) = self.grid, self.bounds
        chosen = ",".join(map(str, self.bands)) if len(set(self.bands)) > 1 else str(self.bands[0])
        sides = ", ".join(_side(scale.shape) for scale in grid.scales)
        meters = ""
        if self.pixel_m:
            meters = f" ({', '.join(f'{scale.columns.side * self.pixel_m[1]:.3g}' for scale in grid.scales)} m)"
        how = "estimated" if self.estimated else "not estimated"
        return (
            f"{self.source}: {grid.width}×{grid.height} pixels, bands {chosen} of {len(self.raster.dtypes)} "
            f"({self.raster.dtypes[self.bands[0] - 1]}), range {low:g}:{high:g} ({how}), "
            f"context {sides} pixels{meters}, {self.georeference}"
        )


def _side(shape: tuple[int, int]) -> str:
    return str(shape[0]) if shape[0] == shape[1] else f"{shape[1]}×{shape[0]}"


def _state(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _contexts(wishes: Wishes, pixel_m: tuple[float, float] | None, source: str) -> list[float]:
    if wishes.context_m is None:
        return list(wishes.context or DEFAULT_CONTEXT)
    if pixel_m is None:
        raise ValueError(
            f"{source}: --context-m needs the size of a pixel, which the scene's georeference does not say: give it in "
            "meters by --gsd, or give --context in pixels"
        )
    return [meters / pixel_m[1] for meters in wishes.context_m]


def _mean_color(pixels: np.ndarray) -> tuple[int, int, int]:
    if not pixels.size:
        return 0, 0, 0
    red, green, blue = (math.floor(mean + 0.5) for mean in pixels.reshape(-1, 3).mean(axis=0))
    return red, green, blue


def _georeference(dataset: Any) -> str:
    gcps, _ = dataset.gcps
    if dataset.crs is not None and not gcps:
        return f"CRS {dataset.crs.to_string() if dataset.crs.to_epsg() else 'of its own'}"
    if gcps:
        return f"{len(gcps)} ground control points, kept"
    return "RPCs, kept" if dataset.rpcs else "no CRS"
