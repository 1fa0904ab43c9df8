"""Scores as tables: methods in rows, data sets as groups of columns, the best three of each column marked."""

import csv
import io
import json
import re
from dataclasses import dataclass, field

from compute_results.result import FIGURES, LOWER_IS_BETTER, Result

DIGITS = 4
_MARKS = {1: "¹", 2: "²", 3: "³"}
_LEGEND = "¹ ² ³: the best three of each column."
_UNICODE = {"Fbeta": "Fβ"}
_LATEX = {
    "Fbeta": r"F_\beta",
    "Sm": "S_m",
    "maxF": r"F_\beta^{\max}",
    "meanF": r"F_\beta^{\mathrm{mean}}",
    "adpF": r"F_\beta^{\mathrm{adp}}",
    "maxE": r"E_\xi^{\max}",
    "meanE": r"E_\xi^{\mathrm{mean}}",
    "adpE": r"E_\xi^{\mathrm{adp}}",
    "wF": r"F_\beta^{w}",
    "MAE": r"\mathrm{MAE}",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
}
_PROTOCOLS = {
    "authors": "authors (448×448, soft masks; Fβ is the maximum of the average curve)",
    "field": "field (PySODMetrics at each mask's own size)",
}


@dataclass(frozen=True)
class Scores:
    """Everything that one call scored, under one protocol.

    Attributes:
        protocol: `authors` or `field`.
        datasets: the groups of columns.
        results: by (method, data set), in the order of the rows; a pair that is not there is an empty cell.
        notes: what a reader of the table must know, such as maps that were missing.
    """

    protocol: str
    datasets: list[str]
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """The rows."""
        return list(dict.fromkeys(method for method, _ in self.results))

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(data set, figure) of each column."""
        return [(dataset, figure) for dataset in self.datasets for figure in FIGURES[self.protocol]]

    def images(self, dataset: str) -> int:
        """How many images of a data set were scored, at most."""
        return max(result.images for (_, name), result in self.results.items() if name == dataset)


def rank(values: list[float | None], lower_is_better: bool) -> list[int | None]:
    """The ranks 1 to 3 within a column; None for the others.

    Values that print alike share a rank, and the ranks that they take up are not given again. A column of a single
    value has no ranks, nor has an empty cell (None).
    """
    present = sorted((round(value, DIGITS) for value in values if value is not None), reverse=not lower_is_better)
    if len(present) < 2:
        return [None] * len(values)
    ranks = [None if value is None else present.index(round(value, DIGITS)) + 1 for value in values]
    return [position if position in _MARKS else None for position in ranks]


def as_text(scores: Scores) -> str:
    """The table for a terminal."""
    cells = [[f"{value or '–'}{_MARKS.get(position, ' ')}" for value, position in row] for row in _cells(scores)]
    heads = [f"{_UNICODE.get(figure, figure)} {_arrow(figure)} " for _, figure in scores.columns]
    name_width = max(map(len, ("Method", *scores.methods)))
    groups = [f"{dataset} ({scores.images(dataset)} images)" for dataset in scores.datasets]
    per_group = len(FIGURES[scores.protocol])
    width = max(DIGITS + 4, *map(len, heads), *(-(-len(group) // per_group) for group in groups))
    group_width = per_group * width + 2 * (per_group - 1)
    lines = [
        f"Protocol: {_PROTOCOLS[scores.protocol]}",
        "  ".join([" " * name_width, *(group.center(group_width) for group in groups)]).rstrip(),
        "  ".join(["Method".ljust(name_width), *(head.rjust(width) for head in heads)]).rstrip(),
    ]
    for method, row in zip(scores.methods, cells, strict=True):
        lines.append("  ".join([method.ljust(name_width), *(cell.rjust(width) for cell in row)]).rstrip())
    return "\n".join([*lines, *_footnotes(scores)]) + "\n"


def as_markdown(scores: Scores) -> str:
    """The table in Markdown; the best of a column is bold besides."""
    heads = [f"{_plain(dataset)} {_UNICODE.get(figure, figure)} {_arrow(figure)}" for dataset, figure in scores.columns]
    lines = [
        f"Protocol: {_PROTOCOLS[scores.protocol]}",
        "",
        f"| Method | {' | '.join(heads)} |",
        f"| --- |{' ---: |' * len(heads)}",
    ]
    for method, row in zip(scores.methods, _cells(scores), strict=True):
        lines.append(f"| {_plain(method)} | {' | '.join(_markdown_cell(*cell) for cell in row)} |")
    lines += ["", *(f"{note}  " for note in _footnotes(scores))]
    counts = "; ".join(f"{dataset}: {scores.images(dataset)} images" for dataset in scores.datasets)
    return "\n".join([*lines, counts]) + "\n"


def as_latex(scores: Scores) -> str:
    """The table as a LaTeX `tabular` for `booktabs` and `xcolor`; the marks are three commands to redefine."""
    per_group = len(FIGURES[scores.protocol])
    groups = [rf"\multicolumn{{{per_group}}}{{c}}{{{_tex(dataset)}}}" for dataset in scores.datasets]
    spans = [2 + per_group * i for i in range(len(groups))]
    heads = [rf"${_LATEX[figure]}\,{_LATEX[_arrow(figure)]}$" for _, figure in scores.columns]
    lines = [
        f"% Protocol: {_PROTOCOLS[scores.protocol]}",
        *(f"% {note}" for note in scores.notes),
        r"% Needs \usepackage{booktabs} and \usepackage{xcolor}.",
        r"\providecommand{\first}[1]{\textbf{\textcolor{red}{#1}}}",
        r"\providecommand{\second}[1]{\textcolor{green!60!black}{#1}}",
        r"\providecommand{\third}[1]{\textcolor{blue}{#1}}",
        rf"\begin{{tabular}}{{l{('c' * per_group) * len(groups)}}}",
        r"\toprule",
        " & ".join(["", *groups]).strip() + r" \\",
        " ".join(rf"\cmidrule(lr){{{start}-{start + per_group - 1}}}" for start in spans),
        " & ".join(["Method", *heads]) + r" \\",
        r"\midrule",
    ]
    for method, row in zip(scores.methods, _cells(scores), strict=True):
        lines.append(" & ".join([_tex(method), *(_latex_cell(*cell) for cell in row)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def as_json(scores: Scores) -> str:
    """The figures at full precision: `{"protocol", "results": [{"method", "dataset", "images", figures …}]}`."""
    return json.dumps({"protocol": scores.protocol, "results": _records(scores)}, indent=1) + "\n"


def as_csv(scores: Scores) -> str:
    """The figures at full precision, a line for each method and data set."""
    return _csv([{"protocol": scores.protocol, **record} for record in _records(scores)])


def per_image_csv(scores: Scores) -> str:
    """Each image's own figures; within a method and data set the worst (lowest Sm, then highest MAE) come first."""
    lines = []
    for (method, dataset), result in scores.results.items():
        worst_first = sorted(result.per_image.items(), key=lambda item: (item[1]["Sm"], -item[1]["MAE"]))
        for stem, figures in worst_first:
            ordered = {name: figures[name] for name in FIGURES[scores.protocol]}
            lines.append({"method": method, "dataset": dataset, "stem": stem, **ordered})
    return _csv(lines)


