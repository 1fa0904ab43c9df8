"""SIGTERM, SIGHUP and Ctrl-C end a run after the current step, once its checkpoint is written."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from accelerate import Accelerator

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


class StopSignals:
    """A context in which the first of these signals is kept in `signal`; a second one acts as usual."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._usual: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._usual = {number: signal.signal(number, self._keep) for number in SIGNALS if _is_heeded(number)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def agree(self, accelerator: Accelerator, is_due: bool = False) -> tuple[int, bool]:
        """Agree with the other processes, all of which call this at the same step.

        Returns:
            The number of a signal that any process got, or 0; whether a checkpoint `is_due` in any.
        """
        number = int(self.signal or 0)
        if accelerator.num_processes == 1:
            return number, is_due
        found = accelerator.gather(torch.tensor([[number, int(is_due)]], device=accelerator.device))
        number, due = found.amax(dim=0).tolist()
        return number, bool(due)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)


def ignore_signals(worker: int) -> None:
    """Ignore these signals in a DataLoader's worker (`worker_init_fn`): the last step may need its batches."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _is_heeded(number: signal.Signals) -> bool:
    """Return whether a signal is to end the run: under nohup SIGHUP is not."""
    return number != getattr(signal, "SIGHUP", None) or signal.getsignal(number) != signal.SIG_IGN
