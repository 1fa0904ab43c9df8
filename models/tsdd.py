"""TSDD, the transposed saliency detection decoder: from the encoder's features to saliency logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.upsampling import bilinear


class SaliencyHead(nn.Module):
    """The second half of a transposed aggregation block: its features become logits at twice their size.

    The finest block's head belongs to the detector; those of the four coarser ones are attached for training only.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int] = (128, 64)):
        super().__init__()
        first, second = channels
        self.up = nn.ConvTranspose2d(in_channels, first, 3, stride=2, padding=1, output_padding=1)
        self.up_norm = nn.BatchNorm2d(first)
        self.conv = nn.Conv2d(first, second, 3, padding=1)
        self.conv_norm = nn.BatchNorm2d(second)
        self.predict = nn.Conv2d(second, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """B×in_channels×h×w to logits B×1×2h×2w."""
        x = self.up_norm(self.up(x)).relu()
        x = self.conv_norm(self.conv(x)).relu()
        return self.predict(x)


class AggregationBlock(nn.Module):
    """The first half of a transposed aggregation block (TAB): a skip feature joins the coarser block's output."""

    def __init__(self, skip_channels: int, width: int = 256):
        super().__init__()
        self.fuse = nn.Conv2d(skip_channels + width, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, skip: Tensor, coarser: Tensor) -> Tensor:
        """Skip B×skip_channels×h×w and coarser B×width×any to B×width×h×w."""
        coarser = bilinear(coarser, skip.shape[-2:])
        return self.norm(self.fuse(torch.cat([skip, coarser], dim=1))).relu()


class TSDD(nn.Module):
    """Transposed saliency detection decoder (the paper's TSDD) with the finest head only.

    Args:
        feature_channels: channels of F1…F5.
        width: channels of F6 and of every block's output.
        head_channels: channels inside the saliency head.
    """

    def __init__(
        self, feature_channels: Sequence[int], width: int = 256, head_channels: tuple[int, int] = (128, 64)
    ):
        super().__init__()
        self.blocks = nn.ModuleList(AggregationBlock(channels, width) for channels in reversed(feature_channels))
        self.head = SaliencyHead(width, head_channels)

    def forward(self, features: Sequence[Tensor], context: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Decode F1…F5 and F6.

        Returns:
            The finest block's logits at twice F1's size, and the five blocks' outputs, finest first, each B×width at
            the size of its skip feature.
        """
        outputs: list[Tensor] = []
        for block, skip in zip(self.blocks, reversed(features), strict=True):
            context = block(skip, context)
            outputs.insert(0, context)
        return self.head(context), outputs
