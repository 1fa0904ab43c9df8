"""tools.cut_windows: a set of windows and whole images that training reads."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.catalog import pair_folders
from datasets.split import split_validation
from tests.helpers import ROOT
from tools import cut_windows


def run(monkeypatch: pytest.MonkeyPatch, output: Path, *more: str) -> None:
    options = ["--dataset", "sample", "--root", str(ROOT / "datasets" / "sample"), "--output", str(output)]
    small = ["--num-windows", "24", "--sides", "64", "200", "--size", "64", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["cut_windows", *options, *small, *more])
    cut_windows.main()


def masks(folder: Path, pattern: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted((folder / "masks").glob(pattern))]


def test_windows_with_and_without_objects_and_whole_images(monkeypatch, tmp_path) -> None:
    run(monkeypatch, tmp_path / "a", "--empty", "0.5", "--exclude", "0001")
    pairs = pair_folders(tmp_path / "a" / "images", tmp_path / "a" / "masks")
    windows, whole = masks(tmp_path / "a", "window_*"), masks(tmp_path / "a", "whole_*")
    assert len(pairs) == len(windows) + len(whole)
    assert len(windows) == 24
    assert {mask.shape for mask in windows + whole} == {(64, 64)}
    empty = sum((mask < 128).all() for mask in windows)
    assert 5 <= empty <= 19
    names = {pair.stem.removeprefix("whole_") for pair in pairs if pair.stem.startswith("whole_")}
    sample = ROOT / "datasets" / "sample"
    held_back = split_validation(pair_folders(sample / "train-images", sample / "train-labels"), 0.1, 2021)[1]
    assert not names & {pair.stem for pair in held_back}  # train.py's validation part stays unseen
    assert "0001" not in names


def test_the_same_seed_gives_the_same_windows(monkeypatch, tmp_path) -> None:
    for name in ("a", "b"):
        run(monkeypatch, tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.png"))
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_a_folder_that_is_there_is_refused(monkeypatch, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path)
    assert "is there already" in capsys.readouterr().err


def test_pairs_that_cannot_be_used_are_named_and_left_out(monkeypatch, tmp_path, capsys) -> None:
    shutil.copytree(ROOT / "datasets" / "sample", tmp_path / "set")
    bad = sorted((tmp_path / "set" / "train-images").iterdir())[:4]
    for path in bad:
        path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(SystemExit, match="the set is made of the others"):
        run(monkeypatch, tmp_path / "a", "--root", str(tmp_path / "set"), "--validation", "0")
    said = capsys.readouterr().err
    assert all(f"left out: {path} cannot be read" in said for path in bad)
    assert len(masks(tmp_path / "a", "window_*")) == 24
    assert not any((tmp_path / "a" / "masks" / f"whole_{path.stem}.png").exists() for path in bad)
