"""Open a network by the runtime that is fastest here: `--backend auto` and `--fast`."""

import gc
import sys
import time
from argparse import Namespace
from copy import copy
from pathlib import Path

import numpy as np

from inference.backends import EXPORTED, Backend, open_backend
from inference.backends.choice import CONVERT, FASTEST, PAYS, Choice, choose
from inference.backends.conversion import forget_converted
from models.shipped import LITE2, SCENES

FEW = 16
"""Images for which a conversion never pays, so that torch's speed need not be measured."""


def open_fastest(
    backend: str | None, weights: Path, device: str = "auto", precision: str | None = None, threads: int | None = None,
    local_index: int | None = None, fast: bool = False, images: int = 0, size: tuple[int, int] | None = None,
) -> tuple[Backend, str]:  # fmt: skip
    """Open a network, and say what would run it faster.

    Args:
        backend: 'auto', or as `open_backend`.
        weights, device, precision, threads, local_index: as `open_backend`.
        fast: with 'auto', allow bf16 and int8.
        images: how many are to be run: for many, the network is converted first; 0 never converts.
        size: height and width of the network's input where they differ from the training's; 'auto' is torch then.

    Returns:
        The network, and a remark for the user, empty where nothing is faster.

    Raises:
        FileNotFoundError, ValueError: as `open_backend`.
    """
    if size is not None:
        from inference.input_size import open_at_size  # timm takes seconds, and other runtimes need none of it

        backend = None if backend == "auto" else backend
        return open_at_size(size, backend, weights, device, precision, threads, local_index), ""
    if backend != "auto":
        return open_backend(backend, weights, device, precision, threads, local_index), ""
    choice = choose(weights, device, precision, fast, local_index)
    if choice.name == FASTEST and weights.suffix not in EXPORTED:
        try:
            return open_backend(FASTEST, choice.weights, device, choice.precision, threads, local_index), ""
        except ValueError as error:  # OpenVINO cannot be imported, or the cached graph cannot be read
            forget_converted(weights)
            choice = Choice("torch", weights, precision, str(error))
    network = open_backend(choice.name, choice.weights, device, choice.precision, threads, local_index)
    if not (choice.convertible and images > FEW and _seconds(network) * images > PAYS):
        return network, choice.remark
    del network
    gc.collect()
    print(f"the network is converted for {FASTEST}, once", file=sys.stderr, flush=True)
    try:
        return open_backend(FASTEST, choice.weights, device, choice.precision, threads, local_index), ""
    except ValueError as error:
        network = open_backend("torch", choice.weights, device, choice.precision, threads, local_index)
        return network, str(error)


def for_scenes(options: Namespace, local_index: int | None = None) -> None:
    """Turn the options weights, auto and fast into what whole scenes take: a file, a backend or None, a precision."""
    options.weights = options.weights or SCENES
    if options.backend == "auto":
        options.backend = None
    if options.fast:
        choice = choose(Path(options.weights), options.device, None, True, local_index)
        options.weights, options.precision = choice.weights, choice.precision
        if choice.name == FASTEST or choice.remark == CONVERT:
            options.backend = FASTEST


def settled(options: Namespace) -> Namespace:
    """Return the options with auto and fast replaced by what a process of many images takes, which converts first."""
    if options.backend != "auto":
        return options
    options = copy(options)
    if options.input_size or options.host_file:
        options.backend = None
        return options
    choice = choose(Path(options.weights or LITE2), options.device, options.precision, options.fast)
    options.backend = FASTEST if choice.convertible else choice.name
    options.weights, options.precision, options.fast = choice.weights, choice.precision, False
    return options


def _seconds(network: Backend) -> float:
    """Return the seconds that one image takes, after a first one."""
    image = np.zeros((1, *network.input_size, 3), np.uint8)
    network(image)
    start = time.perf_counter()
    network(image)
    return time.perf_counter() - start
