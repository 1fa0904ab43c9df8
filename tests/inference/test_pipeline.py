"""The pipeline on stages of known cost: order, few images at a time, errors, and what each stage is said to do."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference.pipeline import make_maps, worker_count
from inference.timing import StageRates, StageTimer

BATCH = 4
AT_ONCE = 5 * BATCH
"""Images between the first that is read and the last that is written: two batches wait for the network, which has one,
one waits for the disk, and one is on its way there."""


def work(milliseconds: float) -> None:
    """Keep one core busy for so long."""
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


def numbered(count: int) -> list[tuple[Path, Path]]:
    return [(Path(str(i)), Path(str(i))) for i in range(count)]


def read(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    return np.full((2, 2, 3), int(path.name), np.uint16), (1, 1)


def network(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0].astype(np.float32)


def write(target: Path, saliency: np.ndarray, own_size: tuple[int, int]) -> None:
    assert saliency.max() == int(target.name)


def run(jobs, read=read, network=network, write=write, workers=2, network_threads=1) -> tuple[list, StageRates]:
    """What the pipeline yields, and its stages' rates."""
    timer = StageTimer(workers, network_threads)
    done = list(make_maps(jobs, read, network, write, BATCH, timer))
    return done, timer.rates(len(done), sum(problem is None for _, problem in done))


@pytest.mark.parametrize("slow", ["reading", "network", "writing"])
def test_order_is_kept_and_few_images_are_there_at_a_time(slow):
    """A slow network must not let decoded images pile up, nor a slow disk maps; one bad image costs only itself."""
    lock, alive, most, sizes = threading.Lock(), 0, 0, []

    def change(by: int) -> None:
        nonlocal alive, most
        with lock:
            alive += by
            most = max(most, alive)

    def counted_read(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        if path.name == "17":
            raise ValueError("17 cannot be read")
        change(+1)
        time.sleep(0.002 * (slow == "reading"))
        return read(path)

    def counted_network(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        time.sleep(0.004 * (slow == "network"))
        return network(pixels)

    def counted_write(target: Path, saliency: np.ndarray, own_size: tuple[int, int]) -> None:
        write(target, saliency, own_size)
        time.sleep(0.002 * (slow == "writing"))
        change(-1)

    done, _ = run(numbered(100), counted_read, counted_network, counted_write)
    assert done == [(Path(str(i)), "17 cannot be read" if i == 17 else None) for i in range(100)]
    assert max(sizes) == BATCH
    assert alive == 0
    assert most <= AT_ONCE


def test_jobs_are_taken_as_they_are_needed():
    """However many there are."""
    taken = 0

    def endless() -> Iterator[tuple[Path, Path]]:
        nonlocal taken
        while True:
            taken += 1
            yield Path(str(taken % 1000)), Path(str(taken % 1000))

    results = make_maps(endless(), read, network, write, BATCH, StageTimer(2, 1))
    for given in range(1, 2001):
        next(results)
        assert taken - given <= AT_ONCE
    results.close()
    assert taken <= 2000 + AT_ONCE


def test_what_is_wrong_with_a_map_is_said_with_its_image():
    def refuses(target: Path, saliency: np.ndarray, own_size: tuple[int, int]) -> None:
        if target.name == "3":
            raise ValueError("its saliency is not finite")

    done, _ = run(numbered(8), write=refuses)
    assert [problem for _, problem in done if problem] == ["3: its saliency is not finite"]


def full_disk(*_: object) -> None:
    raise OSError("no space left")


def no_memory(*_: object) -> None:
    raise ValueError("a batch of 4 does not fit")


@pytest.mark.parametrize(
    ("broken", "kind", "why"),
    [
        ({"write": full_disk}, OSError, "no space left"),
        ({"read": full_disk}, OSError, "no space left"),
        ({"network": no_memory}, ValueError, "does not fit"),
    ],
)
def test_what_no_other_image_would_survive_ends_the_run(broken, kind, why):
    taken = iter(numbered(1000))
    with pytest.raises(kind, match=why):
        run(taken, **broken)
    assert len(list(taken)) >= 1000 - AT_ONCE


def test_each_stage_has_the_rate_that_it_would_have_alone():
    """Waiting for other threads is no work, though all share the machine's cores."""

    def busy_read(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        work(1)
        return read(path)

    def busy_network(pixels: np.ndarray) -> np.ndarray:
        work(4 * len(pixels))
        return network(pixels)

    def busy_write(*_: object) -> None:
        work(2)

    _, rates = run(numbered(40), busy_read, busy_network, busy_write)
    assert 1000 < rates.reading <= 2000  # two threads, a millisecond each
    assert 150 < rates.network <= 250
    assert 700 < rates.writing <= 1000
    assert rates.bottleneck == "network"


def test_a_gpu_counts_by_the_time_of_its_calls():
    """They take none of the CPU's."""

    def far_away(pixels: np.ndarray) -> np.ndarray:
        time.sleep(0.002 * len(pixels))
        return network(pixels)

    _, rates = run(numbered(24), network=far_away, network_threads=None)
    assert 0 < rates.network <= 500


@pytest.mark.parametrize(
    ("rates", "bound"),
    [
        (StageRates(100, 10, 200, 0.1), "network"),
        (StageRates(100, 110, 120, 0.4), "reading"),
        (StageRates(100, 110, 90, 0.4), "writing"),
        (StageRates(100, 10, 200, 0.6), "reading"),
    ],
)
def test_the_bound_is_the_slowest_or_what_the_network_waits_for(rates, bound):
    assert rates.bottleneck == bound


def test_a_slow_disk_takes_no_cpu_time_and_is_the_bound_all_the_same():
    def far_away(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        time.sleep(0.01)
        return read(path)

    def busy_network(pixels: np.ndarray) -> np.ndarray:
        work(len(pixels) / 2)
        return network(pixels)

    _, rates = run(numbered(24), far_away, busy_network)
    assert rates.waited > 0.5
    assert rates.bottleneck == "reading"


def test_processes_that_share_the_work_do_the_sum():
    both = StageRates.total([StageRates(100, 10, 200, 0.1), StageRates(50, 20, 0, 0.3)])
    assert (both.reading, both.network, both.writing) == (150, 30, 200)
    assert both.waited == pytest.approx(0.2)
    assert str(both) == (
        "alone: reading 150, network 30, writing 200 images per second; bound by network; "
        "the network waited for images 20% of the time"
    )


def test_a_run_without_images_has_no_rates():
    done, rates = run([])
    assert done == []
    assert (rates.reading, rates.network, rates.writing) == (0, 0, 0)


def test_skipped_images_count_as_read_alone():
    def unreadable(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        work(1)
        raise ValueError("it cannot be read")

    done, rates = run(numbered(8), unreadable)
    assert len(done) == 8
    assert rates.reading > 0
    assert (rates.network, rates.writing) == (0, 0)


def test_readers_leave_cores_to_a_network_on_the_cpu_and_to_other_processes(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    for cores, on_cpu, on_gpu in ((1, 1, 1), (2, 1, 2), (16, 8, 16), (200, 16, 16)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert (worker_count(on_cpu=True), worker_count(on_cpu=False)) == (on_cpu, on_gpu)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert worker_count(on_cpu=False) == 16
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert (worker_count(on_cpu=True), worker_count(on_cpu=False)) == (1, 2)
