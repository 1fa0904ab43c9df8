"""examples/: each program runs as its help says, and its maps are those of getsmaps.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.export import exporter
from tests.helpers import ROOT

EXAMPLES = ROOT / "examples"
IMAGES = ROOT / "datasets" / "sample" / "test-images"
LONGEST = 40
"""Lines of an example."""


def run(*command: str | Path, where: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=where, capture_output=True, text=True, timeout=300)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network lite2 in fp32: unlike int8, it moves little where the resize moves a pixel by one level."""
    pytest.importorskip("onnxscript", reason="requirements-onnx.txt is not installed")
    file = tmp_path_factory.mktemp("network") / "network.onnx"
    exporter.export(ROOT / "weights" / "lite2_eorssd.safetensors", "onnx", file, "one")
    return file


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of the sample set."""
    folder = tmp_path_factory.mktemp("images")
    for image in sorted(IMAGES.iterdir())[:3]:
        shutil.copy(image, folder)
    return folder


@pytest.fixture(scope="module")
def maps(network: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The maps of getsmaps.py with the same network: of the images' sizes, and raw ones of the network's."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("original", "raw")}
    for name, options in (("original", ["--size", "original"]), ("raw", ["--raw"])):
        command = [sys.executable, "getsmaps.py", "--weights", network, "--input", images, "--output", folders[name]]
        done = run(*command, *options)
        assert done.returncode == 0, done.stderr
    return folders


def test_an_example_is_short() -> None:
    programs = [path for path in EXAMPLES.rglob("*") if path.suffix in (".py", ".sh", ".mjs") and path.is_file()]
    ours = [path for path in programs if "node_modules" not in path.parts]
    assert len(ours) >= 4
    assert not [path.name for path in ours if len(path.read_text().splitlines()) > LONGEST]


def test_onnx_runtime_alone(network: Path, images: Path, maps: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="requirements-onnx.txt is not installed")
    image = min(images.iterdir())
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(0), run_name='__main__'); assert 'torch' not in sys.modules"
    program = EXAMPLES / "onnx_runtime.py"
    code = f"import sys; sys.argv[0] = {str(program)!r}; " + code.replace("sys.argv.pop(0)", "sys.argv[0]")
    done = run(sys.executable, "-c", code, image, tmp_path / "map.png", network)
    assert done.returncode == 0, done.stderr
    difference = np.abs(pixels(tmp_path / "map.png") - pixels(maps["original"] / f"{image.stem}.png"))
    assert difference.mean() < 0.2
    assert (difference > 8).mean() < 0.001


def test_onnx_runtime_takes_the_shipped_file(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="requirements-onnx.txt is not installed")
    done = run(sys.executable, EXAMPLES / "onnx_runtime.py", min(images.iterdir()), tmp_path / "map.png")
    assert done.returncode == 0, done.stderr
    assert pixels(tmp_path / "map.png").max() > 200


def test_openvino_alone(network: Path, images: Path, maps: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="requirements-openvino.txt is not installed")
    done = run(sys.executable, EXAMPLES / "openvino_runtime.py", images, tmp_path, network)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in maps["raw"].iterdir())
    for path in tmp_path.iterdir():
        difference = np.abs(pixels(path) - pixels(maps["raw"] / path.name))
        assert difference.mean() < 0.5
        assert (difference > 16).mean() < 0.005


def test_node(network: Path, images: Path, maps: dict[str, Path], tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("Node.js with npm is not installed")
    folder = shutil.copytree(EXAMPLES / "node", tmp_path / "node", ignore=shutil.ignore_patterns("node_modules"))
    installed = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", where=folder)
    if installed.returncode:
        pytest.skip(f"npm ci cannot install onnxruntime-node and sharp: {installed.stderr[-200:]}")
    image = min(images.iterdir())
    done = run("node", "saliency.mjs", image, tmp_path / "map.png", network, where=folder)
    assert done.returncode == 0, done.stderr
    difference = np.abs(pixels(tmp_path / "map.png") - pixels(maps["original"] / f"{image.stem}.png"))
    assert difference.mean() < 1
    assert (difference > 32).mean() < 0.005


def test_the_notebook_runs() -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (requirements-dev.txt)")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (requirements-dev.txt)")
    notebook = nbformat.read(EXAMPLES / "saliency.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # outputs are not committed
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    printed = "".join(output.get("text", "") for output in outputs)
    assert float(printed.split("F-measure ")[1]) > 0.5


def test_fine_tuning(tmp_path: Path) -> None:
    """One epoch on four pairs of 64×64: the run, its best weights and the maps of all images are there."""
    for split in ("images", "labels"):
        (tmp_path / split).mkdir()
        for file in sorted((ROOT / "datasets" / "sample" / f"train-{split}").iterdir())[:4]:
            with Image.open(file) as image:
                image.resize((64, 64)).save(tmp_path / split / f"{file.stem}.png")
    command = [EXAMPLES / "fine_tune.sh", tmp_path / "images", tmp_path / "labels", tmp_path / "run"]
    environment = os.environ | {"PYTHON": sys.executable}
    options = ["--epochs", "1", "--batch_size", "2", "--detector.input_size", "[64,64]", "--device", "cpu"]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "run" / "maps").glob("*.png"))) == 4
    assert (tmp_path / "run" / "best.safetensors").is_file()


def test_fine_tuning_explains_itself() -> None:
    done = run(EXAMPLES / "fine_tune.sh")
    assert done.returncode == 2
    assert "fine_tune.sh IMAGES MASKS RUN" in done.stderr
