"""Run a Python file that the user names: it registers a loss, a metric, a data set, or holds a backend."""

import runpy
from pathlib import Path
from typing import Any

from utils.text import one_line


def run_user_file(path: Path | str, label: str) -> dict[str, Any]:
    """Run a Python file and return its globals.

    Args:
        path: the file. Only a file that the user names may be given, never one that a weights file names.
        label: what the file is, with its name; the error starts with it.

    Raises:
        ValueError: the file fails.
    """
    try:
        return runpy.run_path(str(path))
    except Exception as error:  # whatever a user's file raises
        raise ValueError(f"{label}: {type(error).__name__}: {one_line(error)}") from error
