"""One step of optimization, in which the host never waits for the device."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from training.ema import Average

Terms = dict[str, Tensor]


class Step:
    """Loss, gradients, clipping, optimizer, schedule and moving average.

    Args:
        accelerator: runs backward, and scales and unscales fp16's gradients.
        network: whose parameters are clipped and averaged.
        losses: a batch of views to its named loss terms.
        joint_loss: the terms and their weights to the scalar that is minimized.
        optimizer: accelerate's, of the network's parameters.
        schedule: one rate a step.
        average: the moving average, or None.
        clip: largest norm of the gradient; 0 does not clip.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: nn.Module,
        losses: Callable[[Terms], Terms],
        joint_loss: Callable[[Terms, dict[str, float]], Tensor],
        optimizer: Optimizer,
        schedule: LRScheduler,
        average: Average | None,
        clip: float,
    ):
        self.accelerator, self.network, self.losses, self.joint_loss = accelerator, network, losses, joint_loss
        self.optimizer, self.schedule, self.average, self.clip = optimizer, schedule, average, clip

    def __call__(self, views: Terms, weights: dict[str, float]) -> Terms:
        """Take one step.

        Returns:
            The loss terms and their weighted `total`, detached, still on the device.
        """
        terms = self.losses(views)
        total = self.joint_loss(terms, weights)
        self.accelerator.backward(total)
        if self.clip:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if not self.accelerator.optimizer_step_was_skipped:  # fp16's scaler skips a step that overflowed
            self.schedule.step()
        if self.average is not None:
            self.average.update(self.network)
        return {name: term.detach() for name, term in (terms | {"total": total}).items()}


class LossAccumulator:
    """The loss terms of the steps, kept on the device until they are asked for.

    Args:
        sums: where an interrupted epoch's sums stood.
    """

    def __init__(self, sums: dict[str, float] | None = None):
        self.sums = dict(sums or {})
        self._kept: list[Terms] = []

    def __len__(self) -> int:
        return len(self._kept)

    def note(self, terms: Terms) -> None:
        """Keep one step's terms."""
        self._kept.append(terms)

    def settle(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """Add what is kept to the sums, in one transfer, averaged over the processes.

        Args:
            accelerator: knows the processes; all of them settle at the same step.
            step: the step that follows the last one noted.

        Returns:
            The last step's terms.

        Raises:
            FloatingPointError: a term is not finite; the first such step and its terms are named.
        """
        if not self._kept:
            return {}
        names = list(self._kept[0])
        values = torch.stack([torch.stack(list(terms.values())) for terms in self._kept])
        rows = accelerator.reduce(values, "mean").tolist()
        first = step - len(rows)
        self._kept = []
        for index, row in enumerate(rows):
            wrong = [
                name for name, value in zip(names, row, strict=True) if abs(value) == float("inf") or value != value
            ]
            if wrong:
                raise FloatingPointError(
                    f"step {first + index}: loss term {', '.join(wrong)} is not finite; lower optimizer.lr, set "
                    "optimizer.clip, or use precision fp32; the last checkpoint is intact"
                )
            for name, value in zip(names, row, strict=True):
                self.sums[name] = self.sums.get(name, 0.0) + value
        return dict(zip(names, rows[-1], strict=True))
