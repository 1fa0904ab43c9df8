"""train.py whose processes print their random state before each step; process 1 gets SIGTERM in step $STOP_IN_STEP."""

import hashlib
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import train
from training.trainer import Trainer

train_step = Trainer.train_step


def reporting_step(self, views, weights):
    rank, step = self.accelerator.process_index, self.progress.steps_done
    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    sys.stdout.write(f"random {rank} {step} {state}\n")
    sys.stdout.flush()
    if rank == 1 and os.environ.get("STOP_IN_STEP") == str(step):
        os.kill(os.getpid(), signal.SIGTERM)
    return train_step(self, views, weights)


Trainer.train_step = reporting_step
train.main()
