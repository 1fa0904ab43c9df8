"""One interface to whatever runs a network: 8-bit RGB in, saliency out."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from inference.backends.compiled import TorchCompiled
from inference.backends.cuda_graphs import CudaGraphs
from inference.backends.eager import TorchEager
from inference.backends.onnx_runtime import OnnxRuntime
from inference.backends.open_vino import OpenVino
from inference.export import FORMATS
from models.detector import Detector
from models.hosts import Host
from models.weights import load_detector
from utils.devices import use_threads


class Backend(Protocol):
    """What all backends are.

    Attributes:
        name: as `open_backend` takes it.
        device: where it runs.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'.
        input_size: (height, width) that the network was trained for.
    """

    name: str
    device: torch.device
    precision: str
    input_size: tuple[int, int]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """B×H×W×3 uint8 RGB, H and W multiples of 32, to B×2H×2W float32 saliency in [0, 1].

        Raises:
            ValueError: the network does not take images of that size, or so many do not fit into memory.
        """


BACKENDS: dict[str, Callable[..., Backend]] = {
    of.name: of for of in (TorchEager, TorchCompiled, CudaGraphs, OnnxRuntime, OpenVino)
}
"""By name. All take a detector, a device, a precision and the process's number; the last two an exported file too."""
EXPORTED = {FORMATS["onnx"]: OnnxRuntime, FORMATS["openvino"]: OpenVino}


def open_backend(
    name: str | None,
    weights: Path | str | Detector | Host,
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    process: int | None = None,
) -> Backend:
    """Make a network ready to run.

    Args:
        name: of BACKENDS; None is 'torch', or what runs an exported file.
        weights: a .safetensors file; what inference.export made of one, .onnx for 'onnxruntime' or .xml for 'openvino';
            or a detector or host in eval mode, which is left as it is.
        device: 'auto' (a GPU where the backend finds one), 'cpu' or 'cuda'.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'; None is the exported file's own, or fp32.
        threads: that this process's networks compute on; None is OMP_NUM_THREADS or the machine's cores.
        process: the number of this process on its machine, where several share the work.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what was asked for is not there, with the reason.
    """
    if name is not None and name not in BACKENDS:
        raise ValueError(f"backend {name!r}: choose {', '.join(BACKENDS)}")
    use_threads(threads)
    exported = None if isinstance(weights, nn.Module) else EXPORTED.get(Path(weights).suffix)
    if exported is not None:
        if name not in (None, exported.name):
            raise ValueError(f"{weights} is for the backend {exported.name}, not {name}: give the .safetensors instead")
        return exported(Path(weights), device, precision, process)
    detector = weights if isinstance(weights, nn.Module) else load_detector(Path(weights))
    return BACKENDS[name or TorchEager.name](detector, device, precision or "fp32", process)
