"""Make the bands of a scene: one thread reads, the network computes, another thread blends and writes."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from datasets.raster import open_raster
from datasets.raster_reader import Reader
from inference.scenes.blending import Blender, BlockEnd
from inference.scenes.job import Job
from inference.scenes.reading import Batch, read_blocks
from inference.scenes.work import Work

T = TypeVar("T")
PREFETCH = 2
"""Batches that wait for the network, and results that wait for the writer."""


def make_bands(
    job: Job,
    work: Work,
    bands: list[int],
    network: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    progress: Callable[[int], None],
) -> None:
    """Make bands of a scene's map.

    Args:
        job: the scene and its windows.
        work: where the bands go.
        bands: their numbers, ascending.
        network: B×H×W×3 uint8 to B×2H×2W saliency.
        batch_size: most windows in a call of the network.
        progress: called with the number of pixels of each finished block.

    Raises:
        ValueError: the scene cannot be read, or was changed or removed meanwhile; or as `network`.
        OSError: a file cannot be written.
    """
    blender = Blender(job.grid, work)

    def finish(end: BlockEnd) -> None:
        job.check_source()
        blender.finish(end)
        area = job.grid.area(end.band, end.block)
        progress(area.height * area.width)

    results: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, "writer") as writer:
        try:
            for item in in_background(lambda: _read(job, bands, batch_size), PREFETCH):
                if isinstance(item, BlockEnd):
                    results.append(writer.submit(finish, item))
                else:
                    saliency = network(item.pixels)
                    results.append(writer.submit(blender.add, item.band, item.block, item.windows, saliency))
                while len(results) > PREFETCH:
                    results.popleft().result()
            while results:
                results.popleft().result()
        finally:
            writer.shutdown(wait=True, cancel_futures=True)


def _read(job: Job, bands: Iterable[int], batch_size: int) -> Iterator[Batch | BlockEnd]:
    with open_raster(job.source) as dataset:
        reader = Reader(dataset, job.bands, job.bounds)
        yield from read_blocks(reader, job.grid, bands, job.input_size, batch_size, np.array(job.fill, np.uint8))


def in_background(make: Callable[[], Iterator[T]], count: int) -> Iterator[T]:
    """Yield what an iterator yields that a thread of its own runs, up to `count` items ahead.

    An exception in the thread is raised here. When this generator is closed, the thread ends after its current item.
    """
    items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(item: T | None, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                return items.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in make():
                put(item)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=work, name="reader", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
