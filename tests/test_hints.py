"""Hints: a transformer's tokens, against timm; what learns from them, and what is left of it for inference."""

import csv

import pytest
import timm
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from conftest import small_run
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import normalize, resize

import train
from datasets.augment import ycbcr_to_rgb
from models.config import DetectorConfig, HostConfig, SRALConfig, TokensConfig
from models.losses import LossWeights, loss_terms
from models.prune import prune
from models.sral import build_sral
from models.weights import load_sral, read_weights, start_from
from training.token_teacher import TokenTeacher

VIT = "vit_tiny_patch16_224"
HINTS = TokensConfig(VIT, (3, 4), (1, 2))
SMALL = DetectorConfig("lcnet_035", 8, (8, 8), input_size=(64, 96))
OFF = {"super_resolution": False, "guidance": False}


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A transformer's weights file, in timm's names."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    save_file(timm.create_model(VIT, num_classes=0).state_dict(), path)
    return str(path)


@pytest.fixture
def teacher(vit):
    return TokenTeacher(HINTS, vit, ycbcr_to_rgb, Accelerator(cpu=True))


def test_they_are_the_transformers_tokens_of_the_full_image(teacher):
    """As timm and torchvision give them; each channel's mean and spread are taken out."""
    views = {"sr_target": torch.rand(4, 3, 128, 192)}
    whole = timm.create_model(VIT, img_size=(48, 64), num_classes=0).eval()
    state = {name.removeprefix("model."): value for name, value in teacher.body.state_dict().items()}
    whole.load_state_dict(whole.state_dict() | state)
    own = timm.get_pretrained_cfg(VIT)
    seen = normalize(resize(ycbcr_to_rgb(views["sr_target"]), [48, 64], antialias=True), own.mean, own.std)
    with torch.no_grad():
        wanted = torch.cat(whole.get_intermediate_layers(seen, n=[0, 1], reshape=True), 1)
    wanted = (wanted - wanted.mean((0, 2, 3), keepdim=True)) / wanted.std((0, 2, 3), keepdim=True, correction=0)
    found = teacher(views)
    assert found.shape == (4, 384, 3, 4)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


def test_who_predicts_nothing_is_wrong_by_one(teacher):
    network = build_sral(SRALConfig(SMALL, hints=HINTS, **OFF))
    rgb = torch.rand(2, 3, 64, 96)
    targets = {"mask": torch.ones(2, 1, 128, 192), "sr_target": torch.rand(2, 3, 128, 192)}
    targets["hints"] = teacher(targets)
    with torch.no_grad():
        terms = loss_terms(network(rgb, rgb), targets, None)
    assert float(terms["hints"]) == pytest.approx(1, abs=1e-3)
    assert LossWeights(hints=0.3).of_epoch(0)["hints"] == 0.3


@pytest.mark.parametrize("host", [None, HostConfig("Unet")], ids=["ours", "a host without coarse features"])
def test_encoder_and_decoder_learn_from_them(host):
    config = DetectorConfig("resnet18" if host else "lcnet_035", 8, (8, 8), input_size=(64, 96), host=host)
    network = build_sral(SRALConfig(config, deep_supervision=False, hints=HINTS, **OFF))
    torch.nn.init.normal_(network.hints.predict.weight)  # zero hides the features in the first step
    rgb = torch.rand(2, 3, 64, 96)
    found = network(rgb, rgb)
    assert found["hints"].shape == (2, 384, 3, 4)
    found["hints"].square().mean().backward()
    detector = network.detector
    parts = [detector.encoder] if host else [detector.encoder, detector.ppm, *detector.tsdd.blocks[:4]]
    for part in parts:
        assert any(value.grad is not None and value.grad.any() for value in part.parameters())


def test_features_finer_and_coarser_than_the_grid():
    network = build_sral(SRALConfig(SMALL, hints=HINTS, **OFF))
    features = [torch.rand(1, 8, *size) for size in ((16, 24), (8, 12), (3, 4), (2, 3), (1, 1))]
    seen = [network.hints._on_grid(feature) for feature in features]
    assert {of.shape for of in seen} == {(1, 8, 3, 4)}
    assert torch.equal(seen[2], features[2])
    torch.testing.assert_close(seen[0][0, :, 0, 0], F.avg_pool2d(features[0], (6, 6))[0, :, 0, 0])


def test_a_run_with_hints(vit, training_pairs, tmp_path):
    branches = ("--guidance=false", "--super_resolution=false", "--deep_supervision=false")
    named = (f"--hints.network={VIT}", "--hints.grid=[2,2]", "--hints.blocks=[2]", f"--hint_weights={vit}")
    settings = (*branches, *named, "--loss.hints=0.5", "--epochs=2")
    assert train.train(small_run(training_pairs, tmp_path / "run", *settings, "--optimiser.lr=0.05")) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    for row in rows:
        assert float(row["total"]) == pytest.approx(float(row["saliency1"]) + 0.5 * float(row["hints"]), rel=1e-5)
    assert float(rows[1]["hints"]) < 1

    trained = tmp_path / "run" / "last.safetensors"
    network = load_sral(trained)
    assert network.hints.predict.weight.shape[0] == 192
    assert not any("blocks.0.attn" in name for name in network.state_dict())  # the transformer is not in the file
    anew = build_sral(SRALConfig(network.config.detector, deep_supervision=False, hints=HINTS, **OFF))
    assert start_from(trained, anew) == ["hints"]  # of another width

    prune(trained, tmp_path / "pruned.safetensors")
    state, header = read_weights(tmp_path / "pruned.safetensors")
    assert header["config"] == network.config.detector
    assert not any("hints" in name for name in state)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--hint_weights=none"], "no hints to give"),
        (["--hint_weights=missing.safetensors"], "missing.safetensors"),
        (["--hints.blocks=[13]"], "no such block"),
        (["--hints.network=resnet18"], "no plain vision transformer"),
    ],
)
def test_what_cannot_give_hints_is_refused(options, why, training_pairs, tmp_path):
    start = small_run(training_pairs, tmp_path / "run", f"--hints.network={VIT}", "--hints.grid=[2,2]", *options)
    with pytest.raises((OSError, ValueError), match=why):
        train.train(start)
    assert not (tmp_path / "run").exists()
