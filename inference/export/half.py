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
    stored, casts = [], []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= SMALLEST:
            with np.errstate(over="ignore"):
                half = values.astype(np.float16)
            if np.isinf(half).any():
                raise ValueError(f"--half: {tensor.name} holds {np.abs(values).max():g}, fp16 ends at 65504")
            name = f"{tensor.name}_half"
            casts.append(onnx.helper.make_node("Cast", [name], [tensor.name], to=onnx.TensorProto.FLOAT))
            tensor = onnx.numpy_helper.from_array(half, name)
        stored.append(tensor)
    nodes = [*casts, *model.graph.node]
    for field, values in ((model.graph.initializer, stored), (model.graph.node, nodes)):
        kept = [type(each).FromString(each.SerializeToString()) for each in values]
        del field[:]
        field.extend(kept)
    return model
