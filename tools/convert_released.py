"""Convert a checkpoint of the authors' release into a weights file of this project.

python -m tools.convert_released SRAL_ORSSD.pth --output sral_orssd.safetensors [--pruned]
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
        prog="python -m tools.convert_released",
        description="Convert a checkpoint of the authors' release into a weights file of this project.",
    )
    parser.add_argument("checkpoint", type=Path, help="SRAL_ORSSD.pth, SRAL_EORSSD.pth or SRAL_ORS_4199.pth")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--pruned", action="store_true", help="write the inference network only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

from torch import Tensor

from models.config import SRALConfig
from models.sral import SRAL, build_sral
from models.state import fill
from models.weights import save_weights
from utils.outputs import refuse_inputs
from utils.torch_file import read_torch_file

_LAYERS = {  # ours -> released, inside a transposed aggregation block
    "fuse": "fuse", "norm": "bn1",
    "up": "down1", "up_norm": "bn2", "conv": "down2", "conv_norm": "bn3", "predict": "smaps",
}  # fmt: skip
_ASRD = {"shallow": "down", "fuse": "fuse", "predict": "pred_sr", "features": "sr_fea"}


def released_name(ours: str) -> str:
    """Return the name that the release gives to a tensor of our training network with the default ResNet-50."""
    part, _, rest = ours.removeprefix("detector.").partition(".")
    if part == "encoder":
        return "bkbone." + rest.removeprefix("body.")
    if part == "ppm":
        return "ppm." + _ppm_name(rest)
    if part == "asrd":
        return "SRDcoder." + _asrd_name(rest)
    if part == "tfgm":
        return "pointwise." + rest.removeprefix("guidance.")
    return _block_name(f"{part}.{rest}")


def _ppm_name(ours: str) -> str:
    if found := re.fullmatch(r"branches\.(\d)\.(\d)\.(.+)", ours):  # the release's index 0 is the pooling
        return f"conv{int(found[1]) + 1}.{int(found[2]) + 1}.{found[3]}"
    return ours.replace("reduce.", "down_conv.")


def _asrd_name(ours: str) -> str:
    if found := re.fullmatch(r"up\.(\d)\.(\d)\.(.+)", ours):  # transposed convolutions and residual blocks in turn
        return f"up.{2 * int(found[1]) + int(found[2])}.{found[3].replace('shortcut', 'residual')}"
    part, _, rest = ours.partition(".")
    return f"{_ASRD[part]}.{rest}"


def _block_name(ours: str) -> str:
    """The release's `fuse5` is the block on F5, our first; `fuse1` is the finest, whose head is the detector's."""
    if found := re.fullmatch(r"tsdd\.blocks\.(\d)\.(.+)", ours):
        level, rest = 5 - int(found[1]), found[2]
    elif found := re.fullmatch(r"coarse_heads\.(\d)\.(.+)", ours):
        level, rest = 2 + int(found[1]), found[2]
    else:
        level, rest = 1, ours.removeprefix("tsdd.head.")
    layer, _, tensor = rest.partition(".")
    return f"fuse{level}.{_LAYERS[layer]}.{tensor}"


def convert(released: dict[str, Tensor], where: str = "released checkpoint") -> SRAL:
    """Build the training network that a released state dict describes, in eval mode, and fill it.

    Raises:
        ValueError: parameters are missing, extra or misshapen; they are named as the checkpoint names them.
    """
    network = build_sral(SRALConfig())
    names = {ours: released_name(ours) for ours in network.state_dict()}
    fill(network, _inside(released, set(names.values())), where, names)
    return network.eval()


def _inside(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Return the part of a larger state dict, such as Lightning's, whose names under one prefix are the wanted ones."""
    first = min(wanted)
    for prefix in (name.removesuffix(first) for name in state if name.endswith(f".{first}")):
        if all(prefix + name in state for name in wanted):
            return {name: state[prefix + name] for name in wanted}
    return state


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a released .pth, which may be untrusted: nothing in it is run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a plain state dict.
    """
    if not path.exists():
        raise FileNotFoundError(f"released checkpoint {path}: no such file")
    try:
        return read_torch_file(path)
    except ValueError as error:
        raise ValueError(f"{path}: not a plain state dict ({error})") from error


def main() -> None:
    """Convert one checkpoint."""
    options = _parse_arguments()
    try:
        refuse_inputs(options.output, [options.checkpoint])
        network = convert(read_checkpoint(options.checkpoint), str(options.checkpoint))
        kept = network.detector if options.pruned else network
        save_weights(options.output, kept, {"converted_from": options.checkpoint.name})
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: {sum(p.numel() for p in kept.parameters()):,} parameters")


if __name__ == "__main__":
    command.run(main)
