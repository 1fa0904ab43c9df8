"""Tokens of a plain transformer: what they add, against timm and torchvision; what they leave as it was."""

import csv
from dataclasses import asdict, replace

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import normalize

import train
from inference.export import exporter
from inference.fold import fold
from models.config import DetectorConfig, HostConfig, SRALConfig, TokensConfig
from models.detector import build_detector
from models.encoders import Encoder
from models.sral import build_sral
from models.weights import holds_tokens, load_detector, load_sral, read_header, save_weights, start_from
from tests.helpers import small_run, speaking_detector
from training.optim import build_optimizer
from training.optimizer_config import OptimizerConfig

VIT = "vit_tiny_patch16_224"
TOKENS = TokensConfig(VIT, (3, 4), (1, 2))
PLAIN = DetectorConfig("lcnet_035", 8, (8, 8), input_size=(64, 96), mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))
CONFIG = replace(PLAIN, tokens=TOKENS)


def speaking(config):
    """With maps that are not all gray."""
    detector = speaking_detector(config)
    detector.tsdd.head.predict.weight.data *= 100
    return detector


@pytest.fixture
def detector():
    return speaking(CONFIG)


@torch.no_grad()
def test_attached_they_change_nothing_until_they_train():
    detector, plain = build_detector(CONFIG).eval(), build_detector(PLAIN).eval()
    missing, extra = detector.load_state_dict(plain.state_dict(), strict=False)
    assert not extra
    assert {name.split(".")[:2] == ["encoder", "tokens"] for name in missing} == {True}
    rgb = torch.randn(2, 3, 64, 96)
    assert torch.equal(detector(rgb)["logits"], plain(rgb)["logits"])


@torch.no_grad()
@pytest.mark.parametrize("size", [(48, 64), (64, 96), (96, 96)])
def test_what_joins_is_the_transformers(detector, size):
    """Read by timm's own way, from the image that torchvision normalizes with the transformer's own statistics."""
    tokens, image = detector.encoder.tokens, torch.rand(2, 3, *size)
    rgb = normalize(image, PLAIN.mean, PLAIN.std)
    own = Encoder("lcnet_035")
    own.load_state_dict({k: v for k, v in detector.encoder.state_dict().items() if not k.startswith("tokens.")})
    own = own.eval()(rgb) if size != (48, 64) else [torch.zeros(2, c, 2, 2) for c in detector.encoder.channels]
    joined = tokens(rgb, own)

    whole = timm.create_model(VIT, img_size=(48, 64), num_classes=0).eval()
    state = {name.removeprefix("model."): value for name, value in tokens.body.state_dict().items()}
    whole.load_state_dict(whole.state_dict() | state)
    config = timm.get_pretrained_cfg(VIT)
    seen = F.interpolate(image, (48, 64), mode="bicubic", align_corners=True)
    depths = whole.get_intermediate_layers(normalize(seen, config.mean, config.std), n=[0, 1], reshape=True)
    for feature, alone, join in zip(joined[2:], own[2:], tokens.joins, strict=True):
        normed = [F.layer_norm(of.movedim(1, 3), (192,), eps=1e-6).movedim(3, 1) for of in depths]
        added = F.interpolate(join(torch.cat(normed, 1)), feature.shape[-2:], mode="bilinear", align_corners=True)
        torch.testing.assert_close(feature, alone + added, rtol=1e-3, atol=1e-4)
        assert added.std() > 0.1
    for feature, alone in zip(joined[:2], own[:2], strict=True):
        assert torch.equal(feature, alone)


def test_the_training_network_has_them(detector):
    network = build_sral(SRALConfig(CONFIG))
    rgb = torch.rand(2, 3, 64, 96)
    outputs = network(rgb, rgb)
    assert outputs["logits1"].shape == (2, 1, 128, 192)
    assert outputs["sr_image"].shape == (2, 3, 128, 192)
    outputs["logits1"].mean().backward()
    joins = network.detector.encoder.tokens.joins
    assert all(join.weight.grad.abs().max() > 0 for join in joins)


