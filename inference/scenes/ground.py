"""Sizes on the ground: of a scene's pixels, and of polygons, in meters under any CRS."""

import importlib
import math
from typing import Any

import numpy as np

from datasets.raster import REQUIREMENTS
from utils.text import one_line

STEP = 50
"""Pixels over which a pixel's size is measured."""


def pixel_size(dataset: Any, gsd: float | None = None) -> tuple[float, float] | None:
    """Return the (height, width) of a pixel in the middle of a scene in meters, or None if nothing says it.

    Args:
        dataset: an open rasterio data set.
        gsd: width of a pixel in meters, instead of what the georeference says; the height follows by their ratio.
    """
    found = _measured(dataset)
    if gsd is None:
        return found
    return (gsd * found[0] / found[1], gsd) if found else (gsd, gsd)


def _measured(dataset: Any) -> tuple[float, float] | None:
    transform = dataset.transform
    if dataset.crs is None or transform.is_identity:
        return None
    ground = Ground(dataset.crs)
    row, column = dataset.height / 2, dataset.width / 2
    ends = ((row - STEP, column), (row + STEP, column), (row, column - STEP), (row, column + STEP))
    x, y = np.array([_place(transform, i, j) for i, j in ends]).T
    height, width = ground.distance(x[:2], y[:2]), ground.distance(x[2:], y[2:])
    sizes = height / (2 * STEP), width / (2 * STEP)
    return sizes if all(math.isfinite(size) and size > 0 for size in sizes) else None


def _place(transform: Any, row: float, column: float) -> tuple[float, float]:
    return (
        transform.a * column + transform.b * row + transform.c,
        transform.d * column + transform.e * row + transform.f,
    )


class Ground:
    """Distances and areas on a CRS's ellipsoid; in the plane where the CRS has no place on the Earth.

    Args:
        crs: a rasterio CRS.

    Raises:
        ValueError: pyproj is missing, or does not know the CRS.
    """

    def __init__(self, crs: Any) -> None:
        try:
            pyproj = importlib.import_module("pyproj")
        except ImportError as error:
            raise ValueError(f"pyproj cannot be imported ({one_line(error)}): pip install -r {REQUIREMENTS}") from error
        try:
            own = pyproj.CRS.from_wkt(crs.to_wkt())
        except pyproj.exceptions.CRSError as error:
            raise ValueError(f"pyproj does not know the scene's CRS: {one_line(error)}") from error
        self._geod, self._to_degrees, self._unit = None, None, 1.0
        if own.geodetic_crs is not None:
            self._geod = own.get_geod()
            self._to_degrees = pyproj.Transformer.from_crs(own, own.geodetic_crs, always_xy=True).transform
        elif own.axis_info:
            self._unit = own.axis_info[0].unit_conversion_factor or 1.0

    def distance(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return the distance in meters of two points given by their two x and two y."""
        if self._geod is None or self._to_degrees is None:
            return float(np.hypot(x[1] - x[0], y[1] - y[0]) * self._unit)
        longitude, latitude = self._to_degrees(x, y)
        return float(self._geod.inv(longitude[0], latitude[0], longitude[1], latitude[1])[2])

    def area(self, rings: list[np.ndarray]) -> float:
        """Return the area in m² of a polygon.

        Args:
            rings: the exterior and the holes, each N×2 (x, y) in the CRS.
        """
        areas = [abs(self._ring_area(ring)) for ring in rings]
        return areas[0] - sum(areas[1:])

    def _ring_area(self, ring: np.ndarray) -> float:
        x, y = ring[:, 0], ring[:, 1]
        if self._geod is None or self._to_degrees is None:
            x, y = x - x[0], y - y[0]
            return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2 * self._unit**2)
        longitude, latitude = self._to_degrees(x, y)
        return float(self._geod.polygon_area_perimeter(longitude, latitude)[0])
