"""docs/configuration.md: current, whole, and its defaults are those that a run records."""

import re
from dataclasses import replace

import yaml

from models.config import HostConfig, TokensConfig
from tests.helpers import ROOT
from tools.configuration import PAGE, page
from training.config import TrainingConfig, flatten, parse, plain


def test_the_page_is_current():
    assert PAGE.read_text() == page(), "run python -m tools.configuration"


def test_every_key_is_there_with_its_default():
    rows = re.findall(r"^\| `([\w.]+)` \| [^|]+ \| (required|`[^`]+`) \| [^|]{5,} \|$", PAGE.read_text(), re.MULTILINE)
    found = {key: yaml.safe_load(text.strip("`")) for key, text in rows}
    settings = plain(TrainingConfig())
    expected = flatten(settings)
    filled = TrainingConfig(detector=replace(TrainingConfig().detector, tokens=TokensConfig()))
    expected |= {key: value for key, value in flatten(plain(filled)).items() if key.startswith("detector.tokens.")}
    filled = TrainingConfig(detector=replace(TrainingConfig().detector, host=HostConfig("required")))
    expected |= {key: value for key, value in flatten(plain(filled)).items() if key.startswith("detector.host.")}
    expected["detector.host.options"] = {}
    assert found == expected


def test_the_pages_examples_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(example)
    assert parse(["--config", str(tmp_path / "mine.yaml")]).settings.detector.encoder == "mobilenetv2_100"
    (command,) = re.findall(r"python train.py (.*)", PAGE.read_text().partition("```bash")[2])
    assert parse(command.split()).settings.detector.input_size == (224, 224)
