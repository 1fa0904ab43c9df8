"""Score pairs of map and mask files under one or both protocols, spread over processes.

In Python, from the repository's root:

    from pathlib import Path
    from compute_results.matching import find_masks, match_maps
    from compute_results.scoring import score

    matching = match_maps(find_masks(Path("ORSSD/test-labels")), Path("maps/HFANet_R_ORSSD"))
    result = score(matching.pairs, "authors")
    print(result.images, result.figures["Fbeta"])

`evaluation.evaluate` scores several methods and data sets. Each file is decoded once, whatever the number of methods
and protocols.
"""

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tqdm import tqdm

from compute_results.mask_features import MaskFeatures, describe_mask
from compute_results.matching import MapMask
from compute_results.protocols import PROTOCOLS
from compute_results.result import Gathered, ImageScores, Result
from datasets.io import read_map, read_mask


class ImageMaps(NamedTuple):
    """A mask with the maps that are scored against it, by method."""

    stem: str
    mask: Path
    maps: dict[str, Path]


class ImageOutcome(NamedTuple):
    """What scoring an image gives: what its mask shows, where asked for, and the scores by (protocol, method)."""

    features: MaskFeatures | None
    scores: dict[tuple[str, str], ImageScores]


@dataclass(frozen=True)
class DatasetScores:
    """The scores of several methods on a data set.

    Attributes:
        results: by (protocol, method).
        masks: what each mask shows, by stem; empty unless asked for.
    """

    results: dict[tuple[str, str], Result]
    masks: dict[str, MaskFeatures]


def score(pairs: Sequence[MapMask], protocol: str, workers: int | None = None, label: str = "") -> Result:
    """Score a method's saliency maps against their masks under one protocol; arguments and errors as `score_dataset`.

    Returns:
        The metrics, curves and per-image scores. They do not depend on `workers`.
    """
    return score_dataset({"": pairs}, [protocol], workers, label).results[protocol, ""]


def score_dataset(
    maps: Mapping[str, Sequence[MapMask]],
    protocols: Sequence[str],
    workers: int | None = None,
    label: str = "",
    describe_masks: bool = False,
) -> DatasetScores:
    """Score several methods' saliency maps against the same masks, in one pass over the files.

    Args:
        maps: each method's maps and masks, as `match_maps` finds them; each stem once, with the same mask.
        protocols: `authors`, `field` or both.
        workers: processes, by default one per processor. 1 starts none.
        label: heading of the progress bar, which a terminal's standard error shows.
        describe_masks: also return what each mask shows.

    Returns:
        A result for each protocol and method. They do not depend on `workers`.

    Raises:
        ValueError: no pairs, an unknown protocol, less than one worker, or a file that cannot be read (it is named).
        OSError: a worker was killed from outside, or a package that a protocol needs is not installed.
    """
    modules = {name: load_protocol(name) for name in protocols}  # before the pool: forked workers need not import them
    if not all(maps.values()):
        raise ValueError("no map to score")
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 1:
        raise ValueError(f"{workers} workers: give at least 1")
    images = by_image(maps)
    outcomes = _run(images, tuple(protocols), describe_masks, min(workers, len(images)))
    gathered = {(name, method): Gathered(PROTOCOLS[name].curves) for name in protocols for method in maps}
    masks: dict[str, MaskFeatures] = {}
    shown = tqdm(outcomes, desc=label, total=len(images), unit="image", leave=False, disable=None)
    for image, outcome in zip(images, shown, strict=True):
        for key, scores in outcome.scores.items():
            gathered[key].add(image.stem, scores)
        if outcome.features:
            masks[image.stem] = outcome.features
    return DatasetScores({key: modules[key[0]].summarize(found) for key, found in gathered.items()}, masks)


def by_image(maps: Mapping[str, Sequence[MapMask]]) -> list[ImageMaps]:
    """Return the maps of all methods image by image, in the order of the masks' stems as the methods list them."""
    images: dict[str, ImageMaps] = {}
    for method, pairs in maps.items():
        for pair in pairs:
            images.setdefault(pair.stem, ImageMaps(pair.stem, pair.mask, {})).maps[method] = pair.map
    return list(images.values())


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


def _run(
    images: Sequence[ImageMaps], protocols: tuple[str, ...], describe_masks: bool, workers: int
) -> Iterable[ImageOutcome]:
    task = partial(_score_image, protocols, describe_masks)
    # Set before the fork: a forked worker would wait forever for OpenCV's threads, which only the parent has.
    with _opencv_single_threaded() if "field" in protocols else nullcontext():
        if workers == 1:
            yield from map(task, images)
            return
        try:
            with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(protocols,)) as pool:
                yield from pool.map(task, images, chunksize=max(1, min(8, len(images) // (4 * workers))))
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


def _start_worker(protocols: tuple[str, ...]) -> None:
    if "field" in protocols:  # a spawned process does not inherit the parent's setting
        import cv2

        cv2.setNumThreads(1)


def _score_image(protocols: tuple[str, ...], describe_masks: bool, image: ImageMaps) -> ImageOutcome:
    mask = read_mask(image.mask)
    scores: dict[tuple[str, str], ImageScores] = {}
    for method, path in image.maps.items():
        saliency = read_map(path)
        scores |= {(name, method): load_protocol(name).score_image(saliency, mask) for name in protocols}
    return ImageOutcome(describe_mask(mask) if describe_masks else None, scores)
