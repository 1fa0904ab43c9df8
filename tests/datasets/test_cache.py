"""The cache gives what decoding gives, notices every change, and is built once, whole or not at all."""

import multiprocessing
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import datasets.cache
from datasets.cache import VIEWS, Records, cache_bytes, open_cache
from datasets.catalog import Pair, pair_folders
from datasets.file_warnings import FileWarning

SIZE = (24, 32)
READ_RECORD = datasets.cache.read_record


def write_pair(root: Path, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((50, 60), np.uint8)
    mask[10 : 20 + seed, 5:40] = 255
    (root / "im").mkdir(exist_ok=True)
    (root / "gt").mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(root / "im" / f"{name}.jpg")
    Image.fromarray(mask).save(root / "gt" / f"{name}.png")


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    for number in range(6):
        write_pair(tmp_path, str(number), number)
    return pair_folders(tmp_path / "im", tmp_path / "gt")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stems that caches decoded."""
    stems = []
    monkeypatch.setattr(
        datasets.cache, "read_record", lambda pair, *a: stems.append(pair.stem) or READ_RECORD(pair, *a)
    )
    return stems


def decoded_directly(pairs: list[Pair]) -> dict[str, torch.Tensor]:
    """All records without a cache, which `decoded` does not count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.cache, "read_record", READ_RECORD)
        return Records(pairs, SIZE).gather(range(len(pairs)))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[view], other[view]) for view in VIEWS)


@pytest.mark.parametrize("detail", [1.0, 2**0.5])
def test_cached_is_decoded_bit_for_bit(pairs: list[Pair], tmp_path: Path, detail: float) -> None:
    cached = open_cache(pairs, SIZE, detail, tmp_path / "cache", "set")
    assert same(cached.gather([4, 0, 4]), Records(pairs, SIZE, detail).gather([4, 0, 4]))
    assert cached.path.stat().st_size == pytest.approx(cache_bytes(6, SIZE, detail), abs=1000)
    assert same(pickle.loads(pickle.dumps(cached)).gather([2]), cached.gather([2]))
    assert len(pickle.dumps(cached)) < 5000  # a worker that is started anew maps the file, and is not sent it


def test_only_what_changed_is_decoded_again(pairs: list[Pair], tmp_path: Path, decoded: list[str]) -> None:
    folder = tmp_path / "cache"
    first = open_cache(pairs, SIZE, 1.0, folder, "set")
    assert sorted(decoded) == list("012345")
    decoded.clear()
    open_cache(pairs, SIZE, 1.0, folder, "set")
    assert decoded == []
    before = first.gather(range(6))
    write_pair(tmp_path, "3", 9)
    second = open_cache(pairs, SIZE, 1.0, folder, "set")
    assert decoded == ["3"]
    assert same(second.gather(range(6)), decoded_directly(pairs))
    assert same(first.gather(range(6)), before)  # a run that has the old file open keeps it
    os.utime(pairs[5].mask)
    open_cache(pairs, SIZE, 1.0, folder, "set")
    assert decoded == ["3", "5"]


def test_sizes_and_sets_have_their_own_files(pairs: list[Pair], tmp_path: Path) -> None:
    opened = [
        open_cache(pairs, SIZE, 1.0, tmp_path, "set"),
        open_cache(pairs, (32, 32), 1.0, tmp_path, "set"),
        open_cache(pairs, SIZE, 1.5, tmp_path, "set"),
        open_cache(pairs[1:], SIZE, 1.0, tmp_path, "set"),
    ]
    assert len({cache.path for cache in opened}) == 4
    assert same(opened[0].gather([1]), opened[3].gather([0]))


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_is_built_anew(pairs: list[Pair], tmp_path: Path, decoded: list[str], damage: str) -> None:
    path = open_cache(pairs, SIZE, 1.0, tmp_path, "set").path
    decoded.clear()
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"not a cache", "empty": b""}[damage])
    assert same(open_cache(pairs, SIZE, 1.0, tmp_path, "set").gather(range(6)), decoded_directly(pairs))
    assert sorted(decoded) == list("012345")


def test_broken_pairs_are_all_named_and_nothing_is_left(pairs: list[Pair], tmp_path: Path) -> None:
    pairs[1].image.write_bytes(pairs[1].image.read_bytes()[:100])
    pairs[4].mask.unlink()
    with pytest.raises(
        ValueError, match=r"set: 2 of 6 pairs cannot be used: 1: .*1\.jpg.*; 4: .*4\.png is not there"
    ) as error:
        open_cache(pairs, SIZE, 1.0, tmp_path / "cache", "set")
    assert "python -m datasets.check" in str(error.value)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_mask_warnings_are_kept(pairs: list[Pair], tmp_path: Path) -> None:
    Image.new("L", (60, 50)).save(pairs[0].mask)
    Image.new("L", (60, 50), 255).save(pairs[2].mask)
    for _ in range(2):
        found = open_cache(pairs, SIZE, 1.0, tmp_path / "cache", "set").warnings()
        assert found == [("0", FileWarning.EMPTY), ("2", FileWarning.FULL)]


def test_without_a_cache_errors_and_warnings_are_known_before_the_first_batch(pairs: list[Pair]) -> None:
    Image.new("L", (60, 50), 255).save(pairs[2].mask)
    records = Records(pairs, SIZE, 1.0, "set")
    records.inspect()
    assert records.warnings() == [("2", FileWarning.FULL)]
    pairs[1].image.write_bytes(pairs[1].image.read_bytes()[:100])
    pairs[4].mask.unlink()
    with pytest.raises(ValueError, match=r"set: 2 of 6 pairs cannot be used: 1: .*1\.jpg.*; 4: .*4\.png is not there"):
        records.inspect()


def build_and_report(pairs: list[Pair], folder: Path, queue: multiprocessing.Queue) -> None:
    decoded = []
    datasets.cache.read_record = lambda pair, *a: decoded.append(pair.stem) or READ_RECORD(pair, *a)
    digest = open_cache(pairs, SIZE, 1.0, folder, "set").gather(range(6))["fine"].sum().item()
    queue.put((len(decoded), digest))


def test_of_four_that_need_it_at_once_one_builds(pairs: list[Pair], tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=build_and_report, args=(pairs, tmp_path / "cache", queue)) for _ in range(4)]
    for process in processes:
        process.start()
    reports = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(count for count, _ in reports) == [0, 0, 0, 6]
    assert len({digest for _, digest in reports}) == 1


def test_a_full_disk_is_an_error_and_leaves_nothing(pairs: list[Pair], tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # Python ignores SIGXFSZ: writing fails instead
    try:
        with pytest.raises(OSError, match="too large"):
            open_cache(pairs, SIZE, 1.0, tmp_path / "cache", "set")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
