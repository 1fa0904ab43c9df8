"""Distillation: the maps of a trained detector are targets for the network that trains."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from models.resize import bilinear
from models.weights import load_detector


class Teacher:
    """A frozen detector whose saliency maps are targets for a student.

    Args:
        detector: in eval mode; its `config` gives the normalization of its input.
        to_rgb: YCbCr to RGB, in [0, 1].
        autocast: returns the context to compute in.
        view: the student's view that is its input: `sr_target`, at twice the student's size, or `ycbcr`, at its own.
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
        """Return a batch's saliency.

        Args:
            views: `sr_target`, B×3×2H×2W, and `ycbcr`, B×3×H×W, YCbCr in [0, 1].

        Returns:
            B×1×2H×2W in [0, 1].
        """
        rgb = (self.to_rgb(views[self.view]) - self.mean) / self.std
        with self.autocast():
            logits = self.detector(rgb)["logits"]
        height, width = views["sr_target"].shape[-2:]
        return bilinear(logits.float(), (height, width)).sigmoid()


def _listed(size: tuple[int, ...]) -> str:
    return ",".join(map(str, size))


def load_teacher(
    path: Path | str,
    student_size: tuple[int, int],
    device: torch.device,
    to_rgb: Callable[[Tensor], Tensor],
    autocast: Callable[[], AbstractContextManager],
) -> Teacher:
    """Load a weights file as the teacher of a student with a given input size.

    Raises:
        FileNotFoundError, ValueError: as `models.weights.load_detector`; or the teacher was trained neither at the
            student's size nor at twice that.
    """
    detector = load_detector(path)
    own, double = tuple(student_size), tuple(2 * side for side in student_size)
    views = {own: "ycbcr", double: "sr_target"}
    if detector.config.input_size not in views:
        found, small, large = ("×".join(map(str, size)) for size in (detector.config.input_size, own, double))
        raise ValueError(
            f"teacher {path} was trained at {found}; the student sees {small}, its SR target is {large}: train it with "
            f"--detector.input_size {_listed(own)} or {_listed(double)}"
        )
    detector.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Teacher(detector, to_rgb, autocast, views[detector.config.input_size])
