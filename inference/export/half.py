"""Store an ONNX graph's weights in fp16: half the file, computed in fp32 at the speed of fp32.

A runtime converts the weights once, when it opens the file: ONNX Runtime folds a Cast of a constant.
"""

from types import ModuleType
from typing import Any

import numpy as np

SMALLEST = 256
"""Tensors of fewer values stay in fp32: they are biases and scales, and save nothing."""


def store_half(onnx: ModuleType, graph: Any) -> Any:
    """Return a copy of an `onnx.ModelProto` whose fp32 weights are fp16, each with a Cast to fp32.

    Raises:
        ValueError: a weight is beyond fp16's range.
    """
    model = type(graph)()
    model.CopyFrom(graph)
    del model.graph.node[:]
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.isinf(half).any():
            raise ValueError(f"--half: {tensor.name} holds {np.abs(values).max():g}, fp16 ends at 65504: leave it out")
        name, stored = tensor.name, f"{tensor.name}_half"
        model.graph.node.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, stored))
    model.graph.node.extend(graph.graph.node)  # after the casts: a graph is in topological order
    return model
