"""Dask's scheduler and workers: start them on this machine, or connect to those that run, and connect again."""

import asyncio
import contextlib
import importlib.util
import logging
import signal
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from typing import Any

import dask
import distributed
from distributed import Client, Future, LocalCluster
from distributed.diagnostics.plugin import WorkerPlugin

from inference.cluster.retrying import said

CONNECT_SECONDS = 10
ANSWER_SECONDS = 30
"""How long an answer of the scheduler is waited for before it counts as lost."""
SETTINGS = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.admin.large-graph-warning-threshold": "1GB",
    "logging.distributed": "critical",
    "logging.bokeh": "critical",
}
"""A worker never pauses: its nanny ends it at its limit of memory. Every death is known at once."""


class SchedulerLost(Exception):
    """The connection to the scheduler is broken, or it does not answer."""


class Bounded(WorkerPlugin):
    """Lets a worker run until its nanny ends it, since a paused worker would wait for ever."""

    name = "sral-bounded"

    def setup(self, worker: Any) -> None:
        """Change the settings of a worker; Dask calls this on every worker, also on those that come later."""
        manager = worker.memory_manager
        manager.memory_pause_fraction = manager.memory_spill_fraction = manager.memory_target_fraction = False
        if worker.status == distributed.core.Status.paused:
            worker.status = distributed.core.Status.running
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches every process


class Connection:
    """A client of a scheduler.

    Args:
        address: of the scheduler, or a scheduler file (.json).
        patience: seconds that a lost scheduler is waited for.
        cluster: the cluster of this machine that the scheduler belongs to, or None.

    Raises:
        OSError: it cannot be reached.
    """

    def __init__(self, address: str, patience: float, cluster: LocalCluster | None = None) -> None:
        self.address, self.patience, self.cluster = address, patience, cluster
        self._workers, self._asked = 0, 0.0
        self._scheduler: str | None = None
        self.client = self._open()

    @property
    def is_lost(self) -> bool:
        """Return whether the connection broke; all futures are void then."""
        return self.client.status != "running"

    @property
    def dashboard(self) -> str | None:
        """Return the address of the dashboard, if the scheduler has one."""
        if importlib.util.find_spec("bokeh") is None and self.cluster is not None:
            return None
        try:
            link: str | None = self.client.dashboard_link
        except (KeyError, OSError):
            return None
        return link

    @property
    def _calls(self) -> Any:
        """Return the scheduler's own calls, as coroutines."""
        return self.client.scheduler

    def workers(self) -> int:
        """Return how many tasks run at a time; the scheduler is asked once a second.

        Raises:
            SchedulerLost: it does not answer, or another one took its place.
        """
        if time.monotonic() - self._asked >= 1:
            found = self.ask(lambda: self._calls.identity(n_workers=0))
            if self._scheduler not in (None, found["id"]):
                raise SchedulerLost("another scheduler took its place")
            self._scheduler, self._workers, self._asked = found["id"], found["total_threads"], time.monotonic()
        return self._workers

    def forget_workers(self) -> None:
        """Have `workers` ask the scheduler again, since a worker died."""
        self._asked = 0.0

    def gather(self, futures: list[Future]) -> list[Any]:
        """Return the results of finished futures; raises also what a lost result raises."""
        results: list[Any] = self.ask(lambda: self.client.gather(futures, asynchronous=True))
        return results

    def ask(self, call: Any) -> Any:
        """Return what a coroutine of the client returns.

        Raises:
            SchedulerLost: there is no answer.
        """

        async def awaited() -> Any:
            return await call()

        loop: Any = self.client.loop
        answer = asyncio.run_coroutine_threadsafe(awaited(), loop.asyncio_loop)
        try:
            return answer.result(ANSWER_SECONDS)
        except (FutureTimeout, OSError) as error:
            answer.cancel()
            raise SchedulerLost(said(error)) from error

    def restart_worker_of(self, key: str) -> bool:
        """End the worker that has a task, in the background; its nanny starts another. Return whether one has it."""
        holders = self.ask(lambda: self._calls.processing(workers=None))
        found = [worker for worker, keys in holders.items() if key in keys]
        if found:
            # The scheduler's own call also removes a worker without a nanny; the client's refuses to.
            call = self._calls.restart_workers(
                workers=found, timeout=60, wait_for_workers=False, on_error="return", stimulus_id=f"late-{key}"
            )
            loop: Any = self.client.loop
            asyncio.run_coroutine_threadsafe(call, loop.asyncio_loop)
        return bool(found)

    def retire(self, worker: str) -> None:
        """Send no more tasks to the worker process of a name 'host-process'."""
        names = self.ask(lambda: self.client.run(_name, on_error="ignore"))
        if found := [address for address, name in names.items() if name == worker]:
            self.ask(lambda: self.client.retire_workers(found, close_workers=True))

    def reopen(self) -> None:
        """Connect again, to the same scheduler or to one that took its place.

        Raises:
            OSError: there is none within the patience.
        """
        end = time.monotonic() + self.patience
        self._close_client()
        while True:
            try:
                self.client = self._open()
                return
            except (OSError, SchedulerLost) as error:
                if time.monotonic() > end:
                    raise OSError(
                        f"{self.address}: no scheduler for {self.patience:.0f} s ({said(error)}): start it again, and "
                        "go on with --resume"
                    ) from error
                time.sleep(1)

    def close(self) -> None:
        """Leave the scheduler; end the cluster that was started for this run."""
        self._close_client()
        if self.cluster is not None:
            with contextlib.suppress(Exception):
                self.cluster.close(timeout=4)

    def _close_client(self) -> None:
        with contextlib.suppress(Exception):
            self.client.close(timeout=2)

    def _open(self) -> Client:
        where = {"scheduler_file": self.address} if self.address.endswith(".json") else {"address": self.address}
        with dask.config.set(SETTINGS):
            client = Client(**where, timeout=CONNECT_SECONDS, set_as_default=False, name="sral")
        self.client = client
        self._scheduler, self._asked = None, 0.0
        try:
            self._prepare(client)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"{self.address}: scheduler or workers cannot import inference.cluster ({said(error)}): start them in "
                "the checkout's folder, with PYTHONPATH set to it"
            ) from error
        return client

    def _prepare(self, client: Client) -> None:
        """Change the settings of scheduler and workers; leave the scheduler if that fails."""
        try:
            client.run_on_scheduler(_report_deaths_at_once)
            with contextlib.suppress(SchedulerLost):  # a worker hangs; those that come have the settings as well
                self.ask(lambda: client.register_plugin(Bounded()))
        except distributed.comm.CommClosedError as error:
            self._close_client()
            raise OSError(str(error)) from error
        except BaseException:
            self._close_client()
            raise


