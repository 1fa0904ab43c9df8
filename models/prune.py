"""A training run's weights file cut down to what infers, to be published or shipped:

    python -m models.prune RUN/best.safetensors OUT.safetensors [--half] [--bare]

With --bare, a host's own state dict, which the host's own code loads: `network.load_state_dict(load_file(OUT))`.
"""

import argparse
import sys
from pathlib import Path

from models.hosts import release, run_host_file
from models.weights import load_detector, read_header, save_bare, save_weights


def prune(source: Path, target: Path, half: bool = False, bare: bool = False) -> int:
    """Write the inference network of `source` to `target`; what the file says about itself goes along.

    Args:
        source: a weights file of either kind.
        target: the .safetensors file to write.
        half: store fp16 (half the size); loading gives fp32 again, rounded to fp16.
        bare: write a host's own state dict, by its own names and without its configuration.

    Returns:
        The network's number of parameters.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector`; or `bare` for our own detector.
    """
    detector = load_detector(source)
    kept, save = (release(detector), save_bare) if bare else (detector, save_weights)
    save(target, kept.half() if half else kept, read_header(source)["about"])
    return sum(parameter.numel() for parameter in detector.parameters())


def main() -> None:
    """Prune one file."""
    parser = argparse.ArgumentParser(description="Cut a training run's weights file down to the inference network.")
    parser.add_argument("source", type=Path, help="RUN/best.safetensors or RUN/last.safetensors")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store fp16: half the size")
    parser.add_argument("--bare", action="store_true", help="a host's own state dict, for its own code to load")
    parser.add_argument("--host-file", type=Path, metavar="FILE.py", help="registers the network, where it is your own")
    options = parser.parse_args()
    try:
        if options.host_file:
            run_host_file(options.host_file)
        parameters = prune(options.source, options.target, options.half, options.bare)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.target}: {parameters:,} parameters, {options.target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
