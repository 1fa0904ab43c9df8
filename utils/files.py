"""Atomic writes: a reader, or a run that is cut off, finds the old file or the new one, never a part of either."""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from utils.unfinished import forget, unfinished_name

_REMEDIES = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some of your quota, or write to another disk",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EROFS: "write to another folder",
    errno.EACCES: "write to another folder, or change its permissions",
    errno.EPERM: "write to another folder, or change its permissions",
    errno.EISDIR: "it is a folder: give another name",
    errno.ENOTDIR: "a part of the path is a file: give another folder",
    errno.EEXIST: "a part of the path is a file: give another folder",
    errno.ENAMETOOLONG: "give a shorter name",
}

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

NOTHING = "nothing of this result is there"


class WriteError(OSError):
    """A file that cannot be written: its name, the system's reason, what to do, and what is there, in one line."""

    there = ""

    def __str__(self) -> str:
        remedy = _REMEDIES.get(self.errno or 0, "")
        return f"{self.filename} cannot be written: {self.strerror}" + f"; {remedy}" * bool(remedy) + self.there

    @classmethod
    def of(cls, error: OSError, path: Path, there: str = "") -> "WriteError":
        """Return the error about `path` that a system's error means; `there` says which files exist."""
        if isinstance(error, cls):
            return error
        made = cls(error.errno or 0, error.strerror or str(error), str(path))
        made.there = f"; {there}" if there else ""
        return made


@contextmanager
def atomic_path(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path; when the block succeeds, flush it to disk (fsync) and rename it to `path`.

    The temporary file lies in the same folder, which is created if missing. The result's mode follows the umask,
    whatever mode the writing library chose. The temporary name is short, so every legal file name can be written.

    Args:
        path: the file.
        sync: flush it before the rename. A flush takes milliseconds. Without it, a file may be empty after a power
            failure, but never after a killed process: for many small files, `sync_disk` once at the end.

    Raises:
        WriteError: the file cannot be written; an older file of that name is intact and nothing else is left behind.
    """
    with _temporary(path) as (temporary, mode):
        yield temporary
        with _explained(path, temporary):
            _flush(temporary, mode, sync)
            os.replace(temporary, path)


@contextmanager
def atomic_file(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Yield an open binary file that becomes `path` when the block succeeds; arguments and errors as `atomic_path`."""
    with atomic_path(path, sync) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def new_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path, as `atomic_path`; when the block succeeds it becomes `path` unless a file is there.

    Of several processes that write the same file at a time, on any machine that shares the disk, one succeeds.

    Raises:
        FileExistsError: a file of that name is there; it is not changed.
        WriteError: as `atomic_path`.
    """
    with _temporary(path) as (temporary, mode):
        yield temporary
        with _explained(path, temporary):
            _flush(temporary, mode)
        try:
            os.link(temporary, path)
        except FileExistsError as error:
            if not os.path.samefile(temporary, path):  # a network file system may have repeated a link that succeeded
                raise _exists(path) from error
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise WriteError.of(error, path) from error
            if os.path.lexists(path):
                raise _exists(path) from error
            os.replace(temporary, path)


def move_into_place(source: Path, path: Path) -> None:
    """Flush a complete file to disk (fsync) and rename it to `path`, on the same disk; an older file is replaced."""
    refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(source, path)


def move_folder(source: Path, path: Path) -> None:
    """Rename a complete folder to `path`, on the same disk: a new folder, or one in the place of an empty one."""
    with _explained(path):
        os.rename(source, path)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path`; errors as `atomic_path`."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def atomic_files(contents: Mapping[Path, str | bytes]) -> None:
    """Write files that belong together: every one is complete on the disk before the first gets its name.

    Raises:
        WriteError: one cannot be written; older files are intact, and none of the new ones is there.
    """
    with ExitStack() as stack:
        written = []
        for path, content in contents.items():
            if path.is_dir():
                raise WriteError.of(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), path, NOTHING)
            temporary, mode = stack.enter_context(_temporary(path))
            with _explained(path, temporary, NOTHING):
                temporary.write_bytes(content.encode() if isinstance(content, str) else content)
                _flush(temporary, mode)
            written.append((temporary, path))
        for temporary, path in written:
            with _explained(path, temporary):
                os.replace(temporary, path)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, which is created if missing; it is removed with all it holds at the end.

    Raises:
        WriteError: it cannot be created, or the block could not write to it.
    """
    with _explained(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = unfinished_name(parent)
    try:
        with _explained(parent, folder):
            folder.mkdir(mode=0o700)
            yield folder
    finally:
        forget(folder)


_SPECIAL = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def refuse_special(path: Path) -> None:
    """Raise WriteError where a path is a pipe, a socket or a device, which a renamed file would replace."""
    try:
        kind = _SPECIAL.get(stat.S_IFMT(os.stat(path).st_mode))
    except OSError:  # it is not there; whatever else is wrong shows when it is written
        return
    if kind:
        raise WriteError.of(OSError(errno.EINVAL, f"it is {kind}, no regular file; give another name"), path)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, int]]:
    """Yield a new file beside `path` and the mode that the umask gives it; remove it at the end."""
    refuse_special(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = unfinished_name(path.parent)
    try:
        with _explained(path, temporary):
            with temporary.open("wb") as file:
                mode = os.fstat(file.fileno()).st_mode
            yield temporary, mode
    finally:
        forget(temporary)


def sync_disk(folder: Path) -> None:
    """Flush everything that was written to a folder's disk, once for all files that were written with `sync=False`.

    Nothing is done where the folder does not exist.

    Raises:
        WriteError: the disk reports that something could not be written.
    """
    if not folder.is_dir():
        return
    flush = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None
    if flush is None:
        if hasattr(os, "sync"):
            os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if flush(descriptor):
            error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            raise WriteError.of(error, folder, "the last files may be empty: make them again")
    finally:
        os.close(descriptor)


def _flush(temporary: Path, mode: int, sync: bool = True) -> None:
    with temporary.open("rb") as file:
        os.fchmod(file.fileno(), mode)  # safetensors creates its files with mode 0600
        if sync:
            os.fsync(file.fileno())


@contextmanager
def _explained(path: Path, temporary: Path | None = None, there: str = "") -> Iterator[None]:
    """Turn the system's errors about a file into those about `path`; errors that name another file stay."""
    try:
        yield
    except OSError as error:
        if temporary is not None and error.filename not in (None, str(temporary), temporary):
            raise
        if not there and path.is_file():
            there = "the older file is as it was"
        raise WriteError.of(error, path, there) from error
