"""A trained network that is to see its image larger than it was trained to.

Random crops show things larger in training than whole images show them afterwards, so that a network may do better at a
larger size than its own, without training (FixRes: Touvron et al., NeurIPS 2019). Choose on images like its own.
"""

from collections.abc import Sequence
from dataclasses import replace

from models.config import check_config
from models.detector import Detector, build_detector
from models.vit import for_grid
from models.weights import fill


def resized(
    detector: Detector, encoder_size: Sequence[int] | None = None, token_grid: Sequence[int] | None = None
) -> Detector:
    """The same network at another size; its input and its map keep theirs.

    Args:
        detector: a trained one.
        encoder_size: height and width at which the encoder is to see an image of `input_size`; None: as it did.
        token_grid: rows and columns of patches that its tokens are to see, their position embedding resampled; None: as
            they did.

    Returns:
        A network of its own, in eval mode.

    Raises:
        ValueError: such a size or grid does not work, a host or an encoder for one size alone has none, or the network
            has no tokens.
    """
    config, state = detector.config, detector.state_dict()
    if encoder_size is not None:
        config = replace(config, encoder_size=tuple(encoder_size))
    if token_grid is not None:
        if config.tokens is None:
            raise ValueError(f"token grid: {config.name} has no tokens that could see another")
        config = replace(config, tokens=replace(config.tokens, grid=tuple(token_grid)))
    check_config(config)
    state = for_grid(state, detector.config.tokens, config.tokens)
    return fill(build_detector(config), state, f"{config.name} at another size").eval()
