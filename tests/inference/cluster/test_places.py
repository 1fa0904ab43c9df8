"""Where workers of other working folders look: the command names all files by absolute paths."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest

from tests.helpers import picture

pytest.importorskip("fsspec")
pytest.importorskip("pyarrow")

from inference.cluster.inputs import find_inputs
from inference.cluster.options import parse_arguments


def parsed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Namespace:
    monkeypatch.setattr(sys, "argv", ["inference.cluster", *arguments])
    return parse_arguments()


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").mkdir()
    picture().save(tmp_path / "archive" / "a.png")
    (tmp_path / "own.safetensors").touch()
    (tmp_path / "host.py").touch()
    monkeypatch.chdir(tmp_path)
    more = ("--weights", "own.safetensors", "--host-file", "host.py", "--scheduler", "10.0.0.1:8786")
    options = parsed(monkeypatch, "--input", "archive", "--output", "maps", *more)
    assert options.output == str(tmp_path / "maps")
    assert options.weights == tmp_path / "own.safetensors"
    assert options.host_file == tmp_path / "host.py"
    assert list(find_inputs(options).sources) == [str(tmp_path / "archive" / "a.png")]


def test_addresses_of_stores_and_of_gdal_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here.tif").touch()
    (tmp_path / "list.txt").write_text("/vsis3/bucket/a.tif\nhere.tif\n")
    monkeypatch.chdir(tmp_path)
    options = parsed(monkeypatch, "--scene", "--input", "list.txt", "--output", "s3://bucket/maps")
    assert options.output == "s3://bucket/maps"
    assert sorted(find_inputs(options).sources) == sorted(["/vsis3/bucket/a.tif", str(tmp_path / "here.tif")])


def test_polygons_of_another_run_are_not_taken_for_this_one(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    from inference.cluster.bands import SceneTask, _check_polygons

    task = SceneTask(Namespace(), str(tmp_path), {}, "a.tif", "a", str(tmp_path / "objects.gpkg"))
    _check_polygons(task, check=False)
    (tmp_path / "objects.gpkg").touch()
    _check_polygons(task, check=True)  # a worker of this run may have written them, and died
    with pytest.raises(ValueError, match=r"--polygons .*objects.gpkg is there: remove it, or give another name"):
        _check_polygons(task, check=False)


def test_windows_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inference.cluster import __main__ as command

    monkeypatch.setattr(
        sys, "argv", ["inference.cluster", "--input", str(tmp_path), "--output", str(tmp_path / "maps")]
    )
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match=r"^error: inference.cluster needs Linux or macOS"):
        command.main()


def test_expired_credentials_are_told_from_broken_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from datasets.io import AS_STORED
    from inference.cluster import images
    from inference.cluster.worker import Opened, Outcome

    def refused(address: str) -> None:
        raise PermissionError(13, "Forbidden")

    monkeypatch.setattr(images, "local_copy", refused)
    item = images.Item(0, str(tmp_path / "a.jpg"), "a.png")
    job = images.ImageJob(Namespace(), str(tmp_path), AS_STORED, {})
    network = Opened(lambda pixels: pixels, (64, 96), 4, {}, "cpu")
    making = images._Making(job, images.Bundle(((item,),)), network, Outcome("host-1"))
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read: .*Forbidden"):
        making.read(item)
    assert making.seen[0].kind == "refused"
