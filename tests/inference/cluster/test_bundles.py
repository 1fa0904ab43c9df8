"""Bundles without a cluster: killers are set aside, all others are made once, a store that is away stops the run."""

import random
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")

from datasets.io import AS_STORED  # noqa: E402
from inference.cluster.bundles import ImageWork  # noqa: E402
from inference.cluster.images import Bundle, ImageJob  # noqa: E402
from inference.cluster.inputs import Requested  # noqa: E402
from inference.cluster.manifest import Row  # noqa: E402
from inference.cluster.plan import ClusterPlan  # noqa: E402
from inference.cluster.worker import Outcome  # noqa: E402


def work_of(count: int, attempts: int, rows: list[Row]) -> ImageWork:
    names = [f"{number:04}" for number in range(count)]
    requested = Requested([f"/archive/{name}.jpg" for name in names], names)
    plan = ClusterPlan(requested, pa.array([f"{name}.png" for name in names]), np.arange(count), np.zeros(count, bool))
    job = ImageJob(Namespace(batch_size=4), "maps", AS_STORED, {})
    return ImageWork(plan, job, attempts, False, rows.append)


def made(bundle: Bundle, kind: str = "") -> Outcome:
    """What a worker reports of a bundle."""
    rows = [
        Row(item.source, item.output, error=f"{item.source}: {kind}" if kind else None, kind=kind)
        for batch in bundle.batches
        for item in batch
        if item.wanted and not item.aside
    ]
    return Outcome("host-1", rows)


@pytest.mark.parametrize("seed", range(20))
def test_killers_are_set_aside_after_the_attempts_and_all_others_are_made_once(seed: int) -> None:
    rng = random.Random(seed)
    count, attempts = rng.randint(1, 60), rng.randint(1, 4)
    killers = set(rng.sample(range(count), min(count, rng.randint(0, 5))))
    rows: list[Row] = []
    work = work_of(count, attempts, rows)
    alone = dict.fromkeys(killers, 0)
    flying: list[Any] = []
    for _ in range(10_000):
        while len(flying) < 3 and (task := work.next(3)) is not None:
            flying.append(task)
        if not flying:
            break
        task = flying.pop(rng.randrange(len(flying)))
        bundle: Bundle = task.arguments[1]
        active = [item.number for batch in bundle.batches for item in batch if not item.aside]
        if rng.random() < 0.1:
            work.give_back(task)
        elif killers & set(active):
            if len(active) == 1:
                alone[active[0]] += 1
            work.died(task, "its worker died")
        else:
            work.done(task, made(bundle))
    assert work.is_finished()
    assert sorted(row.output for row in rows) == [f"{number:04}.png" for number in range(count)]
    failed = {int(Path(row.output).stem) for row in rows if row.error}
    assert failed == killers
    assert all(row.kind == "killed its worker" for row in rows if row.error)
    assert set(alone.values()) <= {attempts}


def test_a_store_that_is_away_stops_the_run_and_single_failures_do_not() -> None:
    rows: list[Row] = []
    work = work_of(4000, 3, rows)
    for number in range(400):
        task = work.next(1)
        assert task is not None
        work.done(task, made(task.arguments[1], "store" if number % 100 else ""))
    failed = len([row for row in rows if row.error])
    assert failed > 1500  # never 500 in a row

    def go_on() -> None:
        while (task := work.next(1)) is not None:
            work.done(task, made(task.arguments[1], "store"))

    with pytest.raises(OSError, match=r"store; the last 500 inputs failed like this: .* --resume"):
        go_on()
    assert len(rows) < 4000  # what was not tried is left to --resume, and what was is recorded
