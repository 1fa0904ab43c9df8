"""tools.save_pretrained: a folder in Hugging Face's layout, read back without network."""

import json
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open

from models.huggingface import PretrainedDetector
from models.weights import load_detector
from tools import save_pretrained


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    """Run the command in this process: torch is imported already."""
    monkeypatch.setattr(sys, "argv", ["save_pretrained", *map(str, arguments)])
    save_pretrained.main()


def test_the_folder_is_read_back(small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "small"
    run(monkeypatch, small_weights, "--output", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    network, detector = PretrainedDetector.from_pretrained(folder), load_detector(small_weights)
    assert not network.training
    rgb = torch.randn(1, 3, 64, 96)
    assert torch.equal(network(rgb)["logits"], detector(rgb)["logits"])
    assert json.loads((folder / "config.json").read_text())["encoder"] == detector.config.encoder
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata()["kind"] == "inference"  # the training branches are left out
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "sral"
    assert "resnet18" in card.text
    network.save_pretrained(tmp_path / "again")
    assert torch.equal(PretrainedDetector.from_pretrained(tmp_path / "again")(rgb)["logits"], network(rgb)["logits"])


def test_a_card_of_ones_own(small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "card.md").write_text("# Mine\n", encoding="utf-8")
    run(monkeypatch, small_weights, "--output", tmp_path / "small", "--card", tmp_path / "card.md")
    assert (tmp_path / "small" / "README.md").read_text().endswith("---\n# Mine\n")


@pytest.mark.parametrize("case", ["no file", "no card", "full folder"])
def test_bad_input_is_one_line(
    small_weights: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, more = small_weights, []
    if case == "no file":
        source = tmp_path / "none.safetensors"
    elif case == "no card":
        more = ["--card", tmp_path / "none.md"]
    else:
        (tmp_path / "small").mkdir()
        (tmp_path / "small" / "mine.txt").write_text("kept")
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, source, "--output", tmp_path / "small", *more)
    said = f"{ended.value.code} {capsys.readouterr().err}"
    assert "none" in said or "holds something" in said
    assert not (tmp_path / "small" / "model.safetensors").exists()
