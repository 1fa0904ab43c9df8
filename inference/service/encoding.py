"""Encode a saliency map as PNG, or as a GeoTIFF with the georeference of the image that was sent."""

import io
import warnings
import zlib
from pathlib import Path

import numpy as np

from datasets.raster import open_raster, rasterio_module
from inference.maps import gray_map

NODATA = 255
"""Value of invalid pixels in a GeoTIFF; the map has at most 254 there, as a scene's."""


def png(saliency: np.ndarray, size: tuple[int, int] | None, raw: bool) -> bytes:
    """Return the 8-bit gray map as PNG; arguments as `inference.maps.gray_map`."""
    buffer = io.BytesIO()
    gray_map(saliency, size, raw).save(buffer, "PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def geotiff(
    saliency: np.ndarray, size: tuple[int, int], raw: bool, source: Path, valid: np.ndarray | None = None
) -> bytes:
    """Return the 8-bit gray map of the image's size as GeoTIFF with the source's CRS and transform.

    Args:
        saliency, size, raw: as `inference.maps.gray_map`.
        source: the image file.
        valid: H×W bool; invalid pixels become nodata.

    Raises:
        ValueError: rasterio is missing, or cannot read the source.
    """
    rasterio = rasterio_module()
    gray = np.minimum(np.asarray(gray_map(saliency, size, raw)), NODATA - 1)
    if valid is not None:
        gray = np.where(valid, gray, np.uint8(NODATA))
    with open_raster(source) as dataset:
        profile = {"crs": dataset.crs, "transform": dataset.transform}
        gcps, crs = dataset.gcps
    if gcps:
        profile = {"gcps": gcps, "crs": crs}
    height, width = gray.shape
    with warnings.catch_warnings(), rasterio.MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(
            driver="GTiff", height=height, width=width, count=1, dtype="uint8", nodata=NODATA, compress="deflate",
            **profile,
        ) as target:  # fmt: skip
            target.write(gray, 1)
        content: bytes = memory.read()
        return content
