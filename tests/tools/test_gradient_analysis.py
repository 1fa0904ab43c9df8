"""tools.gradient_analysis: what each loss term asks of the encoder, against backward passes and by the command."""

import pytest
import torch

from models.losses import loss_terms
from tools.gradient_analysis import ANOTHER, SALIENCY, gradients, main, pulls, training_batches, weighted
from tools.inspect_sr import load_stage, read_settings


@pytest.fixture(scope="module")
def looked_at(trained_run):
    """The run's settings, its network in training mode but without dropout, and two batches."""
    settings = read_settings(trained_run)
    network = load_stage(trained_run / "best.safetensors")[1].train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return settings, network, list(training_batches(settings, 2))


def test_gradients_add_up_to_the_joint_losss(looked_at):
    settings, network, (views, _) = looked_at
    weights = settings.loss.of_epoch(1)
    terms = loss_terms(network(views["rgb"], views["ycbcr"]), views, network.tfgm)
    found = gradients(network, weighted(terms, weights))
    assert list(found) == [SALIENCY, "sr", "spatial", "affinity"]

    network.zero_grad()
    sum(weights[name] * term for name, term in terms.items()).backward()
    parameters = network.detector.encoder.parameters()
    whole = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    torch.testing.assert_close(sum(found.values()).float(), whole, rtol=1e-4, atol=1e-6 * float(whole.abs().max()))


def test_pull_and_cosine(looked_at):
    settings, network, views = looked_at
    rows = pulls(network, views, settings)
    assert rows[SALIENCY][1:] == pytest.approx((1, 1))
    assert set(rows) == {SALIENCY, "sr", "spatial", "affinity", ANOTHER}
    assert pulls(network, [views[0], views[0]], settings)[ANOTHER][1:] == pytest.approx((1, 1), rel=1e-3)

    # Ten times the weight is ten times the loss and the pull, in the same direction.
    loss, pull, cosine = rows["sr"]
    settings.loss.sr *= 10
    assert pulls(network, views, settings)["sr"] == pytest.approx((10 * loss, 10 * pull, cosine), rel=1e-2)
    settings.loss.sr /= 10


def test_the_command(trained_run, capsys):
    main([str(trained_run), "--batches", "2"])
    stages = [block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n")]
    assert [block[0].split("  ")[0] for block in stages][:2] == ["step 2", "step 4"]
    for block in stages:
        assert [line.split("  ")[0] for line in block[1:]] == [SALIENCY, "sr", "spatial", "affinity", ANOTHER]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--batches", "1"], "--batches 1: at least 2"),
        (["--batches", "99"], "--batches 99: 5 training images make 2 of 2"),
        (["--batches", "2", "--weights", "nothing.safetensors"], "no such file"),
    ],
)
def test_bad_input_is_one_line(options, says, trained_run):
    with pytest.raises(SystemExit, match=says) as stopped:
        main([str(trained_run), *options])
    assert str(stopped.value).startswith("error: ")
