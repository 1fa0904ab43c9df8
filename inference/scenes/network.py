"""Open the network for scenes, with the fastest runtime that is installed."""

import gc
import hashlib
import importlib.util
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from inference.backends import EXPORTED, Backend, open_backend
from inference.distributed import ProcessGroup
from inference.tta import with_tta
from models.hosts import run_host_file
from utils.devices import find_device, keep_freed_memory, return_freed_memory, trim_memory

BATCH_SIZE = {"cpu": 8, "cuda": 16, "mps": 16}
PACKAGES = {"openvino": ("openvino", "onnx", "onnxscript"), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}
"""What each runtime needs to run a .safetensors file, the fastest on a CPU first."""
KEEPS_MEMORY = ("torch", "compile")
"""Runtimes that are faster if freed memory is kept; the others manage theirs."""
PRECISIONS = {"openvino": ("fp32", "bf16"), "onnxruntime": ("fp32",)}


class SceneNetwork:
    """A network that has run once.

    Args:
        options: `host_file`, `backend`, `weights`, `device`, `precision`, `threads`, `batch_size` and `tta`.
        processes: this process's group.

    Attributes:
        backend: what runs it.
        call: the network with test-time augmentation, B×H×W×3 uint8 to B×2H×2W saliency.
        batch_size: windows in a call.

    Raises:
        FileNotFoundError, ValueError: as `open_backend`, or the batch does not fit into memory.
    """

    def __init__(self, options: Namespace, processes: ProcessGroup) -> None:
        if options.host_file:
            run_host_file(options.host_file)
        self.weights, self._options = Path(options.weights), options
        names = list(self._candidates(processes.local_index))
        for name in names:
            try:
                self.backend, self.call = self._open(name, processes.local_index)
                return
            except ValueError:
                if name == names[-1]:
                    raise

    def key(self) -> dict[str, Any]:
        """Return what the map depends on, as JSON values."""
        host = self._options.host_file
        return {
            "weights": _hash(self.weights),
            "host_file": _hash(host) if host else None,
            "backend": self.backend.name,
            "precision": self.backend.precision,
            "device": self.backend.device.type,
            "batch_size": self.batch_size,
            "tta": self._options.tta,
        }

    def __str__(self) -> str:
        return f"{self.backend.device.type} in {self.backend.precision} by {self.backend.name}"

    def _candidates(self, local_index: int | None) -> Iterator[str | None]:
        """Yield the backend that is asked for, or those that may run the network, the fastest first."""
        options = self._options
        if options.backend or self.weights.suffix in EXPORTED:
            yield options.backend
            return
        if find_device(options.device, local_index).type == "cpu":
            for name, packages in PACKAGES.items():
                if (options.precision or "fp32") in PRECISIONS[name] and all(map(_is_installed, packages)):
                    yield name
        yield "torch"

    def _open(self, name: str | None, local_index: int | None) -> tuple[Backend, Callable[[np.ndarray], np.ndarray]]:
        options = self._options
        if name in KEEPS_MEMORY:
            keep_freed_memory()
        else:
            return_freed_memory()
        backend = open_backend(name, self.weights, options.device, options.precision, options.threads, local_index)
        call = with_tta(backend, options.tta) if options.tta else backend
        self.batch_size = options.batch_size or BATCH_SIZE[backend.device.type]
        try:
            call(np.zeros((self.batch_size, *backend.input_size, 3), np.uint8))
        except MemoryError as error:
            raise ValueError(f"a batch of {self.batch_size} does not fit into memory: lower --batch-size") from error
        gc.collect()  # what the conversion to the runtime's format left
        trim_memory()
        return backend, call


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
