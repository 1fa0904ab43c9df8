"""The training network: what it gives, what is attached to it and what is not part of the detector."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from models.config import ASRDConfig, DetectorConfig, HostConfig, SRALConfig
from models.detector import build_detector
from models.resize import bicubic_double
from models.sral import build_sral

SMALL = DetectorConfig("resnet18", 16, (8, 8))


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv2_100", "swin_tiny_patch4_window7_224"])
def test_outputs(encoder):
    network = build_sral(SRALConfig(DetectorConfig(encoder, 16, (8, 8))))
    outputs = network(torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96))
    for level in range(1, 6):
        assert outputs[f"logits{level}"].shape == (2, 1, 128, 192)
    for name in ("sr_image", "sr_residual", "sr_features", "guidance", "fused"):
        assert outputs[name].shape == (2, 3, 128, 192)


def test_the_detector_is_only_what_infers():
    network = build_sral(SRALConfig(SMALL))
    alone = build_detector(SMALL)
    inside = {key.removeprefix("detector.") for key in network.state_dict() if key.startswith("detector.")}
    assert inside == set(alone.state_dict())
    assert {key.partition(".")[0] for key in alone.state_dict()} == {"encoder", "ppm", "tsdd"}
    assert {key.partition(".")[0] for key in network.state_dict()} == {"detector", "coarse_heads", "asrd", "tfgm"}


def test_the_sr_image_is_bicubic_plus_residual():
    network = build_sral(SRALConfig(SMALL))
    ycbcr = torch.rand(2, 3, 64, 64)
    outputs = network(torch.rand(2, 3, 64, 64), ycbcr)
    assert torch.equal(outputs["sr_image"], outputs["sr_residual"] + bicubic_double(ycbcr))


def test_bare_residual_trains_bare_and_infers_as_the_release():
    network = build_sral(SRALConfig(SMALL, ASRDConfig(residual="bare")))
    ycbcr = torch.rand(2, 3, 64, 64)
    outputs = network(torch.rand(2, 3, 64, 64), ycbcr)
    assert torch.equal(outputs["sr_image"], outputs["sr_residual"])
    outputs = network.eval()(torch.rand(2, 3, 64, 64), ycbcr)
    assert torch.equal(outputs["sr_image"], outputs["sr_residual"] + bicubic_double(ycbcr))


@pytest.mark.parametrize("residual", ["added", "bare"])
def test_of_luma_alone_the_chroma_is_bicubic(residual):
    network = build_sral(SRALConfig(SMALL, ASRDConfig(residual=residual, colours="luma")))
    ycbcr = torch.rand(2, 3, 64, 64)
    bicubic = bicubic_double(ycbcr)
    outputs = network(torch.rand(2, 3, 64, 64), ycbcr)
    luma = outputs["sr_residual"][:, :1] + (bicubic[:, :1] if residual == "added" else 0)
    assert torch.equal(outputs["sr_image"], torch.cat([luma, bicubic[:, 1:]], dim=1))
    assert outputs["sr_residual"].shape == bicubic.shape


def test_what_is_trained_is_what_is_shown():
    for residual in ("added", "bare"):
        network = build_sral(SRALConfig(SMALL, ASRDConfig(residual=residual)))
        ycbcr = torch.rand(2, 3, 64, 64)
        outputs = network(torch.rand(2, 3, 64, 64), ycbcr)
        assert torch.equal(network.asrd.trained_image(outputs["sr_residual"], ycbcr), outputs["sr_image"])


def test_the_papers_figure_draws_3x3():
    released, drawn = (
        build_sral(SRALConfig(SMALL, ASRDConfig(shallow_kernel=k, fuse_kernel=k))).state_dict() for k in (1, 3)
    )
    changed = {key for key in released if released[key].shape != drawn[key].shape}
    assert changed == {"asrd.shallow.0.weight", "asrd.fuse.8.weight"}


def test_the_encoder_sees_the_image_enlarged():
    """As the same network without encoder_size sees an image that was enlarged before; other sizes in proportion."""
    torch.manual_seed(0)
    network = build_sral(SRALConfig(replace(SMALL, input_size=(64, 96), encoder_size=(96, 160)))).eval()
    plain = build_sral(SRALConfig(SMALL)).eval()
    plain.load_state_dict(network.state_dict())
    for size, enlarged in (((64, 96), (96, 160)), ((128, 64), (192, 96)), ((32, 160), (64, 256))):
        rgb, ycbcr = torch.randn(2, 3, *size), torch.rand(2, 3, *size)
        seen = plain.detector(F.interpolate(rgb, enlarged, mode="bicubic", align_corners=True))
        logits, _ = plain.detector.tsdd(seen["features"], seen["context"])
        double = (2 * size[0], 2 * size[1])
        wanted = F.interpolate(logits, double, mode="bilinear", align_corners=True)
        outputs = network(rgb, ycbcr)
        torch.testing.assert_close(outputs["logits1"], wanted)
        torch.testing.assert_close(network.detector(rgb)["logits"], wanted)
        assert outputs["sr_image"].shape == (2, 3, *double)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"encoder_size": (100, 96)}, "encoder_size 100×96: height and width must be multiples of 32; .* 96×96"),
        ({"encoder_size": (96, 9600)}, "encoder_size.1 must be at most 4096, not 9600"),
        ({"encoder_size": (96, 96), "host": HostConfig("Unet")}, "Unet on resnet18 sees its image as it is"),
    ],
)
def test_an_encoder_size_without_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_detector(replace(SMALL, **wrong))


def test_switches_leave_parts_out():
    plain = build_sral(SRALConfig(SMALL, deep_supervision=False, super_resolution=False, guidance=False))
    assert set(plain.state_dict()) == {f"detector.{key}" for key in plain.detector.state_dict()}
    assert set(plain(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))) == {"logits1"}
    with pytest.raises(ValueError, match="guidance needs super_resolution"):
        build_sral(SRALConfig(SMALL, super_resolution=False))


def test_sizes_that_the_strides_do_not_divide():
    detector = build_detector(SMALL)
    with pytest.raises(ValueError, match=r"input size 230×100.*nearest that works is 224×96"):
        detector(torch.rand(1, 3, 230, 100))


@pytest.mark.parametrize(("part", "gmac"), [("training", 22.4), ("pruned", 13.4)])
def test_multiply_adds_of_resnet50(part, gmac):
    network = build_sral(SRALConfig()).eval()
    rgb = torch.rand(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(rgb, rgb) if part == "training" else network.detector(rgb)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.05)
