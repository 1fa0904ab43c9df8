"""benchmarks/complexity.py against published counts, formulas by hand, and thop's known habits."""

import json
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from inference.fold import fold
from models.config import DetectorConfig, SRALConfig
from models.detector import build_detector
from models.sral import build_sral
from models.weights import load_detector, load_sral
from tests.helpers import ROOT, run_script


@pytest.fixture
def complexity(monkeypatch, capsys, tmp_path):
    """Runs the script in this process: what it printed, and its JSON."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # which the script changes

    def run(*arguments: object) -> tuple[str, dict]:
        target = tmp_path / "counts.json"
        command = ["complexity.py", "--json", target, *arguments]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        run_script(ROOT / "benchmarks" / "complexity.py")
        return capsys.readouterr().out, json.loads(target.read_text())

    return run


def test_resnet50_has_the_known_counts(complexity):
    printed, found = complexity()
    assert (found["encoder"], found["size"]) == ("resnet50", [224, 224])
    rows = {(row["network"], row["part"]): row for row in found["rows"]}

    def gmac(network: str, part: str = "total", by: str = "torch") -> float:
        return rows[network, part][f"multiply_adds_{by}"] / 1e9

    # the release's training network, and torchvision's 25,557,032 and 4.089 GFLOPS for ResNet-50 less its classifier
    assert rows["training", "total"]["parameters"] == 33_122_157
    assert rows["pruned", "encoder"]["parameters"] == 25_557_032 - 2_049_000
    assert gmac("pruned", "encoder") == pytest.approx(4.089 - 0.002049, abs=1e-3)
    # measured before this project by another implementation: 22.4 and 13.4
    assert gmac("released evaluation") == pytest.approx(22.4, abs=0.05)
    assert gmac("pruned") == pytest.approx(13.4, abs=0.05)
    assert gmac("pruned", by="thop") == pytest.approx(24.7, abs=0.1)
    # the finest head by hand: transposed 3×3 from 112×112, then two 3×3 at 224×224
    up, rest = 112**2 * 256 * 128 * 9, 224**2 * (128 * 64 + 64 * 1) * 9
    assert rows["pruned", "finest head"]["multiply_adds_torch"] == up + rest
    norms = 4 * 224**2 * (128 + 64)
    assert rows["pruned", "finest head"]["multiply_adds_thop"] == 4 * up + rest + norms
    # TFGM at 448×448: one channel to three
    assert rows["training", "TFGM"]["multiply_adds_torch"] == 448**2 * 3
    # the inference form: a 1×1 convolution of what is upsampled runs before that, in TSDD's blocks and in PPM
    assert gmac("folded") <= 12.7
    saved = {"TSDD blocks": 256**2 * (112**2 - 7**2), "PPM": 4 * 256**2 * 7**2 - 256**2 * (1 + 4 + 9 + 36)}
    for part in ("encoder", "PPM", "TSDD blocks", "finest head"):
        left = rows["pruned", part]["multiply_adds_torch"] - saved.get(part, 0)
        assert rows["folded", part]["multiply_adds_torch"] == left
    assert gmac("folded", "encoder", by="thop") == gmac("folded", "encoder")  # no norm is left to be counted
    # the parts are all there is
    for network, built in (("training", build_sral(SRALConfig())), ("pruned", build_detector(DetectorConfig()))):
        built, image = built.eval().to("meta"), torch.empty(1, 3, 224, 224, device="meta")
        with FlopCounterMode(display=False) as counter:
            built(image, image) if network == "training" else built(image)
        assert rows[network, "total"]["multiply_adds_torch"] == counter.get_total_flops() / 2
        assert rows[network, "total"]["parameters"] == sum(value.numel() for value in built.parameters())
    assert "33,122,157" in printed
    assert "22.433" in printed


def test_a_weights_file_is_counted_as_it_is(complexity, small_weights):
    printed, found = complexity("--weights", small_weights, "--size", "96", "64")
    total = next(row for row in found["rows"] if (row["network"], row["part"]) == ("training", "total"))
    assert total["parameters"] == sum(value.numel() for value in load_sral(small_weights).parameters())
    assert printed.startswith("resnet18, one image of 96×64\n")
    form = fold(load_detector(small_weights))
    pixels = torch.zeros(1, 96, 64, 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        form(pixels)
    folded = next(row for row in found["rows"] if (row["network"], row["part"]) == ("folded", "total"))
    assert folded["multiply_adds_torch"] == counter.get_total_flops() / 2
    assert folded["parameters"] == sum(value.numel() for value in form.parameters())


def test_a_host_is_counted_as_itself(complexity):
    smp = pytest.importorskip("segmentation_models_pytorch", reason="pip install -r requirements-hosts.txt")
    printed, found = complexity("--encoder", "lcnet_035", "--host", "FPN", "--size", "64")
    rows = {(row["network"], row["part"]): row for row in found["rows"]}
    alone = smp.FPN("tu-lcnet_035", encoder_weights=None, classes=1).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        alone(torch.rand(1, 3, 64, 64))
    for network in ("pruned", "folded"):
        assert rows[network, "host"] == rows[network, "total"] | {"part": "host"}
        assert rows[network, "total"]["multiply_adds_torch"] == counter.get_total_flops() / 2
    assert rows["pruned", "total"]["parameters"] == sum(value.numel() for value in alone.parameters())
    assert rows["training", "ASRD"]["multiply_adds_torch"] > 0
    assert "encoder" not in printed


def test_attention_is_counted(complexity):
    _, found = complexity("--encoder", "swin_tiny_patch4_window7_224")
    encoder = next(row for row in found["rows"] if (row["network"], row["part"]) == ("pruned", "encoder"))
    own_stem = 112**2 * 64 * 9 * (3 + 64)
    published = 4.5e9  # Swin-T with its classifier, which adds less than a thousandth
    assert encoder["multiply_adds_torch"] - own_stem == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--size", "230"), "the nearest that works is 224×224"),
        (("--encoder", "resnet19"), "no network of that name"),
        (("--weights", "nowhere.safetensors"), "no such file"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, why, complexity):
    with pytest.raises(SystemExit) as ended:
        complexity(*arguments)
    said = str(ended.value.code)
    assert said.startswith("error: ")
    assert why in said
    assert len(said.splitlines()) == 1


def test_without_thop_it_says_how_to_get_it(complexity, monkeypatch):
    monkeypatch.setitem(sys.modules, "thop", None)
    with pytest.raises(SystemExit, match="pip install -r requirements"):
        complexity("--encoder", "resnet18")
