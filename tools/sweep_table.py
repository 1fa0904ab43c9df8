"""Summarize the scores of a sweep: mean ± standard deviation over seeds, and paired comparisons with a baseline."""

import re
from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd

from compute_results import statistics

PROTOCOLS = ("authors", "field")
"""The protocols under which test splits are scored."""

VALIDATION = ("validation", "authors")
"""Data and protocol of the scores that train.py records for the best epoch."""

SIGNIFICANT = 0.05
SHOWN = {"Fbeta": "Fβ"}
"""Metrics that have another name in text than in files."""

EMPTY = "–"

_LATEX = {
    " \\*": "$^*$", "_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "Fβ": r"$F_\beta$", "±": r"$\pm$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--",
}  # fmt: skip
"""What stands in LaTeX for characters of a Markdown cell, in this order."""


def compare(values: pd.Series, baseline: pd.Series) -> dict[str, float]:
    """Compare two configurations by the paired t-test over their common seeds.

    Args:
        values: a metric by seed.
        baseline: the same of the baseline.

    Returns:
        pairs, gain (the mean difference), low and high (its 95 % interval) and p (two-sided). Low, high and p are NaN
        for one pair, p also if all differences are 0.
    """
    from scipy.stats import ttest_rel  # half a second to import

    both = pd.concat([values, baseline], axis="columns", join="inner", keys=["new", "old"])
    found = {"pairs": len(both), "gain": (both.new - both.old).mean()} | dict.fromkeys(("low", "high", "p"), np.nan)
    if len(both) > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            test = ttest_rel(both.new, both.old)
            found["low"], found["high"] = test.confidence_interval(0.95)
        found["p"] = test.pvalue
    return found


def holm(p: pd.Series) -> pd.Series:
    """Return p-values adjusted by Holm's step-down method over all values that are not NaN."""
    known = p.dropna()
    return pd.Series(statistics.holm(known.tolist()), known.index, dtype=float).reindex(p.index)


def summarize(scores: pd.DataFrame, baselines: Mapping[str, str]) -> pd.DataFrame:
    """Return one row for each metric of each configuration.

    Args:
        scores: columns configuration, seed, scored, protocol, figure (a metric's name), value.
        baselines: the baseline of each configuration, in the order of the table; a baseline names itself.

    Returns:
        Columns configuration, scored, protocol, figure, n (seeds), mean, sd (sample standard deviation, n − 1),
        baseline, those of `compare`, and p_holm: p adjusted over all rows with the same data and protocol.
    """
    keys = ["scored", "protocol", "configuration", "figure"]
    values = {key: group.set_index("seed").value for key, group in scores.groupby(keys, sort=False)}
    rows = []
    for place, table in scores.groupby(keys[:2], sort=False):
        for name, figure in product(baselines, table.figure.unique()):
            own, base = (values.get((*place, each, figure), pd.Series(dtype=float)) for each in (name, baselines[name]))
            if own.empty:
                continue
            row = dict(zip(keys, (*place, name, figure), strict=True))
            row |= {"n": len(own), "mean": own.mean(), "sd": own.std(), "baseline": baselines[name]}
            compared = name != baselines[name] and not own.index.intersection(base.index).empty
            rows.append(row | (compare(own, base) if compared else {}))
    columns = ["configuration", "scored", "protocol", "figure", "n", "mean", "sd", "baseline"]
    summary = pd.DataFrame(rows, columns=[*columns, "pairs", "gain", "low", "high", "p"]).astype({"pairs": "Int64"})
    summary["p_holm"] = summary.groupby(keys[:2], sort=False).p.transform(holm)
    return summary


def markdown(rows: pd.DataFrame, baselines: Mapping[str, str]) -> str:
    """Return a Markdown table for each data set and protocol, after a paragraph on how to read them."""
    named = list(dict.fromkeys(baseline for name, baseline in baselines.items() if name != baseline))
    parts = ["Mean ± sample standard deviation over seeds."]
    if named:
        baseline = named[0] if len(named) == 1 else "the named baseline"
        parts[0] += (
            f" Gain: mean difference in Sm from {baseline} over the common seeds (pairs), with its 95 % interval "
            "(from, to). p: two-sided paired t-test, with Holm's correction over all metrics and rows of a table. "
            f"\\*: corrected p < {SIGNIFICANT} in that metric."
        )
    for (scored, protocol), chosen in rows.groupby(["scored", "protocol"], sort=False):
        title = _title(str(scored))
        cells = pd.DataFrame([_cells(chosen, name, bool(named)) for name in baselines])
        align = ["left", *["right"] * (len(cells.columns) - 1)]
        table = cells.fillna(EMPTY).to_markdown(index=False, disable_numparse=True, colalign=align)
        parts.append(f"{title} (protocol {protocol})\n\n{table}")
    return "\n\n".join(parts) + "\n"


def latex(rows: pd.DataFrame, baselines: Mapping[str, str]) -> str:
    r"""Return a LaTeX `tabular` for `booktabs` for each data set and protocol, each after a comment that names it."""
    named = any(name != baseline for name, baseline in baselines.items())
    parts = [
        rf"% Needs \usepackage{{booktabs}}. Mean $\pm$ sample standard deviation over seeds; *: p < {SIGNIFICANT}."
    ]
    for (scored, protocol), chosen in rows.groupby(["scored", "protocol"], sort=False):
        cells = pd.DataFrame([_cells(chosen, name, named) for name in baselines]).fillna(EMPTY)
        cells = cells.rename(columns=lambda name: _in_latex(str(name))).map(lambda cell: _in_latex(str(cell)))
        form = "l" + "r" * (len(cells.columns) - 1)
        body = cells.style.hide(axis="index").to_latex(column_format=form, hrules=True)
        parts.append(f"% {_title(scored)} (protocol {protocol})\n{body}")
    return "\n".join(parts)


def _in_latex(text: str) -> str:
    for plain, command in _LATEX.items():
        text = text.replace(plain, command)
    return re.sub(r"^-(?=\d)", "$-$", text)


def _title(scored: str) -> str:
    return "Validation, best epoch" if scored == "validation" else f"{scored}, test split"


def _cells(rows: pd.DataFrame, name: str, compared: bool) -> dict[str, str]:
    """Return the cells of one configuration by column; `rows` are those of one table."""
    own = rows[rows.configuration == name].set_index("figure")
    cells = {"configuration": name, "seeds": str(own.n.max()) if len(own) else "0"}
    for figure in rows.figure.unique():
        cell = EMPTY
        if figure in own.index:
            row = own.loc[figure]
            spread = "" if np.isnan(row.sd) else f" ± {row.sd:.4f}"
            cell = f"{row['mean']:.4f}{spread}" + " \\*" * bool(row.p_holm < SIGNIFICANT)
        cells[f"{SHOWN.get(figure, figure)} {'↓' if figure == 'MAE' else '↑'}"] = cell
    if not compared:
        return cells
    gains = own[own.gain.notna() & (own.index == "Sm")]
    for heading, column, style in (
        ("baseline", "baseline", "{}"), ("gain in Sm", "gain", "{:+.4f}"), ("from", "low", "{:+.4f}"),
        ("to", "high", "{:+.4f}"), ("pairs", "pairs", "{}"), ("p", "p_holm", "{:.2g}"),
    ):  # fmt: skip
        cells[heading] = next((style.format(value) for value in gains[column].dropna()), EMPTY)
    return cells
