"""Depthwise convolutions in mixed precision on a CPU."""

from types import MethodType

import torch
from torch import Tensor, nn


def compute_depthwise_in_fp32(network: nn.Module) -> None:
    """Let a network's depthwise convolutions compute in fp32 under a CPU's autocast; what they return stays in bf16.

    oneDNN's gradients of these convolutions take up to seven times as long in bf16 as in fp32, so that a step of a
    light network in bf16 would be no faster than one in fp32.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = MethodType(_forward_in_fp32, module)  # type: ignore[method-assign]


def _forward_in_fp32(convolution: nn.Conv2d, features: Tensor) -> Tensor:
    """Return the convolution's own forward pass, in fp32 within autocast."""
    forward = type(convolution).forward
    if not torch.is_autocast_enabled("cpu"):
        return forward(convolution, features)
    with torch.autocast("cpu", enabled=False):
        return forward(convolution, features.float()).to(torch.get_autocast_dtype("cpu"))
