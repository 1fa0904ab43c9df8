"""Write the objects of a scene's map as polygons: GeoPackage, GeoJSON or FlatGeobuf, by the file's suffix."""

import itertools
import math
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.raster import REQUIREMENTS, open_raster
from inference.scenes.components import Component, find_components
from inference.scenes.ground import Ground
from inference.scenes.output import map_strips
from inference.scenes.work import NODATA
from utils.devices import optional
from utils.files import atomic_path
from utils.text import one_line

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".json": "GeoJSON", ".fgb": "FlatGeobuf"}
"""GDAL's drivers by file suffix."""
FIXED_DATE = {"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"}
"""A GeoPackage holds the time of its last change. With a fixed one, the same polygons are the same file."""
BATCH = 4096
"""Polygons that are written at a time."""
LAYER = "saliency"


@dataclass(frozen=True)
class PolygonWishes:
    """What polygons are asked for.

    Attributes:
        threshold: least saliency of an object's pixels, (0, 1].
        min_area: least area of an object, in m², or in pixels where the scene has no CRS.
    """

    threshold: float = 0.5
    min_area: float = 20.0


def check_polygon_file(path: Path) -> None:
    """Raise a ValueError if a suffix is not one of `DRIVERS`, or packages are missing."""
    if path.suffix.lower() not in DRIVERS:
        raise ValueError(f"--polygons {path}: give a file that ends in {', '.join(DRIVERS)}")
    for package in ("pyogrio", "pyarrow", "pyproj", "shapely"):
        optional(package, REQUIREMENTS)


def write_polygons(map_file: Path, path: Path, wishes: PolygonWishes) -> int:
    """Write the polygons of a map, atomically, and return their number.

    Each has `mean` and `max`, the saliency of its pixels, `area_m2` on the ellipsoid (null without a CRS) and `pixels`.
    Coordinates are in the scene's CRS, of GeoJSON in WGS 84, and in pixels of a scene without a transform.

    Args:
        map_file: the map's GeoTIFF.
        path: the file to write, replaced if it exists.
        wishes: which polygons.

    Raises:
        OSError, ValueError: the map cannot be read, or the file cannot be written.
    """
    pyogrio = optional("pyogrio", REQUIREMENTS)
    optional("pyogrio.raw", REQUIREMENTS)
    with open_raster(map_file) as dataset:
        crs, transform, kind = dataset.crs, np.array(dataset.transform).reshape(3, 3)[:2], dataset.dtypes[0]
        size = dataset.height, dataset.width
    writer = _Features(Ground(crs) if crs else None, transform, wishes, 255.0 if kind == "uint8" else 1.0)
    # The least level of an object's pixels: a threshold of 0.2 is level 51, whatever 0.2 × 255 is rounded to.
    threshold = math.ceil(wishes.threshold * 255 - 1e-6) if kind == "uint8" else wishes.threshold
    components = find_components(map_strips(map_file), threshold, NODATA[kind], writer.least_pixels(size))
    driver = DRIVERS[path.suffix.lower()]
    options = {"RFC7946": "YES", "COORDINATE_PRECISION": "9"} if driver == "GeoJSON" and crs else {}
    pyogrio.set_gdal_config_options(FIXED_DATE)
    with atomic_path(path) as temporary:
        named = temporary.with_name(temporary.name + path.suffix.lower())  # GDAL expects the driver's suffix
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a missing CRS
                pyogrio.raw.write_arrow(
                    writer.table(components),
                    named,
                    layer=LAYER,
                    driver=driver,
                    geometry_name="geometry",
                    geometry_type="Polygon",
                    crs=crs.to_wkt() if crs else None,
                    layer_options=options,
                )
            shutil.copyfile(named, temporary)
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
            raise OSError(f"{path} cannot be written: {one_line(error)}") from error
        finally:
            for left in named.parent.glob(f"{named.name}*"):
                left.unlink()
    return writer.count


class _Features:
    """Turns components into Arrow batches of polygons.

    Attributes:
        count: polygons so far.
    """

    def __init__(self, ground: Ground | None, transform: np.ndarray, wishes: PolygonWishes, scale: float) -> None:
        self.ground, self.transform, self.wishes, self.scale = ground, transform, wishes, scale
        self.count = 0
        self._arrow = optional("pyarrow", REQUIREMENTS)
        self._shapely = optional("shapely", REQUIREMENTS)

    def least_pixels(self, size: tuple[int, int]) -> int:
        """Return a number of pixels below which no component of a scene of that (height, width) has the least area."""
        if self.ground is None:
            return max(math.ceil(self.wishes.min_area), 1)
        places = itertools.product(np.linspace(0, size[0] - 1, 5), np.linspace(0, size[1] - 1, 5))
        square = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
        largest = max(self.ground.area([self._placed(square + np.array([column, row]))]) for row, column in places)
        if not math.isfinite(largest) or largest <= 0:
            return 1
        return max(math.floor(self.wishes.min_area / largest / 1.2), 1)  # a pixel elsewhere may be a little larger

    def table(self, components: Iterator[Component]) -> Any:
        """Return a stream of Arrow batches, which reads the components as it is written."""
        arrow = self._arrow
        schema = arrow.schema([
            arrow.field("geometry", arrow.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"}),
            ("mean", arrow.float64()),
            ("max", arrow.float64()),
            ("area_m2", arrow.float64()),
            ("pixels", arrow.int64()),
        ])  # fmt: skip
        return arrow.RecordBatchReader.from_batches(schema, self._batches(components, schema))

    def _batches(self, components: Iterator[Component], schema: Any) -> Iterator[Any]:
        rows = self._rows(components)
        while batch := list(itertools.islice(rows, BATCH)):
            self.count += len(batch)
            columns = [
                self._arrow.array(column, field.type)
                for column, field in zip(zip(*batch, strict=True), schema, strict=True)
            ]
            yield self._arrow.record_batch(columns, schema=schema)

    def _rows(self, components: Iterator[Component]) -> Iterator[tuple]:
        for component in components:
            rings = [self._placed(ring) for ring in component.rings()]
            area = None if self.ground is None else self.ground.area(rings)
            if (component.pixels if area is None else area) < self.wishes.min_area:
                continue
            polygon = self._shapely.Polygon(rings[0], rings[1:])
            mean, maximum = component.mean / self.scale, component.maximum / self.scale
            yield self._shapely.to_wkb(self._shapely.orient_polygons(polygon)), mean, maximum, area, component.pixels

    def _placed(self, points: np.ndarray) -> np.ndarray:
        """Return points (x, y) in pixels in the scene's CRS."""
        return points @ self.transform[:, :2].T + self.transform[:, 2]
