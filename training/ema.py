"""Exponential moving average (EMA) of the weights: timm's ModelEmaV3 with a warm-up and a saved count of updates."""

from typing import Any

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
from timm.utils import ModelEmaV3
from torch import nn


class WeightAverage(ModelEmaV3):
    """The EMA of a network's parameters and buffers, in `module`.

    After n updates the decay is at most (1 + n)/(10 + n), so that a short run forgets its random start too.
    `state_dict` holds the number of updates.

    Args:
        network: the network; the average starts as a copy of it.
        decay: decay per update, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__(network, decay)
        self.module.requires_grad_(False)
        self.updates = 0

    def get_decay(self, step: int | None = None) -> float:
        """Return the decay after `step` updates."""
        return min(self.decay, (1 + step) / (10 + step)) if step else 0.0

    def update(self, model: nn.Module, step: int | None = None) -> None:
        """Move the average toward the network's weights; `step` replaces the number of updates so far."""
        super().update(model, self.updates if step is None else step)
        self.updates += 1

    def get_extra_state(self) -> dict[str, int]:
        """Return what `state_dict` adds to the tensors."""
        return {"updates": self.updates}

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` returned."""
        self.updates = int(state["updates"])


def build_ema(network: nn.Module, decay: float) -> WeightAverage | None:
    """Return an EMA of the network's weights; None if `decay` is 0."""
    return WeightAverage(network, decay) if decay else None
