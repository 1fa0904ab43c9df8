"""The interpolations, all with align_corners=True as the release has its two."""

import torch.nn.functional as F
from torch import Tensor

from models.config import DetectorConfig
from models.sizes import in_proportion


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
