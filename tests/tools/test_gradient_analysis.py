"""tools.gradient_analysis: gradients of each loss term in the encoder, against backward passes and by the command."""

import pandas as pd
import pytest
import torch

from models.losses import loss_terms
from tools.gradient_analysis import (
    OTHER_BATCH,
    SALIENCY,
    compare_gradients,
    encoder_gradients,
    main,
    training_batches,
    weighted_terms,
)
from tools.run_networks import load_network, read_config


@pytest.fixture(scope="module")
def examined(trained_run):
    """The run's settings, its network in training mode but without dropout, and two batches."""
    settings = read_config(trained_run)
    network = load_network(trained_run / "best.safetensors")[1].train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return settings, network, list(training_batches(settings, 2))


def test_gradients_add_up_to_the_joint_losss(examined):
    settings, network, (views, _) = examined
    weights = settings.loss.of_epoch(1)
    terms = loss_terms(network(views["rgb"], views["ycbcr"]), views, network.tfgm)
    found = encoder_gradients(network, weighted_terms(terms, weights))
    assert list(found) == [SALIENCY, "sr", "spatial", "affinity"]

    network.zero_grad()
    sum(weights[name] * term for name, term in terms.items()).backward()
    parameters = network.detector.encoder.parameters()
    whole = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    torch.testing.assert_close(sum(found.values()).float(), whole, rtol=1e-4, atol=1e-6 * float(whole.abs().max()))


def test_ratio_and_cosine(examined):
    settings, network, views = examined
    rows = compare_gradients(network, views, settings)
    assert rows[SALIENCY][1:] == pytest.approx((1, 1))
    assert set(rows) == {SALIENCY, "sr", "spatial", "affinity", OTHER_BATCH}
    assert compare_gradients(network, [views[0]] * 2, settings)[OTHER_BATCH][1:] == pytest.approx((1, 1), rel=1e-3)

    # Ten times the weight is ten times the loss and the ratio, in the same direction.
    loss, ratio, cosine = rows["sr"]
    settings.loss.sr *= 10
    assert compare_gradients(network, views, settings)["sr"] == pytest.approx((10 * loss, 10 * ratio, cosine), rel=1e-2)
    settings.loss.sr /= 10


def test_the_command(trained_run, tmp_path, capsys):
    main([str(trained_run), "--num-batches", "2", "--csv", str(tmp_path / "gradients.csv")])
    stages = [block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n")]
    assert [block[0].split("  ")[0] for block in stages][:2] == ["step 2", "step 4"]
    table = pd.read_csv(tmp_path / "gradients.csv")
    shown = [f"{row.term:26} {row.loss:8.4f} {row.ratio:8.4f} {row.cosine:8.3f}" for row in table.itertuples()]
    assert shown == [line for block in stages for line in block[1:]]
    for block in stages:
        assert [line.split("  ")[0] for line in block[1:]] == [SALIENCY, "sr", "spatial", "affinity", OTHER_BATCH]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--num-batches", "1"], "--num-batches 1: at least 2"),
        (["--num-batches", "99"], "--num-batches 99: 5 training images make 2 of 2"),
        (["--num-batches", "2", "--weights", "nothing.safetensors"], "no such file"),
    ],
)
def test_bad_input_is_one_line(options, says, trained_run):
    with pytest.raises(SystemExit, match=says) as stopped:
        main([str(trained_run), *options])
    assert str(stopped.value).startswith("error: ")


def test_the_old_option_names_the_new_one(capsys):
    with pytest.raises(SystemExit):
        main(["RUN", "--batches", "2"])
    assert "--batches is now --num-batches: use --num-batches 2" in capsys.readouterr().err
