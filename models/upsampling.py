"""The two interpolations of the paper's network, both with align_corners=True as the release has them."""

import torch.nn.functional as F
from torch import Tensor


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """B×C×h×w features or maps to B×C×size."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def bicubic_double(image: Tensor) -> Tensor:
    """B×C×H×W image to B×C×2H×2W: what the SR residual is added to."""
    return F.interpolate(image, scale_factor=2, mode="bicubic", align_corners=True)
