"""Metrics of your own: a registration in a file that `--metric-file` names.

    from compute_results.protocols.own import metric

    @metric("IoU", latex=r"\\mathrm{IoU}")
    def iou(saliency, mask):
        found, there = saliency >= 128, mask >= 128
        either = (found | there).sum()
        return (found & there).sum() / either if either else 1.0

The function gets an image's map and mask, both (H, W) uint8 and of one size: 448×448 under protocol `authors`, the
mask's own size under `field`. It returns a number. A data set's figure is the average over its images.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from compute_results.protocols import PROTOCOLS, Measure, Metric
from compute_results.result import Gathered, Result
from utils.text import one_line
from utils.user_file import run_user_file

_TAKEN = ("protocol", "method", "dataset", "stem", "images", "excluded", "grouping", "group", "few")
_read: list[Path] = []


def metric(
    name: str,
    label: str | None = None,
    latex: str | None = None,
    lower_is_better: bool = False,
    protocols: Sequence[str] = tuple(PROTOCOLS),
) -> Callable[[Measure], Measure]:
    """Register a function as a metric; decorates it.

    Args:
        name: the key in scores.json and the column in the CSV files: letters, digits and _, not yet taken.
        label: the heading in text and Markdown; None: the name.
        latex: the heading in LaTeX, in math mode; None: the label, upright.
        lower_is_better: the metric measures an error.
        protocols: under which it is computed: `authors`, `field` or both.

    Raises:
        ValueError: the name cannot be a column or is taken, or there is no such protocol.
    """
    if not (name.isidentifier() and name.isascii()) or name in _TAKEN:
        raise ValueError(f"metric {name!r}: the name becomes a column; make it of letters, digits and _, not {_TAKEN}")
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"metric {name}: no protocol {protocol!r}, choose {' or '.join(PROTOCOLS)}")
        if name in PROTOCOLS[protocol].names:
            raise ValueError(f"metric {name}: protocol {protocol} has one of this name; choose another")
    shown = label or name

    def register(measure: Measure) -> Measure:
        made = Metric(name, shown, latex or _upright(shown), lower_is_better, measure=measure)
        for protocol in protocols:
            PROTOCOLS[protocol] = replace(PROTOCOLS[protocol], metrics=(*PROTOCOLS[protocol].metrics, made))
        return measure

    return register


def _upright(label: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in "_%&#${}" else letter for letter in label)
    return rf"\mathrm{{{escaped}}}"


def read_metric_files(paths: Iterable[Path]) -> None:
    """Run Python files that register metrics, each once in a process.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file fails, or registers nothing.
    """
    for path in paths:
        path = path.resolve()
        if path in _read:
            continue
        if not path.is_file():
            raise FileNotFoundError(f"--metric-file {path}: no such file")
        before = {name: protocol.names for name, protocol in PROTOCOLS.items()}
        run_user_file(path, f"--metric-file {path}")
        if before == {name: protocol.names for name, protocol in PROTOCOLS.items()}:
            raise ValueError(f"--metric-file {path} registers no metric: see compute_results/protocols/own.py")
        _read.append(path)


def files_read() -> list[Path]:
    """Return the files that were read in this process, in order."""
    return list(_read)


def own_figures(protocol: str, path: Path, saliency: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return an image's registered metrics under a protocol, by name; `path` is the map's file, for errors.

    Raises:
        ValueError: a function fails, or returns no number.
    """
    found = {}
    for each in PROTOCOLS[protocol].metrics:
        if each.measure is not None:
            try:
                found[each.name] = float(each.measure(saliency.copy(), mask.copy()))
            except Exception as error:  # whatever a user's function raises
                raise ValueError(f"{path}: metric {each.name}: {type(error).__name__}: {one_line(error)}") from error
    return found


def with_own_metrics(result: Result, images: Gathered) -> Result:
    """Return a result with the averages of the registered metrics, in the protocol's order."""
    metrics = PROTOCOLS[result.protocol].metrics
    averages = {each.name: images.mean_figure(each.name) for each in metrics if each.measure is not None}
    return replace(result, figures=result.figures | averages) if averages else result
