"""What scoring returns: the scores of one image, of a method on a data set, and of a whole table."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from compute_results.mask_features import MaskFeatures
from compute_results.protocols import PROTOCOLS, Metric

DIGITS = 4
"""Decimals that tables show. Figures that agree in them count as equal."""

FEW = 10
"""Tables mark figures over fewer images than this."""


@dataclass(frozen=True)
class ImageScores:
    """One image's scores.

    Attributes:
        figures: the protocol's metrics of this image alone; an F-measure is the maximum, or mean, of its own curve.
        curves: the protocol's threshold curves of this image by name, each a float64 array over its thresholds.
    """

    figures: dict[str, float]
    curves: dict[str, np.ndarray]


class Gathered:
    """Scores of a method's images, added one by one: of most curves only the sum is held.

    Attributes:
        figures: the metrics of each image by stem, in the order in which the images were added.
    """

    def __init__(self, kept: Collection[str] = ()) -> None:
        """Begin without images; of the curves in `kept` those of every image will be held, as float32."""
        self.figures: dict[str, dict[str, float]] = {}
        self._sums: dict[str, np.ndarray] = {}
        self._kept: dict[str, list[np.ndarray]] = {name: [] for name in kept}

    def add(self, stem: str, image: ImageScores) -> None:
        """Add an image's scores."""
        self.figures[stem] = image.figures
        for name, curve in image.curves.items():
            self._sums[name] = self._sums[name] + curve if name in self._sums else curve
            if name in self._kept:
                self._kept[name].append(curve.astype(np.float32))

    def mean_figure(self, name: str) -> float:
        """Return the average over images of a metric of each image alone."""
        return float(np.mean([figures[name] for figures in self.figures.values()]))

    def mean_curve(self, name: str) -> np.ndarray:
        """Return the average over images of a curve: a float64 array over the curve's thresholds."""
        return self._sums[name] / len(self.figures)

    def kept_curves(self) -> dict[str, np.ndarray]:
        """Return the kept curves by name: float32 arrays of images × thresholds."""
        return {name: np.stack(curves) for name, curves in self._kept.items()}


def gathered(images: Gathered | Mapping[str, ImageScores]) -> Gathered:
    """Return images' scores by stem as `Gathered`, without any curves kept."""
    if isinstance(images, Gathered):
        return images
    found = Gathered()
    for stem, image in images.items():
        found.add(stem, image)
    return found


@dataclass(frozen=True)
class Curves:
    """Precision, recall and Fβ averaged over images, each a float64 array over the ascending `thresholds` in [0, 1].

    `e` is the E-measure's curve, which the protocol `authors` does not have.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f: np.ndarray
    e: np.ndarray | None = None


@dataclass(frozen=True)
class Result:
    """A method's scores on a data set under one protocol.

    Attributes:
        protocol: `authors` or `field`.
        figures: the protocol's metrics over all images, by the names in `PROTOCOLS[protocol]`.
        curves: the averaged curves behind the F-measures.
        per_image: the metrics of each image by stem.
        image_curves: the curves in `PROTOCOLS[protocol].curves` of each image, by name: float32 arrays, a row for each
            image in the order of `per_image`, a column for each threshold in the protocol's own order.
    """

    protocol: str
    figures: dict[str, float]
    curves: Curves
    per_image: dict[str, dict[str, float]]
    image_curves: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """The number of images that were scored."""
        return len(self.per_image)


@dataclass(frozen=True)
class Comparison:
    """A metric of a method against the reference's, over the images that both have.

    Attributes:
        dataset, method, reference: what is compared.
        metric: the metric.
        images: the number of images.
        difference: the method's figure minus the reference's, as the tables' figures are defined.
        interval: 95 % bootstrap interval of `difference`; None where there are fewer than two images.
        p: p-value of the paired permutation test of `difference`.
        p_holm: `p` after Holm's correction over all comparisons on the data set.
        image_difference: the mean difference of the images' own figures; another number than `difference` only where
            the figure is the maximum of an average curve.
        p_wilcoxon: p-value of Wilcoxon's signed-rank test on the images' own figures.
        p_wilcoxon_holm: `p_wilcoxon` after Holm's correction over all comparisons on the data set.
        wins, ties, losses: images on which the method is better than, equal to and worse than the reference; figures
            that print alike are equal.
    """

    dataset: str
    method: str
    reference: str
    metric: Metric
    images: int
    difference: float
    interval: tuple[float, float] | None
    p: float
    image_difference: float
    p_wilcoxon: float
    wins: int
    ties: int
    losses: int
    p_holm: float = float("nan")
    p_wilcoxon_holm: float = float("nan")


@dataclass(frozen=True)
class GroupScores:
    """A method's figures over one group of images.

    Attributes:
        dataset, method: what was scored.
        grouping: what the images are grouped by, such as `size` or a column of a CSV file.
        group: the group's label.
        stems: the images of the group that were scored for the method.
        figures: the protocol's metrics over these images; empty where there is no image.
    """

    dataset: str
    method: str
    grouping: str
    group: str
    stems: list[str]
    figures: dict[str, float]


@dataclass(frozen=True)
class Scores:
    """A table of results under one protocol.

    Attributes:
        protocol: `authors` or `field`.
        datasets: the groups of columns, in order.
        results: by (method, data set), in the order of the rows; a pair without a result is an empty cell.
        notes: remarks below the table, such as a count of missing maps.
        excluded: stems that were left out, by data set.
        masks: what each mask shows, by data set and stem, where it was asked for.
        comparisons: each method against the reference (`significance.compare`), where it was asked for.
        groups: figures by group of images (`groups.breakdown`), where they were asked for.
        problems: why maps are not scored, one line each.
        tops: by (method, data set), the stored value that is white in its maps, where it is not the type's greatest.
    """

    protocol: str
    datasets: list[str]
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    excluded: dict[str, list[str]] = field(default_factory=dict)
    masks: dict[str, dict[str, MaskFeatures]] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    groups: list[GroupScores] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    tops: dict[tuple[str, str], int] = field(default_factory=dict)

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
