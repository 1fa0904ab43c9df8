"""Distillation from a higher resolution: a trained detector sees the image at twice the student's size."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from models.upsampling import bilinear
from models.weights import load_detector


class Teacher:
    """A trained detector's saliency of the SR target: what a student of half the resolution may learn from.

    It is no part of the network that trains, and is never trained itself.

    Args:
        detector: in eval mode; its `config` says how its input is normalised.
        to_rgb: YCbCr to RGB, in [0, 1].
        autocast: gives the context that it computes in.
    """

    def __init__(
        self,
        detector: nn.Module,
        to_rgb: Callable[[Tensor], Tensor],
        autocast: Callable[[], AbstractContextManager] = torch.no_grad,
    ):
        self.detector, self.to_rgb, self.autocast = detector.requires_grad_(False), to_rgb, autocast
        device = next(detector.parameters()).device
        self.mean, self.std = (
            torch.tensor(values, device=device).view(3, 1, 1) for values in (detector.config.mean, detector.config.std)
        )

    @torch.no_grad()
    def __call__(self, sr_target: Tensor) -> Tensor:
        """The SR target, B×3×2H×2W YCbCr in [0, 1], to its saliency at that size, B×1×2H×2W in [0, 1]."""
        rgb = (self.to_rgb(sr_target) - self.mean) / self.std
        with self.autocast():
            logits = self.detector(rgb)["logits"]
        return bilinear(logits.float(), sr_target.shape[-2:]).sigmoid()


def load_teacher(
    path: Path | str,
    student_size: tuple[int, int],
    device: torch.device,
    to_rgb: Callable[[Tensor], Tensor],
    autocast: Callable[[], AbstractContextManager],
) -> Teacher:
    """The teacher of a weights file, for a student of a given input size.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector`; or it was not trained at twice that size.
    """
    detector = load_detector(path)
    wanted = tuple(2 * side for side in student_size)
    if detector.config.input_size != wanted:
        found, needed = ("×".join(map(str, size)) for size in (detector.config.input_size, wanted))
        raise ValueError(
            f"teacher {path} was trained at {found}, the student's SR target is {needed}: train it with "
            f"detector.input_size {list(wanted)}"
        )
    return Teacher(detector.to(device, memory_format=torch.channels_last), to_rgb, autocast)
