"""Maps and masks as arrays of 8-bit grey, read by the rules of training, so that both see the same masks."""

from pathlib import Path

import numpy as np

from datasets.decode import open_grey, open_mask


def read_map(path: Path) -> np.ndarray:
    """Read a saliency map as an (H, W) uint8 array; modes and errors as `datasets.decode.open_grey`."""
    return np.asarray(open_grey(path))


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as an (H, W) uint8 array, 255 the object; modes and errors as `datasets.decode.open_mask`."""
    return np.asarray(open_mask(path))
