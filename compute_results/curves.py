"""Precision-recall and Fβ-threshold curves: one figure of each for a data set, with all its methods."""

import csv
import io
import re
from collections.abc import Iterator

import numpy as np
from cycler import cycler
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from compute_results.result import Curves
from compute_results.tables import Scores

_STYLES = cycler(linestyle=["-", "--", "-.", ":"]) * cycler(color=colormaps["tab10"].colors)


def draw_curves(scores: Scores) -> Iterator[tuple[str, bytes]]:
    """Draw every figure.

    Yields:
        (file name, content): `pr_<data set>` and `fbeta_<data set>`, each as .png and .pdf.
    """
    for dataset in scores.datasets:
        curves = {method: result.curves for (method, name), result in scores.results.items() if name == dataset}
        title = f"{dataset}, protocol {scores.protocol}"
        name = re.sub(r"[^\w.-]+", "_", dataset)
        for kind, figure in (("pr", _precision_recall(curves, title)), ("fbeta", _f_over_threshold(curves, title))):
            for ending in ("png", "pdf"):
                yield f"{kind}_{name}.{ending}", _rendered(figure, ending)


def curves_csv(scores: Scores) -> str:
    """The curves' points, a line for each method, data set and threshold, to redraw them elsewhere."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "dataset", "threshold", "precision", "recall", "F"])
    for (method, dataset), result in scores.results.items():
        curves = result.curves
        points = np.stack([curves.thresholds, curves.precision, curves.recall, curves.f], axis=1)
        writer.writerows([method, dataset, *(f"{value:.8f}" for value in point)] for point in points)
    return text.getvalue()


def _precision_recall(curves: dict[str, Curves], title: str) -> Figure:
    figure, axes = _frame(title, "Recall", "Precision")
    for method, curve in curves.items():
        axes.plot(curve.recall, curve.precision, label=method)
    axes.set(
        xlim=(_lower_limit([curve.recall for curve in curves.values()]), 1),
        ylim=(_lower_limit([curve.precision for curve in curves.values()]), 1),
    )
    axes.legend(loc="lower left", fontsize="small")
    return figure


def _f_over_threshold(curves: dict[str, Curves], title: str) -> Figure:
    figure, axes = _frame(title, "Threshold", "$F_\\beta$")
    for method, curve in curves.items():
        axes.plot(curve.thresholds, curve.f, label=method)
    axes.set(xlim=(0, 1), ylim=(_lower_limit([curve.f for curve in curves.values()]), 1))
    axes.legend(loc="lower center", fontsize="small")
    return figure


def _frame(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=across, ylabel=up)
    axes.set_prop_cycle(_STYLES)
    axes.grid(alpha=0.3)
    axes.locator_params(nbins=6)
    return figure, axes


def _lower_limit(values: list[np.ndarray]) -> float:
    """A tenth below all but the lowest few points: at the extreme thresholds every method's curve drops alike."""
    lowest = min(float(np.quantile(value, 0.05)) for value in values)
    return max(0.0, np.floor(10 * lowest - 0.5) / 10)


def _rendered(figure: Figure, ending: str) -> bytes:
    content = io.BytesIO()
    undated = {"CreationDate": None} if ending == "pdf" else None  # the same scores give the same bytes
    figure.savefig(content, format=ending, dpi=200, metadata=undated)
    return content.getvalue()
