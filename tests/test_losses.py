"""The loss terms against their known values, and the joint loss against its formula."""

import json

import numpy as np
import pytest
import torch

from models.config import TFGMConfig
from models.losses import LossWeights, joint_loss, loss_terms, structure_loss
from models.tfgm import TFGM, affinity_difference, spatial_consistency


@pytest.mark.parametrize("case", ["a", "b"])
def test_known_values(shared, case):
    known = json.loads((shared / "fixtures" / "losses.json").read_text())[case]
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
    assert list(terms) == [*(f"saliency{i}" for i in range(1, 6)), "sr", "spatial", "affinity"]
    maps = [structure_loss(outputs[f"logits{i}"], targets["mask"]) for i in range(1, 6)]
    t1 = maps[0] + maps[1] + maps[2] / 2 + maps[3] / 4 + maps[4] / 8
    t2 = ((outputs["sr_image"] - targets["sr_target"]) ** 2).mean()
    t3 = terms["spatial"] + terms["affinity"]
    assert joint_loss(terms, LossWeights().of_epoch(0)).item() == pytest.approx((t1 + t2 + t3).item(), rel=1e-6)
    assert joint_loss(terms, LossWeights().of_epoch(1)).item() == pytest.approx((t1 + 100 * t2 + t3).item(), rel=1e-6)


def test_a_perfect_map_costs_nothing():
    mask = (torch.rand(2, 1, 64, 64) > 0.7).float()
    assert structure_loss(200 * mask - 100, mask).item() == pytest.approx(0, abs=1e-6)
