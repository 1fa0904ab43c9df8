"""List the salient objects that one network misses and another finds, on the validation images of a run.

    python -m tools.missed_objects RUN --weights strong=runs/strong/last.safetensors light=runs/lite2/last.safetensors

An object is a connected part of a mask (eight neighbors) of at least 0.05 % of the image, at twice the network's input.
A network finds it where more than 70 % of its pixels are salient (above one half), and misses it where less than 30 %
are. None of the networks may have been trained on the run's validation part.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.missed_objects",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a training run; its configuration names the validation images")
    add("--weights", nargs="+", required=True, metavar="NAME=FILE", help="two or more weights files, each with a name")
    add("--host-file", type=Path, metavar="FILE.py", help="Python file that registers your own network; it is executed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import ndimage

from compute_results.mask_features import EIGHT_NEIGHBORS
from compute_results.options import paths_by_name
from datasets.cache import Records
from datasets.catalog import Pair
from datasets.loader import SalientObjectBatches, Views
from models.hosts import run_host_file
from models.weights import load_detector
from tools.run_networks import read_config
from training.find_data import find_data

BATCH = 8
SMALLEST = 0.0005
"""The least share of an image that an object covers; smaller parts are specks of the annotation."""

MISSED, FOUND = 0.3, 0.7
"""Shares of an object's pixels that are salient, below and above which it is missed or found."""

SIZES = (0.0, 0.002, 0.01, 0.05, 1.0)
"""Bounds of the table's rows: an object's share of the image."""


@dataclass(frozen=True)
class SalientObject:
    """An object of a mask.

    Attributes:
        stem: of its image.
        share: its share of the image, in (0, 1].
        recall: by network, the share of its pixels that are salient, in [0, 1].
    """

    stem: str
    share: float
    recall: dict[str, float]


def objects_of(stem: str, mask: np.ndarray, maps: dict[str, np.ndarray]) -> list[SalientObject]:
    """Return the objects of a mask, H×W bool, with their recall in each network's map, H×W in [0, 1]."""
    labels, count = ndimage.label(mask, structure=EIGHT_NEIGHBORS)
    numbers = np.arange(1, count + 1)
    shares = ndimage.sum_labels(mask, labels, numbers) / mask.size
    recalls = {name: ndimage.mean(of > 0.5, labels, numbers) for name, of in maps.items()}
    return [
        SalientObject(stem, float(share), {name: float(of[index]) for name, of in recalls.items()})
        for index, share in enumerate(shares)
        if share >= SMALLEST
    ]


@torch.inference_mode()
def find_objects(networks: dict[str, Path], pairs: Sequence[Pair]) -> list[SalientObject]:
    """Return the objects of all pairs with their recall by each network.

    Raises:
        FileNotFoundError, ValueError: a file cannot be read; the networks' maps differ in size.
    """
    detectors = {name: load_detector(path) for name, path in networks.items()}
    size = next(iter(detectors.values())).config.input_size
    views = {}
    for name, detector in detectors.items():
        height, width = detector.config.input_size
        if (height, width) != size:
            found = f"{2 * height}×{2 * width}"
            raise ValueError(f"{networks[name]}: its maps are {found}, the first network's are not")
        views[name] = Views(size, detector.config.mean, detector.config.std)
    objects = []
    for batch in SalientObjectBatches(Records(pairs, size)).in_batches(BATCH):
        made = {name: of(batch) for name, of in views.items()}
        masks = next(iter(made.values()))["mask"][:, 0].numpy() > 0.5
        maps = {name: detectors[name](of["rgb"])["logits"].sigmoid()[:, 0].numpy() for name, of in made.items()}
        for index, stem in enumerate(batch["stem"]):
            objects += objects_of(stem, masks[index], {name: of[index] for name, of in maps.items()})
    return objects


def report(found: Sequence[SalientObject], names: Sequence[str]) -> str:
    """Return a table of missed objects by size, and the objects that one network misses and another finds."""
    lines = [f"{'share of the image':20} {'objects':>8} " + " ".join(f"{'missed by ' + name:>20}" for name in names)]
    for low, high in pairwise(SIZES):
        rows = [each for each in found if low <= each.share < high or each.share == high == 1]
        missed = [sum(each.recall[name] < MISSED for each in rows) for name in names]
        label = f"{100 * low:g} to {100 * high:g} %"
        lines.append(f"{label:20} {len(rows):8} " + " ".join(f"{count:20}" for count in missed))
    lines += ["", "missed by one, found by another:"]
    differing = [each for each in found if min(each.recall.values()) < MISSED and max(each.recall.values()) > FOUND]
    for each in sorted(differing, key=lambda each: -each.share):
        recalls = ", ".join(f"{name} {share:.0%}" for name, share in each.recall.items())
        lines.append(f"  {each.stem}: {each.share:.2%} of the image; {recalls}")
    return "\n".join(lines if differing else [*lines[:-1], "no object is missed by one network and found by another"])


def named_files(texts: Sequence[str]) -> dict[str, Path]:
    """Return weights files by name, of NAME=FILE. Raise a ValueError if there are fewer than two or a name is twice."""
    files = paths_by_name(texts, "--weights", "NAME=FILE, the name for the table and the weights file")
    if len(files) < 2:
        raise ValueError(f"--weights {' '.join(texts)}: expected two or more files")
    return files


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Bad input ends with one line on standard error and a non-zero exit status."""
    options = _parse_arguments(arguments)
    try:
        networks = named_files(options.weights)
        if options.host_file:
            run_host_file(options.host_file)
        _, pairs = find_data(read_config(options.run).data)
        if not pairs:
            raise ValueError("the run has no validation part (data.validation is 0)")
        found = find_objects(networks, pairs)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{len(found)} objects in {len(pairs)} validation images\n")
    print(report(found, list(networks)))


if __name__ == "__main__":
    command.run(main)
