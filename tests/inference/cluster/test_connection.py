"""A worker that hangs: nothing waits for it, and a late task ends it, whether a nanny watches over it or not."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.helpers import ROOT

pytest.importorskip("distributed")
pytest.importorskip("pyarrow")

from inference.cluster import connection as module
from inference.cluster.connection import Connection

PATIENCE = 120
"""Seconds that a busy machine may take; nothing waits for them to pass."""


@pytest.fixture
def dask() -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of a scheduler, and its only worker, which has no nanny."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = str(found.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *more, "--no-dashboard"],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name, more in (
            ("dask_scheduler", ("--host", "127.0.0.1", "--port", port)),
            ("dask_worker", (address, "--no-nanny", "--nthreads", "1", "--memory-limit", "0")),
        )
    ]  # fmt: skip
    yield address, processes[1]
    for process in processes:
        process.kill()
        process.wait()


def until(happens: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.05)


def opened(address: str) -> Connection:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return Connection(address, PATIENCE)
        except OSError:  # the scheduler is not up yet
            assert time.monotonic() < end


def test_a_late_task_ends_its_worker_also_without_a_nanny(dask) -> None:
    address, worker = dask
    connection = opened(address)
    try:
        until(lambda: len(connection.client.scheduler_info()["workers"]) == 1)
        future = connection.client.submit(time.sleep, 3600, key="late")
        until(lambda: connection.restart_worker_of("late"))
        until(lambda: worker.poll() is not None or not connection.client.scheduler_info()["workers"])
        assert not connection.restart_worker_of("another")
        future.cancel()
    finally:
        connection.close()


def test_a_worker_that_hangs_does_not_keep_a_run_from_starting(dask, monkeypatch) -> None:
    address, worker = dask
    first = opened(address)
    until(lambda: len(first.client.scheduler_info()["workers"]) == 1)
    worker.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1)
    start = time.monotonic()
    second = Connection(address, PATIENCE)
    assert time.monotonic() - start < 60  # without bounds, a hanging worker is waited for as long as it hangs
    for connection in (first, second):
        connection.close()
