"""Records on disk: every pair decoded and resized once, in one memory-mapped file that all workers and runs share."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from datasets.catalog import Pair
from datasets.io import resized
from datasets.pairs import MaskWarning, mask_warnings, open_pair
from datasets.transforms import UNCHANGED, Drawn, turn

FORMAT = 1
"""Counted up whenever a record of the same files would come out otherwise."""

IDENTITY = "identity"
SHOWN = 5
VIEWS = ("rgb", "ycbcr", "fine")


def record_type(size: tuple[int, int], detail: float = 1.0) -> np.dtype:
    """What is kept of a pair, for views of `size` (H, W), all uint8.

    `rgb` and `ycbcr` (full-range, JPEG) are H×W×3. `fine`, the SR target's three channels and the mask as a fourth, has
    twice that size, times `detail`. `mask_warnings` are `datasets.pairs.MaskWarning`'s bits.
    """
    height, width = size
    fine = (round(2 * height * detail), round(2 * width * detail), 4)
    shapes = {"rgb": (height, width, 3), "ycbcr": (height, width, 3), "fine": fine}
    return np.dtype([(name, np.uint8, shapes[name]) for name in VIEWS] + [("mask_warnings", np.uint8)])


def read_record(pair: Pair, size: tuple[int, int], detail: float = 1.0) -> np.ndarray:
    """The record of a pair: an array without dimensions, of `record_type`.

    Every view is Pillow's antialiased bilinear resize of the file's own pixels (spec/architecture.md, Inputs).

    Raises:
        ValueError: the pair cannot be trained on; its files and what is wrong with them are named.
    """
    image, mask = open_pair(pair)
    ycbcr = image.convert("YCbCr")
    record = np.zeros((), record_type(size, detail))
    record["rgb"], record["ycbcr"] = resized(image, size), resized(ycbcr, size)
    fine = record.dtype["fine"].shape[:2]
    record["fine"][..., :3], record["fine"][..., 3] = resized(ycbcr, fine), resized(mask, fine)
    record["mask_warnings"] = mask_warnings(mask)
    return record


class Records:
    """The records of many pairs, decoded whenever they are asked for.

    Args:
        pairs: what `datasets.catalog` found.
        size: S, or (height, width), of the low-resolution views.
        detail: how many times finer than without crops the target and mask are kept (`Augmentation.detail`).
        name: the set's name, for errors.
    """

    def __init__(self, pairs: Sequence[Pair], size: int | tuple[int, int], detail: float = 1.0, name: str = ""):
        self.pairs = list(pairs)
        self.size = height_and_width(size)
        self.detail = detail
        self.name = name

    def __len__(self) -> int:
        return len(self.pairs)

    def gather(self, indices: Sequence[int], drawn: Sequence[Drawn] | None = None) -> dict[str, Tensor]:
        """The records of a batch: B×…×channels, uint8, one tensor a view, in memory of their own.

        Where something is drawn, each record is turned by its symmetry on its way.

        Raises:
            ValueError: a pair cannot be read; set, stem and file are named.
        """
        kinds = record_type(self.size, self.detail)
        batch = {view: torch.empty((len(indices), *kinds[view].shape), dtype=torch.uint8) for view in VIEWS}
        for place, index in enumerate(indices):
            record = self._record(index)
            for view, pixels in batch.items():
                turn(record[view], drawn[place] if drawn else UNCHANGED, pixels[place].numpy())
        return batch

    def places(self, pairs: Sequence[Pair]) -> list[int]:
        """The place of each of `pairs` among these."""
        places = {pair: index for index, pair in enumerate(self.pairs)}
        return [places[pair] for pair in pairs]

    def mask_warnings(self) -> list[tuple[str, MaskWarning]]:
        """(stem, remark) of the masks about which there is something to say; only a cache knows."""
        return []

    def _record(self, index: int) -> np.ndarray:
        pair = self.pairs[index]
        try:
            return read_record(pair, self.size, self.detail)
        except ValueError as error:
            raise ValueError(f"{self.name} {pair.stem}: {error}".strip()) from error


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one number or two. Raises ValueError unless both are positive."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"the size must be positive, not {size}")
    return height, width


class CachedRecords(Records):
    """Records read from a cache file that `open_cache` found or built."""

    def __init__(self, pairs: Sequence[Pair], size: tuple[int, int], detail: float, name: str, path: Path):
        super().__init__(pairs, size, detail, name)
        self.path = path
        self._file = _mapped(path)

    def mask_warnings(self) -> list[tuple[str, MaskWarning]]:
        """(stem, remark) of the masks about which there is something to say."""
        found = zip(self.pairs, self._file["mask_warnings"].tolist(), strict=True)
        return [(pair.stem, MaskWarning(bits)) for pair, bits in found if bits]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_file": None}  # a process that is started anew maps the file itself

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state | {"_file": _mapped(state["path"])}

    def _record(self, index: int) -> np.ndarray:
        return self._file[index]


def open_cache(
    pairs: Sequence[Pair], size: int | tuple[int, int], detail: float, folder: Path | str, name: str
) -> CachedRecords:
    """The pairs' records from their cache file, which is built first where it is not there.

    The file's name says which files it holds at which sizes; in it, every record carries its two files' paths, sizes
    and times of change, and those that no longer agree are decoded anew. It is written under another name first, behind
    a lock: of two runs that need it at once, one builds and the other waits. Where it is replaced, runs that have it
    open keep the old one.

    Args:
        pairs: what `datasets.catalog` found.
        size: S, or (height, width), of the low-resolution views.
        detail: how much finer than the views the target and mask are kept.
        folder: where caches are; made where it is not there.
        name: the set's name, for the file's name and for errors.

    Raises:
        ValueError: pairs that cannot be trained on; how many they are, and the first of them by name.
        OSError: the file cannot be written.
    """
    size, folder = height_and_width(size), Path(folder)
    places = "\n".join(f"{os.path.abspath(pair.image)}\t{os.path.abspath(pair.mask)}" for pair in pairs)
    key = hashlib.sha256(places.encode()).hexdigest()[:12]
    path = folder / f"{name}-{size[0]}x{size[1]}-{detail:.4g}-{key}.npy"
    identities = _identities(pairs)
    if not _is_current(path, identities, size, detail):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not _is_current(path, identities, size, detail):  # the run that had the lock may have built it
                _build(path, pairs, identities, size, detail, name)
    return CachedRecords(pairs, size, detail, name, path)


def cache_bytes(count: int, size: tuple[int, int], detail: float) -> int:
    """What the records of `count` pairs take on the disk."""
    return count * _row_type(size, detail).itemsize


def _row_type(size: tuple[int, int], detail: float) -> np.dtype:
    return np.dtype([*record_type(size, detail).descr, (IDENTITY, "S64")])


def _identities(pairs: Sequence[Pair]) -> np.ndarray:
    """What a record was made from, a digest a pair. A file that is not there has none, and reading it will say so."""

    def described(path: Path) -> str:
        try:
            found = path.stat()
        except OSError:
            return f"{path} is not there"
        return f"{os.path.abspath(path)} {found.st_size} {found.st_mtime_ns}"

    texts = (f"{FORMAT} {described(pair.image)} {described(pair.mask)}" for pair in pairs)
    return np.array([hashlib.sha256(text.encode()).hexdigest() for text in texts], "S64")


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _readable(path: Path, size: tuple[int, int], detail: float) -> np.ndarray | None:
    """The cache file's rows; None where there is none, or it is cut off or otherwise not one."""
    try:
        rows = _mapped(path)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.dtype == _row_type(size, detail) and rows.ndim == 1 else None


