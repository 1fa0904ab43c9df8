"""Convert a trained detector to its inference form: the same maps with the fewest operations.

All changes made by `fold` are exact up to rounding:

- Batch norms are folded into convolutions, and the branches of a re-parameterizable encoder into one convolution.
- A 1×1 convolution over concatenated inputs equals the sum of one convolution over each input. It commutes with
  bilinear upsampling, whose weights sum to one at every pixel, so it runs before the upsampling, on fewer pixels. This
  applies to PPM and to the blocks of TSDD.
- A 3×3 convolution to one channel becomes a 1×1 convolution to its nine taps, which are shifted and added. Convolutions
  to one channel leave most of a vector unit idle.
- The input's standard deviation is folded into the first convolutions. Its mean is subtracted from the image, because
  zero padding stands for the mean color.
"""

import copy
import functools
from collections.abc import Callable, Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.batchnorm import fold_norms, scale_input
from models.detector import OUTPUT_SCALE, Detector, check_size
from models.encoders import merge_branches
from models.hosts import Host
from models.ppm import PPM
from models.resize import enlarged
from models.tsdd import AggregationBlock


def fold(detector: Detector | Host) -> "InferenceForm":
    """Return the inference form of a detector or host, which is not changed.

    A host keeps its structure: only its batch norms and the image's standard deviation are folded.
    """
    detector = copy.deepcopy(detector).eval().requires_grad_(False)
    merge_branches(detector)
    fold_norms(detector, detector.config.input_size)
    form: InferenceForm = HostForm(detector) if isinstance(detector, Host) else DetectorForm(detector)
    return form.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class InferenceForm(nn.Module):
    """A network from 8-bit RGB to saliency. A subclass computes the logits.

    Attributes:
        config: the detector's configuration.
        input_size: (height, width) of the training.
        mean, std: the image's statistics, 3×1×1, in gray levels.
        std_folded: whether the first convolutions divide by `std`.
    """

    mean: Tensor
    std: Tensor
    std_folded: bool

    def __init__(self, detector: Detector | Host) -> None:
        super().__init__()
        self.config, self.input_size = detector.config, detector.config.input_size
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.config.mean, self.config.std))
        device = next(detector.parameters()).device
        self.register_buffer("mean", (255 * mean).to(device))
        self.register_buffer("std", (255 * std).to(device))

    def _apply(self, fn: Callable, recurse: bool = True) -> "InferenceForm":
        """Apply `fn` as nn.Module does, but keep the image's statistics in float32: bf16 cannot hold 8-bit levels."""
        kept = {"mean": self.mean, "std": self.std}
        super()._apply(fn, recurse)
        for name, value in kept.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the saliency of 8-bit images.

        Args:
            pixels: B×H×W×3 uint8 RGB, H and W multiples of 32.

        Returns:
            B×2H×2W float32, [0, 1].

        Raises:
            ValueError: H or W is no multiple of 32.
        """
        # The mean is subtracted before the permutation, so that OpenVINO need not move the image in memory.
        centered = (pixels.float() - self.mean.flatten()).permute(0, 3, 1, 2)
        return self._logits(centered)[:, 0].float().sigmoid()

    def logits(self, rgb: Tensor) -> Tensor:
        """Return the `logits` of `Detector.forward` from the same input, for comparisons.

        Args:
            rgb: B×3×H×W, [0, 1] RGB normalized with the configuration's mean and std.

        Returns:
            B×1×2H×2W.
        """
        return self._logits(rgb * self.std)

    def _logits(self, centered: Tensor) -> Tensor:
        """Return logits B×1×2H×2W of gray levels minus their mean, B×3×H×W."""
        height, width = centered.shape[-2:]
        if not torch.compiler.is_exporting():
            check_size(height, width)
        rgb = centered if self.std_folded else centered / self.std
        return _upsample(self._coarse_logits(rgb), (OUTPUT_SCALE * height, OUTPUT_SCALE * width))

    def _coarse_logits(self, rgb: Tensor) -> Tensor:
        """Return logits B×1 at the network's own output size; `rgb` is divided by `std` unless that is folded."""
        raise NotImplementedError


