"""Where hints come from: a plain transformer that was trained on many images looks at the full-resolution one."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import TokensConfig
from models.tokens import build_transformer, size_of


class TokenTeacher:
    """A transformer's tokens of the SR target, which `models.hints` is to predict.

    It is no part of the network that trains, and is never trained itself.

    Args:
        body: `models.tokens.build_transformer`'s.
        size: height and width that it sees.
        mean, std: its own statistics of RGB in [0, 1].
        to_rgb: YCbCr to RGB, in [0, 1].
        autocast: gives the context that it computes in.
    """

    def __init__(
        self,
        body: nn.Module,
        size: tuple[int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        to_rgb: Callable[[Tensor], Tensor],
        autocast: Callable[[], AbstractContextManager] = torch.no_grad,
    ):
        self.body, self.size = body.requires_grad_(False).eval(), size
        self.to_rgb, self.autocast = to_rgb, autocast
        device = next(body.parameters()).device
        self.mean, self.std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (mean, std))

    @torch.no_grad()
    def __call__(self, views: dict[str, Tensor]) -> Tensor:
        """A batch's tokens, each channel with mean 0 and variance 1 over the batch: an error of 1 says nothing.

        Args:
            views: `sr_target`, B×3×2H×2W, YCbCr in [0, 1].

        Returns:
            B×D×rows×columns, one block's D after another's.
        """
        rgb = F.interpolate(self.to_rgb(views["sr_target"]), self.size, mode="bilinear", antialias=True)
        with self.autocast():
            tokens = torch.cat(self.body((rgb - self.mean) / self.std), dim=1)
        return F.batch_norm(tokens.float(), None, None, training=True)


def load_token_teacher(
    config: TokensConfig,
    weights: str,
    device: torch.device,
    to_rgb: Callable[[Tensor], Tensor],
    autocast: Callable[[], AbstractContextManager],
) -> TokenTeacher:
    """The transformer of a configuration, with its weights.

    Args:
        config: which transformer, its grid and its blocks.
        weights: 'pretrained' or a file, as `models.tokens.Tokens` has it.

    Raises:
        FileNotFoundError, ValueError: as `models.tokens.Tokens`; or 'none': a transformer at random has nothing to say.
    """
    if weights == "none":
        raise ValueError("hint_weights none: a transformer at random has no hints to give; pretrained, or a file")
    own = timm.get_pretrained_cfg(config.network)
    body = build_transformer(config, weights).to(device)
    return TokenTeacher(body, size_of(config), own.mean, own.std, to_rgb, autocast)
