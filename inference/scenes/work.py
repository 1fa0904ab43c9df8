"""Keep a scene's unfinished work on disk, so that a killed run goes on after its last finished band.

A folder beside the output holds:

- `job.json`: what is made of which source. While it is there, the scene is unfinished.
- `map.raw`: the map, row by row, without a header.
- `band-N.npy`: band N is finished; the file holds its rows of the quick look, h×w×3 uint8.
- `lower-N.raw`: what band N's windows add to the band below, float32; deleted when that band is finished.
- `upper-N.raw`: band N's own part of its rows, float32, where another process makes the band above.

A band's files are flushed to disk before `band-N.npy` appears. Files without it are written anew.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.scenes.windows import Area, Grid
from utils.files import atomic_file, atomic_write

JOB, MAP = "job.json", "map.raw"
NODATA = {"uint8": 255, "float32": math.nan}
"""Value of pixels that no window sees, by the map's type."""


def to_levels(saliency: np.ndarray) -> np.ndarray:
    """Return saliency, NaN where nothing was seen, as uint8: × 255 and truncated, at most 254; 255 is nodata."""
    levels = np.minimum(np.nan_to_num(saliency, nan=0.0) * 255, 254).astype(np.uint8)
    levels[np.isnan(saliency)] = NODATA["uint8"]
    return levels


