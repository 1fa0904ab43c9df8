"""Scenes are read by address, from a web server and from S3-like storage."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

rasterio = pytest.importorskip("rasterio")


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """Serves the temporary folder; host and port."""
    command = [sys.executable, str(Path(__file__).with_name("range_server.py")), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield f"127.0.0.1:{running.stdout.readline().strip()}"
        running.kill()


def test_addresses(scene, getsmaps, tmp_path, server, monkeypatch):
    scene(200, 260, "bucket/scene.tif", tiled=True, blockxsize=64, blockysize=64)
    for name, value in {
        "AWS_S3_ENDPOINT": server, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    ask = ("--scene", "--context", "96", "--output")
    assert getsmaps(*ask, tmp_path / "local", "--input", tmp_path / "bucket" / "scene.tif")[0] == 0
    expected = (tmp_path / "local" / "scene.tif").read_bytes()
    web = f"http://{server}/bucket/scene.tif"
    for i, address in enumerate((web, f"{web}?token=a.b/c", "s3://bucket/scene.tif", f"/vsicurl/{web}")):
        status, _, err = getsmaps(*ask, tmp_path / str(i), "--input", address)
        assert status == 0, err
        assert (tmp_path / str(i) / "scene.tif").read_bytes() == expected
    listing = tmp_path / "list.txt"
    listing.write_text(f"{web}\n")
    assert getsmaps(*ask, tmp_path / "listed", "--input", listing)[0] == 0


def test_what_is_not_there_is_one_line(getsmaps, tmp_path, server, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    for address in (f"http://{server}/absent.tif", "http://127.0.0.1:9/scene.tif"):
        status, out, err = getsmaps("--scene", "--input", address, "--output", tmp_path / "out")
        assert (status, out) == (1, "")
        assert f"{address} cannot be read" in err.splitlines()[-1]
        assert "Traceback" not in err
