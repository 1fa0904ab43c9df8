"""Wrap an ONNX file for Deepness, the QGIS plugin: one square input of floats, one output of the input's size.

Source: Deepness' documentation of its models, and its code (version 0.6.5), which reads `tile_size` where the
documentation says `tiles_size`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from inference.backends.onnx_runtime import REQUIREMENTS
from inference.export.header import INPUT, SALIENCY, Header
from utils.devices import optional

IR_VERSION, OPSET = 9, 20
"""The newest ones that the plugin's ONNX Runtime, 1.17, reads."""
MAX_DIFFERENCE = 1e-5
"""Largest difference of the wrapped file's output from the 2×2 means of the network's saliency."""
TILE_INPUT, TILE_OUTPUT = "input", "saliency_of_tile"


def check_square(header: Header) -> tuple[int, int]:
    """Return the training's (height, width). Raise a ValueError unless it is square, as the plugin's tiles are."""
    height, width = header.input_size
    if height != width:
        raise ValueError(f"--format deepness: the plugin's tiles are square, this network is for {height}×{width}")
    return height, width


def wrap_for_deepness(path: Path, header: Header, pixels: np.ndarray) -> str:
    """Replace an .onnx file of ours by one for Deepness, and compare both.

    The new input is 1×3×S×S float32 RGB in [0, 1], S the side of the training; the output is 1×1×S×S float32, the means
    of 2×2 pixels of the saliency. The plugin's buffer has 8 bits, so its metadata scale the output by 255.

    Args:
        path: the file, replaced.
        header: its header.
        pixels: N×S×S×3 uint8 RGB to compare on.

    Returns:
        The difference, as text.

    Raises:
        ValueError: the training's input is not square, the graph is too new for the plugin, or the outputs differ.
    """
    onnx, runtime = optional("onnx", REQUIREMENTS), optional("onnxruntime", REQUIREMENTS)
    height, width = check_square(header)
    model = onnx.load(path)
    newest = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if newest > OPSET:
        raise ValueError(f"--format deepness: the graph has opset {newest}, the plugin's ONNX Runtime reads {OPSET}")
    providers = ["CPUExecutionProvider"]
    plain = runtime.InferenceSession(path, providers=providers)
    _wrap(onnx, model.graph, height)
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, _metadata(header, height))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    wrapped = runtime.InferenceSession(path, providers=providers)
    greatest = 0.0
    for image in pixels:
        (saliency,) = plain.run([SALIENCY], {INPUT: image[None]})
        means = saliency.reshape(1, 1, height, 2, width, 2).mean((3, 5))
        (found,) = wrapped.run(None, {TILE_INPUT: np.moveaxis(image, -1, 0)[None].astype(np.float32) / 255})
        greatest = max(greatest, float(np.abs(found - means).max()))
    if not greatest <= MAX_DIFFERENCE:  # also refuses NaN
        raise ValueError(f"not written: the output for Deepness differs from the network's by {greatest:.1e}")
    return f"for Deepness: largest difference {greatest:.1e} from the 2×2 means of the saliency"


def _wrap(onnx: Any, graph: Any, side: int) -> None:
    """Add the nodes before and after the network, and replace the graph's input and outputs."""
    node, kinds = onnx.helper.make_node, onnx.TensorProto
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(value, kind), name)
        for name, value, kind in (
            ("tile_levels", 255, np.float32),
            ("tile_half", 0.5, np.float32),
            ("tile_channel", [1], np.int64),
        )
    )
    before = [
        node("Mul", [TILE_INPUT, "tile_levels"], ["tile_scaled"]),
        node("Add", ["tile_scaled", "tile_half"], ["tile_rounded"]),  # the cast cuts off
        node("Cast", ["tile_rounded"], ["tile_gray"], to=kinds.UINT8),
        node("Transpose", ["tile_gray"], [INPUT], perm=[0, 2, 3, 1]),
    ]
    after = [
        node("Unsqueeze", [SALIENCY, "tile_channel"], ["tile_saliency"]),
        node("AveragePool", ["tile_saliency"], [TILE_OUTPUT], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    nodes = [*before, *graph.node, *after]
    for index, each in enumerate((*before, *after)):
        each.name = f"deepness/{each.op_type.lower()}.{index}"
    value = onnx.helper.make_tensor_value_info
    for field, new in (
        (graph.node, nodes),
        (graph.input, [value(TILE_INPUT, kinds.FLOAT, [1, 3, side, side])]),
        (graph.output, [value(TILE_OUTPUT, kinds.FLOAT, [1, 1, side, side])]),
    ):
        del field[:]
        field.extend(new)
    del graph.value_info[:]  # their shapes were for any batch


def _metadata(header: Header, side: int) -> dict[str, str]:
    values = {
        "model_type": "Regressor",
        "tile_size": side,
        "tiles_size": side,
        "tiles_overlap": 50,
        "reg_output_scaling": 255.0,
        "class_names": {"0": "saliency"},
        "standardization_mean": [0.0, 0.0, 0.0],
        "standardization_std": [1.0, 1.0, 1.0],
        "weights_sha256": header.weights_sha256,
    }
    return {name: json.dumps(value) for name, value in values.items()}
