"""What scoring returns: the scores of one image, of a method on a data set, and of a whole table."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from compute_results.protocols import PROTOCOLS, Metric


@dataclass(frozen=True)
class ImageScores:
    """One image's scores.

    Attributes:
        figures: the protocol's metrics of this image alone; an F-measure is the maximum, or mean, of its own curve.
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
        figures: the protocol's metrics over all images, by the names in `PROTOCOLS[protocol]`.
        curves: the averaged curves behind the F-measures.
        per_image: the metrics of each image by stem.
    """

    protocol: str
    figures: dict[str, float]
    curves: Curves
    per_image: dict[str, dict[str, float]]

    @property
    def images(self) -> int:
        """The number of images that were scored."""
        return len(self.per_image)


@dataclass(frozen=True)
class Scores:
    """A table of results under one protocol.

    Attributes:
        protocol: `authors` or `field`.
        datasets: the groups of columns, in order.
        results: by (method, data set), in the order of the rows; a pair without a result is an empty cell.
        notes: remarks below the table, such as a count of missing maps.
        excluded: stems that were left out, by data set.
    """

    protocol: str
    datasets: list[str]
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    excluded: dict[str, list[str]] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        """The rows."""
        return list(dict.fromkeys(method for method, _ in self.results))

    @property
    def columns(self) -> list[tuple[str, Metric]]:
        """(data set, metric) of each column."""
        return [(dataset, metric) for dataset in self.datasets for metric in PROTOCOLS[self.protocol].metrics]

    def images(self, dataset: str) -> int:
        """Return the largest number of images of a data set that were scored for a method."""
        return max(result.images for (_, name), result in self.results.items() if name == dataset)


def mean_figure(images: Sequence[ImageScores], name: str) -> float:
    """Return the average over images of a metric of each image alone."""
    return float(np.mean([image.figures[name] for image in images]))


def mean_curve(images: Sequence[ImageScores], name: str) -> np.ndarray:
    """Return the average over images of a curve: a float64 array over the curve's thresholds."""
    return np.mean([image.curves[name] for image in images], axis=0)
