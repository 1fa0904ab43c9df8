"""Measure milliseconds from 8-bit pixels to saliency maps, for every backend and for the release's evaluation.

    python benchmarks/inference.py [--images DIR] [--batches 1 8] [--device cuda] [--json FILE]
    python benchmarks/inference.py --backends compile --networks lite2
    python benchmarks/inference.py --dataset ORSSD --root data/ORSSD --calibrate data/ORSSD/train-images

All variants are timed interleaved in one run. The reference is the release's evaluation (`benchmarks/baselines.py`):
ResNet-50's training network, eager, in fp32. All ratios, lite2's too, are over its time for the same batch.

    released              the release's evaluation; on the CPU in its own process, with the C library's memory handling
    released_memory_kept  the same in our process, which keeps freed memory (`utils/devices.py`)
    unfolded              the detector alone, run in the same way
    torch, openvino, …    the folded detector in that backend

The release starts from float tensors that its loader has made; ours starts from 8-bit pixels. Differences are between
saliency maps in [0, 1] over all images: ResNet-50's from the release's maps, lite2's from its unfolded
detector in fp32. `flipped` is the share of pixels on the other side of 0.5.

Without a weights file ResNet-50 has random weights, with batch norm statistics of the images; the output says so. int8
is calibrated on `--calibrate`, unless `--int8` names files of inference.export. Multiply–adds are torch's count for the
form that runs; their rate is compared with the best matrix product of the same precision. `--dataset` also scores the
trained networks under protocol `authors`. `--u2netp FILE` also measures U²-Net-p.

A run of everything takes an hour on a small CPU. In pieces: `--networks lite2 --no-release --json lite2.json`; then
`python -m benchmarks.inference_tables *.json` prints one table. `benchmarks/end_to_end.py` times whole commands.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

# As train.py does, before torch loads OpenMP.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import command

if __name__ == "__main__":
    command.begin("--json has the batch sizes that were done")  # before the imports, which take seconds

from compute_results.options import positive_integer
from inference import BACKEND_PRECISIONS

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = {
    "resnet50": None,
    "lite2": ROOT / "weights" / "lite2_eorssd.safetensors",
    "strong": ROOT / "weights" / "strong_eorssd.safetensors",
}
"""The networks and their default weights; None stands for random weights."""
SAMPLE = Path("datasets/sample")
BATCHES = {"cpu": [1, 8, 32], "cuda": [1, 8, 32, 64, 128, 256]}
MIN_ROUNDS = 3


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Measure milliseconds from pixels to maps, by backend and precision.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--networks", nargs="+", choices=tuple(WEIGHTS), default=list(WEIGHTS), help="default: all three")
    add("--weights", nargs="+", type=_named_file, default=[], metavar="NAME=FILE",
        help="a network's weights (default: the shipped ones, random ones for resnet50)")  # fmt: skip
    add("--backends", nargs="+", choices=tuple(BACKEND_PRECISIONS), metavar="NAME",
        default=[name for name in BACKEND_PRECISIONS if name != "compile"],
        help=f"of {', '.join(BACKEND_PRECISIONS)} (default: all but compile, which takes minutes)")  # fmt: skip
    add("--batches", nargs="+", type=positive_integer, metavar="N", help="default: 1 8 32 on a CPU, 1 to 256 on a GPU")
    add("--images", type=Path, metavar="DIR", help="a folder of images (default: the test images of the sample set)")
    add(
        "--num-images",
        dest="count",
        type=positive_integer,
        default=16,
        metavar="N",
        help="use the first N images (default: 16)",
    )
    add("--count", dest="old_count", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add(
        "--threads",
        type=positive_integer,
        metavar="N",
        help="CPU threads (default: OMP_NUM_THREADS, or the number of cores)",
    )
    add("--seconds", type=float, default=40, metavar="S",
        help="timing of each batch size, at least --rounds rounds (default: %(default)s)")  # fmt: skip
    add("--rounds", type=positive_integer, default=MIN_ROUNDS, metavar="N",
        help="timing rounds, however long they take (default: %(default)s)")  # fmt: skip
    add("--no-release", action="store_true", help="leave the release's evaluation out, which takes minutes on a CPU")
    add("--calibrate", type=Path, metavar="DIR",
        help="a folder of images to calibrate int8 on (default: the training images of the sample set)")  # fmt: skip
    add("--int8", nargs="+", type=_named_file, default=[], metavar="NAME=FILE",
        help="an int8 file of the network, .onnx or .xml, instead of a calibration")  # fmt: skip
    add("--u2netp", type=Path, metavar="FILE",
        help="also measure U²-Net-p; benchmarks/baselines.py has the source of the file")  # fmt: skip
    add("--dataset", help="score the trained networks on the test split of this data set")
    add("--root", type=Path, help="the data set's folder")
    add("--scored", type=positive_integer, metavar="N", help="score the first N pairs only")
    add("--json", type=Path, metavar="FILE", help="also write the results as JSON, after each batch size")
    options = parser.parse_args()
    if hasattr(options, "old_count"):
        parser.error(f"--count is now --num-images: use --num-images {options.old_count}")
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


if __name__ == "__main__":
    command.answer_help(arguments)  # before torch, which takes seconds

import numpy as np
import torch

from benchmarks import baselines
from benchmarks.baselines import OwnProcess, U2NetP
from benchmarks.inference_tables import RELEASED, Findings, OtherRow, ProductRate, Row, Score, Skipped, tables
from benchmarks.interleaved import time_interleaved
from benchmarks.variants import (
    MEMORY_KEPT,
    SIDES,
    Source,
    Variant,
    difference,
    folded_variants,
    open_source,
    products,
    released_variants,
    unfolded_variant,
)
from compute_results.protocols.authors import score_image, summarize
from datasets.catalog import Pair, find_pairs, images_at
from datasets.io import read_mask, read_pixels
from inference.maps import gray_map
from utils.devices import find_device, keep_freed_memory, thread_count, use_threads
from utils.files import atomic_write, temporary_folder

SCORED_BATCH = 8


def measure(
    batch: int, variants: Sequence[Variant], sources: dict[str, Source], other: U2NetP | None, image: Path,
    options: argparse.Namespace, device: torch.device,
) -> Findings:  # fmt: skip
    """Time all variants at one batch size, interleaved with the matrix products and another network.

    Args:
        batch: images a call.
        variants: the release's evaluation among them, unless it is left out.
        sources: the variants' networks by name.
        other: timed with one image, beside batches of 1.
        image: the other network's input file.
        options: of the command line: seconds.
        device: where the products are computed.
    """
    apart, skipped = differences(batch, variants, sources)
    running = [variant for variant in variants if variant.names in apart]
    calls = {variant.names: variant.ready(sources[variant.network].first(batch)) for variant in running}
    others = {other.names: partial(other, baselines.read(image)[None])} if other and batch == 1 else {}
    multiply = products(device)
    calls |= others
    for call in (*others.values(), *multiply.values()):  # the variants are warm from their differences
        call()
    note(f"batches of {batch}: timing")
    taken = time_interleaved({**calls, **multiply}, options.seconds, options.rounds)
    medians = {key: statistics.median(each) for key, each in taken.items()}
    released = next((medians.get(of.names) for of in variants if of.backend == RELEASED), None)
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
    """Return `difference` of each variant by its names, and the variants that cannot run this batch size."""
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
    """Return a variant's row from its seconds a batch and the release's median."""
    best = max(each.gmac_per_second for each in rates if each.precision == variant.precision)
    median, gmac = statistics.median(seconds), variant.multiply_adds / 1e9
    return Row(
        *variant.names, variant.device, batch, 1e3 * median, released and released / median, batch / median,
        len(seconds), *apart, gmac, batch * gmac / median, batch * gmac / median / best,
    )  # fmt: skip


def score(
    variants: Sequence[Variant], sources: dict[str, Source], other: U2NetP | None, pairs: Sequence[Pair]
) -> list[Score]:
    """Score the maps of the trained networks' variants and of another network.

    The release's evaluation is left out: its maps are those of its detector.
    """
    found = []
    for variant in variants:
        source = sources[variant.network]
        if source.trained and variant.backend not in (RELEASED, MEMORY_KEPT):
            note(f"{' '.join(variant.names)}: maps of {len(pairs)} images")
            read = partial(_read, size=source.detector.config.input_size)
            found.append(_score_of(variant.names, variant.maps, read, pairs))
    if other is not None:
        note(f"{other.names[0]}: maps of {len(pairs)} images")
        found.append(_score_of(other.names, other, baselines.read, pairs))
    return found


def _read(image: Path, size: tuple[int, int]) -> np.ndarray:
    return read_pixels(image, size)[0]


def _score_of(
    names: tuple[str, str, str], network: Callable[[np.ndarray], np.ndarray], read: Callable[[Path], np.ndarray],
    pairs: Sequence[Pair],
) -> Score:  # fmt: skip
    scores = figures(network, read, pairs)
    return Score(*names, len(pairs), scores["Fbeta"], scores["MAE"], scores["Sm"])


def figures(
    network: Callable[[np.ndarray], np.ndarray], read: Callable[[Path], np.ndarray], pairs: Sequence[Pair]
) -> dict[str, float]:
    """Return Fβ, MAE and Sm (protocol `authors`), equal to those of compute_metrics.py on the maps of getsmaps.py.

    Args:
        network: from B×H×W×3 uint8 RGB to B×h×w saliency in [0, 1].
        read: from an image file to the network's input, H×W×3 uint8 RGB.
        pairs: images and masks.

    Raises:
        ValueError: a file is broken.
    """
    scores, left = {}, iter(pairs)
    while some := list(islice(left, SCORED_BATCH)):
        saliencies = network(np.stack([read(pair.image) for pair in some]))
        for pair, saliency in zip(some, saliencies, strict=True):
            scores[pair.stem] = score_image(np.asarray(gray_map(saliency)), read_mask(pair.mask))
    return summarize(scores).figures


def note(what: str) -> None:
    """Print progress on standard error: a run takes minutes."""
    print(f"… {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command; bad input ends it with one line."""
    options = arguments()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        run(options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the JSON file after each batch size, as a run takes long."""
    device = find_device(options.device)
    use_threads(options.threads)
    keep_freed_memory()  # as getsmaps.py does
    batches = options.batches = options.batches or BATCHES[device.type]
    other = U2NetP(options.u2netp) if options.u2netp else None
    pairs = find_pairs(options.dataset, options.root, "test")[: options.scored] if options.dataset else []
    options.images = options.images or SAMPLE / "test-images"
    if options.images.is_file():
        raise ValueError(f"--images {options.images} is a file: give its folder")
    options.calibrate = options.calibrate or SAMPLE / "train-images"
    images = [Path(path) for _, path in islice(images_at(options.images), options.count)]
    findings = Findings()
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder(Path(tempfile.gettempdir())))
        sources = open_sources(options, images, folder)
        own = None
        if device.type == "cpu" and not options.no_release:
            own = stack.enter_context(closing(OwnProcess(sources["resnet50"].path, thread_count())))
        released = [] if options.no_release else released_variants(sources["resnet50"], device, own)
        variants = released + open_variants(sources, released, options, device, folder, findings)
        for batch in batches:
            found = measure(batch, variants, sources, other, images[0], options, device)
            for name, values in vars(found).items():
                getattr(findings, name).extend(values)
            write_json(findings, options, device)
        findings.accuracy = score(variants, sources, other, pairs) if pairs else []
    write_json(findings, options, device)
    trained = ", ".join(f"{name} ({of.path.name if of.trained else 'random weights'})" for name, of in sources.items())
    machine = "; ".join(f"{name} {value}" for name, value in machine_of(device).items())
    print(
        f"{machine}. Networks: {trained}; {len(images)} images "
        f"of {options.images}. Medians over interleaved timings of at least a tenth of a second.\n\n"
        f"{tables(findings, batches)}"
    )


def write_json(findings: Findings, options: argparse.Namespace, device: torch.device) -> None:
    """Write the JSON file, if one is asked for."""
    if options.json:
        asked = {name: value for name, value in vars(options).items() if name != "json"}
        content = {"machine": machine_of(device), "options": asked} | asdict(findings)
        atomic_write(options.json, json.dumps(content, indent=1, default=str) + "\n")


def open_sources(options: argparse.Namespace, images: Sequence[Path], folder: Path) -> dict[str, Source]:
    """Open the networks by name: those of --networks, and ResNet-50 for the release's evaluation."""
    sources = {}
    for name in dict.fromkeys((*["resnet50"] * (not options.no_release), *options.networks)):
        note(f"{name}: opening")
        sources[name] = open_source(name, options.weights.get(name, WEIGHTS[name]), images, folder)
    return sources


def open_variants(
    sources: dict[str, Source], released: Sequence[Variant], options: argparse.Namespace, device: torch.device,
    folder: Path, findings: Findings,
) -> list[Variant]:  # fmt: skip
    """Return the variants to be measured. Set each source's reference maps; add to `findings` what cannot run."""
    variants = []
    if released:
        set_maps(sources["resnet50"], released[0])
    for name in options.networks:
        note(f"{name}: opening backends, calibrating int8")
        variants.append(unfolded_variant(sources[name], device))
        if not len(sources[name].maps):
            set_maps(sources[name], variants[-1])
        for each in folded_variants(sources[name], options, device, folder):
            if isinstance(each, Variant):
                variants.append(each)
            else:
                findings.skipped.append(each)
    return variants


def set_maps(source: Source, variant: Variant) -> None:
    """Set a source's reference maps: this variant's, image by image and, on a GPU, without TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        source.maps = np.concatenate([variant.maps(image[None]) for image in source.pixels])


def machine_of(device: torch.device) -> dict[str, str]:
    """Return the machine and the versions that the results hold for."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = f"{thread_count()} threads, {torch.backends.cpu.get_cpu_capability()}"
    packages = {"torch": str(torch.__version__)}
    for package in ("onnxruntime", "openvino"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return {device.type: name} | packages


if __name__ == "__main__":
    command.run(main)