class DetectorForm(InferenceForm):
    """The inference form of our detector.

    Args:
        detector: with its norms folded; its modules are reused.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__(detector)
        size = self.config.encoder_size or self.input_size
        self.std_folded = scale_input(detector.encoder, size, 1 / self.std)
        self.encoder: nn.Module = detector.encoder
        self.ppm = FoldedPPM(detector.ppm)
        blocks = cast(Iterable[AggregationBlock], detector.tsdd.blocks)
        self.blocks = nn.ModuleList(FoldedBlock(block, i == 0) for i, block in enumerate(blocks))
        self.head = detector.tsdd.head
        for name, module in list(self.head.named_modules()):
            if ShiftedTaps.replaces(module):
                self.head.set_submodule(name, ShiftedTaps(cast(nn.Conv2d, module)))

    def _coarse_logits(self, rgb: Tensor) -> Tensor:
        features = self.encoder(enlarged(rgb, self.config).to(self.ppm.dtype))
        x = self.ppm(features[-1])
        for block, feature in zip(self.blocks, reversed(features), strict=True):
            x = block(feature, x)
        return self.head(x)


class HostForm(InferenceForm):
    """The inference form of a host.

    Args:
        host: with its norms folded; it is reused.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.std_folded = scale_input(host.network, self.input_size, 1 / self.std)
        self.host = host

    def _coarse_logits(self, rgb: Tensor) -> Tensor:
        return self.host.own_logits(rgb.to(next(self.host.parameters()).dtype))


class FoldedPPM(nn.Module):
    """PPM whose last convolution runs on the pooled cells, one branch at a time."""

    def __init__(self, ppm: PPM) -> None:
        super().__init__()
        self.reduce, self.pools, self.branches = ppm.reduce, ppm.pools, ppm.branches
        fuse, self.activation = cast(nn.Conv2d, ppm.fuse[0]), ppm.fuse[2]
        parts = fuse.weight.chunk(len(self.pools), dim=1)
        biases = [fuse.bias, *[None] * (len(parts) - 1)]
        self.fuse = nn.ModuleList(_pointwise(part, bias) for part, bias in zip(parts, biases, strict=True))

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the weights."""
        return next(self.fuse.parameters()).dtype

    def forward(self, f5: Tensor) -> Tensor:
        """Return F6, B×channels×h×w, of F5, B×C5×h×w."""
        x = self.reduce(f5)
        cells = [fuse(branch(pool(x))) for pool, branch, fuse in zip(self.pools, self.branches, self.fuse, strict=True)]
        # A single cell broadcasts.
        parts = [_upsample(each, x.shape[-2:]) if each.shape[-1] > 1 else each for each in cells]
        return self.activation(functools.reduce(torch.add, parts))


class FoldedBlock(nn.Module):
    """An aggregation block with separate convolutions for the skip feature and for the output of the coarser block.

    Args:
        block: with its norm folded.
        first: whether it is the coarsest block, whose two inputs have the same size.
    """

    def __init__(self, block: AggregationBlock, first: bool):
        super().__init__()
        self.first = first
        width = block.fuse.out_channels
        self.skip = _pointwise(block.fuse.weight[:, :-width], block.fuse.bias)
        self.coarser = _pointwise(block.fuse.weight[:, -width:])
        self.refine = block.refine if block.refine is not None else nn.Identity()

    def forward(self, skip: Tensor, coarser: Tensor) -> Tensor:
        """Return B×width×h×w of the skip feature, B×skip_channels×h×w, and the coarser output, B×width at any size."""
        coarser = self.coarser(coarser)
        if not self.first:
            coarser = _upsample(coarser, skip.shape[-2:])
        return self.refine(coarser.add_(self.skip(skip)).relu_())


class ShiftedTaps(nn.Module):
    """A 3×3 convolution to one channel as a 1×1 convolution to its nine taps, and the sum of the shifted taps."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.taps = _pointwise(convolution.weight[0].flatten(1).T[:, :, None, None])
        self.bias = convolution.bias

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Return whether a module is such a convolution."""
        if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros":
            return False
        shape = (module.out_channels, module.kernel_size, module.stride, module.padding, module.dilation, module.groups)
        return shape == (1, (3, 3), (1, 1), (1, 1), (1, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return B×1×h×w of B×C×h×w."""
        taps = F.pad(self.taps(x), (1, 1, 1, 1)).unflatten(1, (3, 3))
        height, width = x.shape[-2:]
        columns = taps[:, :, 0, :, :width] + taps[:, :, 1, :, 1 : width + 1] + taps[:, :, 2, :, 2:]
        rows = columns[:, 0, :height] + columns[:, 1, 1 : height + 1] + columns[:, 2, 2:]
        return (rows + self.bias)[:, None]


def _pointwise(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """Return the 1×1 convolution with a weight, out_channels × in_channels × 1 × 1."""
    convolution = nn.utils.skip_init(nn.Conv2d, weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    convolution.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        convolution.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return convolution


def _upsample(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
