"""hubconf.py gives the networks from any folder, whoever else has a `datasets` or a `models`."""

import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.detector import Detector
from models.sral import SRAL
from models.weights import LITE2, load_detector
from tests.helpers import ROOT, picture, run_script

ELSEWHERE = """
import json, sys, torch
repository, weights, image = sys.argv[1:]

def load(name, **options):
    return torch.hub.load(repository, name, source="local", **options)

network = load("sral", weights=weights)
saliency = load("saliency", weights=weights)
import utils, datasets, datasets.features  # the other one, found on this folder's path
again = load("sral", weights=weights)  # now the other one is loaded and must step aside
import datasets as still
assert utils.whose == "theirs" and sys.modules["utils"] is utils
same = torch.equal(*(each(torch.ones(1, 3, 64, 96))["logits"] for each in (network, again)))
saliency(image).save("map.png")
print(json.dumps([datasets.whose, datasets.features.whose, still is datasets, same, repository in sys.path]))
"""


def load(name: str, **options: object) -> object:
    return torch.hub.load(str(ROOT), name, source="local", **options)


def write_picture(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_from_another_folder_beside_another_datasets_package(tmp_path, small_weights):
    other = tmp_path / "datasets"
    other.mkdir()
    (other / "__init__.py").write_text("whose = 'theirs'")
    (other / "features.py").write_text("whose = 'theirs too'")
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").write_text("whose = 'theirs'")
    write_picture(tmp_path / "harbor.png")
    (tmp_path / "script.py").write_text(ELSEWHERE)
    command = [sys.executable, "script.py", str(ROOT), str(small_weights), "harbor.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["theirs", "theirs too", True, True, False]
    assert Image.open(tmp_path / "map.png").size == (192, 128)


def test_the_entry_points_are_two_and_say_what_they_do():
    hub = torch.hub._import_module("hubconf", str(ROOT / "hubconf.py"))
    entries = [name for name in dir(hub) if callable(getattr(hub, name)) and not name.startswith("_")]
    assert entries == ["saliency", "sral"]  # as torch.hub.list finds them
    assert all("Args:" in getattr(hub, name).__doc__ for name in entries)
    torch.hub._check_dependencies(hub)


def test_a_detector_from_a_weights_file(small_weights):
    network, rgb = load("sral", weights=str(small_weights)), torch.rand(1, 3, 64, 96)
    assert isinstance(network, Detector)
    assert not network.training
    with torch.no_grad():
        assert torch.equal(network(rgb)["logits"], load_detector(small_weights)(rgb)["logits"])


def test_the_training_network_from_a_weights_file(small_weights):
    network = load("sral", weights=str(small_weights), training=True)
    assert isinstance(network, SRAL)
    assert network.training
    assert network.config.detector.width == 16


def test_networks_from_a_configuration(tmp_path):
    detector = load("sral", encoder="resnet18", width=8, head_channels=(4, 4), input_size=(64, 64))
    assert isinstance(detector, Detector)
    assert not detector.training
    assert detector.config.width == 8
    torch.save(detector.encoder.body.state_dict(), tmp_path / "encoder.pth")
    options = {"encoder": "resnet18", "width": 8, "encoder_weights": str(tmp_path / "encoder.pth")}
    network = load("sral", training=True, guidance=False, **options)
    assert isinstance(network, SRAL)
    assert network.training
    assert network.tfgm is None
    ours, theirs = detector.encoder.body.conv1.weight, network.detector.encoder.body.conv1.weight
    assert torch.equal(ours, theirs)


def test_the_map_is_that_of_getsmaps(tmp_path, small_weights, monkeypatch):
    write_picture(tmp_path / "a.png")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the script changes
    ways = {
        "default": ({}, []),
        "own": ({"size": "original", "raw": True}, ["--size", "original", "--raw"]),
        "mean": ({"tta": "mirror"}, ["--tta", "mirror"]),
    }
    for name, (options, flags) in ways.items():
        saliency = load("saliency", weights=str(small_weights), **options)
        files = ["--weights", small_weights, "--input", tmp_path / "a.png", "--output", tmp_path / name]
        monkeypatch.setattr(sys, "argv", ["getsmaps.py", *(str(part) for part in files), *flags])
        run_script(ROOT / "getsmaps.py")
        written = np.asarray(Image.open(tmp_path / name / "a.png"))
        for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.open(tmp_path / "a.png")):
            assert np.array_equal(np.asarray(saliency(given)), written)


def test_without_weights_the_light_network_makes_the_map(tmp_path):
    write_picture(tmp_path / "a.png")
    maps = [load("saliency", **weights)(tmp_path / "a.png") for weights in ({}, {"weights": str(LITE2)})]
    assert maps[0].size == (448, 448)
    assert np.array_equal(*map(np.asarray, maps))


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("sral", {"bogus": 1}, "DetectorConfig has no bogus"),
        ("sral", {"encoder": "resnet19"}, "no network of that name"),
        ("sral", {"weights": "nowhere.safetensors"}, "no such file"),
        ("sral", {"weights": "nowhere.safetensors", "width": 3}, "width: a weights file says that itself"),
        ("sral", {"training": True, "super_resolution": False}, "guidance needs super_resolution"),
        ("saliency", {"weights": "nowhere.safetensors"}, "no such file"),
        ("saliency", {"weights": "SMALL", "size": 300}, "choose network or original"),
        ("saliency", {"weights": "SMALL", "tta": "all"}, "choose mirror or eight"),
        ("saliency", {"weights": "SMALL", "symmetries": "mirror"}, "symmetries is now tta: use tta='mirror'"),
        ("saliency", {"weights": "SMALL", "precision": "int8"}, "is for exported networks"),
        (
            "saliency",
            {"weights": "SMALL", "backend": "tensorrt"},
            "choose torch, compile, cudagraphs, onnxruntime, openvino",
        ),
        ("saliency", {"weights": "SMALL", "device": "tpu"}, "choose auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_what_is_not_there_is_an_error(name, options, why, small_weights):
    if options.get("weights") == "SMALL":
        options = options | {"weights": str(small_weights)}
    with pytest.raises((ValueError, FileNotFoundError), match=why):
        load(name, **options)


def test_arrays_tensors_and_batches_give_the_image_files_maps(tmp_path, small_weights):
    pictures = [picture(90, 70, seed) for seed in range(3)]
    saliency = load("saliency", weights=str(small_weights))
    one_by_one = [np.asarray(saliency(each)) for each in pictures]
    arrays = np.stack([np.asarray(each) for each in pictures])
    tensors = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    assert np.array_equal(np.asarray(saliency(arrays[1])), one_by_one[1])
    assert np.array_equal(np.asarray(saliency(tensors[1])), one_by_one[1])
    assert np.array_equal(np.asarray(saliency(tensors[1].float() / 255)), one_by_one[1])
    for batch in (pictures, arrays, tensors, tensors.double() / 255, [pictures[0], arrays[1], tensors[2]]):
        for ours, alone in zip(saliency(batch), one_by_one, strict=True):
            assert np.abs(np.asarray(ours, int) - alone).max() <= 1  # a batch rounds as a batch
    assert saliency([]) == []


def test_a_batch_is_one_call_and_floats_are_what_images_are_made_of(small_weights):
    images = np.stack([np.asarray(picture(90, 70, seed)) for seed in range(3)])
    saliency = load("saliency", weights=str(small_weights), output="float", size="original", raw=True)
    calls, network = [], saliency.network
    saliency.network = lambda pixels: calls.append(pixels.shape) or network(pixels)
    maps = saliency(images)
    assert calls == [(3, 64, 96, 3)]
    assert maps.shape == (3, 70, 90)
    assert maps.dtype == np.float32
    assert 0 <= maps.min() < maps.max() <= 1
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert torch.equal(saliency(tensors), torch.from_numpy(maps)[:, None])
    assert saliency(tensors[0]).shape == (1, 70, 90)
    gray = load("saliency", weights=str(small_weights), size="original", raw=True)(list(images))
    assert all(np.array_equal(np.asarray(of), (m * 255).astype(np.uint8)) for of, m in zip(gray, maps, strict=True))


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (torch.zeros(70, 90, 3), "a tensor of 70×90×3: expected 3×H×W"),
        (torch.full((3, 70, 90), 2.0), r"holds 2 to 2: expected RGB in \[0, 1\]"),
        (torch.full((3, 70, 90), float("nan")), r"expected RGB in \[0, 1\]"),
        (torch.zeros(3, 70, 90, dtype=torch.int64), "torch.int64: expected uint8"),
        (np.zeros((70, 90, 3), np.float32), "float"),
    ],
)
def test_values_that_would_be_guessed_are_refused(image, why, small_weights):
    with pytest.raises(ValueError, match=why):
        load("saliency", weights=str(small_weights))(image)
    with pytest.raises(ValueError, match="choose image or float"):
        load("saliency", weights=str(small_weights), output="png")


def test_what_cannot_be_sent_to_a_process_says_what_to_do(small_weights):
    saliency = load("saliency", weights=str(small_weights))
    with pytest.raises(TypeError, match=r"load it in each, by torch\.hub\.load"):
        pickle.dumps(saliency)
