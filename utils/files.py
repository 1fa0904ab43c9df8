"""Atomic writes: a reader, or a run that is cut off, finds the old file or the new one, never a part of either."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".*.tmp"
"""Glob pattern of files that are being written, and that a killed process leaves behind."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block succeeds, flush it to disk (fsync) and rename it to `path`.

    The temporary file lies in the same folder, which is created if missing. The result's mode follows the umask,
    whatever mode the writing library chose. The temporary name is short, so every legal file name can be written.

    Raises:
        OSError: the file cannot be written; an older file of that name is intact and nothing else is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    temporary = path.with_name(f".{digest}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield temporary
        with temporary.open("rb") as file:
            os.fchmod(file.fileno(), mode)  # safetensors creates its files with mode 0600
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yield an open binary file that becomes `path` when the block succeeds; errors as `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path`; errors as `atomic_path`."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def move_into_place(source: Path, path: Path) -> None:
    """Flush a complete file to disk (fsync) and rename it to `path`, on the same disk; an older file is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(source, path)
