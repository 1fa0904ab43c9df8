"""The mean of several runs' weights as one network: near to the runs' ensemble, at the cost of one.

    python -m training.soup runs/A/last.safetensors runs/B/last.safetensors --output runs/soup.safetensors

It is a network of use only where the runs started from one trained network (train.py --weights) and differ in seed,
augmentation or rate (model soups, Wortsman et al., ICML 2022): score it before you believe in it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from models.weights import load_detector, read_header, save_weights


def soup(sources: Sequence[Path], target: Path) -> None:
    """Write the inference network whose parameters and statistics are the means of several files'.

    Args:
        sources: weights files of one detector.
        target: the .safetensors file to write; what the files say about themselves goes along, as `soup_of`.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector`; or the files are not of one detector.
    """
    detectors = [load_detector(source) for source in sources]
    first = detectors[0]
    for source, detector in zip(sources, detectors, strict=True):
        if detector.config != first.config:
            raise ValueError(f"{source} is of another detector than {sources[0]}: a mean needs one configuration")
    states = [detector.state_dict() for detector in detectors]
    means = {
        key: torch.stack([state[key] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for key, value in states[0].items()
    }
    first.load_state_dict(means)
    save_weights(target, first, {"soup_of": [read_header(source)["about"] for source in sources]})


def main() -> None:
    """Average some files."""
    parser = argparse.ArgumentParser(description="The mean of several runs' weights, as one inference network.")
    parser.add_argument("sources", type=Path, nargs="+", metavar="FILE", help="weights files of one detector")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    options = parser.parse_args()
    try:
        soup(options.sources, options.output)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: the mean of {len(options.sources)}")


if __name__ == "__main__":
    main()
