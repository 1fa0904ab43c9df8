"""Run a trained network at a higher input resolution than it was trained at (FixRes: Touvron et al., NeurIPS 2019).

Random crops show larger objects in training than whole images show afterwards. A network may therefore gain from a
larger input without further training. Choose the size on images like those it is meant for.
"""

from collections.abc import Sequence
from dataclasses import replace

from models.detector import Detector, build_detector
from models.hosts import Host
from models.state import fill, resample_positions


def at_resolution(
    detector: Detector | Host, encoder_size: Sequence[int] | None = None, token_grid: Sequence[int] | None = None
) -> Detector | Host:
    """Return a copy of a network whose encoder or transformer reads another size; its input and map keep theirs.

    Args:
        detector: a trained one.
        encoder_size: height and width at which the encoder reads an image of `input_size`; None: unchanged.
        token_grid: rows and columns of patches that the transformer reads, its position embedding resampled; None:
            unchanged.

    Returns:
        A new network in eval mode.

    Raises:
        ValueError: the size or grid does not work; the network is a host, its encoder takes one size only, or it has
            no tokens.
    """
    config = detector.config
    if encoder_size is not None:
        config = replace(config, encoder_size=(encoder_size[0], encoder_size[1]))
    if token_grid is not None:
        if config.tokens is None:
            raise ValueError(f"token grid: {config.name} has no tokens that could read another")
        config = replace(config, tokens=replace(config.tokens, grid=(token_grid[0], token_grid[1])))
    state = resample_positions(detector.state_dict(), detector.config.tokens, config.tokens)
    return fill(build_detector(config), state, f"{config.name} at another size").eval()
