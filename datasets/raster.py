"""Open and describe any raster that GDAL reads, and choose its bands; `datasets.raster_reader` reads its pixels.

rasterio is optional (requirements-scenes.txt) and is imported when a raster is opened. Torch is not imported.
"""

import importlib
import math
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.text import one_line

REQUIREMENTS = "requirements-scenes.txt"
GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 32 << 20,
    "GDAL_HTTP_CONNECTTIMEOUT": 30,
    "GDAL_HTTP_LOW_SPEED_TIME": 60,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
    "GDAL_HTTP_MAX_RETRY": 4,
    "GDAL_HTTP_RETRY_DELAY": 1,
}
"""GDAL's cache in bytes, and bounds on how long a silent server is waited for. The environment has precedence."""
NAMES = ("red", "green", "blue")

Bands = tuple[int, int, int]
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Raster:
    """What a raster's header says.

    Attributes:
        name: file or address, for messages.
        width, height: in pixels.
        dtypes: numpy type of each band.
        colors: GDAL's color interpretation of each band: 'red', 'gray', 'alpha', 'palette', 'undefined'…
        labels: description of each band, or ''.
        nodata: nodata value of each band, or None.
        masked: whether pixels can be invalid: by nodata, an alpha band or a mask.
        bits: significant bits of an integer band (GDAL's NBITS, or the size of its type); 0 for floats.
    """

    name: str
    width: int
    height: int
    dtypes: tuple[str, ...]
    colors: tuple[str, ...]
    labels: tuple[str, ...]
    nodata: tuple[float | None, ...]
    masked: bool
    bits: tuple[int, ...]

    def __str__(self) -> str:
        kinds = "/".join(dict.fromkeys(self.dtypes))
        shown = [f"{i} {color}" for i, color in enumerate(self.colors[:6], 1)]
        more = f", … {len(self.colors)}" * (len(self.colors) > 6)
        return f"{len(self.dtypes)} band{'s' * (len(self.dtypes) > 1)} of {kinds} ({', '.join(shown)}{more})"


def rasterio_module() -> Any:
    """Return rasterio with its windows and enums; raise a ValueError that says how to install it."""
    try:
        for part in ("rasterio.windows", "rasterio.enums", "rasterio.errors", "rasterio._err"):
            importlib.import_module(part)
        return importlib.import_module("rasterio")
    except ImportError as error:
        raise ValueError(f"rasterio cannot be imported ({one_line(error)}): pip install -r {REQUIREMENTS}") from error


