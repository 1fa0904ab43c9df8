"""Make a scene on workers: look at it, make each band of rows, and join the bands.

A band's worker writes `OUTPUT/_unfinished/<stem>-<job>/band-N.npz`, which holds:

- `upper`: the band's own part of its rows, float32; of band 0 `map`, its rows as they are stored in the map.
- `lower`: what it adds to the band below, float32; not of the last band.
- `look`: its rows of the quick look, h×w×3 uint8.

The joining worker puts them into a folder of `inference.scenes.work`, which joins them as it does for torchrun.
"""

import hashlib
import json
import os
import re
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.cluster.addresses import is_url, name_of, public
from inference.cluster.manifest import Row
from inference.cluster.storage import Folder, local_copy
from inference.cluster.worker import Outcome, check_same_network, open_network, reported, worker_name
from inference.scenes.engine import make_bands
from inference.scenes.job import Job, Wishes
from inference.scenes.output import write_cog
from inference.scenes.polygons import PolygonWishes, write_polygons
from inference.scenes.quicklook import write_quicklook
from inference.scenes.windows import Area
from inference.scenes.work import MAP, Work
from utils.devices import trim_memory

UNFINISHED = "_unfinished"
FORMAT = 1
"""Raised when bands of an earlier version must not be joined."""


@dataclass(frozen=True)
class SceneTask:
    """A scene, as its tasks know it.

    Attributes:
        options: the command line.
        output: address of the output folder.
        key: the network's, as the first worker described it.
        source: file or address of the scene.
        stem: of its outputs, below the output folder, with the suffix.
        polygons: address of its file of polygons, or None.
    """

    options: Namespace
    output: str
    key: dict[str, Any]
    source: str
    stem: str
    polygons: str | None = None

    @property
    def map_name(self) -> str:
        """Return the map's name below the output folder."""
        return f"{self.stem}.tif"


@dataclass(frozen=True)
class Prepared:
    """What a worker found out about a scene.

    Attributes:
        job: its bands, value range and windows.
        parts: name of the folder of its finished bands, below the output folder.
        finished: numbers of the bands that are there.
        words: a line about it.
    """

    job: Job
    parts: str
    finished: frozenset[int]
    words: str


def prepare_scene(task: SceneTask, check: bool) -> Outcome:
    """Look at a scene. `Outcome.value` is `Prepared`; there is a row instead if it has its map, or cannot be read.

    Args:
        task: the scene.
        check: its map may be there.
    """
    _use_store_settings()
    outcome = Outcome(worker_name())
    with reported(outcome):
        network = open_network(task.options)
        check_same_network(network, task.key)
    if outcome.problem is not None:
        return outcome
    with _of_one_scene(task, outcome), reported(outcome, "output"):
        folder = Folder(task.output)
        if check and folder.exists(task.map_name):
            outcome.rows.append(Row(public(task.source), task.map_name, worker=outcome.worker, time=time.time()))
            return outcome
        with _problem_of_scene():
            _check_polygons(task, check)
            job = Job.of(task.source, _wishes(task.options), network.input_size)
        key = {"format": FORMAT} | job.key() | network.key | {"dtype": task.options.dtype}
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
        parts = f"{UNFINISHED}/{task.stem}-{digest}"
        names = (re.fullmatch(r"band-(\d+)\.npz", name_of(name)) for name in folder.names(parts))
        finished = frozenset(int(found[1]) for found in names if found)
        outcome.value = Prepared(job, parts, finished, f"{job}; on {network.where}")
    return outcome


def _check_polygons(task: SceneTask, check: bool) -> None:
    """Raise a ValueError if another run's polygons are there."""
    if task.polygons and not check and Folder(task.polygons.rpartition("/")[0] or "/").exists(name_of(task.polygons)):
        raise ValueError(f"--polygons {public(task.polygons)} is there: remove it, or give another name")


def make_band(task: SceneTask, prepared: Prepared, band: int) -> Outcome:
    """Make one band and write it to the store; there is a row with an error if the scene cannot be read."""
    _use_store_settings()
    outcome, start = Outcome(worker_name()), time.perf_counter()
    with reported(outcome):
        network = open_network(task.options)
        check_same_network(network, task.key)
    if outcome.problem is not None:
        return outcome
    job, folder = prepared.job, Folder(task.output)
    with (
        _of_one_scene(task, outcome),
        reported(outcome, "output"),
        tempfile.TemporaryDirectory(prefix="sral-band-", ignore_cleanup_errors=True) as scratch,
    ):
        work = Work(Path(scratch), job.grid, task.options.dtype)
        with _problem_of_scene():
            make_bands(job, work, [band], network.call, network.batch_size, lambda pixels: None)
        pieces = Path(scratch, "pieces.npz")
        arrays: dict[str, Any] = dict(_pieces(work, band))
        np.savez(pieces, **arrays)
        folder.put_new(_part(prepared, band), pieces)
    outcome.seconds["network"] = time.perf_counter() - start
    return outcome


