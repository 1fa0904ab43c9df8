"""Decode and resize pairs into records, and cache them in one memory-mapped file that workers and runs share."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from datasets.catalog import Pair
from datasets.file_warnings import FileWarning
from datasets.io import AS_STORED, Reading, read_map, resized
from datasets.pairs import open_pair
from datasets.transforms import UNCHANGED, Drawn, turn
from utils.files import atomic_file
from utils.progress import ProgressBar
from utils.unfinished import remove_unfinished

VIEWS = ("rgb", "ycbcr", "fine")

TEACHER = "teacher"
"""The view that only pairs with a teacher's maps have."""

FORMAT = 4
"""Raised whenever the same files give another record."""

_IDENTITY = "identity"
_SHOWN = 5
_Found = TypeVar("_Found")


def record_type(size: tuple[int, int], detail: float = 1.0, has_teacher: bool = False) -> np.dtype:
    """Return the type of a pair's record for views of `size` (H, W), uint8.

    `rgb` and `ycbcr` (full-range, JPEG) are H×W×3. `fine` holds the SR target's three channels and the mask as a
    fourth, at `detail` times twice that size; `teacher` the mean of a teacher's maps, one channel at that size.
    `warnings`, uint16, holds the bits of `FileWarning`.
    """
    height, width = size
    fine = (round(2 * height * detail), round(2 * width * detail))
    shapes = {"rgb": (height, width, 3), "ycbcr": (height, width, 3), "fine": (*fine, 4)}
    shapes |= {TEACHER: (*fine, 1)} if has_teacher else {}
    return np.dtype([(name, np.uint8, shape) for name, shape in shapes.items()] + [("warnings", np.uint16)])


def read_record(pair: Pair, size: tuple[int, int], detail: float = 1.0, reading: Reading = AS_STORED) -> np.ndarray:
    """Return the record of a pair: an array without dimensions, of `record_type`.

    Every view is Pillow's antialiased bilinear resize of the file's own pixels.

    Raises:
        ValueError: the pair cannot be trained on; the message names its files and their errors.
    """
    image, mask, found = open_pair(pair, reading)
    ycbcr = image.convert("YCbCr")
    record = np.zeros((), record_type(size, detail, bool(pair.teacher_maps)))
    record["rgb"], record["ycbcr"] = resized(image, size), resized(ycbcr, size)
    fine = record.dtype["fine"].shape[:2]
    record["fine"][..., :3], record["fine"][..., 3] = resized(ycbcr, fine), resized(mask, fine)
    if pair.teacher_maps:
        record[TEACHER][..., 0] = _mean_map(pair, fine)
    record["warnings"] = found
    return record


def has_teacher(pairs: Sequence[Pair]) -> bool:
    """Return whether the records of these pairs hold a teacher's maps."""
    return any(pair.teacher_maps for pair in pairs)


def _mean_map(pair: Pair, size: tuple[int, int]) -> np.ndarray:
    """Return the mean of the teacher's maps of a pair, H×W uint8."""
    maps = [np.asarray(resized(Image.fromarray(read_map(path)), size), np.float32) for path in pair.teacher_maps]
    return np.rint(np.mean(maps, axis=0)).astype(np.uint8)


