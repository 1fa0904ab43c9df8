"""`compute_results/compute_metrics.py` as it is called: figures, files, and what it says of bad input."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compute_results import scoring
from compute_results.matching import find_masks, match_maps
from compute_results.protocols import PROTOCOLS
from compute_results.scoring import score
from compute_results.table_config import read_table_config
from tests.helpers import FIXTURES

FILES = {"scores.json", "scores.csv", "scores.md", "scores.tex", "per_image.csv", "curves.csv"}


@pytest.fixture
def command(root, tmp_path):
    """Run the command in an empty folder; returns the finished process."""

    def run(*arguments: object, cwd: Path = tmp_path, fails: bool = False) -> subprocess.CompletedProcess:
        script = root / "compute_results" / "compute_metrics.py"
        line = [sys.executable, str(script), "--workers", "2", *map(str, arguments)]
        done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=300)
        assert (done.returncode != 0) == fails, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def disc(cx: float, cy: float, radius: float, side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return (np.hypot(x - cx, y - cy) < radius).astype(np.uint8) * 255


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path) -> Path:
    """Three masks in ORSSD's layout, with maps of two methods: `good` is off by a pixel, `bad` by ten."""
    for index, (cx, cy, radius) in enumerate([(20, 30, 9), (40, 22, 14), (33, 50, 6)]):
        save(tmp_path / "set" / "test-images" / f"{index}.jpg", disc(cx, cy, radius))
        save(tmp_path / "set" / "test-labels" / f"{index}.png", disc(cx, cy, radius))
        save(tmp_path / "good" / f"{index}.png", disc(cx + 1, cy, radius))
        save(tmp_path / "bad" / f"{index}_bad.png", disc(cx + 10, cy, radius))
    return tmp_path


def results(folder: Path) -> dict[tuple[str, str], dict]:
    content = json.loads((folder / "scores.json").read_text())
    return {(record["method"], record["dataset"]): record for record in content["results"]}


@pytest.mark.parametrize(("protocol", "methods"), [("authors", ["HFANet_R", "SDNet"]), ("field", ["HFANet_R"])])
def test_known_scores_of_published_maps(command, shared, tmp_path, protocol, methods):
    maps = [f"{method}={shared / 'maps' / f'{method}_ORSSD'}" for method in methods]
    source = ("--dataset", "ORSSD", "--root", shared / "data" / "ORSSD")
    shown = command(*source, "--maps", *maps, "--protocol", protocol, "--output", tmp_path / "out").stdout
    known = json.loads((FIXTURES / "scores.json").read_text())[f"protocol {protocol}"]
    found = results(tmp_path / "out")
    assert list(found) == [(method, "ORSSD") for method in methods]
    for (method, dataset), record in found.items():
        expected = known[f"{method} {dataset}"]
        assert record["images"] == 200
        assert {name: record[name] for name in expected} == pytest.approx(expected, rel=0, abs=5e-5)
    if protocol == "authors":
        assert "HFANet_R   0.9274 #1   0.0090 #1   0.9376 #1" in shown


