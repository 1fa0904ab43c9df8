"""Everything that can run a network here, the release's way first."""

import argparse
import copy
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.networks import Source
from benchmarks.released_inference import OwnProcess, Unfolded, evaluation_network
from benchmarks.roofline import multiply_adds
from inference.backends import open_backend
from inference.export import FORMATS
from inference.fold import fold

PRECISIONS = {
    "torch": ("fp32", "bf16", "fp16"),
    "compile": ("fp32", "bf16", "fp16"),
    "cudagraphs": ("fp32", "bf16", "fp16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}
"""What each backend may run a network in, somewhere."""
EXPORTED = {"onnxruntime": "onnx", "openvino": "openvino"}
"""The formats of their int8 files."""
ROOT = Path(__file__).resolve().parent.parent
RELEASED, MEMORY_KEPT, UNFOLDED = "released", "released_memory_kept", "unfolded"


@dataclass
class Variant:
    """A network, what runs it, and in what.

    Attributes:
        device: 'cpu' or 'cuda'.
        multiply_adds: for one image.
        ready: a batch, B×H×W×3 uint8 RGB, to a call that makes its maps, B×2H×2W saliency; the call is what is timed.
    """

    network: str
    backend: str
    precision: str
    device: str
    multiply_adds: int
    ready: Callable[[np.ndarray], Callable[[], np.ndarray]]

    @property
    def names(self) -> tuple[str, str, str]:
        """Network, backend and precision."""
        return self.network, self.backend, self.precision

    def maps(self, pixels: np.ndarray) -> np.ndarray:
        """B×2H×2W float32 saliency of B×H×W×3 uint8 RGB. Raises ValueError where that cannot be, or is not finite."""
        found = self.ready(pixels)()
        if not np.isfinite(found).all():
            raise ValueError("its maps are not finite: the network overflows")
        return found


@dataclass
class Skipped:
    """A variant that cannot run here; `batch` is None where no batch can."""

    network: str
    backend: str
    precision: str
    batch: int | None
    reason: str


def released_variants(source: Source, device: torch.device, own: OwnProcess | None) -> list[Variant]:
    """The release's way to evaluate a network, first as it is run; on the CPU also with what our process keeps.

    Args:
        source: the network.
        device: where.
        own: its process on the CPU; None on a GPU, where the process makes no difference.
    """
    network = evaluation_network(copy.deepcopy(source.network))
    image = torch.empty(1, 3, *source.pixels.shape[1:3], device="meta")
    count = multiply_adds(copy.deepcopy(network).to("meta"), image, image)
    ours = Unfolded(network, device)
    if own is None:
        return [Variant(source.name, RELEASED, "fp32", device.type, count, ours.ready)]
    ways = {RELEASED: own.ready, MEMORY_KEPT: ours.ready}
    return [Variant(source.name, name, "fp32", device.type, count, ready) for name, ready in ways.items()]


def unfolded_variant(source: Source, device: torch.device) -> Variant:
    """The detector alone, as it was trained."""
    detector = copy.deepcopy(source.detector)
    count = multiply_adds(
        copy.deepcopy(detector).to("meta"), torch.empty(1, 3, *source.pixels.shape[1:3], device="meta")
    )
    return Variant(source.name, UNFOLDED, "fp32", device.type, count, Unfolded(detector, device).ready)


def folded_variants(
    source: Source, options: argparse.Namespace, device: torch.device, folder: Path
) -> Iterator[Variant | Skipped]:
    """The exact inference form in every backend and precision; what cannot run here, with the reason.

    Args:
        source: the network.
        options: the command line's: backends, threads, int8 and calibrate.
        device: where it runs.
        folder: for files in int8.
    """
    form = fold(copy.deepcopy(source.detector).to("meta"))
    pixels = torch.empty(1, *source.pixels.shape[1:], dtype=torch.uint8, device="meta")
    count = multiply_adds(form, pixels)
    for backend in options.backends:
        for precision in PRECISIONS[backend]:
            names = (source.name, backend, precision)
            try:
                what = int8_file(source, backend, options, folder) if precision == "int8" else source.detector
                run = open_backend(backend, what, device.type, precision, options.threads)
            except ValueError as error:
                yield Skipped(*names, None, str(error))
            else:
                yield Variant(*names, run.device.type, count, partial(partial, run))


def int8_file(source: Source, backend: str, options: argparse.Namespace, folder: Path) -> Path:
    """A network in int8 for a backend: the command line's file, or one that inference.export calibrates now.

    Raises:
        ValueError: it cannot, with its reason.
    """
    format = EXPORTED[backend]
    for name, path in options.int8:
        if (name, path.suffix) == (source.name, FORMATS[format]):
            return path
    output = folder / f"{source.name}_int8{FORMATS[format]}"
    command = [sys.executable, "-m", "inference.export", "--weights", source.path.absolute(), "--format", format]
    command += ["--int8", "--images", options.calibrate.absolute(), "--output", output]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)  # NNCF's traces go with it
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"it ended with status {done.returncode}"
        raise ValueError(f"inference.export: {reason.removeprefix('error: ')}")
    return output


def difference(variant: Variant, batch: int, source: Source) -> tuple[float, float, float]:
    """How far a variant's maps are off the source's: largest and mean difference, share of pixels that change side.

    The images go through in batches of this size, the last filled up with the first images. Raises what `Variant.maps`
    does.
    """
    largest, means, flipped = 0.0, [], []
    for start in range(0, len(source.pixels), batch):
        places = np.arange(start, start + batch) % len(source.pixels)
        found, wanted = variant.maps(source.pixels[places]), source.maps[places]
        apart = np.abs(found - wanted)
        largest = max(largest, float(apart.max()))
        means.append(float(apart.mean()))
        flipped.append(float(((found >= 0.5) != (wanted >= 0.5)).mean()))
    return largest, statistics.mean(means), statistics.mean(flipped)
