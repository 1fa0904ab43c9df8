"""SIGTERM and Ctrl-C end a run after the step that it is in, once its checkpoint is written."""

import signal
from types import FrameType, TracebackType
from typing import Self

import torch
from accelerate import Accelerator


class Stopping:
    """While it is open, the first SIGTERM or SIGINT is noted in `signal`; a second one acts as usual."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._usual: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        self._usual = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._as_usual()

    def agreed(self, accelerator: Accelerator) -> int:
        """The number of a signal that any process got, or 0; all processes ask at the same step."""
        number = int(self.signal or 0)
        if accelerator.num_processes == 1:
            return number
        return int(accelerator.gather(torch.tensor([number], device=accelerator.device)).max())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._as_usual()

    def _as_usual(self) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)


def leave_signals_to_the_main_process(worker: int) -> None:
    """The worker_init_fn of a DataLoader: Ctrl-C reaches its workers too, whose batches the last step may need."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
