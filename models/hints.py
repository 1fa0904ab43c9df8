"""Hints (Romero et al., FitNets, ICLR 2015): what a large transformer finds in an image is told from the features.

A training branch, attached as ASRD is: a plain transformer such as DINOv2 looks at the full-resolution image
(`training.token_teacher`), and one convolution has to predict its tokens from what the decoder made of the small one.
What lets it do so stays in the encoder and the decoder; convolution and transformer are dropped.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import TokensConfig
from models.tokens import build_transformer
from models.upsampling import bilinear


class Hints(nn.Module):
    """A 1×1 convolution from all features to the tokens, after batch norm; it starts at zero, the tokens' mean.

    Args:
        channels: of the features that it reads.
        config: whose tokens it predicts, on which grid and of which blocks.

    Raises:
        ValueError: as `models.tokens.build_transformer`.
    """

    def __init__(self, channels: Sequence[int], config: TokensConfig):
        super().__init__()
        with torch.device("meta"):  # its width is all that is asked of it
            width = sum(build_transformer(config).feature_info.channels())
        self.grid = tuple(config.grid)
        self.norm = nn.BatchNorm2d(sum(channels))
        self.predict = nn.Conv2d(sum(channels), width, 1)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features B×C×any to tokens B×D×rows×columns, one block's D after another's."""
        return self.predict(self.norm(torch.cat([self._on_grid(feature) for feature in features], dim=1)))

    def _on_grid(self, feature: Tensor) -> Tensor:
        """Means over the grid's cells where the feature is finer, else interpolated."""
        if all(side > cells for side, cells in zip(feature.shape[-2:], self.grid, strict=True)):
            return F.adaptive_avg_pool2d(feature, self.grid)
        return bilinear(feature, self.grid)
