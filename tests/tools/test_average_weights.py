"""The mean of several runs' weights."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from models.config import DetectorConfig, TokensConfig
from models.detector import build_detector
from models.fixres import at_resolution
from models.weights import load_detector, read_header, save_weights
from tests.helpers import small_network, speaking_detector
from tools.average_weights import average
from tools.run_networks import load_network
from training.checkpoint import checkpoints


def test_the_mean_of_files_is_one_network(root, tmp_path):
    one, other = small_network(), build_detector(small_network().config.detector)
    save_weights(tmp_path / "one.safetensors", one, {"seed": 1})
    save_weights(tmp_path / "other.safetensors", other, {"seed": 2})
    files = [str(tmp_path / f"{name}.safetensors") for name in ("one", "other", "mean")]
    subprocess.run(
        [sys.executable, "-m", "tools.average_weights", *files[:2], "--output", files[2]], cwd=root, check=True
    )
    mean = load_detector(files[2])
    assert mean.config == one.config.detector
    for key, value in mean.state_dict().items():
        ours, theirs = one.detector.state_dict()[key], other.state_dict()[key]
        torch.testing.assert_close(value, (ours + theirs) / 2 if value.is_floating_point() else ours)
    about = read_header(files[2])["about"]
    assert about["command"].startswith("tools.average_weights ")
    assert about["average_of"] == [{"seed": 1}, {"seed": 2}]


def test_one_file_is_its_own_mean(small_weights, tmp_path):
    average([small_weights, small_weights, small_weights], tmp_path / "mean.safetensors")
    ours, theirs = (load_detector(path).state_dict() for path in (tmp_path / "mean.safetensors", small_weights))
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key])


def test_stages_of_a_run_and_another_size(trained_run, tmp_path):
    stages = checkpoints(trained_run)
    assert len(stages) == 2
    last = load_detector(trained_run / "last.safetensors")
    start = build_detector(replace(last.config, encoder_size=(96, 96)))
    save_weights(tmp_path / "start.safetensors", start)
    average([*stages, tmp_path / "start.safetensors"], tmp_path / "mean.safetensors")

    mean = load_detector(tmp_path / "mean.safetensors")
    assert mean.config == last.config
    parts = [load_network(path)[1].detector.state_dict() for path in stages] + [start.state_dict()]
    for key, value in mean.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, sum(part[key] for part in parts) / 3)
    assert read_header(tmp_path / "mean.safetensors")["about"]["average_of"][0]["checkpoint"] == stages[0].stem


def test_a_mean_has_the_first_ones_grid(tmp_path):
    tokens = TokensConfig("vit_tiny_patch16_224", (3, 4), (1,))
    coarse = speaking_detector(DetectorConfig("lcnet_035", 8, (8, 8), input_size=(64, 96), tokens=tokens))
    fine = at_resolution(coarse, token_grid=(5, 6))
    fine.encoder.tokens.body.model.pos_embed.data += 1  # resampled, it is one everywhere as well
    for name, detector in (("coarse", coarse), ("fine", fine)):
        save_weights(tmp_path / f"{name}.safetensors", detector)
    average([tmp_path / "fine.safetensors", tmp_path / "coarse.safetensors"], tmp_path / "mean.safetensors")
    mean = load_detector(tmp_path / "mean.safetensors")
    assert mean.config == fine.config
    for key, value in mean.state_dict().items():
        wanted = fine.state_dict()[key]
        torch.testing.assert_close(value, wanted - 0.5 if key.endswith("pos_embed") else wanted)


def test_other_detectors_are_refused(small_weights, tmp_path):
    config = replace(small_network().config.detector, head="quarter")
    save_weights(tmp_path / "other.safetensors", build_detector(config))
    with pytest.raises(ValueError, match=r"another detector than .*small\.safetensors"):
        average([small_weights, tmp_path / "other.safetensors"], tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()
