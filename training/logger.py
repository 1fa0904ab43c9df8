"""A run's records: loss sums, log.csv, TensorBoard, curves.png, config.yaml, versions.json and finished.json."""

import csv
import io
import json
import math
import os
import platform
import re
import subprocess
import time
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from compute_results.protocols import PROTOCOLS
from utils.files import atomic_file, atomic_write

FINISHED = "finished.json"
"""File that says that a run has done all its epochs."""
DRAW_EVERY = 30.0
"""Seconds between two drawings of curves.png, which takes most of a second."""
SCORES = PROTOCOLS["authors"].names
"""Columns of the validation part, which stand last in log.csv."""
LABELS = {
    "saliency_map1": "saliency loss, map 1 (finest)",
    **{f"saliency_map{level}": f"saliency loss, map {level}" for level in range(2, 5)},
    "saliency_map5": "saliency loss, map 5 (coarsest)",
    "sr": "super-resolution loss (MSE)",
    "spatial": "guidance loss, spatial",
    "affinity": "guidance loss, affinity",
    "teacher": "distillation loss",
    "total": "weighted sum of the losses",
    "lr": "learning rate",
    "Fbeta": "validation Fβ, higher is better",
    "MAE": "validation MAE, lower is better",
    "Sm": "validation Sm, higher is better",
}
"""What curves.png calls the columns of log.csv. Losses are unweighted; the sum's weights are those after epoch 1."""


