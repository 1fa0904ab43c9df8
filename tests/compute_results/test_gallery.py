"""The picture of images, masks, maps and overlays, by the real command."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from compute_results.gallery import CELL, by_quality, choose, main, most_different, overlay


@pytest.fixture
def folders(tmp_path):
    """Three images, masks and maps."""
    for folder in ("images", "masks", "maps"):
        (tmp_path / folder).mkdir()
    for stem in "abc":
        Image.new("RGB", (40, 30), (90, 90, 90)).save(tmp_path / "images" / f"{stem}.jpg")
        Image.new("L", (40, 30), 255).save(tmp_path / "masks" / f"{stem}.png")
        Image.new("L", (64, 64), 128).save(tmp_path / "maps" / f"{stem}_SRAL.png")
    return tmp_path


OPTIONS = ["--images", "images", "--masks", "masks", "--output", "out/gallery.png", "--maps"]


def _main(monkeypatch, *more, maps="SRAL=maps"):
    monkeypatch.setattr(sys, "argv", ["gallery.py", *OPTIONS, maps, *more])
    main()


def test_command(root, folders, monkeypatch):
    command = [sys.executable, str(root / "compute_results" / "gallery.py"), *OPTIONS, "SRAL=maps", "--num-images", "2"]
    run = subprocess.run(command, cwd=folders, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    two = Image.open(folders / "out" / "gallery.png")
    monkeypatch.chdir(folders)
    _main(monkeypatch, "--stems", "b")
    one = Image.open(folders / "out" / "gallery.png")
    assert two.width == one.width
    assert two.height > one.height


@pytest.mark.parametrize(
    ("more", "maps", "says"),
    [
        (("--stems", "x"), "SRAL=maps", "for x"),
        (("--show", "differ"), "SRAL=maps", "compares two methods"),
        (("--rows", "2"), "SRAL=maps", "--rows: this option is now called --num-images"),
        (("--num-images", "0"), "SRAL=maps", "--num-images 0"),
        (("--show", "worst", "--stems", "b"), "SRAL=maps", "give it, or --stems"),
        ((), "SRAL", "write METHOD=DIR"),
        ((), "SRAL=nowhere", "nowhere"),
    ],
)
def test_bad_input_is_one_line(folders, more, maps, says, monkeypatch):
    monkeypatch.chdir(folders)
    with pytest.raises(SystemExit) as stopped:
        _main(monkeypatch, *more, maps=maps)
    assert len(str(stopped.value).splitlines()) == 1
    assert says in str(stopped.value)
    assert not (folders / "out").exists()


def test_overlay_is_red_where_salient_and_green_at_the_border():
    mask = np.zeros((CELL, CELL), dtype=np.uint8)
    mask[:, : CELL // 2] = 255
    pixels = overlay(Image.new("RGB", (10, 10), (90, 90, 90)), mask, mask)
    assert tuple(pixels[50, -10]) == (90, 90, 90)
    assert pixels[50, 10, 0] > 150 > 90 > pixels[50, 10, 1]
    assert tuple(pixels[50, CELL // 2]) == (60, 230, 60)


def test_rows_are_spread_over_all_images():
    assert choose(list("abcdefghi"), 3) == ["a", "e", "i"]
    assert choose(["a"], 8) == ["a"]
    assert choose(["a", "b"], 1) == ["a"]


def test_the_images_on_which_two_methods_differ_most(tmp_path):
    maps = {}
    for stem, (ours, theirs) in {"a": (10, 12), "b": (200, 90), "c": (0, 60), "d": (5, 5)}.items():
        Image.new("L", (64, 64), ours).save(tmp_path / f"{stem}_ours.png")
        Image.new("L", (32, 48), theirs).save(tmp_path / f"{stem}_theirs.png")
        maps[stem] = (tmp_path / f"{stem}_ours.png", tmp_path / f"{stem}_theirs.png")
    assert most_different(maps, 3) == ["b", "c", "a"]


def test_the_best_and_the_worst(tmp_path, folders, monkeypatch, capsys):
    mask = np.zeros((448, 448), np.uint8)
    mask[100:260, 60:260] = 255
    files = {}
    maps = {"blind": 0 * mask, "perfect": mask, "wrong": 255 - mask, "beside": np.roll(mask, 40, axis=1)}
    for stem, gray in maps.items():
        for kind, pixels in (("map", gray), ("mask", mask)):
            Image.fromarray(pixels).save(tmp_path / f"{stem}_{kind}.png")
        files[stem] = (tmp_path / f"{stem}_map.png", tmp_path / f"{stem}_mask.png")
    best = by_quality(files, 4)
    assert best["perfect"] == pytest.approx(1)
    assert list(best)[-1] == "wrong"
    assert list(by_quality(files, 2, worst=True)) == list(best)[:1:-1]
    assert list(best.values()) == sorted(best.values(), reverse=True)
    monkeypatch.chdir(folders)
    _main(monkeypatch, "--show", "worst", "--num-images", "2")
    assert "out/gallery.png: 2 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("suffix", "begins"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("jpg", b"\xff\xd8"), ("tif", b"II*")]
)
def test_the_suffix_decides_the_format(folders, monkeypatch, suffix, begins):
    monkeypatch.chdir(folders)
    monkeypatch.setattr(sys, "argv", ["gallery.py", *OPTIONS, "SRAL=maps", "--output", f"g.{suffix}", "--dpi", "40"])
    main()
    assert (folders / f"g.{suffix}").read_bytes().startswith(begins)


def test_another_suffix_is_refused(folders, monkeypatch):
    monkeypatch.chdir(folders)
    monkeypatch.setattr(sys, "argv", ["gallery.py", *OPTIONS, "SRAL=maps", "--output", "g.txt"])
    with pytest.raises(SystemExit, match=r"^error: --output g.txt is no picture: its suffix must be .png, .pdf"):
        main()
