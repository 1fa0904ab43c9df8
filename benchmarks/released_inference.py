"""What the authors' release does to evaluate, after its description: what our inference is measured against.

The training network in eval mode, in fp32 and eager: the SR branch, the five heads and the bicubic image are computed,
and all but the finest map thrown away. `benchmarks/inference.py` times it.
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

from models.config import SRALConfig
from models.detector import OUTPUT_SCALE, Detector
from models.sral import SRAL, build_sral
from models.weights import load_detector, load_sral, read_header


def load_network(path: Path) -> SRAL | Detector:
    """What a weights file holds, a training network or a detector, in eval mode. Raises what `load_detector` does."""
    load = load_sral if read_header(path)["kind"] == "training" else load_detector
    return load(path).eval()


def evaluation_network(network: SRAL | Detector) -> SRAL:
    """The network that the release evaluates, in eval mode: a training network but for TFGM, which is a loss.

    Args:
        network: a training network, which loses its TFGM; or a detector, to which the paper's branches are attached
            with random weights: they cost what they cost, and the finest map does not depend on them.
    """
    if isinstance(network, Detector):
        detector, network = network, build_sral(replace(SRALConfig(guidance=False), detector=network.config))
        network.detector = detector
    network.tfgm = None
    return network.eval()


class Unfolded:
    """A network as it was trained, run by torch operation by operation.

    Args:
        network: `evaluation_network`'s, or a detector.
        device: where it runs.
    """

    def __init__(self, network: SRAL | Detector, device: torch.device):
        self.network, self.device = network.eval().to(device), device
        self.config = network.config if isinstance(network, Detector) else network.detector.config

    def ready(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """A call that makes the maps of a batch from its float views, which the release's loader has made before.

        Args:
            pixels: B×H×W×3 uint8 RGB.

        Returns:
            What gives B×2H×2W float32 saliency in [0, 1]. Raises ValueError where a GPU's memory is too small.
        """
        return partial(self.maps, *self.views(pixels))

    def views(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """The normalized RGB and the YCbCr in [0, 1] of B×H×W×3 uint8 RGB; each B×3×H×W float32, on the host."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.config.mean, self.config.std))
        ycbcr = np.stack([np.asarray(Image.fromarray(image).convert("YCbCr")) for image in pixels])
        return (_planes(pixels) - mean) / std, _planes(ycbcr)

    def maps(self, rgb: Tensor, ycbcr: Tensor) -> np.ndarray:
        """Saliency, B×2H×2W float32 in [0, 1], of `views`."""
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
    """The release's evaluation on the CPU in a process of its own, as it is run.

    Our backends and this benchmark set for the whole of their process how freed memory is kept and how OpenMP's threads
    wait; the release sets neither.

    Args:
        weights: a .safetensors file.
        threads: that it computes on.
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
        """As `Unfolded.ready`; the process makes the views in the first call. The maps' memory is each call's again."""
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
        """Wait until the process has done it. Raises OSError where it is gone."""
        try:
            self.connection.send(question)
            self.connection.recv()
        except (EOFError, ConnectionError) as error:
            raise OSError("the process that evaluates as the release does was ended from outside") from error


def _evaluate(connection: Connection, weights: Path, threads: int) -> None:
    """Takes a batch with the memory for its maps and, each time it is asked with None, makes them."""
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
    """B×H×W×3 uint8 to B×3×H×W float32 in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255
