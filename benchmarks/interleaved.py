"""Things timed against one another in turns: whatever else the machine does then meets them all alike."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

TURN = 0.1
"""Seconds that the calls of a turn that count take at least; what is over sooner is called again. The first does not
count: it finds the caches full of another's numbers, and memory that it freed back with the system."""

Key = TypeVar("Key", bound=Hashable)


def in_turns(calls: Mapping[Key, Callable[[], object]], seconds: float, rounds: int) -> dict[Key, list[float]]:
    """Seconds a call of each, by key, in each round: a turn for each of them, then another for each.

    Args:
        calls: what is timed, warmed up; it returns when its work is done, on a GPU too.
        seconds: rounds begin until these are over.
        rounds: how many there are at least.
    """
    taken: dict[Key, list[float]] = {key: [] for key in calls}
    start, done = time.perf_counter(), 0
    while done < rounds or time.perf_counter() - start < seconds:
        for key, call in calls.items():
            taken[key].append(_turn(call))
        done += 1
    return taken


def _turn(call: Callable[[], object]) -> float:
    call()
    start, calls, spent = time.perf_counter(), 0, 0.0
    while not calls or spent < TURN:
        call()
        calls += 1
        spent = time.perf_counter() - start
    return spent / calls