class LossAccumulator:
    """Sums of the loss terms over an epoch's steps, which stay on the device until `settle` transfers them.

    Args:
        sums: the sums of an interrupted epoch so far.
    """

    def __init__(self, sums: dict[str, float] | None = None):
        self.sums = {_renamed(name): value for name, value in (sums or {}).items()}
        self._kept: list[dict[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add the terms of one step, each a scalar tensor."""
        self._kept.append(terms)

    def settle(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """Transfer the steps' terms, averaged over the processes, and add them to the sums.

        Args:
            accelerator: knows the processes, which all settle at the same step.
            step: number of the step after the last one added.

        Returns:
            The terms of the last step; empty if there is none.

        Raises:
            FloatingPointError: a term is not finite; the first such step and its terms are named.
        """
        if not self._kept:
            return {}
        names = list(self._kept[0])
        values = torch.stack([torch.stack(list(terms.values())) for terms in self._kept])
        rows = accelerator.reduce(values, "mean").tolist()
        first = step - len(rows)
        self._kept = []
        for index, row in enumerate(rows):
            wrong = [name for name, value in zip(names, row, strict=True) if not math.isfinite(value)]
            if wrong:
                raise FloatingPointError(
                    f"step {first + index}: loss term {', '.join(wrong)} is not finite; lower optimizer.lr, set "
                    "optimizer.clip, or use precision fp32; the last checkpoint is intact"
                )
            for name, value in zip(names, row, strict=True):
                self.sums[name] = self.sums.get(name, 0.0) + value
        return dict(zip(names, rows[-1], strict=True))


class Logger:
    """The logs in a run's folder; a context whose end, whatever its reason, writes what TensorBoard still holds.

    Args:
        folder: the run's folder; it exists.
        epochs_done: epochs whose rows of log.csv are kept; those of an unfinished epoch are dropped.
        step: the first step that is still to be logged. Later steps of an earlier process are hidden in TensorBoard.
    """

    def __init__(self, folder: Path, epochs_done: int = 0, step: int = 0):
        self.folder = folder
        self.rows = [row for row in _read_rows(folder / "log.csv") if int(row["epoch"]) <= epochs_done]
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)
        self.drawn = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.board.close()

    def flush(self) -> None:
        """Write what TensorBoard still holds: a checkpoint's run has its rows up to there, even if killed."""
        self.board.flush()

    def step(self, step: int, values: dict[str, float]) -> None:
        """Log the loss terms and the learning rate of a step, counted from 0, to TensorBoard."""
        for name, value in values.items():
            self.board.add_scalar(f"train/{name}", value, step)

    def picture(self, tag: str, sheet: Image.Image, step: int) -> None:
        """Add a picture to TensorBoard."""
        self.board.add_image(tag, np.asarray(sheet), step, dataformats="HWC")

    def epoch(self, row: dict[str, float], scores: dict[str, float], step: int, last: bool) -> None:
        """Add an epoch to log.csv and TensorBoard; draw curves.png if it is old, or if the epoch is the last.

        Args:
            row: `epoch`, its number, and the means over it; epoch 0 is the start and has none.
            scores: of the validation part; empty where it was not scored.
            step: the epoch's last step, counted from 0: a run that resumes after it hides only what follows.
            last: whether it is the run's last.
        """
        self.rows = [each for each in self.rows if int(each["epoch"]) < row["epoch"]]
        self.rows.append({name: f"{value:.7g}" for name, value in (row | scores).items()})
        names = dict.fromkeys(name for each in self.rows for name in each)
        text = io.StringIO()
        writer = csv.DictWriter(text, sorted(names, key=SCORES.__contains__), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        atomic_write(self.folder / "log.csv", text.getvalue())
        tags = {f"epoch/{name}": value for name, value in row.items() if name != "epoch"}
        for tag, value in (tags | {f"validation/{name}": value for name, value in scores.items()}).items():
            self.board.add_scalar(tag, value, step)
        self.board.flush()
        if last or time.monotonic() - self.drawn >= DRAW_EVERY:
            with atomic_file(self.folder / "curves.png") as file:
                _draw(self.rows).savefig(file, format="png", dpi=100)
            self.drawn = time.monotonic()


def versions() -> dict[str, Any]:
    """Return the versions of Python and the libraries, the machine, and this checkout's commit (None without git)."""
    libraries = ("torch", "timm", "accelerate", "numpy", "pillow", "safetensors")
    return {
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in libraries},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "commit": _git("describe", "--always", "--dirty").strip() or None,
    }


def _git(*arguments: str) -> str:
    """Return git's output for this checkout; '' without git."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def write_record(folder: Path, config: str, about: dict[str, Any]) -> None:
    """Write config.yaml and versions.json, which reproduce the run, and uncommitted.diff if the code has changes."""
    contents = {"config.yaml": config, "versions.json": json.dumps(about, indent=1) + "\n"}
    changes = _git("diff", "HEAD", "--", "*.py")
    if changes:
        contents["uncommitted.diff"] = changes
    for name, content in contents.items():
        atomic_write(folder / name, content)


def write_finished(folder: Path, result: dict[str, Any]) -> None:
    """Write finished.json, which says that the run has done all its epochs."""
    atomic_write(folder / FINISHED, json.dumps(result, indent=1) + "\n")


def format_figures(values: dict[str, float]) -> str:
    """Return figures by name on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


def format_duration(seconds: float) -> str:
    """Return a time in hours and minutes, or in minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600} h {whole % 3600 // 60:02} min" if whole >= 3600 else f"{whole // 60} min {whole % 60:02} s"


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{_renamed(name): value for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if row.get("epoch", "").isdigit()]


def _renamed(name: str) -> str:
    """Return the present name of a column; runs of older versions have saliency1 … saliency5."""
    return re.sub(r"^saliency(\d)$", r"saliency_map\1", name)


def _draw(rows: list[dict[str, str]]) -> Figure:
    """Draw a panel for each loss term and validation figure, over epochs."""
    left_out = ("epoch", "seconds", "images_per_second")
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in left_out]
    columns = 4
    lines = -(-len(names) // columns)
    width, height = 3.2 * columns, 2.3 * lines
    figure = Figure(figsize=(width, height))
    # Fixed margins in inches: matplotlib's own layout takes as long as the drawing.
    figure.subplots_adjust(0.5 / width, 0.45 / height, 1 - 0.1 / width, 1 - 0.3 / height, wspace=0.2, hspace=0.3)
    for axes, name in zip(figure.subplots(lines, columns, squeeze=False).flat, names, strict=False):
        points = [(int(row["epoch"]), float(row[name])) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 20 else None)
        values = [value for _, value in points]
        if min(values) > 0 and max(values) > 50 * min(values):
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(LABELS.get(name, name), fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for axes in figure.axes[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("epoch", fontsize=8)
    return figure
