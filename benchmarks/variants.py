"""What `benchmarks/inference.py` times: networks, the backends that run them, and matrix products for comparison.

The best of several ways to multiply two square matrices stands for the machine's peak. A 1×1 convolution is such a
product too: torch runs it by oneDNN (by cuDNN on a GPU), while a plain product in fp32 goes to MKL, half as fast on
AMD's CPUs.
"""

import argparse
import copy
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from benchmarks.baselines import OwnProcess, Unfolded, evaluation_network, load_network
from benchmarks.complexity import multiply_adds
from benchmarks.inference_tables import RELEASED, Skipped
from datasets.io import read_pixels
from inference import BACKEND_PRECISIONS
from inference.backends import open_backend
from inference.export import FORMATS
from inference.fold import fold
from models.config import DetectorConfig, SRALConfig
from models.detector import Detector
from models.sral import SRAL, build_sral
from models.weights import save_weights

SEED = 2021
NORM_IMAGES = 8
"""Images that give the batch norm statistics of random weights."""


BACKGROUND, OBJECTS = -6.0, 0.01
"""Random weights' median logit, and the share of their logits above 0, as most of an image is background."""


@dataclass
class Source:
    """A network to be measured.

    Attributes:
        name: in the tables.
        path: its weights file, a temporary one for random weights.
        network: the content of the file, in eval mode.
        trained: False for random weights.
        pixels: N×H×W×3 uint8 RGB, the images at the network's input size.
        maps: N×2H×2W float32 saliency, the reference of its variants' maps; empty until it is set.
    """

    name: str
    path: Path
    network: SRAL | Detector
    trained: bool
    pixels: np.ndarray
    maps: np.ndarray

    @property
    def detector(self) -> Detector:
        """The inference network."""
        return self.network if isinstance(self.network, Detector) else self.network.detector

    def first(self, count: int) -> np.ndarray:
        """Return the first images, count×H×W×3, repeated if there are fewer."""
        return self.pixels[np.arange(count) % len(self.pixels)]


def open_source(name: str, weights: Path | None, images: Sequence[Path], folder: Path) -> Source:
    """Open a weights file or, without one, build ResNet-50 with random weights.

    Args:
        name: in the tables.
        weights: a .safetensors file, or None.
        images: the files that it is measured on.
        folder: for the file of random weights.

    Raises:
        FileNotFoundError, ValueError: as `load_detector`, or an image is broken.
    """
    if weights is None:
        pixels = _pixels(images, DetectorConfig().input_size)
        network, path = _random_network(pixels[:NORM_IMAGES]), folder / f"{name}.safetensors"
        save_weights(path, network)
        return Source(name, path, network, False, pixels, np.empty(0))
    source = Source(name, weights, load_network(weights), True, np.empty(0), np.empty(0))
    source.pixels = _pixels(images, source.detector.config.input_size)
    return source


def _pixels(images: Sequence[Path], size: tuple[int, int]) -> np.ndarray:
    return np.stack([read_pixels(image, size)[0] for image in images])


def _random_network(pixels: np.ndarray) -> SRAL:
    """Return the paper's training network with batch norm statistics of these images and few logits above 0."""
    torch.manual_seed(SEED)
    network = build_sral(SRALConfig(guidance=False))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    views = Unfolded(network, torch.device("cpu")).views(pixels)
    with torch.no_grad():
        network.train()(*views)
        logits = network.eval()(*views)["logits1"].flatten()
        median, greatest = logits.quantile(torch.tensor([0.5, 1 - OBJECTS]))
        scale, predict = BACKGROUND / (median - greatest), network.detector.tsdd.head.predict
        predict.weight *= scale
        predict.bias.sub_(greatest).mul_(scale)
    return network


EXPORTED = {"onnxruntime": "onnx", "openvino": "openvino"}
"""The formats of the backends' int8 files."""
ROOT = Path(__file__).resolve().parent.parent
MEMORY_KEPT, UNFOLDED = "released_memory_kept", "unfolded"


