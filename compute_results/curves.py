"""Draw precision-recall and Fβ-threshold curves: one figure of each for a data set, with all its methods."""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from matplotlib import color_sequences, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from compute_results.result import Curves, Scores
from compute_results.table_text import excluded_count, to_csv

_LINES, _COLORS = ("-", "--", "-.", ":"), color_sequences["tab10"]


def _style(index: int) -> dict[str, Any]:
    """Return the color and line style of a method: neighbors differ in both, the first forty pairs are distinct."""
    turns, color = divmod(index, len(_COLORS))
    return {"color": _COLORS[color], "linestyle": _LINES[(color + turns) % len(_LINES)]}


def draw_curves(scores: Scores, with_title: bool = True, dpi: int = 200) -> Iterator[tuple[str, bytes]]:
    """Draw every figure.

    Args:
        scores: the scores.
        with_title: write data set and protocol above each figure; False for figures with a caption of their own.
        dpi: dots per inch of the .png files; a figure is 5×4 inches.

    Yields:
        (file name, content): `pr_<data set>` and `fbeta_<data set>`, each as .png and .pdf.
    """
    used: set[str] = set()
    for dataset in scores.datasets:
        curves = {method: result.curves for (method, name), result in scores.results.items() if name == dataset}
        left_out = f", {len(scores.excluded[dataset])} excluded" if dataset in scores.excluded else ""
        title = f"{dataset}, protocol {scores.protocol}{left_out}" if with_title else ""
        name = re.sub(r"[^\w.-]+", "_", dataset)
        while name.casefold() in used:  # "a b" and "a/b" must not share a file
            name += "_"
        used.add(name.casefold())
        with rc_context({"text.parse_math": False}):  # a name may hold dollar signs
            figures = {"pr": _precision_recall(curves, title), "fbeta": _f_over_threshold(curves, title)}
        for kind, figure in figures.items():
            for ending in ("png", "pdf"):
                yield f"{kind}_{name}.{ending}", _rendered(figure, ending, dpi)


def curves_csv(scores: Scores) -> str:
    """Return the curves' points as CSV: a line for each method, data set and threshold."""
    points = []
    for (method, dataset), result in scores.results.items():
        curves = result.curves
        for values in zip(curves.thresholds, curves.precision, curves.recall, curves.f, strict=True):
            point = dict(zip(("threshold", "precision", "recall", "F"), values, strict=True))
            points.append({"method": method, "dataset": dataset, **excluded_count(scores, dataset), **point})
    return to_csv(points, float_format="%.8f")


def _precision_recall(curves: Mapping[str, Curves], title: str) -> Figure:
    figure, axes = _frame(title, "Recall", "Precision")
    for index, curve in enumerate(curves.values()):
        axes.plot(curve.recall, curve.precision, label="?", **_style(index))
    axes.set(
        xlim=(_lower_limit([curve.recall for curve in curves.values()]), 1),
        ylim=(_lower_limit([curve.precision for curve in curves.values()]), 1),
    )
    _name_lines(axes, curves, "lower left")
    return figure


def _f_over_threshold(curves: Mapping[str, Curves], title: str) -> Figure:
    figure, axes = _frame(title, "Threshold", "Fβ")
    for index, curve in enumerate(curves.values()):
        axes.plot(curve.thresholds, curve.f, label="?", **_style(index))
    axes.set(xlim=(0, 1), ylim=(_lower_limit([curve.f for curve in curves.values()]), 1))
    _name_lines(axes, curves, "lower center")
    return figure


def _frame(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    axes.locator_params(nbins=6)
    return figure, axes


def _name_lines(axes: Axes, curves: Mapping[str, Curves], place: Literal["lower left", "lower center"]) -> None:
    """Add a legend of the methods; matplotlib would leave out a label that starts with an underscore."""
    legend = axes.legend(loc=place, fontsize="small", handlelength=3)
    for text, method in zip(legend.get_texts(), curves, strict=True):
        text.set_text(method)


def _lower_limit(values: list[np.ndarray]) -> float:
    """Return an axis limit up to 0.1 below all points but the lowest 5 %, where every method's curve drops alike."""
    lowest = min(float(np.quantile(value, 0.05)) for value in values)
    return max(0.0, np.floor(10 * lowest - 0.5) / 10)


def _rendered(figure: Figure, ending: str, dpi: int) -> bytes:
    content = io.BytesIO()
    undated = {"CreationDate": None} if ending == "pdf" else None  # the same scores give the same bytes
    figure.savefig(content, format=ending, dpi=dpi, metadata=undated)
    return content.getvalue()