def _report_deaths_at_once(dask_scheduler: Any) -> None:
    dask_scheduler.allowed_failures = 0


def _name() -> str:
    from inference.cluster.worker import worker_name

    return worker_name()


@contextmanager
def connected(options: Namespace) -> Iterator[Connection]:
    """Yield a connection to `options.scheduler`, or to a cluster of `options.workers` that is started here.

    Raises:
        OSError, ValueError: the scheduler cannot be reached, or its workers cannot import this package.
    """
    _silence()
    with tempfile.TemporaryDirectory(prefix="sral-dask-", ignore_cleanup_errors=True) as scratch:
        connection = _connect(options, scratch)
        try:
            yield connection
        finally:
            connection.close()


def _silence() -> None:
    """Keep the libraries' logs out of the terminal: what matters of a lost worker or scheduler is said in one line."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "bokeh", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _connect(options: Namespace, scratch: str) -> Connection:
    """Connect; workers that are started here keep their files in `scratch`."""
    if options.scheduler:
        try:
            return Connection(options.scheduler, options.patience)
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) and "import" in str(error):
                raise
            raise OSError(
                f"--scheduler {options.scheduler}: cannot be reached ({said(error)}): give the address that "
                "`dask scheduler` prints, such as tcp://10.0.0.1:8786, or its --scheduler-file"
            ) from error
    has_bokeh = importlib.util.find_spec("bokeh") is not None
    dask.config.set(SETTINGS)
    cluster = LocalCluster(
        n_workers=options.workers, threads_per_worker=1, processes=True, host="127.0.0.1",
        silence_logs=logging.CRITICAL,
        dashboard_address="127.0.0.1:0" if has_bokeh else None, memory_limit=options.memory or "auto",
        local_directory=scratch,
    )  # fmt: skip
    try:
        return Connection(cluster.scheduler_address, options.patience, cluster)
    except BaseException:
        cluster.close(timeout=4)
        raise
