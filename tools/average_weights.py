"""Average the weights of several networks into one: close to their ensemble, at the cost of one network.

    python -m tools.average_weights runs/A/last.safetensors runs/B/last.safetensors --output runs/average.safetensors
    python -m tools.average_weights runs/A/checkpoints/*.safetensors weights/START.safetensors \\
        --output runs/average.safetensors

All files must come from one trained network: runs that started from it (train.py --weights) and differ in seed,
augmentation or learning rate (model soups, Wortsman et al., ICML 2022), or checkpoints of one run (stochastic weight
averaging, Izmailov et al., UAI 2018). Otherwise the average is of no use. Score it before you use it.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.average_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources", type=Path, nargs="+", metavar="FILE", help="a weights file, or a checkpoint of a run"
    )
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import torch

from models.config import without_sizes
from models.detector import Detector
from models.hosts import Host
from models.state import resample_positions
from models.weights import load_detector, read_header, save_weights
from tools.run_networks import load_checkpoint_network
from training.checkpoint import FOLDER
from utils.outputs import refuse_inputs


def average(sources: Sequence[Path], output: Path, command: str = "") -> None:
    """Write the inference network whose parameters and statistics are the means of several files'.

    Args:
        sources: weights files and training runs' checkpoints of one detector; sizes may differ. The result has the
            configuration of the first.
        output: the .safetensors file to write. It records what the files say about themselves, as `average_of`.
        command: how it was made; recorded too.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector`; the files are not of one detector,
            or one of them is `output`.
    """
    refuse_inputs(output, sources)
    found = [_read(Path(source)) for source in sources]
    first = found[0][0]
    for source, (detector, _) in zip(sources, found, strict=True):
        if without_sizes(detector.config) != without_sizes(first.config):
            raise ValueError(f"{source} is of another detector than {sources[0]}: average files of one configuration")
    states = [resample_positions(part.state_dict(), part.config.tokens, first.config.tokens) for part, _ in found]
    means = {
        key: torch.stack([state[key] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for key, value in states[0].items()
    }
    first.load_state_dict(means)
    save_weights(output, first, {"command": command, "average_of": [about for _, about in found]})


def _read(source: Path) -> tuple[Detector | Host, dict[str, Any]]:
    """Return a file's detector, and what the file says about itself."""
    if source.parent.name != FOLDER:
        return load_detector(source), read_header(source)["about"]
    settings, network = load_checkpoint_network(source)
    return network.detector, {"checkpoint": source.stem, "seed": settings.seed, "epochs": settings.epochs}


def main() -> None:
    """Average the files that the command line names."""
    options = _parse_arguments()
    try:
        average(options.sources, options.output, " ".join(["tools.average_weights", *sys.argv[1:]]))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: the average of {len(options.sources)} files")


if __name__ == "__main__":
    command.run(main)
