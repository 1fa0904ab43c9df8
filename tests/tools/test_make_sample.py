"""The rendered set: its layout, its bytes, its statistics, an occupied folder, and the set in the repository."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.cache import Records
from datasets.catalog import SAMPLE_ROOT, find_pairs
from datasets.loader import MEAN
from tools.make_sample import make_sample_set
from tools.scenery.kinds import KINDS, kind_at, nothing
from tools.scenery.scene import Scene, render_scene

TRAIN, TEST = 22, 11


@pytest.fixture(scope="module")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample_set(tmp_path_factory.mktemp("data") / "sample", TRAIN, TEST, seed=3)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_layout_is_orssds(sample_root: Path) -> None:
    folders = {path.name for path in sample_root.iterdir() if path.is_dir()}
    assert folders == {"train-images", "train-labels", "test-images", "test-labels"}
    train, test = (find_pairs("sample", sample_root, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (TRAIN, TEST)
    stems = [pair.stem for pair in train + test]
    assert len(set(stems)) == TRAIN + TEST
    assert all(len(stem) == 4 and stem.isdigit() for stem in stems)
    assert {path.suffix for path in (sample_root / "train-images").iterdir()} == {".jpg"}


def test_masks_are_binary_and_of_their_images_size(sample_root: Path) -> None:
    for pair in find_pairs("sample", sample_root, "train") + find_pairs("sample", sample_root, "test"):
        image, mask = Image.open(pair.image), Image.open(pair.mask)
        assert (image.mode, mask.mode) == ("RGB", "L")
        assert image.size == mask.size
        assert all(300 <= side <= 600 for side in image.size)
        assert set(np.unique(mask)) <= {0, 255}


def test_statistics_are_near_the_real_ones(sample_root: Path) -> None:
    records = Records(find_pairs("sample", sample_root, "train"), size=64).gather(range(TRAIN))
    rgb, mask = records["rgb"].numpy() / 255, records["fine"][..., 3].numpy() / 255
    assert abs(rgb.mean((0, 1, 2)) - MEAN).max() < 0.08
    assert 0.06 < rgb.std((1, 2)).mean() < 0.13
    foreground = mask.mean((1, 2))
    assert 0.02 < np.median(foreground) < 0.10
    assert foreground.max() < 0.6
    assert (foreground == 0).any()


def test_bytes_do_not_depend_on_workers_nor_counts(sample_root: Path, tmp_path: Path) -> None:
    whole = digests(sample_root)
    again = digests(make_sample_set(tmp_path / "again", 3, 2, seed=3, workers=1))
    for index in range(1, 4):
        for name in (f"train-images/{index:04d}.jpg", f"train-labels/{index:04d}.png"):
            assert again[name] == whole[name]
    assert again["test-images/0004.jpg"] == whole[f"test-images/{TRAIN + 1:04d}.jpg"]
    assert digests(make_sample_set(tmp_path / "more", 3, 2, seed=3, workers=2)) == again
    other = digests(make_sample_set(tmp_path / "other", 3, 2, seed=4, workers=1))
    assert not set(other.values()) & set(again.values())


def test_what_is_there_is_kept_or_refused(sample_root: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sample_root.rglob("*")}
    assert make_sample_set(sample_root, TRAIN, TEST, seed=3) == sample_root
    assert {path: path.stat().st_mtime_ns for path in sample_root.rglob("*")} == before
    with pytest.raises(ValueError, match="holds another sample set"):
        make_sample_set(sample_root, TRAIN, TEST, seed=4)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="already holds something else"):
        make_sample_set(tmp_path / "mine", 2, 1)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    small = make_sample_set(tmp_path / "small", 2, 1, workers=1)
    (small / "train-labels" / "0002.png").unlink()
    with pytest.raises(ValueError, match=r"1 of its files are gone, the first .*0002\.png"):
        make_sample_set(small, 2, 1)
    with pytest.raises(ValueError, match="counts from 1"):
        make_sample_set(tmp_path / "none", 0, 1)


def test_the_repositorys_set_is_complete_and_small() -> None:
    assert make_sample_set(SAMPLE_ROOT, 44, 16) == SAMPLE_ROOT  # its marker says these arguments, and no file is gone
    assert sum(path.stat().st_size for path in SAMPLE_ROOT.rglob("*")) < 3_000_000


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("tools.make_sample.render_scene", fail)
    with pytest.raises(OSError, match="disk full"):
        make_sample_set(tmp_path / "sample", 2, 1, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_kinds_come_in_their_parts() -> None:
    drawn = [kind_at(part) for part in np.arange(0, 1, 0.001)]
    total = sum(weight for _, weight in KINDS)
    for kind, weight in KINDS:
        assert abs(drawn.count(kind) / 1000 - weight / total) < 0.002


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=lambda kind: kind.__name__)
def test_each_kind_has_what_it_is_named_for(kind: Callable[[Scene], None]) -> None:
    for number in range(2):
        image, mask = render_scene(np.random.default_rng((1, number)), kind)
        pixels, salient = np.asarray(image, np.float32), np.asarray(mask) > 0
        assert pixels.std() > 5
        if kind is nothing:
            assert not salient.any()
        else:
            assert 0.0005 < salient.mean() < 0.7


def test_command(root: Path, tmp_path: Path) -> None:
    options = ["--train", "2", "--test", "1", "--seed", "5"]
    command = [sys.executable, "-m", "tools.make_sample", str(tmp_path / "s"), *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "2 training and 1 test pairs" in done.stdout
    assert digests(tmp_path / "s") == digests(make_sample_set(tmp_path / "t", 2, 1, seed=5, workers=1))
    command[-1] = "6"
    refused = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
