"""Fold batch norms into the convolutions before them, in any network.

The network runs once on the meta device (without memory), and every function call on a tensor is recorded. The record
shows which norm follows which convolution, however the network is written.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

Convolution = nn.Conv2d | nn.ConvTranspose2d
CONVOLUTIONS = (torch.conv2d, torch.conv_transpose2d)
METADATA = (int, float, str, torch.Size, torch.dtype, torch.device, torch.layout)
"""Results of functions that read a tensor's metadata, not its values."""


def fold_norms(network: nn.Module, size: tuple[int, int]) -> None:
    """Fold every batch norm that can be folded exactly, in place.

    A norm stays if its input is not the output of a convolution, or if that output has other readers. A folded norm is
    replaced by nn.Identity, timm's BatchNormAct2d by its activation.

    Args:
        network: in eval mode; its input is B×3×H×W.
        size: a height and width that it takes.
    """
    for convolution, norm in _CallRecord.of(network, size).pairs():
        folded = network.get_submodule(norm)
        assert isinstance(folded, _BatchNorm)
        _fold_norm(cast(Convolution, network.get_submodule(convolution)), folded)
        network.set_submodule(norm, cast(nn.Module, getattr(folded, "act", nn.Identity())))


def scale_input(network: nn.Module, size: tuple[int, int], factor: Tensor) -> bool:
    """Scale the weights of a network's first convolutions, so that it multiplies its image by `factor`.

    Args:
        network: in eval mode; its input is B×3×H×W.
        size: a height and width that it takes.
        factor: 3 values, one for each channel of the image.

    Returns:
        Whether that was possible: only convolutions read the image, and they read nothing else. Otherwise the network
        is unchanged.
    """
    record = _CallRecord.of(network, size)
    first = [cast(Convolution, network.get_submodule(name)) for name in record.first]
    if len(first) < record.uses[id(record.image)] or any(record.calls[name] > 1 for name in record.first):
        return False
    if any(isinstance(convolution, nn.ConvTranspose2d) or convolution.groups > 1 for convolution in first):
        return False
    for convolution in first:
        convolution.weight = _constant(convolution.weight * factor.to(convolution.weight).view(1, -1, 1, 1))
    return True


def _fold_norm(convolution: Convolution, norm: _BatchNorm) -> None:
    """Change a convolution's weight and bias so that it includes the norm; computed in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, mean, variance = (
        value.detach().double() for value in (convolution.weight, norm.running_mean, norm.running_var)
    )
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    bias = -mean if convolution.bias is None else convolution.bias.detach().double() - mean
    bias = bias * scale if norm.bias is None else bias * scale + norm.bias.detach().double()
    if isinstance(convolution, nn.ConvTranspose2d):  # in_channels × (out_channels / groups)
        grouped = weight.unflatten(0, (convolution.groups, -1)) * scale.view(convolution.groups, 1, -1, 1, 1)
        weight = grouped.flatten(0, 1)
    else:
        weight = weight * scale.view(-1, 1, 1, 1)
    dtype = convolution.weight.dtype
    convolution.weight, convolution.bias = _constant(weight.to(dtype)), _constant(bias.to(dtype))


def _constant(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach(), requires_grad=False)


class _CallRecord(TorchFunctionMode):
    """Records which convolutions and batch norms of a network read which tensors.

    Attributes:
        image: the network's input.
        first: names of the convolutions that read the image, once for each call.
        calls: number of calls of each convolution and norm, by name.
        uses: number of calls that read the image or a convolution's output, by the tensor's id.
    """

    def __init__(self, network: nn.Module, image: Tensor):
        super().__init__()
        self.image = image
        self.first: list[str] = []
        self.calls: Counter[str] = Counter()
        self.uses = {id(image): 0}
        named = list(network.named_modules())
        self._convolutions = {id(module.weight): name for name, module in named if isinstance(module, Convolution)}
        norms = [(name, module) for name, module in named if isinstance(module, _BatchNorm)]
        self._norms = {id(module.running_mean): name for name, module in norms if module.running_mean is not None}
        self._outputs: dict[int, tuple[str, Tensor]] = {}  # keeps the tensors alive: ids stay unique
        self._pairs: list[tuple[int, str]] = []

    @classmethod
    def of(cls, network: nn.Module, size: tuple[int, int]) -> "_CallRecord":
        """Run a copy of the network on the meta device and return the record."""
        copied, image = copy.deepcopy(network).to("meta"), torch.empty(1, 3, *size, device="meta")
        with torch.no_grad(), image.device, cls(copied, image) as record:  # tensors made inside are on meta as well
            output = copied(image)
        record._count(output)  # the caller reads the output
        return record

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the names of each convolution and the norm that can be folded into it."""
        for output, norm in self._pairs:
            convolution, _ = self._outputs[output]
            if self.uses[output] == self.calls[convolution] == self.calls[norm] == 1:
                yield convolution, norm

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, METADATA):
            return result
        self._count((args, kwargs))
        if func in CONVOLUTIONS and len(args) > 1 and id(args[1]) in self._convolutions:
            self._record_convolution(self._convolutions[id(args[1])], args[0], result)
        elif func is F.batch_norm and len(args) > 1 and id(args[1]) in self._norms:
            norm = self._norms[id(args[1])]
            self.calls[norm] += 1
            if id(args[0]) in self._outputs:
                self._pairs.append((id(args[0]), norm))
        return result

    def _count(self, values: Any) -> None:
        """Count a use of every recorded tensor among nested values."""
        for value in tree_leaves(values):
            if id(value) in self.uses:
                self.uses[id(value)] += 1

    def _record_convolution(self, convolution: str, source: Tensor, output: Tensor) -> None:
        self.calls[convolution] += 1
        self.uses[id(output)] = 0
        self._outputs[id(output)] = convolution, output
        if source is self.image:
            self.first.append(convolution)
