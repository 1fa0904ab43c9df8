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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from compute_results.files import FileFacts, MapFacts
from compute_results.mask_features import MaskFeatures, describe_mask
from compute_results.matching import MapMask
from compute_results.protocols import PROTOCOLS
from compute_results.protocols.own import files_read, own_figures, read_metric_files, with_own_metrics
from compute_results.result import Gathered, ImageScores, Result
from datasets.file_warnings import FileWarning
from datasets.io import inspect_map, inspect_mask
from utils.progress import ProgressBar
from utils.text import one_line


class ImageMaps(NamedTuple):
    """A mask with the maps that are scored against it, by method."""

    stem: str
    mask: Path
    maps: dict[str, Path]


class ImageOutcome(NamedTuple):
    """What scoring an image gives.

    Attributes:
        features: what its mask shows, where asked for.
        scores: by (protocol, method).
        mask: the mask's warnings.
        maps: what each method's map file is.
        problems: why a method's map has no scores, in one line.
    """

    features: MaskFeatures | None
    scores: dict[tuple[str, str], ImageScores]
    mask: FileWarning
    maps: dict[str, MapFacts]
    problems: dict[str, str]


@dataclass(frozen=True)
class DatasetScores:
    """The scores of several methods on a data set.

    Attributes:
        results: by (protocol, method).
        masks: what each mask shows, by stem; empty unless asked for.
        files: unusual and unreadable files.
    """

    results: dict[tuple[str, str], Result]
    masks: dict[str, MaskFeatures]
    files: FileFacts


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
        A result for each protocol and method, over the images whose mask and map can be read and scored; `files` names
        the others. They do not depend on `workers`.

    Raises:
        ValueError: no pairs, an unknown protocol, less than one worker, or a method of which no map can be scored.
        OSError: a worker was killed from outside, or a package that a protocol needs is not installed.
    """
    modules = {name: load_protocol(name) for name in protocols}  # before the pool: forked workers need not import them
    if not all(maps.values()):
        raise ValueError("no map to score")
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 1:
        raise ValueError(f"{workers} workers: give at least 1")
    run = partial(_gather, protocols, workers=workers, label=label)
    found, masks, files = run(maps, {}, describe_masks)
    tops = files.common_tops()
    if tops:  # only the whole set shows the scale; it is hardly ever another than the files' own
        found |= run({method: maps[method] for method in tops}, tops, False)[0]
    for method, problems in files.problems.items():
        if len(problems) == len(maps[method]):
            raise ValueError(f"{f'{method}: ' * bool(method)}no map can be scored: {problems[0][1]}")
    results = {key: with_own_metrics(modules[key[0]].summarize(each), each) for key, each in found.items()}
    return DatasetScores(results, masks, files)


def _gather(
    protocols: Sequence[str],
    maps: Mapping[str, Sequence[MapMask]],
    tops: Mapping[str, int],
    describe_masks: bool,
    workers: int,
    label: str,
) -> tuple[dict[tuple[str, str], Gathered], dict[str, MaskFeatures], FileFacts]:
    """Score every image; `tops` is the stored value that is white in a method's maps, where it is not the type's."""
    images = by_image(maps)
    task = partial(_score_image, tuple(protocols), describe_masks, dict(tops))
    outcomes = _run(task, images, "field" in protocols, min(workers, len(images)))
    gathered = {(name, method): Gathered(PROTOCOLS[name].curves) for name in protocols for method in maps}
    masks: dict[str, MaskFeatures] = {}
    files = FileFacts()
    shown = ProgressBar(outcomes, desc=label, total=len(images), unit="image", leave=False)
    for image, outcome in zip(images, shown, strict=True):
        for key, scores in outcome.scores.items():
            gathered[key].add(image.stem, scores)
        if outcome.features:
            masks[image.stem] = outcome.features
        files.masks[image.stem] = outcome.mask
        for method, facts in outcome.maps.items():
            files.maps[method][image.stem] = facts
        for method, problem in outcome.problems.items():
            files.problems[method].append((image.stem, problem))
    return gathered, masks, files


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
    task: Callable[[ImageMaps], ImageOutcome], images: Sequence[ImageMaps], with_opencv: bool, workers: int
) -> Iterable[ImageOutcome]:
    # Set before the fork: a forked worker would wait forever for OpenCV's threads, which only the parent has.
    with _opencv_single_threaded() if with_opencv else nullcontext():
        if workers == 1:
            yield from map(task, images)
            return
        try:
            with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(with_opencv, files_read())) as pool:
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


def _start_worker(with_opencv: bool, metric_files: Sequence[Path]) -> None:
    read_metric_files(metric_files)  # a spawned process has none of the parent's registrations
    if with_opencv:  # a spawned process does not inherit the parent's setting
        import cv2

        cv2.setNumThreads(1)


def _score_image(
    protocols: tuple[str, ...], describe_masks: bool, tops: Mapping[str, int], image: ImageMaps
) -> ImageOutcome:
    try:
        opened, mask_warnings = inspect_mask(image.mask)
    except ValueError as error:
        return ImageOutcome(None, {}, FileWarning(0), {}, dict.fromkeys(image.maps, one_line(error, 1000)))
    mask = np.asarray(opened)
    scores: dict[tuple[str, str], ImageScores] = {}
    maps: dict[str, MapFacts] = {}
    problems: dict[str, str] = {}
    for method, path in image.maps.items():
        try:
            read = inspect_map(path)
            saliency = read.pixels(tops.get(method))
            found = {(name, method): _scored(name, saliency, mask, path) for name in protocols}
        except ValueError as error:
            problems[method] = one_line(error, 1000)
            continue
        scores |= found
        swapped = read.values.shape == mask.shape[::-1] != mask.shape
        found_too = read.warnings | (FileWarning.SWAPPED if swapped else FileWarning(0))
        maps[method] = MapFacts(int(read.values.max()), read.deep, found_too)
    return ImageOutcome(describe_mask(mask) if describe_masks else None, scores, mask_warnings, maps, problems)


def _scored(protocol: str, saliency: np.ndarray, mask: np.ndarray, path: Path) -> ImageScores:
    module = load_protocol(protocol)
    scores = module.score_image(saliency, mask)
    scores.figures.update(own_figures(protocol, path, *module.at_one_size(saliency, mask)))
    undefined = [name for name, value in scores.figures.items() if not np.isfinite(value)]
    undefined += [name for name, curve in scores.curves.items() if not np.isfinite(curve).all()]
    if undefined:
        raise ValueError(f"{path} has no number for {', '.join(undefined)} under protocol {protocol}")
    return scores
