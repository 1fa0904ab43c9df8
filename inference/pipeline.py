"""Files to maps to files: images are decoded and maps written by threads while the network runs.

At most two batches of images wait for the network and one of maps for the disk, however many files there are.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

Size = tuple[int, int]
WORKERS = min(os.cpu_count() or 1, 16)


def make_maps(
    jobs: Iterable[tuple[Path, Path]],
    read: Callable[[Path], tuple[np.ndarray, Size]],
    network: Callable[[np.ndarray], np.ndarray],
    write: Callable[[Path, np.ndarray, Size], None],
    batch_size: int = 8,
) -> Iterator[tuple[Path, str | None]]:
    """Make the map of every image.

    Args:
        jobs: (image, map) files.
        read: an image file to what the network reads of it, H×W×3 uint8, and the image's own (height, width).
        network: B×H×W×3 uint8 to B×2H×2W saliency.
        write: writes one saliency to the map's file, knowing the image's own size.
        batch_size: images that the network is given at once.

    Yields:
        Each image in order once its map is written, with None; or with what is wrong where `read` or `write` raised a
        ValueError, in which case there is no map. Whatever else is raised ends the run.
    """

    def written(job: tuple[Path, Path], found: Any) -> str | None:
        if isinstance(found, ValueError):
            return str(found)
        try:
            write(job[1], *found)
        except ValueError as error:
            return f"{job[0]}: {error}"
        return None

    with ThreadPoolExecutor(WORKERS) as readers, ThreadPoolExecutor(WORKERS) as writers:
        pictures = _ahead(readers, lambda job: read(job[0]), ((job,) for job in jobs), 2 * batch_size)
        saliencies = _through(network, pictures, batch_size)
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
    network: Callable[[np.ndarray], np.ndarray], pictures: Iterator[tuple[tuple, Future]], batch_size: int
) -> Iterator[tuple[Any, Any]]:
    """(job, (saliency, own size)) of each picture, or (job, ValueError) of one that could not be read."""
    while batch := list(itertools.islice(pictures, batch_size)):
        results = [(job, _result(future)) for (job,), future in batch]
        good = [found[0] for _, found in results if not isinstance(found, ValueError)]
        saliencies = iter(network(np.stack(good)) if good else ())
        for job, found in results:
            yield job, found if isinstance(found, ValueError) else (next(saliencies), found[1])


def _result(future: Future) -> Any:
    try:
        return future.result()
    except ValueError as error:
        return error
