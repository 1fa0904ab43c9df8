"""Score pairs of map and mask files under a protocol, spread over processes.

In Python, from the repository's root:

    from pathlib import Path
    from compute_results.matching import find_masks, match_maps
    from compute_results.scoring import score

    matching = match_maps(find_masks(Path("ORSSD/test-labels")), Path("maps/HFANet_R_ORSSD"))
    result = score(matching.pairs, "authors")
    print(result.images, result.figures["Fbeta"])
"""

import importlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType

from tqdm import tqdm

from compute_results.matching import MapMask
from compute_results.protocols import PROTOCOLS
from compute_results.result import ImageScores, Result
from datasets.io import read_map, read_mask


def score(pairs: Sequence[MapMask], protocol: str, workers: int | None = None, label: str = "") -> Result:
    """Score saliency maps against their masks.

    Args:
        pairs: the maps and masks, as `match_maps` finds them; each stem once.
        protocol: `authors` or `field`.
        workers: processes, by default one per processor. 1 starts none.
        label: heading of the progress bar, which a terminal's standard error shows.

    Returns:
        The metrics, curves and per-image scores. They do not depend on `workers`.

    Raises:
        ValueError: no pairs, an unknown protocol, less than one worker, or a file that cannot be read (it is named).
        OSError: a worker was killed from outside, or a package that the protocol needs is not installed.
    """
    module = load_protocol(protocol)  # before the pool, so that forked workers need not import it again
    if not pairs:
        raise ValueError("no map to score")
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 1:
        raise ValueError(f"{workers} workers: give at least 1")
    images = _run(pairs, protocol, min(workers, len(pairs)))
    scored = tqdm(images, desc=label, total=len(pairs), unit="map", leave=False, disable=None)
    return module.summarize({pair.stem: image for pair, image in zip(pairs, scored, strict=True)})


def load_protocol(protocol: str) -> ModuleType:
    """Import and return the module of a protocol; `authors` does not need PySODMetrics, which takes a second.

    Raises:
        ValueError: there is no such protocol.
        OSError: a package that the protocol needs is not installed.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol {protocol!r}: choose {' or '.join(PROTOCOLS)}")
    try:
        return importlib.import_module(f"compute_results.protocols.{protocol}")
    except ModuleNotFoundError as error:
        raise OSError(f"protocol {protocol} needs {error.name}: pip install -r requirements-scoring.txt") from error


def _run(pairs: Sequence[MapMask], protocol: str, workers: int) -> Iterable[ImageScores]:
    task = partial(_score_pair, protocol)
    # Set before the fork: a forked worker would wait forever for OpenCV's threads, which only the parent has.
    with _opencv_single_threaded() if protocol == "field" else nullcontext():
        if workers == 1:
            yield from map(task, pairs)
            return
        try:
            with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(protocol,)) as pool:
                yield from pool.map(task, pairs, chunksize=max(1, min(8, len(pairs) // (4 * workers))))
        except BrokenProcessPool as error:
            raise OSError("a scoring process was killed, perhaps for lack of memory: give fewer workers") from error


@contextmanager
def _opencv_single_threaded() -> Iterator[None]:
    import cv2  # protocol authors does not need it

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _start_worker(protocol: str) -> None:
    if protocol == "field":  # a spawned process does not inherit the parent's setting
        import cv2

        cv2.setNumThreads(1)


def _score_pair(protocol: str, pair: MapMask) -> ImageScores:
    return load_protocol(protocol).score_image(read_map(pair.map), read_mask(pair.mask))
