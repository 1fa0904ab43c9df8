"""What each stage of the pipeline could do alone, and which of them held the others up."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """Images per second that each stage of a run could do alone, and how long the network waited.

    A stage's rate is that of its threads with their cores to themselves: images × threads / the CPU time that they
    took. Where all stages share the CPU's cores, a run is therefore slower than the slowest of them. A GPU's rate is
    images / the time that the network's calls took.

    Attributes:
        reading, network, writing: images per second; 0 without images.
        waited: the part of the run in which the network had to wait for images, [0, 1].
    """

    reading: float
    network: float
    writing: float
    waited: float

    @property
    def bound(self) -> str:
        """The stage that is worth making faster: the slowest; reading, where the network waited most of the time.

        So it is where images come from a slow disk, of which CPU time knows nothing.
        """
        return "reading" if self.waited > 0.5 else min(("network", "reading", "writing"), key=self.__getattribute__)

    @classmethod
    def of_all(cls, each: Iterable["Rates"]) -> "Rates":
        """The rates of processes that share the work."""
        each = list(each)
        sums = (sum(getattr(rates, name) for rates in each) for name in ("reading", "network", "writing"))
        return cls(*sums, waited=sum(rates.waited for rates in each) / len(each))

    def __str__(self) -> str:
        rates = f"reading {self.reading:.0f}, network {self.network:.0f}, writing {self.writing:.0f} images per second"
        return f"alone: {rates}; bound by {self.bound}; the network waited for images {self.waited:.0%} of the time"


class Stages:
    """Adds up, from its making on, what the stages of one run take.

    Args:
        workers: threads that read, and as many that write.
        network_threads: that the network computes on; None where it is on a GPU.
    """

    def __init__(self, workers: int, network_threads: int | None):
        self.workers, self.network_threads = workers, network_threads
        self._seconds = dict.fromkeys(("reading", "writing", "calls", "waiting"), 0.0)
        self._lock = threading.Lock()
        self._start = time.perf_counter(), time.process_time()

    @contextmanager
    def adds(self, name: str, clock: Callable[[], float]) -> Iterator[None]:
        """Inside, `clock` runs for 'reading' or 'writing' (CPU time), the network's 'calls' or 'waiting'."""
        start = clock()
        try:
            yield
        finally:
            taken = clock() - start
            with self._lock:
                self._seconds[name] += taken

    def rates(self, images: int) -> Rates:
        """What the stages did for so many images, up to now."""
        seconds, start = self._seconds, self._start
        if self.network_threads is None:
            network = seconds["calls"]
        else:  # its threads are a library's own: theirs is all CPU time that is nobody else's
            network = (time.process_time() - start[1] - seconds["reading"] - seconds["writing"]) / self.network_threads
        reading, writing = (seconds[name] / self.workers for name in ("reading", "writing"))
        waited = seconds["waiting"] / (time.perf_counter() - start[0])
        return Rates(*(images / max(taken, 1e-9) for taken in (reading, network, writing)), waited)
