"""Saliency heads: a decoder block's features become logits at twice their size. The released one, and lighter ones."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from models.resize import bilinear


def build_head(kind: str, in_channels: int, channels: tuple[int, int]) -> nn.Module:
    """The saliency head of that name, from B×in_channels×h×w to logits B×1×2h×2w.

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
    """Let every saliency head in a network begin with maps of about `share`: its last bias is that share's logit.

    Objects are a few per cent of the pixels. A head that begins at one half first learns to say no everywhere, by which
    all its last weights may become negative: its map then cannot rise above its bias, which an adaptive optimizer moves
    by no more than the learning rate a step. The remedy is that of Lin et al. (Focal loss, ICCV 2017, section 4.1).

    Args:
        network: a detector or a training network, changed in place.
        share: in (0, 1).

    Raises:
        ValueError: the network has no such head: a host's own is not known here.
    """
    heads = [module for module in network.modules() if isinstance(module, tuple(HEADS.values()))]
    if not heads:
        raise ValueError(
            "foreground_prior: a host's own head begins as the host has it; leave foreground_prior out (null)"
        )
    for head in heads:
        nn.init.constant_(head.get_parameter("predict.bias"), math.log(share / (1 - share)))


class TransposedHead(nn.Module):
    """As released: a transposed convolution doubles the features, two convolutions refine them there."""

    def __init__(self, in_channels: int, channels: tuple[int, int]):
        super().__init__()
        first, second = channels
        self.up = nn.ConvTranspose2d(in_channels, first, 3, stride=2, padding=1, output_padding=1)
        self.up_norm = nn.BatchNorm2d(first)
        self.conv = nn.Conv2d(first, second, 3, padding=1)
        self.conv_norm = nn.BatchNorm2d(second)
        self.predict = nn.Conv2d(second, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """B×in_channels×h×w to logits B×1×2h×2w."""
        x = self.up_norm(self.up(x)).relu_()
        x = self.conv_norm(self.conv(x)).relu_()
        return self.predict(x)


class SubpixelHead(nn.Module):
    """Three convolutions at the features' own size, the last of which gives each position its 2×2 logits."""

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
        """B×in_channels×h×w to logits B×1×2h×2w."""
        height, width = x.shape[-2:]
        x = self.norm1(self.conv1(x)).relu_()
        x = self.norm2(self.conv2(x)).relu_()
        return F.pixel_shuffle(self.predict(x), self.scale)[..., : 2 * height, : 2 * width]


class QuarterHead(SubpixelHead):
    """Refines at half the features' size, a quarter of its logits': each position there gets 4×4 logits."""

    scale, stride = 4, 2


class SeparableHead(nn.Module):
    """As released, but upsampled bilinearly, and each wide convolution in two: 3×3 within the channels, 1×1 across."""

    def __init__(self, in_channels: int, channels: tuple[int, int]):
        super().__init__()
        first, second = channels
        self.conv1 = _separable(in_channels, first)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = _separable(first, second)
        self.norm2 = nn.BatchNorm2d(second)
        self.predict = nn.Conv2d(second, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """B×in_channels×h×w to logits B×1×2h×2w."""
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
