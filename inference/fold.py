"""A trained detector's exact inference form: the same maps for the fewest operations.

What `fold` changes, all of it exact but for rounding:

- batch norms are folded into convolutions, and a re-parameterisable encoder's branches into one convolution;
- a 1×1 convolution over concatenated inputs is the sum of one over each, and commutes with the bilinear upsampling of
  its input (every pixel's weights sum to one): it runs before it, on the fewer pixels. So in TSDD's blocks and in PPM;
- a 3×3 convolution to a single channel is a 1×1 convolution to its nine taps, which are then shifted and added:
  convolutions to one channel leave most of a vector unit idle;
- the standard deviation of the input goes into the encoder's first convolutions; its mean is subtracted, as their zero
  padding stands for the mean color.
"""

import copy
import functools
from collections.abc import Callable

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
    """The inference form of a detector of any encoder and head, or of a host, which is not changed.

    A host keeps its structure: its norms are folded, and the image's standard deviation goes into its first
    convolutions.
    """
    detector = copy.deepcopy(detector).eval().requires_grad_(False)
    merge_branches(detector)
    fold_norms(detector, detector.config.input_size)
    form = HostForm if isinstance(detector, Host) else InferenceForm
    return form(detector).eval().to(memory_format=torch.channels_last)


class InferenceForm(nn.Module):
    """8-bit RGB in, saliency out: what is left of a detector when everything that can be done once is done.

    Attributes:
        config: the detector's configuration.
        input_size: height and width that the network was trained for.

    Args:
        detector: with its norms folded; it is taken apart.
    """

    def __init__(self, detector: Detector):
        super().__init__()
        self.config, self.input_size = detector.config, detector.config.input_size
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.config.mean, self.config.std))
        device = next(detector.parameters()).device
        self.register_buffer("mean", (255 * mean).to(device))
        self.register_buffer("spread", (255 * std).to(device))
        self._take_apart(detector)

    def _take_apart(self, detector: Detector) -> None:
        self.scaled_inside = scale_input(detector.encoder, self.config.encoder_size or self.input_size, 1 / self.spread)
        self.encoder = detector.encoder
        self.ppm = FoldedPPM(detector.ppm)
        self.blocks = nn.ModuleList(FoldedBlock(block, i == 0) for i, block in enumerate(detector.tsdd.blocks))
        self.head = detector.tsdd.head
        for name, module in list(self.head.named_modules()):
            if ShiftedTaps.replaces(module):
                self.head.set_submodule(name, ShiftedTaps(module))

    def _apply(self, fn: Callable, recurse: bool = True) -> "InferenceForm":
        """As nn.Module's, but the image's statistics stay float32 where the weights do not: gray levels ask for it."""
        kept = {"mean": self.mean, "spread": self.spread}
        super()._apply(fn, recurse)
        for name, value in kept.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Saliency of 8-bit images.

        Args:
            pixels: B×H×W×3 uint8 RGB, H and W multiples of 32.

        Returns:
            B×2H×2W float32, [0, 1].

        Raises:
            ValueError: H or W is no multiple of 32.
        """
        # The mean before the permutation: so OpenVINO need not move the image in memory.
        centerd = (pixels.float() - self.mean.flatten()).permute(0, 3, 1, 2)
        return self._logits(centerd)[:, 0].float().sigmoid()

    def logits(self, rgb: Tensor) -> Tensor:
        """What `Detector.forward` calls `logits`, from the same input: to compare the two.

        Args:
            rgb: B×3×H×W, [0, 1] RGB normalized with the configuration's mean and std.

        Returns:
            B×1×2H×2W.
        """
        return self._logits(rgb * self.spread)

    def _logits(self, centerd: Tensor) -> Tensor:
        """B×3×H×W, gray levels from the mean, to logits B×1×2H×2W."""
        height, width = centerd.shape[-2:]
        if not torch.compiler.is_exporting():
            check_size(height, width)
        rgb = centerd if self.scaled_inside else centerd / self.spread
        return _upsampled(self._own_logits(rgb), (OUTPUT_SCALE * height, OUTPUT_SCALE * width))

    def _own_logits(self, rgb: Tensor) -> Tensor:
        """Logits B×1 at the size that the network decodes at."""
        features = self.encoder(enlarged(rgb, self.config).to(self.blocks[0].skip.weight.dtype))
        x = self.ppm(features[-1])
        for block, feature in zip(self.blocks, reversed(features), strict=True):
            x = block(feature, x)
        return self.head(x)


class HostForm(InferenceForm):
    """The same of a host, whose norms are folded and whose structure stays."""

    def _take_apart(self, detector: Host) -> None:
        self.scaled_inside = scale_input(detector.network, self.input_size, 1 / self.spread)
        self.host = detector

    def _own_logits(self, rgb: Tensor) -> Tensor:
        return self.host.own_logits(rgb.to(next(self.host.parameters()).dtype))


class FoldedPPM(nn.Module):
    """PPM whose last convolution runs on the pooled cells, a branch at a time."""

    def __init__(self, ppm: PPM):
        super().__init__()
        self.reduce, self.pools, self.branches = ppm.reduce, ppm.pools, ppm.branches
        fuse, _, self.activation = ppm.fuse
        parts = fuse.weight.chunk(len(self.pools), dim=1)
        biases = (fuse.bias, *[None] * (len(parts) - 1))
        self.fuse = nn.ModuleList(map(_pointwise, parts, biases))

    def forward(self, f5: Tensor) -> Tensor:
        """B×C5×h×w (F5) to B×channels×h×w (F6)."""
        x = self.reduce(f5)
        cells = [fuse(branch(pool(x))) for pool, branch, fuse in zip(self.pools, self.branches, self.fuse, strict=True)]
        wide = [_upsampled(of, x.shape[-2:]) if of.shape[-1] > 1 else of for of in cells]  # one cell is everywhere
        return self.activation(functools.reduce(torch.add, wide))


class FoldedBlock(nn.Module):
    """An aggregation block whose convolution runs on the skip feature and on the coarser output apart.

    Args:
        block: with its norm folded.
        first: whether it is the coarsest, whose two inputs have one size.
    """

    def __init__(self, block: AggregationBlock, first: bool):
        super().__init__()
        self.first = first
        width = block.fuse.out_channels
        self.skip = _pointwise(block.fuse.weight[:, :-width], block.fuse.bias)
        self.coarser = _pointwise(block.fuse.weight[:, -width:])
        self.refine = block.refine if block.refine is not None else nn.Identity()

    def forward(self, skip: Tensor, coarser: Tensor) -> Tensor:
        """Skip B×skip_channels×h×w and coarser B×width×any to B×width×h×w."""
        coarser = self.coarser(coarser)
        if not self.first:
            coarser = _upsampled(coarser, skip.shape[-2:])
        return self.refine(coarser.add_(self.skip(skip)).relu_())


class ShiftedTaps(nn.Module):
    """A 3×3 convolution to one channel, as a 1×1 convolution to its nine taps and their sum."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.taps = _pointwise(convolution.weight[0].flatten(1).T[:, :, None, None])
        self.bias = convolution.bias

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Whether a module is such a convolution."""
        if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros":
            return False
        shape = (module.out_channels, module.kernel_size, module.stride, module.padding, module.dilation, module.groups)
        return shape == (1, (3, 3), (1, 1), (1, 1), (1, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×h×w to B×1×h×w."""
        taps = F.pad(self.taps(x), (1, 1, 1, 1)).unflatten(1, (3, 3))
        height, width = x.shape[-2:]
        columns = taps[:, :, 0, :, :width] + taps[:, :, 1, :, 1 : width + 1] + taps[:, :, 2, :, 2:]
        rows = columns[:, 0, :height] + columns[:, 1, 1 : height + 1] + columns[:, 2, 2:]
        return (rows + self.bias)[:, None]


def _pointwise(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """The 1×1 convolution of a weight, out_channels × in_channels × 1 × 1."""
    convolution = nn.utils.skip_init(nn.Conv2d, weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    convolution.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    convolution.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    return convolution


def _upsampled(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
