"""int8 by NNCF, for ONNX and OpenVINO alike: convolutions in int8, and what loses accuracy so in higher precision.

Weights are symmetric with a scale for each output channel; activations have one scale for a tensor, or for a depthwise
convolution's channel. Their ranges are those that calibration images take, nothing clipped, and biases make up for the
mean error that rounding brings (fast bias correction).

Measured on ORSSD's test split with `weights/light_orssd.safetensors` (OpenVINO, 128 training images; Fβ and MAE of the
protocol `authors`, fp32 0.9005 and 0.0133; mean difference of saliency):

    in int8                                 Fβ       MAE      difference
    everything                              0.8986   0.0132   0.00153
    but the convolutions of the image       0.8995   0.0133   0.00114
    and PPM's pooled cells                  0.9000   0.0134   0.00095

The convolutions of the image cost ResNet-50 1 % of its time, the light network nothing. Leaving out an encoder's
stage, all depthwise convolutions, the decoder's blocks or the head besides changes little. Clipped ranges (means,
medians or quantiles of the images' own) cost twice to three times the difference, zero points a tenth more. ONNX
Runtime's own quantisation gives 0.8980 and 0.0138 where NNCF's gives 0.8992 and 0.0133 on the same nodes.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np

from inference.devices import optional
from inference.exported import INPUT

PLACES = (r"/", r"ppm(?!\.reduce)", r"head\.predict/")
"""Where nodes stay in higher precision, by their names' beginnings: what belongs to no part (normalisation, the map's
enlargement, sigmoid), PPM's pooled cells, and what follows the head's last convolution."""
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantised(model: Any, graph: Any, images: np.ndarray, requirements: str) -> Any:
    """A model of the same kind, in int8 but for the parts above and the convolutions that read the image.

    Args:
        model: what becomes int8: an OpenVINO model, or `graph` itself; it is left as it is.
        graph: the `onnx.ModelProto` of `inference.graph`, whose nodes' names say what they belong to.
        images: N×H×W×3 uint8 RGB, as the network is trained on: what activations are measured with.
        requirements: the file that installs what is missing.

    Raises:
        ValueError: NNCF is missing, or cannot work on the network.
    """
    nncf = optional("nncf", requirements)
    kept = [*PLACES, *map(re.escape, sorted(_readers_of_the_image(graph)))]
    with _progress_aside(nncf):
        try:
            return nncf.quantize(
                model,
                nncf.Dataset([{INPUT: image[None]} for image in images]),
                subset_size=len(images),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                ignored_scope=nncf.IgnoredScope(patterns=[f"^(?:{place}).*" for place in kept], validate=False),
            )
        except (RuntimeError, nncf.ValidationError) as error:
            raise ValueError(f"int8: nncf cannot quantise it ({' '.join(str(error).split())[:300]})") from error


def _readers_of_the_image(graph: Any) -> set[str]:
    """Names of the modules, with a `/` behind, whose weights are the first that the image meets."""
    reached, found = {INPUT}, set()
    for node in graph.graph.node:  # in an order in which each comes after what it reads
        if reached.isdisjoint(node.input):
            continue
        if node.op_type in WEIGHTED:
            found.add(f"{node.name.rpartition('/')[0]}/")
        elif node.op_type != "Shape":
            reached.update(node.output)
    return found


@contextmanager
def _progress_aside(nncf: Any) -> Iterator[None]:
    """NNCF's progress goes to standard error, and what it has to tell its developers nowhere."""
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):
        yield
