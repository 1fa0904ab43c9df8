"""The user's cache: what can be computed again, kept from one command to the next. Nothing fails for want of it."""

import os
import time
from contextlib import suppress
from pathlib import Path

UNUSED = 60 * 24 * 3600
"""Seconds after which a file that no command has used is removed."""


def cache_folder(name: str) -> Path | None:
    """Return the folder `name` in the user's cache, which may not exist; None: there is no home folder.

    It is in SRAL_CACHE where that is set, otherwise in XDG_CACHE_HOME/sral or ~/.cache/sral.
    """
    if own := os.environ.get("SRAL_CACHE"):
        return Path(own) / name
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "sral" / name
    home = os.environ.get("HOME") or os.environ.get("USERPROFILE")
    return Path(home) / ".cache" / "sral" / name if home else None


def find_cached(folder: Path | None, file: str) -> Path | None:
    """Return a file of a cache folder, if it is there and not empty, and mark it as used."""
    if folder is None:
        return None
    path = folder / file
    with suppress(OSError):
        if path.stat().st_size:
            with suppress(OSError):  # a cache that cannot be written to
                os.utime(path)
            return path
    return None


def remove_unused(folder: Path) -> None:
    """Remove a cache folder's files that no command has used for UNUSED seconds."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            with suppress(OSError):
                if entry.is_file() and time.time() - entry.stat().st_mtime > UNUSED:
                    os.unlink(entry.path)
