"""The results of a sweep's finished runs as small tables, so that runs of several machines can be compared.

A results folder holds:

    validation.csv     configuration, seed, epoch, Fbeta, MAE, Sm
    test.csv           configuration, seed, scored (the data set), protocol, metric, value
    sr.csv             configuration, seed, epoch, PSNR (dB), SSIM, and those of bicubic upsampling
    gradients.csv      configuration, seed, epoch, term, loss, ratio, cosine, as tools.gradient_analysis
    CONFIGURATION.yaml the settings of a configuration's first recorded run
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import yaml

from tools.sweep_runner import Run
from tools.sweep_table import PROTOCOLS
from utils.files import atomic_files

METRICS = ("Fbeta", "MAE", "Sm")
"""Metrics of a validation part."""

RUN = ["configuration", "seed"]
COLUMNS = {
    "validation": [*RUN, "epoch", *METRICS],
    "test": [*RUN, "scored", "protocol", "metric", "value"],
    "sr": [*RUN, "epoch", "PSNR", "SSIM", "bicubic_PSNR", "bicubic_SSIM"],
    "gradients": [*RUN, "epoch", "term", "loss", "ratio", "cosine"],
}
"""The columns of each table, by its name."""

DIGITS = 6

Results = dict[str, pd.DataFrame]


def collect_results(runs: list[Run]) -> Results:
    """Return the tables of the runs that are finished on this machine.

    Args:
        runs: of a sweep; the others are left out.

    Raises:
        OSError, ValueError: a file cannot be read, or a run has no validation part.
    """
    readers: Mapping[str, Callable[[Run], pd.DataFrame]]
    readers = {"validation": _validation, "test": _test, "sr": _sr, "gradients": _gradients}
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    for run in runs:
        if not (run.folder / "log.csv").is_file() or run.finished() is None:
            continue
        for name, reader in readers.items():
            table = reader(run)
            table.insert(0, "configuration", run.configuration)
            table.insert(1, "seed", run.seed)
            if len(table):
                found[name].append(table[COLUMNS[name]])
    return {name: _joined(name, tables) for name, tables in found.items()}


def read_results(folder: Path) -> Results:
    """Return the tables of a results folder; those of a folder that does not exist are empty.

    Raises:
        OSError, ValueError: a file cannot be read, or it has other columns.
    """
    return {name: _read_table(folder / f"{name}.csv", columns) for name, columns in COLUMNS.items()}


def recorded_runs(folder: Path) -> set[tuple[str, int]]:
    """Return configuration and seed of the runs of a results folder; errors as `read_results`."""
    table = read_results(folder)["validation"]
    return set(zip(table.configuration, table.seed.astype(int), strict=True))


def recorded_settings(folder: Path, configuration: str) -> dict | None:
    """Return the settings that a results folder has for a configuration, None if it has none.

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    path = folder / f"{configuration}.yaml"
    if not path.is_file():
        return None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: found {type(found).__name__}, expected the settings of a run")
    return found


def merge_results(recorded: Results, own: Results) -> Results:
    """Return both together. What is recorded of a run stays: it is not measured twice."""
    merged = {}
    for name, columns in COLUMNS.items():
        keys = [*RUN, "scored", "protocol"] if name == "test" else RUN
        known = pd.MultiIndex.from_frame(recorded[name][keys])
        is_new = ~pd.MultiIndex.from_frame(own[name][keys]).isin(known)
        merged[name] = _joined(name, [recorded[name], own[name][is_new]])[columns]
    return merged


def write_results(folder: Path, results: Results, runs: list[Run]) -> None:
    """Write a results folder; `runs` are those that may give the settings of configurations that have none there.

    Raises:
        OSError, ValueError: a file cannot be written, or a run's settings cannot be read.
    """
    contents: dict[Path, str | bytes] = {
        folder / f"{name}.csv": table.to_csv(index=False, lineterminator="\n") for name, table in results.items()
    }
    for run in runs:
        path = folder / f"{run.configuration}.yaml"
        if run.finished() is not None and path not in contents and not path.is_file():
            contents[path] = yaml.safe_dump(run.recorded(), sort_keys=False)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_files(contents)


def _joined(name: str, tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=COLUMNS[name])
    joined = pd.concat(filled, ignore_index=True)
    return joined.sort_values(RUN, kind="stable", ignore_index=True).round(DIGITS)


def _validation(run: Run) -> pd.DataFrame:
    path = run.folder / "log.csv"
    table = pd.read_csv(path)
    if missing := [name for name in ("epoch", *METRICS) if name not in table]:
        raise ValueError(f"{path} has no column {missing[0]}: expected the log of a run with a validation part")
    return table[["epoch", *METRICS]].dropna()


def _test(run: Run) -> pd.DataFrame:
    names = sorted(path.name for path in run.folder.glob("scores/*") if path.is_dir())
    rows = [
        (name, protocol, metric, value)
        for name in names
        for protocol in PROTOCOLS
        for metric, value in run.scores(name, protocol).items()
    ]
    return pd.DataFrame(rows, columns=["scored", "protocol", "metric", "value"])


def _sr(run: Run) -> pd.DataFrame:
    table = _read_table(run.folder / "sr.csv", ["network", "PSNR", "SSIM"])
    bicubic = table[table.network == "bicubic"]
    table = table.assign(epoch=_epochs(table.network)).dropna(subset="epoch")
    if len(table):
        table["bicubic_PSNR"], table["bicubic_SSIM"] = bicubic.PSNR.iloc[0], bicubic.SSIM.iloc[0]
    return table.astype({"epoch": int}).reindex(columns=COLUMNS["sr"][2:])


def _gradients(run: Run) -> pd.DataFrame:
    table = _read_table(run.folder / "gradients.csv", ["network", "term", "loss", "ratio", "cosine"])
    return table.assign(epoch=_epochs(table.network)).dropna(subset="epoch").astype({"epoch": int})


def _epochs(captions: pd.Series) -> pd.Series:
    return captions.astype(str).str.extract(r"epoch (\d+)$")[0]


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=columns)
    if list(table.columns) != columns:
        raise ValueError(f"{path} has the columns {', '.join(table.columns)}: expected {', '.join(columns)}")
    return table
