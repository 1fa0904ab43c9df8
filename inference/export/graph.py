"""A detector's exact inference form as an ONNX graph, which the exported formats and runtimes all start from."""

import ast
import logging
import warnings
from collections import Counter
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from inference.export.header import INPUT, MAP, SALIENCY
from inference.fold import fold
from models.config import SIDE_LIMIT
from models.detector import STRIDE, Detector
from utils.devices import optional


class BothOutputs(nn.Module):
    """A network's saliency, and the 8-bit map that `inference.maps` makes of it raw."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """B×H×W×3 uint8 RGB to the map, B×2H×2W uint8, and the saliency, B×2H×2W float32."""
        saliency = self.network(image)
        return (saliency * 255).floor().to(torch.uint8), saliency


class CellMeans(nn.Module):
    """Adaptive average pooling to bins×bins cells, or so many rows and columns, for an input of unknown size.

    ONNX has no such pooling, and what torch writes in its place is right for one size only.
    """

    def __init__(self, bins: int | tuple[int, int]):
        super().__init__()
        self.output_size = (bins, bins) if isinstance(bins, int) else bins

    def forward(self, x: Tensor) -> Tensor:
        """B×C×h×w to B×C×rows×columns."""
        if self.output_size == (1, 1):
            return x.mean((2, 3), keepdim=True)
        shares = map(self._shares, self.output_size, x.shape[2:])
        return torch.einsum("bchw,ih,jw->bcij", x, *(share.to(x.dtype) for share in shares))

    @staticmethod
    def _shares(bins: int, side: int) -> Tensor:
        """bins×side: each pixel's part of each cell's mean, along one side."""
        cell, pixel = torch.arange(bins)[:, None], torch.arange(side)
        start, end = cell * side // bins, ((cell + 1) * side + bins - 1) // bins
        return ((pixel >= start) & (pixel < end)) / (end - start)


def padded(convolution: Conv2dSame) -> nn.Sequential:
    """TensorFlow's `same` convolution for sizes that are multiples of its stride, whose padding is the same for all.

    Every size is, as the image's are multiples of 32. From one that is not known torch would work out each padding as a
    formula of the image's size, which takes it hours.
    """
    sides = zip(convolution.kernel_size, convolution.dilation, convolution.stride, strict=True)
    (high, wide) = (max(dilation * (kernel - 1) + 1 - stride, 0) for kernel, dilation, stride in sides)
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
    return nn.Sequential(nn.ZeroPad2d((wide // 2, wide - wide // 2, high // 2, high - high // 2)), plain)


def onnx_graph(detector: Detector, any_size: bool, requirements: str) -> Any:
    """The graph from 8-bit RGB to both outputs, for any batch.

    Args:
        detector: in eval mode, on the CPU; it is left as it is.
        any_size: for every multiple of 32, which takes twice as long to write, or for the detector's `input_size`.
        requirements: the file that installs what is missing.

    Returns:
        An `onnx.ModelProto`, whose nodes are named for the part of the network that they come from:
        `encoder.body.conv1/conv2d`, `head.up/convolution`; `/sigmoid` is in none.

    Raises:
        ValueError: the packages for it are missing, or the network has an operation that ONNX has not.
    """
    for package in ("onnx", "onnxscript"):
        optional(package, requirements)
    network = BothOutputs(fold(detector)).eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.AdaptiveAvgPool2d):
            network.set_submodule(name, CellMeans(module.output_size))
        elif isinstance(module, Conv2dSame):
            network.set_submodule(name, padded(module))
    try:
        with _quiet():
            program = _traced(network, detector.config.input_size, any_size)
            names = {"input_names": [INPUT], "output_names": [MAP, SALIENCY]}
            return _named(torch.onnx.export(program, dynamo=True, verbose=False, **names).model_proto)
    except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException) as error:
        raise ValueError(
            f"encoder {detector.config.encoder} cannot be written as ONNX for "
            f"{'any size' if any_size else 'one size'}: {' '.join(str(error).split())[:300]}"
        ) from error


def _traced(network: nn.Module, size: tuple[int, int], any_size: bool) -> ExportedProgram:
    image = torch.zeros(2, *size, 3, dtype=torch.uint8)
    free = {0: Dim("batch")}
    if any_size:
        most = SIDE_LIMIT // STRIDE
        free |= {1: STRIDE * Dim("height", max=most), 2: STRIDE * Dim("width", max=most)}
    return torch.export.export(network, (image,), dynamic_shapes=(free,))


def _named(graph: Any) -> Any:
    """The graph with its nodes named for their modules, and without what torch says of its code and where that lies."""
    seen: Counter[str] = Counter()
    for node in graph.graph.node:
        about = {entry.key: entry.value for entry in node.metadata_props}
        *scopes, operation = ast.literal_eval(about.get("pkg.torch.onnx.name_scopes", f"['', {node.name!r}]"))
        name = f"{scopes[-1].removeprefix('network').removeprefix('.')}/{operation}"
        node.name = f"{name}.{seen[name]}" if seen[name] else name
        seen[name] += 1
        node.ClearField("metadata_props")
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info, *graph.graph.initializer):
        value.ClearField("metadata_props")
    return graph


class _quiet(warnings.catch_warnings):
    """Without what torch's exporter says to its own developers."""

    def __enter__(self):
        super().__enter__()
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)

    def __exit__(self, *found: object):
        logging.disable(logging.NOTSET)
        super().__exit__(*found)
