"""Share the images between the processes that torchrun or accelerate launched."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import NoReturn, TypeVar

from utils.environment import launched_processes, saying_that_it_waits

T = TypeVar("T")
TIMEOUT = timedelta(days=1)
"""How long a process that has finished waits for the others."""


class ProcessGroup:
    """This process and the others of the same launch. Without a launcher it is a group of one and needs no accelerate.

    Attributes:
        count: number of processes.
        index: rank of this process; the main process has rank 0.
        local_index: rank on this machine, or None without a launcher.

    Raises:
        ValueError: the launcher's environment variables are missing or contradict each other.
    """

    def __init__(self) -> None:
        self.count, self.index = launched_processes(), 0
        self.local_index: int | None = None
        if self.count > 1:
            from accelerate import PartialState  # slow to import, and not needed by a single process

            # The processes exchange a few numbers and names. gloo does that with and without GPUs.
            with saying_that_it_waits(self.count):
                self._state = PartialState(cpu=True, timeout=TIMEOUT)
            self.index, self.local_index = self._state.process_index, self._state.local_process_index

    @property
    def is_main(self) -> bool:
        """Return whether this process has rank 0."""
        return self.index == 0

    @contextlib.contextmanager
    def silence_others(self) -> Iterator[None]:
        """Discard what the other processes print inside the block."""
        if self.is_main:
            yield
            return
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            yield

    def broadcast(self, compute: Callable[[], T]) -> T:
        """Call `compute` in the main process alone; return its result, or raise its OSError or ValueError, in all."""
        if self.count == 1:
            return compute()
        from accelerate.utils import broadcast_object_list

        value, error = broadcast_object_list(list(_attempt(compute)) if self.is_main else [None, None])
        if error is not None:
            raise error
        return value

    def run_on_all(self, compute: Callable[[], T]) -> T:
        """Call `compute` in every process, wait for all and return this process's result.

        Raises:
            OSError, ValueError: the first that any process raised, in every process.
        """
        if self.count == 1:
            return compute()
        value, error = _attempt(compute)
        for each in self.gather(error):
            if each is not None:
                raise each
        return value  # type: ignore[return-value]  # None only where an error was raised

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in rank order, in every process."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        return gather_object([value])

    def shard(self, items: Sequence[T], batch_size: int) -> list[T]:
        """Return this process's part of `items`: whole batches, each in exactly one process.

        The batches are those that a single process would form. A network's rounding depends on its batch, so the
        results are identical for any number of processes.
        """
        if self.count == 1:
            return list(items)
        batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
        with self._state.split_between_processes(batches) as own:
            return [item for batch in own for item in batch]

    def report_error(self, message: str) -> None:
        """Print a message at once, with this process's number; do nothing in a group of one.

        An error that is raised inside `run_on_all` becomes visible only when all processes have finished.
        """
        if self.count > 1:
            print(f"process {self.index + 1} of {self.count} {message}", file=sys.stderr, flush=True)

    def exit(self, message: str) -> NoReturn:
        """End every process with exit status 1; the main process prints the message."""
        if self.count == 1:
            sys.exit(message)
        if self.is_main:
            print(message, file=sys.stderr, flush=True)
        self._state.wait_for_everyone()  # a launcher kills the others as soon as one has failed
        sys.exit(1)


def _attempt(compute: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return compute(), None
    except (OSError, ValueError) as error:
        return None, error
