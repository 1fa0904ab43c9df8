"""What scoring yields: the figures of one image, and those of a method on a data set."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FIGURES: Mapping[str, tuple[str, ...]] = {
    "authors": ("Fbeta", "MAE", "Sm"),
    "field": ("Sm", "maxF", "meanF", "adpF", "maxE", "meanE", "adpE", "wF", "MAE"),
}
"""Each protocol's figures, in the order in which tables show them."""

LOWER_IS_BETTER = frozenset({"MAE"})
"""The figures that measure an error; all others measure agreement."""


@dataclass(frozen=True)
class ImageScores:
    """One image's scores.

    Attributes:
        figures: the protocol's figures of this image alone (an F-measure is the maximum, or mean, of its own curve).
        curves: the protocol's threshold curves of this image by name, each a float64 array over its thresholds.
    """

    figures: dict[str, float]
    curves: dict[str, np.ndarray]


@dataclass(frozen=True)
class Curves:
    """Precision, recall and Fβ averaged over images, each a float64 array over the ascending `thresholds` in [0, 1]."""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f: np.ndarray


@dataclass(frozen=True)
class Result:
    """A method's scores on a data set under one protocol.

    Attributes:
        protocol: `authors` or `field`.
        figures: the protocol's figures over all images, by the names in `FIGURES[protocol]`.
        curves: the averaged curves behind the F-measures.
        per_image: the figures of each image by stem.
    """

    protocol: str
    figures: dict[str, float]
    curves: Curves
    per_image: dict[str, dict[str, float]]

    @property
    def images(self) -> int:
        """How many images were scored."""
        return len(self.per_image)


def mean_figure(images: list[ImageScores], name: str) -> float:
    """The average over images of a figure of each image alone."""
    return float(np.mean([image.figures[name] for image in images]))


def mean_curve(images: list[ImageScores], name: str) -> np.ndarray:
    """The average over images of a curve: a float64 array over the curve's thresholds."""
    return np.mean([image.curves[name] for image in images], axis=0)
