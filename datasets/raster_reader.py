"""Read any raster that GDAL reads as 8-bit RGB, with one value range for the whole of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.raster import (
    Bands,
    Bounds,
    Raster,
    choose_bands,
    describe,
    is_palette,
    open_raster,
    raster_errors,
    rasterio_module,
)

SAMPLE_SIDE = 1024
"""Longest side of the sample that a value range is estimated from."""
SAMPLE_WINDOWS = 8
"""Windows along each side that are sampled of a large raster without overviews."""
WINDOW_SIDE = 256
READ_WHOLE = 64 << 20
"""Pixels up to which a raster without overviews is read whole for its sample."""
PERCENTILES = (0.5, 99.5)
"""Part of the valid values that an estimated range spans, in percent."""


class Reader:
    """Reads windows of an open raster as 8-bit RGB and says which pixels are valid.

    Where a TIFF file says that its least value is white, the lower bound becomes white and the upper one black.

    Args:
        dataset: what `open_raster` yields.
        bands: what `choose_bands` returned; None chooses them.
        bounds: the values that become 0 and 255; None: `estimate_range`.

    Attributes:
        raster, bands: what is read.
        bounds: the value range. For a palette (0, 255).
        estimated: whether the value range was estimated.

    Raises:
        ValueError: as `choose_bands`.
    """

    def __init__(self, dataset: Any, bands: Bands | None = None, bounds: Bounds | None = None) -> None:
        self.dataset, self.raster = dataset, describe(dataset)
        self.bands = choose_bands(self.raster, bands)
        self._palette = self._read_palette() if is_palette(self.raster, self.bands) else None
        self._sample: tuple[np.ndarray, np.ndarray | None] | None = None
        known = (0.0, 255.0) if self._palette is not None else bounds or self._own_range()
        self.estimated = known is None
        self.bounds: Bounds = known or self._estimate()
        self._table = None if self._palette is not None else _gray_table(self._kind(), self.bounds)
        self._inverted = dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"

    def read(
        self, row: int, column: int, height: int, width: int, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a window's pixels, H×W×3 uint8, and their validity, H×W bool, or None where all are valid.

        Args:
            row, column, height, width: the window in the raster's pixels.
            shape: (H, W) to read at, averaged, from overviews where there are some; None is (height, width).

        Raises:
            ValueError: GDAL cannot read it.
        """
        values, valid = self.values(row, column, height, width, shape)
        return self.convert(values), valid

    def values(
        self,
        row: int,
        column: int,
        height: int,
        width: int,
        shape: tuple[int, int] | None = None,
        average: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a window's values, C×H×W of the raster's type with one channel for each distinct band, and `valid`."""
        rasterio = rasterio_module()
        window = rasterio.windows.Window(column, row, width, height)
        shape = shape or (height, width)
        distinct = sorted(set(self.bands))
        average = average and self._palette is None
        how: Any = rasterio.enums.Resampling
        keywords = {"window": window, "resampling": how.average if average else how.nearest}
        with raster_errors(self.raster.name):
            if len({self.raster.dtypes[band - 1] for band in distinct}) == 1:
                values = self.dataset.read(distinct, out_shape=(len(distinct), *shape), **keywords)
            else:
                values = np.stack([
                    self.dataset.read(band, out_shape=shape, **keywords).astype(np.float64) for band in distinct
                ])  # fmt: skip
            valid = (
                self._valid(values, distinct, shape, window)
                if self.raster.masked or self._palette is not None
                else None
            )
        return values, None if valid is None or valid.all() else valid

    def convert(self, values: np.ndarray) -> np.ndarray:
        """Return values that `values` returned as H×W×3 uint8 RGB."""
        if self._palette is not None:
            return self._palette[values[0]][..., :3]
        gray = values if self._table is None and values.dtype == np.uint8 else self._gray(values)
        gray = 255 - gray if self._inverted else gray
        distinct = sorted(set(self.bands))
        return np.stack([gray[distinct.index(band)] for band in self.bands], axis=-1)

    def _gray(self, values: np.ndarray) -> np.ndarray:
        if self._table is not None:
            return self._table[values.view(np.uint16 if values.itemsize == 2 else np.uint8)]
        return _to_gray(values, self.bounds)

    def _kind(self) -> np.dtype:
        kinds = {self.raster.dtypes[band - 1] for band in self.bands}
        return np.dtype(kinds.pop()) if len(kinds) == 1 else np.dtype(np.float64)

    def _read_palette(self) -> np.ndarray:
        """Return the color table, N×4 uint8 RGBA, N all values of the band's type; indices that it lacks are black."""
        table = np.zeros((1 << 8 * self._kind().itemsize, 4), np.uint8)
        table[:, 3] = 255
        with raster_errors(self.raster.name):
            for index, color in self.dataset.colormap(self.bands[0]).items():
                if index < len(table):
                    table[index] = color
        return table

    def _own_range(self) -> Bounds | None:
        """Return the whole range of unsigned types of up to 8 bits, which need no estimate."""
        kind, bits = self._kind(), max(self.raster.bits[band - 1] for band in self.bands)
        return (0.0, float(2**bits - 1)) if kind == np.uint8 and 1 <= bits <= 8 else None

    def _estimate(self) -> Bounds:
        values, valid = self.sampled()
        return estimate_range(values if valid is None else values[:, valid])

    def sampled(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a sample of the raster: values, C×…, and their validity, or None where all are valid.

        It is read from the overviews, or from windows spread evenly where a large raster has none.
        """
        if self._sample is None:
            self._sample = self._take_sample()
        return self._sample

    def _take_sample(self) -> tuple[np.ndarray, np.ndarray | None]:
        raster, side = self.raster, max(self.raster.width, self.raster.height)
        whole = bool(self.dataset.overviews(self.bands[0])) or raster.width * raster.height <= READ_WHOLE
        if whole:
            factor = max(side / SAMPLE_SIDE, 1)
            shape = (max(round(raster.height / factor), 1), max(round(raster.width / factor), 1))
            values, valid = self.values(0, 0, raster.height, raster.width, shape, average=False)
            return values, valid
        parts = [self.values(*place, average=False) for place in _sample_windows(raster)]
        values = np.concatenate([part.reshape(len(part), -1) for part, _ in parts], axis=1)
        flags = [np.ones(part.shape[1:], bool) if valid is None else valid for part, valid in parts]
        return values, np.concatenate([flag.ravel() for flag in flags])

    def _valid(self, values: np.ndarray, bands: list[int], shape: tuple[int, int], window: Any) -> np.ndarray | None:
        """Return which pixels are valid: any of their bands is by GDAL's masks, and all are finite numbers."""
        valid = None
        if self._palette is not None and (self._palette[:, 3] == 0).any():
            valid = self._palette[values[0], 3] > 0
        if values.dtype.kind == "f":
            finite = np.isfinite(values).all(axis=0)
            valid = finite if valid is None else valid & finite
        flags = self.dataset.mask_flag_enums
        all_valid = rasterio_module().enums.MaskFlags.all_valid
        if any(all_valid not in flags[band - 1] for band in bands):
            masks = self.dataset.read_masks(bands, out_shape=(len(bands), *shape), window=window)
            unmasked = (masks > 0).any(axis=0)
            valid = unmasked if valid is None else valid & unmasked
        return valid


def estimate_range(values: np.ndarray) -> Bounds:
    """Return the range of a sample of valid values, `PERCENTILES` of all bands together; (0, 255) without values."""
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
    if not values.size:
        return 0.0, 255.0
    low, high = (float(bound) for bound in np.percentile(values, PERCENTILES))
    if low == high:
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def read_rgb(
    path: Path | str, bands: Bands | None = None, bounds: Bounds | None = None
) -> tuple[np.ndarray, np.ndarray | None, Bounds]:
    """Return a whole raster as H×W×3 uint8 RGB, its validity (H×W bool, None: all are valid) and its value range.

    Args:
        path: what `open_raster` takes.
        bands: numbers of the red, green and blue band; None: as `choose_bands`.
        bounds: the values that become 0 and 255; None: 0 and 255 for 8-bit values, estimated for others.

    Raises:
        ValueError: as `open_raster`, and `choose_bands`; one line.
    """
    with open_raster(path) as dataset:
        reader = Reader(dataset, bands, bounds)
        pixels, valid = reader.read(0, 0, reader.raster.height, reader.raster.width)
        return pixels, valid, reader.bounds


def _sample_windows(raster: Raster) -> Iterator[tuple[int, int, int, int]]:
    """Yield (row, column, height, width) of windows spread evenly over a large raster."""
    for i in range(SAMPLE_WINDOWS):
        for j in range(SAMPLE_WINDOWS):
            height, width = min(WINDOW_SIDE, raster.height), min(WINDOW_SIDE, raster.width)
            row = round(i * (raster.height - height) / (SAMPLE_WINDOWS - 1))
            column = round(j * (raster.width - width) / (SAMPLE_WINDOWS - 1))
            yield row, column, height, width


def _gray_table(kind: np.dtype, bounds: Bounds) -> np.ndarray | None:
    """Return the gray level of every value of an integer type of up to 16 bits, by its unsigned bits.

    None is returned for other types, and where values are gray levels already.
    """
    if kind.itemsize > 2 or kind.kind == "f" or (kind == np.uint8 and bounds == (0.0, 255.0)):
        return None
    unsigned = np.arange(1 << (8 * kind.itemsize), dtype=f"u{kind.itemsize}")
    return _to_gray(unsigned.view(kind), bounds)


def _to_gray(values: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Return values as gray levels: `bounds` become 0 and 255, the rest is rounded and clipped. NaN becomes 0."""
    low, high = bounds
    narrow = values.dtype.itemsize <= 2 or values.dtype == np.float32
    levels: np.ndarray[Any, np.dtype[np.floating]] = values.astype(np.float32 if narrow else np.float64)
    levels -= low
    levels *= 255 / (high - low)
    np.nan_to_num(levels, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(np.rint(levels, out=levels), 0, 255).astype(np.uint8)
