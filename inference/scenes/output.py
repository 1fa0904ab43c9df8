"""Write a scene's map as a Cloud Optimized GeoTIFF with the georeference of its source."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.raster import gdal_environment, open_raster, raster_errors
from inference.scenes.work import NODATA, Work
from utils.devices import optional

REQUIREMENTS = "requirements-scenes.txt"
GDAL_TYPES = {"uint8": "Byte", "float32": "Float32"}
KEPT = ("SRS", "GeoTransform", "GCPList")
"""Elements of a VRT that hold the georeference, beside the RPCs."""
COG_OPTIONS = {
    "COMPRESS": "DEFLATE",
    "PREDICTOR": "YES",
    "BLOCKSIZE": 512,
    "OVERVIEWS": "AUTO",
    "OVERVIEW_RESAMPLING": "AVERAGE",
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": 1,
}
"""One thread writes the same bytes each time."""
STRIP_PIXELS = 4 << 20
"""Pixels of a map that are read at a time."""


def write_cog(work: Work, source: str, path: Path) -> None:
    """Write a finished map as a COG; `path` lies in the work's folder or on the same disk.

    The values of 'uint8' are saliency × 255 truncated, at most 254, and 255 is nodata; of 'float32' the saliency, and
    NaN is nodata.

    Args:
        work: a map whose bands are finished and joined.
        source: the scene, whose CRS, transform, control points and RPCs are kept.
        path: the .tif file.

    Raises:
        ValueError: the source cannot be opened any more.
        OSError: the file cannot be written, or cannot be read back.
    """
    shutil = optional("rasterio.shutil", REQUIREMENTS)
    vrt = work.folder / "map.vrt"
    with open_raster(source) as dataset:
        shutil.copy(dataset, vrt, driver="VRT")
    _replace_bands(vrt, work)
    try:
        with (
            gdal_environment(GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE="SIBLING_OR_CHILD_OF_VRT_PATH"),
            raster_errors(path),
        ):
            shutil.copy(vrt, path, driver="COG", **COG_OPTIONS)
        _read_back(path)
    except ValueError as error:
        raise OSError(f"{error}; is the disk full? Go on with --resume") from error


def _replace_bands(vrt: Path, work: Work) -> None:
    """Replace the bands of the source's VRT by the raw map; keep the georeference alone."""
    root = ElementTree.parse(vrt).getroot()
    for element in list(root):
        rpc = element.tag == "Metadata" and element.get("domain") == "RPC"
        if element.tag not in KEPT and not rpc:
            root.remove(element)
    name = work.dtype.name
    attributes = {"dataType": GDAL_TYPES[name], "band": "1", "subClass": "VRTRawRasterBand"}
    band = ElementTree.SubElement(root, "VRTRasterBand", attributes)
    values = {
        "Description": "saliency",
        "NoDataValue": str(NODATA[name]),
        "SourceFilename": work.map_file.name,
        "ImageOffset": "0",
        "PixelOffset": str(work.dtype.itemsize),
        "LineOffset": str(work.dtype.itemsize * work.grid.width),
        "ByteOrder": "LSB",
    }
    if name == "uint8":
        values["Scale"] = repr(1 / 255)
    for tag, text in values.items():
        ElementTree.SubElement(band, tag, {"relativeToVRT": "1"} if tag == "SourceFilename" else {}).text = text
    vrt.write_bytes(ElementTree.tostring(root))


def _read_back(path: Path) -> None:
    """Read every block of the overviews once, since GDAL only logs some write errors; `map_strips` reads the others."""
    with open_raster(path) as dataset:
        factors = dataset.overviews(1)
    for level in range(len(factors)):
        with open_raster(path, overview_level=level) as dataset, raster_errors(path):
            dataset.checksum(1)


def map_strips(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the stored values, H×W, of strips of a map's rows.

    Raises:
        OSError: the map cannot be read.
    """
    with open_raster(path) as dataset:
        rows = max(STRIP_PIXELS // dataset.width, 1)
        rows = rows // 512 * 512 if rows >= 512 else 1 << (rows.bit_length() - 1)  # whole tiles, or a part of one
        for top in range(0, dataset.height, rows):
            window = ((top, min(top + rows, dataset.height)), (0, dataset.width))
            with raster_errors(path):
                values = dataset.read(1, window=window)
            yield top, values