@contextmanager
def raster_errors(name: Path | str, what: str = "read") -> Iterator[None]:
    """Turn rasterio's errors about a raster into a ValueError of one line that names it."""
    rasterio = rasterio_module()
    try:
        yield
    except (rasterio.errors.RasterioError, rasterio.errors.CRSError, rasterio._err.CPLE_BaseError) as error:
        raise ValueError(f"{name} cannot be {what}: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """Return the innermost message, since rasterio's own often reads 'Read failed. See previous exception…'."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error) or type(error).__name__


@contextmanager
def gdal_environment(**options: Any) -> Iterator[None]:
    """Set GDAL's options inside the block, except those that the environment sets."""
    wanted = {name: value for name, value in (GDAL_OPTIONS | options).items() if name not in os.environ}
    with rasterio_module().Env(**wanted):
        yield


@contextmanager
def open_raster(path: Path | str, **options: Any) -> Iterator[Any]:
    """Yield an open rasterio data set: a file, an address (https://, s3://, /vsi…) or a VRT. One thread may use it.

    Args:
        path: file or address.
        options: GDAL's open options.

    Raises:
        ValueError: rasterio is missing, or GDAL cannot open or read the raster; the message is one line.
    """
    rasterio = rasterio_module()
    if what := _never_ends(path):
        raise ValueError(f"{path} cannot be read: it is {what}, and GDAL would wait for it")
    with gdal_environment(), raster_errors(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(path, **options)
        with dataset:
            yield dataset


def _never_ends(path: Path | str) -> str:
    """Return what a path is that blocks whoever opens it, or ''; GDAL's own names and addresses are no paths."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device"}
    return kinds.get(stat.S_IFMT(mode), "")


def describe(dataset: Any) -> Raster:
    """Return what the header of an open raster says.

    Raises:
        ValueError: it has no bands, such as a container of several rasters.
    """
    if not dataset.count:
        parts = one_line(", ".join(dataset.subdatasets[:3]))
        raise ValueError(f"{dataset.name} holds no bands{f': give one of its parts, {parts} …' if parts else ''}")
    valid = rasterio_module().enums.MaskFlags.all_valid
    dtypes = tuple(dataset.dtypes)
    return Raster(
        name=dataset.name,
        width=dataset.width,
        height=dataset.height,
        dtypes=dtypes,
        colors=tuple(color.name for color in dataset.colorinterp),
        labels=tuple(label or "" for label in dataset.descriptions),
        nodata=tuple(dataset.nodatavals),
        masked=any(valid not in flags for flags in dataset.mask_flag_enums) or any("float" in kind for kind in dtypes),
        bits=tuple(_bits(dataset, index, kind) for index, kind in enumerate(dtypes, 1)),
    )


def _bits(dataset: Any, index: int, kind: str) -> int:
    if np.dtype(kind).kind not in "iu":
        return 0
    written = dataset.tags(index, ns="IMAGE_STRUCTURE").get("NBITS", "")
    return int(written) if written.isdigit() else 8 * np.dtype(kind).itemsize


def parse_bands(text: str) -> Bands:
    """Return the numbers of the red, green and blue band, from 1, of '3,2,1'; one number means all three.

    Raises:
        ValueError: the text is something else.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise ValueError(f"--bands {text}: give the numbers of the red, green and blue band, such as 3,2,1, or one")
    return (numbers[0], numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])


def parse_range(text: str) -> Bounds | None:
    """Return (low, high) of 'LOW:HIGH', the values that become black and white, or None of 'auto'.

    Raises:
        ValueError: the text is something else, or LOW is not below HIGH.
    """
    if text == "auto":
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"--range {text}: give auto, or the values that become black and white, such as 200:3000")
    return low, high


def choose_bands(raster: Raster, asked: Bands | None = None) -> Bands:
    """Return the numbers of the bands that are seen as red, green and blue.

    By default these are the bands whose color interpretation or description says so, a single gray or palette band
    (beside alpha) three times, or the only three of 8 bits.

    Raises:
        ValueError: which bands they are is not said, or `asked` names others than there are, or values are complex.
    """
    bands = asked or _bands_by_name(raster.colors) or _bands_by_name(raster.labels) or _implied_bands(raster)
    if bands is None:
        raise ValueError(
            f"{raster.name} has {raster}: which are red, green and blue is not said; name them by --bands, "
            "such as --bands 3,2,1"
        )
    if max(bands) > len(raster.dtypes):
        raise ValueError(f"{raster.name} has {raster}: there is no band {max(bands)}; give others by --bands")
    for band in bands:
        if np.dtype(raster.dtypes[band - 1]).kind not in "iuf":
            raise ValueError(
                f"{raster.name} has {raster}: {raster.dtypes[band - 1]} values cannot be seen as gray levels; "
                "convert them, such as to their magnitude"
            )
    return bands


def _bands_by_name(names: Sequence[str]) -> Bands | None:
    lowered = [name.strip().lower() for name in names]
    if any(lowered.count(name) != 1 for name in NAMES):
        return None
    red, green, blue = (lowered.index(name) + 1 for name in NAMES)
    return red, green, blue


def _implied_bands(raster: Raster) -> Bands | None:
    """Return the only band beside alpha, three times; or 1, 2, 3 where three 8-bit bands are all that is said."""
    seen = [i for i, color in enumerate(raster.colors, 1) if color != "alpha"]
    if raster.colors == ("undefined",) * 3 and set(raster.dtypes) == {"uint8"}:
        return 1, 2, 3  # as GDAL itself writes them to a TIFF
    return (seen[0], seen[0], seen[0]) if len(seen) == 1 else None


def is_palette(raster: Raster, bands: Bands) -> bool:
    """Return whether the bands are one band of indices into a color table."""
    return len(set(bands)) == 1 and raster.colors[bands[0] - 1] == "palette"
