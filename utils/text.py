"""Text from files, and text for people: one line, whatever it came from."""

import os
import stat
from pathlib import Path

LFS_START = "version https://git-lfs"
"""The first words of a Git LFS pointer, a small text in the place of a file that was not downloaded."""
LFS_REMEDY = "get the file itself: git lfs install && git lfs pull"


def read_text(path: Path | str, encoding: str = "utf-8-sig", newline: str | None = None) -> str:
    """Return the text of a file that the user names, without ever waiting for a pipe or a device.

    Args:
        path: the file.
        encoding, newline: as in `open`.

    Raises:
        OSError: it cannot be read, or is no regular file; one line names it.
        UnicodeDecodeError: it is no text in that encoding.
    """
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    if kind := kinds.get(stat.S_IFMT(os.stat(path).st_mode)):
        raise OSError(f"{path} is {kind}, no regular file: write its content to a file, and name that")
    with open(path, encoding=encoding, newline=newline) as file:
        text = file.read()
    if text.startswith(LFS_START):
        raise OSError(f"{path} is a Git LFS pointer, not the file; {LFS_REMEDY}")
    return text


def one_line(text: object, limit: int = 300) -> str:
    """What a file says, or an error about it, fit to be printed: one line, nothing but printable characters, cut."""
    line = " ".join(str(text)[: 2 * limit].split())
    line = printable(line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def printable(name: str) -> str:
    """Return a file's name with its control characters and undecodable bytes as escapes, such as \\n and \\udcff."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: bytes of file names that are not UTF-8 become escapes such as \\udcff."""
    return text.encode("utf-8", "backslashreplace").decode()
