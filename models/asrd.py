"""ASRD, the auxiliary super-resolution decoder: attached for training, dropped for inference."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ASRDConfig
from models.resize import bicubic_double, bilinear


def _conv_norm_relu(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


class ResidualBlock(nn.Module):
    """A residual block as in EDSR: no normalization, a 1×1 convolution on the shortcut, no ReLU after the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map B×channels×h×w to the same shape."""
        return self.conv2(self.conv1(x).relu()) + self.shortcut(x)


class ASRD(nn.Module):
    """Auxiliary super-resolution decoder (the paper's ASRD; widths as the release's).

    Args:
        shallow_channels: channels of F2, the feature at stride 4.
        context_channels: channels of F6.
        config: widths, and the choices in which paper and release differ.
    """

    def __init__(self, shallow_channels: int, context_channels: int, config: ASRDConfig):
        super().__init__()
        self.bare_residual, self.luma = config.residual == "bare", config.colours == "luma"
        first, second, third = config.fuse_channels
        self.shallow = nn.Sequential(*_conv_norm_relu(shallow_channels, config.shallow_channels, config.shallow_kernel))
        self.fuse = nn.Sequential(
            *_conv_norm_relu(config.shallow_channels + context_channels, first, 3),
            nn.Dropout(config.dropout[0]),
            *_conv_norm_relu(first, second, 3),
            nn.Dropout(config.dropout[1]),
            nn.Conv2d(second, third, config.fuse_kernel, padding=config.fuse_kernel // 2),
        )
        widths = (third, *config.up_channels)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(wide, narrow, 2, stride=2), ResidualBlock(narrow))
            for wide, narrow in itertools.pairwise(widths)
        )
        self.predict = nn.Conv2d(widths[-1], 1 if self.luma else 3, 1)
        self.features = nn.Conv2d(widths[-1], 3, 1)

    def forward(self, shallow: Tensor, context: Tensor, ycbcr: Tensor) -> dict[str, Tensor]:
        """Super-resolve the input from the encoder's features.

        Args:
            shallow: F2, B×C2×H/4×W/4.
            context: F6, B×C6 at any size.
            ycbcr: the low-resolution image, B×3×H×W in [0, 1], full-range YCbCr.

        Returns:
            `sr_residual`, `sr_image` (the bicubic image plus the residual; with the option 'bare', in training mode,
            the residual alone) and `sr_features` (for TFGM), each B×3×2H×2W. With the option 'luma', the residual's
            chroma is 0, and the image has the bicubic image's.
        """
        shallow = self.shallow(shallow)
        x = self.fuse(torch.cat([shallow, bilinear(context, shallow.shape[-2:])], dim=1))
        for up in self.up:
            x = up(x)
        residual = F.pad(self.predict(x), (0, 0, 0, 0, 0, 2)) if self.luma else self.predict(x)
        image = self.trained_image(residual, ycbcr) if self.training else residual + bicubic_double(ycbcr)
        return {"sr_residual": residual, "sr_image": image, "sr_features": self.features(x)}

    def trained_image(self, residual: Tensor, ycbcr: Tensor) -> Tensor:
        """Return the image that is trained toward the SR target, B×3×2H×2W.

        Args:
            residual: `sr_residual`, B×3×2H×2W.
            ycbcr: as in `forward`.
        """
        if not self.bare_residual:
            return residual + bicubic_double(ycbcr)
        return torch.cat([residual[:, :1], bicubic_double(ycbcr[:, 1:])], dim=1) if self.luma else residual
