"""The report's folder: files named by their content, so that a run that is cut off leaves the older report whole.

    index.html                       the page; it is written last and names everything that belongs to the report
    report.json                      says that the folder is a report, so that a later run may write to it
    assets/NAME.HASH.ENDING          scripts, styles and figures, named by a hash of their content
    thumbnails/  pictures/           pictures, named by a hash of their sources' names, sizes and times

No name depends on a file's or method's name: any name can be shown, moved and zipped.
"""

import hashlib
import json
import re
from collections.abc import Collection
from pathlib import Path

from utils.files import atomic_write
from utils.unfinished import is_unfinished, remove_unfinished

MARKER = "report.json"
MADE_BY = "compute_results/report.py"
PAGE = "index.html"

_OURS = ("assets", "thumbnails", "pictures")
_HASHED = re.compile(r"(?:[a-z]+\.)?[0-9a-f]{16}\.[a-z]+")


def check_free(folder: Path) -> None:
    """Raise ValueError where `folder` is a file, or holds anything but a report."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give --output a folder")
    others = [path for path in folder.iterdir() if not is_unfinished(path.name)] if folder.is_dir() else []
    if others and not _is_report(folder):
        found = f"{others[0].name}{' and more' if len(others) > 1 else ''}"
        raise ValueError(f"{folder} holds other files ({found}): give --output a new folder, or an older report's")


def claim(folder: Path) -> None:
    """Mark the folder as a report; errors as `check_free`."""
    check_free(folder)
    if not _is_report(folder):
        atomic_write(folder / MARKER, json.dumps({"made_by": MADE_BY}) + "\n")


def write_asset(folder: Path, name: str, content: str | bytes) -> str:
    """Write `assets/NAME.HASH.ENDING` unless it is there; return its address relative to the folder."""
    content = content.encode() if isinstance(content, str) else content
    stem, _, ending = name.rpartition(".")
    address = f"assets/{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
    if not (folder / address).is_file():
        atomic_write(folder / address, content)
    return address


def finish(folder: Path, page: str, addresses: Collection[str]) -> int:
    """Write the page, then remove files of earlier reports.

    Args:
        folder: the report's folder.
        page: the content of `index.html`.
        addresses: every file of the report but the page, relative to the folder.

    Returns:
        The size in bytes of all files of the report.
    """
    # A file name that is not UTF-8 cannot be written as it is.
    atomic_write(folder / PAGE, page.encode("utf-8", "replace"))
    kept, size = set(addresses), (folder / PAGE).stat().st_size
    for path in [path for name in _OURS for path in (folder / name).rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() in kept:
            size += path.stat().st_size
        elif _HASHED.fullmatch(path.name):
            path.unlink(missing_ok=True)
        elif is_unfinished(path.name):
            remove_unfinished(path.parent)
    return size


def _is_report(folder: Path) -> bool:
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("made_by") == MADE_BY
