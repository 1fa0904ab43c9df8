"""Open a network with a runtime. All runtimes have one interface: 8-bit RGB in, saliency out."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch

from inference import BACKEND_NAMES
from inference.backends.compiled import TorchCompiled
from inference.backends.cuda_graphs import CudaGraphs
from inference.backends.eager import TorchEager
from inference.backends.onnx_runtime import OnnxRuntime
from inference.backends.open_vino import OpenVino
from inference.export import FORMATS
from models.detector import Detector
from models.hosts import Host
from models.weights import load_detector
from utils.devices import compute_alone_after_fork, use_threads
from utils.environment import check_environment


class Backend(Protocol):
    """The interface of all backends.

    Attributes:
        name: the name that `open_backend` takes.
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


BACKENDS: dict[str, Callable[..., Backend]] = dict(
    zip(BACKEND_NAMES, (TorchEager, TorchCompiled, CudaGraphs, OnnxRuntime, OpenVino), strict=True)
)
"""By name. Each is called with a detector, device, precision and local rank; the last two also take exported files."""
EXPORTED: dict[str, type[OnnxRuntime] | type[OpenVino]] = {
    FORMATS["onnx"]: OnnxRuntime,
    FORMATS["openvino"]: OpenVino,
}
"""By file suffix."""


def open_backend(
    name: str | None,
    weights: Path | str | Detector | Host,
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    local_index: int | None = None,
) -> Backend:
    """Load a network and prepare it to run.

    Args:
        name: a key of BACKENDS; None: 'torch', or the runtime of an exported file.
        weights: a .safetensors file; a file that inference.export wrote, .onnx for 'onnxruntime' or .xml for
            'openvino'; or a detector or host in eval mode, which is not changed.
        device: 'auto' (the GPU if there is one that the backend can use), 'cpu', 'cuda', 'cuda:N' or 'mps'.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'; None: that of an exported file, or fp32.
        threads: CPU threads of this process's networks; None: OMP_NUM_THREADS, or the machine's cores.
        local_index: rank of this process on its machine, if several processes share the GPUs.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the backend, device or precision is not available, or an environment variable would change results.
    """
    if name is not None and name not in BACKENDS:
        raise ValueError(f"backend {name!r}: choose {', '.join(BACKENDS)}")
    check_environment(name == TorchCompiled.name)
    compute_alone_after_fork()  # images are resized by torch, whatever runs the network
    use_threads(threads)
    if isinstance(weights, Path | str):
        exported = EXPORTED.get(Path(weights).suffix)
        if exported is not None:
            if name not in (None, exported.name):
                raise ValueError(
                    f"{weights} is for the backend {exported.name}, not {name}: give the .safetensors instead"
                )
            return exported(Path(weights), device, precision, local_index)
        weights = load_detector(Path(weights))
    return BACKENDS[name or TorchEager.name](weights, device, precision or "fp32", local_index)
