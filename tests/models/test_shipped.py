"""What lies in weights/: every file runs and has its card, the exports agree with their network, all of it is small."""

import re

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from datasets.io import open_image
from inference.backends import open_backend
from models.weights import LITE2, load_detector, read_header
from tests.helpers import ROOT
from tools.make_sample import make_sample_set

FOLDER = ROOT / "weights"
NETWORKS = sorted(FOLDER.glob("*.safetensors"))
EXPORTS = sorted([*FOLDER.glob("*.onnx"), *FOLDER.glob("*.xml")])


@pytest.fixture(scope="module")
def pixels(tmp_path_factory) -> np.ndarray:
    """A rendered scene as the network reads it."""
    root = make_sample_set(tmp_path_factory.mktemp("sample"), train=1, test=1)
    scene = open_image(next((root / "test-images").iterdir()))
    return np.array(scene.resize((224, 224)))[None]


def runs(about: dict) -> list[dict]:
    """What a file says of each training behind it: a mean says it of all that are in it, which may be means too."""
    parts = about.get("soup_of", about.get("average_of"))  # the older name is in shipped files
    return [about] if parts is None else [run for part in parts for run in runs(part)]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.name)
def test_a_network_finds_something(path, pixels):
    saliency = open_backend("torch", path)(pixels)
    assert saliency.shape == (1, 448, 448)
    assert saliency.max() > 0.9
    assert saliency.mean() < 0.5
    about = read_header(path)["about"]
    for run in runs(about):
        assert {"command", "epoch", "validation", "seed"} <= set(run)
        assert not re.search(r"(^|[\s=\"'])/", run["command"])  # a path of one machine is of no use elsewhere
    assert str(ROOT) not in str(about)


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.name)
def test_an_export_makes_its_networks_maps(path, pixels):
    pytest.importorskip("onnxruntime" if path.suffix == ".onnx" else "openvino", reason="not installed")
    backend = open_backend(None, path)
    network = FOLDER / f"{path.stem.removesuffix('_int8')}.safetensors"
    difference = np.abs(backend(pixels) - open_backend("torch", network)(pixels)).mean()
    assert difference < (0.02 if backend.precision == "int8" else 1e-5)


def parameters(detector) -> int:
    return sum(parameter.numel() for parameter in detector.parameters())


def test_the_light_network_is_light():
    detector = load_detector(LITE2)
    assert parameters(detector) <= 5e6
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        detector(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 2 <= 2e9


def test_the_stronger_network_is_no_giant():
    assert 5e6 < parameters(load_detector(FOLDER / "strong_eorssd.safetensors")) <= 30e6


def test_each_file_has_its_card_and_all_are_small():
    card = (FOLDER / "README.md").read_text()
    assert not [path.name for path in NETWORKS + EXPORTS if path.name not in card]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 90e6
