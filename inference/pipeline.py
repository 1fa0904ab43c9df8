"""Run images through a network: threads decode images and write maps while the network computes.

At most two batches of images wait for the network, and one batch of maps for the disk, for any number of files.
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

from inference.timing import StageTimer
from utils.environment import count

Size = tuple[int, int]
MAX_WORKERS = 16
"""With more threads, waiting for Python's lock outweighs the decoding."""


def worker_count(on_cpu: bool) -> int:
    """Return the number of threads that read images, and of threads that write maps.

    With the network on a GPU, one for each core of this process (its share, where a launcher started several). With the
    network on the CPU, one for every two cores: decoding takes a tenth of the network's time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own_cores = cores // count("LOCAL_WORLD_SIZE", 1)
    return min(max(own_cores // 2 if on_cpu else own_cores, 1), MAX_WORKERS)


def make_maps(
    jobs: Iterable[tuple[Path, Path]],
    read: Callable[[Path], tuple[np.ndarray, Size]],
    network: Callable[[np.ndarray], np.ndarray],
    write: Callable[[Path, np.ndarray, Size], None],
    batch_size: int,
    timer: StageTimer,
    prepare: Callable[[], None] | None = None,
) -> Iterator[tuple[Path, str | None]]:
    """Make the map of every image.

    Args:
        jobs: (image file, map file); consumed as needed.
        read: returns the network's input of an image file, H×W×3 uint8, and the image's own (height, width).
        network: B×H×W×3 uint8 to B×2H×2W saliency.
        write: writes one saliency to a map file; its third argument is the image's own size.
        batch_size: number of images in a call of the network.
        timer: gives the number of threads and records the times.
        prepare: called once in each thread that reads.

    Yields:
        (image file, None) in order, once the map is written; (image file, message) without a map where `read` or
        `write` raised a ValueError. Any other exception ends the run.
    """

    def timed_read(job: tuple[Path, Path]) -> tuple[np.ndarray, Size]:
        with timer.measure("reading", time.thread_time):
            return read(job[0])

    def timed_write(job: tuple[Path, Path], result: Any) -> str | None:
        if isinstance(result, ValueError):
            return str(result)
        try:
            with timer.measure("writing", time.thread_time):
                write(job[1], *result)
        except ValueError as error:
            return f"{job[0]}: {error}"
        return None

    with (
        ThreadPoolExecutor(timer.workers, initializer=prepare) as readers,
        ThreadPoolExecutor(timer.workers) as writers,
    ):
        images = _prefetch(readers, timed_read, ((job,) for job in jobs), 2 * batch_size)
        saliencies = _run_batches(network, images, batch_size, timer)
        for (job, _), future in _prefetch(writers, timed_write, saliencies, batch_size):
            yield job[0], future.result()


def _prefetch(pool: Executor, function: Callable, calls: Iterable[tuple], count: int) -> Iterator[tuple[tuple, Future]]:
    """Yield (arguments, future) of each call in order, with up to `count` further calls submitted."""
    waiting: deque[tuple[tuple, Future]] = deque()
    for arguments in calls:
        waiting.append((arguments, pool.submit(function, *arguments)))
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def _run_batches(
    network: Callable[[np.ndarray], np.ndarray],
    images: Iterator[tuple[tuple, Future]],
    batch_size: int,
    timer: StageTimer,
) -> Iterator[tuple[Any, Any]]:
    """Yield (job, (saliency, own size)) of each image, or (job, ValueError) of one that could not be read."""
    while batch := list(itertools.islice(images, batch_size)):
        with timer.measure("waiting", time.perf_counter):
            results = [(job, _result(future)) for (job,), future in batch]
        readable = [result[0] for _, result in results if not isinstance(result, ValueError)]
        with timer.measure("calls", time.perf_counter):
            saliencies = iter(network(np.stack(readable)) if readable else ())
        for job, result in results:
            yield job, result if isinstance(result, ValueError) else (next(saliencies), result[1])


def _result(future: Future) -> Any:
    """Return a future's result, or the ValueError that it raised."""
    try:
        return future.result()
    except ValueError as error:
        return error
