"""What all tables share: headings, escaped names, CSV, and lists of rows in text, Markdown and LaTeX."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pandas as pd

from compute_results.protocols import Metric
from compute_results.result import Scores
from utils.text import encodable

_LATEX_GLYPHS = str.maketrans(
    {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "≥": r"$\geq$", "−": "$-$", "†": r"\dag{}"}
)


def arrow(metric: Metric, down: str = "↓", up: str = "↑") -> str:
    """Return the arrow that says which values are better."""
    return down if metric.lower_is_better else up


def heading(metric: Metric) -> str:
    """Return a metric's heading in text and Markdown."""
    return f"{metric.label} {arrow(metric)}"


def latex_heading(metric: Metric) -> str:
    """Return a metric's heading in LaTeX."""
    return rf"${metric.latex}\,\{arrow(metric, 'downarrow', 'uparrow')}$"


def escape_markdown(text: str) -> str:
    """Return text that Markdown prints as it is."""
    return re.sub(r"([\\|*_`~<>\[\]$&])", r"\\\1", text)


def latex_name(escaped: object) -> str:
    """Escape what pandas leaves: LaTeX's default fonts lack < > |, and a row's end takes a star or bracket after it."""
    name = str(escaped).translate(_LATEX_GLYPHS)
    return "{}" + name if name.startswith(("*", "[")) else name


def to_csv(records: list[dict], float_format: str | None = None) -> str:
    """Return records of the same keys as CSV, floats at full precision unless `float_format` says otherwise."""
    records = [{key: encodable(of) if isinstance(of, str) else of for key, of in each.items()} for each in records]
    return pd.DataFrame(records).to_csv(index=False, lineterminator="\n", float_format=float_format)


def excluded_count(scores: Scores, dataset: str) -> dict[str, int]:
    """Return the column that says how many images of a data set were left out by name; none where none was."""
    return {"excluded": len(scores.excluded.get(dataset, []))} if scores.excluded else {}


@dataclass(frozen=True)
class Listing:
    """A titled list of rows.

    Attributes:
        title: a line above it.
        rows: the printed cells. A row whose first cells repeat those of the row above prints them once.
        latex_columns: the headings in LaTeX, escaped.
        left: the number of first columns that hold names; the others hold figures.
        formulas: columns whose cells are LaTeX already, when the list is written as LaTeX.
    """

    title: str
    rows: pd.DataFrame
    latex_columns: Sequence[str]
    left: int
    formulas: Sequence[str] = ()

    def as_text(self) -> str:
        """Return the list for a terminal."""
        widths = [max(map(len, [name, *self.rows[name]])) for name in self.rows]
        lines = [list(self.rows.columns), *self._without_repetitions().to_numpy().tolist()]
        cells = [
            [
                cell.ljust(width) if index < self.left else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            for line in lines
        ]
        return "\n".join([self.title, *("  ".join(line).rstrip() for line in cells)]) + "\n"

    def as_markdown(self) -> str:
        """Return the list in Markdown."""
        names = list(self.rows.columns[: self.left])
        rows = self.rows.assign(**{name: self.rows[name].map(escape_markdown) for name in names})
        align = ["left"] * self.left + ["right"] * (len(rows.columns) - self.left)
        body = rows.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=align)
        return f"{escape_markdown(self.title)}\n\n{body}\n"

    def as_latex(self) -> str:
        """Return the list as a LaTeX `tabular` for `booktabs`."""
        rows = self._without_repetitions()
        style = rows.style.hide(axis="index").format(latex_name, escape="latex")
        if self.formulas:
            style = style.format(None, subset=list[Hashable](self.formulas))
        in_latex = dict(zip(rows.columns, self.latex_columns, strict=True))
        style = style.format_index(lambda name: in_latex[str(name)], axis="columns")
        form = "l" * self.left + "r" * (len(rows.columns) - self.left)
        return f"% {self.title}\n" + style.to_latex(column_format=form, hrules=True)

    def _without_repetitions(self) -> pd.DataFrame:
        """Return the rows with empty cells in place of names that the row above has too."""
        rows = self.rows.copy()
        same = pd.Series(True, index=rows.index)
        for name in rows.columns[: self.left]:
            same &= self.rows[name].eq(self.rows[name].shift())
            rows.loc[same, name] = ""
        return rows
