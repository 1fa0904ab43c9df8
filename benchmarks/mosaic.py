"""Pack a data set's images into one large scene whose mask is known, and measure maps of it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from compute_results.protocols import field
from datasets.catalog import Pair
from datasets.io import open_image, open_mask
from datasets.mosaics import Place, pack
from inference.scenes.windows import Axis
from utils.devices import optional
from utils.files import atomic_path, atomic_write

REQUIREMENTS = "requirements-scenes.txt"
SEEN, NODATA = 0.5, 255
FALSE_ALARM_SIDE, FALSE_ALARM_PIXELS = 320, 64
"""A window without objects raises a false alarm if so many of its pixels exceed `SEEN`."""
SIZES = (0, 256, 1024, 16384, 65536, math.inf)
"""Bounds of the classes of objects by their pixels."""


@dataclass(frozen=True)
class Placed(Place):
    """An image in a mosaic: its place and its stem."""

    stem: str


@dataclass(frozen=True)
class Mosaic:
    """A mosaic: its raster, its images, its mask (H×W uint8, 255 the objects) and which pixels are images'."""

    path: Path
    images: list[Placed]
    mask: np.ndarray
    covered: np.ndarray


def build_mosaic(pairs: Sequence[Pair], path: Path) -> Mosaic:
    """Write the images of pairs at their own size into one GeoTIFF, with the gaps masked out, and `<stem>.json`.

    Raises:
        OSError, ValueError: an image cannot be read, or the file cannot be written.
    """
    rasterio = optional("rasterio", REQUIREMENTS)
    images = {pair.stem: np.asarray(open_image(pair.image)) for pair in pairs}
    sizes = [image.shape[:2] for image in images.values()]
    about_square = math.ceil(math.sqrt(1.05 * sum(h * w for h, w in sizes)))
    places, height = pack(sizes, max(about_square, *(w for _, w in sizes)))
    width = max(place.left + place.width for place in places)
    placed = [Placed(**asdict(place), stem=stem) for stem, place in zip(images, places, strict=True)]
    pixels, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    covered = np.zeros((height, width), bool)
    masks = {pair.stem: pair.mask for pair in pairs}
    for each in placed:
        pixels[each.slices], covered[each.slices] = images[each.stem], True
        mask[each.slices] = np.where(np.asarray(open_mask(masks[each.stem])) > 128, 255, 0)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    profile |= {"tiled": True, "compress": "deflate", "crs": "EPSG:32632"}
    profile["transform"] = rasterio.Affine(1, 0, 0, 0, -1, height)  # one meter a pixel
    with (
        atomic_path(path) as temporary,
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(temporary, "w", **profile) as target,
    ):
        target.write(np.moveaxis(pixels, 2, 0))
        target.write_mask(covered.astype(np.uint8) * 255)
    atomic_write(path.with_suffix(".json"), json.dumps([asdict(each) for each in placed]))
    return Mosaic(path, placed, mask, covered)


def scores(levels: np.ndarray, mosaic: Mosaic) -> dict[str, float]:
    """Return `maxF` and `MAE`, by the field's protocol image by image, of a map of the mosaic, H×W uint8."""
    found = {
        image.stem: field.score_image(_seen(levels[image.slices]), mosaic.mask[image.slices]) for image in mosaic.images
    }
    figures = field.summarize(found).figures
    return {"maxF": figures["maxF"], "MAE": figures["MAE"]}


def recalls(levels: np.ndarray, mosaic: Mosaic) -> list[tuple[float, int]]:
    """Return the recall of the objects in each class of `SIZES`, and their number.

    An object is found if half of its pixels exceed `SEEN`.
    """
    found: list[list[bool]] = [[] for _ in SIZES[1:]]
    exceeding = _seen(levels) > SEEN * 255
    for image in mosaic.images:
        count, labels = cv2.connectedComponents(mosaic.mask[image.slices])
        pixels = np.bincount(labels.ravel(), minlength=count)
        seen = np.bincount(labels.ravel(), exceeding[image.slices].ravel(), minlength=count)
        for i in range(1, count):
            found[int(np.searchsorted(SIZES, pixels[i], "right")) - 1].append(bool(2 * seen[i] >= pixels[i]))
    return [(float(np.mean(each)) if each else math.nan, len(each)) for each in found]


def false_alarms(levels: np.ndarray, mosaic: Mosaic) -> tuple[float, int]:
    """Return the fraction of object-free windows with a false alarm, and the number of such windows."""
    alarms, side = [], FALSE_ALARM_SIDE
    exceeding = _seen(levels) > SEEN * 255
    for top in range(0, levels.shape[0] - side + 1, side):
        for left in range(0, levels.shape[1] - side + 1, side):
            place = np.s_[top : top + side, left : left + side]
            if mosaic.covered[place].all() and not mosaic.mask[place].any():
                alarms.append(exceeding[place].sum() >= FALSE_ALARM_PIXELS)
    return float(np.mean(alarms)) if alarms else math.nan, len(alarms)


def seam_ratio(levels: np.ndarray, mosaic: Mosaic, axes: Sequence[tuple[Axis, Axis]]) -> float:
    """Return the mean difference of neighbors across the windows' borders over that elsewhere.

    Args:
        levels: the map, H×W uint8.
        mosaic: its mosaic; differences across images' borders do not count.
        axes: the windows of each scale along rows and columns.
    """
    owner = np.full(levels.shape, -1, np.int32)
    for number, image in enumerate(mosaic.images):
        owner[image.slices] = number
    values, sums = levels.astype(np.int16), np.zeros((2, 2))
    for axis in (0, 1):
        borders = np.unique(np.concatenate([_borders(pair[axis]) for pair in axes]))
        at_border = np.isin(np.arange(1, levels.shape[axis]), borders)
        difference = np.abs(np.diff(values, axis=axis))
        inside = (np.diff(owner, axis=axis) == 0) & (np.delete(owner, 0, axis) >= 0)
        for kind in (0, 1):
            lines = np.flatnonzero(at_border == bool(kind))
            chosen = np.take(inside, lines, axis=axis)
            sums[kind] += np.take(difference, lines, axis=axis)[chosen].sum(), chosen.sum()
    if not sums.all():
        return math.nan  # no window ends inside an image, or the map is constant
    elsewhere, across = sums[:, 0] / sums[:, 1]
    return float(across / elsewhere)


def _borders(axis: Axis) -> np.ndarray:
    """Return where windows start and end, and the middle of each overlap, where one gives way to the next."""
    ends = axis.starts + axis.side
    return np.concatenate([axis.starts, ends, (axis.starts[1:] + ends[:-1]) // 2])


def _seen(levels: np.ndarray) -> np.ndarray:
    return np.where(levels == NODATA, 0, levels).astype(np.uint8)
