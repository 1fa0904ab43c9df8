"""Open a network for images of another size than it was trained at."""

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from inference.backends import EXPORTED, Backend, open_backend
from models.config import DetectorConfig
from models.detector import Detector
from models.encoders import expects_one_size
from models.hosts import Host
from models.resize import check_size, in_proportion
from models.weights import load_detector
from utils.text import one_line


def open_at_size(
    size: tuple[int, int] | None,
    name: str | None,
    weights: Path | str | Detector | Host,
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    local_index: int | None = None,
) -> Backend:
    """Return what `open_backend` returns, with `size` as its `input_size`.

    Args:
        size: height and width of the network's input, multiples of 32; None: those of the training. The map has twice
            that size.
        name, weights, device, precision, threads, local_index: as in `open_backend`.

    Raises:
        FileNotFoundError, ValueError: as `open_backend`; or the network does not take images of that size.
    """
    if size is None:
        return open_backend(name, weights, device, precision, threads, local_index)
    check_size(*size)
    if isinstance(weights, Path | str) and Path(weights).suffix not in EXPORTED:
        weights = load_detector(Path(weights))
    if isinstance(weights, Detector | Host):
        weights = copy(weights)  # the caller's keeps its configuration
        weights.config = _at_size(weights.config, size)
    network = open_backend(name, weights, device, precision, threads, local_index)
    network.input_size = size
    try:
        network(np.zeros((1, *size, 3), np.uint8))
    except (RuntimeError, AssertionError) as error:  # a host, or a timm network with a size of its own
        raise ValueError(f"input size {size[0]}×{size[1]}: the network cannot run on it ({one_line(error)})") from error
    return network


def _at_size(config: DetectorConfig, size: tuple[int, int]) -> DetectorConfig:
    """Return the configuration of a network whose images have another size.

    Raises:
        ValueError: its encoder is built for one size.
    """
    if size == config.input_size:
        return config
    if config.host is None and expects_one_size(config.encoder) and not config.encoder.startswith(("swin", "mvitv2")):
        own = "×".join(map(str, config.encoder_size or config.input_size))
        raise ValueError(f"input size {size[0]}×{size[1]}: {config.encoder} is built for {own} alone")
    if config.encoder_size is None:
        return replace(config, input_size=size)
    sides = zip(size, config.input_size, config.encoder_size, strict=True)
    height, width = (in_proportion(side, of, to) for side, of, to in sides)
    return replace(config, input_size=size, encoder_size=(height, width))