class Records:
    """The records of many pairs, decoded at every access.

    Args:
        pairs: pairs from `datasets.catalog`.
        size: S, or (height, width), of the low-resolution views.
        detail: the factor by which `fine` exceeds twice that size (`Augmentation.detail`).
        name: the set's name, for error messages.
        reading: bands and value range of the images.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        size: int | tuple[int, int],
        detail: float = 1.0,
        name: str = "",
        reading: Reading = AS_STORED,
    ):
        self.pairs = list(pairs)
        self.size = height_and_width(size)
        self.detail = detail
        self.name = name
        self.reading = reading
        self.has_teacher = has_teacher(pairs)
        self._warned: list[tuple[str, FileWarning]] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def gather(self, indices: Sequence[int], drawn: Sequence[Drawn] | None = None) -> dict[str, Tensor]:
        """Return copies of the records of a batch: one B×H×W×C uint8 tensor for each view.

        Where `drawn` is given, its symmetries are applied.

        Raises:
            ValueError: a pair cannot be read; the message names set, stem and file.
        """
        kinds = record_type(self.size, self.detail, self.has_teacher)
        views = (name for name in kinds.names or () if name != "warnings")
        batch = {view: torch.empty((len(indices), *kinds[view].shape), dtype=torch.uint8) for view in views}
        for place, index in enumerate(indices):
            record = self._record(index)
            for view, pixels in batch.items():
                turn(record[view], drawn[place] if drawn else UNCHANGED, pixels[place].numpy())
        return batch

    def places(self, pairs: Sequence[Pair]) -> list[int]:
        """Return the index of each of `pairs` in these records."""
        places = {pair: index for index, pair in enumerate(self.pairs)}
        return [places[pair] for pair in pairs]

    def inspect(self) -> None:
        """Read every pair once, so that errors are known before training starts, and `warnings` knows the others'.

        Raises:
            ValueError: pairs cannot be trained on; the message has their number and names the first.
        """

        def found(index: int) -> FileWarning | str:
            try:
                for path in self.pairs[index].teacher_maps:
                    read_map(path)
                return open_pair(self.pairs[index], self.reading)[2]
            except ValueError as error:
                return f"{self.pairs[index].stem}: {error}"

        bar = ProgressBar(_in_order(found, len(self)), f"reading {self.name}", len(self), leave=False, unit="pair")
        all_found = list(bar)
        _refuse_errors(self.name, len(self), [each for each in all_found if isinstance(each, str)])
        named = zip(self.pairs, all_found, strict=True)
        self._warned = [(pair.stem, each) for pair, each in named if isinstance(each, FileWarning) and each]

    def warnings(self) -> list[tuple[str, FileWarning]]:
        """Return (stem, warnings) of the pairs that have any; without a cache, those that `inspect` found."""
        return self._warned

    def _record(self, index: int) -> np.ndarray:
        pair = self.pairs[index]
        try:
            return read_record(pair, self.size, self.detail, self.reading)
        except ValueError as error:
            raise ValueError(f"{self.name} {pair.stem}: {error}".strip()) from error


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) for one number or two. Raises ValueError unless both are positive."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"the size must be positive, not {size}")
    return height, width


class CachedRecords(Records):
    """Records read from a cache file that `open_cache` found or built."""

    def __init__(
        self, pairs: Sequence[Pair], size: tuple[int, int], detail: float, name: str, path: Path, reading: Reading
    ):
        super().__init__(pairs, size, detail, name, reading)
        self.path = path
        self._file = _mapped(path)

    def warnings(self) -> list[tuple[str, FileWarning]]:
        """Return (stem, warnings) of the pairs that have any."""
        found = zip(self.pairs, self._file["warnings"].tolist(), strict=True)
        return [(pair.stem, FileWarning(bits)) for pair, bits in found if bits]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None}  # a spawned worker maps the file itself

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state | {"_file": _mapped(state["path"])}

    def _record(self, index: int) -> np.ndarray:
        return self._file[index]


def open_cache(
    pairs: Sequence[Pair],
    size: int | tuple[int, int],
    detail: float,
    folder: Path | str,
    name: str,
    reading: Reading = AS_STORED,
) -> CachedRecords:
    """Return the pairs' records from their cache file, which is built first where it is missing or out of date.

    The file's name depends on the pairs' paths and the sizes. Every record carries a digest of its two files' paths,
    sizes and modification times; a record whose digest differs is decoded again. A lock lets one run build the file
    while others wait. Runs that have an older file open keep it.

    Args:
        pairs: pairs from `datasets.catalog`.
        size, detail: as in `Records`.
        folder: the folder of caches, created where it is missing.
        name: the set's name, for the file's name and for error messages.
        reading: as in `Records`.

    Raises:
        ValueError: pairs cannot be trained on; the message has their number and names the first.
        OSError: the file cannot be written.
    """
    size, folder = height_and_width(size), Path(folder)
    places = "\n".join("\t".join(map(os.path.abspath, _files(pair))) for pair in pairs)
    key = hashlib.sha256(os.fsencode(f"{places}{reading or ''}")).hexdigest()[:12]
    path = folder / f"{name}-{size[0]}x{size[1]}-{detail:.4g}-{key}.npy"
    identities = _identities(pairs)
    row_type = _row_type(size, detail, has_teacher(pairs))
    remove_unfinished(folder)
    if not _is_current(path, identities, row_type):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not _is_current(path, identities, row_type):  # another run may have built it
                _build(path, pairs, identities, size, detail, name, reading)
    return CachedRecords(pairs, size, detail, name, path, reading)


def cache_bytes(count: int, size: tuple[int, int], detail: float, has_teacher: bool = False) -> int:
    """Return the size of the cache file of `count` pairs, without its header."""
    return count * _row_type(size, detail, has_teacher).itemsize


def _row_type(size: tuple[int, int], detail: float, has_teacher: bool) -> np.dtype:
    return np.dtype([*record_type(size, detail, has_teacher).descr, (_IDENTITY, "S64")])


def _files(pair: Pair) -> tuple[Path, ...]:
    return pair.image, pair.mask, *pair.teacher_maps


def _identities(pairs: Sequence[Pair]) -> np.ndarray:
    """Return a digest for each pair of its files' paths, sizes and modification times."""

    def described(path: Path) -> str:
        try:
            found = path.stat()
        except OSError:
            return f"{path} is not there"
        return f"{os.path.abspath(path)} {found.st_size} {found.st_mtime_ns}"

    texts = (" ".join([str(FORMAT), *map(described, _files(pair))]) for pair in pairs)
    return np.array([hashlib.sha256(os.fsencode(text)).hexdigest() for text in texts], "S64")


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _readable(path: Path, row_type: np.dtype) -> np.ndarray | None:
    """Return the cache file's rows; None where there is no file, or it is not a whole cache of this type."""
    try:
        rows = _mapped(path)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.dtype == row_type and rows.ndim == 1 else None


