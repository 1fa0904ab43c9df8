"""What every task needs on a worker: its network, opened once and kept, its name and its memory."""

import functools
import gc
import hashlib
import os
import platform
import resource
import sys
import threading
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inference.cluster.manifest import Row

STAGES = ("reading", "network", "writing")


@dataclass
class Outcome:
    """What a task reports.

    Attributes:
        worker: host and process.
        rows: of the inputs that it finished or gave up.
        seconds: by stage, added up over threads.
        memory: bytes of main memory that the worker has, and the most that it had.
        warned: unusual inputs: (name, flags of `datasets.file_warnings.FileWarning`).
        problem: why the task could not go on, which concerns other inputs as well; None: it went on to its end.
        where: whether the problem is this worker's 'network', or everybody's 'output'.
        value: what else a task returns.
    """

    worker: str
    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: tuple[int, int] = (0, 0)
    warned: list[tuple[str, int]] = field(default_factory=list)
    problem: str | None = None
    where: str = ""
    value: Any = None


@dataclass(frozen=True)
class Opened:
    """A network that has run once.

    Attributes:
        call: B×H×W×3 uint8 to B×2H×2W saliency, with test-time augmentation; one call at a time.
        input_size: (height, width).
        batch_size: images or windows in a call.
        key: what the outputs depend on, as JSON values.
        where: device, precision and runtime, for messages.
    """

    call: Callable[[np.ndarray], np.ndarray]
    input_size: tuple[int, int]
    batch_size: int
    key: dict[str, Any]
    where: str


_networks: dict[str, Opened] = {}
_opening = threading.Lock()


def worker_name() -> str:
    """Return host and process."""
    return f"{platform.node()}-{os.getpid()}"


def open_network(options: Namespace) -> Opened:
    """Return this worker's network; the first call opens it and runs it once.

    Args:
        options: the command line.

    Raises:
        FileNotFoundError, ValueError: as `inference.run.load_network`, or `inference.scenes.network.SceneNetwork`.
    """
    network = ("weights", "host_file", "backend", "device", "precision", "fast")
    wanted = (*network, "threads", "batch_size", "tta", "scene", "input_size")
    key = repr([getattr(options, name) for name in wanted])
    from utils.devices import trim_memory

    with _opening:
        if key not in _networks:
            _networks.clear()
            _networks[key] = _open_scenes(options) if options.scene else _open_images(options)
            gc.collect()  # what the conversion to the runtime's format left
            trim_memory()
        return _networks[key]


def _open_images(options: Namespace) -> Opened:
    from inference.distributed import ProcessGroup
    from inference.fastest import settled
    from inference.plan import Plan
    from inference.run import load_network
    from inference.tta import with_tta
    from models.weights import LITE2

    batch = Plan([("", "")] * options.batch_size, 0, Path())
    options = settled(options)
    network = load_network(options, batch, ProcessGroup()).backend
    key = {
        "weights": file_hash(options.weights or LITE2),
        "host_file": file_hash(options.host_file) if options.host_file else None,
        "backend": network.name, "precision": network.precision, "device": network.device.type,
        "batch_size": options.batch_size, "tta": options.tta, "input_size": list(network.input_size),
    }  # fmt: skip
    call = with_tta(network, options.tta) if options.tta else network
    where = f"{network.device.type} in {network.precision} by {network.name}"
    return Opened(_one_at_a_time(call), network.input_size, options.batch_size, key, where)


def _open_scenes(options: Namespace) -> Opened:
    from inference.distributed import ProcessGroup
    from inference.fastest import for_scenes
    from inference.scenes.network import SceneNetwork

    options = copy(options)
    for_scenes(options)
    network = SceneNetwork(options, ProcessGroup())
    call = _one_at_a_time(network.call)
    return Opened(call, network.backend.input_size, network.batch_size, network.key(), str(network))


def _one_at_a_time(call: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a network that workers of several threads share."""
    lock = threading.Lock()

    @functools.wraps(call, assigned=(), updated=())
    def locked(pixels: np.ndarray) -> np.ndarray:
        with lock:
            return call(pixels)

    return locked


def file_hash(path: Path) -> str:
    """Return the first 16 digits of the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def introduce(options: Namespace) -> Outcome:
    """Open the network and say what it is: `value` is (key, words)."""
    outcome = Outcome(worker_name())
    with reported(outcome):
        network = open_network(options)
        outcome.value = network.key, network.where
    return outcome


def warm_up(options: Namespace) -> Outcome:
    """Open the network while another worker introduces it; a failure shows when the network is used."""
    outcome = Outcome(worker_name())
    with suppress(OSError, ValueError):
        open_network(options)
    outcome.memory = memory()
    return outcome


@contextmanager
def reported(outcome: Outcome, where: str = "network") -> Iterator[None]:
    """Record an OSError or ValueError of the block as the outcome's problem, and the memory at its end."""
    try:
        yield
    except (OSError, ValueError) as error:
        outcome.problem, outcome.where = str(error), where
    finally:
        outcome.memory = memory()


def check_same_network(network: Opened, key: dict[str, Any]) -> None:
    """Raise a ValueError if this worker's network is another one than the run's.

    Args:
        network: this worker's.
        key: of the worker that was asked first.
    """
    for name, value in key.items():
        if network.key.get(name) != value:
            raise ValueError(
                f"its {name} is {network.key.get(name)}, that of the other workers {value}: put the same files on "
                "every machine, and name --backend and --precision"
            )


class Clock:
    """Adds up the seconds of each stage, over threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: str) -> Iterator[list[float]]:
        """Add the block's time to a stage; the list that is yielded holds it afterwards."""
        start, taken = time.perf_counter(), [0.0]
        try:
            yield taken
        finally:
            taken[0] = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] += taken[0]


def memory() -> tuple[int, int]:
    """Return the bytes of main memory that this process has, and the most that it had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), most
    except OSError:  # a system without /proc
        return most, most
