"""Make the maps of scenes: open the network, make the bands in every process, write what is asked for."""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from inference.distributed import ProcessGroup
from inference.scenes.engine import make_bands
from inference.scenes.job import Job, Wishes
from inference.scenes.network import SceneNetwork
from inference.scenes.output import write_cog
from inference.scenes.polygons import PolygonWishes, check_polygon_file, write_polygons
from inference.scenes.quicklook import write_quicklook
from inference.scenes.sources import Scene, find_scenes
from inference.scenes.work import JOB, Work
from utils.devices import trim_memory
from utils.files import move_into_place

FORMAT = 1
"""Raised when bands of an earlier version must not be resumed."""
BAR = "{desc}{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} Mpx [{elapsed}<{remaining}, {rate_noinv_fmt}]"


def make_scenes(options: Namespace, processes: ProcessGroup) -> int:
    """Make the map of every scene, print a line about each, and return how many have none.

    A scene that cannot be read is reported and left out.

    Args:
        options: the command line, as `check_scene_options` left it.
        processes: this process's group.

    Raises:
        OSError, ValueError: there are no such scenes, the network cannot run, or a file cannot be written.
    """
    find = partial(_find, options)
    scenes, kept = processes.broadcast(find)
    failed = 0
    network = processes.run_on_all(partial(SceneNetwork, options, processes)) if len(scenes) > len(kept) else None
    for i, scene in enumerate(scenes):
        try:
            if i in kept or network is None:
                said = processes.broadcast(partial(_keep, scene, options))
            else:
                said = _make(scene, options, network, processes)
        except ValueError as error:
            if len(scenes) == 1:
                raise
            failed += 1
            said = f"skipped: {error}"
            if processes.is_main:
                print(said, file=sys.stderr, flush=True)
            continue
        if processes.is_main:
            print(said, flush=True)
    return failed


def _find(options: Namespace) -> tuple[list[Scene], set[int]]:
    """Return the scenes, and the numbers of those whose maps exist and are kept."""
    if options.polygons:
        check_polygon_file(options.polygons)
    scenes = find_scenes(options.input, options.output, options.suffix, options.polygons)
    finished = (
        scene.map_file.is_file() and not (scene.folder / JOB).is_file() if options.resume else False for scene in scenes
    )
    return scenes, {i for i, done in enumerate(finished) if done}


def _keep(scene: Scene, options: Namespace) -> str:
    """Write the polygons that a finished scene lacks; return a line about it."""
    if scene.polygon_file and not scene.polygon_file.exists():
        return f"{scene.map_file} was there; {_polygons(scene, options, scene.map_file)}"
    return f"{scene.map_file} was there"


def _make(scene: Scene, options: Namespace, network: SceneNetwork, processes: ProcessGroup) -> str:
    """Make a scene's map and what belongs to it; return a line about it."""
    wishes = Wishes(
        options.bands, options.bounds, options.context, options.context_m, options.gsd, options.overlap, options.dtype
    )
    start = time.perf_counter()
    job = processes.broadcast(partial(Job.of, scene.source, wishes, network.backend.input_size))
    if processes.is_main:
        print(f"{job}; {network.weights.name} on {network}", file=sys.stderr, flush=True)
    work = Work(scene.folder, job.grid, options.dtype)
    key = {"format": FORMAT} | job.key() | network.key() | {"dtype": options.dtype}
    with _alone(scene, processes):
        unfinished = processes.broadcast(partial(_start, work, key, options.resume))
        own = processes.shard(unfinished, 1)
        processes.run_on_all(partial(_make_own, job, work, own, network, processes))
        said = processes.broadcast(partial(_finish, scene, job, work, options))
    seconds, pixels = time.perf_counter() - start, job.grid.height * job.grid.width
    made = f"{len(unfinished)} of {job.grid.bands} bands, " if len(unfinished) < job.grid.bands else ""
    return f"{said}: {made}{pixels / 1e6:.1f} Mpx in {seconds:.1f} s, {pixels / 1e6 / seconds:.2f} Mpx/s on {network}"


@contextmanager
def _alone(scene: Scene, processes: ProcessGroup) -> Iterator[None]:
    """Raise a ValueError if another run makes the same map now."""
    lock = FileLock(scene.folder.with_name(scene.folder.name + ".lock"))

    def acquire() -> None:
        scene.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"another run makes {scene.map_file} now: wait for it, or give another --output"
            ) from error

    processes.broadcast(acquire)
    try:
        yield
    finally:
        if processes.is_main:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def _start(work: Work, key: dict, resume: bool) -> list[int]:
    work.start(key, resume)
    return work.unfinished()


def _make_own(job: Job, work: Work, bands: list[int], network: SceneNetwork, processes: ProcessGroup) -> None:
    """Make this process's bands under a progress bar."""
    areas = [job.grid.area(band, 0) for band in bands]
    total = sum(area.height for area in areas) * job.grid.width
    title = f"process 1 of {processes.count}: " if processes.count > 1 else ""
    with tqdm(
        total=total, unit="Mpx", unit_scale=1e-6, desc=title, bar_format=BAR, disable=not processes.is_main
    ) as bar:
        make_bands(job, work, bands, network.call, network.batch_size, bar.update)


def _finish(scene: Scene, job: Job, work: Work, options: Namespace) -> str:
    """Write the outputs of a scene whose bands are finished, the map last; return what was written."""
    trim_memory()
    work.join_bands()
    job.check_source()
    cog, look = work.folder / "map.tif", work.folder / "quicklook.png"
    write_cog(work, scene.source, cog)
    said = _polygons(scene, options, cog, work.folder) if scene.polygon_file else ""
    name = os.path.basename(scene.source)
    write_quicklook(look, work.look(), cog, job.grid.cell, options.threshold, name)
    move_into_place(look, scene.look_file)
    move_into_place(cog, scene.map_file)
    work.remove()
    return f"{scene.source} to {scene.map_file}" + (f"; {said}" if said else "")


def _polygons(scene: Scene, options: Namespace, map_file: Path, folder: Path | None = None) -> str:
    assert scene.polygon_file is not None
    count = write_polygons(map_file, scene.polygon_file, PolygonWishes(options.threshold, options.min_area), folder)
    return f"{count} objects to {scene.polygon_file}"
