"""Distilling, from a higher resolution or the student's own: what the teacher sees and gives, and a run with one."""

import csv

import pytest
import torch

import train
from datasets.transforms import ycbcr_to_rgb
from models.losses import LossWeights, loss_terms, structure_loss
from models.weights import load_detector, save_weights
from tests.helpers import small_network, small_run
from training.distillation import Teacher, load_teacher


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network for 128×128, untrained."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_weights(path, small_network("lcnet_035", (128, 128)))
    return path


def test_it_sees_the_target_and_gives_its_map(weights):
    teacher = load_teacher(weights, (64, 64), torch.device("cpu"), ycbcr_to_rgb, torch.no_grad)
    gray = torch.full((1, 3, 128, 128), 0.5)
    gray[:, 0, :, 64:] = 0.25
    seen = []
    teacher.detector.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    found = teacher({"sr_target": gray, "ycbcr": gray[:, :, ::2, ::2]})
    assert found.shape == (1, 1, 128, 128)
    assert not found.requires_grad
    assert 0 <= float(found.min()) < float(found.max()) <= 1
    mean, std = teacher.detector.config.mean, teacher.detector.config.std
    for channel in range(3):  # zero chroma is 128/255: next to gray
        assert float(seen[0][0, channel, 5, 100]) == pytest.approx((0.25 - mean[channel]) / std[channel], abs=0.02)
    assert not teacher.detector.training
    logits = teacher.detector(seen[0])["logits"]
    assert logits.shape == (1, 1, 256, 256)
    corners = logits[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].sigmoid()
    torch.testing.assert_close(found[:, :, [0, 0, -1, -1], [0, -1, 0, -1]], corners)


def test_at_the_students_size_it_sees_what_the_student_sees(weights):
    teacher = load_teacher(weights, (128, 128), torch.device("cpu"), ycbcr_to_rgb, torch.no_grad)
    views = {"sr_target": torch.rand(2, 3, 256, 256), "ycbcr": torch.rand(2, 3, 128, 128)}
    found = teacher(views)
    rgb = ycbcr_to_rgb(views["ycbcr"])
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (teacher.detector.config.mean, teacher.detector.config.std))
    expected = load_detector(weights)((rgb - mean) / std)["logits"].sigmoid()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_of_another_size_is_refused(weights):
    why = r"was trained at 128×128; the student sees 224×224, its SR target is 448×448: train it with"
    with pytest.raises(ValueError, match=why):
        load_teacher(weights, (224, 224), torch.device("cpu"), ycbcr_to_rgb, torch.no_grad)


def test_its_term():
    logits, soft = torch.randn(2, 1, 8, 8, requires_grad=True), torch.rand(2, 1, 8, 8)
    targets = {"mask": torch.ones(2, 1, 8, 8), "sr_target": torch.zeros(2, 3, 8, 8)}
    assert set(loss_terms({"logits1": logits}, targets, None)) == {"saliency_map1"}
    terms = loss_terms({"logits1": logits}, targets | {"teacher": soft}, None)
    assert torch.equal(terms["teacher"], structure_loss(logits, soft))
    assert LossWeights(teacher=0.3).of_epoch(0)["teacher"] == 0.3


def test_it_stays_out_of_the_network():
    network = small_network("lcnet_035", (64, 64))
    before = set(network.state_dict())
    teacher = Teacher(network.detector, ycbcr_to_rgb)
    assert set(network.state_dict()) == before
    assert not any(value.requires_grad for value in teacher.detector.parameters())


def test_a_run_with_a_teacher(weights, training_pairs, tmp_path):
    off = ("--guidance=false", "--super_resolution=false", "--deep_supervision=false")
    teacher = (f"--teacher={weights}", "--loss.teacher=0.5")
    start = small_run(training_pairs, tmp_path / "run", *off, *teacher, "--epochs=1")
    assert train.train(start) == 0
    (row,) = csv.DictReader((tmp_path / "run" / "log.csv").open())
    assert float(row["total"]) == pytest.approx(float(row["saliency_map1"]) + 0.5 * float(row["teacher"]), rel=1e-5)
