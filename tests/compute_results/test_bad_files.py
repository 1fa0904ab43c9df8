"""One bad file never ends the scoring: it is named, the rest is scored, and no NaN reaches a table."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compute_results.protocols.field import score_image

Run = Callable[..., subprocess.CompletedProcess]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def score(root: Path, tmp_path: Path) -> Run:
    for number in range(4):
        mask = np.zeros((40, 50), np.uint8)
        mask[10 : 20 + number, 15:40] = 255
        save(tmp_path / "masks" / f"{number}.png", mask)
        save(tmp_path / "A" / f"{number}.png", mask // 2)

    def run(*more: str, output: str = "out") -> subprocess.CompletedProcess:
        command = [sys.executable, root / "compute_results/compute_metrics.py", "--masks", "masks", "--maps", "A=A"]
        command += ["--protocol", "authors", "--workers", "1", "--output", output, *more]
        return subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return run


@pytest.mark.parametrize("place", [np.s_[:, -1], np.s_[-1:, :], np.s_[-1:, -1:], np.s_[:1, :1], np.s_[:, :1]])
@pytest.mark.parametrize("shape", [(30, 40), (1, 40), (30, 1), (2, 2), (1, 1)])
def test_objects_at_the_border_have_finite_figures(place, shape):
    mask = np.zeros(shape, np.uint8)
    mask[place] = 255
    for saliency in (mask, mask // 2, np.zeros_like(mask), 255 - mask):
        figures = score_image(saliency, mask).figures
        assert np.isfinite(list(figures.values())).all(), figures


def test_an_unreadable_map_and_mask_are_named_and_the_rest_is_scored(score, tmp_path):
    (tmp_path / "A" / "1.png").write_bytes(b"no image")
    (tmp_path / "masks" / "2.png").write_bytes(b"")
    done = score()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "A/1.png cannot be read" in done.stderr
    assert "masks/2.png is empty" in done.stderr
    (result,) = json.loads((tmp_path / "out" / "scores.json").read_text())["results"]
    assert result["images"] == 2
    assert "2 of 4 maps are not scored (1, 2)" in (tmp_path / "out" / "scores.md").read_text()


def test_maps_of_zeros_and_ones_and_shallow_16_bit_maps_have_one_scale(score, tmp_path):
    expected = None
    for scale, kind, note in ((255, np.uint8, ""), (1, np.uint8, "no map exceeds 1"), (255, np.uint16, "255 is white")):
        for number in range(4):
            mask = np.asarray(Image.open(tmp_path / "masks" / f"{number}.png")) // 255
            save(tmp_path / "A" / f"{number}.png", (mask * (number != 3)).astype(kind) * kind(scale))
        done = score()
        assert done.returncode == 0, done.stderr
        (result,) = json.loads((tmp_path / "out" / "scores.json").read_text())["results"]
        expected = expected or result
        assert result == expected
        assert note in done.stdout


def test_masks_without_foreground_are_remarked_on(score, tmp_path):
    for number in range(4):
        save(tmp_path / "masks" / f"{number}.png", np.full((40, 50), 2, np.uint8))
    done = score()
    assert "masks: 4 masks hold values between 0 and 255" in done.stderr
    assert "masks: 4 masks are empty" in done.stderr


def test_turned_maps_and_inverted_masks_are_remarked_on(score, tmp_path):
    save(tmp_path / "A" / "1.png", np.zeros((50, 40), np.uint8))
    save(tmp_path / "A" / "2.png", np.zeros((25, 20), np.uint8))
    mask = np.asarray(Image.open(tmp_path / "masks" / "3.png"))
    save(tmp_path / "masks" / "3.png", 255 - mask)
    done = score()
    assert done.returncode == 0
    assert "A on masks: 1 map has its mask's width and height swapped, one of the two is turned (1)" in done.stderr
    assert "masks: 1 mask is foreground up to its border, as if black were the object (3)" in done.stderr


def test_the_output_is_tried_before_anything_is_scored(score, tmp_path):
    (tmp_path / "file").touch()
    done = score(output="file/scores")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "file is a file: give a folder" in done.stderr


def test_names_that_are_not_utf8_reach_every_table(score, tmp_path):
    for folder in ("masks", "A"):
        (tmp_path / folder / "0.png").rename(tmp_path / folder / "a\udcff$\\b$.png")
    done = score()
    assert done.returncode == 0, done.stderr
    assert r"a\udcff$\b$" in (tmp_path / "out" / "per_image.csv").read_text()
