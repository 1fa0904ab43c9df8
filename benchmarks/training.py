"""Measure images per second of training: ours, and what the authors' release does, interleaved in one run.

    python benchmarks/training.py [--dataset ORSSD --root data/ORSSD] [--device cuda] [--compile] [--json FILE]

Both sides (`benchmarks/training_sides.py`) process the same batches, and their blocks alternate. Results are medians
over the blocks; ratios are of medians. A block of the loader is an epoch, from the start of the iteration to the last
float views on the device. A block of the step is a few steps with their loading. A GPU is synchronized only at the
start and the end of a block. Warm-up blocks come first, so that both sides find all files in memory.
"""

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path

# As train.py does, before torch loads OpenMP.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

from compute_results.options import positive_integer

RECIPES = {"resnet50": ("configs/released.yaml", "configs/paper.yaml"), "light": ("configs/light.yaml",) * 2}
"""For each network the configuration files of the release's side and of ours."""


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Measure images per second of training: ours and the release's.", allow_abbrev=False
    )
    parser.add_argument(
        "--networks", nargs="+", default=list(RECIPES), metavar="NAME",
        help=f"{', '.join(RECIPES)}, or a configuration file for both sides (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--dataset", default="sample", help="a data set of train.py (default: the sample set)")
    parser.add_argument("--root", help="the data set's folder (default for the sample set: datasets/sample)")
    parser.add_argument(
        "--num-images",
        dest="images",
        type=positive_integer,
        metavar="N",
        help="use the first N training images (default: all)",
    )
    parser.add_argument("--images", dest="old_images", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--batch", type=positive_integer, default=8, metavar="N", help="images a step (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=positive_integer, metavar="N", help="steps a block (default: 3 on a CPU, 30 on a GPU)"
    )
    parser.add_argument(
        "--rounds", type=positive_integer, default=3, metavar="N", help="blocks a side (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes of our loader (default: as the configuration)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--precision", nargs="+", choices=("auto", "bf16", "fp16", "fp32"), default=["auto"], metavar="P",
        help="auto, bf16, fp16 or fp32, of our side; of several, our step is measured in each (default: auto)",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true", help="also measure our step with torch.compile, in the first precision"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    options = parser.parse_args()
    if hasattr(options, "old_images"):
        parser.error(
            f"--images is a folder elsewhere; the count is now --num-images: use --num-images {options.old_images}"
        )
    if options.dataset != "sample" and not options.root:
        parser.error(f"--dataset {options.dataset} needs --root DIR, its folder")
    return options


if __name__ == "__main__":
    command.answer_help(arguments)  # before torch, which takes seconds

import torch

from benchmarks.breakdown import break_down
from benchmarks.inference_tables import table
from benchmarks.training_sides import RELEASE, OurSide, ReleasedSide, Side, load, train
from datasets.cache import open_cache
from datasets.catalog import Pair, find_pairs
from training.config import TrainingConfig, parse
from training.distributed import find_precision
from training.sampler import ResumableBatchSampler
from utils.devices import keep_freed_memory
from utils.files import atomic_write, temporary_folder

ROOT = Path(__file__).resolve().parent.parent

SEED = 2021
WARM_UP = 3


@dataclass
class Row:
    """Results of one side: `what` is 'loader' or 'step'; `seconds` has the time of each block of `images` images."""

    network: str
    what: str
    side: str
    images: int
    seconds: list[float]
    ms_per_image: float
    images_per_second: float
    times_release: float


@dataclass
class CacheCost:
    """The one-time cost of a network's cache; after `epochs` epochs it has saved more time than it took."""

    network: str
    images: int
    gigabytes: float
    seconds: float
    epochs: int | None


@dataclass
class PartTime:
    """Milliseconds of one part of our step; `phase` is 'forward', 'backward' or, outside the network, ''."""

    network: str
    part: str
    phase: str
    milliseconds: float


@dataclass
class Findings:
    """All results, in the layout of the JSON file."""

    rows: list[Row]
    caches: list[CacheCost]
    parts: list[PartTime]


def interleave_blocks(
    blocks: Mapping[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds of each block, by name, for each round. A round runs every block once."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, block in blocks.items():
            _wait_for(device)
            start = time.perf_counter()
            block()
            _wait_for(device)
            seconds[name].append(time.perf_counter() - start)
    return dict(seconds)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(network: str, pairs: list[Pair], options: argparse.Namespace, folder: Path) -> Findings:
    """Measure one network's loaders, steps, cache and parts.

    Args:
        network: a key of RECIPES, or a configuration file.
        pairs: the training pairs.
        options: of the command line.
        folder: for the cache.
    """
    torch.manual_seed(SEED)
    random.seed(SEED)
    released, ours = (settings_of(config, options) for config in RECIPES.get(network, (network, network)))
    epoch = list(ResumableBatchSampler(len(pairs), options.batch, SEED))
    block = list(islice(cycle(epoch), WARM_UP + options.steps))
    detail = ours.data.augmentation.detail
    start = time.perf_counter()
    records = open_cache(pairs, ours.detector.input_size, detail, folder, Path(network).stem)
    built = time.perf_counter() - start

    several = len(options.precision) > 1
    our_sides = [
        OurSide(f"ours in {precision}" if several else "ours", replace(ours, precision=precision), records)
        for precision in options.precision
    ]
    if options.compile:
        our_sides.append(OurSide("ours, compiled", replace(ours, compile=True), records))
    device = our_sides[0].accelerator.device
    sides: list[Side] = [ReleasedSide(released, pairs, device), *our_sides]
    loaders = {side.name: partial(load, side, epoch) for side in sides[:2]}
    interleave_blocks(loaders, 1, device)
    rows = rows_of(network, "loader", len(epoch) * options.batch, interleave_blocks(loaders, options.rounds, device))
    for side in sides:
        train(side, block[:WARM_UP])
    steps = {side.name: partial(train, side, block[WARM_UP:]) for side in sides}
    rows += rows_of(network, "step", options.steps * options.batch, interleave_blocks(steps, options.rounds, device))

    per_epoch = {row.side: statistics.median(row.seconds) for row in rows if row.what == "loader"}
    saved = per_epoch[RELEASE] - per_epoch[our_sides[0].name]
    epochs = math.ceil(built / saved) if saved > 0 else None
    cache = CacheCost(network, len(pairs), records.path.stat().st_size / 1e9, built, epochs)
    spent = break_down(our_sides[0], block, WARM_UP)
    return Findings(rows, [cache], [PartTime(network, *label, took) for label, took in spent.items()])


def rows_of(network: str, what: str, images: int, seconds: dict[str, list[float]]) -> list[Row]:
    """Return the rows of blocks of `images` images, from their seconds by side."""
    medians = {side: statistics.median(of) for side, of in seconds.items()}
    return [
        Row(network, what, side, images, of, 1e3 * medians[side] / images, images / medians[side],
            medians[RELEASE] / medians[side])
        for side, of in seconds.items()
    ]  # fmt: skip


def tables(findings: Findings, batch: int) -> str:
    """Return the results as Markdown; `batch` is the number of images a step."""
    caches = [
        (each.network, str(each.images), f"{each.gigabytes:.2f}", f"{each.seconds:.1f}", str(each.epochs or "never"))
        for each in findings.caches
    ]
    texts = [
        "Loading alone: from files to float views on the device\n",
        _rows_table([row for row in findings.rows if row.what == "loader"], "ms an image", 1),
        "\nWhole steps, their loading included\n",
        _rows_table([row for row in findings.rows if row.what == "step"], "ms a step", batch),
        "\nThe cache, built once for a set and its sizes\n",
        table(("network", "images", "GB", "seconds to build", "epochs until it has saved its time"), caches),
    ]
    for network in dict.fromkeys(each.network for each in findings.parts):
        parts = [each for each in findings.parts if each.network == network]
        texts += [f"\nWhere our step's time goes: {network}, not compiled\n", _parts_table(parts)]
    return "\n".join(texts)


def _rows_table(rows: list[Row], unit: str, images: int) -> str:
    lines = [
        (row.network, row.side, f"{row.ms_per_image * images:.2f}", f"{row.images_per_second:.2f}",
         f"{row.times_release:.2f}×")
        for row in rows
    ]  # fmt: skip
    return table(("network", "side", unit, "images a second", "against the release"), lines)


def _parts_table(parts: list[PartTime]) -> str:
    spent = {(each.part, each.phase): each.milliseconds for each in parts}
    whole = sum(spent.values())
    lines = []
    for part in dict.fromkeys(part for part, _ in spent):
        forward = spent.get((part, "forward"), spent.get((part, "")))
        both = [forward, spent.get((part, "backward"))]
        share = sum(each for each in both if each is not None) / whole
        lines.append((part, *("–" if each is None else f"{each:.1f}" for each in both), f"{share:.1%}"))
    lines.append(("all", f"{whole:.1f}", "", "100%"))
    return table(("part", "forward, ms", "backward, ms", "of the step"), lines)


def settings_of(config: str, options: argparse.Namespace) -> TrainingConfig:
    """Return a configuration file's settings, overridden by the command line.

    Raises:
        ValueError: there is no such file.
    """
    path = ROOT / config if config in chain(*RECIPES.values()) else Path(config)
    if not path.is_file():
        raise ValueError(f"network {config}: neither a configuration file nor one of {', '.join(RECIPES)}")
    arguments = [f"--config={path}", "--encoder_weights=none", f"--device={options.device}"]
    arguments += [f"--batch_size={options.batch}", f"--precision={options.precision[0]}"]
    arguments += [] if options.workers is None else [f"--data.workers={options.workers}"]
    return parse(arguments).settings


def main() -> None:
    """Run the command; bad input ends it with one line."""
    keep_freed_memory()  # as train.py
    options = arguments()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        run(options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the JSON file."""
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    precisions = [find_precision(precision, on_cpu=not on_gpu) for precision in options.precision]
    options.precision = list(dict.fromkeys(precisions))
    options.steps = options.steps or (30 if on_gpu else 3)
    options.root = options.root or "datasets/sample"
    pairs = find_pairs(options.dataset, options.root, "train")[: options.images]
    findings = Findings([], [], [])
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        for network in options.networks:
            found = measure(network, pairs, options, folder)
            findings.rows += found.rows
            findings.caches += found.caches
            findings.parts += found.parts
    machine = {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    print(
        f"{machine['device']}, torch {machine['torch']}; {options.dataset}, {len(pairs)} images; batches of "
        f"{options.batch}; medians of {options.rounds} interleaved blocks of an epoch (loading) and "
        f"{options.steps} steps. {RELEASE}: fp32, no workers; ours: {', '.join(options.precision)}.\n\n"
        f"{tables(findings, options.batch)}"
    )
    if options.json:
        asked = {name: value for name, value in vars(options).items() if name != "json"}
        content = {"machine": machine, "options": asked | {"images": len(pairs)}} | asdict(findings)
        atomic_write(options.json, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main)
