"""Saliency heads as they begin."""

import math

import pytest
import torch

import train
from models.heads import HEADS, build_head, set_foreground_prior
from models.weights import load_sral
from tests.helpers import small_run


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_map_begins_with_the_share_that_is_expected(kind, share):
    head = build_head(kind, 16, (32, 16))
    set_foreground_prior(torch.nn.Sequential(head), share)
    with torch.no_grad():
        saliency = head(torch.randn(4, 16, 12, 12)).sigmoid()
    assert share / 2 < saliency.mean() < share * 2


def test_every_head_of_a_run_begins_there(training_pairs, tmp_path):
    assert train.train(small_run(training_pairs, tmp_path / "run", "--epochs=0", "--foreground_prior=0.05")) == 0
    network = load_sral(tmp_path / "run" / "last.safetensors")
    heads = [network.detector.tsdd.head, *network.coarse_heads]
    assert [head.predict.bias.item() for head in heads] == pytest.approx([-math.log(19)] * 5, rel=1e-6)


def test_a_network_without_such_a_head_is_refused():
    with pytest.raises(ValueError, match="leave foreground_prior out"):
        set_foreground_prior(torch.nn.Conv2d(3, 1, 1), 0.05)


def test_heads_that_a_file_has_stay_as_they_are(training_pairs, trained_run, tmp_path):
    options = ("--guidance=false", "--super_resolution=false", "--epochs=0", "--foreground_prior=0.05")
    start = small_run(training_pairs, tmp_path / "run", *options, f"--weights={trained_run}/last.safetensors")
    assert train.train(start) == 0
    before, after = (load_sral(run / "last.safetensors") for run in (trained_run, tmp_path / "run"))
    assert torch.equal(after.detector.tsdd.head.predict.bias, before.detector.tsdd.head.predict.bias)
    for ours, theirs in zip(after.coarse_heads, before.coarse_heads, strict=True):
        assert torch.equal(ours.predict.bias, theirs.predict.bias)
