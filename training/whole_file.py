"""A file is written whole or not at all, also when the machine stops in the middle of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".*.tmp"
"""What files are called while they are written: what a killed process leaves behind."""


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Give a name to write to; when the block ends well its file is flushed to disk and takes the name `path`.

    Raises:
        OSError: it cannot be written; what had the name before still has it, and nothing else is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            usual = os.fstat(file.fileno()).st_mode
        yield temporary
        with temporary.open("rb") as file:
            os.fchmod(file.fileno(), usual)  # safetensors hides its files from everybody else
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """`whole_path` for what writes to an open file."""
    with whole_path(path) as temporary, temporary.open("wb") as file:
        yield file
