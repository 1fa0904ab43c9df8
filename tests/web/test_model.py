"""The page's network file, made of the shipped int8 file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.io import read_pixels

ROOT = Path(__file__).parents[2]
onnx = pytest.importorskip("onnx", reason="onnx is missing: requirements-onnx.txt")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is missing: requirements-onnx.txt")


def write_network(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "web.model", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_activations_are_float_and_maps_stay(tmp_path):
    path = tmp_path / "model.onnx"
    ran = write_network(path)
    assert ran.returncode == 0, ran.stderr
    assert not [node for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"]
    assert path.stat().st_size < 6e6
    with Image.open(ROOT / "web" / "samples" / "tanks.jpg") as image:
        pixels, _ = read_pixels(image, (224, 224))
    maps = [
        ort.InferenceSession(file).run(["saliency"], {"image": pixels[None]})[0]
        for file in (path, ROOT / "weights" / "lite2_eorssd_int8.onnx")
    ]
    assert np.abs(maps[0] - maps[1]).mean() < 0.01


@pytest.mark.parametrize("name", ["README.md", "missing.onnx"])
def test_another_file_is_refused_in_one_line(tmp_path, name):
    ran = write_network(tmp_path / "model.onnx", "--weights", name)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"error: {name}: ")
    assert ran.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_its_own_input_is_not_overwritten(tmp_path):
    path = tmp_path / "model.onnx"
    content = (ROOT / "weights" / "lite2_eorssd_int8.onnx").read_bytes()
    path.write_bytes(content)
    ran = write_network(path, "--weights", path)
    assert ran.returncode == 1
    assert ran.stderr == f"error: OUTPUT {path} is {path}, which this command reads: give another name\n"
    assert path.read_bytes() == content
