"""`compute_metrics.py` with several methods, both protocols, groups and excluded images, as it is called."""

import contextlib
import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from compute_results.compute_metrics import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve masks with maps of three methods: `sure` and `same` are alike, `rough` is worse on every image."""
    folder = tmp_path_factory.mktemp("comparison")
    for index in range(12):
        rng = np.random.default_rng(index)
        mask = np.zeros((40, 48), dtype=np.uint8)
        mask[8 : 12 + 2 * index, 10:30] = 255
        rough = np.clip(mask * 0.6 + rng.integers(0, 100, mask.shape), 0, 255).astype(np.uint8)
        for name, pixels in (("masks", mask), ("sure", mask), ("same", mask), ("rough", rough)):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    (folder / "kinds.csv").write_text("stem,kind\n" + "".join(f"{index},{'ab'[index % 2]}\n" for index in range(12)))
    (folder / "leaks.txt").write_text("3\n")
    return folder


class Done(NamedTuple):
    """What a run of the command printed, and how it ended."""

    stdout: str
    stderr: str
    error: str | None


def run(folder: Path, *more: str, maps: str = "sure=sure rough=rough same=same") -> Done:
    """Run the command in `folder`, in this process: its imports take longer than the scoring."""
    line = ["compute_metrics.py", "--workers", "1", "--masks", "masks", "--maps", *maps.split(), *more]
    shown, said, error = io.StringIO(), io.StringIO(), None
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(shown),
        contextlib.redirect_stderr(said),
    ):
        patch.setattr(sys, "argv", line)
        try:
            main()
        except SystemExit as stop:
            error = str(stop.code)
    return Done(shown.getvalue(), said.getvalue(), error)


@pytest.fixture(scope="module")
def both(folder) -> Done:
    done = run(
        folder,
        *("--protocol", "field", "authors", "--groups", "size", "kinds.csv", "--reference", "same"),
        *("--exclude", "leaks.txt", "--output", "both"),
    )
    assert done.error is None
    return done


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_both_protocols_are_printed_and_written_apart(folder, both):
    assert [path.name for path in sorted((folder / "both").iterdir())] == ["authors", "field"]
    assert re.findall(r"^Protocol: (\w+)", both.stdout, re.MULTILINE) == ["field", "authors"]
    assert len(both.stderr.splitlines()) == 1
    assert "masks: 33 maps of 3 methods in " in both.stderr
    for protocol in ("authors", "field"):
        stored = json.loads((folder / "both" / protocol / "scores.json").read_text())
        assert stored["protocol"] == protocol
        assert [record["method"] for record in stored["results"]] == ["sure", "rough", "same"]


def test_figures_are_those_of_a_protocol_alone_and_a_later_run_leaves_no_older_comparison(folder, both):
    assert run(folder, "--protocol", "authors", "--exclude", "leaks.txt", "--groups", "--output", "one").error is None
    alone, beside = (json.loads((folder / name / "scores.json").read_text()) for name in ("one", "both/authors"))
    assert beside["results"] == alone["results"]
    compared = ["groups", "significance"]
    assert sorted({path.stem for path in (folder / "one").iterdir()} & set(compared)) == compared
    done = run(folder, "--protocol", "authors", "--output", "one", maps="sure=sure")
    assert "Difference" not in done.stdout
    assert not {path.stem for path in (folder / "one").iterdir()} & set(compared)


@pytest.mark.parametrize("protocol", ["authors", "field"])
def test_methods_are_compared_with_the_reference(folder, both, protocol):
    found = rows(folder / "both" / protocol / "significance.csv")
    assert {line["reference"] for line in found} == {"same"}
    assert list(dict.fromkeys(line["method"] for line in found)) == ["sure", "rough"]
    for line in found:
        assert line["images"] == "11"
        if line["method"] == "sure":
            assert (float(line["difference"]), float(line["p"]), line["ties"]) == (0, 1, "11")
        elif line["metric"] == "MAE":
            assert float(line["low"]) > 0
            assert line["losses"] == "11"
    stored = json.loads((folder / "both" / protocol / "scores.json").read_text())["significance"]
    assert [(row["method"], row["metric"], row["p"]) for row in stored] == [
        (line["method"], line["metric"], float(line["p"])) for line in found
    ]
    assert f"Difference from same on masks. Protocol: {protocol}" in both.stdout


@pytest.mark.parametrize("protocol", ["authors", "field"])
def test_groups_are_printed_and_written(folder, both, protocol):
    found = rows(folder / "both" / protocol / "groups.csv")
    counts = {(line["grouping"], line["group"]): int(line["images"]) for line in found}
    assert counts == {
        ("size", "1–5 %"): 1, ("size", "5–20 %"): 6, ("size", "> 20 %"): 4, ("kind", "a"): 6, ("kind", "b"): 5
    }  # fmt: skip
    assert {line["few"] for line in found} == {"True"}
    images = rows(folder / "both" / protocol / "per_image.csv")
    chosen = [float(i["MAE"]) for i in images if i["method"] == "rough" and int(i["stem"]) % 2]
    mean = next(float(line["MAE"]) for line in found if (line["group"], line["method"]) == ("b", "rough"))
    assert mean == pytest.approx(np.mean(chosen), abs=1e-12)
    assert f"By kind on masks. Protocol: {protocol}" in both.stdout
    assert re.search(r"^b +sure +5† ", both.stdout, re.MULTILINE)


def test_every_output_says_what_is_excluded(folder, both):
    note = "masks: 1 image excluded (3)."
    assert both.stdout.count(note) == 6  # scores, comparisons and groups of two protocols
    for path in (folder / "both").rglob("*"):
        if path.suffix in (".md", ".tex"):
            assert note in path.read_text().replace("\\", ""), path
        elif path.suffix == ".csv":
            assert {line["excluded"] for line in rows(path)} == {"1"}, path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--reference best", "--reference best: no method has that name, choose from sure, rough, same"),
        ("--groups none.csv", "none.csv"),
        ("--groups leaks.txt", "--groups leaks.txt has 3 in its first line: it needs stem"),
    ],
)
def test_bad_arguments_are_one_line(folder, arguments, message):
    done = run(folder, "--protocol", "authors", "--output", "bad", *arguments.split())
    assert done.error is not None
    assert message in done.error
    assert "\n" not in done.error
    assert not (folder / "bad").exists()
