"""Compare the arms of a sweep by epoch, paired by seed, and state which gain the data exclude.

    python -m tools.ablation --list LIST.yaml [--output DIR] [--test ORSSD] [--metric Sm]

It reads the log.csv of the runs of `tools.sweep` and writes, beside the sweep's table:

    ablation.md     gain of each arm over its baseline in the last epoch, 95 % interval, the excluded gain
    ablation.csv    the same for every epoch that all compared seeds have reached
    ablation.png    the metric by epoch, and the gain by epoch with its interval

Any number of finished seeds is accepted; n is the number of seeds of a comparison. A gain above the upper end of the
two-sided 95 % interval of the paired t-test is excluded at the 2.5 % level.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from compute_results.options import CommandParser

METRICS = ("Fbeta", "MAE", "Sm")
TEST_METRICS = ("Fbeta", "maxF", "MAE", "Sm")
"""Metrics of the tables of test scores; each protocol has some of them."""


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(prog="python -m tools.ablation", description=__doc__)
    add = parser.add_argument
    add("--list", required=True, metavar="LIST.yaml", help="the list of runs that tools.sweep trained")
    add("--output", metavar="DIR", help="the sweep's folder, instead of the list's")
    add("--test", metavar="NAME", help="report this data set's test scores too; all runs must have them")
    add("--metric", choices=METRICS, default="Sm", help="metric by epoch, of the CSV and the figure (default: Sm)")
    add("--print-output", action="store_true", help="print the sweep's folder and end")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import pandas as pd
from matplotlib.figure import Figure

from tools.sweep import Sweep, sweep_of
from tools.sweep_table import PROTOCOLS, compare
from utils.files import atomic_path, atomic_write
from utils.text import one_line


def read_logs(sweep: Sweep, finished_only: bool = True) -> pd.DataFrame:
    """Return the validation scores of a sweep's runs.

    Args:
        sweep: names arms, seeds and folders.
        finished_only: leave out runs that have not reached their last epoch.

    Returns:
        Columns configuration, seed, epoch, Fbeta, MAE, Sm; one row for each validated epoch.

    Raises:
        OSError, ValueError: a log cannot be read, or it has no validation scores.
    """
    tables = []
    for run in sweep.all_runs:
        path = run.folder / "log.csv"
        if not path.is_file() or (finished_only and run.finished() is None):
            continue
        table = pd.read_csv(path)
        if missing := [name for name in ("epoch", *METRICS) if name not in table]:
            raise ValueError(f"{path} has no column {missing[0]}: expected the log of a run with a validation part")
        table = table[["epoch", *METRICS]].dropna()
        tables.append(table.assign(configuration=run.configuration, seed=run.seed))
    columns = ["configuration", "seed", "epoch", *METRICS]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def gains(scores: pd.DataFrame, baselines: Mapping[str, str], metric: str) -> pd.DataFrame:
    """Return the paired gain of each configuration over its baseline, by epoch.

    Args:
        scores: columns configuration, seed, epoch and the metric.
        baselines: the baseline of each configuration; a baseline names itself.
        metric: the column to compare.

    Returns:
        Columns configuration, baseline, epoch, and those of `tools.sweep_table.compare`: pairs (n), gain, low, high, p.
    """
    values = {key: group.set_index("seed")[metric] for key, group in scores.groupby(["configuration", "epoch"])}
    rows = []
    for name, baseline in baselines.items():
        for epoch in sorted(scores[scores.configuration == name].epoch.unique()):
            own, base = values.get((name, epoch)), values.get((baseline, epoch))
            if name == baseline or own is None or base is None or own.index.intersection(base.index).empty:
                continue
            rows.append({"configuration": name, "baseline": baseline, "epoch": int(epoch)} | compare(own, base))
    return pd.DataFrame(rows, columns=["configuration", "baseline", "epoch", "pairs", "gain", "low", "high", "p"])


def statement(row: Mapping, metric: str) -> str:
    """Return which gain one comparison excludes, in one sentence. `row` is one of `gains`; MAE improves downward."""
    name = f"{row['configuration']} over {row['baseline']}, n = {row['pairs']}"
    if row["pairs"] < 2 or pd.isna(row["high"]):
        return f"{name}: one seed gives no interval."
    best, word = (-row["low"], "reduction of MAE") if metric == "MAE" else (row["high"], f"gain in {metric}")
    if best <= 0:
        return f"{name}: any {word} is excluded (95 % interval {row['low']:+.4f} to {row['high']:+.4f})."
    return f"{name}: any {word} above {best:.4f} is excluded (95 % interval {row['low']:+.4f} to {row['high']:+.4f})."


def test_scores(sweep: Sweep, name: str, protocol: str) -> pd.DataFrame:
    """Return a test split's scores as `read_logs` returns those of validation, with epoch 0.

    Raises:
        ValueError: a run of the sweep is not scored: all are, or none is reported.
    """
    rows = []
    for run in sweep.all_runs:
        found = run.scores(name, protocol)
        if not found:
            raise ValueError(
                f"{run.folder} has no scores on {name} ({protocol}); the test split is reported when all runs have them"
            )
        rows.append({"configuration": run.configuration, "seed": run.seed, "epoch": 0} | found)
    return pd.DataFrame(rows)


def section(title: str, scores: pd.DataFrame, baselines: Mapping[str, str], metrics: Sequence[str]) -> str:
    """Return a Markdown table of the arms' means and gains, and the statements.

    Args:
        title: stands above the table.
        scores: columns configuration, seed, epoch (the same in all rows) and metrics.
        baselines: the baseline of each configuration; a baseline names itself.
        metrics: columns of the table; those that `scores` lacks are left out.
    """
    rows, statements = [], []
    found = [metric for metric in metrics if metric in scores]
    compared = {metric: gains(scores, baselines, metric).set_index("configuration") for metric in found}
    for name in baselines:
        own = scores[scores.configuration == name]
        if own.empty:
            continue
        cells = {"arm": name, "n": str(len(own))}
        for metric, table in compared.items():
            spread = f" ± {own[metric].std():.4f}" if len(own) > 1 else ""
            cells[metric] = f"{own[metric].mean():.4f}{spread}"
            if name in table.index:
                row = table.loc[name].to_dict() | {"configuration": name}
                interval = f" ({row['low']:+.4f} to {row['high']:+.4f})" if row["pairs"] > 1 else ""
                cells[f"gain in {metric}"] = f"{row['gain']:+.4f}{interval}"
                statements.append(f"- {statement(row, metric)}")
        rows.append(cells)
    table = pd.DataFrame(rows).fillna("–").to_markdown(index=False, disable_numparse=True)
    return "\n\n".join([title, table, "\n".join(statements)]).rstrip()


def draw(path: Path, scores: pd.DataFrame, compared: pd.DataFrame, metric: str) -> None:
    """Write the PNG: the metric by epoch (mean over the seeds), and the gain by epoch with its 95 % interval."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = {name: f"C{number}" for number, name in enumerate(scores.configuration.unique())}
    for name, own in scores.groupby("configuration", sort=False):
        mean = own.groupby("epoch")[metric].mean()
        left.plot(mean.index, mean, color=colors[name], label=f"{name}, n = {own.seed.nunique()}")
    left.set(xlabel="epoch", ylabel=f"{metric}, validation")
    low = scores.groupby(["configuration", "epoch"])[metric].mean()
    left.set_ylim(low.quantile(0.05), None)
    left.legend(frameon=False, loc="lower right")
    for name, own in compared.groupby("configuration", sort=False):
        right.plot(own.epoch, own.gain, color=colors[name], label=f"{name} − {own.baseline.iloc[0]}")
        right.fill_between(own.epoch, own.low, own.high, color=colors[name], alpha=0.12, linewidth=0)
    right.axhline(0, color="gray", linewidth=0.8)
    last = compared[compared.epoch > compared.epoch.max() * 0.1]
    if len(last):
        limit = 1.2 * last[["gain", "low", "high"]].abs().max().max()
        right.set_ylim(-limit, limit)
    right.set(xlabel="epoch", ylabel=f"paired gain in {metric}, 95 % interval")
    right.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def report(sweep: Sweep, test: str | None, metric: str) -> str:
    """Write ablation.md, ablation.csv and ablation.png into the sweep's folder; return the Markdown.

    Raises:
        OSError, ValueError: no run is finished; a file cannot be read or written; a run has no test scores.
    """
    scores = read_logs(sweep)
    if scores.empty:
        raise ValueError(f"no run in {sweep.output} is finished: tools.sweep trains them")
    baselines = {name: base for name, base in sweep.baselines.items() if name in set(scores.configuration)}
    last = scores[scores.epoch == scores.epoch.max()]
    parts = [
        f"Mean ± sample standard deviation over n seeds. Gain: mean paired difference, with the 95 % interval of the "
        f"paired t-test. {len(last)} of {len(sweep.all_runs)} runs are finished.",
        section(f"Validation, epoch {scores.epoch.max()} (protocol authors)", last, baselines, METRICS),
    ]
    for protocol in PROTOCOLS if test else ():
        found = test_scores(sweep, test or "", protocol)
        title = f"{test}, test split, the epoch with the best validation Sm (protocol {protocol})"
        parts.append(section(title, found, baselines, TEST_METRICS))
    compared = gains(scores, baselines, metric)
    folder = Path(sweep.output)
    atomic_write(folder / "ablation.csv", compared.to_csv(index=False, lineterminator="\n"))
    draw(folder / "ablation.png", scores, compared, metric)
    text = "\n\n".join(parts) + "\n"
    atomic_write(folder / "ablation.md", text)
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; bad input ends it with one line."""
    options = _parse_arguments(arguments)
    try:
        folder = ["--output", options.output] if options.output else []
        sweep, _ = sweep_of(["--list", options.list, *folder])
        print(sweep.output if options.print_output else report(sweep, options.test, options.metric))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {one_line(error, 1000)}")


if __name__ == "__main__":
    command.run(main)