@pytest.mark.parametrize("protocol", ["authors", "field"])
def test_everything_is_written_and_says_its_protocol(command, folders, protocol):
    shown = command(
        *("--masks", "set/test-labels", "--dataset", "Discs", "--maps", "good=good", "bad=bad"),
        *("--protocol", protocol, "--output", "new/out"),
    )
    out = folders / "new" / "out"
    drawn = {f"{kind}_Discs.{ending}" for kind in ("pr", "fbeta") for ending in ("png", "pdf")}
    compared = {"significance.csv", "significance.md", "significance.tex"}
    assert {path.name for path in out.iterdir()} == FILES | compared | drawn
    assert json.loads((out / "scores.json").read_text())["protocol"] == protocol
    for text in (shown.stdout, (out / "scores.md").read_text(), (out / "scores.tex").read_text()):
        assert f"Protocol: {protocol}" in text
        assert "good" in text
        assert "Discs" in text
    found = results(out)
    assert list(found) == [("good", "Discs"), ("bad", "Discs")]
    keys = {
        "authors": ["Fbeta", "MAE", "Sm"],
        "field": ["Sm", "maxF", "meanF", "adpF", "maxE", "meanE", "adpE", "wF", "MAE"],
    }[protocol]
    for record in found.values():
        assert list(record) == ["method", "dataset", "images", *keys]
        assert record["images"] == 3
    assert found["good", "Discs"]["Sm"] > found["bad", "Discs"]["Sm"]
    with (out / "scores.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert {line["protocol"] for line in table} == {protocol}
    assert [float(line["MAE"]) for line in table] == [record["MAE"] for record in found.values()]
    with (out / "per_image.csv").open() as lines:
        images = list(csv.DictReader(lines))
    assert [line["method"] for line in images] == ["good"] * 3 + ["bad"] * 3
    assert {line["stem"] for line in images[:3]} == {"0", "1", "2"}
    for method in ("good", "bad"):
        own = [line for line in images if line["method"] == method]
        worst_first = [float(line["Sm"]) for line in own]
        assert worst_first == sorted(worst_first)
        mean = np.mean([float(line["MAE"]) for line in own])
        assert mean == pytest.approx(found[method, "Discs"]["MAE"], rel=1e-12)
    with (out / "curves.csv").open() as lines:
        points = list(csv.DictReader(lines))
    highest = max(float(line["F"]) for line in points if line["method"] == "good")
    assert highest == pytest.approx(found["good", "Discs"]["Fbeta" if protocol == "authors" else "maxF"], abs=1e-7)
    with Image.open(out / "pr_Discs.png") as picture:
        assert min(picture.size) > 500
    assert (out / "fbeta_Discs.pdf").read_bytes().startswith(b"%PDF")


def test_a_dataset_by_name_into_the_default_folder(command, folders):
    shown = command("--dataset", "ORSSD", "--root", "set", "--maps", "good=good", "--protocol", "authors")
    assert "200 expected" in shown.stderr
    assert "runs/scores_authors" in shown.stdout
    assert results(folders / "runs" / "scores_authors")["good", "ORSSD"]["images"] == 3


def test_a_yaml_names_a_whole_table(command, folders, tmp_path_factory):
    save(folders / "tables" / "maps" / "third" / "0.png", disc(20, 30, 9))
    save(folders / "one" / "0.png", disc(20, 30, 9))
    (folders / "tables" / "paper.yaml").write_text("""
protocol: authors
output: scores
datasets:
  ORSSD: {root: ../set}
  Twin: {dataset: EORSSD, root: ../set, split: test}
  2020: {masks: ../one}
methods:
  third: {2020: maps/third}
  good: {ORSSD: ../good, Twin: ../good}
  bad: {ORSSD: ../bad}
""")
    command("--config", folders / "tables" / "paper.yaml", cwd=tmp_path_factory.mktemp("elsewhere"))
    found = results(folders / "tables" / "scores")
    assert set(found) == {("good", "ORSSD"), ("good", "Twin"), ("bad", "ORSSD"), ("third", "2020")}
    assert found["good", "Twin"] == found["good", "ORSSD"] | {"dataset": "Twin"}
    assert found["third", "2020"]["MAE"] == 0
    heading = (folders / "tables" / "scores" / "scores.md").read_text().splitlines()[2]
    assert heading.index("ORSSD") < heading.index("Twin") < heading.index("2020")
    assert "–" in (folders / "tables" / "scores" / "scores.md").read_text()


def test_a_pattern_stands_for_every_set_and_arguments_override_the_yaml(command, folders):
    (folders / "good").rename(folders / "good_A")
    save(folders / "good_B" / "0.png", disc(5, 5, 3))
    save(folders / "b" / "0.png", disc(5, 5, 3))
    text = "datasets: {A: {masks: set/test-labels}, B: {masks: b}}\nmethods: {good: 'good_{dataset}'}\n"
    (folders / "t.yaml").write_text(text + "protocol: [field, authors]\noutput: elsewhere\n")
    command("--config", "t.yaml", "--protocol", "authors", "--output", "out")
    assert [record["images"] for record in results(folders / "out").values()] == [3, 1]
    assert json.loads((folders / "out" / "scores.json").read_text())["protocol"] == "authors"
    assert not (folders / "elsewhere").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: {a: b}", "lacks the key datasets"),
        ("datasets: {A: {masks: m}}\nmethods: {a: b}\nprotocols: field", "no key protocols"),
        ("datasets: {A: {mask: m}}\nmethods: {a: b}", "no key mask"),
        ("datasets: {A: {split: test}}\nmethods: {a: b}", "needs either masks or root"),
        ("datasets: {A: {masks: m}, B: {masks: m}}\nmethods: {a: b}", "put {dataset} in its path"),
        ("datasets: {A: {masks: m}}\nmethods: {a: {C: b}}", "has maps for C"),
        ("datasets: {A: {masks: m}}\nmethods: {a: b, a: c}", "'a' is there twice"),
        ("datasets: {A: {masks: m}}\nmethods: {a: 3}", "must be a path"),
        ("datasets: {A: {masks: m}}\nmethods: {a: {}}", "methods.a must be a path or a mapping"),
        ("datasets: [A]\nmethods: {a: b}", "must be a mapping"),
        ("datasets: {A: {masks: m}}\nmethods: {a: b}\nprotocol: both", "no protocol 'both'"),
        ("datasets: {A: {masks: m}}\nmethods: {a: b}\nprotocol: [field, 3]", "no protocol 3: choose authors or field"),
        ("datasets: {A", "not valid YAML"),
        ("datasets: {A: {masks: m}}\nmethods: {a: b}\nout: x", "the key out is now called output"),
        ("datasets: {A: {masks: m}}\nmethods: {a: b}\noutput: 3", "output must be a path, not 3"),
        ("datasets: {A: {masks: m}}\nmethods: {a: {A: on}}", "methods.a.A must be a path, not True"),
        ("datasets: {A: {masks: 5}}\nmethods: {a: b}", "datasets.A.masks must be a path, not 5"),
        ("datasets: {A: {root: r, split: val}}\nmethods: {a: b}", "datasets.A.split must be 'train' or 'test'"),
        ("datasets: {A: {root: r, dataset: 4199}}\nmethods: {a: b}", "datasets.A.dataset must be text (in quotes)"),
        ("datasets: {A: {masks: m, split: test}}\nmethods: {a: b}", "split means nothing there"),
        ("datasets: {A: m}\nmethods: {a: b}", "datasets.A must be a mapping"),
        ("datasets: {A: {masks: m}}\nmethods: {}", "methods must be a mapping"),
        ("datasets: {A: {masks: m}}\nmethods: {1: b, '1': c}", "'1' is there twice"),
        ('datasets: {A: {masks: m}}\nmethods: {"a\\nb": c}', "cannot be a name in a table"),
        ("datasets: {A: {masks: m}}\nmethods: {'': c}", "cannot be a name in a table"),
        ("datasets: {A: {masks: m}}\nmethods: {[a]: c}", "not valid YAML"),
        ("- a", "must be a mapping"),
        ("", "must be a mapping"),
    ],
)
def test_bad_yaml_is_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_table_config(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_names_that_yaml_reads_as_numbers_or_booleans_stay_as_written(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("datasets: {2021: {masks: m}, on: {masks: m}}\nmethods: {1.10: 'a/{dataset}', off: {on: b}}")
    config = read_table_config(path)
    assert list(config.sets) == ["2021", "on"]
    assert config.maps == {
        ("1.10", "2021"): tmp_path / "a/2021",
        ("1.10", "on"): tmp_path / "a/on",
        ("off", "on"): tmp_path / "b",
    }


def test_yaml_s_merge_keys_share_what_sets_have_in_common(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(
        "datasets:\n  E: &e {dataset: EORSSD, root: e}\n  Train: {<<: *e, split: train}\nmethods: {a: '{dataset}'}"
    )
    train = read_table_config(path).sets["Train"]
    assert (train.dataset, train.root, train.split) == ("EORSSD", tmp_path / "e", "train")


def test_authors_needs_no_heavy_package(root, folders):
    """Scoring alone installs without torch, and no other protocol's packages are imported."""
    absent = ["torch", "thop", "skimage", "cv2", "py_sod_metrics", "timm"]
    script = root / "compute_results" / "compute_metrics.py"
    arguments = [str(script), "--masks", "set/test-labels", "--maps", "good=good", "--protocol", "authors"]
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({absent}))
sys.argv = {[*arguments, "--output", "out", "--workers", "1"]}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    subprocess.run([sys.executable, "-c", code], cwd=folders, check=True, timeout=120)
    assert (folders / "out" / "scores.tex").is_file()
    field = code.replace("'authors'", "'field'")
    done = subprocess.run([sys.executable, "-c", field], cwd=folders, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "error: protocol field needs cv2: pip install -r requirements-scoring.txt\n"


def test_bad_yaml_stops_the_command(command, folders):
    (folders / "t.yaml").write_text("datasets: {A: {mask: m}}\nmethods: {a: b}")
    done = command("--config", "t.yaml", "--protocol", "authors", fails=True)
    assert done.stderr.startswith("error: t.yaml: datasets.A has no key mask")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--masks set/test-labels --maps good=good", "choose --protocol authors or field"),
        ("--maps good=good --protocol authors", "--masks DIR or --dataset NAME --root DIR"),
        ("--masks set/test-labels --root set --maps good=good --protocol authors", "--masks DIR or"),
        ("--root set --maps good=good --protocol authors", "--root needs --dataset"),
        ("--masks set/test-labels --split train --maps good=good --protocol authors", "--split belongs to"),
        ("--masks set/test-labels --protocol authors", "--maps METHOD=DIR"),
        ("--masks set/test-labels --maps good --protocol authors", "write METHOD=DIR"),
        ("--masks set/test-labels --maps good=good good=bad --protocol authors", "good twice"),
        ("--masks set/test-labels --maps good=gone --protocol authors", "no folder gone"),
        ("--masks gone --maps good=good --protocol authors", "no folder gone"),
        ("--dataset Nothing --root set --maps good=good --protocol authors", "Nothing"),
        ("--masks set/test-labels --maps good=good --protocol authors --workers 0", "0 workers"),
        ("--config t.yaml --masks set --protocol authors", "leave out --masks"),
        ("--config gone.yaml --protocol authors", "gone.yaml"),
        (
            "--masks set/test-labels --maps good=good --protocol authors --out o",
            "--out: this option is now called --output",
        ),
        ("--masks set/test-labels --maps good=good --protocol authors --outp o", "unrecognized arguments: --outp"),
        ("--masks set/test-labels --maps good=good --protocol other", "'authors', 'field'"),
        ("--masks set/test-labels --maps good=good --protocol authors --output set/test-labels/0.png", "is a file"),
    ],
)
def test_bad_arguments_are_one_line(command, folders, arguments, message):
    done = command(*arguments.split(), fails=True)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folders / "runs").exists()


