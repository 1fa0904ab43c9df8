"""Show how far a run is, and describe it at its end."""

import sys
import time
from collections import Counter

from inference.cluster.engine import Totals
from inference.cluster.manifest import Row
from inference.cluster.worker import STAGES
from utils.progress import ProgressBar

SHOWN = 20
"""Failures that are printed as they come; the manifest has all."""


class Progress:
    """Counts the rows of a run under a progress bar.

    Args:
        total: number of inputs to make.
        unit: 'image' or 'scene'.
        fresh: no output was there before, so that what is found made was made by a worker that died afterwards.

    Attributes:
        made, there, failed: numbers of inputs: made by this run, found made, and given up.
        megapixels: of the inputs that were made.
        kinds: number of failures by kind.
    """

    def __init__(self, total: int, unit: str, fresh: bool = False) -> None:
        self.unit, self.total, self.fresh = unit, total, fresh
        self.made = self.there = self.failed = 0
        self.megapixels = 0.0
        self.kinds: Counter[str] = Counter()
        self.start = time.monotonic()
        self._end: float | None = None
        self._bar = ProgressBar(total=total, unit=unit, desc="maps", smoothing=0.05)
        self._pixels = 0.0  # of parts of scenes whose rows are to come

    def add(self, row: Row) -> None:
        """Count a row; print its error."""
        if row.error is None:
            made = row.written or self.fresh
            self.made, self.there = self.made + made, self.there + (not made)
            self.megapixels += row.megapixels
        else:
            self.failed += 1
            self.kinds[row.kind] += 1
            if self.failed <= SHOWN:
                self.say(f"failed: {row.error}")
            elif self.failed == SHOWN + 1:
                self.say("further failures are in the manifest")
        self._bar.update()
        self._describe()

    def add_pixels(self, megapixels: float) -> None:
        """Count a part of a scene."""
        self._pixels += megapixels
        self._describe()

    def say(self, line: str) -> None:
        """Print a line on standard error, above the bar."""
        ProgressBar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Stop the clock, and leave the bar as it is."""
        self._end = time.monotonic()
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Return the seconds since the start, up to `close`."""
        return max((self._end or time.monotonic()) - self.start, 1e-9)

    def _describe(self) -> None:
        done = max(self.megapixels, self._pixels)
        text = f"{done:.1f} Mpx, {done / self.seconds:.2f} Mpx/s"
        self._bar.set_postfix_str(text + f", {self.failed} failed" * bool(self.failed), refresh=False)


def summarize(progress: Progress, totals: Totals, kept: int, output: str, where: str) -> list[str]:
    """Return the lines that describe a finished run.

    Args:
        progress, totals: what happened.
        kept: number of outputs that were there before.
        output: the output folder's name.
        where: what the network ran on.
    """
    seconds, unit = progress.seconds, progress.unit
    found = kept + progress.there
    there = f" ({found} more were there)" if found else ""
    rate = f"{progress.made / seconds:.1f} {unit}s and {progress.megapixels / seconds:.2f} megapixels per second"
    memory = f", largest worker {max(totals.memory.values()) / 1e9:.2f} GB" if totals.memory else ""
    lines = [f"{progress.made} {unit}s to {output}{there}: {seconds:.1f} s, {rate} on {where}{memory}"]
    if spent := sum(totals.seconds.values()):
        stages = ", ".join(f"{stage} {totals.seconds.get(stage, 0) / spent:.0%}" for stage in STAGES)
        lines.append(f"time by stage, over all workers: {stages} of {spent:.0f} s")
    if progress.failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in progress.kinds.most_common())
        lines.append(f"failures: {kinds}")
    if totals.deaths or totals.reconnections:
        lines.append(f"{totals.deaths} tasks lost their worker, the scheduler was lost {totals.reconnections} times")
    return lines
