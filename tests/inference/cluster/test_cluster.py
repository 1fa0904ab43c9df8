"""inference.cluster on real local clusters: each map once, equal to getsmaps.py's, whatever dies or refuses."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT, picture

pytest.importorskip("distributed")
pytest.importorskip("s3fs")
parquet = pytest.importorskip("pyarrow.parquet")

KEYS = {"AWS_ACCESS_KEY_ID": "AKIASECRET", "AWS_SECRET_ACCESS_KEY": "hidden-secret", "AWS_DEFAULT_REGION": "us-east-1"}
HOST_FILE = """
import os, signal, time
from inference.cluster import images
from models.hosts import register

read = images.inspect_pixels

def strange(path, *more):
    if os.path.basename(path) == "13.png":
        os.kill(os.getpid(), signal.SIGKILL)
    if os.path.basename(path) == "once.png" and not os.path.exists(os.environ["DIED"]):
        open(os.environ["DIED"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, *more)

images.inspect_pixels = strange

@register("unused", shallow="a", context="b", logits="c")
def build(config, pretrained):
    raise NotImplementedError
"""


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, **env}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)


def cluster(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    fixed = ("--backend", "torch", "--batch-size", 4, "--threads", 1)
    return run("-m", "inference.cluster", *fixed, *arguments, **env)


def maps(folder: Path) -> dict[str, bytes]:
    found = (
        path for path in folder.rglob("*") if path.is_file() and path.suffix != ".parquet" and path.suffix != ".json"
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def rows(folder: Path) -> list[dict]:
    return parquet.read_table(folder / "_manifest").to_pylist()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Twenty-two images in two folders, and one that is broken."""
    folder = tmp_path_factory.mktemp("archive") / "images"
    (folder / "more").mkdir(parents=True)
    for number in range(20):
        picture(60 + number, 50, seed=number).save(folder / f"{number:02}.png")
    for name in ("once", "last"):
        picture(seed=len(name)).save(folder / "more" / f"{name}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    return folder


@pytest.fixture(scope="module")
def reference(images, small_weights, tmp_path_factory) -> dict[str, bytes]:
    """The maps that getsmaps.py makes."""
    output = tmp_path_factory.mktemp("reference")
    run(
        "getsmaps.py",
        "--input",
        images,
        "--output",
        output,
        "--weights",
        small_weights,
        "--batch-size",
        4,
        "--threads",
        1,
        "--backend",
        "torch",
    )
    assert len(maps(output)) == 22
    return maps(output)


@pytest.fixture
def store() -> Iterator[dict[str, str]]:
    """The environment of an S3 server that answers one request in twenty with 503."""
    pytest.importorskip("moto.server")
    command = [sys.executable, "-m", "benchmarks.s3_server", "--failures", "0.05"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield {**KEYS, "AWS_ENDPOINT_URL": server.stdout.readline().strip()}
    server.kill()
    server.wait()


def test_killers_are_set_aside_and_all_others_are_made_once(images, reference, small_weights, tmp_path) -> None:
    (tmp_path / "host.py").write_text(HOST_FILE)
    output = tmp_path / "maps"
    command = ("--input", images, "--output", output, "--weights", small_weights, "--host-file", tmp_path / "host.py")
    done = cluster(*command, "--workers", 2, "--attempts", 2, DIED=str(tmp_path / "died"))
    assert done.returncode == 1, done.stderr
    assert maps(output) == {name: content for name, content in reference.items() if name != "13.png"}
    assert (tmp_path / "died").exists()
    errors = {row["output"]: row["kind"] for row in rows(output) if row["error"]}
    assert errors == {"13.png": "killed its worker", "broken.png": "unreadable"}
    assert sorted(row["output"] for row in rows(output)) == sorted([*reference, "broken.png"])
    assert all(row["checksum"].startswith("sha256:") for row in rows(output) if not row["error"])
    assert "2 times while it was alone" in done.stderr
    assert "Traceback" not in done.stderr

    refused = cluster(*command)
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"error: --output {output} holds an earlier run: go on with --resume, or give another folder\n"
    )


def test_a_store_that_answers_503_and_credentials_stay_secret(
    images, reference, small_weights, tmp_path, store, monkeypatch
):
    import fsspec

    for name, value in store.items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem("s3", config_kwargs={"retries": {"max_attempts": 20, "mode": "standard"}})
    fs.mkdir("archive")
    fs.put(f"{images}/", "archive/images/", recursive=True)
    done = cluster(
        "--input", "s3://archive/images", "--output", "s3://archive/maps", "--weights", small_weights, "--workers", 1
    )
    assert done.returncode == 1, done.stderr
    fs.get("archive/maps/", f"{tmp_path}/maps/", recursive=True)
    assert maps(tmp_path / "maps") == reference
    everything = done.stdout + done.stderr + "".join(map(str, rows(tmp_path / "maps")))
    assert "AKIASECRET" not in everything
    assert "hidden-secret" not in everything


def test_ctrl_c_says_how_to_go_on_and_resume_makes_the_rest(images, reference, small_weights, tmp_path) -> None:
    output = tmp_path / "maps"
    arguments = (
        "--input",
        images,
        "--output",
        output,
        "--weights",
        small_weights,
        "--workers",
        1,
        "--backend",
        "torch",
    )
    command = [sys.executable, "-m", "inference.cluster", "--batch-size", "4", "--threads", "1", *map(str, arguments)]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while len(list(output.glob("*.png"))) < 4 and running.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    last = re.split(r"[\r\n]", said.strip())[-1]
    assert last == (
        "stopped by Ctrl-C: the maps that are there are whole; the same command with --resume makes the others"
    )
    done = cluster(*arguments, "--resume")
    assert done.returncode == 1  # the broken image
    assert maps(output) == reference
    good = [row["output"] for row in rows(output) if row["error"] is None]
    assert sorted(good) == sorted(reference)

    other = cluster(*arguments, "--resume", "--raw")
    assert other.returncode == 1
    assert "was begun with raw False, not True" in other.stderr.splitlines()[-1]


def test_bands_of_a_scene_on_two_workers_are_those_of_one_process(small_weights, tmp_path) -> None:
    rasterio = pytest.importorskip("rasterio")
    for package in ("pyogrio", "pyproj", "shapely"):
        pytest.importorskip(package)
    import numpy as np

    pixels = np.moveaxis(np.asarray(picture(96, 4200)), 2, 0)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": 96, "height": 4200, "crs": "EPSG:32632"}
    place = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_500_000)
    with rasterio.open(tmp_path / "scene.tif", "w", photometric="RGB", transform=place, **profile) as target:
        target.write(pixels)
    common = (
        "--scene",
        "--input",
        tmp_path / "scene.tif",
        "--context",
        96,
        "--overlap",
        0.25,
        "--weights",
        small_weights,
    )
    common = (*common, "--threads", 1, "--backend", "torch", "--batch-size", 4)
    polygons = ("--polygons", tmp_path / "own" / "objects.geojson")
    made = run("getsmaps.py", *common, "--output", tmp_path / "own", *polygons)
    assert made.returncode == 0, made.stderr
    polygons = ("--polygons", tmp_path / "maps" / "objects.geojson")
    done = run("-m", "inference.cluster", *common, "--output", tmp_path / "maps", *polygons, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert maps(tmp_path / "maps") == maps(tmp_path / "own")
    assert [row["megapixels"] for row in rows(tmp_path / "maps")] == [96 * 4200 / 1e6]
