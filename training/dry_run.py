"""The cost of a run, measured on a few real steps."""

import resource
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from training.data import TrainingData, cache_size
from training.logger import format_duration
from training.trainer import Trainer

WARM_UP, TIMED = 2, 4


@dataclass(frozen=True)
class StepCost:
    """The cost of a step.

    Attributes:
        load_seconds: median time to load a batch of this process.
        step_seconds: median time to make its views and take one step.
        memory: peak in bytes: torch's memory on the GPU, or the process's memory on a CPU.
    """

    load_seconds: float
    step_seconds: float
    memory: int


def measure_step(trainer: Trainer, data: TrainingData) -> StepCost:
    """Take a few steps and measure them; the last batch is repeated if there are too few."""
    device, weights = trainer.accelerator.device, trainer.settings.loss.of_epoch(1)
    trainer.prepared.train()
    loads, steps = [], []
    source = iter(data.batches)
    batch: Any = None
    for number in range(WARM_UP + TIMED):
        before = time.perf_counter()
        batch = next(source, batch)
        loaded = time.perf_counter()
        trainer.train_step(data.views(batch), weights)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        loads.append(loaded - before)
        steps.append(time.perf_counter() - loaded)
        if number + 1 == WARM_UP and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
    return StepCost(statistics.median(loads), statistics.median(steps[WARM_UP:]), _peak_memory(device))


def dry_run(trainer: Trainer, data: TrainingData) -> None:
    """Print sizes, memory and time of a run; write nothing."""
    cost = measure_step(trainer, data)
    if trainer.accelerator.is_main_process:
        print(describe(trainer, data, cost))


def describe(trainer: Trainer, data: TrainingData, cost: StepCost) -> str:
    """Return the report of --dry-run."""
    settings, sampler = trainer.settings, data.sampler
    height, width = settings.detector.input_size
    trained, inferring = _parameters(trainer.network), _parameters(trainer.detector)
    cached = cache_size(settings, len(data.training), len(data.validation))
    epoch = cost.step_seconds * sampler.steps
    lines = [
        f"network    {settings.detector.name}: {trained:,} parameters while it trains, {inferring:,} for inference",
        f"sizes      {settings.batch_size} × {height}×{width} a step, maps and SR target {2 * height}×{2 * width}",
        f"data       {sampler.images} training images: {sampler.steps} steps an epoch, {settings.epochs} epochs",
        f"cache      {cached / 1e9:.2f} GB in {settings.data.cache}" if settings.data.cache
        else f"cache      none: files are decoded in every epoch, {1e3 * cost.load_seconds:.0f} ms a batch a process",
        f"memory     {cost.memory / 1e9:.2f} GB at the peak, on {trainer.accelerator.device} in {trainer.precision}",
        f"time       {cost.step_seconds:.3f} s a step, {format_duration(epoch)} an epoch, "
        f"{format_duration(epoch * settings.epochs)} in all, validation not counted",
    ]  # fmt: skip
    return "\n".join(lines)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
