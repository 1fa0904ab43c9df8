"""Other input sizes than the training's: the same network on an image that is resized to another size."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import getsmaps
from inference.input_size import open_at_size
from models.config import DetectorConfig
from models.detector import build_detector
from models.weights import load_detector
from tests.helpers import normalized, picture


def test_the_network_sees_the_image_at_that_size(small_weights, tmp_path, monkeypatch):
    picture(200, 160).save(tmp_path / "a.png")
    common = ["getsmaps.py", "--weights", str(small_weights), "--input", str(tmp_path / "a.png"), "--raw"]
    monkeypatch.setattr(sys, "argv", [*common, "--output", str(tmp_path / "maps"), "--input-size", "128,160"])
    getsmaps.main()
    written = np.asarray(Image.open(tmp_path / "maps" / "a.png"), dtype=int)
    assert written.shape == (256, 320)
    detector = load_detector(small_weights)
    planes = torch.from_numpy(np.asarray(picture(200, 160)).copy()).permute(2, 0, 1)[None]
    pixels = torch.nn.functional.interpolate(planes, (128, 160), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = detector(normalized(pixels.permute(0, 2, 3, 1), detector.config))["logits"]
    assert np.abs(written - (logits.sigmoid()[0, 0].numpy() * 255).astype(int)).max() <= 1


def test_every_backend_takes_another_size(small_weights):
    pixels = np.asarray(picture(96, 96))[None]
    expected = open_at_size((96, 96), "torch", small_weights)(pixels)
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
        found = open_at_size((96, 96), name, small_weights)
        assert found.input_size == (96, 96)
        assert np.abs(found(pixels) - expected).max() < 1e-3


def test_a_size_that_does_not_work_is_refused(small_weights):
    with pytest.raises(ValueError, match="nearest that works is 96×96"):
        open_at_size((100, 100), None, small_weights)
    detector = build_detector(DetectorConfig("hiera_tiny_224", width=8, head_channels=(8, 8))).eval()
    with pytest.raises(ValueError, match="input size 96×96: hiera_tiny_224 is built for 224×224 alone"):
        open_at_size((96, 96), None, detector)
    assert detector.config.input_size == (224, 224)


def test_an_enlarged_encoder_input_keeps_its_proportion(small_weights):
    config = DetectorConfig("lcnet_035", 8, (8, 8), input_size=(64, 64), encoder_size=(128, 128))
    detector = build_detector(config).eval()
    pixels = np.asarray(picture(96, 96))[None]
    with torch.no_grad():
        logits = detector(normalized(torch.from_numpy(pixels.copy()), config))["logits"]
    found = open_at_size((96, 96), "torch", detector)(pixels)
    assert np.abs(found[0] - logits.sigmoid()[0, 0].numpy()).max() < 1e-4


@pytest.mark.parametrize("text", ["3x", "1,2,3", "", "a"])
def test_another_text_is_one_line(text, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["getsmaps.py", "--input", "a.png", "--output", str(tmp_path), "--input-size", text]
    )
    with pytest.raises(SystemExit):
        getsmaps.main()
    assert "write one number for a square, or HEIGHT,WIDTH" in capsys.readouterr().err
