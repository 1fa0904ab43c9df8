"""python -m datasets.check: a set with one error of every kind, and every set that can only be half read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import check
from datasets.catalog import find_pairs
from datasets.check import check_dataset, check_folders
from datasets.report import Report, as_json, as_text

SIZE = (40, 30)


def picture(path: Path, seed: int, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.random.default_rng(seed).integers(40, 215, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(rows).save(path)
    return path


def mask(path: Path, size: tuple[int, int] = SIZE, outside: int = 0, inside: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0]), outside, dtype=np.uint8)
    pixels[5:15, 10:20] = inside
    Image.fromarray(pixels).save(path)
    return path


def pair(root: Path, split: str, stem: str, seed: int, size: tuple[int, int] = SIZE) -> tuple[Path, Path]:
    image = picture(root / f"{split}-images" / f"{stem}.jpg", seed, size)
    return image, mask(root / f"{split}-labels" / f"{stem}.png", size)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """ORSSD's layout; each stem says what is wrong with it."""
    root = tmp_path / "ORSSD"
    names = ("good", "cut", "empty", "turned", "swapped", "full", "gray", "blank", "same1", "same2", "no_mask",
             "no_image", "twice", "unsized")  # fmt: skip
    files = {name: pair(root, "train", name, seed) for seed, name in enumerate(names)}
    files["cut"][0].write_bytes(files["cut"][0].read_bytes()[:-300])
    files["empty"][1].write_bytes(b"")
    mask(files["turned"][1], SIZE[::-1])
    mask(files["unsized"][1], (41, 30))
    image, its_mask = (path.read_bytes() for path in files["swapped"])
    files["swapped"][0].write_bytes(its_mask)
    files["swapped"][1].write_bytes(image)
    mask(files["full"][1], outside=255)
    mask(files["gray"][1], inside=254)
    mask(files["blank"][1], inside=0)
    files["same2"][0].write_bytes(files["same1"][0].read_bytes())
    files["no_mask"][1].unlink()
    files["no_image"][0].unlink()
    picture(root / "train-images" / "twice.png", 50)
    pair(root, "test", "good", 60, (50, 20))
    pair(root, "test", "leak", 61)[0].write_bytes(files["good"][0].read_bytes())
    return root


def findings(report: Report, part: str) -> dict[str, tuple[str, ...]]:
    return {finding.what: finding.names for finding in report.parts[part].findings}


def refused(report: Report, part: str, says: str) -> bool:
    """Whether the catalog stops at this, and the report says so and counts it."""
    refusal = report.parts[part].refusal
    return refusal is not None and says in refusal and refusal in as_text(report) and report.count(is_error=True) > 0


def test_the_command_reports_everything_at_once(root: Path, broken: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "datasets.check", "--dataset", "orssd", "--root", str(broken)]
    run = subprocess.run([*command, "--json", str(tmp_path / "r.json")], cwd=root, capture_output=True, text=True)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "datasets.pairs" in run.stderr
    assert "torch" not in run.stderr  # it starts at once
    report = json.loads((tmp_path / "r.json").read_text())
    train, test = report["parts"]["train"], report["parts"]["test"]
    assert (train["pairs"], train["published"], test["pairs"], test["published"]) == (12, 600, 2, 200)
    assert (train["widths"], train["heights"], test["widths"], test["heights"]) == (
        [40, 40],
        [30, 30],
        [40, 50],
        [20, 30],
    )
    stems = {
        (finding["is_error"], finding["what"]): [name.replace(str(broken), "") for name in finding["names"]]
        for finding in train["findings"]
    }
    unreadable = stems.pop((True, "files that cannot be read"))
    assert unreadable[0].startswith("/train-images/cut.jpg cannot be read: image file is truncated")
    assert unreadable[1:] == ["/train-labels/empty.png is empty, it has zero bytes"]
    turned = ": width and height are swapped, one of the two is turned"
    assert stems.pop((True, "image and mask of different sizes")) == [
        f"/train-images/turned.jpg has 40×30 pixels, its mask /train-labels/turned.png 30×40{turned}",
        "/train-images/unsized.jpg has 40×30 pixels, its mask /train-labels/unsized.png 41×30",
    ]
    (swapped,) = stems.pop((True, "files that are no masks"))
    assert swapped.startswith("/train-labels/swapped.png is no mask: 100% of its pixels are neither black nor white")
    assert stems == {
        (True, "images without a mask"): ["no_mask"],
        (True, "masks without an image"): ["no_image"],
        (True, "two images of one stem"): ["/train-images/twice.jpg and /train-images/twice.png"],
        (False, "12 pairs, not the 600 published"): [],
        (False, "masks hold values between 0 and 255"): ["gray"],
        (False, "masks are all 255"): ["full"],
        (False, "masks are empty"): ["blank"],
        (False, "byte-identical images"): ["same1 = same2"],
    }
    assert report["shared"] == [
        {"what": "byte-identical images", "names": ["train good = test leak"], "is_error": False}
    ]
    assert (report["errors"], report["warnings"]) == (8, 7)
    assert "two files are called twice" in train["refusal"]
    assert test["refusal"] is None
    for finding in train["findings"] + report["shared"]:
        assert finding["what"] in run.stdout
        assert all(name in run.stdout for name in finding["names"])
    assert "errors: 8, warnings: 7" in run.stdout
    assert "- image sizes: 40–50 × 20–30 pixels" in run.stdout


