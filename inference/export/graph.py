"""Convert a detector's inference form to an ONNX graph, from which all exported formats are made."""

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from inference.export.header import INPUT, MAP, SALIENCY
from inference.fold import fold
from models.config import SIDE_LIMIT
from models.detector import STRIDE, Detector
from models.hosts import Host
from utils.devices import optional
from utils.text import one_line


class BothOutputs(nn.Module):
    """Add the raw 8-bit map of `inference.maps` to a network's saliency."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map, B×2H×2W uint8, and the saliency, B×2H×2W float32, of B×H×W×3 uint8 RGB."""
        saliency = self.network(image)
        return (saliency * 255).floor().to(torch.uint8), saliency


class CellMeans(nn.Module):
    """Adaptive average pooling as matrix products, for inputs whose size is not known at export.

    ONNX has no adaptive pooling, and torch exports it for one input size only.

    Args:
        bins: output size, one number for both sides or (rows, columns).
    """

    def __init__(self, bins: int | tuple[int, int]) -> None:
        super().__init__()
        self.output_size = (bins, bins) if isinstance(bins, int) else bins

    def forward(self, x: Tensor) -> Tensor:
        """Pool B×C×h×w to B×C×rows×columns."""
        if self.output_size == (1, 1):
            return x.mean((2, 3), keepdim=True)
        weights = map(self._weights, self.output_size, x.shape[2:])
        return torch.einsum("bchw,ih,jw->bcij", x, *(weight.to(x.dtype) for weight in weights))

    @staticmethod
    def _weights(bins: int, side: int) -> Tensor:
        """Return each pixel's weight in each cell's mean along one side, bins×side."""
        cell, pixel = torch.arange(bins)[:, None], torch.arange(side)
        start, end = cell * side // bins, ((cell + 1) * side + bins - 1) // bins
        return ((pixel >= start) & (pixel < end)) / (end - start)


def with_fixed_padding(convolution: Conv2dSame) -> nn.Sequential:
    """Replace TensorFlow's `same` convolution by a padding of fixed width and a plain convolution.

    The padding is the same for all inputs whose size is a multiple of the stride, and image sizes are multiples of 32.
    For a size that is not known at export, torch would derive each padding symbolically, which takes hours.
    """
    sides = zip(convolution.kernel_size, convolution.dilation, convolution.stride, strict=True)
    pad_height, pad_width = (max(dilation * (kernel - 1) + 1 - stride, 0) for kernel, dilation, stride in sides)
    plain = nn.utils.skip_init(
        nn.Conv2d,
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        0,
        convolution.dilation,
        convolution.groups,
    )
    plain.weight, plain.bias = convolution.weight, convolution.bias
    left, top = pad_width // 2, pad_height // 2
    return nn.Sequential(nn.ZeroPad2d((left, pad_width - left, top, pad_height - top)), plain)


def onnx_graph(detector: Detector | Host, any_size: bool, requirements: str) -> Any:
    """Return the graph from 8-bit RGB to the map and the saliency, for any batch size.

    Args:
        detector: in eval mode, on the CPU; it is not changed.
        any_size: take every multiple of 32 as image size, which doubles the export time; otherwise `input_size` only.
        requirements: requirements file to name if a package is missing.

    Returns:
        An `onnx.ModelProto`. Node names start with the name of their module: `encoder.body.conv1/conv2d`,
        `head.up/convolution`, and `/sigmoid` outside of any module.

    Raises:
        ValueError: a package is missing, or ONNX lacks an operation of the network.
    """
    for package in ("onnx", "onnxscript"):
        optional(package, requirements)
    network = BothOutputs(fold(detector)).eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.AdaptiveAvgPool2d):
            network.set_submodule(name, CellMeans(cast("int | tuple[int, int]", module.output_size)))
        elif isinstance(module, Conv2dSame):
            network.set_submodule(name, with_fixed_padding(module))
    try:
        with _quiet():
            program = _trace(network, detector.config.input_size, any_size)
            exported = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=[INPUT], output_names=[MAP, SALIENCY]
            )
            assert exported is not None
            return _rename_nodes(exported.model_proto)
    except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException) as error:
        raise ValueError(
            f"encoder {detector.config.encoder} cannot be written as ONNX for "
            f"{'any size' if any_size else 'one size'}: {one_line(error)}"
        ) from error


def _trace(network: nn.Module, size: tuple[int, int], any_size: bool) -> ExportedProgram:
    image = torch.zeros(2, *size, 3, dtype=torch.uint8)
    dynamic = {0: Dim("batch")}
    if any_size:
        limit = SIDE_LIMIT // STRIDE
        dynamic |= {1: STRIDE * Dim("height", max=limit), 2: STRIDE * Dim("width", max=limit)}
    return torch.export.export(network, (image,), dynamic_shapes=(dynamic,))


def _rename_nodes(graph: Any) -> Any:
    """Name the nodes after their modules, and remove torch's metadata, which holds paths of this machine."""
    counts: Counter[str] = Counter()
    for node in graph.graph.node:
        metadata = {entry.key: entry.value for entry in node.metadata_props}
        *scopes, operation = ast.literal_eval(metadata.get("pkg.torch.onnx.name_scopes", f"['', {node.name!r}]"))
        name = f"{scopes[-1].removeprefix('network').removeprefix('.')}/{operation}"
        node.name = f"{name}.{counts[name]}" if counts[name] else name
        counts[name] += 1
        node.ClearField("metadata_props")
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info, *graph.graph.initializer):
        value.ClearField("metadata_props")
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings and log messages of torch's exporter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
