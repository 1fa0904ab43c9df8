"""Run an exported .xml (with its .bin) or .onnx file, or a detector that is converted, with OpenVINO on the CPU."""

import hashlib
import math
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from inference.backends.processes import Owner
from inference.backends.shapes import MAX_RUNNERS, Shape
from inference.export.header import MAP, Header, read_header
from models.resize import OUTPUT_SCALE
from utils.devices import optional, thread_count
from utils.file_kind import refuse_no_content
from utils.text import one_line

if TYPE_CHECKING:  # they import timm, which a file does not need
    from models.detector import Detector
    from models.hosts import Host

REQUIREMENTS = "requirements-openvino.txt"
MAX_IMAGES_PER_REQUEST = 4
"""Several images share one read of the weights; with more than 4, features no longer fit into the caches."""
FLOAT_TYPES = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names of the floating-point precisions."""


class OpenVino:
    """A network run by OpenVINO on the CPU, compiled for each batch shape in less than a second.

    A batch is split into requests of a few images, one request for each thread at a time. Threads that compute separate
    images need not wait for each other.

    Args:
        source: an .xml or .onnx file that inference.export wrote, the bytes of an .onnx file, or a detector in eval
            mode, which is converted first.
        device: 'auto' or 'cpu'.
        precision: 'fp32', 'bf16', or 'int8' for a file in int8, whose other parts run in bf16 if the CPU has it. None:
            that of the file.
        local_index: ignored; the interface of `Backend` has it.

    Attributes:
        name: name of the backend.
        device, precision: where and in which precision the network runs.
        input_size: (height, width) of the training.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the package, device or precision is not available, or inference.export did not write the file.
    """

    name: ClassVar[str] = "openvino"

    def __init__(
        self,
        source: "Path | bytes | Detector | Host",
        device: str = "auto",
        precision: str | None = None,
        local_index: int | None = None,
    ) -> None:
        if device not in ("auto", "cpu"):
            raise ValueError("backend openvino runs on the CPU: use --device cpu, or another backend")
        self.owner, self._lock = Owner(), Lock()
        self.runtime = optional("openvino", REQUIREMENTS)
        self.device = torch.device("cpu")
        self.core = self.runtime.Core()
        if isinstance(source, Path | bytes):
            self.model, header = read_openvino(self.core, source)
            self._set_header(header, precision)
        else:
            from inference.export import graph as graphs

            self._set_header(Header.of(source.config, any_size=False), precision)
            graph = graphs.onnx_graph(source, any_size=False, requirements=REQUIREMENTS)
            self.model = self.core.read_model(graph.SerializeToString())
        remove_map_output(self.model)
        self._queues: OrderedDict[tuple[Shape, int], Any] = OrderedDict()

    def _set_header(self, header: Header, precision: str | None) -> None:
        self.header, self.input_size = header, header.input_size
        self.precision: str = precision or header.precision
        self.float_type = self._find_float_type()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the saliency as `Backend` defines it. Raise a ValueError for a size that the graph does not take."""
        self.owner.check(self.name)
        count, height, width, _ = pixels.shape
        self.header.check(height, width)
        pixels = np.ascontiguousarray(pixels)  # OpenVINO shares the memory and refuses other layouts
        streams = min(count, thread_count())
        size = min(math.ceil(count / streams), MAX_IMAGES_PER_REQUEST)
        saliency = np.empty((count, OUTPUT_SCALE * height, OUTPUT_SCALE * width), np.float32)
        with self._lock:  # a queue is one thread's; its requests use all cores
            queue = self._queue((size, height, width, 3), streams)
            queue.set_callback(lambda request, i: np.copyto(saliency[i : i + size], request.get_output_tensor(0).data))
            for start in range(0, count, size):
                i = min(start, count - size)  # an incomplete last request repeats some images
                queue.start_async([pixels[i : i + size]], userdata=i, share_inputs=True)
            queue.wait_all()
        return saliency

    def _find_float_type(self) -> str:
        """Return OpenVINO's name of the precision of floating-point operations; raise a ValueError for others."""
        written, has_bf16 = self.header.precision, "BF16" in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.precision == "int8" and written != "int8":
            raise ValueError(
                "precision int8 needs a file that python -m inference.export --format openvino --int8 wrote, "
                f"this network is in {written}"
            )
        if self.precision not in (*FLOAT_TYPES, "int8"):
            raise ValueError(f"precision {self.precision}: backend openvino has fp32, bf16 and int8")
        if written == "int8" and self.precision != "int8":
            raise ValueError(
                f"precision {self.precision}: the file is in int8; leave --precision out, or export another"
            )
        if self.precision == "bf16" and not has_bf16:
            raise ValueError("precision bf16: this CPU does not have it; use fp32")
        return FLOAT_TYPES["bf16" if has_bf16 and self.precision != "fp32" else "fp32"]

    def _queue(self, shape: Shape, streams: int) -> Any:
        """Return a queue of `streams` parallel requests of one shape, each on its share of the threads."""
        key = (shape, streams)
        if key not in self._queues:
            model = self.model.clone()
            model.reshape(list(shape))
            upsample_by_matmul(self.runtime, model)
            options = {
                "INFERENCE_PRECISION_HINT": self.float_type,
                "INFERENCE_NUM_THREADS": thread_count(),
                "NUM_STREAMS": streams,
                "ENABLE_CPU_PINNING": False,  # other threads decode images, and other processes may share the cores
            }
            if len(self._queues) == MAX_RUNNERS:
                self._queues.popitem(last=False)
            self._queues[key] = self.runtime.AsyncInferQueue(self.core.compile_model(model, "CPU", options), streams)
        self._queues.move_to_end(key)
        return self._queues[key]


