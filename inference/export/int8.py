"""int8 by NNCF, for ONNX and OpenVINO alike: convolutions in int8, and what loses accuracy so in higher precision.

Weights are symmetric with a scale for each output channel; activations have one scale for a tensor, or for a depthwise
convolution's channel. Their ranges are those that calibration images take, nothing clipped, and biases make up for the
mean error that rounding brings (fast bias correction).

Chosen on the 60 images of ORSSD's validation part with `weights/light_orssd.safetensors` (OpenVINO, calibrated on 128
of the 540 that it was trained on; Fβ, MAE and Sm of the protocol `authors`; the difference is saliency's, on average):

    in int8                                   Fβ       MAE      Sm      difference
    nothing: fp32                             0.9067   0.0157   0.9162
    everything                                0.9068   0.0157   0.9143   0.00120
    but the convolutions of the image         0.9071   0.0157   0.9164   0.00125
    and PPM's pooled cells                    0.9071   0.0157   0.9161   0.00097
    and what follows the last convolution     0.9071   0.0157   0.9161   0.00096

Neither part costs the light network time, and 1 and 3 % of ResNet-50's.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np

from inference.export.header import INPUT
from utils.devices import optional

PLACES = (r"/", r"ppm(?!\.reduce)", r"head\.predict/")
"""Where nodes stay in higher precision, by their names' beginnings: what belongs to no part (normalization, the map's
enlargement, sigmoid), PPM's pooled cells, and what follows the head's last convolution."""
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantized(model: Any, graph: Any, images: np.ndarray, requirements: str) -> Any:
    """A model of the same kind, in int8 but for the parts above and the convolutions that read the image.

    Args:
        model: what becomes int8: an OpenVINO model, or `graph` itself; it is left as it is.
        graph: the `onnx.ModelProto` of `inference.export.graph`, whose nodes' names say what they belong to.
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
            raise ValueError(f"int8: nncf cannot quantize it ({' '.join(str(error).split())[:300]})") from error


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
