"""Images per second of training: ours, and what the authors' release does, measured in turns in one run.

    python benchmarks/training.py [--dataset ORSSD --root data/ORSSD] [--device cuda] [--compile] [--json FILE]

The release's side is `benchmarks/released_training.py`. Both take the same batches: a block of one is timed, then a
block of the other, and so on. Figures are medians over the blocks, ratios are of these. A loader's block is an epoch,
from the start of its iteration to the last float views on the device; a step's block is a few steps and their loading.
A GPU is waited for at a block's ends only. Blocks to warm up come first, so both sides find all files in memory.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from unittest.mock import patch

# As train.py does, before torch loads OpenMP.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.breakdown import PartMarks, Timeline
from benchmarks.markdown import table
from benchmarks.released_training import ReleasedSamples, ReleasedTrainer
from compute_results.atomic import write_whole
from datasets.cache import open_cache
from datasets.catalog import Pair, find_pairs
from datasets.records import Records
from datasets.sample import make_sample_set
from datasets.views import SalientObjectBatches, Views, as_it_is
from models.losses import joint_loss, loss_terms
from models.sral import build_sral
from training.average import build_average
from training.order import Order
from training.parallel import build_accelerator, find_precision
from training.schedule import build_optimiser, build_schedule
from training.settings import Settings, parse
from training.step import Ledger, Step

ROOT = Path(__file__).resolve().parent.parent

RECIPES = {"resnet50": ("configs/released.yaml", "configs/paper.yaml"), "light": ("configs/light.yaml",) * 2}
"""For each network the configurations whose network the release's side and ours train."""

RELEASE = "release"
SEED = 2021
WARM_UP = 3
SETTLE_EVERY = 10
"""Steps between two looks at the losses, as in train.py."""

Batches = list[list[int]]


@dataclass
class Row:
    """A side's figures: `what` is 'loader' or 'step', `seconds` those of each block of so many `images`."""

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
    """What the cache of one network's records costs once; `epochs` until that is less than the release's loading."""

    network: str
    images: int
    gigabytes: float
    seconds: float
    epochs: int | None


@dataclass
class PartTime:
    """Milliseconds that one part of our step takes; `phase` is 'forward', 'backward' or, outside the network, ''."""

    network: str
    part: str
    phase: str
    milliseconds: float


