"""Run an exported .onnx file, or a detector that is converted in memory, with ONNX Runtime."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from inference.backends.processes import Owner
from inference.export.header import INPUT, SALIENCY, Header, read_header
from utils.devices import find_device, optional, thread_count
from utils.file_kind import refuse_no_content
from utils.text import one_line

if TYPE_CHECKING:  # they import timm, which a file does not need
    from models.detector import Detector
    from models.hosts import Host

REQUIREMENTS = "requirements-onnx.txt"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime:
    """A network run by ONNX Runtime, on the CPU or, with onnxruntime-gpu, on a GPU.

    Args:
        source: an .onnx file that inference.export wrote, its bytes, or a detector in eval mode, which is converted
            first.
        device: 'auto' (the GPU if the package has CUDA and torch finds one), 'cpu', 'cuda' or 'cuda:N'.
        precision: None or the file's own, fp32 or int8: the graph determines the precision.
        local_index: rank of this process on its machine, if several processes share the GPUs: it takes the GPU of that
            number.

    Attributes:
        name: name of the backend.
        device, precision: where and in which precision the network runs.
        input_size: (height, width) of the training.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the package, device or precision is not available, or inference.export did not write the file.
    """

    name: ClassVar[str] = "onnxruntime"

    def __init__(
        self,
        source: "Path | bytes | Detector | Host",
        device: str = "auto",
        precision: str | None = None,
        local_index: int | None = None,
    ) -> None:
        self.owner = Owner()
        self.runtime = optional("onnxruntime", REQUIREMENTS)
        self.device = self._find_device(device, local_index)
        if isinstance(source, Path | bytes):
            if isinstance(source, Path):
                refuse_no_content(source)
            path = source if isinstance(source, Path) else Path("network.onnx")
            self.session = self._open(str(source) if isinstance(source, Path) else source, str(path))
            self._set_header(read_header(path, self.session.get_modelmeta().custom_metadata_map), precision)
        else:
            from inference.export import graph as graphs

            self._set_header(Header.of(source.config, any_size=False), precision)
            graph = graphs.onnx_graph(source, any_size=False, requirements=REQUIREMENTS)
            self.session = self._open(graph.SerializeToString(), source.config.encoder)

    def _set_header(self, header: Header, precision: str | None) -> None:
        self.header, self.input_size = header, header.input_size
        self.precision: str = header.precision
        if precision not in (None, self.precision):
            raise ValueError(
                f"precision {precision}: ONNX Runtime computes in what a graph is written in, here {self.precision}; "
                "python -m inference.export --format onnx --int8 writes int8"
            )

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the saliency as `Backend` defines it. Raise a ValueError for a size that the graph does not take."""
        self.owner.check(self.name)
        self.header.check(*pixels.shape[1:3])
        return self.session.run([SALIENCY], {INPUT: pixels})[0]

    def _find_device(self, device: str, local_index: int | None) -> torch.device:
        providers = self.runtime.get_available_providers()
        if device == "mps":
            raise ValueError("backend onnxruntime runs on the CPU and on CUDA: use --device cpu, or --backend torch")
        if PROVIDERS["cuda"] not in providers:
            if device.startswith("cuda"):
                raise ValueError(
                    f"device {device}: onnxruntime {self.runtime.__version__} here has {', '.join(providers)} alone; "
                    "onnxruntime-gpu in its place has CUDA, or use cpu"
                )
            device = "cpu" if device == "auto" else device
        return find_device(device, local_index)

    def _open(self, model: str | bytes, name: str) -> Any:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        # Without spinning, the cores are free for the threads that decode images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        provider = (PROVIDERS[self.device.type], {"device_id": self.device.index or 0})
        try:
            session = self.runtime.InferenceSession(
                model, options, providers=[provider if self.device.type == "cuda" else provider[0]]
            )
        except _errors(self.runtime) as error:
            raise ValueError(f"{name}: onnxruntime cannot run it ({one_line(error)})") from error
        if session.get_providers()[0] != provider[0]:  # ONNX Runtime only warns, and falls back to the CPU
            raise ValueError(f"device {self.device.type}: onnxruntime cannot start {provider[0]} here; use cpu")
        return session


def _errors(runtime: Any) -> tuple[type[Exception], ...]:
    """Return ONNX Runtime's exceptions, which have no common base class but Exception."""
    values = vars(runtime.capi.onnxruntime_pybind11_state).values()
    return tuple(kind for kind in values if isinstance(kind, type) and issubclass(kind, Exception))
