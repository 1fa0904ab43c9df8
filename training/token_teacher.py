"""Where hints come from: a plain transformer that was trained on many images looks at the full-resolution one."""

from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from models.config import TokensConfig
from models.tokens import build_transformer, size_of


class TokenTeacher:
    """A transformer's tokens of the SR target, which `models.hints` is to predict.

    It is no part of the network that trains, and is never trained itself.

    Args:
        config: which transformer, its grid and its blocks.
        weights: 'pretrained' or a file, as `models.tokens.Tokens` has it.
        to_rgb: YCbCr to RGB, in [0, 1].
        accelerator: knows device, precision and the other processes.

    Raises:
        FileNotFoundError, ValueError: as `models.tokens.Tokens`; or 'none': a transformer at random has nothing to say.
    """

    def __init__(
        self, config: TokensConfig, weights: str, to_rgb: Callable[[Tensor], Tensor], accelerator: Accelerator
    ):
        if weights == "none":
            raise ValueError("hint_weights none: a transformer at random has no hints to give; pretrained, or a file")
        self.body = build_transformer(config, weights).requires_grad_(False).eval().to(accelerator.device)
        self.size, self.to_rgb, self.accelerator = size_of(config), to_rgb, accelerator
        own = timm.get_pretrained_cfg(config.network)
        self.mean, self.std = (
            torch.tensor(values, device=accelerator.device).view(3, 1, 1) for values in (own.mean, own.std)
        )

    @torch.no_grad()
    def __call__(self, views: dict[str, Tensor]) -> Tensor:
        """A batch's tokens, each channel with mean 0 and variance 1 over all processes' images: to say 0 is wrong by 1.

        Args:
            views: `sr_target`, B×3×2H×2W, YCbCr in [0, 1].

        Returns:
            B×D×rows×columns, one block's D after another's.
        """
        rgb = F.interpolate(self.to_rgb(views["sr_target"]), self.size, mode="bilinear", antialias=True)
        with self.accelerator.autocast():
            tokens = torch.cat(self.body((rgb - self.mean) / self.std), dim=1).float()
        moments = torch.stack([tokens.mean((0, 2, 3)), tokens.square().mean((0, 2, 3))])
        mean, square = self.accelerator.reduce(moments, "mean")[..., None, None]
        return (tokens - mean) / (square - mean**2).clamp_min(1e-6).sqrt()
