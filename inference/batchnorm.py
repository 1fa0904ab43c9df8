"""Batch norms folded into the convolutions before them, in any network.

Which norm follows which convolution is seen, not read: the network runs once, without memory, and every function that
a tensor passes through is watched. So it does not matter how a network is written.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

Convolution = nn.Conv2d | nn.ConvTranspose2d
CONVOLUTIONS = (torch.conv2d, torch.conv_transpose2d)
ABOUT = (int, float, str, torch.Size, torch.dtype, torch.device, torch.layout)
"""What functions give that only ask about a tensor (its shape, its type…)."""


def fold_norms(network: nn.Module, size: tuple[int, int]) -> None:
    """Fold every batch norm that can be folded exactly; the network is changed, what it computes is not.

    A norm stays where what it reads is not one convolution's output, or where something else reads that too. The
    activation inside timm's BatchNormAct2d takes the norm's place.

    Args:
        network: in eval mode, from B×3×H×W.
        size: a height and width that it takes.
    """
    for convolution, norm in _Watch.of(network, size).pairs():
        folded = network.get_submodule(norm)
        _absorb(network.get_submodule(convolution), folded)
        network.set_submodule(norm, getattr(folded, "act", nn.Identity()))


def scale_input(network: nn.Module, size: tuple[int, int], factor: Tensor) -> bool:
    """Make a network multiply its image by `factor` without an operation of its own, in its first convolutions.

    Args:
        network: in eval mode, from B×3×H×W; its first convolutions are changed.
        size: a height and width that it takes.
        factor: one for each of the image's channels.

    Returns:
        Whether that was possible: convolutions alone read the image, each of them nothing else. Otherwise the network
        is as it was.
    """
    watch = _Watch.of(network, size)
    first = [network.get_submodule(name) for name in watch.first]
    if len(first) < watch.uses[id(watch.image)] or any(watch.calls[name] > 1 for name in watch.first):
        return False
    if any(isinstance(convolution, nn.ConvTranspose2d) or convolution.groups > 1 for convolution in first):
        return False
    for convolution in first:
        convolution.weight = _constant(convolution.weight * factor.to(convolution.weight).view(1, -1, 1, 1))
    return True


def _absorb(convolution: Convolution, norm: _BatchNorm) -> None:
    """Give a convolution the weights and bias with which it computes what it and the norm did, by way of float64."""
    weight, mean, variance = (
        value.detach().double() for value in (convolution.weight, norm.running_mean, norm.running_var)
    )
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    bias = -mean if convolution.bias is None else convolution.bias.detach().double() - mean
    bias = bias * scale if norm.bias is None else bias * scale + norm.bias.detach().double()
    if isinstance(convolution, nn.ConvTranspose2d):  # in_channels × out_channels / groups, groups among the former
        grouped = weight.unflatten(0, (convolution.groups, -1)) * scale.view(convolution.groups, 1, -1, 1, 1)
        weight = grouped.flatten(0, 1)
    else:
        weight = weight * scale.view(-1, 1, 1, 1)
    dtype = convolution.weight.dtype
    convolution.weight, convolution.bias = _constant(weight.to(dtype)), _constant(bias.to(dtype))


def _constant(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach(), requires_grad=False)


class _Watch(TorchFunctionMode):
    """Sees which convolutions and batch norms of a network read which tensors, and what else does.

    Attributes:
        image: what the network is given.
        first: names of the convolutions that read the image, as often as they do.
        calls: by name, how often a convolution or norm is called.
        uses: by a tensor's identity, how many functions read the image or a convolution's output.
    """

    def __init__(self, network: nn.Module, image: Tensor):
        super().__init__()
        self.image, self.first, self.calls, self.uses = image, [], Counter(), {id(image): 0}
        named = list(network.named_modules())
        self._convolutions = {id(module.weight): name for name, module in named if isinstance(module, Convolution)}
        norms = [(name, module) for name, module in named if isinstance(module, _BatchNorm)]
        self._norms = {id(module.running_mean): name for name, module in norms if module.running_mean is not None}
        self._outputs: dict[int, tuple[str, Tensor]] = {}  # holds the tensors, so that no other gets their identity
        self._pairs: list[tuple[int, str]] = []

    @classmethod
    def of(cls, network: nn.Module, size: tuple[int, int]) -> "_Watch":
        """What is seen when the network runs."""
        outline, image = copy.deepcopy(network).to("meta"), torch.empty(1, 3, *size, device="meta")
        with torch.no_grad(), image.device, cls(outline, image) as watch:  # what it makes is without memory too
            given = outline(image)
        watch._count(given)  # whoever gets it reads it
        return watch

    def pairs(self) -> Iterator[tuple[str, str]]:
        """(convolution, norm) by name, where the norm can be folded."""
        for output, norm in self._pairs:
            convolution, _ = self._outputs[output]
            if self.uses[output] == self.calls[convolution] == self.calls[norm] == 1:
                yield convolution, norm

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, ABOUT):
            return result
        self._count((args, kwargs))
        if func in CONVOLUTIONS and len(args) > 1 and id(args[1]) in self._convolutions:
            self._convolved(self._convolutions[id(args[1])], args[0], result)
        elif func is F.batch_norm and len(args) > 1 and id(args[1]) in self._norms:
            norm = self._norms[id(args[1])]
            self.calls[norm] += 1
            if id(args[0]) in self._outputs:
                self._pairs.append((id(args[0]), norm))
        return result

    def _count(self, values: Any) -> None:
        for value in tree_leaves(values):
            if id(value) in self.uses:
                self.uses[id(value)] += 1

    def _convolved(self, convolution: str, read: Tensor, output: Tensor) -> None:
        self.calls[convolution] += 1
        self.uses[id(output)] = 0
        self._outputs[id(output)] = convolution, output
        if read is self.image:
            self.first.append(convolution)
