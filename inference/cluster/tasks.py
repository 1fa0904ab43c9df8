"""What the engine and the kinds of work agree on: tasks, and what becomes of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from inference.cluster.worker import Outcome


@dataclass(eq=False)
class Task:
    """A call of a function on some worker.

    Attributes:
        name: for Dask's dashboard.
        function: a function of an imported module, which a worker finds by its name; it returns an `Outcome`.
        arguments: its arguments.
        subject: what the work knows it by; None: nothing depends on it.
        started: when it was sent out, by time.monotonic().
    """

    name: str
    function: Callable[..., Outcome]
    arguments: tuple[Any, ...]
    subject: Any
    started: float = 0.0


class Work(Protocol):
    """Tasks, and what follows from their ends. The engine calls it from one thread."""

    def next(self, workers: int) -> Task | None:
        """Return a task for one of `workers` workers; None if there is none now."""

    def is_finished(self) -> bool:
        """Return whether no task is left, apart from those that are out."""

    def done(self, task: Task, outcome: Outcome) -> None:
        """Take what a task reported; the task may have stopped at a problem."""

    def died(self, task: Task, reason: str) -> None:
        """Take note that a task's worker died, or that the task raised an unexpected exception."""

    def give_back(self, task: Task) -> None:
        """Take back a task that was lost without its fault."""
