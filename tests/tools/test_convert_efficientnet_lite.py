"""EfficientNet-Lite's file in other names and with TensorFlow's epsilon gives the same network in timm."""

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from models.config import DetectorConfig
from models.detector import build_detector
from tools.convert_efficientnet_lite import main


@pytest.fixture(scope="module")
def tensorflows() -> nn.Module:
    """A network as TensorFlow runs it, whose norms have seen images and vary so little that epsilon counts."""
    torch.manual_seed(0)
    network = timm.create_model("efficientnet_lite0").train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= 0.1
            elif isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = 1e-3, 1.0
        network(torch.randn(4, 3, 64, 64))
    return network.eval()


@pytest.fixture
def file(tensorflows, tmp_path):
    state = {key.replace("bn", "_bn").replace("conv", "_conv"): v for key, v in tensorflows.state_dict().items()}
    torch.save(state, tmp_path / "efficientnet-lite0-abc.pth")
    return tmp_path / "efficientnet-lite0-abc.pth"


def test_the_converted_network_is_the_same(tensorflows, file, tmp_path, capsys):
    main([str(file), "--output", str(tmp_path / "lite0.safetensors")])
    assert "--detector.encoder efficientnet_lite0" in capsys.readouterr().out
    network = timm.create_model("efficientnet_lite0").eval()
    assert network.bn1.eps == 1e-5
    network.load_state_dict(load_file(tmp_path / "lite0.safetensors"))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = network(image), tensorflows(image)
        network.load_state_dict(tensorflows.state_dict())
        unconverted = network(image)
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max())
    assert not torch.allclose(unconverted, theirs, rtol=1e-2, atol=1e-2 * theirs.abs().max())
    detector = build_detector(DetectorConfig("efficientnet_lite0", width=8), str(tmp_path / "lite0.safetensors"))
    assert torch.equal(detector.encoder.body.conv_stem.weight, tensorflows.conv_stem.weight)


@pytest.mark.parametrize(
    ("name", "why"),
    [("nowhere-lite0.pth", "no such file"), ("mine.pth", "does not say which"), ("lite1.pth", "another network")],
)
def test_bad_input_is_one_line(name, why, file, tmp_path):
    if "nowhere" not in name:
        (tmp_path / name).write_bytes(file.read_bytes())
    with pytest.raises(SystemExit, match=why):
        main([str(tmp_path / name), "--output", str(tmp_path / "out.safetensors")])
    assert not (tmp_path / "out.safetensors").exists()


def test_its_own_input_is_not_overwritten(file, tmp_path):
    source, link = tmp_path / "lite0.pth", tmp_path / "link.safetensors"
    source.write_bytes(file.read_bytes())
    link.symlink_to(source)
    with pytest.raises(SystemExit, match="which this command reads: give another name"):
        main([str(source), "--output", str(link)])
    assert source.read_bytes() == file.read_bytes()