def run_main(monkeypatch: pytest.MonkeyPatch, *options: str) -> str | int | None:
    monkeypatch.setattr(sys, "argv", ["datasets.check", *options])
    with pytest.raises(SystemExit) as stop:
        check.main()
    return stop.value.code


def test_warnings_alone_are_no_failure(tmp_path: Path, monkeypatch, capsys) -> None:
    root = tmp_path / "EORSSD"
    pair(root, "train", "a", 1)
    mask(pair(root, "train", "b", 2)[1], inside=0)
    assert run_main(monkeypatch, "--dataset", "EORSSD", "--root", str(root)) == 0
    text = capsys.readouterr().out
    assert "errors: 0, warnings: 2" in text
    assert "- masks are empty (1): b" in text
    assert "## test: missing" in text
    find_pairs("sample", root, "train")  # as training would


def test_what_cannot_be_checked_is_one_line(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "notes.md").touch()
    for options, says in (
        (("--dataset", "DUTS", "--root", str(tmp_path)), "error: unknown data set 'DUTS'"),
        (("--dataset", "ORSSD", "--root", str(tmp_path)), "error: ORSSD train: no known layout"),
        (("--dataset", "ORSSD", "--root", str(tmp_path / "no")), "error: ORSSD: the folder"),
    ):
        code = run_main(monkeypatch, *options)
        assert str(code).startswith(says)
        assert "\n" not in str(code)
    assert run_main(monkeypatch, "--dataset", "ORSSD") == 2
    assert run_main(monkeypatch, "--dataset", "folders", "--images", str(tmp_path)) == 2
    assert run_main(monkeypatch, "--images", str(tmp_path)) == 2
    assert run_main(monkeypatch, "--dataset", "ORSSD", "--images", str(tmp_path), "--masks", str(tmp_path)) == 2
    pair(tmp_path, "train", "a", 1)
    options = ("--dataset", "sample", "--root", str(tmp_path), "--json", str(tmp_path / "notes.md" / "report.json"))
    assert str(run_main(monkeypatch, *options)).startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.md", "train-images", "train-labels"]


def authors_layout(root: Path, stems: str) -> Path:
    for seed, stem in enumerate(stems):
        picture(root / "images" / f"{stem}.jpg", seed)
        mask(root / "labels" / f"{stem}.png")
    return root


