"""The exponential moving average of a network's weights: steadier than the last step's, and what a run then keeps."""

import copy
from typing import Any

import torch
from torch import nn


class Average:
    """A moving average of a network's parameters and buffers.

    After n updates the decay is at most (1 + n)/(10 + n), so that the random start is forgotten in a short run too.
    (torch's AveragedModel counts its updates on the device, and so waits for it in every step.)

    Args:
        network: what is averaged; the average starts as its copy.
        decay: in (0, 1), per update.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move toward the network's weights as they are now."""
        ours, theirs = ([*module.parameters(), *module.buffers()] for module in (self.module, network))
        floating = [index for index, value in enumerate(ours) if value.is_floating_point()]
        counts = [index for index, value in enumerate(ours) if not value.is_floating_point()]
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        torch._foreach_lerp_([ours[i] for i in floating], [theirs[i] for i in floating], 1 - keep)
        if counts:  # batch norm's count of batches
            torch._foreach_copy_([ours[i] for i in counts], [theirs[i] for i in counts])
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the number of updates."""
        return {"updates": self.updates, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.updates = state["updates"]
        self.module.load_state_dict(state["module"])


def build_average(network: nn.Module, decay: float) -> Average | None:
    """A moving average of the network's weights; None where `decay` is 0."""
    return Average(network, decay) if decay else None