def test_missing_and_surplus_maps_stop_it_unless_allowed(command, folders):
    (folders / "good" / "1.png").rename(folders / "good" / "stranger.png")
    call = ("--masks", "set/test-labels", "--maps", "good=good", "bad=bad", "--protocol", "authors", "--output", "out")
    stopped = command(*call, fails=True)
    assert (
        "good on test-labels (good): 1 mask without a map (1) and 1 map without a mask (stranger.png)" in stopped.stderr
    )
    assert "--allow-missing" in stopped.stderr
    assert "bad on" not in stopped.stderr
    assert not (folders / "out").exists()
    allowed = command(*call, "--allow-missing")
    assert {record["images"] for record in results(folders / "out").values()} == {2, 3}
    for text in (
        allowed.stdout,
        (folders / "out" / "scores.md").read_text(),
        (folders / "out" / "scores.tex").read_text(),
    ):
        assert "good on test-labels: 2 of 3 masks scored" in text


def test_no_fitting_map_at_all_stops_it_even_if_allowed(command, folders):
    save(folders / "other" / "x.png", disc(5, 5, 3))
    call = ("--masks", "set/test-labels", "--maps", "other=other", "--protocol", "authors", "--allow-missing")
    assert "no map fits a mask" in command(*call, fails=True).stderr