def test_lists_of_stems(tmp_path: Path) -> None:
    root = authors_layout(tmp_path, "abcde")
    (root / "train.txt").write_text("a\nb\nx\ny\nb\nc.jpg\nd\n")
    (root / "test.txt").write_text("\ufeffd\r\ne\r\n", encoding="utf-8")
    (root / "labels" / "a.png").unlink()
    report = check_dataset("RSSOD", root)
    assert findings(report, "train") == {
        "images without a mask": ("a",),
        "neither image nor mask, though in train.txt": ("x", "y"),
        "more than once in train.txt": ("b",),
    }
    assert findings(report, "test") == {}
    assert [finding.names for finding in report.shared] == [("train d = test d",)]
    (root / "train.txt").write_bytes("é".encode("latin-1"))
    report = check_dataset("RSSOD", root)
    assert report.parts["train"].pairs == 0
    assert refused(report, "train", "train.txt is not a UTF-8 text file")
    assert report.count(is_error=True) == 1


def test_a_split_that_the_catalog_refuses_whole_leaves_the_other(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", 1)
    picture(tmp_path / "test-images" / "b.jpg", 2)
    report = check_dataset("sample", tmp_path)
    assert findings(report, "train") == {}
    assert refused(report, "test", "masks' folder test-labels/ is not")
    assert report.count(is_error=True) == 1
    authors_layout(tmp_path, "q")
    (tmp_path / "train.txt").write_text("q\n")
    picture(tmp_path / "train-images" / "alone.jpg", 3)  # does not hide it
    assert refused(check_dataset("sample", tmp_path), "train", "holds more than one layout")


def test_two_folders(broken: Path, tmp_path: Path, monkeypatch) -> None:
    images, masks = broken / "train-images", broken / "train-labels"
    in_set, in_folders = check_dataset("ORSSD", broken), check_folders(images, masks)
    expected = findings(in_set, "train")
    del expected["12 pairs, not the 600 published"]
    assert findings(in_folders, "folders") == expected
    options = ("--images", str(broken / "test-images"), "--masks", str(broken / "test-labels"))
    assert run_main(monkeypatch, *options) == 0
    for other in (images, tmp_path / "no"):  # the same folder, and none
        assert refused(check_folders(images, other), "folders", str(other))


def test_a_pipe_does_not_hold_it_up(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", 1)[0].unlink()
    os.mkfifo(tmp_path / "train-images" / "a.jpg")
    assert "a.jpg is a pipe, no regular file" in as_text(check_dataset("sample", tmp_path))


def test_a_name_with_a_line_break_keeps_its_line(tmp_path: Path) -> None:
    mask(pair(tmp_path, "train", "two\nlines\u202e", 1)[1], inside=0)
    report = check_dataset("sample", tmp_path)
    assert "(1): two\\nlines\\u202e\n" in as_text(report)
    assert "two\nlines\u202e" in json.loads(as_json(report))["parts"]["train"]["findings"][0]["names"]


def test_long_lists_are_cut_short_in_the_text_alone(tmp_path: Path) -> None:
    for number in range(30):
        mask(pair(tmp_path, "train", f"{number:02}", number)[1], inside=0)
    report = check_dataset("sample", tmp_path)
    assert "(30): " + ", ".join(f"{number:02}" for number in range(20)) + ", and 10 more\n" in as_text(report)
    assert len(json.loads(as_json(report))["parts"]["train"]["findings"][0]["names"]) == 30


def test_the_real_sets_known_twins(shared: Path) -> None:
    report = check_dataset("ORSSD", shared / "data" / "ORSSD")
    assert (report.parts["train"].pairs, report.parts["test"].pairs) == (600, 200)
    assert report.count(is_error=True) == 0
    assert len(findings(report, "train")["masks are empty"]) == 22
    assert len(findings(report, "test")["masks are empty"]) == 4
    identical, near = report.shared
    assert identical.names == ("train 0003 = test 0005",)
    assert {name.partition(" (")[0] for name in near.names} == {
        "train 0009 ~ test 0014",
        "train 0055 ~ test 0054",
        "train 0011 ~ test 0008",
    }


def test_the_sample_set_of_the_repository_is_sound(monkeypatch, capsys) -> None:
    assert run_main(monkeypatch, "--dataset", "sample") == 0
    text = capsys.readouterr().out
    assert "errors: 0" in text
    assert "## train: 44 pairs" in text
    assert "## test: 16 pairs" in text
