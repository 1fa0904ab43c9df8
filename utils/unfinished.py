"""Names of unfinished files and folders, and the removal of those whose process is gone.

A name says which process writes: `.HOST-PROCESS-NUMBER.tmp`. A killed process cannot remove its own; the next command
that writes to the folder does.
"""

import hashlib
import itertools
import os
import platform
import re
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

OLD = 24 * 3600
"""Seconds after which a file of another machine, whose processes cannot be seen from here, counts as abandoned."""
MARGIN = 60
"""Seconds by which the clocks of a file system and of this machine may differ."""

_NAME = re.compile(r"\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-\d+\.tmp")
_OLDER_NAME = re.compile(r"\.[0-9a-f]{12}\.\d+\.tmp")
_numbers = itertools.count()
_mine: set[Path] = set()
_looked_at: set[Path] = set()


def unfinished_name(folder: Path) -> Path:
    """Return a new name in a folder, for this process to write under; `forget` it afterwards.

    What killed processes left in the folder is removed when this process writes there for the first time.
    """
    if folder not in _looked_at:
        _looked_at.add(folder)
        remove_unfinished(folder)
    path = folder / f".{_host()}-{os.getpid()}-{next(_numbers)}.tmp"
    _mine.add(path)
    return path


def forget(path: Path) -> None:
    """Remove an unfinished file or folder, if it is still there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    _mine.discard(path)


def forget_all() -> None:
    """Remove everything that this process has not finished: it is about to end at once."""
    for path in list(_mine):
        with suppress(OSError):
            forget(path)


def is_unfinished(name: str) -> bool:
    """Return whether a file's or folder's name is one that unfinished ones have."""
    return bool(_NAME.fullmatch(name) or _OLDER_NAME.fullmatch(name))


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that are gone left in a folder; what a living process writes stays.

    On a shared file system, other machines' files are removed when they are older than a day.
    """
    try:
        found = [entry for entry in os.scandir(folder) if entry.name.startswith(".") and entry.name.endswith(".tmp")]
    except OSError:  # the folder does not exist yet, or whoever writes to it will say why that fails
        return
    for entry in found:
        with suppress(OSError):
            if _is_abandoned(entry.name, entry.stat(follow_symlinks=False).st_mtime):
                forget(Path(entry.path))


def _is_abandoned(name: str, modified: float) -> bool:
    found = _NAME.fullmatch(name)
    if found is None and not _OLDER_NAME.fullmatch(name):
        return False  # not a name of ours
    if found is None or found["host"] != _host() or os.name != "posix":
        return time.time() - modified > OLD
    started = _start_of(int(found["process"]))
    return started is None or modified + MARGIN < started  # a later process has the same number


def _start_of(process: int) -> float | None:
    """Return when a process of this machine started, 0 where that cannot be known; None: there is no such process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:  # it belongs to another user
        return 0.0
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    except OSError:  # a system without /proc
        return 0.0
    if state in "ZX":  # it has ended, and its parent has not asked for its status yet
        return None
    return int(boot[1]) + int(fields[18]) / os.sysconf("SC_CLK_TCK") if boot else 0.0


@cache
def _host() -> str:
    """Return eight digits for this machine; containers that number their processes anew are machines of their own."""
    try:
        numbering = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbering = ""
    return hashlib.sha256(f"{platform.node()} {numbering}".encode()).hexdigest()[:8]