def _is_current(path: Path, identities: np.ndarray, size: tuple[int, int], detail: float) -> bool:
    rows = _readable(path, size, detail)
    return rows is not None and np.array_equal(rows[IDENTITY], identities)


def _build(
    path: Path, pairs: Sequence[Pair], identities: np.ndarray, size: tuple[int, int], detail: float, name: str
) -> None:
    """Write the file row by row: what the old one still has is copied, the rest is decoded."""
    old = _readable(path, size, detail)
    kept = {} if old is None else {identity: index for index, identity in enumerate(old[IDENTITY].tolist())}
    row_type = _row_type(size, detail)

    def row(index: int) -> np.ndarray | str:
        identity = identities[index]
        if identity in kept:
            return old[kept[identity]]
        try:
            record = read_record(pairs[index], size, detail)
        except ValueError as error:
            return f"{pairs[index].stem}: {error}"
        full = np.zeros((), row_type)
        for field in record.dtype.names:
            full[field] = record[field]
        full[IDENTITY] = identity
        return full

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    faults = []
    try:
        with temporary.open("wb") as file:
            # Written, not mapped: on a full disk a write says so, a mapping kills the process.
            header = {"descr": np.lib.format.dtype_to_descr(row_type), "fortran_order": False, "shape": (len(pairs),)}
            np.lib.format.write_array_header_2_0(file, header)
            label = f"caching {name} ({len(pairs) * row_type.itemsize / 1e9:.1f} GB)"
            for found in tqdm(_in_order(row, len(pairs)), label, len(pairs), leave=False, unit="pair", disable=None):
                if isinstance(found, str):
                    faults.append(found)
                elif not faults:
                    file.write(found.tobytes())
            file.flush()
            os.fsync(file.fileno())
        if faults:
            shown = "; ".join(faults[:SHOWN]) + (f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")
            raise ValueError(
                f"{name}: {len(faults)} of {len(pairs)} pairs cannot be used: {shown} "
                "(python -m datasets.check lists all that is wrong with a set)"
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _in_order(row, count: int) -> Iterator[np.ndarray | str]:
    """Every row in its order, decoded by threads a few rows ahead: Pillow works outside Python's lock."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        ahead = [pool.submit(row, index) for index in range(min(4 * workers, count))]
        for index in range(count):
            yield ahead.pop(0).result()
            if index + 4 * workers < count:
                ahead.append(pool.submit(row, index + 4 * workers))
