"""Measure what scoring a saliency map costs: decoding, each protocol, and both at once, in one process.

    python -m benchmarks.scoring --dataset ORSSD --root data/ORSSD --maps HFANet-R=maps/HFANet_R SDNet=maps/SDNet

The library's rows run PySODMetrics' classes as they are, ours the copies in `compute_results/protocols/pysodmetrics.py`
with the same figures. All rows are timed interleaved; a round goes through all images.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

from compute_results.options import CommandParser, maps_by_method
from datasets.catalog import DATASETS, find_pairs


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--dataset", required=True, metavar="NAME", help=f"one of {', '.join(DATASETS)}")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data set's folder")
    parser.add_argument("--maps", nargs="+", required=True, metavar="METHOD=DIR", help="methods' folders of PNG maps")
    parser.add_argument("--num-images", type=int, default=40, metavar="N", help="images, spread evenly (default: 40)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds at least (default: 5)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import cv2
import py_sod_metrics

from benchmarks.interleaved import time_interleaved
from compute_results.matching import MapMask, match_maps
from compute_results.protocols import PROTOCOLS, authors, field
from compute_results.scoring import by_image, score_dataset
from datasets.io import read_map, read_mask

LIBRARY = {name: getattr(py_sod_metrics, name) for name in ("Emeasure", "FmeasureV2", "WeightedFmeasure")}


def calls(maps: dict[str, list[MapMask]]) -> dict[str, Callable[[], object]]:
    """Return what is timed, by the row's name; each goes through all maps."""
    pairs = [pair for found in maps.values() for pair in found]
    decoded = [([read_map(path) for path in image.maps.values()], read_mask(image.mask)) for image in by_image(maps)]

    def each(protocol: Callable) -> Callable[[], object]:
        return lambda: [protocol(saliency, mask) for found, mask in decoded for saliency in found]

    def by_library(call: Callable[[], object]) -> Callable[[], object]:
        def patched() -> object:
            with patch.multiple(field, **LIBRARY):
                return call()

        return patched

    def apart() -> None:
        for method, found in maps.items():
            for protocol in PROTOCOLS:
                score_dataset({method: found}, [protocol], workers=1)

    return {
        "decode the map": lambda: [read_map(pair.map) for pair in pairs],
        "decode the mask": lambda: [read_mask(pair.mask) for pair in pairs],
        "authors": each(authors.score_image),
        "field, the library": by_library(each(field.score_image)),
        "field, ours": each(field.score_image),
        "everything, a pass for each method and protocol, the library": by_library(apart),
        "everything, one pass": lambda: score_dataset(maps, tuple(PROTOCOLS), workers=1),
    }


def main() -> None:
    """Run the benchmark and print a Markdown table; bad input ends in one line on standard error."""
    options = _parse_arguments()
    try:
        print(report(options))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def report(options: argparse.Namespace) -> str:
    """Return the table: median and range of the milliseconds for a map."""
    masks = {pair.stem: pair.mask for pair in find_pairs(options.dataset, options.root, "test")}
    stems = list(masks)[:: max(1, len(masks) // options.num_images)][: options.num_images]
    chosen = {stem: masks[stem] for stem in stems}
    maps = {method: match_maps(chosen, folder).pairs for method, folder in maps_by_method(options.maps).items()}
    count = sum(map(len, maps.values()))
    if not all(maps.values()):
        raise ValueError("a method has no map of the images: check --maps")
    cv2.setNumThreads(1)
    taken = time_interleaved(calls(maps), 0, options.rounds)
    lines = [
        f"{len(chosen)} images of {options.dataset}, {len(maps)} methods, {options.rounds} rounds, one process.",
        "",
        "| what | ms per map, median | range |",
        "| --- | ---: | ---: |",
    ]
    for name, seconds in taken.items():
        low, middle, high = (1000 * value / count for value in (min(seconds), statistics.median(seconds), max(seconds)))
        lines.append(f"| {name} | {middle:.2f} | {low:.2f}–{high:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main)
