"""Write the network file of the page: the shipped int8 ONNX file with 8-bit weights and float32 activations.

Quantized activations round differently in WebAssembly than in native ONNX Runtime: maps differ by up to 85 gray levels.
Without them the two agree to one level, and the file stays as small.

`python -m web.model OUTPUT [--weights weights/lite2_eorssd_int8.onnx]`
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from utils.files import atomic_write
from utils.outputs import refuse_inputs
from utils.text import one_line

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "weights" / "lite2_eorssd_int8.onnx"


def without_quantized_activations(model: onnx.ModelProto) -> int:
    """Remove every pair of QuantizeLinear and DequantizeLinear in place, and return how many pairs there were."""
    graph = model.graph
    quantized = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    pairs = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in quantized]
    sources = {node.output[0]: quantized[node.input[0]].input[0] for node in pairs}
    gone = {id(node) for node in (*pairs, *quantized.values())}
    kept = [node for node in graph.node if id(node) not in gone]
    for node in kept:
        for index, name in enumerate(node.input):
            while name in sources:
                name = sources[name]
            node.input[index] = name
    outputs = {output.name for output in graph.output}
    if outputs & (set(sources) | set(quantized)):
        raise ValueError("an output of the network is quantized: give a file that inference.export wrote")
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    return len(pairs)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write the network file of the page.")
    parser.add_argument("output", type=Path, help="ONNX file to write")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="int8 ONNX file (default: %(default)s)")
    options = parser.parse_args()
    try:
        if not options.weights.is_file():
            raise FileNotFoundError("no such file")
        model = onnx.load(options.weights)
        pairs = without_quantized_activations(model)
        onnx.checker.check_model(model, full_check=True)
    except (OSError, ValueError, DecodeError, onnx.checker.ValidationError) as error:
        sys.exit(f"error: {options.weights}: {one_line(error)}: give an int8 ONNX file of inference.export")
    try:
        refuse_inputs(options.output, [options.weights], "OUTPUT")
        atomic_write(options.output, model.SerializeToString())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {one_line(error)}")
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, {pairs} quantized activations removed")


if __name__ == "__main__":
    command.run(main)
