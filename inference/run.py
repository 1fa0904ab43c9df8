"""Run a plan: load the network, make this process's maps, and describe the run in one line."""

import sys
import warnings
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.file_warnings import FileWarning, large_warning, warning_lines
from datasets.io import inspect_pixels
from inference.backends import Backend
from inference.distributed import ProcessGroup
from inference.fastest import open_fastest
from inference.maps import gray_map, write_map
from inference.pipeline import make_maps, worker_count
from inference.plan import Plan
from inference.timing import StageRates, StageTimer
from inference.tta import with_tta
from models.shipped import LITE2
from utils.devices import compute_alone, keep_freed_memory, thread_count
from utils.files import WriteError, sync_disk
from utils.outputs import errors_of_one_item
from utils.progress import ProgressBar
from utils.text import one_line

TORCH = ("torch", "compile", "cudagraphs")
"""Backends that compute on torch's own threads."""


@dataclass(frozen=True)
class RunResult:
    """What one process did: the number of maps it wrote, and the rates of its stages."""

    written: int
    rates: StageRates


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that has run once; `remark` says what would run it faster, if anything would."""

    backend: Backend
    remark: str = ""

    @property
    def on_cpu(self) -> bool:
        """Return whether it runs on the CPU."""
        return self.backend.device.type == "cpu"


def load_network(options: Namespace, plan: Plan, processes: ProcessGroup) -> LoadedNetwork:
    """Load the network that the command line asks for and run it once.

    The first run compiles what is compiled, and fails before any map is written where the network cannot run.

    Args:
        options: `host_file`, `input_size`, `backend`, `fast`, `weights`, `device`, `precision`, `threads` and
            `batch_size`.
        plan: the maps to make.
        processes: this process's group.

    Raises:
        FileNotFoundError, ValueError: as `open_at_size`, or the batch does not fit into memory.
    """
    keep_freed_memory()
    if options.host_file:
        from models.hosts import run_host_file

        run_host_file(options.host_file)
    # Processes of one launch would each measure for themselves whether a conversion pays.
    images = len(plan.images) if processes.count == 1 and not options.host_file else 0
    network, remark = open_fastest(
        options.backend, Path(options.weights or LITE2), options.device, options.precision, options.threads,
        processes.local_index, options.fast, images, options.input_size,
    )  # fmt: skip
    height, width = network.input_size
    try:
        network(np.zeros((min(options.batch_size, len(plan.images) or 1), height, width, 3), np.uint8))
    except RuntimeError as error:  # a network of the user's own, or a size that is too small
        raise ValueError(f"the network cannot run on images of {height}×{width}: {one_line(error)}") from error
    return LoadedNetwork(network, remark)


def write_maps(options: Namespace, plan: Plan, loaded: LoadedNetwork, processes: ProcessGroup) -> RunResult:
    """Make this process's share of the maps; report unreadable images on standard error and skip them.

    Args:
        options: `size`, `raw`, `tta` and `batch_size`.
        plan: the maps to make.
        loaded: what `load_network` returned.
        processes: this process's group.

    Raises:
        OSError, ValueError: a map cannot be written, or a batch does not fit into memory.
    """

    network = loaded.backend
    found: list[tuple[str, FileWarning]] = []

    def read(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        pixels, own_size, warned = inspect_pixels(path, network.input_size, plan.reading)
        if warned := warned | large_warning(own_size, network.input_size):
            found.append((str(path), warned))
        return pixels, own_size

    def write(target: Path, saliency: np.ndarray, own_size: tuple[int, int]) -> None:
        gray = gray_map(saliency, own_size if options.size == "original" else None, options.raw)
        with errors_of_one_item(target):
            write_map(target, gray)

    images = processes.shard(plan.images, options.batch_size)
    jobs = ((Path(image), plan.map_file(stem)) for stem, image in images)
    timer = StageTimer(worker_count(loaded.on_cpu), thread_count() if loaded.on_cpu else None)
    call = with_tta(network, options.tta) if options.tta else network
    try:
        # Where another runtime computes, torch only resizes images, and its idle threads would spin on the same cores.
        prepare = None if network.name in TORCH else compute_alone
        results = make_maps(jobs, read, call, write, options.batch_size, timer, prepare)
        written = _show_progress(results, len(images), processes)
        result = RunResult(written, timer.rates(len(images), written))
        sync_disk(plan.output)
    except (OSError, ValueError) as error:
        processes.report_error(f"stops: {error}")
        raise
    for line in warning_lines("input", sorted(found)):
        warnings.warn(line, stacklevel=2)
    return result


def _show_progress(results: Iterable[tuple[Path, str | None]], count: int, processes: ProcessGroup) -> int:
    """Show a progress bar and print the message of each skipped image; return the number of maps written."""
    written = 0
    title = f"maps of process 1 of {processes.count}" if processes.count > 1 else "maps"
    with ProgressBar(results, total=count, unit="image", desc=title, disable=not processes.is_main) as bar:
        try:
            for _, problem in bar:
                if problem is None:
                    written += 1
                else:
                    ProgressBar.write(f"skipped: {problem}", file=sys.stderr)
        except WriteError as error:
            error.there = f"; {written} of {count} maps are written, --resume makes the others"
            raise
    return written


def summarize(plan: Plan, results: list[RunResult], loaded: LoadedNetwork, seconds: float) -> str:
    """Return one line: the numbers of maps, the speed, the device and the rates of the stages."""
    written = sum(result.written for result in results)
    kept = f" ({plan.kept} more were there)" if plan.kept else ""
    speed = f"{seconds:.1f} s, {written / seconds:.1f} images per second"
    network = loaded.backend
    device = f"{network.device.type} in {network.precision} by {network.name}"
    processes = f", {len(results)} processes" if len(results) > 1 else ""
    rates = f"; {StageRates.total(result.rates for result in results)}" if written else ""
    return (
        f"{written} images to {plan.output}{kept}: {speed} on {device}{processes}{rates}"
        + f"; {loaded.remark}" * bool(loaded.remark)
    )
