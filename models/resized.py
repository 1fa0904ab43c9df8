"""A trained network that is to see its image larger than it was trained to.

Random crops show things larger in training than whole images show them afterwards, so that a network may do better at a
larger size than its own, without training (FixRes: Touvron et al., NeurIPS 2019). Choose by a validation part.
"""

from dataclasses import replace

from timm.layers import resample_abs_pos_embed
from torch import Tensor

from models.config import DetectorConfig, check_config
from models.detector import Detector, build_detector


def resized(
    detector: Detector, encoder_size: tuple[int, int] | None = None, token_grid: tuple[int, int] | None = None
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
        ValueError: such a size or grid does not work, a host has none, or the network has no tokens.
    """
    config = _with_sizes(detector.config, encoder_size, token_grid)
    check_config(config)
    network = build_detector(config)
    wanted, state = network.state_dict(), detector.state_dict()
    for name, value in state.items():
        if value.shape != wanted[name].shape:
            state[name] = _resampled(value, detector.config.tokens.grid, config.tokens.grid)
    network.load_state_dict(state)
    return network.eval()


def _with_sizes(
    config: DetectorConfig, encoder_size: tuple[int, int] | None, token_grid: tuple[int, int] | None
) -> DetectorConfig:
    if token_grid is not None:
        if config.tokens is None:
            raise ValueError(f"token grid: {config.name} has no tokens that could see another")
        config = replace(config, tokens=replace(config.tokens, grid=token_grid))
    return config if encoder_size is None else replace(config, encoder_size=encoder_size)


def _resampled(position: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A position embedding, 1×n×C, with or without places for the class token and the like before the grid's."""
    prefix = position.shape[1] - old[0] * old[1]
    return resample_abs_pos_embed(position, list(new), list(old), num_prefix_tokens=prefix)
