"""The exact inference form: equal to the network it was made from, on real images, whatever its encoder and head."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from datasets.io import read_pixels
from inference.batchnorm import fold_norms
from inference.fold import ShiftedTaps, fold
from models.config import DetectorConfig
from models.detector import Detector, build_detector
from models.heads import HEADS
from models.weights import load_detector
from tests.helpers import normalized, seen_data, small_network

LIGHT = "light_orssd.safetensors"


@pytest.fixture(scope="module")
def pixels(shared) -> torch.Tensor:
    """Real images, 3×96×128×3 uint8."""
    images = sorted((shared / "data" / "ORSSD" / "test-images").iterdir())[:3]
    return torch.stack([torch.from_numpy(read_pixels(image, (96, 128))[0]) for image in images])


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


@torch.no_grad()
def largest_difference(detector: Detector, pixels: torch.Tensor) -> float:
    """Of the saliencies of a detector and of its inference form, the detector's way of normalizing and ours."""
    wanted = detector(normalized(pixels, detector.config))["logits"][:, 0].sigmoid()
    assert wanted.std() > 0.01
    return float((fold(detector)(pixels) - wanted).abs().max())


@pytest.mark.parametrize(
    ("encoder", "kept"),
    [
        ("resnet18", 0),
        ("resnet50", 0),
        ("mobilenetv2_100", 0),
        ("tf_efficientnet_lite0", 0),  # pads its image itself: the scale has nowhere to go
        ("regnety_002", 0),
        ("convnext_atto", 0),  # its own stem at stride 2 has the only batch norms
        ("swin_tiny_patch4_window7_224", 0),
        ("repvgg_a0", 0),  # three branches become one
        ("ghostnet_050", 1),  # hands out a convolution's output that a norm reads too
        ("densenet121", 62),  # norms before their convolutions
    ],
)
def test_the_form_is_the_network(encoder, kept, pixels):
    torch.manual_seed(0)
    detector = build_detector(DetectorConfig(encoder, width=16, head_channels=(8, 8), input_size=(96, 128)))
    detector = seen_data(detector, pixels)
    before = copy.deepcopy(detector.state_dict())
    assert largest_difference(detector, pixels) < 1e-5
    assert norms(fold(detector)) == kept
    assert norms(detector) > kept  # folding is done on a copy
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


@pytest.mark.parametrize("head", HEADS)
def test_every_head_folds_and_starts_from_any_norms(head, pixels):
    torch.manual_seed(0)
    config = DetectorConfig("resnet18", width=16, head_channels=(8, 8), head=head, input_size=(96, 128))
    detector = seen_data(build_detector(config), pixels)
    assert largest_difference(detector, pixels) < 1e-5


def test_refined_blocks(pixels):
    torch.manual_seed(0)
    config = DetectorConfig("resnet18", width=16, head_channels=(8, 8), refined=True, input_size=(96, 128))
    detector = seen_data(build_detector(config), pixels)
    assert largest_difference(detector, pixels) < 1e-5
    assert norms(fold(detector)) == 0


@pytest.mark.parametrize("encoder", ["resnet18", "convnext_atto"])
def test_an_encoder_that_sees_its_image_enlarged(encoder, pixels):
    config = DetectorConfig(encoder, width=16, head_channels=(8, 8), input_size=(96, 128), encoder_size=(128, 192))
    torch.manual_seed(0)
    detector = seen_data(build_detector(config), pixels)
    assert largest_difference(detector, pixels) < 1e-5
    assert largest_difference(detector, pixels[:, :64]) < 1e-5
    assert fold(detector).std_folded


