"""Quantize a network to int8 with NNCF, for ONNX and OpenVINO; parts that lose accuracy keep their precision.

Weights are symmetric, with one scale for each output channel. Activations have one scale for a tensor; in OpenVINO's
format those of a depthwise convolution have one for each channel. The ranges are the minimum and maximum over the
calibration images. Fast bias correction compensates for the mean rounding error.

ONNX Runtime has int8 kernels only for activations with one scale and one type before and after a convolution. Other
convolutions run in fp32, and slower than in an fp32 file.

The parts were chosen on the 60 validation images of ORSSD with `weights/light_orssd.safetensors` (OpenVINO, calibrated
on 128 of the 540 training images). Fβ, MAE and Sm are those of the protocol `authors`; the difference is the mean
absolute difference of the saliency from fp32:

    parts in int8                                  Fβ       MAE      Sm      difference
    none (fp32)                                    0.9067   0.0157   0.9162
    all                                            0.9068   0.0157   0.9143   0.00120
    all but (1) the first convolutions             0.9071   0.0157   0.9164   0.00125
    all but (1) and (2) PPM's pooled branches      0.9071   0.0157   0.9161   0.00097
    all but (1), (2) and the head's last layer     0.9071   0.0157   0.9161   0.00096

The exceptions cost the light network no time, and ResNet-50 1 % and 3 %.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

import numpy as np

from inference.export.header import INPUT
from utils.devices import optional
from utils.text import one_line

EXACT_PARTS = (r"/", r"ppm(?!\.reduce)", r"head\.predict/")
"""Prefixes (regular expressions) of the nodes that keep their precision: nodes outside of any module (normalization,
upsampling, sigmoid), PPM's pooled branches, and the head's last layer."""
WEIGHTED_OPERATIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantize(model: Any, graph: Any, images: np.ndarray, requirements: str) -> Any:
    """Return the model in int8, except for EXACT_PARTS and the convolutions that read the image.

    Args:
        model: an OpenVINO model, or `graph` itself; it is not changed.
        graph: the `onnx.ModelProto` of `inference.export.graph`, whose node names start with their module's name.
        images: N×H×W×3 uint8 RGB training images; they give the ranges of the activations.
        requirements: requirements file to name if NNCF is missing.

    Raises:
        ValueError: NNCF is missing, or it cannot quantize the network.
    """
    nncf = optional("nncf", requirements)
    exact = [*EXACT_PARTS, *map(re.escape, sorted(_first_layers(graph)))]
    advanced = nncf.AdvancedQuantizationParameters()
    if model is graph:
        one_scale = nncf.quantization.advanced_parameters.QuantizationParameters(per_channel=False)
        advanced.activations_quantization_params = one_scale
    with _redirect_progress(nncf):
        try:
            quantized = nncf.quantize(
                model,
                nncf.Dataset([{INPUT: image[None]} for image in images]),
                subset_size=len(images),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                ignored_scope=nncf.IgnoredScope(patterns=[f"^(?:{prefix}).*" for prefix in exact], validate=False),
                advanced_parameters=advanced,
            )
        except (RuntimeError, nncf.ValidationError) as error:
            raise ValueError(f"int8: nncf cannot quantize it ({one_line(error)})") from error
    if model is graph:
        make_unsigned(quantized, optional("onnx", requirements))
    return quantized


def make_unsigned(graph: Any, onnx: ModuleType) -> None:
    """Store all quantized activations of an ONNX graph as uint8, in place; they stand for the same values."""
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    quantizers = [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    zero_points = {node.input[2] for node in quantizers}
    for name in zero_points:
        zero_point = onnx.numpy_helper.to_array(tensors[name])
        if zero_point.dtype == np.int8:
            shifted = (zero_point.astype(np.int16) + 128).astype(np.uint8)
            tensors[name].CopyFrom(onnx.numpy_helper.from_array(shifted, name))
    unsigned = zero_points | {node.output[0] for node in quantizers}
    for value in graph.graph.value_info:
        if value.name in unsigned:
            value.type.tensor_type.elem_type = onnx.TensorProto.UINT8


def _first_layers(graph: Any) -> set[str]:
    """Return the names, followed by `/`, of the modules whose weights are applied to the image first."""
    reached, found = {INPUT}, set()
    for node in graph.graph.node:  # in topological order
        if reached.isdisjoint(node.input):
            continue
        if node.op_type in WEIGHTED_OPERATIONS:
            found.add(f"{node.name.rpartition('/')[0]}/")
        elif node.op_type != "Shape":
            reached.update(node.output)
    return found


@contextmanager
def _redirect_progress(nncf: Any) -> Iterator[None]:
    """Send NNCF's progress to standard error and silence its log."""
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):
        yield
