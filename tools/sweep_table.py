"""Summarize the scores of a sweep: mean ± standard deviation over seeds, and paired comparisons with a baseline."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

PROTOCOLS = ("authors", "field")
"""The protocols under which test splits are scored."""

VALIDATION = ("validation", "authors")
"""Data and protocol of the scores that train.py records for the best epoch."""

SIGNIFICANT = 0.05
SHOWN = {"Fbeta": "Fβ"}
"""Metrics that have another name in text than in files."""

EMPTY = "–"


def compare(values: pd.Series, baseline: pd.Series) -> dict[str, float]:
    """Compare two configurations by the paired t-test over their common seeds.

    Args:
        values: a metric by seed.
        baseline: the same of the baseline.

    Returns:
        pairs, gain (the mean difference), low and high (its 95 % interval) and p (two-sided). Low, high and p are NaN for
        one pair, p also if all differences are 0.
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
    ordered = p.dropna().sort_values()
    return (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1).reindex(p.index)


def summarize(scores: pd.DataFrame, baselines: Mapping[str, str]) -> pd.DataFrame:
    """Return one row for each metric of each configuration.

    Args:
        scores: columns configuration, seed, scored, protocol, figure (a metric's name), value.
        baselines: the baseline of each configuration, in the order of the table; a baseline names itself.

    Returns:
        Columns configuration, scored, protocol, figure, n (seeds), mean, sd (sample standard deviation, n − 1), baseline,
        those of `compare`, and p_holm: p adjusted over all rows with the same data and protocol.
    """
    keys = ["scored", "protocol", "configuration", "figure"]
    by_key = {key: group.set_index("seed").value for key, group in scores.groupby(keys, sort=False)}
    rows = []
    for scored, protocol in dict.fromkeys((scored, protocol) for scored, protocol, *_ in by_key):
        for name, baseline in baselines.items():
            for (*place, configuration, figure), values in by_key.items():
                if (*place, configuration) != (scored, protocol, name):
                    continue
                row = {"configuration": name, "scored": scored, "protocol": protocol, "figure": figure}
                row |= {"n": len(values), "mean": values.mean(), "sd": values.std(), "baseline": baseline}
                base = by_key.get((scored, protocol, baseline, figure))
                compared = base is not None and name != baseline and not values.index.intersection(base.index).empty
                rows.append(row | (compare(values, base) if compared else {}))
    columns = [*rows[0], *(key for key in ("pairs", "gain", "low", "high", "p") if key not in rows[0])]
    table = pd.DataFrame(rows, columns=columns).astype({"pairs": "Int64"})
    table["p_holm"] = table.groupby(["scored", "protocol"], sort=False).p.transform(holm)
    return table


def markdown(rows: pd.DataFrame, baselines: Mapping[str, str]) -> str:
    """Return a Markdown table for each data set and protocol, after a paragraph on how to read them."""
    named = list(dict.fromkeys(baseline for name, baseline in baselines.items() if name != baseline))
    parts = ["Mean ± sample standard deviation over seeds."]
    if named:
        parts[0] += (
            f" Gain: mean difference in Sm from {named[0] if len(named) == 1 else 'the named baseline'} over the common "
            "seeds (pairs), with the 95 % interval of the paired t-test. p: two-sided, paired t-test, Holm's correction "
            f"over all metrics and rows of a table. \\*: corrected p < {SIGNIFICANT} in that metric."
        )
    for (scored, protocol), chosen in rows.groupby(["scored", "protocol"], sort=False):
        title = "Validation, best epoch" if scored == "validation" else f"{scored}, test split"
        cells = pd.DataFrame([_cells(chosen, name, bool(named), len(named) > 1) for name in baselines])
        align = ["left", *["right"] * (len(cells.columns) - 1)]
        table = cells.fillna(EMPTY).to_markdown(index=False, disable_numparse=True, colalign=align)
        parts.append(f"{title} (protocol {protocol})\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _cells(rows: pd.DataFrame, name: str, compared: bool, several: bool) -> dict[str, str]:
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
    if compared:
        row = own.loc["Sm"] if "Sm" in own.index else None
        there = row is not None and not pd.isna(row.gain)
        cells |= {"baseline": row.baseline if there else EMPTY} if several else {}
        cells["gain in Sm"] = f"{row.gain:+.4f}" if there else EMPTY
        cells["95 % interval"] = EMPTY if not there or np.isnan(row.low) else f"{row.low:+.4f} to {row.high:+.4f}"
        cells["pairs"] = str(row.pairs) if there else EMPTY
        cells["p"] = EMPTY if not there or np.isnan(row.p_holm) else f"{row.p_holm:.2g}"
    return cells
