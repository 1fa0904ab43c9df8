"""A training run's weights file cut down to what infers, to be published or shipped:

    python -m tools.prune RUN/best.safetensors OUT.safetensors [--half] [--bare] [--token-grid ROWS COLUMNS]

With --bare, a host's own state dict, which the host's own code loads: `network.load_state_dict(load_file(OUT))`.
With --encoder-size or --token-grid, the network sees its image larger than it was trained to (`models.fixres`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from models.hosts import release, run_host_file
from models.fixres import at_resolution
from models.weights import load_detector, read_header, save_bare, save_weights


def prune(
    source: Path,
    target: Path,
    half: bool = False,
    bare: bool = False,
    encoder_size: Sequence[int] | None = None,
    token_grid: Sequence[int] | None = None,
) -> int:
    """Write the inference network of `source` to `target`; what the file says about itself goes along.

    Args:
        source: a weights file of either kind.
        target: the .safetensors file to write.
        half: store fp16 (half the size); loading gives fp32 again, rounded to fp16.
        bare: write a host's own state dict, by its own names and without its configuration.
        encoder_size, token_grid: another size for the encoder or its tokens, as `models.fixres.at_resolution`.

    Returns:
        The network's number of parameters.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector` and `at_resolution`; or `bare` for our own detector.
    """
    detector = load_detector(source)
    if encoder_size is not None or token_grid is not None:
        detector = at_resolution(detector, encoder_size, token_grid)
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
    size = {"type": int, "nargs": 2}
    what = "enlarge the image inside, for the encoder: multiples of 32"
    parser.add_argument("--encoder-size", **size, metavar=("HEIGHT", "WIDTH"), help=what)
    what = "let its tokens see more patches than they were trained on"
    parser.add_argument("--token-grid", **size, metavar=("ROWS", "COLUMNS"), help=what)
    parser.add_argument("--host-file", type=Path, metavar="FILE.py", help="registers the network, where it is your own")
    options = parser.parse_args()
    try:
        if options.host_file:
            run_host_file(options.host_file)
        sizes = (options.encoder_size, options.token_grid)
        parameters = prune(options.source, options.target, options.half, options.bare, *sizes)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.target}: {parameters:,} parameters, {options.target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
