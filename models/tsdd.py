"""TSDD, the transposed saliency detection decoder: from the encoder's features to saliency logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.heads import build_head
from models.upsampling import bilinear


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
        head: which saliency head, a key of `models.heads.HEADS`.
    """

    def __init__(
        self,
        feature_channels: Sequence[int],
        width: int = 256,
        head_channels: tuple[int, int] = (128, 64),
        head: str = "transposed",
    ):
        super().__init__()
        self.blocks = nn.ModuleList(AggregationBlock(channels, width) for channels in reversed(feature_channels))
        self.head = build_head(head, width, head_channels)

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
