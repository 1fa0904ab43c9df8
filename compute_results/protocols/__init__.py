"""The two scoring protocols, and the metrics of each: the one place that names, orders and labels them.

A metric of your own is one registration (`compute_results.protocols.own`). Tables, CSV, JSON, LaTeX, comparisons,
groups and the report then have it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Measure = Callable[[np.ndarray, np.ndarray], float]
"""Computes a metric of one image from map and mask, both (H, W) uint8."""


@dataclass(frozen=True)
class Metric:
    """A metric as tables show it.

    Attributes:
        name: the key in scores.json, the column in the CSV files.
        label: the heading in text and Markdown.
        latex: the heading in LaTeX, in math mode.
        lower_is_better: the metric measures an error; otherwise it measures agreement.
        maximum_of: over several images the figure is the maximum of this curve's average, as it is of an image's own
            curve. Without a name it is the average of the images' figures.
        measure: computes the metric of an image, where the protocol's module does not.
    """

    name: str
    label: str
    latex: str
    lower_is_better: bool = False
    maximum_of: str = ""
    measure: Measure | None = None


@dataclass(frozen=True)
class Protocol:
    """A protocol as tables show it: a line of description, and its metrics in the order of the columns."""

    description: str
    metrics: tuple[Metric, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics' names."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def curves(self) -> tuple[str, ...]:
        """The curves whose averages have their maxima among the metrics."""
        return tuple(metric.maximum_of for metric in self.metrics if metric.maximum_of)


_SM = Metric("Sm", "Sm", "S_m")
_MAE = Metric("MAE", "MAE", r"\mathrm{MAE}", lower_is_better=True)

PROTOCOLS: dict[str, Protocol] = {
    "authors": Protocol(
        "authors (448×448, soft masks; Fβ is the maximum of the average curve)",
        (Metric("Fbeta", "Fβ", r"F_\beta", maximum_of="F"), _MAE, _SM),
    ),
    "field": Protocol(
        "field (PySODMetrics at each mask's own size)",
        (
            _SM,
            Metric("maxF", "maxF", r"F_\beta^{\max}", maximum_of="F"),
            Metric("meanF", "meanF", r"F_\beta^{\mathrm{mean}}"),
            Metric("adpF", "adpF", r"F_\beta^{\mathrm{adp}}"),
            Metric("maxE", "maxE", r"E_\xi^{\max}", maximum_of="E"),
            Metric("meanE", "meanE", r"E_\xi^{\mathrm{mean}}"),
            Metric("adpE", "adpE", r"E_\xi^{\mathrm{adp}}"),
            Metric("wF", "wF", r"F_\beta^{w}"),
            _MAE,
        ),
    ),
}
"""Each protocol by its name, which is also its module's name in this package."""