def test_multiply_adds_of_resnet50():
    form = fold(build_detector(DetectorConfig()).to("meta"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        form(torch.empty(1, 224, 224, 3, dtype=torch.uint8, device="meta"))
    assert counter.get_total_flops() / 2 <= 12.7e9


def test_trained_weights(root, shared):
    images = sorted((shared / "data" / "ORSSD" / "test-images").iterdir())[3:9]
    pixels = torch.stack([torch.from_numpy(read_pixels(image, (224, 224))[0]) for image in images])
    detector = load_detector(root / "weights" / LIGHT)
    rgb = normalized(pixels, detector.config)
    form = fold(detector)
    with torch.no_grad():
        logits = detector(rgb)["logits"]
        torch.testing.assert_close(form.logits(rgb), logits, rtol=0, atol=1e-3)
        assert float((form(pixels) - logits[:, 0].sigmoid()).abs().max()) < 2e-5
    assert form.config == detector.config
    assert form.input_size == (224, 224)
    assert not form.training
    assert not any(value.requires_grad for value in form.parameters())


def test_any_size_that_works_and_no_other():
    detector = small_network().detector
    form, (height, width) = fold(detector), (160, 32)
    pixels = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    with torch.no_grad():
        wanted = detector(normalized(pixels, detector.config))["logits"][:, 0].sigmoid()
        assert float((form(pixels) - wanted).abs().max()) < 1e-4
        with pytest.raises(ValueError, match="multiples of 32; the nearest that works is 160×32"):
            form(pixels[:, 1:])


def test_the_statistics_of_the_image_outlive_half_precision():
    form = fold(small_network().detector)
    mean, std = form.mean.clone(), form.std.clone()
    form = form.bfloat16()
    assert torch.equal(form.mean, mean)
    assert torch.equal(form.std, std)
    assert form(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).dtype == torch.float32


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("affine", [True, False])
def test_every_convolution_takes_its_norm(kind, groups, affine):
    torch.manual_seed(0)
    convolution = kind(8, 16, 3, groups=groups, bias=affine, stride=2)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), convolution, nn.BatchNorm2d(16, affine=affine), nn.ReLU())
    x = torch.randn(4, 3, 20, 20)
    network(10 * x + 1)
    wanted = network.eval()(x)
    fold_norms(network, (20, 20))
    assert norms(network) == 0
    torch.testing.assert_close(network(x), wanted, rtol=1e-5, atol=1e-6)


class Doubtful(nn.Module):
    """Two convolutions whose norms must stay, and why."""

    def __init__(self, why: str):
        super().__init__()
        self.why, self.conv, self.norm = why, nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        y = self.conv(x)
        if self.why == "its convolution's output is read again":
            return self.norm(y) + y
        if self.why == "its convolution's output is handed out":
            return [self.norm(y), y]
        if self.why == "it norms twice":
            return self.norm(y) + self.norm(x)
        if self.why == "its convolution works twice":
            return self.norm(y) + self.conv(x + 1)
        return self.norm(y.relu())


@pytest.mark.parametrize(
    "why",
    [
        "its convolution's output is read again",
        "its convolution's output is handed out",
        "it norms twice",
        "its convolution works twice",
        "it reads something else",
    ],
)
def test_a_norm_that_cannot_be_folded_stays(why):
    network, x = Doubtful(why).eval(), torch.randn(2, 3, 8, 8)
    nn.init.uniform_(network.norm.running_var, 0.5, 1.5)
    wanted = network(x)
    fold_norms(network, (8, 8))
    assert norms(network) == 1
    assert torch.equal(torch.cat([*wanted]), torch.cat([*network(x)]))


def test_taps_replace_only_what_they_can():
    torch.manual_seed(0)
    x, convolution = torch.randn(2, 5, 7, 9), nn.Conv2d(5, 1, 3, padding=1)
    assert ShiftedTaps.replaces(convolution)
    torch.testing.assert_close(ShiftedTaps(convolution)(x), convolution(x), rtol=1e-5, atol=1e-6)
    others = [
        nn.Conv2d(5, 2, 3, padding=1),
        nn.Conv2d(5, 1, 3),
        nn.Conv2d(5, 1, 5, padding=1),
        nn.Conv2d(5, 1, 3, padding=1, stride=2),
        nn.Conv2d(5, 1, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(5, 1, 3, padding=1),
    ]
    assert not any(map(ShiftedTaps.replaces, others))