def read_openvino(core: Any, source: Path | bytes) -> tuple[Any, Header]:
    """Return the model in an .xml file and its .bin, or in an .onnx file or its bytes, and its header.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: inference.export did not write them, or not together.
    """
    path = source if isinstance(source, Path) else Path("network.onnx")
    tensors = path.with_suffix(".bin") if path.suffix == ".xml" else None
    for file in (path, tensors) if isinstance(source, Path) else ():
        if file is not None and not file.exists():
            hint = "; OpenVINO's .xml and .bin belong together" * (tensors is not None)
            raise FileNotFoundError(f"weights {file}: no such file{hint}")
        if file is not None:
            refuse_no_content(file)
    try:
        model = core.read_model(source)
        name = "sral" if tensors else "framework"  # where OpenVINO keeps an ONNX file's metadata
        metadata = model.get_rt_info([name]).value if model.has_rt_info([name]) else {}
        metadata = {key: getattr(value, "value", value) for key, value in metadata.items()}
    except (AttributeError, RuntimeError) as error:
        raise ValueError(f"{path}: openvino cannot read it ({one_line(error)})") from error
    header = read_header(path, metadata)
    if tensors:
        with tensors.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != header.tensors_sha256:
                raise ValueError(f"{tensors} is not the one that {path.name} was written with: export both again")
    return model, header


def remove_map_output(model: Any) -> None:
    """Remove the 8-bit map from a model's outputs, with the operations that compute it."""
    for result in model.get_results():
        if MAP in result.input_value(0).get_names():
            model.remove_result(result)


def upsample_by_matmul(runtime: Any, model: Any) -> None:
    """Replace the upsampling of images and single-channel maps by two matrix products, in a model of fixed shapes.

    OpenVINO's Interpolate vectorizes over channels, of which a map has one and an image three. The final map's
    upsampling takes a third of a light network's time, and the bicubic one of a transformer's input a tenth of the
    strong network's; the products take a tenth of that.
    """
    operations = runtime.opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Interpolate" or len(node.get_output_shape(0)) != 4:
            continue
        attributes = node.get_attributes()
        (_, channels, height, width), (_, _, high, wide) = node.get_input_shape(0), node.get_output_shape(0)
        weights = WEIGHTS.get((channels, attributes["mode"], attributes["coordinate_transformation_mode"]))
        if weights is None or (attributes["mode"] == "cubic" and attributes["cube_coeff"] != CUBIC):
            continue
        rows = operations.matmul(weights(height, high), node.input_value(0), False, False)
        both = operations.matmul(rows, weights(width, wide), False, True)
        node.output(0).replace(both.output(0))


CUBIC = -0.75
"""The coefficient of torch's bicubic interpolation."""


def _bilinear_weights(source: int, target: int) -> np.ndarray:
    """Return the weights of bilinear interpolation along one side with align_corners=True, target×source."""
    positions = np.linspace(0, source - 1, target)[:, None]
    return np.maximum(1 - np.abs(positions - np.arange(source)), 0).astype(np.float32)


def _bicubic_weights(source: int, target: int) -> np.ndarray:
    """Return the weights of bicubic interpolation along one side with align_corners=True, target×source.

    Neighbors beyond the border are the border's pixel.
    """
    positions = np.linspace(0, source - 1, target)
    first = np.floor(positions).astype(int) - 1
    weights = np.zeros((target, source))
    for offset in range(4):
        near = np.abs(positions - first - offset)
        inner = ((CUBIC + 2) * near - (CUBIC + 3)) * near**2 + 1
        outer = ((near - 5) * near + 8) * near * CUBIC - 4 * CUBIC
        index = np.clip(first + offset, 0, source - 1)
        np.add.at(weights, (np.arange(target), index), np.where(near <= 1, inner, outer))
    return weights.astype(np.float32)


WEIGHTS = {
    (1, "linear_onnx", "align_corners"): _bilinear_weights,
    (3, "cubic", "align_corners"): _bicubic_weights,
}
"""By channels, mode and coordinates of an Interpolate: the weights along one side."""