class Work:
    """The unfinished work on one scene.

    Args:
        folder: where it is kept.
        grid: the scene's windows and bands.
        dtype: type of the map, 'uint8' or 'float32'.

    Raises:
        OSError: a file cannot be read or written. All methods raise it; the message names the file.
    """

    def __init__(self, folder: Path, grid: Grid, dtype: str) -> None:
        self.folder, self.grid, self.dtype = folder, grid, np.dtype(dtype)

    @property
    def map_file(self) -> Path:
        """Return the raw file of the map."""
        return self.folder / MAP

    def start(self, job: Mapping[str, Any], resume: bool) -> None:
        """Begin anew, or with `resume` go on with what is there.

        Args:
            job: what the map depends on, as JSON values.
            resume: keep the finished bands of the same job.

        Raises:
            ValueError: the bands that are there belong to another job.
        """
        text = json.dumps(job, indent=1)
        if resume and (self.folder / JOB).is_file():
            _check_same(json.loads((self.folder / JOB).read_text()), json.loads(text), self.folder)
            return
        if self.folder.exists():
            self.remove()
        self.folder.mkdir(parents=True)
        size = self.grid.height * self.grid.width * self.dtype.itemsize
        _check_space(self.folder, size + 2 * self.grid.band_rows * self.grid.width * 4)
        with self.map_file.open("wb") as file:
            file.truncate(size)
        atomic_write(self.folder / JOB, text)

    def remove(self) -> None:
        """Remove the folder; `job.json` first, so that no part of it is taken for unfinished work."""
        (self.folder / JOB).unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def is_finished(self, band: int) -> bool:
        """Return whether a band is finished."""
        return self._marker(band).is_file()

    def unfinished(self) -> list[int]:
        """Return the numbers of the unfinished bands."""
        return [band for band in range(self.grid.bands) if not self.is_finished(band)]

    def begin_band(self, band: int) -> bool:
        """Remove what a killed run left of a band; return whether the band above is finished, or there is none."""
        for name in ("lower", "upper"):
            self._part(name, band).unlink(missing_ok=True)
        return band == 0 or (self.is_finished(band - 1) and self._part("lower", band - 1).is_file())

    def read_lower(self, band: int, left: int, width: int) -> np.ndarray:
        """Return columns of what band `band` adds to the band below, float32."""
        return self._read_part("lower", band, left, width)

    def write_lower(self, band: int, left: int, values: np.ndarray) -> None:
        """Write columns of what band `band` adds to the band below."""
        self._write(self._part("lower", band), values, 0, left)

    def write_upper(self, band: int, left: int, values: np.ndarray) -> None:
        """Write columns of a band's own part of its rows."""
        self._write(self._part("upper", band), values, 0, left)

    def write_map(self, top: int, left: int, saliency: np.ndarray) -> None:
        """Write a part of the map: saliency in [0, 1], NaN where nothing was seen."""
        values = to_levels(saliency) if self.dtype == np.uint8 else saliency.astype(self.dtype)
        self._write(self.map_file, values, top, left)

    def commit(self, band: int, look: np.ndarray) -> None:
        """Mark a band as finished; `look` is its part of the quick look, h×w×3 uint8."""
        for path in (self.map_file, self._part("lower", band), self._part("upper", band)):
            if path.is_file():
                _flush(path)
        with atomic_file(self._marker(band)) as file:
            np.save(file, look)
        if not self._part("upper", band).is_file():
            self._part("lower", band - 1).unlink(missing_ok=True)

    def join_bands(self) -> None:
        """Add the two parts of the bands whose upper neighbor another process made, once all bands are finished."""
        for band in range(1, self.grid.bands):
            if not self._part("upper", band).is_file():
                continue
            for block in range(self.grid.blocks):
                area = self.grid.area(band, block)
                own = self._read_part("upper", band, area.left, area.width)
                self.write_map(area.top, area.left, own + self.read_lower(band - 1, area.left, area.width))
            _flush(self.map_file)
            self._part("upper", band).unlink()
            self._part("lower", band - 1).unlink()

    def look(self) -> np.ndarray:
        """Return the scene's quick look, h×w×3 uint8, of all bands."""
        return np.concatenate([np.load(self._marker(band)) for band in range(self.grid.bands)])

    def rows(self, area: Area) -> np.ndarray:
        """Return a part of the map as it is stored."""
        return _read(self.map_file, self.dtype, self.grid.width, area)

    def _marker(self, band: int) -> Path:
        return self.folder / f"band-{band:06}.npy"

    def _part(self, name: str, band: int) -> Path:
        return self.folder / f"{name}-{band:06}.raw"

    def _read_part(self, name: str, band: int, left: int, width: int) -> np.ndarray:
        path = self._part(name, band)
        rows = path.stat().st_size // (4 * self.grid.width)
        return _read(path, np.dtype(np.float32), self.grid.width, Area(0, left, rows, left + width))

    def _write(self, path: Path, values: np.ndarray, top: int, left: int) -> None:
        """Write rows of values to a raw file as wide as the scene."""
        values = np.ascontiguousarray(values)
        size, row_size = values.itemsize, values.itemsize * self.grid.width
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if values.shape[1] == self.grid.width:
                _write_all(file, values.tobytes(), top * row_size, path)
            else:
                for i, row in enumerate(values):
                    _write_all(file, row.tobytes(), (top + i) * row_size + left * size, path)
        finally:
            os.close(file)


def _write_all(file: int, content: bytes, offset: int, path: Path) -> None:
    left = memoryview(content)
    try:
        while left:
            written = os.pwrite(file, left, offset)
            left, offset = left[written:], offset + written
    except OSError as error:
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)}; go on with --resume", str(path)) from error


def _read(path: Path, dtype: np.dtype, width: int, area: Area) -> np.ndarray:
    values = np.empty((area.height, area.width), dtype)
    with path.open("rb") as file:
        for i, row in enumerate(values):
            file.seek(((area.top + i) * width + area.left) * dtype.itemsize)
            if file.readinto(row.data) != row.nbytes:
                raise OSError(f"{path} is shorter than it was written: start over without --resume")
    return values


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder.parent}: the map needs {needed / 1e9:.1f} GB while it is made, {free / 1e9:.1f} are free"
        )


def _check_same(there: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise a ValueError if two jobs differ; it names the first difference."""
    for key in dict.fromkeys((*there, *now)):
        if there.get(key) != now.get(key):
            raise ValueError(
                f"{folder} was begun with {key} {there.get(key)}, not {now.get(key)}: repeat that with --resume, or "
                "start over without --resume"
            )
