"""The interface between a detector and the training branches that are attached to it."""

from typing import Any, Protocol, TypedDict

from torch import Tensor, nn

from models.config import DetectorConfig


class Features(TypedDict):
    """What the training branches read of a detector, for a B×3×H×W input.

    `logits` is B×1×2H×2W; `shallow` B×C×H/4×W/4; `context` a deep feature B×C at any size; `coarse` up to four decoded
    features B×C at any size, finest first, each to be supervised through a head of its own; may be empty.
    """

    logits: Tensor
    shallow: Tensor
    context: Tensor
    coarse: list[Tensor]


class Channels(TypedDict):
    """Channels of the features, by the same names."""

    shallow: int
    context: int
    coarse: list[int]


class Attachable(Protocol):
    """What SRAL asks of a detector, an nn.Module, to attach training branches to it.

    Attributes:
        config: what it was built from.
    """

    config: DetectorConfig

    @property
    def encoder(self) -> nn.Module:
        """The pre-trained part, which has a learning rate of its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Map B×3×H×W normalized RGB to, among others, `logits` B×1×2H×2W: inference."""

    def forward_features(self, rgb: Tensor) -> Features:
        """Return the logits with what the training branches read."""

    def channels(self) -> Channels:
        """Return the features' channels."""
