"""inference.cluster on real Dask clusters: each map once, equal to getsmaps.py's, whatever dies, waits or refuses."""

import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import ROOT, picture, run_script

pytest.importorskip("distributed")
pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
parquet = pytest.importorskip("pyarrow.parquet")

KEYS = {"AWS_ACCESS_KEY_ID": "AKIASECRET", "AWS_SECRET_ACCESS_KEY": "hidden-secret", "AWS_DEFAULT_REGION": "us-east-1"}
HOST_FILE = """
import os, signal, time
from inference.cluster import images
from models.hosts import register

SWITCHES = {switches!r}
read = images.inspect_pixels

def is_on(switch):
    return os.path.exists(os.path.join(SWITCHES, switch))

def strange(path, *more):
    name = os.path.basename(path)
    while name == "08.png" and is_on("hold"):
        time.sleep(0.02)
    if name == "once.png" and is_on("once"):
        os.remove(os.path.join(SWITCHES, "once"))
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "13.png" and is_on("always"):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, *more)

images.inspect_pixels = strange

@register("unused", shallow="a", context="b", logits="c")
def build(config, pretrained):
    raise NotImplementedError
"""
PATIENCE = 300
"""Seconds that a busy machine may take; nothing waits for them to pass."""


@dataclass
class Machines:
    """A scheduler with two workers, an S3 server that refuses, and switches that make images strange.

    Attributes:
        scheduler: its file.
        switches: a folder: with the file 'always' in it, 13.png kills its worker, with 'once' once.png does that once,
            and with 'hold' 08.png is not read before the file is removed.
        host_file: what reads the switches on a worker.
        environment: of everything that runs.
    """

    scheduler: Path
    switches: Path
    host_file: Path
    environment: dict[str, str]

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run inference.cluster on the two workers."""
        command = self.command("--scheduler", self.scheduler, *arguments)
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, env=self.environment)

    def run_images(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run it on images, with the host file."""
        return self.run("--host-file", self.host_file, *arguments)

    def command(self, *arguments: object) -> list[str]:
        fixed = ("--backend", "torch", "--batch-size", "4", "--threads", "1")
        return [sys.executable, "-m", "inference.cluster", *fixed, *map(str, arguments)]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, env: dict[str, str], **more: int) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, text=True, env=env, **more)
        started.append(process)
        return process

    environment = {**os.environ, **KEYS}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    file, dask = folder / "scheduler.json", "distributed.cli.dask_"
    switches = folder / "switches"
    switches.mkdir()
    (folder / "host.py").write_text(HOST_FILE.format(switches=str(switches)))
    try:
        store = start("benchmarks.s3_server", "--failures", "0.05", env=environment, stdout=subprocess.PIPE)
        place = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        start(f"{dask}scheduler", *place, "--no-dashboard", env=environment, **quiet)
        assert store.stdout is not None
        environment["AWS_ENDPOINT_URL"] = store.stdout.readline().strip()
        size = ("--nworkers", "2", "--nthreads", "1", "--memory-limit", "0", "--local-directory", str(folder))
        start(f"{dask}worker", "--scheduler-file", str(file), *size, "--no-dashboard", env=environment, **quiet)
        until(file.exists, started[1])
        yield Machines(file, switches, folder / "host.py", environment)
    finally:
        for process in reversed(started):
            process.kill()  # workers end with their nanny
        for process in started:
            process.wait(PATIENCE)


def until(happens, process: subprocess.Popen) -> None:
    """Wait until something happens; fail if a process ends before."""
    end = time.monotonic() + PATIENCE
    while not happens():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)


def own_maps(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run getsmaps.py in this process; return its exit status."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the script changes
    fixed = ("--backend", "torch", "--batch-size", "4", "--threads", "1")
    monkeypatch.setattr(sys, "argv", ["getsmaps.py", *fixed, *map(str, arguments)])
    try:
        run_script(ROOT / "getsmaps.py")
    except SystemExit:
        return 1
    return 0


def maps(folder: Path) -> dict[str, bytes]:
    """Return everything below a folder apart from the manifest."""
    found = (path for path in folder.rglob("*") if path.is_file() and "_manifest" not in path.parts)
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRAL_CACHE", str(output.parent))
        assert own_maps(patch, "--input", images, "--output", output, "--weights", small_weights) == 1  # broken.jpg
    assert len(maps(output)) == 22
    return maps(output)


def test_killers_are_set_aside_and_all_others_are_made_once(
    images, reference, small_weights, tmp_path, machines
) -> None:
    output = tmp_path / "maps"
    for switch in ("always", "once"):
        (machines.switches / switch).touch()
    arguments = ("--input", images, "--output", output, "--weights", small_weights)
    done = machines.run_images(*arguments, "--attempts", 1)
    (machines.switches / "always").unlink()
    assert done.returncode == 1, done.stderr
    assert not (machines.switches / "once").exists()  # a worker died of it
    assert maps(output) == {name: content for name, content in reference.items() if name != "13.png"}
    errors = {row["output"]: row["kind"] for row in rows(output) if row["error"]}
    assert errors == {"13.png": "killed its worker", "broken.png": "unreadable"}
    assert sorted(row["output"] for row in rows(output)) == sorted([*reference, "broken.png"])
    assert all(row["checksum"].startswith("sha256:") for row in rows(output) if not row["error"])
    assert "1 times while it was alone" in done.stderr
    assert "21 images to " in done.stdout
    assert "Traceback" not in done.stderr

    refused = machines.run_images(*arguments)
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"error: --output {output} holds an earlier run: go on with --resume, or give another folder\n"
    )


