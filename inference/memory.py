"""Freed memory stays with the process, for the next batch needs the same again."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""glibc's numbers for mallopt."""
MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep what is freed; with another C library, nothing changes.

    Otherwise a batch's larger features are given back to the system after each layer, and every page of the next one's
    has to be cleared: a fifth of torch's time for a light network in batches of 8, a quarter of a step of its training.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, MOST)
        mallopt(MMAP_THRESHOLD, MOST)
