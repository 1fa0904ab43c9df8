"""The saliency of images in memory or in files, one or a batch of them: what the torch.hub entry point returns."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from datasets.file_warnings import large_warning, warning_lines
from datasets.io import Reading, inspect_pixels
from inference.maps import float_map, gray_map

OUTPUTS = ("image", "float")
"""Kinds of results: 8-bit gray images, or float32 values in [0, 1]."""


class ImageSaliency:
    """A function from images to their saliency maps.

    Args:
        network: B×H×W×3 uint8 RGB to B×2H×2W saliency.
        input_size: (height, width) that images are resized to.
        reading: bands and value range of files.
        own_size: make maps of the images' own size, not of twice the network's input.
        raw: without the threshold and stretch of the released code.
        output: one of `OUTPUTS`.
    """

    def __init__(
        self,
        network: Callable[[np.ndarray], np.ndarray],
        input_size: tuple[int, int],
        reading: Reading,
        own_size: bool = False,
        raw: bool = False,
        output: str = "image",
    ) -> None:
        self.network, self.input_size, self.reading = network, input_size, reading
        self.own_size, self.raw, self.output = own_size, raw, output

    def __reduce__(self) -> NoReturn:
        """Raise a TypeError: threads, devices and sessions belong to the process that loaded the network."""
        raise TypeError("a loaded network cannot be copied or sent to a process: load it in each, by torch.hub.load")

    def __call__(self, images: Any) -> Any:
        """Return the map of an image, or the maps of a batch, which the network computes in one call.

        Args:
            images: one image: a file, a PIL image, an array (H×W gray or H×W×3 RGB, uint8 or uint16) or a tensor
                (1×H×W or 3×H×W RGB, uint8 or float in [0, 1]). Or a batch: a list of images of any sizes, an array
                B×H×W×3, or a tensor B×C×H×W.

        Returns:
            With the output 'image', an 8-bit gray PIL image, or a list of them. With 'float', float32 in [0, 1]: arrays
            H×W, a list of them for a list, and B×H×W for an array of images; tensors give tensors of one channel,
            1×H×W or B×1×H×W, on their device.

        Raises:
            FileNotFoundError, ValueError: an image is missing or broken, has another shape, or has values that would
                have to be guessed.
        """
        several = _several(images)
        singles = list(images) if several else [images]
        if not singles:
            return []
        found = [self._read(single) for single in singles]
        saliencies = self.network(np.stack([pixels for pixels, _ in found]))
        sizes = [size if self.own_size else None for _, size in found]
        if self.output == "image":
            maps: list[Any] = [gray_map(*each, self.raw) for each in zip(saliencies, sizes, strict=True)]
        else:
            maps = [float_map(*each, self.raw) for each in zip(saliencies, sizes, strict=True)]
            maps = [_as_given(*each) for each in zip(maps, singles, strict=True)]
        if not several:
            return maps[0]
        if self.output == "image" or isinstance(images, Sequence):
            return maps
        return torch.stack(maps) if isinstance(images, Tensor) else np.stack(maps)

    def _read(self, image: Any) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the network's input of an image, and the image's own size; warn of what is unusual."""
        given = _pixels(image) if isinstance(image, Tensor) else image
        pixels, own_size, found = inspect_pixels(given, self.input_size, self.reading)
        found |= large_warning(own_size, self.input_size)
        for line in warning_lines(str(image) if isinstance(image, str | Path) else "image", [("it", found)]):
            warnings.warn(line.removesuffix(" (it)"), stacklevel=3)
        return pixels, own_size


def _several(images: Any) -> bool:
    """Return whether a batch is given, not one image."""
    if isinstance(images, Tensor | np.ndarray):
        return images.ndim == 4
    return isinstance(images, list | tuple)


def _pixels(image: Tensor) -> np.ndarray:
    """Return a tensor's image as H×W×3 uint8. Raises ValueError for another shape, type or range."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        shape = "×".join(map(str, image.shape)) or "a single number"
        raise ValueError(f"a tensor of {shape}: expected 3×H×W or 1×H×W, or B×C×H×W for a batch; channels stand first")
    pixels = image.detach().cpu()
    if pixels.is_floating_point():
        if not (torch.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            found = f"{float(pixels.min()):.3g} to {float(pixels.max()):.3g}"
            raise ValueError(f"a float tensor holds {found}: expected RGB in [0, 1], not normalized; or give uint8")
        pixels = (pixels.float() * 255).round().to(torch.uint8)
    if pixels.dtype != torch.uint8:
        raise ValueError(f"a tensor of {pixels.dtype}: expected uint8, or float in [0, 1]")
    return pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _as_given(values: np.ndarray, image: Any) -> np.ndarray | Tensor:
    """Return a map's values as a tensor 1×H×W on the image's device where the image is a tensor."""
    return torch.from_numpy(values)[None].to(image.device) if isinstance(image, Tensor) else values
