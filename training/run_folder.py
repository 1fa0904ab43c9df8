"""A run's folder belongs to one run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made where it is not there, against other processes.

    Raises:
        ValueError: another process trains in it.
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(f"another process is training in {folder}: wait for it, or choose another --output") from error
    try:
        yield
    finally:
        lock.release()
