"""Measure what pages of 2 MiB save on a CPU: the same steps in processes with and without them, alternately.

    python benchmarks/large_pages.py [--rounds 3] [--threads 1]

`utils.devices.keep_freed_memory` asks Linux for large pages; on other systems both columns are the same. Maps are those
of the shipped `lite2` with torch, training steps those of `configs/lite2.yaml` in bf16 without its training branches.
Times are medians over the rounds; memory is the most that a process held.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

from compute_results.options import positive_integer

SIDES = "small", "large"


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=positive_integer, default=3, metavar="N", help="processes a side (default: 3)")
    add("--threads", type=positive_integer, default=1, metavar="N", help="of torch (default: 1)")
    add("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    command.answer_help(arguments)  # before torch, which takes seconds

import numpy as np
import torch

from benchmarks.inference_tables import table
from benchmarks.interleaved import time_interleaved
from inference.backends import open_backend
from models.sral import build_sral
from training.config import parse
from training.distributed import build_accelerator
from training.trainer import Trainer
from utils import devices

MEMORY = "peak memory"
ROUNDS = 4
"""Rounds in a process; each of them calls everything twice."""
IMAGES = 16
"""Images a training step."""


def measure(threads: int) -> dict[str, float]:
    """Return the milliseconds of each task, and the peak memory in MiB."""
    network = open_backend("torch", ROOT / "weights/lite2_eorssd.safetensors", "cpu", "fp32", threads)
    height, width = network.input_size
    random = np.random.default_rng(0)
    calls: dict[str, Callable[[], object]] = {}
    for images in (1, 8):
        pixels = random.integers(0, 256, (images, height, width, 3), dtype=np.uint8)
        calls[f"{images} map{'s' * (images > 1)}"] = partial(network, pixels)
    settings = parse([
        "--config=configs/lite2.yaml", "--encoder_weights=none", "--super_resolution=false", "--guidance=false",
        "--device=cpu", "--precision=bf16", f"--batch_size={IMAGES}", f"--threads={threads}",
    ]).settings  # fmt: skip
    accelerator = build_accelerator(settings.device, settings.precision, threads=settings.threads)
    trainer = Trainer(settings, accelerator, build_sral(settings.network()), 100)
    trainer.network.train()
    views = {
        "rgb": torch.randn(IMAGES, 3, height, width).contiguous(memory_format=torch.channels_last),
        "ycbcr": torch.rand(IMAGES, 3, height, width),
        "sr_target": torch.rand(IMAGES, 3, 2 * height, 2 * width),
        "mask": (torch.rand(IMAGES, 1, 2 * height, 2 * width) > 0.9).float(),
    }
    calls[f"a training step of {IMAGES} images"] = partial(trainer.train_step, views, settings.loss.of_epoch(1))
    taken = time_interleaved(calls, 0, ROUNDS)
    found = {task: 1000 * statistics.median(seconds) for task, seconds in taken.items()}
    found[MEMORY] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def collect(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Return the measurements of all rounds by task and side.

    Raises:
        RuntimeError: a process failed.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(options.rounds):
        for side in SIDES:
            line = [sys.executable, __file__, "--side", side, "--threads", str(options.threads)]
            done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{' '.join(line[1:])} failed: {done.stderr.strip().splitlines()[-1]}")
            for task, number in json.loads(done.stdout.splitlines()[-1]).items():
                found[task][side].append(number)
    return found


def main() -> None:
    """Run the command."""
    options = arguments()
    if options.side:
        devices.BLOCKS *= options.side == "large"
        devices.keep_freed_memory()
        print(json.dumps(measure(options.threads)))
        return
    try:
        found = collect(options)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    lines = []
    for task, numbers in found.items():
        small, large = (statistics.median(numbers[side]) for side in SIDES)
        unit = "MiB" if task == MEMORY else "ms"
        lines.append((task, unit, f"{small:.0f}", f"{large:.0f}", f"{small / large:.2f}×"))
    print(table(["", "unit", "small pages", "large pages", "ratio"], lines, 2))


if __name__ == "__main__":
    command.run(main)
