"""Measure how fast each stage of the pipeline is, and which stage limits the run."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class StageRates:
    """The throughput that each stage of a run would have alone, and how long the network waited for images.

    Reading and writing, and a network on the CPU, are rated by CPU time: images × threads / CPU seconds. On a CPU the
    stages share the cores, so a run is slower than its slowest stage. A network on a GPU is rated by the time of its
    calls.

    Attributes:
        reading, network, writing: images per second; 0 without images.
        waited: fraction of the run in which the network waited for images, [0, 1].
    """

    reading: float
    network: float
    writing: float
    waited: float

    @property
    def bottleneck(self) -> str:
        """Return the slowest stage, or 'reading' if the network waited for more than half of the run.

        The second rule finds slow disks, whose waiting time is not CPU time.
        """
        return "reading" if self.waited > 0.5 else min(("network", "reading", "writing"), key=self.__getattribute__)

    @classmethod
    def total(cls, rates: Iterable["StageRates"]) -> "StageRates":
        """Return the rates of several processes together: the sums, and the mean of `waited`."""
        rates = list(rates)
        return cls(
            sum(each.reading for each in rates),
            sum(each.network for each in rates),
            sum(each.writing for each in rates),
            sum(each.waited for each in rates) / len(rates),
        )

    def __str__(self) -> str:
        rates = f"reading {self.reading:.0f}, network {self.network:.0f}, writing {self.writing:.0f} images per second"
        return (
            f"alone: {rates}; bound by {self.bottleneck}; the network waited for images {self.waited:.0%} of the time"
        )


class StageTimer:
    """Add up the time that each stage of one run takes, from construction on.

    Args:
        workers: number of threads that read, and of threads that write.
        network_threads: number of threads that the network computes on; None for a network on a GPU.
    """

    def __init__(self, workers: int, network_threads: int | None) -> None:
        self.workers, self.network_threads = workers, network_threads
        self._seconds = dict.fromkeys(("reading", "writing", "calls", "waiting"), 0.0)
        self._lock = threading.Lock()
        self._wall_start, self._cpu_start = time.perf_counter(), time.process_time()

    @contextmanager
    def measure(self, name: str, clock: Callable[[], float]) -> Iterator[None]:
        """Add what `clock` advances inside the block to 'reading' or 'writing' (CPU time), 'calls' or 'waiting'."""
        start = clock()
        try:
            yield
        finally:
            seconds = clock() - start
            with self._lock:
                self._seconds[name] += seconds

    def rates(self, images: int, written: int) -> StageRates:
        """Return the rates of the stages up to now.

        Args:
            images: number of images that were read, or found to be unreadable.
            written: number of images that went through the network and were written.
        """
        seconds = self._seconds
        network = seconds["calls"]
        if self.network_threads is not None:
            # The network's threads belong to a library. Their CPU time is what the other stages did not use.
            others = seconds["reading"] + seconds["writing"]
            network = (time.process_time() - self._cpu_start - others) / self.network_threads

        def rate(count: int, taken: float) -> float:
            return count / max(taken, 1e-9)

        return StageRates(
            rate(images, seconds["reading"] / self.workers),
            rate(written, network),
            rate(written, seconds["writing"] / self.workers),
            seconds["waiting"] / (time.perf_counter() - self._wall_start),
        )
