"""Add the tokens of a plain vision transformer (ViT) to an encoder's deep features.

A transformer such as DINOv2 (Oquab et al., 2023) was trained without labels on many more images than have masks, so it
recognizes objects that a small data set lacks; but it has one coarse stride. Its tokens are therefore added to F3, F4
and F5, while F1 and F2 come from the convolutional encoder alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import timm
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from models.config import TokensConfig
from models.encoders import create_body, load_encoder_weights, pretrained_config
from models.resize import bilinear

JOINED = 3
"""Number of deepest features that the tokens are added to."""


class Tokens(nn.Module):
    """A plain transformer whose features at some depths are added to F3, F4 and F5, each through a 1×1 convolution.

    The convolutions are zero-initialized: attaching the tokens changes no network before it trains.

    Args:
        config: which transformer, its grid of patches, and the blocks whose outputs are used.
        channels: of F3, F4 and F5.
        mean, std: statistics in [0, 1] that the RGB input is normalized with; converted to the transformer's own.
        weights: 'none'; 'pretrained', timm's own for that name, downloaded once; or a file (.pth or .safetensors) in
            timm's names, for any grid.

    Raises:
        ValueError: no such network, not a plain transformer, no such blocks, or weights that do not fit.
        FileNotFoundError: the weights file is missing.
    """

    def __init__(
        self,
        config: TokensConfig,
        channels: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        weights: str = "none",
    ):
        super().__init__()
        patch = patch_size(config.network)
        self.size = (patch * config.grid[0], patch * config.grid[1])
        self.body: Any = _create_transformer(config, self.size, weights == "pretrained")
        widths = self.body.feature_info.channels()
        self.norms = nn.ModuleList(map(LayerNorm2d, widths))
        self.joins = nn.ModuleList(nn.Conv2d(sum(widths), of, 1) for of in channels)
        for parameter in self.joins.parameters():
            nn.init.zeros_(parameter)
        own = pretrained_config(config.network)
        ours, theirs = ([torch.tensor(of).view(3, 1, 1) for of in pair] for pair in ((mean, std), (own.mean, own.std)))
        self.gain: Tensor
        self.shift: Tensor
        self.register_buffer("gain", ours[1] / theirs[1], persistent=False)
        self.register_buffer("shift", (ours[0] - theirs[0]) / theirs[1], persistent=False)
        if weights not in ("none", "pretrained"):
            load_encoder_weights(self.body, Path(weights), config.network)

    def forward(self, rgb: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Add the tokens to the encoder's features.

        Args:
            rgb: B×3×H×W normalized RGB of any size; it is resized to the transformer's input.
            features: F1…F5 of the encoder.

        Returns:
            The same features, with the tokens added to the last three.
        """
        if tuple(rgb.shape[-2:]) != self.size:
            rgb = F.interpolate(rgb, size=self.size, mode="bicubic", align_corners=True)
        depths = self.body(rgb * self.gain + self.shift)
        tokens = torch.cat([norm(of) for norm, of in zip(self.norms, depths, strict=True)], dim=1)
        shallow, deep = features[:-JOINED], features[-JOINED:]
        joined = [of + bilinear(join(tokens), of.shape[-2:]) for join, of in zip(self.joins, deep, strict=True)]
        return [*shallow, *joined]

    def freeze(self, blocks: int) -> None:
        """Freeze the patch embedding and the first `blocks` blocks; 0 freezes nothing."""
        if blocks:
            self.body.requires_grad_(False)
            self.body.model.blocks[blocks:].requires_grad_(True)


def _create_transformer(config: TokensConfig, size: tuple[int, int], pretrained: bool) -> Any:
    """Build the transformer up to the last block that is read: B×3×size to one B×C×rows×columns per block read."""
    wrong = f"tokens.blocks {list(config.blocks)}"
    if not config.blocks or list(config.blocks) != sorted(set(config.blocks)):
        raise ValueError(f"{wrong}: name one or more of the transformer's blocks in ascending order, counted from 1")
    options = {"img_size": size, "out_indices": tuple(block - 1 for block in config.blocks)}
    try:
        return create_body(config.network, pretrained, options)
    except AssertionError as error:  # timm's, for an index that it does not have
        raise ValueError(f"{wrong}: {config.network} has no such block, counted from 1 ({error} from 0)") from error


def patch_size(network: str) -> int:
    """Return the patch size of a plain transformer of timm.

    Raises:
        ValueError: timm has no such network, or it is of another kind.
    """
    if not timm.is_model(network):
        raise ValueError(f"tokens.network {network!r}: timm has no network of that name; timm.list_models('vit_*') has")
    found = pretrained_config(network).first_conv
    if not network.startswith("vit_") or "_patch" not in network or found != "patch_embed.proj":
        raise ValueError(
            f"tokens.network {network!r} is no plain vision transformer; choose one such as vit_small_patch14_dinov2"
        )
    return int(network.partition("_patch")[2].partition("_")[0])
