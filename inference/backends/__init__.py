"""Open a network with a runtime. All runtimes have one interface: 8-bit RGB in, saliency out."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import torch

from inference import BACKENDS, check_backend_name
from inference.backends.conversion import converted
from utils.devices import compute_alone_after_fork, optional, use_threads
from utils.environment import check_environment
from utils.user_file import run_user_file

if TYPE_CHECKING:
    from models.detector import Detector
    from models.hosts import Host


class Backend(Protocol):
    """The interface of all backends.

    Attributes:
        name: the name that `open_backend` takes; of a backend of your own any other.
        device: where the network runs.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'.
        input_size: (height, width) of the training.
    """

    name: ClassVar[str]
    device: torch.device
    precision: str
    input_size: tuple[int, int]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the saliency, B×2H×2W float32 in [0, 1], of B×H×W×3 uint8 RGB, H and W multiples of 32.

        Raises:
            ValueError: the network does not take images of that size, or the batch does not fit into memory.
        """


EXPORTED = {
    suffix: tuple(name for name, kind in BACKENDS.items() if suffix in kind.files)
    for suffix in dict.fromkeys(suffix for kind in BACKENDS.values() for suffix in kind.files)
}
"""By suffix of an exported file: the backends that run it."""
CONVERTED = {name: (kind.requirements, kind.converts) for name, kind in BACKENDS.items() if kind.converts}
"""Backends that run a weights file converted: what they need, and in which precisions."""


def backend_class(name: str) -> Callable[..., Backend]:
    """Return a backend's class: called with a detector, device, precision and local rank.

    Those of EXPORTED also take an exported file, and the bytes of an .onnx file.

    Args:
        name: one of BACKENDS, or FILE.py:CLASS; the file is run.

    Raises:
        ValueError: the file fails, or has no such class.
    """
    place, _, member = (BACKENDS[name].place if name in BACKENDS else name).rpartition(":")
    if name in BACKENDS:
        found: Callable[..., Backend] = getattr(import_module(place), member)
        return found
    own: Callable[..., Backend] | None = run_user_file(place, f"backend {name}").get(member)
    if not callable(own):
        raise ValueError(f"backend {name}: the file has no class {member}; a backend is a class of its module")
    return own


def open_backend(
    name: str | None,
    weights: "Path | str | Detector | Host",
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    local_index: int | None = None,
) -> Backend:
    """Load a network and prepare it to run.

    Args:
        name: one of BACKENDS, or FILE.py:CLASS of your own, which is run; None: 'torch', or the first runtime of an
            exported file.
        weights: a .safetensors file; a file that inference.export wrote, .onnx for 'onnxruntime' and 'openvino' or .xml
            for 'openvino'; or a detector or host in eval mode, which is not changed.
        device: 'auto' (the GPU if there is one that the backend can use), 'cpu', 'cuda', 'cuda:N' or 'mps'.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'; None: that of an exported file, or fp32.
        threads: CPU threads of this process's networks; None: OMP_NUM_THREADS, or the machine's cores.
        local_index: rank of this process on its machine, if several processes share the GPUs.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the backend, device or precision is not available, or an environment variable would change results.
    """
    if name is not None:
        check_backend_name(name)
    check_environment(name == "compile")
    compute_alone_after_fork()  # images are resized by torch, whatever runs the network
    use_threads(threads)
    if not isinstance(weights, Path | str):
        return backend_class(name or "torch")(weights, device, precision or "fp32", local_index)
    weights = Path(weights)
    if runtimes := EXPORTED.get(weights.suffix):
        if name is not None and name not in runtimes:
            raise ValueError(
                f"{weights} is for the backend {' or '.join(runtimes)}, not {name}: give the .safetensors instead"
            )
        return backend_class(name or runtimes[0])(weights, device, precision, local_index)
    precision = precision or "fp32"
    name = name or "torch"
    requirements, precisions = CONVERTED.get(name, ("", ()))
    if precision in precisions and device != "cuda":
        optional(name, requirements)  # before the conversion
        return backend_class(name)(converted(weights, requirements), device, precision, local_index)
    from models.weights import load_detector

    return backend_class(name)(load_detector(weights), device, precision, local_index)
