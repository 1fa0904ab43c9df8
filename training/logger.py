"""What a run tells a person while it runs and afterwards: log.csv, TensorBoard, curves.png, versions.json."""

import csv
import io
import json
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.utils.tensorboard import SummaryWriter

from utils.files import atomic_file

FINISHED = "finished.json"
DRAW_EVERY = 30.0
"""Seconds between two drawings of curves.png, which costs most of a second: a GPU's epoch may take ten."""


class Logger:
    """The logs in a run's folder.

    Args:
        folder: the run's folder; it exists.
        epochs_done: rows of log.csv to keep; those of an epoch that was not finished are dropped.
        step: the first step that is still to be logged.
    """

    def __init__(self, folder: Path, epochs_done: int = 0, step: int = 0):
        self.folder = folder
        self.rows = _read_rows(folder / "log.csv")[:epochs_done]
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step if step else None)
        self.drawn = time.monotonic()

    def step(self, step: int, values: dict[str, float]) -> None:
        """Send one training step's loss terms and learning rates to TensorBoard."""
        for name, value in values.items():
            self.board.add_scalar(f"train/{name}", value, step)

    def epoch(self, row: dict[str, float], step: int, last: bool) -> None:
        """Add one epoch's row to log.csv and TensorBoard; draw curves.png anew when it is time, and after the last."""
        self.rows.append({name: f"{value:.7g}" for name, value in row.items()})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with atomic_file(self.folder / "log.csv") as file:
            file.write(text.getvalue().encode())
        for name, value in row.items():
            self.board.add_scalar(f"epoch/{name}", value, step)
        self.board.flush()
        if last or time.monotonic() - self.drawn >= DRAW_EVERY:
            with atomic_file(self.folder / "curves.png") as file:
                _draw(self.rows).savefig(file, format="png", dpi=100)
            self.drawn = time.monotonic()


def versions() -> dict[str, Any]:
    """What runs: Python, libraries, machine, and the commit of this checkout where git knows it."""
    libraries = ("torch", "timm", "accelerate", "numpy", "pillow", "safetensors")
    return {
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in libraries},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "commit": _git("describe", "--always", "--dirty").strip() or None,
    }


def _git(*arguments: str) -> str:
    """What git says of this checkout; nothing where there is no git, or it is a copy without: that is no fault."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def write_record(folder: Path, config: str, about: dict[str, Any]) -> None:
    """Write config.yaml and versions.json, to do the run again by; uncommitted.diff where code is not the commit's."""
    contents = {"config.yaml": config, "versions.json": json.dumps(about, indent=1) + "\n"}
    changes = _git("diff", "HEAD", "--", "*.py")
    if changes:
        contents["uncommitted.diff"] = changes
    for name, content in contents.items():
        with atomic_file(folder / name) as file:
            file.write(content.encode())


def write_finished(folder: Path, result: dict[str, Any]) -> None:
    """Write finished.json, by which others see that the run has done all its epochs."""
    with atomic_file(folder / FINISHED) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def _draw(rows: list[dict[str, str]]) -> Figure:
    """One panel per loss term and validation figure, over epochs."""
    left_out = ("epoch", "seconds", "images_per_second")
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in left_out]
    columns = 4
    lines = -(-len(names) // columns)
    width, height = 3.2 * columns, 2.3 * lines
    figure = Figure(figsize=(width, height))
    # Margins in inches: matplotlib's own layout measures every label first, which takes as long as the drawing.
    figure.subplots_adjust(0.5 / width, 0.45 / height, 1 - 0.1 / width, 1 - 0.3 / height, wspace=0.2, hspace=0.3)
    for axes, name in zip(figure.subplots(lines, columns, squeeze=False).flat, names, strict=False):
        points = [(int(row["epoch"]), float(row[name])) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 20 else None)
        values = [value for _, value in points]
        if min(values) > 0 and max(values) > 50 * min(values):
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for axes in figure.axes[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("epoch", fontsize=8)
    return figure
