"""Saliency heads: turn a decoder block's features into logits at twice their size."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from models.resize import bilinear


def build_head(kind: str, in_channels: int, channels: tuple[int, int]) -> nn.Module:
    """Build the saliency head of that name, from B×in_channels×h×w to logits B×1×2h×2w.

    Args:
        kind: a key of HEADS.
        in_channels: of the features that it reads.
        channels: inside it, after the first and after the second convolution.

    Raises:
        ValueError: there is no such head.
    """
    if kind not in HEADS:
        raise ValueError(f"head {kind!r}: choose {', '.join(HEADS)}")
    return HEADS[kind](in_channels, channels)


def set_foreground_prior(network: nn.Module, share: float) -> None:
    """Set the last bias of every saliency head so that its maps start at about `share`.

    This prevents collapse to an all-background map: objects cover a few percent of the pixels, so a head that starts at
    one half may drive all its last weights negative. The method is that of Lin et al. (Focal loss, ICCV 2017, section
    4.1).

    Args:
        network: a detector or a training network, changed in place.
        share: in (0, 1).

    Raises:
        ValueError: the network has no such head: a host's own is not known here.
    """
    heads = [module for module in network.modules() if isinstance(module, tuple(HEADS.values()))]
    if not heads:
        raise ValueError("foreground_prior: it does not apply to a host's own head; leave foreground_prior out (null)")
    for head in heads:
        nn.init.constant_(head.get_parameter("predict.bias"), math.log(share / (1 - share)))


class TransposedHead(nn.Module):
    """The released head: a transposed convolution doubles the features' size, two convolutions follow."""

    def __init__(self, in_channels: int, channels: tuple[int, int]):
        super().__init__()
        first, second = channels
        self.up = nn.ConvTranspose2d(in_channels, first, 3, stride=2, padding=1, output_padding=1)
        self.up_norm = nn.BatchNorm2d(first)
        self.conv = nn.Conv2d(first, second, 3, padding=1)
        self.conv_norm = nn.BatchNorm2d(second)
        self.predict = nn.Conv2d(second, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map B×in_channels×h×w to logits B×1×2h×2w."""
        x = self.up_norm(self.up(x)).relu_()
        x = self.conv_norm(self.conv(x)).relu_()
        return self.predict(x)


class SubpixelHead(nn.Module):
    """Three convolutions at the features' own size; the last gives each position 2×2 logits."""

    scale, stride = 2, 1

    def __init__(self, in_channels: int, channels: tuple[int, int]):
        super().__init__()
        first, second = channels
        self.conv1 = nn.Conv2d(in_channels, first, 3, stride=self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(second)
        self.predict = nn.Conv2d(second, self.scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map B×in_channels×h×w to logits B×1×2h×2w."""
        height, width = x.shape[-2:]
        x = self.norm1(self.conv1(x)).relu_()
        x = self.norm2(self.conv2(x)).relu_()
        return F.pixel_shuffle(self.predict(x), self.scale)[..., : 2 * height, : 2 * width]


class QuarterHead(SubpixelHead):
    """Three convolutions at half the features' size; the last gives each position 4×4 logits."""

    scale, stride = 4, 2


class SeparableHead(nn.Module):
    """Bilinear upsampling and depthwise-separable convolutions (3×3 depthwise, 1×1 pointwise)."""

    def __init__(self, in_channels: int, channels: tuple[int, int]):
        super().__init__()
        first, second = channels
        self.conv1 = _separable(in_channels, first)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = _separable(first, second)
        self.norm2 = nn.BatchNorm2d(second)
        self.predict = nn.Conv2d(second, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map B×in_channels×h×w to logits B×1×2h×2w."""
        height, width = x.shape[-2:]
        x = self.norm1(self.conv1(x)).relu_()
        x = self.norm2(self.conv2(bilinear(x, (2 * height, 2 * width)))).relu_()
        return self.predict(x)


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    within = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
    return nn.Sequential(within, nn.Conv2d(in_channels, out_channels, 1, bias=False))


HEADS = {
    "transposed": TransposedHead,
    "subpixel": SubpixelHead,
    "separable": SeparableHead,
    "quarter": QuarterHead,
}
