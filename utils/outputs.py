"""Try an output before hours are spent on what it shall hold."""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.files import refuse_special

_OF_ONE_ITEM = {
    getattr(errno, name, -1)
    for name in (
        "ENAMETOOLONG",
        "EILSEQ",
        "EINVAL",
        "ENOTDIR",
        "EISDIR",
        "EEXIST",
        "ENOTEMPTY",
        "ELOOP",
        "EACCES",
        "EPERM",
    )
}
"""Errors that say nothing about the next file, unlike a full disk."""


@contextmanager
def errors_of_one_item(path: Path) -> Iterator[None]:
    """Turn an OSError that concerns one file's name or place into a ValueError that names it; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_ONE_ITEM:
            raise
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error


def check_folder(folder: Path, option: str = "--output") -> None:
    """Raise OSError unless files can be written to a folder that is there, or that can be created.

    Nothing is left behind: a file without a name is written in the folder, or in the deepest one above it that exists.

    Args:
        folder: the folder.
        option: what names it, for the message.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        what = "is a file" if there.is_file() else "is no folder"
        raise OSError(f"{option} {folder}: {there} {what}: give a folder")
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0")
    except OSError as error:
        raise OSError(f"{option} {folder} cannot be written: {error.strerror or error}: give another folder") from error
    for part in folder.parts:
        if len(os.fsencode(part)) > 255:
            raise OSError(f"{option} {folder} cannot be created: {part[:40]}… is longer than 255 bytes")


def refuse_inputs(output: Path, inputs: Iterable[Path], option: str = "--output") -> None:
    """Raise ValueError where an output is one of the files that a command reads, by whatever name."""
    for path in inputs:
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(output, path):
            raise ValueError(f"{option} {output} is {path}, which this command reads: give another name")


def check_file(path: Path, option: str = "--output") -> None:
    """Raise OSError unless a file can be written; as `check_folder` of its folder."""
    if path.is_dir():
        raise OSError(f"{option} {path} is a folder: give a file")
    refuse_special(path)
    check_folder(path.parent, option)
