"""Write scores as tables: methods in rows, data sets as groups of columns, the best three of each column marked."""

import json
from collections.abc import Callable, Sequence

import pandas as pd

from compute_results.comparison_tables import comparison_records, group_records
from compute_results.protocols import PROTOCOLS
from compute_results.result import DIGITS, Scores
from compute_results.table_text import escape_markdown, excluded_count, heading, latex_heading, latex_name, to_csv

_MARKS = {None: "   ", 1: " #1", 2: " #2", 3: " #3"}
_LEGEND = "#1 #2 #3: the best three of each column."
_MARKDOWN = {None: "{}", 1: "**{}**", 2: "<ins>{}</ins>", 3: "*{}*"}
_MARKDOWN_LEGEND = "**Bold**, <ins>underlined</ins>, *italic*: the best three of each column."
_LATEX_COMMANDS = {1: "sralFirst", 2: "sralSecond", 3: "sralThird"}
_LATEX_PREAMBLE = r"""% Needs \usepackage{booktabs} and \usepackage{xcolor}.
\providecommand{\sralFirst}[1]{\textbf{\textcolor{red}{#1}}}
\providecommand{\sralSecond}[1]{\textcolor{green!60!black}{#1}}
\providecommand{\sralThird}[1]{\textcolor{blue}{#1}}
"""


def rank(values: Sequence[float | None], lower_is_better: bool) -> list[int | None]:
    """Return the ranks 1 to 3 within a column, None for the other values.

    Values that print alike share a rank, and the ranks that they take up are not given again. An empty cell (None)
    has no rank. A column with a single value has no ranks.
    """
    present = sorted((round(value, DIGITS) for value in values if value is not None), reverse=not lower_is_better)
    if len(present) < 2:
        return [None] * len(values)
    ranks = [None if value is None else present.index(round(value, DIGITS)) + 1 for value in values]
    return [position if position in _MARKS else None for position in ranks]


