"""Show how far a command is: a bar on a terminal, and plain lines in a log."""

import os
import sys
import time
from typing import Any

from tqdm import tqdm

LINE_EVERY = 30.0
"""Seconds between two lines in a log."""
VARIABLE = "SRAL_PROGRESS"
"""Environment variable that, set to 'bar', asks for the bar in any case: for a program that shows it, such as QGIS."""
_LINE = "{percentage:.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class ProgressBar(tqdm):
    """A bar of tqdm; where standard error is no terminal, a plain line every 30 s and no carriage return.

    Args:
        args, options: as tqdm's; `bar_format` has its bar as `|{bar}|`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._in_log = os.environ.get(VARIABLE) != "bar" and not (sys.stderr and sys.stderr.isatty())
        self._next_line = time.monotonic() + LINE_EVERY
        if self._in_log:
            options |= {"leave": False, "mininterval": LINE_EVERY, "maxinterval": LINE_EVERY}
        super().__init__(*args, **options)
        if self._in_log and not self.disable:
            line = self.bar_format or ("{desc}: " if self.desc else "") + _LINE
            self.bar_format = line.replace("|{bar}|", "")

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:  # type: ignore[override]
        """Show the bar, or `msg` in its place; in a log, print a line where one is due."""
        if not self._in_log:
            return bool(super().display(msg, pos))
        if msg is None and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY
            print(str(self).strip(), file=self.fp, flush=True)
        return False

    def clear(self, nolock: bool = False) -> None:
        """Clear the bar from the terminal."""
        if not self._in_log:
            super().clear(nolock)
