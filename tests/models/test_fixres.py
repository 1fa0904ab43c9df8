"""A trained network that sees its image at another size: against timm's own resampling, and what stays as it was."""

import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch

from models.config import DetectorConfig, HostConfig, SRALConfig, TokensConfig
from models.detector import Detector, build_detector
from models.fixres import at_resolution
from models.sral import build_sral
from models.weights import load_detector, read_header, save_weights, start_from
from tests.helpers import speaking_detector

VIT = "vit_tiny_patch16_224"
CONFIG = DetectorConfig("lcnet_035", 8, (8, 8), input_size=(64, 96), tokens=TokensConfig(VIT, (3, 4), (1, 2)))
FINER = replace(CONFIG, tokens=replace(CONFIG.tokens, grid=(5, 6)))


@pytest.fixture
def detector() -> Detector:
    return speaking_detector(CONFIG)


@torch.no_grad()
@pytest.mark.parametrize("grid", [(5, 6), (4, 3)])  # finer; and as many patches, elsewhere
def test_another_grid_is_timms_own(detector, grid):
    """timm's transformer resamples its positions itself where it is built to take any size."""
    size = tuple(16 * side for side in grid)
    found = at_resolution(detector, token_grid=grid).encoder.tokens
    assert found.size == size
    whole = timm.create_model(VIT, img_size=(48, 64), dynamic_img_size=True, num_classes=0).eval()
    state = {name.removeprefix("model."): value for name, value in detector.encoder.tokens.body.state_dict().items()}
    whole.load_state_dict(whole.state_dict() | state)
    seen = torch.randn(2, 3, *size)
    for ours, theirs in zip(found.body(seen), whole.get_intermediate_layers(seen, n=[0, 1], reshape=True), strict=True):
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_the_same_size_is_the_same_network_and_another_is_not(detector):
    rgb = torch.randn(1, 3, 64, 96)
    wanted = detector(rgb)["logits"]
    assert torch.equal(at_resolution(detector, token_grid=(3, 4))(rgb)["logits"], wanted)
    assert torch.equal(at_resolution(detector, (64, 96))(rgb)["logits"], wanted)
    for other in (at_resolution(detector, token_grid=(6, 8)), at_resolution(detector, (96, 160))):
        found = other(rgb)["logits"]
        assert found.shape == wanted.shape
        assert not torch.allclose(found, wanted)
    assert detector.config == CONFIG


def test_the_command_writes_it(detector, root, tmp_path):
    save_weights(tmp_path / "run.safetensors", detector)
    sizes = ("--encoder-size", "96", "160", "--token-grid", "5", "6")
    files = [str(tmp_path / name) for name in ("run.safetensors", "pruned.safetensors")]
    subprocess.run([sys.executable, "-m", "tools.prune", files[0], "--output", files[1], *sizes], cwd=root, check=True)
    assert read_header(files[1])["config"] == replace(FINER, encoder_size=(96, 160))
    rgb = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        wanted = at_resolution(detector, (96, 160), (5, 6))(rgb)["logits"]
        assert torch.equal(load_detector(files[1])(rgb)["logits"], wanted)


@torch.no_grad()
def test_it_may_be_trained_further_with_another_grid(detector, tmp_path):
    save_weights(tmp_path / "run.safetensors", detector)
    network = build_sral(SRALConfig(FINER))
    assert start_from(tmp_path / "run.safetensors", network) == ["coarse_heads", "asrd", "tfgm"]
    rgb = torch.randn(1, 3, 64, 96)
    wanted = at_resolution(detector, token_grid=(5, 6))(rgb)["logits"]
    assert torch.equal(network.detector.eval()(rgb)["logits"], wanted)


@pytest.mark.parametrize("shape", [(1, 2, 192), (192,)])
def test_positions_of_no_grid_are_named(detector, tmp_path, shape):
    detector.encoder.tokens.body.model.pos_embed = torch.nn.Parameter(torch.zeros(shape))
    save_weights(tmp_path / "run.safetensors", detector)
    network = build_sral(SRALConfig(FINER))
    with pytest.raises(ValueError, match="misshapen encoder"):
        start_from(tmp_path / "run.safetensors", network)


@pytest.mark.parametrize(
    ("config", "sizes", "why"),
    [
        (replace(CONFIG, tokens=None), (None, (5, 6)), "lcnet_035 has no tokens"),
        (CONFIG, (None, (0, 6)), "tokens.grid"),
        (CONFIG, (None, (500, 6)), "tokens.grid"),
        (CONFIG, ((65, 96), None), "encoder_size"),
        (DetectorConfig("hiera_tiny_224", 8, (8, 8)), ((256, 256), None), "tiny_224 at another size: does not fit"),
        (replace(CONFIG, tokens=None, host=HostConfig("Unet")), ((96, 96), None), "leave encoder_size out"),
    ],
)
def test_sizes_that_do_not_work(config, sizes, why):
    if config.host:
        pytest.importorskip("segmentation_models_pytorch", reason="requirements-hosts.txt is not installed")
        config = replace(config, encoder="resnet18")
    with pytest.raises(ValueError, match=why):
        at_resolution(build_detector(config), *sizes)
