"""No command replaces what it reads, or removes what it did not make."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets import check
from inference.export.exporter import export
from inference.plan import plan_maps
from tests.helpers import ROOT, binary, picture
from tools import average_weights, convert_released, prune

NAMES = [
    "a b.safetensors",
    'it\'s "a".safetensors',
    "-odd.safetensors",
    "\u043a\u0430\u0440\u0442\u0430.safetensors",
    "two\nlines.safetensors",
]


def ended(main: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """Run a command in this process; return what it ended with, '' after success."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    try:
        main()
    except SystemExit as error:
        return str(error.code)
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_tools_take_any_name_and_do_not_replace_what_they_read(
    name: str, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = small_weights.read_bytes()
    Path(name).write_bytes(content)
    Path("link.safetensors").symlink_to(name)
    Path("other.safetensors").write_bytes(content)
    source = f"./{name}"  # argparse takes a leading dash for an option
    for output in (source, tmp_path / name, "link.safetensors"):
        assert "which this command reads" in ended(prune.main, monkeypatch, source, "--output", output)
        found = ended(average_weights.main, monkeypatch, "other.safetensors", source, "--output", output)
        assert "which this command reads" in found
        assert "which this command reads" in ended(convert_released.main, monkeypatch, source, "--output", output)
    assert Path(name).read_bytes() == content
    assert Path("link.safetensors").is_symlink()
    assert ended(prune.main, monkeypatch, source, f"--output=made {name}") == ""
    assert Path(f"made {name}").is_file()


def test_an_output_that_is_a_link_leaves_what_it_points_to(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out.safetensors").symlink_to("mine.txt")
    assert ended(prune.main, monkeypatch, small_weights, "--output", tmp_path / "out.safetensors") == ""
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_export_does_not_replace_weights_of_another_kind(small_weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    (tmp_path / "pytorch_model.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is there without pytorch_model\.xml"):
        export(small_weights, "openvino", tmp_path / "pytorch_model.xml")
    assert (tmp_path / "pytorch_model.bin").read_bytes() == b"mine"


def test_maps_do_not_replace_masks(tmp_path: Path) -> None:
    names = [("0001", "0001.jpg"), ("ships/0002", "ships/0002.jpg")]
    masks, maps = tmp_path / "labels", tmp_path / "maps"
    for folder, kind in ((masks, binary()), (maps, np.linspace(0, 255, 6300).reshape(70, 90).astype(np.uint8))):
        (folder / "ships").mkdir(parents=True)
        for stem, _ in names:
            Image.fromarray(kind).save(folder / f"{stem}.png")
    with pytest.raises(ValueError, match=r"0001\.png looks like a mask"):
        plan_maps(names, masks)
    (masks / "0001.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"0002\.png looks like a mask"):
        plan_maps(names, masks)
    assert len(plan_maps(names, masks, "_map").images) == 2
    assert plan_maps(names, masks, resume=True).kept == 2
    assert len(plan_maps(names, maps).images) == 2


def test_scores_do_not_replace_or_remove_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from compute_results.compute_metrics import main

    masks, scores = tmp_path / "masks", tmp_path / "scores"
    masks.mkdir()
    scores.mkdir()
    for stem in ("a", "b"):
        Image.fromarray(binary()).save(masks / f"{stem}.png")
    run = ("--masks", masks, "--maps", f"X={masks}", "--protocol", "field", "--workers", 1, "--output", scores)
    (scores / "per_image.csv").write_text("stem,place\na,sea\nb,land\n")
    (scores / "groups.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to(scores / "per_image.csv")
    for name in (scores / "per_image.csv", tmp_path / "link.csv"):
        assert "which this command reads" in ended(main, monkeypatch, *run, "--groups", name)
    assert (scores / "per_image.csv").read_text().startswith("stem,place")
    assert ended(main, monkeypatch, *run) == ""
    assert (scores / "groups.csv").read_text() == "mine"
    assert ended(main, monkeypatch, *run, "--groups", "size") == ""
    assert (scores / "groups.csv").read_text() != "mine"
    assert ended(main, monkeypatch, *run) == ""
    assert not (scores / "groups.csv").exists()  # an earlier run's, which does not fit the new scores
    capsys.readouterr()


def test_a_gallery_does_not_replace_a_picture_that_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compute_results.gallery import main

    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    picture().save(tmp_path / "images" / "a.png")
    Image.fromarray(binary()).save(tmp_path / "masks" / "a.png")
    (tmp_path / "link.png").symlink_to("images/a.png")
    before = (tmp_path / "images" / "a.png").read_bytes()
    run = ("--images", tmp_path / "images", "--masks", tmp_path / "masks", "--maps", f"X={tmp_path / 'masks'}")
    for output in ("images/a.png", "masks/a.png", "link.png"):
        assert "which this command reads" in ended(main, monkeypatch, *run, "--output", tmp_path / output)
    assert (tmp_path / "images" / "a.png").read_bytes() == before


@pytest.mark.parametrize("option", ["--json", "--write-exclude", "--write-exclude-test", "--pictures"])
def test_a_check_does_not_replace_the_set(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    picture().save(tmp_path / "images" / "a.png")
    Image.fromarray(binary()).save(tmp_path / "masks" / "a.png")
    run = ("--images", tmp_path / "images", "--masks", tmp_path / "masks", option)
    for output in ("images/a.png", "masks/a.png"):
        before = (tmp_path / output).read_bytes()
        assert "is a file of the data set" in ended(check.main, monkeypatch, *run, tmp_path / output)
        assert (tmp_path / output).read_bytes() == before
    assert "is a file" in ended(check.main, monkeypatch, *run, tmp_path / "images" / "a.png" / "x")


def why_not_replace(folder: str, place: Path) -> str:
    """Return what web/folder.mjs says about replacing a folder."""
    code = (
        f"import {{ whyNotReplace }} from {str(ROOT / 'web' / 'folder.mjs')!r}; console.log(whyNotReplace({folder!r}))"
    )
    node = ["node", "--input-type=module", "-e", code]
    return subprocess.run(node, cwd=place, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is missing")
def test_the_page_replaces_only_a_page(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "samples").mkdir(parents=True)
    for name in ("index.html", "sw.js", "samples/river.jpg", "ort-wasm-simd-threaded.asyncify.mjs"):
        (site / name).write_text("")
    assert why_not_replace("nowhere", tmp_path) == ""
    assert why_not_replace("site", tmp_path) == ""
    for name in ("404.html", "samples/mine.png", "samples/x/river.jpg", "index.html.bak"):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text("")
        assert "which is no part of the page" in why_not_replace("site", tmp_path)
        (site / name).unlink()
    shutil.rmtree(site / "samples" / "x")
    (tmp_path / "link").symlink_to(site)
    assert why_not_replace("link", tmp_path) == "link is a link"
    assert why_not_replace("site/sw.js", tmp_path) == "site/sw.js is a file"
