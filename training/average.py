"""The exponential moving average of a network's weights: steadier than the last step's, and what a run then keeps."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def build_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """A moving average of parameters and buffers; None where `decay` is 0.

    After n updates the decay is at most (1 + n)/(10 + n), so that the random start is forgotten in a short run too.
    """
    if decay == 0:
        return None

    @torch.no_grad()
    def lerp(averages: Sequence[Tensor], values: Sequence[Tensor], updates: Tensor | int) -> None:
        if averages[0].is_floating_point():
            keep = min(decay, (1 + int(updates)) / (10 + int(updates)))
            torch._foreach_lerp_(averages, values, 1 - keep)
        else:  # batch norm's count of batches
            torch._foreach_copy_(averages, values)

    return AveragedModel(network, multi_avg_fn=lerp, use_buffers=True)
