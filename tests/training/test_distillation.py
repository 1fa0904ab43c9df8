"""Distillation: a teacher's maps become a target that has every change of the mask, and errors name what is missing."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import train
from datasets.cache import Records, open_cache
from datasets.catalog import Pair, pair_folders, with_teacher_maps
from datasets.loader import SalientObjectBatches, Views
from datasets.transforms import Augmentation
from models.losses import LossWeights, loss_terms, structure_loss
from models.weights import save_weights
from tests.helpers import small_network, small_run
from training.config import TrainingConfig, from_record, parse, plain, refuse_old_keys

ROOT = Path(__file__).resolve().parents[2]
OFF = ("--guidance=false", "--super_resolution=false", "--deep_supervision=false")


@pytest.fixture
def pairs(training_pairs):
    return pair_folders(training_pairs / "train-images", training_pairs / "train-labels")


@pytest.fixture
def maps(pairs, tmp_path):
    """Two folders of made maps, of another size than the images."""
    rng = np.random.default_rng(1)
    for number in (1, 2):
        (tmp_path / f"maps{number}").mkdir()
        for pair in pairs:
            values = rng.integers(0, 256, (48, 56), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / f"maps{number}" / f"{pair.stem}.png")
    return [tmp_path / "maps1", tmp_path / "maps2"]


def test_the_target_is_the_mean_of_the_maps(pairs, maps):
    batch = SalientObjectBatches(Records(with_teacher_maps(pairs, maps), 32)).__getitems__([2, 5])
    target = Views(32)(batch)["teacher"]
    assert target.shape == (2, 1, 64, 64)
    for place, index in enumerate([2, 5]):
        stored = [Image.open(folder / f"{pairs[index].stem}.png") for folder in maps]
        resized = [np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR), float) for image in stored]
        expected = torch.from_numpy(np.mean(resized, axis=0) / 255).float()
        torch.testing.assert_close(target[place, 0], expected, atol=0.51 / 255, rtol=0)


AUGMENTATIONS = {
    "none": None,
    "symmetries": Augmentation(),
    "crops": Augmentation(scale=(0.4, 0.8), brightness=0.3, contrast=0.2, hue=0.1),
    "pasted": Augmentation(scale=(0.5, 1.0), scale_probability=0.5, copy_paste=0.7),
}


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
@pytest.mark.parametrize("size", [32, (32, 48)], ids=["square", "wide"])
def test_a_teacher_that_gives_the_masks_is_changed_as_the_masks_are(pairs, training_pairs, augmentation, size):
    taught = with_teacher_maps(pairs, [training_pairs / "train-labels"])
    detail = augmentation.detail if augmentation else 1.0
    samples = SalientObjectBatches(Records(taught, size, detail), None, augmentation, seed=3)
    for epoch in range(3):
        samples.set_epoch(epoch)
        batch = samples.__getitems__(range(7))
        views = Views(size)(batch)
        assert torch.equal(views["teacher"], views["mask"])
        plain_samples = SalientObjectBatches(Records(pairs, size, detail), None, augmentation, seed=3)
        plain_samples.set_epoch(epoch)
        without = Views(size)(plain_samples.__getitems__(range(7)))
        assert set(views) - set(without) == {"teacher"}
        assert all(torch.equal(views[name], without[name]) for name in without)


def test_the_cache_follows_the_maps(pairs, maps, tmp_path):
    taught = with_teacher_maps(pairs, maps)

    def cached():
        return open_cache(taught, 32, 1.0, tmp_path / "cache", "set")

    first = cached()
    expected = Records(taught, 32).gather(range(7))
    assert all(torch.equal(first.gather(range(7))[name], pixels) for name, pixels in expected.items())
    path = maps[0] / f"{pairs[3].stem}.png"
    Image.new("L", (56, 48), 255).save(path)
    again = cached()
    assert again.path == first.path
    assert not torch.equal(again.gather([3])["teacher"], expected["teacher"][3:4])
    assert torch.equal(again.gather([2])["teacher"], expected["teacher"][2:3])
    assert open_cache(pairs, 32, 1.0, tmp_path / "cache", "set").path != first.path


def test_its_term():
    logits, soft = torch.randn(2, 1, 8, 8, requires_grad=True), torch.rand(2, 1, 8, 8)
    targets = {"mask": torch.ones(2, 1, 8, 8), "sr_target": torch.zeros(2, 3, 8, 8)}
    assert set(loss_terms({"logits1": logits}, targets, None)) == {"saliency_map1"}
    terms = loss_terms({"logits1": logits}, targets | {"teacher": soft}, None)
    assert torch.equal(terms["teacher"], structure_loss(logits, soft))
    assert LossWeights(teacher=0.3).of_epoch(0)["teacher"] == 0.3


def test_maps_that_getsmaps_wrote_teach_a_run(training_pairs, tmp_path):
    save_weights(tmp_path / "teacher.safetensors", small_network("lcnet_035", (64, 64)))
    command = [
        sys.executable, "getsmaps.py", "--weights", tmp_path / "teacher.safetensors", "--input",
        training_pairs / "train-images", "--output", tmp_path / "maps", "--tta", "eight", "--raw", "--backend", "torch",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    own = ("--loss.teacher=0.5", "--epochs=1", f"--data.cache={tmp_path / 'cache'}")
    start = small_run(training_pairs, tmp_path / "run", *OFF, f"--data.teacher_maps={tmp_path / 'maps'}", *own)
    assert train.train(start) == 0
    (row,) = csv.DictReader((tmp_path / "run" / "log.csv").open())
    assert float(row["total"]) == pytest.approx(float(row["saliency_map1"]) + 0.5 * float(row["teacher"]), rel=1e-5)


def test_a_missing_map_is_named(pairs, maps, training_pairs, tmp_path):
    (maps[1] / "0004.png").unlink()
    with pytest.raises(ValueError, match=rf"teacher's maps {maps[1]}: no map, of 7 training images \(1\): 0004$"):
        with_teacher_maps(pairs, maps)
    (maps[0] / "0002.png").write_bytes(b"no image")
    run = small_run(training_pairs, tmp_path / "run", *OFF, f"--data.teacher_maps={maps[0]}", "--data.validation=0")
    with pytest.raises(ValueError, match=rf"1 of 7 pairs cannot be used: 0002: {maps[0]}/0002.png "):
        train.train(run)
    assert not (tmp_path / "run").exists()


def test_weights_in_place_of_maps_are_answered(pairs, tmp_path):
    weights = tmp_path / "teacher.safetensors"
    weights.write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected a folder, it is a file; getsmaps.py --weights FILE .* writes one"):
        with_teacher_maps(pairs, [weights])
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'no'}: expected a folder, it is not there")):
        with_teacher_maps(pairs, [tmp_path / "no"])


def test_old_runs_without_a_teacher_are_read(tmp_path):
    recorded = yaml.safe_load(yaml.safe_dump(plain(TrainingConfig()))) | {"teacher": None}
    assert from_record(recorded, "config.yaml") == TrainingConfig()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(recorded, sort_keys=False))
    assert parse([f"--config={tmp_path / 'config.yaml'}"]).settings == TrainingConfig()
    refuse_old_keys(recorded, "a checkpoint")
    with pytest.raises(ValueError, match=r"the key teacher is now data.teacher_maps"):
        from_record(recorded | {"teacher": "file.safetensors"}, "config.yaml")


def test_pairs_without_a_teacher_stay_as_they_were(pairs):
    assert with_teacher_maps(pairs, []) == pairs
    assert Pair("a", Path("a.jpg"), Path("a.png")).teacher_maps == ()
