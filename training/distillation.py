"""Distillation: a trained detector, which sees the image at the student's size or at twice that, says what it finds."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from models.resize import bilinear
from models.weights import load_detector


class Teacher:
    """A trained detector's saliency, which a student may learn from.

    It is no part of the network that trains, and is never trained itself.

    Args:
        detector: in eval mode; its `config` says how its input is normalized.
        to_rgb: YCbCr to RGB, in [0, 1].
        autocast: gives the context that it computes in.
        view: which of the student's views it sees: `sr_target`, at twice the student's size, or `ycbcr`, at its own.
    """

    def __init__(
        self,
        detector: nn.Module,
        to_rgb: Callable[[Tensor], Tensor],
        autocast: Callable[[], AbstractContextManager] = torch.no_grad,
        view: str = "sr_target",
    ):
        self.detector, self.to_rgb, self.autocast = detector.requires_grad_(False), to_rgb, autocast
        self.view = view
        device = next(detector.parameters()).device
        self.mean, self.std = (
            torch.tensor(values, device=device).view(3, 1, 1) for values in (detector.config.mean, detector.config.std)
        )

    @torch.no_grad()
    def __call__(self, views: dict[str, Tensor]) -> Tensor:
        """A batch's saliency.

        Args:
            views: `sr_target`, B×3×2H×2W, and `ycbcr`, B×3×H×W, YCbCr in [0, 1].

        Returns:
            B×1×2H×2W in [0, 1].
        """
        rgb = (self.to_rgb(views[self.view]) - self.mean) / self.std
        with self.autocast():
            logits = self.detector(rgb)["logits"]
        return bilinear(logits.float(), views["sr_target"].shape[-2:]).sigmoid()


def load_teacher(
    path: Path | str,
    student_size: tuple[int, int],
    device: torch.device,
    to_rgb: Callable[[Tensor], Tensor],
    autocast: Callable[[], AbstractContextManager],
) -> Teacher:
    """The teacher of a weights file, for a student of a given input size.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector`; or it was trained at another size than that
            or twice that.
    """
    detector = load_detector(path)
    own, double = tuple(student_size), tuple(2 * side for side in student_size)
    views = {own: "ycbcr", double: "sr_target"}
    if detector.config.input_size not in views:
        found, small, large = ("×".join(map(str, size)) for size in (detector.config.input_size, own, double))
        raise ValueError(
            f"teacher {path} was trained at {found}; the student sees {small}, its SR target is {large}: train it with "
            f"detector.input_size {list(own)} or {list(double)}"
        )
    detector = detector.to(device, memory_format=torch.channels_last)
    return Teacher(detector, to_rgb, autocast, views[detector.config.input_size])