def _is_current(path: Path, identities: np.ndarray, row_type: np.dtype) -> bool:
    rows = _readable(path, row_type)
    return rows is not None and np.array_equal(rows[_IDENTITY], identities)


def _build(
    path: Path,
    pairs: Sequence[Pair],
    identities: np.ndarray,
    size: tuple[int, int],
    detail: float,
    name: str,
    reading: Reading,
) -> None:
    """Write the file row by row: rows that an older file has are copied, the others are decoded."""
    row_type = _row_type(size, detail, has_teacher(pairs))
    old = _readable(path, row_type)
    kept = {} if old is None else {identity: row for identity, row in zip(old[_IDENTITY].tolist(), old, strict=True)}

    def row(index: int) -> np.ndarray | str:
        """Return a row, or what is wrong with its pair."""
        if (identity := identities[index]) in kept:
            return kept[identity]
        try:
            record = read_record(pairs[index], size, detail, reading)
        except ValueError as error:
            return f"{pairs[index].stem}: {error}"
        full = np.zeros((), row_type)
        for field in record.dtype.names or ():
            full[field] = record[field]
        full[_IDENTITY] = identity
        return full

    errors = []
    with atomic_file(path) as file:
        # Written, not mapped: on a full disk a write raises an error, while a mapping kills the process.
        header = {"descr": np.lib.format.dtype_to_descr(row_type), "fortran_order": False, "shape": (len(pairs),)}
        np.lib.format.write_array_header_2_0(file, header)
        label = f"caching {name} ({len(pairs) * row_type.itemsize / 1e9:.1f} GB)"
        for found in ProgressBar(_in_order(row, len(pairs)), label, len(pairs), leave=False, unit="pair"):
            if isinstance(found, str):
                errors.append(found)
            elif not errors:
                file.write(found.tobytes())
        _refuse_errors(name, len(pairs), errors)


def _refuse_errors(name: str, count: int, errors: Sequence[str]) -> None:
    """Raise ValueError where there are errors: how many of `count` pairs have some, and the first of them."""
    if errors:
        more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        raise ValueError(
            f"{name}: {len(errors)} of {count} pairs cannot be used: {'; '.join(errors[:_SHOWN])}{more} "
            "(python -m datasets.check lists every error of a set)"
        )


def _in_order(row: Callable[[int], _Found], count: int) -> Iterator[_Found]:
    """Yield every row in order, computed by threads a few rows ahead: Pillow decodes without Python's lock."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(row, index) for index in range(min(4 * workers, count)))
        for index in range(count):
            yield ahead.popleft().result()
            if index + 4 * workers < count:
                ahead.append(pool.submit(row, index + 4 * workers))
