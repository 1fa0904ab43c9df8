"""Cut a training run's weights file down to the inference network, to publish or ship it.

    python -m tools.prune RUN/best.safetensors --output OUT.safetensors [--half] [--bare] [--token-grid ROWS COLUMNS]

--bare writes a host's own state dict, which its own code loads: `network.load_state_dict(load_file(OUT))`.
--encoder-size and --token-grid let the network read a larger image than it was trained on (FixRes).
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
        prog="python -m tools.prune", description="Cut a training run's weights file down to the inference network."
    )
    parser.add_argument("weights", type=Path, help="RUN/best.safetensors or RUN/last.safetensors")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store fp16: half the size")
    parser.add_argument("--bare", action="store_true", help="write a host's own state dict, for its own code to load")
    size = {"type": int, "nargs": 2}
    what = "size to which the encoder's input is enlarged inside the network: multiples of 32"
    parser.add_argument("--encoder-size", **size, metavar=("HEIGHT", "WIDTH"), help=what)
    what = "patches that the transformer reads: more than in training, its position embedding resampled"
    parser.add_argument("--token-grid", **size, metavar=("ROWS", "COLUMNS"), help=what)
    what = "a Python file that registers the network, if it is your own; it is run"
    parser.add_argument("--host-file", type=Path, metavar="FILE.py", help=what)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import torch
from torch import nn

from models.fixres import at_resolution
from models.hosts import release, run_host_file
from models.weights import load_detector, read_header, save_bare, save_weights
from utils.outputs import refuse_inputs


def prune(
    source: Path,
    output: Path,
    half: bool = False,
    bare: bool = False,
    encoder_size: Sequence[int] | None = None,
    token_grid: Sequence[int] | None = None,
) -> int:
    """Write the inference network of `source` to `output`, with what the file says about itself.

    Args:
        source: a weights file of either kind.
        output: the .safetensors file to write.
        half: store fp16, half the size; loading gives fp32 again, rounded to fp16.
        bare: write a host's own state dict, by its own names and without its configuration.
        encoder_size, token_grid: another size for the encoder or its transformer, as `models.fixres.at_resolution`.

    Returns:
        The network's number of parameters.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector` and `at_resolution`; `bare` for our own
            detector; `output` is `source`; or `half` for a network with a value that fp16 cannot hold.
    """
    refuse_inputs(output, [source])
    detector = load_detector(source)
    if encoder_size is not None or token_grid is not None:
        detector = at_resolution(detector, encoder_size, token_grid)
    kept, save = (release(detector), save_bare) if bare else (detector, save_weights)
    save(output, to_half(kept, f"weights {source}") if half else kept, read_header(source)["about"])
    return sum(parameter.numel() for parameter in detector.parameters())


def to_half(network: nn.Module, where: str) -> nn.Module:
    """Convert a network to fp16 in place and return it.

    Raises:
        ValueError: a value is beyond fp16's range; its tensor is named.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and (over := tensor.half().isinf() & tensor.isfinite()).any():
            raise ValueError(
                f"{where}: {name} holds {tensor[over][0]:g}, but fp16 ends at {torch.finfo(torch.half).max:g}; "
                "write it without --half"
            )
    return network.half()


def main() -> None:
    """Prune one file."""
    options = _parse_arguments()
    try:
        if options.host_file:
            run_host_file(options.host_file)
        sizes = (options.encoder_size, options.token_grid)
        parameters = prune(options.weights, options.output, options.half, options.bare, *sizes)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: {parameters:,} parameters, {options.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    command.run(main)
