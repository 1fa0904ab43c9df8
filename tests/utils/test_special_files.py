"""Pipes, sockets, devices and links: no command waits for one, and none is replaced by a file."""

import os
import socket
import sys
from pathlib import Path

import pytest
from PIL import Image

from datasets.raster import open_raster
from tests.helpers import binary
from utils.files import WriteError, atomic_files, atomic_write, move_into_place
from utils.outputs import check_file
from utils.text import read_text


@pytest.fixture
def special(tmp_path: Path) -> dict[str, Path]:
    """A pipe, a socket, a link to a device, by what messages call them."""
    pipe, listening, device = tmp_path / "pipe", tmp_path / "socket", tmp_path / "device"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(listening))
    device.symlink_to("/dev/zero")
    return {"a pipe": pipe, "a socket": listening, "a device": device}


def test_they_are_not_replaced(special: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "whole").write_text("x")
    for kind, path in special.items():
        before = os.lstat(path).st_ino
        for write in (
            lambda: atomic_write(path, "x"),  # noqa: B023
            lambda: atomic_files({tmp_path / "other": "x", path: "x"}),  # noqa: B023
            lambda: move_into_place(tmp_path / "whole", path),  # noqa: B023
            lambda: check_file(path),  # noqa: B023
        ):
            with pytest.raises(WriteError, match=f"{path.name} cannot be written: it is {kind}"):
                write()
        assert os.lstat(path).st_ino == before
    assert not (tmp_path / "other").exists()
    assert (tmp_path / "whole").exists()


def test_text_is_not_waited_for(special: dict[str, Path]) -> None:
    for kind, path in special.items():
        with pytest.raises(OSError, match=f"{path} is {kind}, no regular file"):
            read_text(path)


def test_rasters_are_not_waited_for(special: dict[str, Path]) -> None:
    pytest.importorskip("rasterio")
    for kind, path in special.items():
        with pytest.raises(ValueError, match=f"{path} cannot be read: it is {kind}"), open_raster(path):
            pass


def test_a_link_to_itself_is_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compute_results.compute_metrics import main as score
    from datasets.check import main as check

    (tmp_path / "loop").symlink_to("loop")
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(binary()).save(tmp_path / folder / "a.png")
    loop, masks = tmp_path / "loop", tmp_path / "masks"
    scored = ["--masks", loop, "--maps", f"X={masks}", "--protocol", "field", "--output", tmp_path / "scores"]
    monkeypatch.setattr(sys, "argv", ["command", *map(str, scored)])
    with pytest.raises(SystemExit, match="error: no folder"):
        score()
    checked = ["--images", tmp_path / "images", "--masks", masks, "--json", loop / "x.json"]
    monkeypatch.setattr(sys, "argv", ["command", *map(str, checked)])
    with pytest.raises(SystemExit, match="error: --json"):
        check()
