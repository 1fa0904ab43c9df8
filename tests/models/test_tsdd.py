"""TSDD's blocks, released and refined."""

import dataclasses

import pytest
import torch

from models.config import DetectorConfig, HostConfig
from models.detector import build_detector

PLAIN = DetectorConfig("resnet18", width=16, head_channels=(8, 8), input_size=(64, 96))
REFINED = dataclasses.replace(PLAIN, refined=True)


def test_refined_blocks_begin_as_the_released_ones_and_can_leave_them():
    plain, refined = build_detector(PLAIN), build_detector(REFINED)
    left = refined.load_state_dict(plain.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert {key.split(".")[3] for key in left.missing_keys} == {"refine"}
    rgb = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(refined.train()(rgb)["logits"], plain.train()(rgb)["logits"])
    refined(rgb)["logits"].mean().backward()
    assert all(block.refine.norm2.weight.grad.abs().max() > 0 for block in refined.tsdd.blocks[:-1])


def test_what_refined_blocks_cost():
    plain, refined = (build_detector(config) for config in (PLAIN, REFINED))
    sizes = [sum(value.numel() for value in network.parameters()) for network in (plain, refined)]
    assert sizes[1] - sizes[0] == 4 * 2 * (16 * 16 * 9 + 2 * 16)  # F2 to F5; the finest is as it was
    assert refined.tsdd.blocks[-1].refine is None


def test_a_refined_block_sees_its_neighbours_alone():
    block = build_detector(REFINED).eval().tsdd.blocks[1]
    torch.nn.init.ones_(block.refine.norm2.weight)
    skip, coarser = torch.zeros(1, 256, 9, 9), torch.zeros(1, 16, 9, 9)
    with torch.no_grad():
        before = block(skip, coarser)
        skip[..., 4, 4] = 5
        changed = (block(skip, coarser) - before).abs().amax(1)[0] > 0
    assert changed[2:7, 2:7].sum() > 9
    assert not changed[:2].any()
    assert not changed[7:].any()


@pytest.mark.parametrize("what", [{"refined": True}, {"drop_path": 0.1}])
def test_a_host_has_none_of_ours(what):
    (name,) = what
    with pytest.raises(ValueError, match=f"{name}: Unet on resnet18 has .* leave {name} out"):
        build_detector(dataclasses.replace(PLAIN, **what, host=HostConfig("Unet")))
