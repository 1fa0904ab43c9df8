"""Test-time augmentation: average the saliency over mirrored and rotated copies of an image."""

import functools
from collections.abc import Callable

import numpy as np

Network = Callable[[np.ndarray], np.ndarray]

TTA_MODES = {
    "mirror": ((0, False), (0, True)),
    "eight": tuple((rotations, mirror) for rotations in range(4) for mirror in (False, True)),
}
"""By mode: (number of counterclockwise 90° rotations, whether left and right are swapped afterwards) of each copy."""


def with_tta(network: Network, mode: str) -> Network:
    """Return a network that averages over the copies of an image, each rotated back. Time grows with the copies.

    Args:
        network: B×H×W×3 uint8 RGB to B×2H×2W saliency; for 'eight' it must also take W×H.
        mode: 'mirror' (the image and its mirror image: 2 passes) or 'eight' (all combinations of mirroring and 90°
            rotations: 8 passes). Aerial images have no preferred orientation.

    Returns:
        The same interface. Its result for a mirrored image is the mirrored result; with 'eight', also for a rotated
        image.
    """

    def mean(pixels: np.ndarray) -> np.ndarray:
        saliencies = (_transformed(network, pixels, *copy) for copy in TTA_MODES[mode])
        return functools.reduce(np.add, saliencies) / len(TTA_MODES[mode])

    return mean


def _transformed(network: Network, pixels: np.ndarray, rotations: int, mirror: bool) -> np.ndarray:
    """Return the saliency of a transformed image, transformed back."""
    rotated = np.rot90(pixels, rotations, axes=(1, 2))
    saliency = network(np.ascontiguousarray(rotated[:, :, ::-1] if mirror else rotated))
    return np.rot90(saliency[:, :, ::-1] if mirror else saliency, -rotations, axes=(1, 2))