def test_who_learns_how_fast():
    network = build_sral(SRALConfig(CONFIG))
    tokens = network.detector.encoder.tokens
    tokens.freeze(1)
    settings = OptimizerConfig(name="adamw", lr=0.1, encoder_lr_factor=0.5, token_lr_factor=0.2, decay_norms=False)
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = build_optimizer(network, network.detector.encoder, settings)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    parameters = dict(network.named_parameters())
    assert len(rates) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, rate in {
        "encoder.body.conv_stem.weight": 0.05,
        "encoder.tokens.body.model.blocks.1.attn.qkv.weight": 0.02,
        "encoder.tokens.joins.0.weight": 0.1,
        "encoder.tokens.norms.0.weight": 0.1,
        "tsdd.blocks.0.fuse.weight": 0.1,
    }.items():
        assert rates[id(parameters[f"detector.{name}"])] == pytest.approx(rate)
    for _ in range(2):  # in the first step the joins' zeros hide the transformer
        rgb = torch.rand(2, 3, 64, 96)
        network(rgb, rgb)["logits1"].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    start = "detector.encoder.tokens.body.model."
    moved = {name.removeprefix(start) for name, value in parameters.items() if not torch.equal(value, before[name])}
    frozen = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.norm1.weight")
    assert not moved & set(frozen)
    assert {"blocks.1.attn.qkv.weight", "blocks.1.mlp.fc2.bias", "detector.encoder.tokens.joins.2.weight"} <= moved


@torch.no_grad()
def test_weights_files_hold_them(detector, tmp_path):
    save_weights(tmp_path / "detector.safetensors", detector)
    rgb = torch.randn(1, 3, 64, 96)
    assert torch.equal(load_detector(tmp_path / "detector.safetensors")(rgb)["logits"], detector(rgb)["logits"])
    assert read_header(tmp_path / "detector.safetensors")["config"].tokens == TOKENS
    network = build_sral(SRALConfig(CONFIG))
    save_weights(tmp_path / "sral.safetensors", network)
    wanted = network.eval().detector(rgb)["logits"]
    assert torch.equal(load_sral(tmp_path / "sral.safetensors").eval().detector(rgb)["logits"], wanted)
    assert torch.equal(load_detector(tmp_path / "sral.safetensors")(rgb)["logits"], wanted)


@torch.no_grad()
def test_the_inference_form_is_the_same(detector):
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    rgb = normalize(pixels.permute(0, 3, 1, 2) / 255, PLAIN.mean, PLAIN.std)
    wanted = detector(rgb)["logits"][:, 0].sigmoid()
    assert wanted.std() > 0.01
    torch.testing.assert_close(fold(detector)(pixels), wanted, rtol=0, atol=2e-5)


def test_an_export_makes_the_same_maps(tmp_path):
    """At its own size and at another, which `export` compares with the network itself."""
    pytest.importorskip("openvino", reason="requirements-openvino.txt is not installed")
    # Tracing each operation takes long.
    few_operations = replace(CONFIG, encoder="test_resnet", tokens=replace(TOKENS, blocks=(1,)))
    save_weights(tmp_path / "net.safetensors", speaking(few_operations))
    found = exporter.export(tmp_path / "net.safetensors", "openvino", tmp_path / "net.xml")
    assert "8 images at 64×96" in found
    assert "3 images at 96×192" in found