def join_scene(task: SceneTask, prepared: Prepared) -> Outcome:
    """Join a scene's bands and write its files, the map last, unless it is there; there is a row about it."""
    _use_store_settings()
    outcome, start = Outcome(worker_name()), time.perf_counter()
    job, folder = prepared.job, Folder(task.output)
    trim_memory()
    with (
        _of_one_scene(task, outcome),
        reported(outcome, "output"),
        tempfile.TemporaryDirectory(prefix="sral-scene-", ignore_cleanup_errors=True) as scratch,
    ):
        try:
            written = not folder.exists(task.map_name) and _joined(task, prepared, Path(scratch, "work"), folder)
        except FileNotFoundError:  # another worker joined them, whose answer was lost
            if not folder.exists(task.map_name):
                raise
            written = False
        folder.remove(prepared.parts)
        size = sum(size for size, _ in job.files.values())
        pixels = job.grid.height * job.grid.width / 1e6
        outcome.rows.append(
            Row(
                public(task.source), task.map_name, size, f"sample:{job.digest}", 0.0, outcome.worker,
                written=written, megapixels=pixels, time=time.time(),
            )
        )  # fmt: skip
    outcome.seconds["writing"] = time.perf_counter() - start
    return outcome


def _joined(task: SceneTask, prepared: Prepared, scratch: Path, folder: Folder) -> bool:
    """Join the bands in `scratch` and write all files; return whether the map was not there."""
    job = prepared.job
    work = Work(scratch, job.grid, task.options.dtype)
    work.start({}, resume=False)
    for band in range(job.grid.bands):
        with local_copy(folder.of(_part(prepared, band))) as copy:
            _place(work, band, copy)
        work.join_bands()
    with _problem_of_scene():
        job.check_source()
    return _write_outputs(task, job, work, folder)


def _write_outputs(task: SceneTask, job: Job, work: Work, folder: Folder) -> bool:
    """Write polygons, quick look and map to the store; return whether the map was not there."""
    options = task.options
    cog, look = work.folder / "map.tif", work.folder / "quicklook.png"
    write_cog(work, task.source, cog)
    if task.polygons:
        target = Folder(task.polygons.rpartition("/")[0] or "/")
        objects = work.folder / f"polygons{os.path.splitext(task.polygons)[1].lower()}"
        write_polygons(cog, objects, PolygonWishes(options.threshold, options.min_area), work.folder)
        target.put_new(name_of(task.polygons), objects)
    write_quicklook(look, work.look(), cog, job.grid.cell, options.threshold, name_of(task.source))
    folder.put_new(f"{task.stem}_quicklook.png", look)
    return folder.put_new(task.map_name, cog)


def _part(prepared: Prepared, band: int) -> str:
    return f"{prepared.parts}/band-{band:06}.npz"


def _pieces(work: Work, band: int) -> dict[str, np.ndarray]:
    """Return the arrays of a band that was made in a folder of its own."""
    area = work.grid.area(band, 0)
    whole = Area(area.top, 0, area.bottom, work.grid.width)
    found = {"look": np.load(work.folder / f"band-{band:06}.npy")}
    for name in ("upper", "lower"):
        path = work.folder / f"{name}-{band:06}.raw"
        if path.is_file():
            found[name] = np.fromfile(path, np.float32).reshape(-1, work.grid.width)
    if "upper" not in found:
        found["map"] = work.rows(whole)
    return found


def _place(work: Work, band: int, pieces: Path) -> None:
    """Put a band's arrays where `work` expects them of a process that made this band alone."""
    with np.load(pieces) as arrays:
        for name in ("upper", "lower"):
            if name in arrays:
                arrays[name].tofile(work.folder / f"{name}-{band:06}.raw")
        if "map" in arrays:
            with (work.folder / MAP).open("r+b") as file:
                file.seek(work.grid.area(band, 0).top * work.grid.width * work.dtype.itemsize)
                file.write(arrays["map"].tobytes())
        np.save(work.folder / f"band-{band:06}.npy", arrays["look"])


def _wishes(options: Namespace) -> Wishes:
    return Wishes(
        options.bands, options.bounds, options.context, options.context_m, options.gsd, options.overlap, options.dtype
    )


class _SceneError(Exception):
    """What is wrong with one scene."""


@contextmanager
def _problem_of_scene() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise _SceneError(str(error)) from error


@contextmanager
def _of_one_scene(task: SceneTask, outcome: Outcome) -> Iterator[None]:
    """Turn what is wrong with one scene into a row."""
    try:
        yield
    except _SceneError as error:
        message = str(error).replace(task.source, public(task.source))
        outcome.rows.append(
            Row(
                public(task.source),
                task.map_name,
                worker=outcome.worker,
                error=message,
                kind="unreadable",
                time=time.time(),
            )
        )


def _use_store_settings() -> None:
    """Let GDAL find the S3 server that AWS_ENDPOINT_URL names, as botocore does."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint or "AWS_S3_ENDPOINT" in os.environ or not is_url(endpoint):
        return
    scheme, _, host = endpoint.partition("://")
    os.environ["AWS_S3_ENDPOINT"] = host.rstrip("/")
    os.environ.setdefault("AWS_HTTPS", "YES" if scheme == "https" else "NO")
    os.environ.setdefault("AWS_VIRTUAL_HOSTING", "FALSE")