def as_text(scores: Scores) -> str:
    """Return the table for a terminal."""
    table = _cells(scores, lambda value, position: value + _MARKS[position], "–   ")
    table.columns = pd.Index([f"{heading(metric)}   " for _, metric in scores.columns], name="Method")
    groups = [f"{dataset} ({scores.images(dataset)} images)" for dataset in scores.datasets]
    per_group = len(scores.columns) // len(groups)
    width = max(DIGITS + 6, *map(len, table.columns), *(-(-len(group) // per_group) for group in groups))
    body = table.to_string(col_space=[width + 1] * len(table.columns)).splitlines()
    stub = len(body[0]) - len(groups) * per_group * (width + 2)
    heads = "".join(group.center(per_group * (width + 2)) for group in groups)
    lines = [
        f"Protocol: {PROTOCOLS[scores.protocol].description}",
        " " * stub + heads,
        *body,
        *_footnotes(scores, _LEGEND),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def as_markdown(scores: Scores) -> str:
    """Return the table in Markdown; the best three of a column are bold, underlined and italic."""
    table = _cells(scores, lambda value, rank: _MARKDOWN[rank].format(value), "–")
    table.index = pd.Index([escape_markdown(method) for method in table.index], name="Method")
    table.columns = pd.Index([f"{escape_markdown(name)} {heading(metric)}" for name, metric in scores.columns])
    align = ["left", *["right"] * len(table.columns)]
    body = table.to_markdown(tablefmt="pipe", disable_numparse=True, colalign=align)
    legend = [_MARKDOWN_LEGEND] if len(scores.methods) > 1 else []
    notes = "".join(f"{note}  \n" for note in [*legend, *map(escape_markdown, scores.notes)])
    counts = "; ".join(f"{escape_markdown(name)}: {scores.images(name)} images" for name in scores.datasets)
    return f"Protocol: {PROTOCOLS[scores.protocol].description}\n\n{body}\n\n{notes}{counts}\n"


def as_latex(scores: Scores) -> str:
    r"""Return the table as a LaTeX `tabular` for `booktabs` and `xcolor`.

    The best three of a column stand in the commands `\sralFirst`, `\sralSecond` and `\sralThird`; a document may define
    its own.
    """
    table = _cells(scores, _latex_cell, "--")
    table.columns = pd.MultiIndex.from_tuples(
        [(name, latex_heading(metric)) for name, metric in scores.columns],
        names=["", "Method"],
    )
    style = table.style.format_index(latex_name, escape="latex", axis="index")
    style = style.format_index(latex_name, escape="latex", axis="columns", level=0)
    form = "l" + "c" * len(table.columns)
    body = style.to_latex(column_format=form, hrules=True, multicol_align="c").splitlines(keepends=True)
    per_group = len(table.columns) // len(scores.datasets)
    rules = [rf"\cmidrule(lr){{{start}-{start + per_group - 1}}}" for start in range(2, len(form) + 1, per_group)]
    body.insert(3, " ".join(rules) + "\n")
    comments = [f"% Protocol: {PROTOCOLS[scores.protocol].description}\n", *(f"% {note}\n" for note in scores.notes)]
    return "".join([*comments, _LATEX_PREAMBLE, *body])


def as_json(scores: Scores) -> str:
    """Return the scores at full precision.

    Returns:
        `{"protocol", "results": [{"method", "dataset", "images", metrics …}]}`, where there are such also "excluded"
        (stems by data set), "significance" and "groups" (records as in the CSV files).
    """
    content: dict[str, object] = {"protocol": scores.protocol}
    if scores.excluded:
        content["excluded"] = scores.excluded
    content["results"] = _records(scores)
    if scores.comparisons:
        content["significance"] = comparison_records(scores)
    if scores.groups:
        content["groups"] = group_records(scores)
    return json.dumps(content, indent=1) + "\n"


def as_csv(scores: Scores) -> str:
    """Return the scores at full precision, a line for each method and data set."""
    return to_csv([{"protocol": scores.protocol, **record} for record in _records(scores)])


def per_image_csv(scores: Scores) -> str:
    """Return each image's own scores; within a method and data set the lowest Sm, then the highest MAE, come first."""
    lines = []
    for (method, dataset), result in scores.results.items():
        worst_first = sorted(result.per_image.items(), key=lambda item: (item[1]["Sm"], -item[1]["MAE"]))
        for stem, figures in worst_first:
            ordered = {name: figures[name] for name in PROTOCOLS[scores.protocol].names}
            left_out = excluded_count(scores, dataset)
            lines.append({"method": method, "dataset": dataset, "stem": stem, **left_out, **ordered})
    return to_csv(lines)


def _records(scores: Scores) -> list[dict]:
    return [
        {"method": method, "dataset": dataset, "images": result.images}
        | excluded_count(scores, dataset)
        | {name: result.figures[name] for name in PROTOCOLS[scores.protocol].names}
        for (method, dataset), result in scores.results.items()
    ]


def _cells(scores: Scores, show: Callable[[str, int | None], str], empty: str) -> pd.DataFrame:
    """Return the printed cells, methods by columns: `show(value, rank)`, or `empty` where there is no result."""
    columns = []
    for dataset, metric in scores.columns:
        found = [scores.results.get((method, dataset)) for method in scores.methods]
        values = [None if result is None else result.figures[metric.name] for result in found]
        ranks = rank(values, metric.lower_is_better)
        pairs = zip(values, ranks, strict=True)
        columns.append([empty if value is None else show(f"{value:.{DIGITS}f}", place) for value, place in pairs])
    return pd.DataFrame(list(zip(*columns, strict=True)), index=scores.methods, dtype=object)


def _footnotes(scores: Scores, legend: str) -> list[str]:
    return ([legend] if len(scores.methods) > 1 else []) + scores.notes


def _latex_cell(value: str, position: int | None) -> str:
    return value if position is None else rf"\{_LATEX_COMMANDS[position]}{{{value}}}"
