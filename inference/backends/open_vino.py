"""OpenVINO on the CPU: an exported .xml file with its .bin, or a detector that becomes a graph in memory."""

import hashlib
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.backends.shapes import KEPT, Shape
from inference.export.graph import onnx_graph
from inference.export.header import MAP, Header, read_header
from models.detector import OUTPUT_SCALE, Detector
from utils.devices import optional, thread_count

REQUIREMENTS = "requirements-openvino.txt"
TOGETHER = 4
"""Images at most that one request computes: their weights are read once, and their features stay in the caches."""
KINDS = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names of what floating-point numbers are computed in."""


class OpenVino:
    """A detector run by OpenVINO on the CPU, compiled (in less than a second) for each shape that comes.

    A batch is cut into requests of a few images, as many at a time as there are threads: threads that each have images
    of their own need not wait for one another.

    Args:
        source: an .xml file that inference.export wrote, or a detector in eval mode, which is converted first.
        device: 'auto' or 'cpu'.
        precision: 'fp32', 'bf16', or 'int8' for a file that is exported so, whose other parts run in bf16 where the
            CPU has it. None is the file's own.
        process: the number of this process on its machine, where several share the work.

    Attributes:
        name, device, precision: what runs it, where and in what.
        input_size: (height, width) that the network was trained for.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the package, the device or the precision is not there, or the file is not ours.
    """

    name = "openvino"

    def __init__(
        self, source: Path | Detector, device: str = "auto", precision: str | None = None, process: int | None = None
    ):
        if device == "cuda":
            raise ValueError("backend openvino runs on the CPU: use --device cpu, or another backend")
        self.runtime = optional("openvino", REQUIREMENTS)
        self.device = torch.device("cpu")
        self.core = self.runtime.Core()
        if isinstance(source, Path):
            self.model, self.header = read_openvino(self.core, source)
        else:
            self.model, self.header = None, Header.of(source.config, any_size=False)
        self.precision, self.input_size = precision or self.header.precision, self.header.input_size
        self.kind = self._kind()
        if self.model is None:
            graph = onnx_graph(source, any_size=False, requirements=REQUIREMENTS)
            self.model = self.core.read_model(graph.SerializeToString())
        without_map(self.model)
        self._queues: OrderedDict[tuple[Shape, int], Any] = OrderedDict()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """B×H×W×3 uint8 RGB to B×2H×2W float32 saliency in [0, 1]. Raises ValueError for a size it does not take."""
        count, height, width, _ = pixels.shape
        self.header.check(height, width)
        pixels = np.ascontiguousarray(pixels)  # else OpenVINO, which reads them where they lie, refuses
        streams = min(count, thread_count())
        together = min(math.ceil(count / streams), TOGETHER)
        saliency = np.empty((count, OUTPUT_SCALE * height, OUTPUT_SCALE * width), np.float32)
        queue = self._queue((together, height, width, 3), streams)
        queue.set_callback(lambda request, i: np.copyto(saliency[i : i + together], request.get_output_tensor(0).data))
        for start in range(0, count, together):
            i = min(start, count - together)  # the last, where it is too short, does some images again
            queue.start_async([pixels[i : i + together]], userdata=i, share_inputs=True)
        queue.wait_all()
        return saliency

    def _kind(self) -> str:
        """What floating-point numbers are computed in."""
        written, has_bf16 = self.header.precision, "BF16" in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.precision == "int8" and written != "int8":
            raise ValueError(
                "precision int8 needs a file that python -m inference.export --format openvino --int8 wrote, "
                f"this network is in {written}"
            )
        if self.precision not in (*KINDS, "int8"):
            raise ValueError(f"precision {self.precision}: backend openvino has fp32, bf16 and int8")
        if written == "int8" and self.precision != "int8":
            raise ValueError(
                f"precision {self.precision}: the file is in int8; leave --precision out, or export another"
            )
        if self.precision == "bf16" and not has_bf16:
            raise ValueError("precision bf16: this CPU does not have it; use fp32")
        return KINDS["bf16" if has_bf16 and self.precision != "fp32" else "fp32"]

    def _queue(self, shape: Shape, streams: int) -> Any:
        """As many requests of a shape as run at once, each on its share of the threads."""
        key = (shape, streams)
        if key not in self._queues:
            model = self.model.clone()
            model.reshape(list(shape))
            enlarge_by_products(self.runtime, model)
            options = {
                "INFERENCE_PRECISION_HINT": self.kind,
                "INFERENCE_NUM_THREADS": thread_count(),
                "NUM_STREAMS": streams,
                "ENABLE_CPU_PINNING": False,  # images are decoded meanwhile, and other processes may share the cores
            }
            if len(self._queues) == KEPT:
                self._queues.popitem(last=False)
            self._queues[key] = self.runtime.AsyncInferQueue(self.core.compile_model(model, "CPU", options), streams)
        self._queues.move_to_end(key)
        return self._queues[key]


def read_openvino(core: Any, path: Path) -> tuple[Any, Header]:
    """The model in an .xml and its .bin, and its header.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: they are not ours, or not of one export.
    """
    tensors = path.with_suffix(".bin")
    for file in (path, tensors):
        if not file.is_file():
            raise FileNotFoundError(f"weights {file}: no such file; OpenVINO's .xml and .bin belong together")
    try:
        model = core.read_model(path)
        found = model.get_rt_info(["sral"]).value if model.has_rt_info(["sral"]) else {}
    except RuntimeError as error:
        raise ValueError(f"{path}: openvino cannot read it ({' '.join(str(error).split())[:300]})") from error
    header = read_header(path, found)
    with tensors.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != header.tensors_sha256:
            raise ValueError(f"{tensors} is not the one that {path.name} was written with: export both again")
    return model, header


def without_map(model: Any) -> None:
    """Take the 8-bit map from a model's outputs, and what computes it."""
    for result in model.get_results():
        if MAP in result.input_value(0).get_names():
            model.remove_result(result)


def enlarge_by_products(runtime: Any, model: Any) -> None:
    """Write the enlargement of single-channel maps in a model of fixed shapes as two matrix products.

    Interpolate makes use of a vector unit's lanes where a pixel has many channels. The map that comes last has one: its
    enlargement takes a third of a light network's time, the products a tenth of that.
    """
    operations = runtime.opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Interpolate" or len(node.get_output_shape(0)) != 4:
            continue
        attributes = node.get_attributes()
        (_, channels, height, width), (_, _, high, wide) = node.get_input_shape(0), node.get_output_shape(0)
        how = (attributes["mode"], attributes["coordinate_transformation_mode"])
        if channels == 1 and how == ("linear_onnx", "align_corners"):
            rows = operations.matmul(_tents(height, high), node.input_value(0), False, False)
            both = operations.matmul(rows, _tents(width, wide), False, True)
            node.output(0).replace(both.output(0))


def _tents(source: int, target: int) -> np.ndarray:
    """target×source weights of bilinear interpolation along one side, align_corners=True."""
    places = np.linspace(0, source - 1, target)[:, None]
    return np.maximum(1 - np.abs(places - np.arange(source)), 0).astype(np.float32)