class ReleasedSide:
    """What the release does: its samples from a DataLoader as it comes (no workers), its trainer.

    Args:
        settings: whose network is trained.
        pairs: what it is trained on.
        device: where.
    """

    name = RELEASE

    def __init__(self, settings: Settings, pairs: list[Pair], device: torch.device):
        self.samples = ReleasedSamples(pairs, settings.detector.input_size)
        steps = settings.epochs * (len(pairs) // settings.batch_size)
        self.trainer = ReleasedTrainer(settings.network(), max(steps, 1), device)

    def views(self, batches: Batches) -> Iterator[dict[str, Tensor]]:
        """The batches' float views on the device."""
        for batch in DataLoader(self.samples, batch_sampler=batches):
            yield self.trainer.to_device(batch)

    def step(self, views: dict[str, Tensor]) -> None:
        """One step."""
        self.trainer.step(views)


class OurSide:
    """What train.py does between two checkpoints.

    Args:
        name: in the tables.
        settings: what is trained, and how.
        records: what it is trained on.
    """

    def __init__(self, name: str, settings: Settings, records: Records):
        AcceleratorState._reset_state()  # the sides differ in what accelerate keeps once for a process
        self.name, self.settings = name, settings
        self.accelerator = build_accelerator(settings.device, settings.precision, settings.compile, True, 0)
        self.samples = SalientObjectBatches(records, augment=settings.data.augmentation, seed=settings.seed)
        mean, std = settings.detector.mean, settings.detector.std
        self.to_views = Views(settings.detector.input_size, mean, std, self.accelerator.device)
        self.ledger = Ledger()
        self.loaders: dict[str, DataLoader] = {}
        self.blocks = 0
        self.network, self.step_of = self._build(len(records) // settings.batch_size)

    def _build(self, steps_per_epoch: int) -> tuple[torch.nn.Module, Step]:
        settings, device = self.settings, self.accelerator.device
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network = build_sral(settings.network()).to(device, memory_format=layout).train()
        average = build_average(network, settings.optimiser.ema)
        optimiser = build_optimiser(network, network.detector.encoder, settings.optimiser)
        schedule = build_schedule(optimiser, settings.optimiser, settings.epochs, steps_per_epoch)
        prepared, optimiser = self.accelerator.prepare(network, optimiser)

        def losses(views: dict[str, Tensor]) -> dict[str, Tensor]:
            return loss_terms(prepared(views["rgb"], views["ycbcr"]), views, network.tfgm)

        clip = settings.optimiser.clip
        return network, Step(self.accelerator, network, losses, joint_loss, optimiser, schedule, average, clip)

    def loaded(self, batches: Batches) -> DataLoader:
        """The loader of these batches; its workers stay."""
        workers, key = self.settings.data.workers, str(batches)
        if key not in self.loaders:
            self.loaders[key] = DataLoader(
                self.samples, batch_sampler=batches, collate_fn=as_it_is, num_workers=workers,
                persistent_workers=workers > 0, pin_memory=self.accelerator.device.type == "cuda",
            )  # fmt: skip
        self.samples.set_epoch(self.blocks)
        self.blocks += 1
        return self.loaders[key]

    def views(self, batches: Batches) -> Iterator[dict[str, Tensor]]:
        """The batches' float views on the device."""
        return map(self.to_views, self.loaded(batches))

    def step(self, views: dict[str, Tensor]) -> None:
        """One step."""
        self.ledger.note(self.step_of(views, self.settings.loss.of_epoch(1)))
        if len(self.ledger) == SETTLE_EVERY:
            self.ledger.settle(self.accelerator, 0)


Side = ReleasedSide | OurSide


def load(side: Side, batches: Batches) -> None:
    """Make the batches' views and leave them unused."""
    for _ in side.views(batches):
        pass


def train(side: Side, batches: Batches) -> None:
    """Take a step on each of the batches."""
    for views in side.views(batches):
        side.step(views)


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


def break_down(side: OurSide, batches: Batches) -> dict[tuple[str, str], float]:
    """Milliseconds of one step by (part, phase): the mean over all but the first WARM_UP of the batches."""
    step, timeline = side.step_of, Timeline(side.accelerator.device)
    marks = PartMarks(side.network, timeline)
    of_terms = step.joint_loss
    watched = [(step.accelerator, "clip_grad_norm_", "clip"), (step.optimiser, "step", "optimiser, schedule")]
    watched += [(step.average, "update", "EMA")] if step.average is not None else []
    with ExitStack() as stack:
        stack.callback(marks.remove)
        stack.enter_context(patch.object(step, "joint_loss", lambda *terms: marks.before_backward(of_terms(*terms))))
        for owner, method, part in watched:
            stack.enter_context(patch.object(owner, method, timeline.before(getattr(owner, method), part)))
        source = iter(side.loaded(batches))
        for number in range(len(batches)):
            if number == WARM_UP:
                timeline.milliseconds()
            timeline.mark("gather")
            batch = next(source)
            timeline.mark("views")
            side.step(side.to_views(batch))
        spent = timeline.milliseconds()
    return {label: milliseconds / (len(batches) - WARM_UP) for label, milliseconds in spent.items()}


@dataclass
class Findings:
    """All that is measured."""

    rows: list[Row]
    caches: list[CacheCost]
    parts: list[PartTime]


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
    epoch = list(Order(len(pairs), options.batch, SEED))
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
    spent = break_down(our_sides[0], block)
    return Findings(rows, [cache], [PartTime(network, *label, took) for label, took in spent.items()])


def settings_of(config: str, options: argparse.Namespace) -> Settings:
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
    settings = parse(arguments).settings
    settings.check()
    return settings


def rows_of(network: str, what: str, images: int, seconds: dict[str, list[float]]) -> list[Row]:
    """The rows of blocks of so many images, from their seconds by side."""
    medians = {side: statistics.median(of) for side, of in seconds.items()}
    return [
        Row(network, what, side, images, of, 1e3 * medians[side] / images, images / medians[side],
            medians[RELEASE] / medians[side])
        for side, of in seconds.items()
    ]  # fmt: skip


def tables(findings: Findings, batch: int) -> str:
    """The findings in Markdown; `batch` is the images a step."""
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
        table(("network", "images", "GB", "seconds to build", "epochs until it has paid for itself"), caches),
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
        write_whole(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
