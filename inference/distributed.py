"""The processes that share the images: those that torchrun or accelerate launched together, or this one alone."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import NoReturn, TypeVar

Value = TypeVar("Value")
LAUNCHER = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that tell a process which it is, and where the others are."""
PATIENCE = timedelta(days=1)
"""How long a process that is done waits for the others."""


class Processes:
    """This process among those that were launched together. One that was launched alone agrees with itself at once.

    Attributes:
        count: how many there are.
        index: this one's number; the main process is 0.
        local: this one's number on its machine, or None where it is alone.

    Raises:
        ValueError: the launcher's environment variables are not all there.
    """

    def __init__(self):
        self.count, self.index, self.local = int(os.environ.get("WORLD_SIZE", "1")), 0, None
        if self.count > 1:
            missing = [name for name in LAUNCHER if name not in os.environ]
            if missing:
                raise ValueError(
                    f"WORLD_SIZE is {self.count}, but {', '.join(missing)} not set: launch the processes with torchrun "
                    "or accelerate launch, or unset WORLD_SIZE"
                )
            from accelerate import PartialState  # takes seconds, which a process alone need not spend

            # They exchange a few numbers and names: gloo does that on every machine, with GPUs and without.
            self._state = PartialState(cpu=True, timeout=PATIENCE)
            self.index, self.local = self._state.process_index, self._state.local_process_index

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.index == 0

    @contextlib.contextmanager
    def one_voice(self) -> Iterator[None]:
        """Inside, the other processes print nothing."""
        if self.is_main:
            yield
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield

    def from_main(self, compute: Callable[[], Value]) -> Value:
        """What `compute` gives in the main process, or the OSError or ValueError that it raises there, in all."""
        if self.count == 1:
            return compute()
        from accelerate.utils import broadcast_object_list

        value, error = broadcast_object_list(list(_attempt(compute)) if self.is_main else [None, None])
        if error is not None:
            raise error
        return value

    def together(self, compute: Callable[[], Value]) -> Value:
        """What `compute` gives in this process; where it raises an OSError or ValueError in any, all raise the first.

        All wait until the last is done.
        """
        if self.count == 1:
            return compute()
        value, error = _attempt(compute)
        errors = [error for error in self.gathered(error) if error is not None]
        if errors:
            raise errors[0]
        return value

    def gathered(self, value: Value) -> list[Value]:
        """The values of all processes, in their order, in every process."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        return gather_object([value])

    def part(self, items: Sequence[Value], size: int) -> list[Value]:
        """This process's part of `items`, whole runs of `size` of them: all have their part, none has another's.

        A process alone would take the same runs one after the other. So whatever depends on which items a run
        consists of, as a network's rounding does on its batch, comes out the same.
        """
        if self.count == 1:
            return list(items)
        runs = [items[start : start + size] for start in range(0, len(items), size)]
        with self._state.split_between_processes(runs) as mine:
            return [item for run in mine for item in run]

    def tell(self, message: str) -> None:
        """Print at once what a process that shares the work has to say, and which one it is; nothing where it is alone.

        What is raised inside `together` comes out only when all processes are done.
        """
        if self.count > 1:
            print(f"process {self.index + 1} of {self.count} {message}", file=sys.stderr, flush=True)

    def stop(self, message: str) -> NoReturn:
        """End every process with exit status 1; the main process prints the message."""
        if self.count == 1:
            sys.exit(message)
        if self.is_main:
            print(message, file=sys.stderr, flush=True)
        self._state.wait_for_everyone()  # a launcher ends the others as soon as one has failed
        sys.exit(1)


def _attempt(compute: Callable[[], Value]) -> tuple[Value | None, Exception | None]:
    try:
        return compute(), None
    except (OSError, ValueError) as error:
        return None, error
