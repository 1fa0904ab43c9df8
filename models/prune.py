"""A training run's weights file cut down to what infers, to be published or shipped:

    python -m models.prune RUN/best.safetensors OUT.safetensors [--half]
"""

import argparse
import sys
from pathlib import Path

from models.weights import load_detector, read_header, save_weights


def prune(source: Path, target: Path, half: bool = False) -> int:
    """Write the inference network of `source` to `target`; what the file says about itself goes along.

    Args:
        source: a weights file of either kind.
        target: the .safetensors file to write.
        half: store fp16 (half the size); loading gives fp32 again, rounded to fp16.

    Returns:
        The network's number of parameters.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector`.
    """
    detector = load_detector(source)
    save_weights(target, detector.half() if half else detector, read_header(source)["about"])
    return sum(parameter.numel() for parameter in detector.parameters())


def main() -> None:
    """Prune one file."""
    parser = argparse.ArgumentParser(description="Cut a training run's weights file down to the inference network.")
    parser.add_argument("source", type=Path, help="RUN/best.safetensors or RUN/last.safetensors")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store fp16: half the size")
    options = parser.parse_args()
    try:
        parameters = prune(options.source, options.target, options.half)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.target}: {parameters:,} parameters, {options.target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
