"""The table of many runs: mean ± standard deviation over seeds, and what each configuration gains over its baseline."""

import csv
import io
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.plan import PROTOCOLS, Plan
from utils.files import atomic_file

SIGNIFICANT = 0.05
"""The p-value below which a gain is marked."""

SHOWN = {"Fbeta": "Fβ"}
"""Figures that people read under another name than files have."""


class Row(NamedTuple):
    """One figure of one configuration.

    Attributes:
        configuration: its name.
        scored: 'validation' (the best epoch), or the data set whose test split was scored.
        protocol: `authors` or `field`.
        figure: its name.
        n: seeds.
        mean: over the seeds.
        sd: sample standard deviation over the seeds (n − 1); None for one seed.
        baseline: the configuration that it is compared with; its own name where it is one itself.
        gain: mean less the baseline's, as the figure counts (a smaller MAE is a negative gain); None for a baseline
            itself, and where it has no scores.
        p: of Welch's two-sided t-test of the gain; None where there is none, or a single seed on either side.
    """

    configuration: str
    scored: str
    protocol: str
    figure: str
    n: int
    mean: float
    sd: float | None
    baseline: str
    gain: float | None
    p: float | None

    @property
    def star(self) -> str:
        """Marks a gain that the spread over seeds does not explain: p < 0.05."""
        return " \\*" if self.p is not None and self.p < SIGNIFICANT else ""


def summarize(plan: Plan) -> list[Row]:
    """The scores of all finished runs over their seeds, validation first, then as the plan's sets, names and figures.

    Raises:
        ValueError: a file of scores cannot be read.
    """
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for run in plan.runs:
        for (scored, protocol), figures in run.scores(plan.test).items():
            for figure, value in figures.items():
                values.setdefault((run.configuration, scored, protocol, figure), []).append(value)
    names, sets = list(plan.configurations), ["validation", *plan.test]
    order = sorted(values, key=lambda key: (sets.index(key[1]), PROTOCOLS.index(key[2]), names.index(key[0])))
    baselines = {name: plan.baseline(name) for name in names}
    return [_row(key, values[key], baselines[key[0]], values.get((baselines[key[0]], *key[1:]), [])) for key in order]


def as_csv(rows: Sequence[Row]) -> str:
    """The rows at full precision, a line each; empty where there is no value."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Row._fields, *rows])
    return text.getvalue()


def as_markdown(plan: Plan, rows: Sequence[Row]) -> str:
    """A table for each data set and protocol: configurations in rows, mean ± standard deviation of each figure."""
    parts = []
    for key in dict.fromkeys((row.scored, row.protocol) for row in rows):
        scored, protocol = key
        split = "Validation, best epoch" if scored == "validation" else f"{scored}, test split"
        chosen = {(row.configuration, row.figure): row for row in rows if (row.scored, row.protocol) == key}
        parts.append(f"{split} (protocol {protocol})\n\n{_aligned(_cells(plan, chosen))}\n")
    parts.append("Mean ± sample standard deviation over seeds.")
    against = {name: plan.baseline(name) for name in plan.configurations}
    baselines = list(dict.fromkeys(base for name, base in against.items() if base != name))
    if baselines:
        parts.append(f" Gain: against {baselines[0] if len(baselines) == 1 else 'the row that is named'}.")
    if any(row.star for row in rows):
        spread = f"more than the spread over seeds (Welch's t-test, p < {SIGNIFICANT})"
        parts.append(f" \\*: another than {baselines[0] if len(baselines) == 1 else 'that row'} by {spread}.")
    return "".join([*parts, "\n"])


def write_table(plan: Plan) -> str:
    """Write OUTPUT/table.md and table.csv from what is finished; nothing where nothing is.

    Returns:
        What table.md holds, or ''.

    Raises:
        OSError, ValueError: they cannot be written; a file of scores cannot be read.
    """
    rows = summarize(plan)
    if not rows:
        return ""
    table = as_markdown(plan, rows)
    for name, content in {"table.md": table, "table.csv": as_csv(rows)}.items():
        with atomic_file(plan.output / name) as file:
            file.write(content.encode())
    return table


def _row(key: tuple[str, str, str, str], values: list[float], baseline: str, base: list[float]) -> Row:
    mean, sd = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    if not base or values is base:
        return Row(*key, len(values), mean, sd, baseline, None, None)
    p = _welch(values, base) if min(len(values), len(base)) > 1 else None
    return Row(*key, len(values), mean, sd, baseline, mean - statistics.fmean(base), p)


def _welch(values: list[float], base: list[float]) -> float | None:
    """The p-value of Welch's t-test, which takes no spreads to be equal; None for equal values without any spread."""
    from scipy.stats import ttest_ind_from_stats  # half a second to import, and only several seeds need it

    described = [number for v in (values, base) for number in (statistics.fmean(v), statistics.stdev(v), len(v))]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = float(ttest_ind_from_stats(*described, equal_var=False).pvalue)
    return None if np.isnan(p) else p


def _cells(plan: Plan, rows: dict[tuple[str, str], Row]) -> list[list[str]]:
    """The head and lines of one table; `rows` by configuration and figure."""
    figures = list(dict.fromkeys(figure for _, figure in rows))
    heads = [f"{SHOWN.get(figure, figure)} {'↓' if figure == 'MAE' else '↑'}" for figure in figures]
    lines = [["configuration", "seeds", *heads, "gain in Sm"]]
    several = len({row.baseline for row in rows.values()}) > 1
    for name in plan.configurations:
        found = [rows[name, figure] for figure in figures if (name, figure) in rows]
        means = [f"{row.mean:.4f}" + ("" if row.sd is None else f" ± {row.sd:.4f}") + row.star for row in found]
        gains = [row for row in found if row.figure == "Sm" and row.gain is not None]
        gains = [f"{row.gain:+.4f}{row.star}{f' on {row.baseline}' if several else ''}" for row in gains]
        lines.append([name, str(found[0].n if found else 0), *(means or ["–"] * len(figures)), *(gains or ["–"])])
    return lines if len(lines) > 2 else [line[:-1] for line in lines]


def _aligned(lines: list[list[str]]) -> str:
    """A Markdown table whose columns line up as plain text too."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    shown = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in [lines[0], rule, *lines[1:]]]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)
