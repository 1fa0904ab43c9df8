"""Maps and masks from files of any mode as 8-bit grey, without importing torch.

Masks are read by the rules of `datasets.views.open_mask`, so that what is scored against is what was trained on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image


def read_map(path: Path) -> np.ndarray:
    """Read a saliency map as an (H, W) uint8 array, 0 to 255.

    Colour becomes Pillow's luma, alpha is dropped, one-bit pixels become 0 and 255. 16-bit pixels give their high
    byte, but are taken as they are where none is above 255.

    Raises:
        ValueError: the file is missing or broken, or its pixels are neither 8- nor 16-bit values.
    """
    with _opened(path) as image:
        return _grey(image)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as an (H, W) uint8 array, 255 the salient object.

    As `read_map`, and masks that number classes are spread to 0 and 255: a palette with colours (all but index 0 is
    foreground) and a mask whose greatest value is 1.

    Raises:
        ValueError: as `read_map`.
    """
    with _opened(path) as image:
        if image.mode in ("P", "PA") and _has_colours(image):
            return np.where(np.asarray(image.getchannel(0)) > 0, np.uint8(255), np.uint8(0))
        mask = _grey(image)
        return mask * np.uint8(255) if mask.max() == 1 else mask


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            image.load()
            yield image
    except Exception as error:  # on broken files Pillow's decoders raise what they like: SyntaxError, struct.error, …
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read {path} ({reason}): replace the file") from error


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _high_byte(np.asarray(image))
    image.info.pop("transparency", None)  # of a palette, about which Pillow warns
    return np.asarray(image.convert("L"))


def _high_byte(deep: np.ndarray) -> np.ndarray:
    low, high = deep.min(), deep.max()
    if deep.dtype.kind == "f" or low < 0 or high > 65535:
        raise ValueError(f"its pixels are {deep.dtype} from {low} to {high}, not of 8 or 16 bits")
    return (deep if high <= 255 else deep.astype(np.int32) >> 8).astype(np.uint8)


def _has_colours(image: Image.Image) -> bool:
    image.info.pop("transparency", None)
    red, green, blue = image.convert("RGB").split()
    return not red.tobytes() == green.tobytes() == blue.tobytes()
