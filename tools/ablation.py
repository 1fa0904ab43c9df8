"""Compare the arms of a sweep by epoch, paired by seed, and state which gain the data exclude.

    python -m tools.ablation --list LIST.yaml [--output DIR] [--test ORSSD] [--metric Sm]

It reads what the runs of `tools.sweep` measured and writes, beside the sweep's table:

    ablation.md     gain of each arm over its baseline in the last epoch, 95 % interval, the excluded gain; what the SR
                    branch learned, where RUN/sr.csv and RUN/gradients.csv are there (tools.inspect_sr and
                    tools.gradient_analysis with --csv)
    ablation.csv    the same for every epoch that all compared seeds have reached
    ablation.png    the metric by epoch, and the gain by epoch with its interval

Any number of finished seeds is accepted; n is the number of seeds of a comparison. A gain above the upper end of the
two-sided 95 % interval of the paired t-test is excluded at the 2.5 % level.

If LIST.yaml names a folder of `results`, the finished runs are recorded there, and all that are recorded there are
compared, also those of other machines.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from compute_results.options import CommandParser

TEST_METRICS = ("Fbeta", "maxF", "MAE", "Sm")
"""Metrics of the tables of test scores; each protocol has some of them."""

ARM = ["configuration", "epoch"]


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(prog="python -m tools.ablation", description=__doc__)
    add = parser.add_argument
    add("--list", required=True, metavar="LIST.yaml", help="the list of runs that tools.sweep trained")
    add("--output", metavar="DIR", help="the sweep's folder, instead of the list's")
    add("--test", metavar="NAME", help="report this data set's test scores too; all runs must have them")
    shown = "metric by epoch, of the CSV and the figure (default: Sm)"
    add("--metric", choices=("Fbeta", "MAE", "Sm"), default="Sm", help=shown)
    add("--print-output", action="store_true", help="print the sweep's folder and end")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import pandas as pd
from matplotlib.figure import Figure

from tools.sweep import Sweep, sweep_of
from tools.sweep_results import METRICS, RUN, Results, collect_results, merge_results, read_results, write_results
from tools.sweep_table import PROTOCOLS, compare
from utils.files import atomic_path, atomic_write
from utils.text import one_line


def find_results(sweep: Sweep) -> Results:
    """Return the results of the sweep's finished runs, after they are recorded in its results folder, if it has one.

    Raises:
        OSError, ValueError: a file cannot be read or written; no run is finished.
    """
    results = collect_results(sweep.all_runs)
    if sweep.results:
        results = merge_results(read_results(Path(sweep.results)), results)
        write_results(Path(sweep.results), results, sweep.all_runs)
    if results["validation"].empty:
        raise ValueError(f"no run in {sweep.output} is finished: tools.sweep trains them")
    return results


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


def test_scores(sweep: Sweep, results: Results, name: str, protocol: str) -> pd.DataFrame:
    """Return a test split's scores: columns configuration, seed, epoch (0) and the metrics.

    Raises:
        ValueError: a run of the sweep is not scored: all are, or none is reported.
    """
    table = results["test"]
    table = table[(table.scored == name) & (table.protocol == protocol)]
    scored = set(zip(table.configuration, table.seed, strict=True))
    for run in sweep.all_runs:
        if (run.configuration, run.seed) not in scored:
            raise ValueError(
                f"{run.folder} has no scores on {name} ({protocol}); the test split is reported when all runs have them"
            )
    return table.pivot(index=RUN, columns="metric", values="value").reset_index().assign(epoch=0)


def branch_section(results: Results) -> str:
    """Return a Markdown table of what the SR branch learned, by arm and epoch, means over the seeds; '' without data.

    PSNR and SSIM are those of the validation images less those of bicubic upsampling; the others are the norms of the
    terms' gradients in the encoder, divided by that of the saliency terms.
    """
    sr = results["sr"]
    table = pd.DataFrame(
        {
            "n": sr.groupby(ARM).seed.nunique(),
            "PSNR, dB": (sr.PSNR - sr.bicubic_PSNR).groupby([sr[key] for key in ARM]).mean().map("{:+.2f}".format),
            "SSIM": (sr.SSIM - sr.bicubic_SSIM).groupby([sr[key] for key in ARM]).mean().map("{:+.4f}".format),
        }
    )
    terms = results["gradients"]
    terms = terms[~terms.term.str.startswith("saliency").astype(bool)]
    ratios = terms.pivot_table(index=ARM, columns="term", values="ratio", sort=False).map("{:.4f}".format)
    both = table.join(ratios.rename(columns=lambda name: f"gradient of {name}"), how="outer").reset_index()
    if both.empty:
        return ""
    both = both.rename(columns={"configuration": "arm"}).astype(object).fillna("–").replace("nan", "–")
    title = "SR branch: luma over bicubic upsampling, and each term's gradient in the encoder over the saliency terms'"
    return f"{title}\n\n{both.to_markdown(index=False, disable_numparse=True)}"


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
    if len(compared):
        right.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def report(sweep: Sweep, test: str | None, metric: str) -> str:
    """Write ablation.md, ablation.csv and ablation.png into the sweep's folder; return the Markdown.

    Raises:
        OSError, ValueError: no run is finished; a file cannot be read or written; a run has no test scores.
    """
    results = find_results(sweep)
    scores = results["validation"]
    baselines = {name: base for name, base in sweep.baselines.items() if name in set(scores.configuration)}
    last = scores[scores.epoch == scores.epoch.max()]
    parts = [
        f"Mean ± sample standard deviation over n seeds. Gain: mean paired difference, with the 95 % interval of the "
        f"paired t-test. {len(last)} of {len(sweep.all_runs)} runs are finished.",
        section(f"Validation, epoch {scores.epoch.max()} (protocol authors)", last, baselines, METRICS),
    ]
    for protocol in PROTOCOLS if test else ():
        found = test_scores(sweep, results, test or "", protocol)
        title = f"{test}, test split, the epoch with the best validation Sm (protocol {protocol})"
        parts.append(section(title, found, baselines, TEST_METRICS))
    parts += filter(None, [branch_section(results)])
    compared = gains(scores, baselines, metric)
    folder = Path(sweep.output)
    folder.mkdir(parents=True, exist_ok=True)
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
        sweep.check_results()
        print(sweep.output if options.print_output else report(sweep, options.test, options.metric))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {one_line(error, 1000)}")


if __name__ == "__main__":
    command.run(main)
