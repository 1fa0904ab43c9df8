"""Milliseconds from 8-bit pixels to maps: all that can run a network here, and the release's way, in turns in one run.

    python benchmarks/inference.py [--images DIR] [--batches 1 8] [--device cuda] [--json FILE]
    python benchmarks/inference.py --backends compile --networks light
    python benchmarks/inference.py --dataset ORSSD --root data/ORSSD --calibrate data/ORSSD/train-images

The release's side is `benchmarks/released_inference.py`: ResNet-50's training network, eager, in fp32. All ratios are
over its time for the same batch, the light network's too. It gets floats that its loader has made before; ours begin
with the 8-bit pixels. On the CPU it runs in a process of its own, with memory as the C library handles it; as
`released_memory_kept` in ours, which keeps the memory that it frees (`utils/devices.py`). `unfolded` is the detector
alone, run so: a step in between.

Differences are between saliencies in [0, 1], over all images: ResNet-50's to the release's side, the light network's to
its own detector as it was trained, in fp32. `flipped` is the share of pixels that are on another side of 0.5 there.

Without a weights file ResNet-50 has random weights whose batch norms have seen the images; the output says so. int8 is
calibrated here, on `--calibrate`, or comes in files that inference.export wrote. Multiply–adds are torch's count for
the form that runs; their rate is set against the best matrix product of the same precision, timed in the same turns
(`benchmarks/roofline.py`). With `--dataset` the variants of trained networks are scored too, protocol `authors`. What a
user finds off the shelf is measured beside ours with `--u2netp FILE` (`benchmarks/baselines.py`).
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

# As train.py does, before torch loads OpenMP.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks import baselines
from benchmarks.accuracy import figures
from benchmarks.baselines import U2NetP
from benchmarks.findings import Findings, OtherRow, ProductRate, Row, Score, tables
from benchmarks.interleaved import in_turns
from benchmarks.networks import Source, open_source
from benchmarks.released_inference import OwnProcess
from benchmarks.roofline import SIDES, products
from benchmarks.variants import (
    MEMORY_KEPT,
    PRECISIONS,
    RELEASED,
    Skipped,
    Variant,
    difference,
    folded_variants,
    released_variants,
    unfolded_variant,
)
from datasets.catalog import Pair, find_pairs, images_at
from datasets.io import read_pixels
from tools.make_sample import make_sample_set
from utils.devices import find_device, keep_freed_memory, thread_count, use_threads
from utils.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = {"resnet50": None, "light": ROOT / "weights" / "light_orssd.safetensors"}
"""The networks, and their weights where nothing else is said; None is random ones."""
SAMPLE = Path("demo/sample")
BATCHES = {"cpu": [1, 8], "cuda": [1, 8, 32, 64, 128, 256]}
LEAST = 3
"""Rounds of turns, however long they take."""


def measure(
    batch: int, variants: Sequence[Variant], sources: dict[str, Source], other: U2NetP | None, image: Path,
    options: argparse.Namespace, device: torch.device,
) -> Findings:  # fmt: skip
    """Measure all variants at one batch size in turns, with the matrix products and another network.

    Args:
        batch: images at once.
        variants: the release's side first.
        sources: the variants' networks by name.
        other: timed with one image, beside batches of 1.
        image: what the other network sees.
        options: the command line's: seconds.
        device: where the products are computed.
    """
    apart, skipped = differences(batch, variants, sources)
    running = [variant for variant in variants if variant.names in apart]
    calls = {variant.names: variant.ready(sources[variant.network].first(batch)) for variant in running}
    others = {other.names: partial(other, baselines.read(image)[None])} if other and batch == 1 else {}
    multiply = products(device)
    for call in (*others.values(), *multiply.values()):  # the variants are warm from their differences
        call()
    note(f"batches of {batch}: in turns")
    taken = in_turns(calls | others | multiply, options.seconds, LEAST)
    medians = {key: statistics.median(each) for key, each in taken.items()}
    released = medians.get(variants[0].names)
    rates = [ProductRate(*key, batch, SIDES[device.type] ** 3 / 1e9 / medians[key]) for key in multiply]
    return Findings(
        [row_of(of, batch, taken[of.names], released, apart[of.names], rates) for of in running],
        skipped,
        rates,
        [OtherRow(*names, batch, 1e3 * medians[names], released and released / medians[names]) for names in others],
    )


def differences(
    batch: int, variants: Sequence[Variant], sources: dict[str, Source]
) -> tuple[dict[tuple[str, str, str], tuple[float, float, float]], list[Skipped]]:
    """`difference` of each variant by its names, and the variants that cannot run such a batch."""
    apart, skipped = {}, []
    for variant in variants:
        note(f"{' '.join(variant.names)}, batches of {batch}: maps")
        try:
            apart[variant.names] = difference(variant, batch, sources[variant.network])
        except ValueError as error:
            skipped.append(Skipped(*variant.names, batch, str(error)))
    return apart, skipped


def row_of(
    variant: Variant, batch: int, seconds: Sequence[float], released: float | None,
    apart: tuple[float, float, float], rates: Iterable[ProductRate],
) -> Row:  # fmt: skip
    """A variant's row from its seconds a batch, and the median of the release's."""
    best = max(each.gmac_per_second for each in rates if each.precision == variant.precision)
    median, gmac = statistics.median(seconds), variant.multiply_adds / 1e9
    return Row(
        *variant.names, variant.device, batch, 1e3 * median, released and released / median, batch / median,
        len(seconds), *apart, gmac, batch * gmac / median, batch * gmac / median / best,
    )  # fmt: skip


def score(
    variants: Sequence[Variant], sources: dict[str, Source], other: U2NetP | None, pairs: Sequence[Pair]
) -> list[Score]:
    """Score the maps of trained networks' variants, and another's. The release's side has its detector's maps."""
    found = []
    for variant in variants:
        source = sources[variant.network]
        if source.trained and variant.backend not in (RELEASED, MEMORY_KEPT):
            note(f"{' '.join(variant.names)}: maps of {len(pairs)} images")
            size = source.detector.config.input_size
            scores = figures(variant.maps, lambda image, size=size: read_pixels(image, size)[0], pairs)
            found.append(Score(*variant.names, len(pairs), **scores))
    if other is not None:
        note(f"{other.names[0]}: maps of {len(pairs)} images")
        found.append(Score(*other.names, len(pairs), **figures(other, baselines.read, pairs)))
    return found


def note(what: str) -> None:
    """Say on standard error what is being done: a run takes minutes."""
    print(f"… {what}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Milliseconds from pixels to maps, by backend and precision.")
    add = parser.add_argument
    add("--networks", nargs="+", choices=tuple(WEIGHTS), default=list(WEIGHTS), help="default: both")
    add("--weights", nargs="+", type=_named_file, default=[], metavar="NAME=FILE",
        help="a network's weights (default: light's in weights/, random ones for resnet50)")  # fmt: skip
    add("--backends", nargs="+", choices=tuple(PRECISIONS), metavar="NAME",
        default=[name for name in PRECISIONS if name != "compile"],
        help=f"of {', '.join(PRECISIONS)} (default: all but compile, which takes minutes)")  # fmt: skip
    add("--batches", nargs="+", type=_count, metavar="N", help="default: 1 8 on a CPU, 1 to 256 on a GPU")
    add("--images", type=Path, metavar="PATH", help="images (default: the rendered sample set's test images)")
    add("--count", type=_count, default=16, metavar="N", help="take the first N images (default: %(default)s)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--threads", type=_count, metavar="N", help="that networks compute on (default: OMP_NUM_THREADS, or the cores)")
    add("--seconds", type=float, default=40, metavar="S",
        help=f"for each batch size's turns; {LEAST} rounds are done at least (default: %(default)s)")  # fmt: skip
    add("--calibrate", type=Path, metavar="DIR",
        help="images that int8 is calibrated on (default: the sample set's training images)")  # fmt: skip
    add("--int8", nargs="+", type=_named_file, default=[], metavar="NAME=FILE",
        help="a network's int8 file, .onnx or .xml, instead of calibrating one here")  # fmt: skip
    add("--u2netp", type=Path, metavar="FILE",
        help="measure U²-Net-p too; benchmarks/baselines.py says where it is from")  # fmt: skip
    add("--dataset", help="score trained networks on this set's test split: a name as in train.py")
    add("--root", type=Path, help="the data set's folder")
    add("--scored", type=_count, metavar="N", help="score the first N pairs only")
    add("--json", type=Path, metavar="FILE", help="write what was measured as JSON too")
    options = parser.parse_args()
    options.weights = dict(options.weights)
    if (options.dataset is None) != (options.root is None):
        parser.error("--dataset and --root go together")
    if options.u2netp and options.batches and 1 not in options.batches:
        parser.error("--u2netp is timed beside batches of 1: leave 1 in --batches")
    return options


def _named_file(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if name not in WEIGHTS or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE with a name of {', '.join(WEIGHTS)}")
    return name, Path(path)


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
    device = find_device(options.device)
    use_threads(options.threads)
    keep_freed_memory()  # as getsmaps.py does
    batches = options.batches = options.batches or BATCHES[device.type]
    other = U2NetP(options.u2netp) if options.u2netp else None
    pairs = find_pairs(options.dataset, options.root, "test")[: options.scored] if options.dataset else []
    if options.images is None or options.calibrate is None:
        make_sample_set(SAMPLE)
    options.images = options.images or SAMPLE / "test-images"
    options.calibrate = options.calibrate or SAMPLE / "train-images"
    images = [Path(path) for _, path in islice(images_at(options.images), options.count)]
    findings = Findings()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sources = open_sources(options, images, folder)
        own = None
        if device.type == "cpu":
            own = stack.enter_context(closing(OwnProcess(sources["resnet50"].path, thread_count())))
        variants = released_variants(sources["resnet50"], device, own)
        variants += open_variants(sources, variants[0], options, device, folder, findings)
        for batch in batches:
            found = measure(batch, variants, sources, other, images[0], options, device)
            for name, values in vars(found).items():
                getattr(findings, name).extend(values)
        findings.accuracy = score(variants, sources, other, pairs) if pairs else []
    machine = machine_of(device)
    trained = ", ".join(f"{name} ({of.path.name if of.trained else 'random weights'})" for name, of in sources.items())
    print(
        f"{'; '.join(f'{name} {value}' for name, value in machine.items())}. Networks: {trained}; {len(images)} images "
        f"of {options.images}. Medians over rounds of turns of at least a tenth of a second.\n\n"
        f"{tables(findings, batches)}"
    )
    if options.json:
        asked = {name: value for name, value in vars(options).items() if name != "json"}
        found = {"machine": machine, "options": asked} | asdict(findings)
        atomic_write(options.json, json.dumps(found, indent=1, default=str) + "\n")


def open_sources(options: argparse.Namespace, images: Sequence[Path], folder: Path) -> dict[str, Source]:
    """The networks by name: ResNet-50, whose released side is always measured, and what is asked for."""
    sources = {}
    for name in dict.fromkeys(("resnet50", *options.networks)):
        note(f"{name}: opening")
        sources[name] = open_source(name, options.weights.get(name, WEIGHTS[name]), images, folder)
    return sources


def open_variants(
    sources: dict[str, Source], released: Variant, options: argparse.Namespace, device: torch.device, folder: Path,
    findings: Findings,
) -> list[Variant]:  # fmt: skip
    """What is measured against the release; makes each source's maps, and notes in `findings` what cannot run."""
    variants = []
    set_maps(sources["resnet50"], released)
    for name in options.networks:
        note(f"{name}: opening backends, calibrating int8")
        variants.append(unfolded_variant(sources[name], device))
        if name != "resnet50":
            set_maps(sources[name], variants[-1])
        for each in folded_variants(sources[name], options, device, folder):
            (variants if isinstance(each, Variant) else findings.skipped).append(each)
    return variants


def set_maps(source: Source, variant: Variant) -> None:
    """Let a source's variants be held against this variant's maps, one by one and, on a GPU, without TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        source.maps = np.concatenate([variant.maps(image[None]) for image in source.pixels])


def machine_of(device: torch.device) -> dict[str, str]:
    """What the figures hold for."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = f"{thread_count()} threads, {torch.backends.cpu.get_cpu_capability()}"
    packages = {"torch": torch.__version__}
    for package in ("onnxruntime", "openvino"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return {device.type: name} | packages


if __name__ == "__main__":
    main()
