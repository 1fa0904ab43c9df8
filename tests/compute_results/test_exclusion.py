"""`--exclude FILE`: named images are left out, and every output says so."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def run(root, tmp_path):
    for folder in ("masks", "maps"):
        (tmp_path / folder).mkdir()
        for index in range(4):
            pixels = np.random.default_rng(index).integers(0, 2, (16, 16), dtype=np.uint8) * 255
            Image.fromarray(pixels).save(tmp_path / folder / f"{index}.png")

    def call(text: str) -> subprocess.CompletedProcess:
        (tmp_path / "leaks.txt").write_text(text, encoding="utf-8")
        line = [sys.executable, root / "compute_results/compute_metrics.py", "--workers", "1", "--protocol", "authors"]
        line += ["--masks", "masks", "--maps", "A=maps", "--exclude", "leaks.txt", "--output", "out"]
        return subprocess.run(list(map(str, line)), cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return call


def test_every_output_says_what_is_excluded(run, tmp_path):
    done = run("# leaks\n0\n\n2\n")
    assert done.returncode == 0, done.stderr
    note = "masks: 2 images excluded (0, 2)."
    for text in (done.stdout, *((tmp_path / "out" / f"scores.{end}").read_text() for end in ("md", "tex"))):
        assert note in text.replace("\\", "")
    stored = json.loads((tmp_path / "out/scores.json").read_text())
    assert stored["excluded"] == {"masks": ["0", "2"]}
    assert (stored["results"][0]["images"], stored["results"][0]["excluded"]) == (2, 2)
    assert len((tmp_path / "out/per_image.csv").read_text().splitlines()) == 3


def test_an_unknown_stem_is_an_error_in_one_line(run):
    done = run("0\nnone\n")
    assert done.returncode == 1
    assert "names none, but no mask has that stem" in done.stderr
    assert len(done.stderr.splitlines()) == 1
