"""Compare recipes over seeds: the last epoch's validation scores and the test scores, mean ± standard deviation.

    python -m tools.seed_table --runs lite2=runs/lite2 taught=runs/taught [--seeds 0 1 2]
        [--scores ORSSD=runs/scores/ORSSD]

`--runs` names the folders of a recipe's runs without the seed: runs/lite2 means runs/lite2_0, runs/lite2_1 and
runs/lite2_2. Gains are paired by seed, over the recipe that is named first. `--scores` names what
compute_results/compute_metrics.py wrote for the methods lite2_0, lite2_1, … under the protocols authors and field.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compute_results.options import CommandParser, paths_by_name


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(prog="python -m tools.seed_table", description=__doc__)
    add = parser.add_argument
    add("--runs", nargs="+", required=True, metavar="NAME=RUN", help="each recipe's name and its runs' common path")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    add("--scores", nargs="+", default=[], metavar="SET=DIR", help="data sets whose test scores are reported too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

from collections.abc import Mapping

import pandas as pd

from tools.ablation import METRICS, TEST_METRICS, section
from tools.sweep_runner import read_json
from tools.sweep_table import PROTOCOLS
from utils.text import one_line


def validation_scores(runs: Mapping[str, Path], seeds: Sequence[int]) -> pd.DataFrame:
    """Return the validation scores of each run's last epoch.

    Args:
        runs: a recipe's name → the path of its runs without `_SEED`.
        seeds: all must be there and finished.

    Returns:
        Columns Fbeta, MAE, Sm, configuration (the recipe's name), seed and epoch (0: recipes differ in length).

    Raises:
        OSError, ValueError: a run is not finished, or its log cannot be read.
    """
    tables = []
    for name, path in runs.items():
        for seed in seeds:
            run = path.with_name(f"{path.name}_{seed}")
            if not (run / "finished.json").is_file():
                raise ValueError(f"{run} is not finished: all seeds are compared, or none")
            last = pd.read_csv(run / "log.csv").tail(1)
            if missing := [metric for metric in METRICS if metric not in last or not last[metric].notna().any()]:
                raise ValueError(f"{run / 'log.csv'} has no {missing[0]} for its last epoch")
            tables.append(last[[*METRICS]].assign(configuration=name, seed=seed, epoch=0))
    return pd.concat(tables, ignore_index=True)


def test_scores(folder: Path, protocol: str, names: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Return the test scores of the methods NAME_SEED that compute_metrics.py wrote to `folder`/`protocol`.

    Returns:
        Columns configuration, seed, epoch (0) and the metrics.

    Raises:
        OSError, ValueError: the file cannot be read, or it lacks a method.
    """
    path = folder / protocol / "scores.json"
    results = {result["method"]: result for result in read_json(path, "results")["results"]}
    if missing := [f"{name}_{seed}" for name in names for seed in seeds if f"{name}_{seed}" not in results]:
        raise ValueError(f"{path} has no method {missing[0]}: found {', '.join(results)}")
    found = [(name, seed, results[f"{name}_{seed}"]) for name in names for seed in seeds]
    return pd.DataFrame([{**result, "configuration": name, "seed": seed, "epoch": 0} for name, seed, result in found])


def report(runs: Mapping[str, Path], seeds: Sequence[int], scores: Mapping[str, Path]) -> str:
    """Return the Markdown: a table for the validation part, and one for each test set and protocol."""
    baselines = dict.fromkeys(runs, next(iter(runs)))
    parts = [section("Validation, last epoch (protocol authors)", validation_scores(runs, seeds), baselines, METRICS)]
    for name, folder in scores.items():
        for protocol in PROTOCOLS:
            found = test_scores(folder, protocol, [*runs], seeds)
            parts.append(section(f"{name}, test split (protocol {protocol})", found, baselines, TEST_METRICS))
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; bad input ends it with one line."""
    options = _parse_arguments(arguments)
    try:
        runs = paths_by_name(options.runs, "--runs", "NAME=RUN, a recipe's name and its runs' common path")
        scores = paths_by_name(options.scores, "--scores", "SET=DIR, a data set's name and the folder of its scores")
        print(report(runs, options.seeds, scores))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {one_line(error, 1000)}")


if __name__ == "__main__":
    command.run(main)
