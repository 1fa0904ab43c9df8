"""ONNX Runtime: an exported .onnx file, or a detector that becomes a graph in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.export.graph import onnx_graph
from inference.export.header import INPUT, SALIENCY, Header, read_header
from models.detector import Detector
from utils.devices import find_device, optional, thread_count

REQUIREMENTS = "requirements-onnx.txt"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime:
    """A detector run by ONNX Runtime, on the CPU or, with onnxruntime-gpu, on a GPU.

    Args:
        source: an .onnx file that inference.export wrote, or a detector in eval mode, which is converted first.
        device: 'auto' (a GPU where the package has CUDA and torch finds one), 'cpu' or 'cuda'.
        precision: None is the file's own. ONNX Runtime computes in what a file is written in, fp32 or int8.
        process: the number of this process on its machine, where several share the work: it takes the GPU of that
            number.

    Attributes:
        name, device, precision: what runs it, where and in what.
        input_size: (height, width) that the network was trained for.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the package, the device or the precision is not there, or the file is not ours.
    """

    name = "onnxruntime"

    def __init__(
        self, source: Path | Detector, device: str = "auto", precision: str | None = None, process: int | None = None
    ):
        self.runtime = optional("onnxruntime", REQUIREMENTS)
        self.device = self._find_device(device, process)
        if isinstance(source, Path):
            if not source.is_file():
                raise FileNotFoundError(f"weights {source}: no such file")
            self.session = self._open(str(source), str(source))
            self.header = read_header(source, self.session.get_modelmeta().custom_metadata_map)
        else:
            self.session, self.header = None, Header.of(source.config, any_size=False)
        self.precision, self.input_size = self.header.precision, self.header.input_size
        if precision not in (None, self.precision):
            raise ValueError(
                f"precision {precision}: ONNX Runtime computes in what a graph is written in, here {self.precision}; "
                "python -m inference.export --format onnx --int8 writes int8"
            )
        if self.session is None:
            graph = onnx_graph(source, any_size=False, requirements=REQUIREMENTS)
            self.session = self._open(graph.SerializeToString(), source.config.encoder)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """B×H×W×3 uint8 RGB to B×2H×2W float32 saliency in [0, 1]. Raises ValueError for a size it does not take."""
        self.header.check(*pixels.shape[1:3])
        return self.session.run([SALIENCY], {INPUT: pixels})[0]

    def _find_device(self, device: str, process: int | None) -> torch.device:
        there = self.runtime.get_available_providers()
        if PROVIDERS["cuda"] not in there:
            if device == "cuda":
                raise ValueError(
                    f"device cuda: onnxruntime {self.runtime.__version__} here has {', '.join(there)} alone; "
                    "onnxruntime-gpu in its place has CUDA, or use cpu"
                )
            device = "cpu" if device == "auto" else device
        return find_device(device, process)

    def _open(self, model: str | bytes, name: str) -> Any:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # images are decoded meanwhile
        options.log_severity_level = 3
        provider = (PROVIDERS[self.device.type], {"device_id": self.device.index or 0})
        try:
            session = self.runtime.InferenceSession(
                model, options, providers=[provider if self.device.type == "cuda" else provider[0]]
            )
        except _errors(self.runtime) as error:
            raise ValueError(f"{name}: onnxruntime cannot run it ({' '.join(str(error).split())[:300]})") from error
        if session.get_providers()[0] != provider[0]:  # it only warns, and goes on without
            raise ValueError(f"device {self.device.type}: onnxruntime cannot start {provider[0]} here; use cpu")
        return session


def _errors(runtime: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: each kind for itself, below Exception alone."""
    kinds = vars(runtime.capi.onnxruntime_pybind11_state).values()
    return tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception))
