"""Try again what an object store refuses for a moment: 503, 429, time-outs and broken connections."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from inference.cluster.addresses import without_secrets
from utils.text import one_line

T = TypeVar("T")
TRIES = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 20.0
"""Seconds. Each pause is twice the last one, times a random number from 0.5 to 1.5."""
PERMANENT = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


class StoreError(ValueError):
    """A store that does not give or take a file after all tries."""


def patiently(call: Callable[[], T], what: str) -> T:
    """Return what `call` returns; call it again, after longer and longer pauses, where that may help.

    Args:
        call: reads from a store or writes to it.
        what: what it does to which file, for the message.

    Raises:
        FileNotFoundError, FileExistsError, PermissionError: as `call` raised it.
        StoreError: all tries failed.
    """
    for attempt in range(TRIES):
        try:
            return call()
        except PERMANENT:
            raise
        except Exception as error:  # the exceptions of stores have no common base class
            if not _may_pass(error):
                raise StoreError(f"{what}: {said(error)}") from error
            if attempt == TRIES - 1:
                raise StoreError(f"{what}: {said(error)}, {TRIES} times: is the store there?") from error
            time.sleep(min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * (0.5 + random.random()))
    raise AssertionError("unreachable")


def said(error: BaseException) -> str:
    """Return what an error says, in one line and without what an address may hold of credentials."""
    return one_line(without_secrets(str(error) or type(error).__name__))


def _may_pass(error: Exception) -> bool:
    """Return whether a second try may succeed."""
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int) and 100 <= status < 600:
        return status >= 500 or status in (408, 429)
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "ImportError"):
        return False
    return isinstance(error, OSError | TimeoutError) or type(error).__module__.partition(".")[0] in _CLIENTS


_CLIENTS = ("aiohttp", "aiobotocore", "botocore", "fsspec", "gcsfs", "google", "urllib3", "requests", "asyncio")
"""Packages whose errors are those of connections, where they have no status."""
