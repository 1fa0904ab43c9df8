"""Draw the curves of a training run, by the names that curves.png has.

training_log.csv is log.csv of a run of docs/experiments/sral-ablation.md: arm `asrd_tfgm`, seed 0.
"""

import csv
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from training.logger import LABELS

LOG = Path(__file__).with_name("training_log.csv")
PANELS = ("total", "saliency_map1", "sr", "spatial", "affinity", "Sm")
WIDTH, HEIGHT, DPI = 830, 440, 100


def curves() -> Image.Image:
    """Return the picture at twice a README's width."""
    with LOG.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=2 * DPI, layout="constrained")
    for axes, name in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        values = [float(row[name]) for row in rows]
        axes.plot([int(row["epoch"]) for row in rows], values, color="#1f5fae" if name == "Sm" else "#b06a00")
        if max(values) > 50 * min(values):
            axes.set_yscale("log")
        axes.set_title(LABELS[name].replace(", higher is better", ""), fontsize=9.5)
        axes.tick_params(labelsize=9)
        axes.grid(alpha=0.3)
    figure.supxlabel("epoch", fontsize=9.5)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
