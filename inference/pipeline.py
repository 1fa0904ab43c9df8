"""Files to maps to files: images are decoded and maps written by threads while the network runs.

At most two batches of images wait for the network and one of maps for the disk, however many files there are.
"""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from inference.timing import Stages

Size = tuple[int, int]
MOST_WORKERS = 16
"""Beyond these, threads wait for Python's lock more than they decode."""


def worker_count(on_cpu: bool) -> int:
    """Threads that read images, and as many that write maps, for a network on the CPU or on a GPU.

    One for each core that this process has (its part of the machine's, where a launcher started several); on the CPU
    one for every two, for the network needs the cores more, and an image's decoding is a tenth of its time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    mine = cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(mine // 2 if on_cpu else mine, 1), MOST_WORKERS)


def make_maps(
    jobs: Iterable[tuple[Path, Path]],
    read: Callable[[Path], tuple[np.ndarray, Size]],
    network: Callable[[np.ndarray], np.ndarray],
    write: Callable[[Path, np.ndarray, Size], None],
    batch_size: int,
    stages: Stages,
) -> Iterator[tuple[Path, str | None]]:
    """Make the map of every image.

    Args:
        jobs: (image, map) files; taken as they are needed.
        read: an image file to what the network reads of it, H×W×3 uint8, and the image's own (height, width).
        network: B×H×W×3 uint8 to B×2H×2W saliency.
        write: writes one saliency to the map's file, knowing the image's own size.
        batch_size: images that the network is given at once.
        stages: says how many threads read and write, and is told what they took.

    Yields:
        Each image in order once its map is written, with None; or with what is wrong where `read` or `write` raised a
        ValueError, in which case there is no map. Whatever else is raised ends the run.
    """

    def picture(job: tuple[Path, Path]) -> tuple[np.ndarray, Size]:
        with stages.adds("reading", time.thread_time):
            return read(job[0])

    def written(job: tuple[Path, Path], found: Any) -> str | None:
        if isinstance(found, ValueError):
            return str(found)
        try:
            with stages.adds("writing", time.thread_time):
                write(job[1], *found)
        except ValueError as error:
            return f"{job[0]}: {error}"
        return None

    with ThreadPoolExecutor(stages.workers) as readers, ThreadPoolExecutor(stages.workers) as writers:
        pictures = _ahead(readers, picture, ((job,) for job in jobs), 2 * batch_size)
        saliencies = _through(network, pictures, batch_size, stages)
        for (job, _), future in _ahead(writers, written, saliencies, batch_size):
            yield job[0], future.result()


def _ahead(pool: Executor, function: Callable, calls: Iterable[tuple], count: int) -> Iterator[tuple[tuple, Future]]:
    """(arguments, future) of each call, in order, with `count` more calls always on their way."""
    waiting: deque[tuple[tuple, Future]] = deque()
    for arguments in calls:
        waiting.append((arguments, pool.submit(function, *arguments)))
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def _through(
    network: Callable[[np.ndarray], np.ndarray],
    pictures: Iterator[tuple[tuple, Future]],
    batch_size: int,
    stages: Stages,
) -> Iterator[tuple[Any, Any]]:
    """(job, (saliency, own size)) of each picture, or (job, ValueError) of one that could not be read."""
    while batch := list(itertools.islice(pictures, batch_size)):
        with stages.adds("waiting", time.perf_counter):
            results = [(job, _result(future)) for (job,), future in batch]
        good = [found[0] for _, found in results if not isinstance(found, ValueError)]
        with stages.adds("calls", time.perf_counter):
            saliencies = iter(network(np.stack(good)) if good else ())
        for job, found in results:
            yield job, found if isinstance(found, ValueError) else (next(saliencies), found[1])


def _result(future: Future) -> Any:
    try:
        return future.result()
    except ValueError as error:
        return error