def test_a_store_that_answers_503_and_credentials_stay_secret(
    images, reference, small_weights, tmp_path, machines, monkeypatch
):
    import fsspec

    for name in (*KEYS, "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, machines.environment[name])
    fs = fsspec.filesystem("s3", config_kwargs={"retries": {"max_attempts": 20, "mode": "standard"}})
    fs.mkdir("archive")
    fs.put(f"{images}/", "archive/images/", recursive=True)
    done = machines.run_images(
        "--input", "s3://archive/images", "--output", "s3://archive/maps", "--weights", small_weights
    )
    assert done.returncode == 1, done.stderr
    fs.get("archive/maps/", f"{tmp_path}/maps/", recursive=True)
    assert maps(tmp_path / "maps") == reference
    everything = done.stdout + done.stderr + "".join(map(str, rows(tmp_path / "maps")))
    assert "AKIASECRET" not in everything
    assert "hidden-secret" not in everything


def test_ctrl_c_says_how_to_go_on_and_resume_makes_the_rest(
    images, reference, small_weights, tmp_path, machines
) -> None:
    output, hold = tmp_path / "maps", machines.switches / "hold"
    arguments = ("--input", images, "--output", output, "--weights", small_weights)
    hold.touch()  # so that the run cannot be finished when Ctrl-C comes
    command = machines.command("--workers", 1, "--host-file", machines.host_file, *arguments)
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until(lambda: len(list(output.glob("*.png"))) >= 4, running)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=PATIENCE)
    hold.unlink()
    assert running.returncode == 130, said
    last = re.split(r"[\r\n]", said.strip())[-1]
    assert last == (
        "stopped by Ctrl-C: the maps that are there are whole; the same command with --resume makes the others"
    )
    made = maps(output)
    assert len(made) < len(reference)
    assert made.items() <= reference.items()

    done = machines.run_images(*arguments, "--resume")
    assert done.returncode == 1  # the broken image
    assert maps(output) == reference
    good = [row["output"] for row in rows(output) if row["error"] is None]
    assert sorted(good) == sorted(reference)

    other = machines.run_images(*arguments, "--resume", "--raw")
    assert other.returncode == 1
    assert "was begun with raw False, not True" in other.stderr.splitlines()[-1]


def test_bands_of_a_scene_on_two_workers_are_those_of_one_process(
    small_weights, tmp_path, machines, monkeypatch
) -> None:
    rasterio = pytest.importorskip("rasterio")
    for package in ("pyogrio", "pyproj", "shapely"):
        pytest.importorskip(package)
    import numpy as np

    from inference.scenes.windows import make_grid

    pixels = np.moveaxis(np.asarray(picture(96, 2144)), 2, 0)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": 96, "height": 2144, "crs": "EPSG:32632"}
    place = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_500_000)
    with rasterio.open(tmp_path / "scene.tif", "w", photometric="RGB", transform=place, **profile) as target:
        target.write(pixels)
    common = ("--scene", "--input", tmp_path / "scene.tif", "--context", 96, "--overlap", 0.25)
    common = (*common, "--weights", small_weights)
    own, output = tmp_path / "own", tmp_path / "maps"
    assert own_maps(monkeypatch, *common, "--output", own, "--polygons", own / "objects.geojson") == 0
    done = machines.run(*common, "--output", output, "--polygons", output / "objects.geojson")
    assert done.returncode == 0, done.stderr
    assert make_grid((2144, 96), [96], 0.25, input_size=(64, 96)).bands == 2
    assert maps(output) == maps(own)
    assert [row["megapixels"] for row in rows(output)] == [96 * 2144 / 1e6]
