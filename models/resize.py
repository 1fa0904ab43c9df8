"""The interpolations, all with align_corners=True as the release has its two."""

import torch.nn.functional as F
from torch import Tensor

from models.config import DetectorConfig


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """B×C×h×w features or maps to B×C×size."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def bicubic_double(image: Tensor) -> Tensor:
    """B×C×H×W image to B×C×2H×2W: what the SR residual is added to."""
    return F.interpolate(image, scale_factor=2, mode="bicubic", align_corners=True)


def enlarged(rgb: Tensor, config: DetectorConfig) -> Tensor:
    """B×3×H×W to the size at which the encoder sees it (`DetectorConfig.encoder_size`), bicubic."""
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
    """The multiple of 32 next to side · to / of: what becomes of a side where one of `of` pixels becomes `to`."""
    return (2 * side * to + of * STRIDE) // (2 * of * STRIDE) * STRIDE
