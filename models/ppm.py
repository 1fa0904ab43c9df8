"""PPM, the pyramid pooling module: turns the deepest feature F5 into F6, the context that both decoders read."""

import torch
from torch import Tensor, nn

from models.resize import bilinear


def _conv_norm_prelu(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.PReLU())


class PPM(nn.Module):
    """Pyramid pooling module (as the paper has it on F5; parameters as the release's).

    Args:
        in_channels: channels of F5.
        channels: channels of F6 (256 in the paper).
        bins: cells along each side that the branches pool to.
    """

    def __init__(self, in_channels: int, channels: int = 256, bins: tuple[int, ...] = (1, 2, 3, 6)):
        super().__init__()
        self.reduce = _conv_norm_prelu(in_channels, channels, 3)
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(bin) for bin in bins)
        self.branches = nn.ModuleList(_conv_norm_prelu(channels, channels, 1) for _ in bins)
        self.fuse = _conv_norm_prelu(channels * len(bins), channels, 1)

    def forward(self, f5: Tensor) -> Tensor:
        """Map F5, B×C5×h×w, to F6, B×channels×h×w."""
        x = self.reduce(f5)
        size = x.shape[-2:]
        pooled = [branch(pool(x)) for pool, branch in zip(self.pools, self.branches, strict=True)]
        return self.fuse(torch.cat([bilinear(p, size) for p in pooled], dim=1))
