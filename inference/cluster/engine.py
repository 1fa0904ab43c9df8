"""Send tasks to workers and take what they report, whatever becomes of workers and scheduler."""

import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from distributed import Future, KilledWorker

from inference.cluster.connection import ANSWER_SECONDS, Connection, SchedulerLost
from inference.cluster.retrying import said
from inference.cluster.tasks import Task, Work
from inference.cluster.worker import Outcome

POLL = 0.02
"""Seconds between two looks at the tasks."""
REMINDER = 30
"""Seconds after which it is said again that no worker is there."""
DIED = "its worker died (out of memory, killed, or a library crashed)"
UNREADABLE = 100
"""Times in a row that results cannot be fetched although they are there, after which the run stops."""


@dataclass
class Totals:
    """What happened in a run beside its rows.

    Attributes:
        deaths: of workers that had a task, and of tasks with unexpected exceptions.
        reconnections: times that the scheduler was lost and found again.
        memory: largest memory of a worker, in bytes, by worker.
        seconds: by stage, over all workers.
    """

    deaths: int = 0
    reconnections: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warned: list[tuple[str, int]] = field(default_factory=list)


class Engine:
    """Runs work to its end.

    Args:
        connection: scheduler and workers.
        work: what is to be done.
        limit: seconds after which a task's worker is ended, as if it had died.
        patience: seconds without any worker after which the run stops.
        tick: called many times a second, to write and to show what was done.
    """

    def __init__(
        self, connection: Connection, work: Work, limit: float, patience: float, tick: Callable[[], None]
    ) -> None:
        self.connection, self.work, self.limit, self.patience, self.tick = connection, work, limit, patience, tick
        self.totals = Totals()
        self._flying: dict[Future, Task] = {}
        self._waiting_since: float | None = None
        self._reminded = 0.0
        self._succeeded = False
        self._unreadable = 0

    def run(self, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Run all tasks.

        Args:
            is_enough: asked again and again, whether to stop before the tasks that are out come back.

        Raises:
            OSError, ValueError: the output cannot be written, no worker can open the network, or scheduler or workers
                stay away; what was recorded is complete.
        """
        while True:
            try:
                while self._step() and not is_enough():
                    self.tick()
                    time.sleep(POLL)
                return
            except SchedulerLost:
                self._reconnect()

    def _step(self) -> bool:
        """Send tasks out and take results; return whether there is more to do."""
        if self.connection.is_lost:
            raise SchedulerLost
        workers = self.connection.workers()
        self._check_workers(workers)
        while len(self._flying) < workers and (task := self.work.next(workers)) is not None:
            self._send(task)
        finished = [future for future in self._flying if future.status != "pending"]
        if finished:
            self._take(finished)
        self._end_late_ones()
        return bool(self._flying) or not self.work.is_finished()

    def _send(self, task: Task) -> None:
        task.started = time.monotonic()
        key = f"{task.name}-{uuid.uuid4().hex}"
        try:
            future = self.connection.client.submit(task.function, *task.arguments, key=key, pure=False)
        except OSError as error:
            self.work.give_back(task)
            raise SchedulerLost from error
        self._flying[future] = task

    def _take(self, finished: list[Future]) -> None:
        """Take the results of tasks that ended, one way or another."""
        good = [future for future in finished if future.status == "finished"]
        outcomes = self._gather(good)
        for future in finished:
            if future in outcomes:
                self._done(self._flying.pop(future), outcomes[future])
            elif future.status == "error":
                self._failed(self._flying.pop(future), future)
            elif future.status in ("cancelled", "lost"):
                self.work.give_back(self._flying.pop(future))

    def _gather(self, futures: list[Future]) -> dict[Future, Outcome]:
        try:
            found = dict(zip(futures, self.connection.gather(futures), strict=True)) if futures else {}
        except SchedulerLost:
            raise
        except Exception as error:  # a result was lost with its worker, and Dask computes it again
            self._unreadable += 1
            if self._unreadable >= UNREADABLE:
                raise OSError(
                    f"what the workers report cannot be read ({said(error)}): put the same version of this package and "
                    "of its requirements on every machine, and go on with --resume"
                ) from error
            return {}
        self._unreadable = 0
        return found

    def _done(self, task: Task, outcome: Outcome) -> None:
        totals = self.totals
        totals.memory[outcome.worker] = max(totals.memory.get(outcome.worker, 0), outcome.memory[1])
        totals.warned += outcome.warned
        for stage, seconds in outcome.seconds.items():
            totals.seconds[stage] = totals.seconds.get(stage, 0) + seconds
        self._succeeded = self._succeeded or (outcome.problem is None and task.subject is not None)
        if outcome.problem is not None and outcome.where == "network":
            self._refuse(task, outcome)
            return
        self.work.done(task, outcome)
        if outcome.problem is not None:
            raise OSError(f"{outcome.problem} (on {outcome.worker}); go on with --resume")

    def _refuse(self, task: Task, outcome: Outcome) -> None:
        """Do without a worker that cannot open the network; stop if none could."""
        self.work.give_back(task)
        if not self._succeeded:
            raise ValueError(f"{outcome.problem} (on worker {outcome.worker})")
        print(f"warning: worker {outcome.worker} is not used: {outcome.problem}", file=sys.stderr, flush=True)
        self.connection.retire(outcome.worker)

    def _failed(self, task: Task, future: Future) -> None:
        """Take note of a death, or of an exception that the task did not expect."""
        try:
            error = future.exception(timeout=ANSWER_SECONDS)
        except TimeoutError as late:
            self.work.give_back(task)
            raise SchedulerLost(said(late)) from late
        if isinstance(error, ImportError):
            raise ValueError(
                f"the workers cannot import what they need ({said(error)}): install the requirements on every machine, "
                "and start the workers in the checkout's folder, with PYTHONPATH set to it"
            )
        # With an old count, two tasks would share a worker, and the one that kills it would take the other along.
        self.connection.forget_workers()
        self.totals.deaths += 1
        reason = DIED if isinstance(error, KilledWorker) else f"unexpected {type(error).__name__}: {said(error)}"
        self.work.died(task, reason)

    def _end_late_ones(self) -> None:
        """Treat tasks that take too long as dead, and end their workers."""
        now = time.monotonic()
        for future, task in list(self._flying.items()):
            if now - task.started < self.limit:
                continue
            if not self.connection.restart_worker_of(str(future.key)):
                task.started = now  # it waits for a worker
                continue
            del self._flying[future]
            future.cancel()
            self.totals.deaths += 1
            self.work.died(task, f"it took longer than {self.limit:g} s (--timeout)")

    def _check_workers(self, workers: int) -> None:
        """Say that no worker is there; raise an OSError when that lasts too long."""
        now = time.monotonic()
        if workers:
            self._waiting_since = None
            return
        if self._waiting_since is None:
            self._waiting_since = self._reminded = now
        waited = now - self._waiting_since
        if waited > self.patience:
            raise OSError(f"no worker for {self.patience:.0f} s: start some, and go on with --resume")
        if now - self._reminded > REMINDER:
            self._reminded = now
            print(f"waiting for workers, {waited:.0f} s up to now", file=sys.stderr, flush=True)

    def _reconnect(self) -> None:
        """Take back what flew, and connect again."""
        for task in reversed(self._flying.values()):
            self.work.give_back(task)
        self._flying.clear()
        print(f"the scheduler {self.connection.address} was lost: waiting for it", file=sys.stderr, flush=True)
        self.connection.reopen()
        self.totals.reconnections += 1
        print("the scheduler is there again", file=sys.stderr, flush=True)
