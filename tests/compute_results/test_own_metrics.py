"""A metric of one's own: one registration in one file, and every table has it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compute_results.protocols import PROTOCOLS
from compute_results.protocols.own import metric, read_metric_files
from tests.helpers import ROOT

FILE = """
from compute_results.protocols.own import metric

@metric("IoU")
def iou(saliency, mask):
    found, there = saliency >= 128, mask >= 128
    either = (found | there).sum()
    return (found & there).sum() / either if either else 1.0

@metric("false_alarm", label="FA", lower_is_better=True, protocols=["field"])
def false_alarm(saliency, mask):
    return (saliency[mask < 128] >= 128).mean()
"""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on six images, scored by the real commands."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for index in range(6):
        mask = np.zeros((40, 50), np.uint8)
        mask[10 : 20 + index, 10:30] = 255
        for name, pixels in (
            ("masks", mask),
            ("images", rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)),
            ("first", np.roll(mask, 3, axis=1)),
            ("second", np.where(mask > 0, 200, rng.integers(0, 255, mask.shape)).astype(np.uint8)),
        ):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{index:04}.png")
    (folder / "own.py").write_text(FILE)
    common = ["--masks", "masks", "--maps", "first=first", "second=second", "--metric-file", "own.py", "--workers", "2"]
    for script, more in (
        ("compute_metrics", ["--protocol", "authors", "field", "--groups", "size", "--output", "scores"]),
        ("report", ["--images", "images", "--output", "report", "--picture-size", "64"]),
    ):
        command = [sys.executable, str(ROOT / "compute_results" / f"{script}.py"), *common, *more]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def test_every_table_has_it(scored):
    for protocol, names in (
        ("authors", ["Fbeta", "MAE", "Sm", "IoU"]),
        ("field", [*PROTOCOLS["field"].names, "IoU", "false_alarm"]),
    ):
        folder = scored / "scores" / protocol
        results = json.loads((folder / "scores.json").read_text())
        assert [name for name in results["results"][0] if name in names] == names
        for table in ("scores.csv", "per_image.csv", "groups.csv"):
            assert set(names) <= set(next(csv.reader((folder / table).open())))
        compared = [row["metric"] for row in csv.DictReader((folder / "significance.csv").open())]
        assert compared == names
        assert "IoU ↑" in (folder / "scores.md").read_text()
        assert r"$\mathrm{IoU}\,\uparrow$" in (folder / "scores.tex").read_text()
    assert "FA ↓" in (scored / "scores" / "field" / "scores.md").read_text()
    page, data = (
        (scored / "report" / "index.html").read_text(),
        next((scored / "report").rglob("data*.js")).read_text(),
    )
    assert page.count("IoU") >= 2
    assert '"label":"FA","lower":true' in data


def test_its_figure_is_the_average_over_images(scored):
    ratios = []
    for index in range(6):
        found, mask = (np.asarray(Image.open(scored / name / f"{index:04}.png")) >= 128 for name in ("second", "masks"))
        ratios.append(np.logical_and(found, mask).sum() / np.logical_or(found, mask).sum())
    results = json.loads((scored / "scores" / "field" / "scores.json").read_text())["results"]
    assert results[1]["IoU"] == pytest.approx(np.mean(ratios))
    rows = csv.DictReader((scored / "scores" / "field" / "per_image.csv").open())
    own = {row["stem"]: float(row["IoU"]) for row in rows if row["method"] == "second"}
    assert [own[f"{index:04}"] for index in range(6)] == pytest.approx(ratios)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("x = 1", "registers no metric"),
        (FILE.replace("IoU", "Sm"), "has one of this name; choose another"),
        (FILE.replace("IoU", "my metric"), "the name becomes a column"),
        (FILE.replace('"field"', '"fields"').replace("IoU", "IoU2"), "no protocol 'fields'"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path, monkeypatch, text, why):
    for name, protocol in PROTOCOLS.items():
        monkeypatch.setitem(PROTOCOLS, name, protocol)  # restored afterwards
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ValueError, match=rf"^--metric-file .*own.py.*{why}[^\n]*$"):
        read_metric_files([tmp_path / "own.py"])
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_metric_files([tmp_path / "none.py"])


def test_a_function_that_fails_names_map_and_metric(tmp_path, monkeypatch):
    from compute_results.matching import MapMask
    from compute_results.scoring import score

    for name, protocol in PROTOCOLS.items():
        monkeypatch.setitem(PROTOCOLS, name, protocol)
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "a.png")
    pair = MapMask("a", tmp_path / "a.png", tmp_path / "a.png")
    metric("none", protocols=["authors"])(lambda saliency, mask: float("nan"))
    with pytest.raises(ValueError, match=r"a.png has no number for none under protocol authors"):
        score([pair], "authors", workers=1)
    metric("fails", protocols=["authors"])(lambda saliency, mask: [][1])
    with pytest.raises(ValueError, match=r"a.png: metric fails: IndexError"):
        score([pair], "authors", workers=1)
