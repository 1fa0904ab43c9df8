"""The networks that inference is measured with: from weights files, or ResNet-50 with random weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.released_inference import Unfolded, load_network
from datasets.io import read_pixels
from models.config import DetectorConfig, SRALConfig
from models.detector import Detector
from models.sral import SRAL, build_sral
from models.weights import save_weights

SEED = 2021
SEEN = 8
"""Images that random weights' batch norms have seen."""


BACKGROUND, OBJECTS = -6.0, 0.01
"""Random weights' median logit, and the share of their logits above 0: most of an image is background."""


@dataclass
class Source:
    """A network to be run.

    Attributes:
        name: in the tables.
        path: its weights file, a temporary one where they are random.
        network: what the file holds, in eval mode.
        trained: whether the weights are not random.
        pixels: N×H×W×3 uint8 RGB, the images at its input's size.
        maps: N×2H×2W float32 saliency that its variants' maps are held against; empty until that is made.
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
        """The first images, count×H×W×3; they come again where there are fewer."""
        return self.pixels[np.arange(count) % len(self.pixels)]


def open_source(name: str, weights: Path | None, images: Sequence[Path], folder: Path) -> Source:
    """A network from its weights file or, without one, ResNet-50 with random weights.

    Args:
        name: in the tables.
        weights: a .safetensors file, or None.
        images: what it is measured on.
        folder: where random weights are written.

    Raises:
        FileNotFoundError, ValueError: as `load_detector`, or an image is broken.
    """
    if weights is None:
        pixels = _pixels(images, DetectorConfig().input_size)
        network, path = _random_network(pixels[:SEEN]), folder / f"{name}.safetensors"
        save_weights(path, network)
        return Source(name, path, network, False, pixels, np.empty(0))
    source = Source(name, weights, load_network(weights), True, np.empty(0), np.empty(0))
    source.pixels = _pixels(images, source.detector.config.input_size)
    return source


def _pixels(images: Sequence[Path], size: tuple[int, int]) -> np.ndarray:
    return np.stack([read_pixels(image, size)[0] for image in images])


def _random_network(pixels: np.ndarray) -> SRAL:
    """The paper's training network; its batch norms have seen these images, and few of its logits are above 0."""
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
