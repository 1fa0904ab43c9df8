"""Interpolation, always with align_corners=True as in the release, and the sizes that networks take."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from models.config import DetectorConfig


def bilinear(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize B×C×h×w features or maps to B×C×size."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def bicubic_double(image: Tensor) -> Tensor:
    """Resize a B×C×H×W image to B×C×2H×2W: what the SR residual is added to."""
    return F.interpolate(image, scale_factor=2, mode="bicubic", align_corners=True)


def enlarged(rgb: Tensor, config: DetectorConfig) -> Tensor:
    """Resize B×3×H×W to the size that the encoder reads (`DetectorConfig.encoder_size`), bicubic."""
    if config.encoder_size is None:
        return rgb
    size = [
        in_proportion(side, of, to)
        for side, of, to in zip(rgb.shape[-2:], config.input_size, config.encoder_size, strict=True)
    ]
    return F.interpolate(rgb, size=size, mode="bicubic", align_corners=True)


STRIDE = 32
OUTPUT_SCALE = 2


def check_size(height: int, width: int, what: str = "input size") -> None:
    """Raise a ValueError that names the nearest size that works, where height or width is no multiple of 32."""
    if height % STRIDE or width % STRIDE or height < STRIDE or width < STRIDE:
        nearest = tuple(max(STRIDE, round(side / STRIDE) * STRIDE) for side in (height, width))
        raise ValueError(
            f"{what} {height}×{width}: height and width must be multiples of {STRIDE}; "
            f"the nearest that works is {nearest[0]}×{nearest[1]}"
        )


def in_proportion(side: int, of: int, to: int) -> int:
    """Return the multiple of 32 nearest to side · to / of."""
    return (2 * side * to + of * STRIDE) // (2 * of * STRIDE) * STRIDE
