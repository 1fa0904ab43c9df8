"""The picture of images, masks, maps and overlays, by the real command."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from compute_results.gallery import CELL, choose, most_different, overlay


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


def _draw(root, folders, *more, maps="SRAL=maps"):
    command = [sys.executable, str(root / "compute_results" / "gallery.py"), "--images", "images", "--masks", "masks"]
    command += ["--maps", maps, "--output", "out/gallery.png", *more]
    return subprocess.run(command, cwd=folders, capture_output=True, text=True)


def test_command(root, folders):
    run = _draw(root, folders, "--rows", "2")
    assert run.returncode == 0, run.stderr
    two = Image.open(folders / "out" / "gallery.png")
    assert _draw(root, folders, "--stems", "b").returncode == 0
    one = Image.open(folders / "out" / "gallery.png")
    assert two.width == one.width
    assert two.height > one.height


@pytest.mark.parametrize(
    ("more", "maps", "says"),
    [
        (("--stems", "x"), "SRAL=maps", "for x"),
        (("--differ",), "SRAL=maps", "compares two methods"),
        ((), "SRAL", "write METHOD=DIR"),
        ((), "SRAL=nowhere", "nowhere"),
    ],
)
def test_bad_input_is_one_line(root, folders, more, maps, says):
    run = _draw(root, folders, *more, maps=maps)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert says in run.stderr
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
