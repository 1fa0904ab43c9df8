"""The loss terms against their known values, and the joint loss against its formula."""

import json

import numpy as np
import pytest
import torch

from models.config import TFGMConfig
from models.losses import LossWeights, boundary_weight, joint_loss, loss_terms, structure_loss
from models.tfgm import TFGM, affinity_difference, spatial_consistency
from tests.helpers import FIXTURES


@pytest.mark.parametrize("case", ["a", "b"])
def test_known_values(case):
    known = json.loads((FIXTURES / "losses.json").read_text())[case]
    rng = np.random.default_rng(known["seed"])
    batch, size = known["batch"], known["size"]
    logits = 3 * rng.standard_normal((batch, 1, size, size)).astype(np.float32)
    mask = np.clip(0.6 * rng.standard_normal((batch, 1, size, size)) + 0.3, 0, 1).astype(np.float32)
    fused = rng.standard_normal((batch, 3, size, size)).astype(np.float32)
    target = rng.uniform(0, 1, (batch, 3, size, size)).astype(np.float32)
    logits, mask, fused, target = map(torch.from_numpy, (logits, mask, fused, target))

    assert structure_loss(logits, mask).item() == pytest.approx(known["structure_loss"], rel=1e-5)
    assert spatial_consistency(fused, target).item() == pytest.approx(known["spatial_consistency"], rel=1e-5)
    summed = known["affinity_summed_over_batch"]
    assert affinity_difference(fused, target, batch="sum").item() == pytest.approx(summed, rel=1e-5)
    assert affinity_difference(fused, target, batch="mean").item() == pytest.approx(summed / batch, rel=1e-5)
    terms = loss_terms({"logits1": logits, "sr_image": fused}, {"mask": mask, "sr_target": target}, None)
    assert terms["sr"].item() == pytest.approx(known["mse"], rel=1e-5)


def test_cosine_affinity_ignores_length():
    fused = torch.rand(2, 3, 64, 64)
    assert affinity_difference(fused, 3 * fused, "cosine").item() == pytest.approx(0, abs=1e-6)
    assert affinity_difference(fused, 3 * fused, "inner").item() > 0.1


def test_joint_loss_is_the_papers_sum():
    torch.manual_seed(0)
    tfgm = TFGM(TFGMConfig())
    outputs = {f"logits{i}": torch.randn(2, 1, 64, 64) for i in range(1, 6)}
    outputs |= {"sr_image": torch.rand(2, 3, 64, 64), "fused": torch.rand(2, 3, 64, 64)}
    targets = {"mask": torch.rand(2, 1, 64, 64), "sr_target": torch.rand(2, 3, 64, 64)}
    terms = loss_terms(outputs, targets, tfgm)
    assert list(terms) == [*(f"saliency_map{i}" for i in range(1, 6)), "sr", "spatial", "affinity"]
    maps = [structure_loss(outputs[f"logits{i}"], targets["mask"]) for i in range(1, 6)]
    t1 = maps[0] + maps[1] + maps[2] / 2 + maps[3] / 4 + maps[4] / 8
    t2 = ((outputs["sr_image"] - targets["sr_target"]) ** 2).mean()
    t3 = terms["spatial"] + terms["affinity"]
    assert joint_loss(terms, LossWeights().of_epoch(0)).item() == pytest.approx((t1 + t2 + t3).item(), rel=1e-6)
    assert joint_loss(terms, LossWeights().of_epoch(1)).item() == pytest.approx((t1 + 100 * t2 + t3).item(), rel=1e-6)


def test_weights_of_one_change_nothing():
    logits, mask = torch.randn(2, 1, 64, 64), torch.rand(2, 1, 64, 64)
    assert structure_loss(logits, mask, torch.ones_like(mask)).item() == pytest.approx(
        structure_loss(logits, mask).item(), rel=1e-6
    )


def test_borders_weigh_more():
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., :, 64:] = 1  # touches three edges of the image, which are no borders
    mask[..., 60:62, 20:22] = 1
    weight = boundary_weight(mask, 5.0)[0, 0]
    near = torch.nn.functional.pad(mask, (15,) * 4, mode="replicate").unfold(2, 31, 1).unfold(3, 31, 1).mean((-1, -2))
    inside = slice(15, -15)  # elsewhere the mean is over what there is of the window
    expected = 1 + 5 * (near - mask).abs()[0, 0]
    assert torch.allclose(weight[inside, inside], expected[inside, inside], atol=1e-5)
    assert torch.equal(weight[:, 100:], torch.ones(128, 28))
    assert weight[0, 64].item() == pytest.approx(1 + 5 * 15 / 31, rel=1e-4)
    assert weight[60, 20] > 5.9


def test_a_mistake_at_the_border_costs_more_than_one_far_from_it():
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 40:80, 40:80] = 1
    at_the_border, far = (20 * mask - 10 for _ in range(2))
    at_the_border[..., 40:80, 38:40] = 10
    far[..., 40:80, 120:122] = 10
    outputs = [{"logits1": logits} for logits in (at_the_border, far)]
    targets = {"mask": mask, "sr_target": torch.zeros(1, 3, 128, 128)}
    plain = [loss_terms(each, targets, None)["saliency_map1"].item() for each in outputs]
    weighted = [loss_terms(each, targets, None, boundary=5.0)["saliency_map1"].item() for each in outputs]
    assert plain[0] == pytest.approx(plain[1], rel=1e-5)
    assert weighted[0] > 1.2 * weighted[1]


def test_a_perfect_map_costs_nothing():
    mask = (torch.rand(2, 1, 64, 64) > 0.7).float()
    assert structure_loss(200 * mask - 100, mask).item() == pytest.approx(0, abs=1e-6)
