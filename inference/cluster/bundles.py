"""Bundle images for workers, and find the one that kills them.

1. A bundle has so many batches that it takes a few seconds.
2. If its worker dies, each of its batches goes out alone.
3. If the worker of a batch dies, each of its images is probed: its map is made and not written.
4. An image whose worker dies in `attempts` probes is set aside. The batch is made without it.
5. If the worker of such a batch still dies `attempts` times, its images become batches of one.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from inference.cluster.addresses import public
from inference.cluster.images import Bundle, ImageJob, Item, make_bundle
from inference.cluster.manifest import Row
from inference.cluster.plan import ClusterPlan
from inference.cluster.tasks import Task
from inference.cluster.worker import Outcome

SECONDS = 4.0
"""What a bundle is to take."""
MOST_BATCHES = 64
KILLED = "killed its worker"
REFUSALS = frozenset(("store", "refused", "unwritable"))
"""Kinds of failures that say more of the store than of an image."""
MOST_REFUSALS = 500
"""Such failures in a row after which the run stops: the store is away, or the credentials have expired."""


@dataclass(eq=False)
class _Batch:
    """A batch of images, and its history.

    Attributes:
        numbers: of its images.
        wanted: those whose maps are to be written.
        aside: those that kill workers.
        deaths: of workers that had this batch alone.
        probing: number of images whose probes are not finished.
        probed: whether its images were probed.
        repeated: whether it went out before, so that some of its maps may be there.
    """

    numbers: tuple[int, ...]
    wanted: tuple[int, ...]
    aside: set[int] = field(default_factory=set)
    deaths: int = 0
    probing: int = 0
    probed: bool = False
    repeated: bool = False


@dataclass(eq=False)
class _Probe:
    """A trial of one image of a batch."""

    batch: _Batch
    number: int
    deaths: int = 0


class ImageWork:
    """The images of a run.

    Args:
        plan: what is left.
        job: what is the same for all.
        attempts: deaths of workers that had an image alone, after which it is set aside.
        resume: maps may be there that the manifest does not know.
        record: takes each row.
    """

    def __init__(
        self, plan: ClusterPlan, job: ImageJob, attempts: int, resume: bool, record: Callable[[Row], None]
    ) -> None:
        self.plan, self.job, self.attempts, self.resume, self.record = plan, job, attempts, resume, record
        self.size = job.options.batch_size
        self._fresh: Iterator[tuple[tuple[int, ...], tuple[int, ...]]] = plan.batches(self.size)
        self._upcoming = next(self._fresh, None)
        self._left = math.ceil(len(plan.left) / self.size)
        self._again: deque[list[_Batch]] = deque()
        self._probes: deque[_Probe] = deque()
        self._seconds: float | None = None  # of a batch
        self._refusals = 0  # in a row

    def next(self, workers: int) -> Task | None:
        """Return a bundle for a worker: what died first, then fresh images."""
        if self._probes:
            probe = self._probes.popleft()
            return self._task((self._item(probe.batch, probe.number),), probe)
        batches = self._again.popleft() if self._again else self._take(workers)
        if not batches:
            return None
        return self._task(batches, batches)

    def is_finished(self) -> bool:
        """Return whether no bundle is left, apart from those that are out."""
        return not (self._probes or self._again or self._upcoming)

    def done(self, task: Task, outcome: Outcome) -> None:
        """Record the rows of a bundle; a probe's images are not made yet."""
        if isinstance(task.subject, _Probe):
            self._probed(task.subject)
            return
        for row in outcome.rows:
            self.record(row)
            self._refusals = self._refusals + 1 if row.kind in REFUSALS else 0
        if self._refusals >= MOST_REFUSALS:
            raise OSError(
                f"{outcome.rows[-1].error}; the last {self._refusals} inputs failed like this: look after store and "
                "credentials, and go on with --resume"
            )
        if len(outcome.rows) and outcome.problem is None:
            taken = (time.monotonic() - task.started) / len(task.subject)
            self._seconds = taken if self._seconds is None else 0.7 * self._seconds + 0.3 * taken

    def died(self, task: Task, reason: str) -> None:
        """Look closer at what a dead worker had."""
        if isinstance(task.subject, _Probe):
            self._probe_died(task.subject, reason)
            return
        batches: list[_Batch] = task.subject
        if len(batches) > 1:
            self._again.extend([batch] for batch in batches)
            return
        batch = batches[0]
        batch.deaths += 1
        if len(batch.numbers) == 1:
            if batch.deaths >= self.attempts:
                self._set_aside(batch, batch.numbers[0], reason)
            else:
                self._again.append([batch])
        elif not batch.probed:
            self._probe(batch)
        elif batch.deaths <= self.attempts:
            self._again.append([batch])
        else:
            left = [number for number in batch.wanted if number not in batch.aside]
            self._again.extend([_Batch((number,), (number,))] for number in left)

    def give_back(self, task: Task) -> None:
        """Take back a bundle whose fault it was not."""
        if isinstance(task.subject, _Probe):
            self._probes.appendleft(task.subject)
        else:
            self._again.appendleft(task.subject)

    def _take(self, workers: int) -> list[_Batch]:
        """Return fresh batches for one bundle: fewer near the end, so that no worker waits for another."""
        count = 1
        if self._seconds:
            share = math.ceil(self._left / (2 * max(workers, 1)))
            count = max(min(round(SECONDS / self._seconds), share, MOST_BATCHES), 1)
        taken: list[_Batch] = []
        while len(taken) < count and (found := self._upcoming) is not None:
            taken.append(_Batch(*found))
            self._upcoming = next(self._fresh, None)
            if len(found[0]) < self.size:  # a short batch is the last one of its bundle
                break
        self._left = max(self._left - len(taken), 0)
        return taken

    def _task(self, batches: Iterable, subject: object) -> Task:
        if isinstance(subject, _Probe):
            bundle = Bundle((tuple(batches),), probe=True)
        else:
            items = tuple(tuple(self._item(batch, number) for number in batch.numbers) for batch in batches)
            bundle = Bundle(items, check=self.resume or any(batch.repeated for batch in batches))
            for batch in batches:
                batch.repeated = True
        name = "probe" if bundle.probe else "images"
        return Task(name, make_bundle, (self.job, bundle), subject)

    def _item(self, batch: _Batch, number: int) -> Item:
        source, output = self.plan.requested.sources[number], self.plan.output(number)
        return Item(number, source, output, number in batch.wanted, number in batch.aside)

    def _probe(self, batch: _Batch) -> None:
        batch.probed, batch.deaths = True, 0
        numbers = [number for number in batch.numbers if number not in batch.aside]
        batch.probing = len(numbers)
        self._probes.extend(_Probe(batch, number) for number in numbers)

    def _probe_died(self, probe: _Probe, reason: str) -> None:
        probe.deaths += 1
        if probe.deaths < self.attempts:
            self._probes.appendleft(probe)
            return
        self._set_aside(probe.batch, probe.number, reason)
        self._probed(probe)

    def _probed(self, probe: _Probe) -> None:
        batch = probe.batch
        batch.probing -= 1
        if not batch.probing and any(number not in batch.aside for number in batch.wanted):
            self._again.append([batch])

    def _set_aside(self, batch: _Batch, number: int, reason: str) -> None:
        batch.aside.add(number)
        if number in batch.wanted:
            source = public(self.plan.requested.sources[number])
            error = f"{source}: set aside: {reason}, {self.attempts} times while it was alone"
            self.record(Row(source, self.plan.output(number), error=error, kind=KILLED, time=time.time()))