def test_an_ambiguous_map_and_an_unreadable_file_are_named(command, folders):
    call = ("--masks", "set/test-labels", "--maps", "good=good", "--protocol", "authors", "--output", "out")
    command(*call)
    before = {path.name: path.read_bytes() for path in (folders / "out").iterdir()}
    save(folders / "good" / "2_again.png", disc(1, 1, 1))
    stopped = command(*call, fails=True).stderr
    assert "good/2.png and good/2_again.png could both be the map of 2" in stopped
    (folders / "good" / "2_again.png").unlink()
    (folders / "good" / "2.png").write_bytes((folders / "good" / "1.png").read_bytes()[:50])
    stopped = command(*call, fails=True).stderr
    assert "not scored: good/2.png cannot be read" in stopped
    assert stopped.splitlines()[-1].startswith("error: 1 file could not be scored")
    after = {path.name: path.read_bytes() for path in (folders / "out").iterdir()}
    assert after.keys() == before.keys()
    assert "good on test-labels: 1 of 3 maps are not scored (2)." in after["scores.md"].decode()


@pytest.mark.parametrize("protocol", ["authors", "field"])
def test_color_masks_and_sub_folders(tmp_path, protocol):
    mask = disc(30, 30, 12)
    for name in ("ship/1", "plane/1"):
        save(tmp_path / "maps" / f"{name}_m.png", mask)
    save(tmp_path / "masks" / "ship" / "1.png", np.dstack([mask] * 3))
    save(tmp_path / "masks" / "plane" / "1.png", np.dstack([mask] * 3 + [np.full_like(mask, 200)]))
    result = score(match_maps(find_masks(tmp_path / "masks"), tmp_path / "maps").pairs, protocol, workers=1)
    assert result.figures["MAE"] == 0
    assert set(result.per_image) == {"ship/1", "plane/1"}


