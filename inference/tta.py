"""Test-time augmentation: the mean of the maps that an image's mirror image, or all eight of its symmetries, give."""

from collections.abc import Callable

import numpy as np

TTA_MODES = {
    "mirror": ((0, False), (0, True)),
    "eight": tuple((turns, mirror) for turns in range(4) for mirror in (False, True)),
}
"""By name: quarter turns anticlockwise, and whether left and right are then swapped."""


def mean_over_symmetries(
    network: Callable[[np.ndarray], np.ndarray], symmetries: str
) -> Callable[[np.ndarray], np.ndarray]:
    """A network that answers with the mean over an image's symmetries, each turned back: as many passes, as much time.

    Args:
        network: B×H×W×3 uint8 RGB to B×2H×2W saliency; with 'eight' it also gets W×H where that is another size.
        symmetries: 'mirror' (two passes) or 'eight': mirror images and rotations by multiples of 90°, which an image
            taken from above has no reason to prefer.

    Returns:
        The same interface; an image and its mirror image (with 'eight', each of the eight) have the same map, turned.
    """

    def mean(pixels: np.ndarray) -> np.ndarray:
        return sum(_through(network, pixels, *each) for each in TTA_MODES[symmetries]) / len(TTA_MODES[symmetries])

    return mean


def _through(network: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, turns: int, mirror: bool) -> np.ndarray:
    turned = np.rot90(pixels, turns, axes=(1, 2))
    saliency = network(np.ascontiguousarray(turned[:, :, ::-1] if mirror else turned))
    return np.rot90(saliency[:, :, ::-1] if mirror else saliency, -turns, axes=(1, 2))
