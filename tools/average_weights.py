"""The mean of several networks' weights as one network: near to their ensemble, at the cost of one.

    python -m tools.average_weights runs/A/last.safetensors runs/B/last.safetensors --output runs/soup.safetensors
    python -m tools.average_weights runs/A/checkpoints/*.safetensors weights/START.safetensors \\
        --output runs/soup.safetensors

It is a network of use only where all come from one trained network: runs that started from it (train.py --weights) and
differ in seed, augmentation or rate (model soups, Wortsman et al., ICML 2022), stages of one run (stochastic weight
averaging, Izmailov et al., UAI 2018), and that network itself. Score it before you believe in it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.config import without_sizes
from models.vit import for_grid
from models.weights import load_detector, read_header, save_weights
from tools.inspect_sr import load_checkpoint_network
from training.checkpoint import FOLDER


def soup(sources: Sequence[Path], target: Path, command: str = "") -> None:
    """Write the inference network whose parameters and statistics are the means of several files'.

    Args:
        sources: weights files and training runs' checkpoints of one detector, sizes apart; the first has the result's.
        target: the .safetensors file to write; what the files say about themselves goes along, as `soup_of`.
        command: how it was made, for the file to say.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector`; or the files are not of one detector.
    """
    found = [_read(Path(source)) for source in sources]
    first = found[0][0]
    for source, (detector, _) in zip(sources, found, strict=True):
        if without_sizes(detector.config) != without_sizes(first.config):
            raise ValueError(f"{source} is of another detector than {sources[0]}: a mean needs one configuration")
    states = [for_grid(part.state_dict(), part.config.tokens, first.config.tokens) for part, _ in found]
    means = {
        key: torch.stack([state[key] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for key, value in states[0].items()
    }
    first.load_state_dict(means)
    save_weights(target, first, {"command": command, "soup_of": [about for _, about in found]})


def _read(source: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A file's detector, and what it says about itself."""
    if source.parent.name != FOLDER:
        return load_detector(source), read_header(source)["about"]
    settings, network = load_checkpoint_network(source)
    return network.detector, {"checkpoint": source.stem, "seed": settings.seed, "epochs": settings.epochs}


def main() -> None:
    """Average some files."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.average_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources", type=Path, nargs="+", metavar="FILE", help="weights files or checkpoints of one detector"
    )
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    options = parser.parse_args()
    try:
        soup(options.sources, options.output, " ".join(["tools.average_weights", *sys.argv[1:]]))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: the mean of {len(options.sources)}")


if __name__ == "__main__":
    main()