def test_linked_sub_folders_are_scored_as_training_reads_them(tmp_path):
    save(tmp_path / "store" / "1.png", disc(30, 30, 12))
    save(tmp_path / "maps" / "ship" / "1.png", disc(30, 30, 12))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "ship").symlink_to(tmp_path / "store")
    (tmp_path / "masks" / "round").symlink_to(tmp_path / "masks")
    masks = find_masks(tmp_path / "masks")
    assert list(masks) == ["ship/1"]
    assert [pair.stem for pair in match_maps(masks, tmp_path / "maps").pairs] == ["ship/1"]


def test_one_pass_decodes_every_file_once(folders, monkeypatch):
    read: list[str] = []
    for name in ("inspect_map", "inspect_mask"):
        original = getattr(scoring, name)
        monkeypatch.setattr(scoring, name, lambda path, original=original: read.append(str(path)) or original(path))
    masks = find_masks(folders / "set" / "test-labels")
    maps = {method: match_maps(masks, folders / method).pairs for method in ("good", "bad")}
    found = scoring.score_dataset(maps, ["authors", "field"], workers=1, describe_masks=True)
    assert len(read) == len(set(read)) == 9  # three masks and three maps of each method
    assert set(found.results) == {(protocol, method) for protocol in PROTOCOLS for method in maps}
    for (protocol, method), result in found.results.items():
        assert result.figures == score(maps[method], protocol, workers=2).figures
    assert {stem: features.objects for stem, features in found.masks.items()} == {"0": 1, "1": 1, "2": 1}
