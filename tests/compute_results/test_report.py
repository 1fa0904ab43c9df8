"""The report's files by the real command: figures, names, what is kept, and what it says of bad input."""

import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compute_results.compute_metrics import main as compute_metrics
from compute_results.html_report import pictures
from compute_results.html_report.data import data_script
from compute_results.html_report.folder import check_free, claim, finish, write_asset
from compute_results.html_report.pictures import Pictures, Scene, make_pictures
from compute_results.protocols.authors import score_image
from compute_results.result import Curves, Result, Scores
from datasets.io import read_map, read_mask


class Page(HTMLParser):
    """Addresses, scripts and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data-plotly") and value]

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def data_of(folder: Path) -> dict:
    (path,) = (folder / "assets").glob("data.*.js")
    return json.loads(path.read_text().removeprefix("window.reportData = ").rstrip().removesuffix(";"))


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_figures_are_the_protocols(report):
    data = data_of(report.folder)
    assert len(data["stems"]) == 66
    assert [f"{metric['protocol']}.{metric['name']}" for metric in data["metrics"]][:4] == [
        "authors.Fbeta",
        "authors.MAE",
        "authors.Sm",
        "field.Sm",
    ]
    image = data["stems"].index("0005")
    own = score_image(
        read_map(report.source / "second" / "0005_two.png"), read_mask(report.source / "masks" / "0005.png")
    )
    found = [data["figures"][index][1][image] for index in range(3)]
    assert found == pytest.approx([own.figures[name] for name in ("Fbeta", "MAE", "Sm")], abs=1e-5)
    assert data["missing"] == [[], [data["stems"].index("0002")]]
    assert data["figures"][0][1][data["stems"].index("0002")] is None
    assert data["features"][data["stems"].index("0001")] == [0.0, 0]
    assert data["curves"]["authors"][0].keys() == {"threshold", "precision", "recall", "f"}
    assert max(data["curves"]["field"][0]["e"]) <= 1
    scene = next(one for one in data["groupings"] if one["name"] == "scene")
    assert {group["label"]: len(group["images"]) for group in scene["groups"]} == {
        "port </td>": 5,
        "sea": 57,
        "(not in the file)": 4,
    }


def test_tables_print_what_compute_metrics_prints(report, tmp_path, monkeypatch, capsys):
    maps = ["first=" + str(report.source / "first"), "second=" + str(report.source / "second")]
    options = ["--masks", str(report.source / "masks"), "--maps", *maps, "--protocol", "authors", "--allow-missing"]
    monkeypatch.setattr(sys, "argv", ["compute_metrics.py", *options, "--output", str(tmp_path), "--workers", "1"])
    compute_metrics()
    printed = set(re.findall(r"[+−]?\d\.\d{4}", capsys.readouterr().out))
    texts = " ".join(Page((report.folder / "index.html").read_text()).texts)
    assert len(printed) > 15
    assert not {figure for figure in printed if figure not in texts}


def test_every_address_of_the_page_is_in_the_folder_and_no_name_is_markup(report):
    page = Page((report.folder / "index.html").read_text())
    local = [address for address in page.addresses if not address.startswith(("#", "data:"))]
    assert len(local) == 10
    assert all((report.folder / address).is_file() for address in local)
    assert "i" not in page.tags
    assert "b" not in page.tags
    assert 'A & "B" <b>$x$</b>' in page.texts
    assert "port </td>" in page.texts
    (data,) = (report.folder / "assets").glob("data.*.js")
    assert "<" not in data.read_text()
    assert all(path.isascii() for path in files(report.folder))
    notes = [text for text in page.texts if "65 of 66 masks scored" in text]
    assert notes
    size = float(re.search(r"([\d.]+) MB", report.done.stdout)[1])
    there = sum(path.stat().st_size for path in report.folder.rglob("*") if path.is_file())
    assert size == pytest.approx(there / 1e6, abs=0.06)


def test_pictures_hold_image_mask_and_maps(tmp_path):
    image = np.zeros((60, 200, 3), np.uint8)
    image[:, :100] = (250, 30, 30)
    mask = np.zeros((60, 200), np.uint8)
    mask[10:50, 20:90] = 255
    for name, pixels in (("i", image), ("m", mask), ("s", mask[::2, ::2])):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    scene = Scene("a", tmp_path / "i.png", tmp_path / "m.png", (tmp_path / "s.png", None))
    (made,), kept = make_pictures([scene], tmp_path / "out", 100, 1)
    assert (made.shown, made.image, made.mask, made.maps, kept) == (
        (100, 30),
        (200, 60),
        (200, 60),
        ((100, 30), None),
        0,
    )
    with Image.open(tmp_path / "out" / made.thumbnails) as strip:
        assert strip.size == (4 * 128, 38)
        tiles = np.asarray(strip.convert("RGB"), int)
    assert tiles[19, 20, 0] > 200 > 80 > tiles[19, 20, 1]
    assert tiles[19, 128 + 30].min() > 230
    assert tiles[19, 256 + 30].min() > 230
    assert np.abs(tiles[:, 400:] - 128).max() < 12
    (again,), kept = make_pictures([scene], tmp_path / "out", 100, 1)
    assert (again, kept) == (made, 1)
    (larger,), kept = make_pictures([scene], tmp_path / "out", 0, 1)
    assert (larger.shown, kept) == ((200, 60), 0)


def test_a_second_run_makes_only_what_changed(small_set, report_command, tmp_path):
    pytest.importorskip("plotly")
    call = (small_set(6), tmp_path / "out", "--protocol", "authors", "--allow-missing")
    assert "pictures of 6 made, of 0 kept" in report_command(*call)[0]
    before = files(tmp_path / "out")
    assert "pictures of 0 made, of 6 kept" in report_command(*call)[0]
    after = files(tmp_path / "out")
    assert [name for name in after if after[name] != before[name]] == ["index.html"]
    Image.new("L", (9, 9), 77).save(tmp_path / "set" / "first" / "0001.png")
    (tmp_path / "out" / "assets" / "mine.txt").write_text("a reader's own file")
    assert "pictures of 1 made, of 5 kept" in report_command(*call)[0]
    last = files(tmp_path / "out")
    assert len(last) == len(before) + 1
    assert len(set(last) - set(before)) == 4  # thumbnails, pictures, figures, and the reader's own file


def test_a_run_that_stops_leaves_the_older_report_and_is_continued(tmp_path, monkeypatch):
    for name in "abc":
        Image.new("RGB", (20, 20), (90, 9, 9)).save(tmp_path / f"{name}.png")
    scenes = [Scene(name, *[tmp_path / f"{name}.png"] * 2, (tmp_path / f"{name}.png",)) for name in "abc"]
    out = tmp_path / "out"
    claim(out)
    first, _ = make_pictures(scenes[:1], out, 64, 1)
    finish(out, "old", [first[0].thumbnails, first[0].script])
    make = pictures._make

    def stop(folder: Path, side: int, scene: Scene) -> Pictures:
        if scene.stem == "c":
            raise KeyboardInterrupt
        return make(folder, side, scene)

    monkeypatch.setattr(pictures, "_make", stop)
    with pytest.raises(KeyboardInterrupt):
        make_pictures(scenes, out, 64, 1)
    assert (out / "index.html").read_text() == "old"
    assert (out / first[0].script).is_file()
    monkeypatch.undo()
    made, kept = make_pictures(scenes, out, 64, 1)
    assert kept == 2
    torn = out / "pictures" / made[0].key[:2] / ".0123456789ab.77.tmp"
    torn.write_text("half")
    own = out / "pictures" / "own.js"
    own.write_text("kept")
    addresses = [
        *(one.thumbnails for one in made[1:]),
        *(one.script for one in made[1:]),
        write_asset(out, "a.js", "1"),
    ]
    finish(out, "new", addresses)
    assert not torn.exists()
    assert own.exists()
    assert not (out / made[0].script).exists()
    assert all((out / address).is_file() for address in addresses)


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("work")
    with pytest.raises(ValueError, match=r"holds other files \(thesis.tex\)"):
        check_free(tmp_path)
    (tmp_path / "report.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds other files"):
        claim(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        check_free(tmp_path / "thesis.tex")
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", "report.json"}
    check_free(tmp_path / "new")
    claim(tmp_path / "new")
    check_free(tmp_path / "new")


def test_a_figure_that_is_not_a_number_becomes_none(tmp_path):
    figures = {"Fbeta": math.nan, "MAE": 0.25, "Sm": math.inf}
    curve = np.array([0.5, math.nan])
    result = Result("authors", figures, Curves(*[curve] * 4), {"a": figures})
    scores = Scores("authors", ["S"], {("M", "S"): result})
    made = Pictures("0" * 16, (4, 4), (8, 8), (9, 9), ((3, 3),))
    text = data_script("S", {"authors": scores}, [Scene("a", tmp_path, tmp_path, (tmp_path,))], [made])
    data = json.loads(text.removeprefix("window.reportData = ").rstrip(";\n"))
    assert [metric[0][0] for metric in data["figures"]] == [None, 0.25, None]
    assert data["curves"]["authors"][0]["f"] == [0.5, None]
    assert data["remarks"] == {"0": ["The mask has 9×9 pixels, the image 8×8."]}
    assert data["resized"] == {"0": ["M: the map has 3×3 pixels, the mask 9×9. It was resized."]}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--output", "{source}"), "holds other files"),
        (("--picture-size", "7"), "--picture-size 7: give 64 to 4096"),
        (("--workers", "0"), "0 workers"),
        (("--root", "r"), "give either --images DIR and --masks DIR, or --dataset"),
        (("--reference", "Z"), "--reference Z: no method has that name"),
        ((), "1 mask without a map (0002)"),
        (("--images", "gone"), "the folder of images gone is not there"),
    ],
)
def test_bad_input_is_one_line(report, report_command, tmp_path, more, says):
    options = (str(one).format(source=report.source) for one in more)
    _, error = report_command(report.source, tmp_path / "out", *options)
    assert error.startswith("error: ")
    assert says in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_is_named_and_the_next_run_continues(small_set, report_command, tmp_path):
    pytest.importorskip("plotly")
    image = small_set(2) / "images" / "0001.png"
    sound = image.read_bytes()
    image.write_bytes(sound[:60])
    call = (tmp_path / "set", tmp_path / "out", "--protocol", "authors")
    _, error = report_command(*call, methods=("one",))
    assert "images/0001.png cannot be read" in error
    assert not (tmp_path / "out" / "index.html").exists()
    image.write_bytes(sound)
    shown, error = report_command(*call, methods=("one",))
    assert not error
    assert "pictures of 1 made, of 1 kept" in shown
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert "One method only: there is nothing to compare it with." in page.texts


def test_the_package_that_draws_is_named_when_it_is_missing(tmp_path, report_command, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    _, error = report_command(tmp_path, tmp_path / "out")
    assert error == "error: the report's curves need plotly: pip install -r requirements-report.txt"
