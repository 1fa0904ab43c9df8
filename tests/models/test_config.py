"""Configurations: what is refused, in one line that names key, value and remedy; what they give back."""

import dataclasses
import json

import pytest

from models.config import DetectorConfig, HostConfig, SRALConfig, TokensConfig
from training.config import parser
from utils.config import from_dict


def test_a_configuration_survives_json():
    config = SRALConfig(DetectorConfig("lcnet_035", tokens=TokensConfig(blocks=(1, 2)), host=HostConfig("Unet")))
    assert from_dict(SRALConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (5, "configuration must be a dictionary or an instance of SRALConfig, not 5"),
        ({"detector": {"tokens": {"weights": 1}}}, "detector.tokens: TokensConfig has no weights; it has blocks"),
        ({"detector": {"width": 64.0}}, "configuration.detector.width must be a valid integer, not 64.0"),
        ({"detector": {"input_size": [0, 32]}}, "detector.input_size.0 must be at least 1, not 0"),
        ({"detector": {"std": [0, 1, 1]}}, "detector.std.0 must be at least"),
        ({"detector": {"encoder": "hf-hub:a/b"}}, "detector.encoder must be the name of one of timm's own networks"),
        ({"asrd": {"residual": "none"}}, "asrd.residual must be 'added' or 'bare', not 'none'"),
        ({"guidance": "yes"}, "guidance must be a valid boolean, not 'yes'"),
    ],
)
def test_what_is_refused_is_named(values, why):
    with pytest.raises(ValueError, match="configuration") as error:
        from_dict(SRALConfig, values)
    assert why in str(error.value)
    assert str(error.value).isprintable()


def test_a_constructor_and_a_replacement_are_checked_too():
    with pytest.raises(ValueError, match=r"^detector\.width must be at least 1, not 0$"):
        DetectorConfig(width=0)
    with pytest.raises(ValueError, match=r"^tokens\.grid\.0 must be at most 128, not 129$"):
        dataclasses.replace(TokensConfig(), grid=(129, 1))
    with pytest.raises(ValueError, match=r"^detector\.encoder must be the name"):
        DetectorConfig("a/b")


def test_a_command_line_takes_them():
    arguments = ["--detector.tokens={grid: [3, 4]}", "--detector.head_channels=[8, 4]", "--asrd.dropout=[0, 0.5]"]
    found = parser().instantiate(parser().parse_args(arguments))
    assert found.detector == DetectorConfig(tokens=TokensConfig(grid=(3, 4)), head_channels=(8, 4))
    assert found.asrd.dropout == (0, 0.5)
