"""From an image file and its mask to the tensors that a network reads and is supervised by."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from datasets.augment import UNCHANGED, Augmentation, apply_colour, apply_geometry, draw
from datasets.catalog import Pair
from datasets.decode import open_image, open_mask

MEAN = (0.3412, 0.3798, 0.3583)
STD = (0.1148, 0.1042, 0.0990)
"""Per-channel statistics of EORSSD's RGB in [0, 1]; the release normalises all its data sets with them."""


class SampleError(ValueError):
    """What is wrong with one sample, in one line that names its set and stem.

    A DataLoader's worker hands an exception over by building it anew from a whole traceback; its last line is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().splitlines()[-1].rpartition("SampleError: ")[2])


class SalientObjectViews(Dataset):
    """Pairs of files as training samples, each image and mask decoded once and all views seeing the same geometry.

    Sample i of epoch e is drawn from (seed, e, i) alone: neither the workers nor an interruption change it.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        size: int | tuple[int, int] = 224,
        augment: Augmentation | None = None,
        name: str = "ORSSD",
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        seed: int = 0,
    ) -> None:
        """
        Args:
            pairs: what `datasets.catalog` found.
            size: S, or (height, width), of the low-resolution views; SR target and mask have twice that.
            augment: what may be done to a sample; None leaves all as they are.
            name: the set's name, for errors.
            mean, std: the RGB view's normalisation.
            seed: of the augmentations.
        """
        self.pairs = list(pairs)
        self.size = height_and_width(size)
        self.augment = augment
        self.name = name
        self.mean, self.std = tuple(mean), tuple(std)
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers read it too

    def set_epoch(self, epoch: int) -> None:
        """Draw the augmentations of this epoch (from 0); call it before the loader is iterated."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """The views of one pair, float32 tensors C×H×W, with S the size asked for.

        `rgb` 3×S×S normalised; `ycbcr` 3×S×S and `sr_target` 3×2S×2S, full-range (JPEG) YCbCr in [0, 1]; `mask`
        1×2S×2S in [0, 1], soft at the borders; `stem`, a string. The facts are in spec/architecture.md, Inputs.

        Raises SampleError, a ValueError, where a file cannot be read or image and mask differ in size.
        """
        pair = self.pairs[index]
        try:
            image, mask = open_image(pair.image), open_mask(pair.mask)
            if image.size != mask.size:
                sizes = [f"{width}×{height}" for width, height in (image.size, mask.size)]
                raise ValueError(f"the image has {sizes[0]} pixels, its mask {sizes[1]}")
            return {**self._views(image, mask, index), "stem": pair.stem}
        except (OSError, ValueError) as error:
            raise SampleError(f"{self.name} {pair.stem}: {' '.join(str(error).split())}") from error

    def _views(self, image: Image.Image, mask: Image.Image, index: int) -> dict[str, Tensor]:
        height, width = self.size
        drawn = UNCHANGED
        if self.augment:
            generator = np.random.default_rng((self.seed, int(self._epoch), index))
            drawn = draw(self.augment, generator, square=height == width)
        image = apply_colour(drawn, image)
        ycbcr = image.convert("YCbCr")
        double = (2 * height, 2 * width)
        return {
            "rgb": normalised(apply_geometry(drawn, image, self.size), self.mean, self.std),
            "ycbcr": to_tensor(apply_geometry(drawn, ycbcr, self.size)),
            "sr_target": to_tensor(apply_geometry(drawn, ycbcr, double)),
            "mask": to_tensor(apply_geometry(drawn, mask, double)),
        }


def to_tensor(image: Image.Image) -> Tensor:
    """8-bit pixels as float32 C×H×W in [0, 1]."""
    pixels = torch.from_numpy(np.array(image))
    channels_first = pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels[None]
    return channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def normalised(image: Image.Image, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """8-bit RGB pixels as float32 3×H×W, less the mean, over the standard deviation."""
    mean, std = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (mean, std))
    return to_tensor(image).sub_(mean).div_(std)


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one number or two. Raises ValueError unless both are positive."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"the size must be positive, not {size}")
    return height, width