@dataclass
class Variant:
    """A network with its backend and precision.

    Attributes:
        device: 'cpu' or 'cuda'.
        multiply_adds: for one image.
        ready: takes a batch, B×H×W×3 uint8 RGB, and returns the call that is timed: it makes the B×2H×2W saliency.
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
        """Return B×2H×2W float32 saliency of B×H×W×3 uint8 RGB. Raise ValueError if it fails or is not finite."""
        found = self.ready(pixels)()
        if not np.isfinite(found).all():
            raise ValueError("its maps are not finite: the network overflows")
        return found


def released_variants(source: Source, device: torch.device, own: OwnProcess | None) -> list[Variant]:
    """Return the release's evaluation of a network; on the CPU also the one in our process.

    Args:
        source: the network.
        device: where it runs.
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
    """Return the detector alone, as it was trained."""
    detector = copy.deepcopy(source.detector)
    count = multiply_adds(
        copy.deepcopy(detector).to("meta"), torch.empty(1, 3, *source.pixels.shape[1:3], device="meta")
    )
    return Variant(source.name, UNFOLDED, "fp32", device.type, count, Unfolded(detector, device).ready)


def folded_variants(
    source: Source, options: argparse.Namespace, device: torch.device, folder: Path
) -> Iterator[Variant | Skipped]:
    """Yield the folded detector in every backend and precision, or why it cannot run.

    Args:
        source: the network.
        options: of the command line: backends, threads, int8 and calibrate.
        device: where it runs.
        folder: for files in int8.
    """
    form = fold(copy.deepcopy(source.detector).to("meta"))
    pixels = torch.empty(1, *source.pixels.shape[1:], dtype=torch.uint8, device="meta")
    count = multiply_adds(form, pixels)
    for backend in options.backends:
        for precision in BACKEND_PRECISIONS[backend]:
            names = (source.name, backend, precision)
            try:
                what = int8_file(source, backend, options, folder) if precision == "int8" else source.detector
                run = open_backend(backend, what, device.type, precision, options.threads)
            except ValueError as error:
                yield Skipped(*names, None, str(error))
            else:
                yield Variant(*names, run.device.type, count, partial(partial, run))


def int8_file(source: Source, backend: str, options: argparse.Namespace, folder: Path) -> Path:
    """Return a network's int8 file for a backend: the given one, or one that inference.export calibrates now.

    Raises:
        ValueError: the export failed, with its reason.
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
    """Return a variant's differences from the source's maps: largest, mean, and share of pixels that cross 0.5.

    The images run in batches of this size; the first images fill up the last batch. Errors as `Variant.maps`.
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


SIDES = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices."""
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Product = tuple[str, str]
"""A precision and the operation that multiplies."""


def products(device: torch.device) -> dict[Product, Callable[[], object]]:
    """Return calls that multiply matrices, with SIDES³ multiply–adds each, by precision and operation."""
    side = SIDES[device.type]
    made: dict[Product, Callable[[], object]] = {}
    for precision, kind in KINDS.items():
        if precision == "fp16" and device.type == "cpu":
            continue
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        x = a.view(1, side, side // 32, 32).to(memory_format=torch.channels_last)
        made[precision, "matrix product"] = partial(_wait_for, device, torch.mm, a, b)
        made[precision, "1×1 convolution"] = partial(_wait_for, device, conv2d, x, b.view(side, side, 1, 1))
    a, b = (torch.randint(-128, 128, (side, side), dtype=torch.int8, device=device) for _ in range(2))
    made["int8", "matrix product"] = partial(_wait_for, device, torch._int_mm, a, b)
    return made


def _wait_for(device: torch.device, multiply: Callable[..., Tensor], *factors: Tensor) -> None:
    with torch.no_grad():
        multiply(*factors)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
