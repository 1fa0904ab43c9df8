"""The mean of several runs' weights."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import small_network

from models.detector import build_detector
from models.weights import load_detector, read_header, save_weights
from training.soup import soup


def test_the_mean_of_files_is_one_network(root, tmp_path):
    one, other = small_network(), build_detector(small_network().config.detector)
    save_weights(tmp_path / "one.safetensors", one, {"seed": 1})
    save_weights(tmp_path / "other.safetensors", other, {"seed": 2})
    files = [str(tmp_path / f"{name}.safetensors") for name in ("one", "other", "mean")]
    subprocess.run([sys.executable, "-m", "training.soup", *files[:2], "--output", files[2]], cwd=root, check=True)
    mean = load_detector(files[2])
    assert mean.config == one.config.detector
    for key, value in mean.state_dict().items():
        ours, theirs = one.detector.state_dict()[key], other.state_dict()[key]
        torch.testing.assert_close(value, (ours + theirs) / 2 if value.is_floating_point() else ours)
    assert read_header(files[2])["about"] == {"soup_of": [{"seed": 1}, {"seed": 2}]}


def test_one_file_is_its_own_mean(small_weights, tmp_path):
    soup([small_weights, small_weights, small_weights], tmp_path / "mean.safetensors")
    ours, theirs = (load_detector(path).state_dict() for path in (tmp_path / "mean.safetensors", small_weights))
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key])


def test_other_detectors_are_refused(small_weights, tmp_path):
    config = replace(small_network().config.detector, encoder_size=(96, 160))
    save_weights(tmp_path / "other.safetensors", build_detector(config))
    with pytest.raises(ValueError, match=r"another detector than .*small\.safetensors"):
        soup([small_weights, tmp_path / "other.safetensors"], tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()
