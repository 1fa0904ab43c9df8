"""Time several calls interleaved, so that other work on the machine affects all of them alike."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

MIN_SECONDS = 0.1
"""A call is repeated until its repetitions have taken this long. One call before them is not timed: it runs with cold
caches, and may have to get freed memory back from the system."""

Key = TypeVar("Key", bound=Hashable)


def time_interleaved(
    calls: Mapping[Key, Callable[[], object]], seconds: float, min_rounds: int
) -> dict[Key, list[float]]:
    """Return the seconds a call takes, by key, for each round. A round times every call once.

    Args:
        calls: what is timed, warmed up. A call returns when its work is done, on a GPU too.
        seconds: new rounds start until this time has passed.
        min_rounds: rounds that are done in any case.
    """
    taken: dict[Key, list[float]] = {key: [] for key in calls}
    start, done = time.perf_counter(), 0
    while done < min_rounds or time.perf_counter() - start < seconds:
        for key, call in calls.items():
            taken[key].append(_seconds_a_call(call))
        done += 1
    return taken


def _seconds_a_call(call: Callable[[], object]) -> float:
    call()
    start, calls, spent = time.perf_counter(), 0, 0.0
    while not calls or spent < MIN_SECONDS:
        call()
        calls += 1
        spent = time.perf_counter() - start
    return spent / calls
