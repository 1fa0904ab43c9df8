"""Images per second of training: ours, and what the authors' release does, measured in turns in one run.

    python benchmarks/training.py [--dataset ORSSD --root data/ORSSD] [--device cuda] [--compile] [--json FILE]

Both sides (`benchmarks/training_sides.py`) take the same batches: a block of one is timed, then a block of the other,
and so on. Figures are medians over the blocks, ratios are of these. A loader's block is an epoch, from the start of its
iteration to the last float views on the device; a step's block is a few steps and their loading. A GPU is waited for at
a block's ends only. Blocks to warm up come first, so both sides find all files in memory.
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
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path

# As train.py does, before torch loads OpenMP.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.breakdown import break_down
from benchmarks.training_findings import CacheCost, Findings, PartTime, rows_of, tables
from benchmarks.training_sides import RELEASE, OurSide, ReleasedSide, load, train
from datasets.cache import open_cache
from datasets.catalog import Pair, find_pairs
from tools.make_sample import make_sample_set
from training.config import TrainingConfig, parse
from training.distributed import find_precision
from training.sampler import ResumableBatchSampler
from utils.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent

RECIPES = {"resnet50": ("configs/released.yaml", "configs/paper.yaml"), "light": ("configs/light.yaml",) * 2}
"""For each network the configurations whose network the release's side and ours train."""

SEED = 2021
WARM_UP = 3


def in_turns(blocks: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each block in each round: all of them once, then all of them again."""
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
        network: of RECIPES, or a configuration file.
        pairs: what is trained on.
        options: the command line's.
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

    our_sides = [OurSide("ours", ours, records)]
    if options.compile:
        our_sides.append(OurSide("ours, compiled", replace(ours, compile=True), records))
    device = our_sides[0].accelerator.device
    sides = [ReleasedSide(released, pairs, device), *our_sides]
    loaders = {side.name: partial(load, side, epoch) for side in sides[:2]}
    in_turns(loaders, 1, device)
    rows = rows_of(network, "loader", len(epoch) * options.batch, in_turns(loaders, options.rounds, device))
    for side in sides:
        train(side, block[:WARM_UP])
    steps = {side.name: partial(train, side, block[WARM_UP:]) for side in sides}
    rows += rows_of(network, "step", options.steps * options.batch, in_turns(steps, options.rounds, device))

    per_epoch = {row.side: statistics.median(row.seconds) for row in rows if row.what == "loader"}
    saved = per_epoch[RELEASE] - per_epoch["ours"]
    epochs = math.ceil(built / saved) if saved > 0 else None
    cache = CacheCost(network, len(pairs), records.path.stat().st_size / 1e9, built, epochs)
    spent = break_down(our_sides[0], block, WARM_UP)
    return Findings(rows, [cache], [PartTime(network, *label, took) for label, took in spent.items()])


def settings_of(config: str, options: argparse.Namespace) -> TrainingConfig:
    """A configuration file's settings with what the command line says.

    Raises:
        ValueError: there is no such file.
    """
    path = ROOT / config if config in chain(*RECIPES.values()) else Path(config)
    if not path.is_file():
        raise ValueError(f"network {config}: neither a configuration file nor one of {', '.join(RECIPES)}")
    arguments = [f"--config={path}", "--encoder_weights=none", f"--device={options.device}"]
    arguments += [f"--batch_size={options.batch}", f"--precision={options.precision}"]
    arguments += [] if options.workers is None else [f"--data.workers={options.workers}"]
    return parse(arguments).settings


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Images per second of training: ours and what the release does.")
    parser.add_argument(
        "--networks", nargs="+", default=list(RECIPES), metavar="NAME",
        help=f"{', '.join(RECIPES)}, or a configuration file for both sides (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--dataset", default="sample", help="as in train.py (default: the rendered sample set)")
    parser.add_argument("--root", help="its folder (default, for the sample set, which is made there: demo/sample)")
    parser.add_argument("--images", type=_count, metavar="N", help="take the first N training images (default: all)")
    parser.add_argument("--batch", type=_count, default=8, metavar="N", help="images a step (default: %(default)s)")
    parser.add_argument("--steps", type=_count, metavar="N", help="steps a block (default: 3 on a CPU, 30 on a GPU)")
    parser.add_argument("--rounds", type=_count, default=3, metavar="N", help="blocks a side (default: %(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="of our loader (default: the configuration's)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp16", "fp32"), default="auto", help="ours")
    parser.add_argument("--compile", action="store_true", help="measure our step with torch.compile too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured as JSON too")
    options = parser.parse_args()
    if options.dataset != "sample" and not options.root:
        parser.error("--root: name the data set's folder")
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def main() -> None:
    """Measure, print, and write what was asked for; bad input ends it with one line."""
    options = arguments()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        run(options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(options: argparse.Namespace) -> None:
    """Measure what the command line asks for."""
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    options.precision = find_precision(options.precision, on_cpu=not on_gpu)
    options.steps = options.steps or (30 if on_gpu else 3)
    options.root = options.root or "demo/sample"
    if options.dataset == "sample":
        make_sample_set(options.root)
    pairs = find_pairs(options.dataset, options.root, "train")[: options.images]
    findings = Findings([], [], [])
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks:
            found = measure(network, pairs, options, Path(folder))
            findings.rows += found.rows
            findings.caches += found.caches
            findings.parts += found.parts
    machine = {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    print(
        f"{machine['device']}, torch {machine['torch']}; {options.dataset}, {len(pairs)} images; batches of "
        f"{options.batch}; medians of {options.rounds} blocks, taken in turns, of an epoch (loading) and "
        f"{options.steps} steps. {RELEASE}: fp32, no workers; ours: {options.precision}.\n\n"
        f"{tables(findings, options.batch)}"
    )
    if options.json:
        asked = {name: value for name, value in vars(options).items() if name != "json"}
        found = {"machine": machine, "options": asked | {"images": len(pairs)}} | asdict(findings)
        atomic_write(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
