"""Train SRAL: a configuration becomes a run folder.

    python train.py --config configs/NAME.yaml [--key value …] [--dry-run] [--resume [--force]]
    python train.py --resume RUN [--epochs N]               the run in that folder, with its own settings
    accelerate launch --num_processes N train.py …          several GPUs or machines; torchrun works too

The run folder holds:

    last.safetensors, best.safetensors     weights for getsmaps.py
    checkpoints/                           for --resume
    config.yaml, versions.json             to reproduce the run
    log.csv, curves.png, validation.png, tensorboard/
    finished.json                          written when all epochs are done

`--help` shows every key.
"""

from utils import command

if __name__ == "__main__":
    # Before the imports, which take seconds.
    command.begin("the same command with --resume continues after the last checkpoint")

import os
import sys
import warnings
from pathlib import Path

# Set before torch loads OpenMP. Threads that spin for long at barriers make a step up to ten times slower on a busy
# machine; threads that sleep at once make it a tenth slower on an idle one.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from training.config import Start, parse

if __name__ == "__main__":
    command.answer_help(parse)  # before torch, which takes seconds

import torch

from training.build import build_trainer, continues
from training.checkpoint import checkpoints
from training.dry_run import dry_run
from utils.devices import keep_freed_memory
from utils.files import WriteError


def main() -> None:
    """Run the command; bad input ends it with one line."""
    keep_freed_memory()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        start = parse()
        command.say_when_stopped(f"--resume continues {start.settings.output} after its last checkpoint")
        stopped_by = train(start)
    except WriteError as error:
        goes_on = f"; --resume continues {start.settings.output} after its last checkpoint"
        sys.exit(f"error: {error}" + goes_on * bool(checkpoints(Path(start.settings.output))))
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except torch.OutOfMemoryError:
        sys.exit("error: a step does not fit into the GPU's memory: lower batch_size, or set precision to bf16 or fp16")
    if stopped_by:
        sys.exit(128 + stopped_by)


def train(start: Start) -> int:
    """Train from the beginning, or from where the run in settings.output stopped.

    Returns:
        The number of the signal that stopped it, or 0.
    """
    resume = continues(start)
    trainer, data = build_trainer(start.settings, resume, use_cache=not start.dry_run)
    if start.dry_run:
        dry_run(trainer, data)
        return 0
    return trainer.fit(data, resume, start.force)


if __name__ == "__main__":
    command.run(main)