def test_a_run_starts_from_their_weights_and_keeps_what_is_frozen(training_pairs, tmp_path):
    torch.manual_seed(1)
    state = timm.create_model(VIT, num_classes=0).state_dict()
    save_file(state, tmp_path / "vit.safetensors")
    off = ("--guidance=false", "--super_resolution=false", "--deep_supervision=false")
    tokens = (f"--detector.tokens.network={VIT}", "--detector.tokens.grid=[3,3]", "--detector.tokens.blocks=[1,2]")
    tokens += (f"--token_weights={tmp_path / 'vit.safetensors'}", "--optimizer.frozen_blocks=1")
    rates = ("--epochs=2", "--optimizer.ema=0.9", "--optimizer.lr=0.01")
    start = small_run(training_pairs, tmp_path / "run", *off, *tokens, *rates)
    assert train.train(start) == 0
    assert len(list(csv.DictReader((tmp_path / "run" / "log.csv").open()))) == 2
    found = load_detector(tmp_path / "run" / "last.safetensors").encoder.tokens.body.model.state_dict()
    assert torch.equal(found["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])
    moved = (found["blocks.1.attn.qkv.weight"] - state["blocks.1.attn.qkv.weight"]).abs().max()
    assert 0 < moved < 0.01  # a few steps from where it started


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (TokensConfig("vit_tiny_patch17"), "timm has no network of that name"),
        (TokensConfig("resnet18"), "no plain vision transformer"),
        (TokensConfig("swin_tiny_patch4_window7_224"), "no plain vision transformer"),
        (TokensConfig(VIT, (3, 3), (13,)), r"tokens.blocks \[13\]: vit_tiny_patch16_224 has no such block"),
        (TokensConfig(VIT, (3, 3), (2, 1)), "in ascending order"),
        (TokensConfig(VIT, (3, 3), ()), "one or more"),
    ],
)
def test_tokens_that_cannot_be_had(tokens, why):
    with pytest.raises(ValueError, match=why):
        build_detector(replace(PLAIN, tokens=tokens))


def test_a_host_has_none():
    with pytest.raises(ValueError, match="has an encoder of its own; leave tokens out"):
        build_detector(replace(CONFIG, host=HostConfig("Unet")))


def test_weights_that_are_missing_or_of_another_transformer(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        build_detector(CONFIG, token_weights=str(tmp_path / "nothing.safetensors"))
    save_file(timm.create_model("vit_wee_patch16_reg1_gap_256").state_dict(), tmp_path / "wee.safetensors")
    with pytest.raises(ValueError, match="for encoder 'vit_tiny_patch16_224'"):
        build_detector(CONFIG, token_weights=str(tmp_path / "wee.safetensors"))


def test_a_network_without_tokens_may_be_trained_further_with_them(tmp_path):
    """At the start it is the network that it was, beside the transformer's own weights."""
    torch.manual_seed(0)
    plain = build_detector(PLAIN).eval()
    save_weights(tmp_path / "plain.safetensors", plain)
    vit = timm.create_model(VIT, num_classes=0).state_dict()
    save_file(vit, tmp_path / "vit.safetensors")
    assert not holds_tokens(tmp_path / "plain.safetensors")
    network = build_sral(SRALConfig(CONFIG), token_weights=str(tmp_path / "vit.safetensors"))
    assert start_from(tmp_path / "plain.safetensors", network) == ["tokens", "coarse_heads", "asrd", "tfgm"]
    found = network.detector.encoder.tokens.body.model.state_dict()
    assert torch.equal(found["blocks.1.mlp.fc1.weight"], vit["blocks.1.mlp.fc1.weight"])
    rgb = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network.eval().detector(rgb)["logits"], plain(rgb)["logits"])

    save_weights(tmp_path / "both.safetensors", network.detector)
    assert holds_tokens(tmp_path / "both.safetensors")
    assert start_from(tmp_path / "both.safetensors", build_sral(SRALConfig(CONFIG))) == ["coarse_heads", "asrd", "tfgm"]
    with pytest.raises(ValueError, match=r"another network, with detector.tokens .*vit_tiny"):
        start_from(tmp_path / "both.safetensors", build_sral(SRALConfig(PLAIN)))


def test_old_files_have_none():
    values = asdict(PLAIN)
    values.pop("tokens")
    assert DetectorConfig(**values) == PLAIN
