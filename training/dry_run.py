"""What a run will cost, measured on a few real steps before one commits to it."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

WARM_UP, TIMED = 2, 4


@dataclass(frozen=True)
class Cost:
    """What a step costs.

    Attributes:
        load_seconds: to read one batch of this process.
        step_seconds: to make its views and take one step, median.
        memory: bytes at the peak: what torch has allocated on the GPU, or the whole process's memory on a CPU.
    """

    load_seconds: float
    step_seconds: float
    memory: int


def rehearse(batches: Iterable[Any], take_step: Callable[[Any], None], device: torch.device) -> Cost:
    """Take a few steps and measure them; there is at least one batch, which is taken again where there are no more."""
    loads, steps = [], []
    batch, source = None, iter(batches)
    for number in range(WARM_UP + TIMED):
        before = time.perf_counter()
        batch = next(source, batch)
        loaded = time.perf_counter()
        take_step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        loads.append(loaded - before)
        steps.append(time.perf_counter() - loaded)
        if number + 1 == WARM_UP and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
    return Cost(statistics.median(loads), statistics.median(steps[WARM_UP:]), _peak_memory(device))


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
