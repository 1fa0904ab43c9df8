"""TSDD, the transposed saliency detection decoder: from the encoder's features to saliency logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.heads import build_head
from models.resize import bilinear


class Refinement(nn.Module):
    """Two 3×3 convolutions with a residual connection (He et al., CVPR 2016), zero-initialized."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map non-negative B×width×h×w to the same shape."""
        return (x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))).relu()


class AggregationBlock(nn.Module):
    """The first half of a transposed aggregation block (TAB): a skip feature joins the coarser block's output.

    Args:
        skip_channels: of the skip feature.
        width: channels of the coarser block's output and of this one's.
        refined: add two 3×3 convolutions. As released, a block has a 1×1 convolution only, so positions are mixed by
            the upsampling and the heads only.
    """

    def __init__(self, skip_channels: int, width: int = 256, refined: bool = False):
        super().__init__()
        self.fuse = nn.Conv2d(skip_channels + width, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.refine = Refinement(width) if refined else None

    def forward(self, skip: Tensor, coarser: Tensor) -> Tensor:
        """Fuse a skip feature B×skip_channels×h×w and a coarser one, B×width at any size, into B×width×h×w."""
        coarser = bilinear(coarser, skip.shape[-2:])
        fused = self.norm(self.fuse(torch.cat([skip, coarser], dim=1))).relu()
        return fused if self.refine is None else self.refine(fused)


class TSDD(nn.Module):
    """Transposed saliency detection decoder (the paper's TSDD) with the finest head only.

    Args:
        feature_channels: channels of F1…F5.
        width: channels of F6 and of every block's output.
        head_channels: channels inside the saliency head.
        head: which saliency head, a key of `models.heads.HEADS`.
        refined: refine the blocks on F2…F5; the finest is followed by the head's convolutions anyway.
    """

    def __init__(
        self,
        feature_channels: Sequence[int],
        width: int = 256,
        head_channels: tuple[int, int] = (128, 64),
        head: str = "transposed",
        refined: bool = False,
    ):
        super().__init__()
        finest, *coarser = feature_channels
        self.blocks = nn.ModuleList(AggregationBlock(channels, width, refined) for channels in reversed(coarser))
        self.blocks.append(AggregationBlock(finest, width))
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
