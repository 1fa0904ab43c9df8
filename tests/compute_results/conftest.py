"""A report of a small set with awkward names, which the tests of its files and of its page share."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from compute_results.report import main
from tests.helpers import ROOT

AWKWARD = (
    "x</script><img src=x onerror=alert(1)>",
    "per%20cent #1?&a=b",
    "quote\"d 'name' $x$ `tick`",
    "Ünï–cødé 衛星  two spaces",
)
"""Stems that are markup, addresses or code if they are not escaped; the first lies in a folder `x<`."""

METHODS = ('A & "B" <b>$x$</b>', "O'Ré%20{y}</script>")


class Report(NamedTuple):
    """A report's folder, the set it was made of, and the finished command."""

    folder: Path
    source: Path
    done: subprocess.CompletedProcess


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_set(folder: Path, stems: list[str]) -> None:
    """Images, masks and maps of two methods: `first` is off by one pixel, `second` by up to nine.

    The mask of the second stem is empty. `second` has no map of the third one. All maps of `first` are 32×32.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:30, :40]
    for index, stem in enumerate(stems):
        mask = ((np.hypot(x - 20, y - 15) < 4 + index % 8).astype(np.uint8)) * 255
        if index == 1:
            mask[:] = 0
        image = rng.integers(0, 200, (30, 40, 3), dtype=np.uint8) + (mask[..., None] > 0).astype(np.uint8) * 50
        _save(folder / "images" / f"{stem}.png", image)
        _save(folder / "masks" / f"{stem}.png", mask)
        first = Image.fromarray(np.roll(mask, 1, axis=1)).resize((32, 32), Image.Resampling.BILINEAR)
        _save(folder / "first" / f"{stem}.png", np.asarray(first))
        if index != 2:
            _save(folder / "second" / f"{stem}_two.png", np.roll(mask, 1 + index % 9, axis=1) // 2 + 60)


def report_options(source: Path, output: Path, methods: tuple[str, ...]) -> list[str]:
    """Options of report.py for a set made by `make_set`."""
    maps = [f"{name}={source / folder}" for name, folder in zip(methods, ("first", "second"), strict=False)]
    folders = ["--images", str(source / "images"), "--masks", str(source / "masks"), "--maps", *maps]
    return [*folders, "--output", str(output), "--workers", "1"]


@pytest.fixture
def small_set(tmp_path: Path) -> Callable[[int], Path]:
    """Make a set of a few images under awkward names; returns its folder."""

    def made(images: int) -> Path:
        make_set(tmp_path / "set", ["0000", "0001", "0002", *AWKWARD][:images])
        return tmp_path / "set"

    return made


@pytest.fixture
def report_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """Run report.py in this process on a set made by `make_set`; returns what it prints and the error it ends with."""

    def run(source: Path, output: Path, *more: object, methods: tuple[str, ...] = METHODS) -> tuple[str, str]:
        options = [*report_options(source, output, methods), *map(str, more)]
        monkeypatch.setattr(sys, "argv", ["report.py", *options])
        try:
            main()
        except SystemExit as stopped:
            return capsys.readouterr().out, str(stopped.code)
        return capsys.readouterr().out, ""

    return run


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of 66 images, more than the grid fills at once, under both protocols; read only."""
    pytest.importorskip("plotly", reason="plotly is not installed: pip install -r requirements-report.txt")
    home = tmp_path_factory.mktemp("report")
    make_set(home / "set", [*(f"{number:04}" for number in range(62)), *AWKWARD])
    (home / "scenes.csv").write_text(
        "stem,scene\n" + "".join(f"{n:04},{'port </td>' if n < 5 else 'sea'}\n" for n in range(62))
    )
    options = report_options(home / "set", home / "out report", METHODS)
    options += ["--allow-missing", "--groups", str(home / "scenes.csv"), "--dataset", "Set <i>&amp;"]
    line = [sys.executable, str(ROOT / "compute_results" / "report.py"), *options]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return Report(home / "out report", home / "set", done)