def _records(scores: Scores) -> list[dict]:
    return [
        {"method": method, "dataset": dataset, "images": result.images}
        | {name: result.figures[name] for name in FIGURES[scores.protocol]}
        for (method, dataset), result in scores.results.items()
    ]


def _csv(records: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, records[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _cells(scores: Scores) -> list[list[tuple[str | None, int | None]]]:
    """Each method's row of (printed value, rank); the value is None where the method was not scored on the set."""
    columns = []
    for dataset, figure in scores.columns:
        found = [scores.results.get((method, dataset)) for method in scores.methods]
        values = [None if result is None else result.figures[figure] for result in found]
        printed = [None if value is None else f"{value:.{DIGITS}f}" for value in values]
        columns.append(list(zip(printed, rank(values, figure in LOWER_IS_BETTER), strict=True)))
    return [list(row) for row in zip(*columns, strict=True)]


def _footnotes(scores: Scores) -> list[str]:
    return ([_LEGEND] if len(scores.methods) > 1 else []) + scores.notes


def _arrow(figure: str) -> str:
    return "↓" if figure in LOWER_IS_BETTER else "↑"


def _markdown_cell(value: str | None, position: int | None) -> str:
    if value is None:
        return "–"
    return f"**{value}**¹" if position == 1 else f"{value}{_MARKS.get(position, '')}"


def _latex_cell(value: str | None, position: int | None) -> str:
    if value is None:
        return "--"
    return value if position is None else rf"\{('first', 'second', 'third')[position - 1]}{{{value}}}"


def _plain(name: str) -> str:
    return re.sub(r"([\\|*_`<\[])", r"\\\1", name)


def _tex(name: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", name.replace("\\", "/"))
