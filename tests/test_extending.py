"""Extensions: the examples on docs/extending.md are those in examples/extending/, and every command takes them."""

import csv
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import train
from compute_results.protocols import PROTOCOLS, own
from compute_results.protocols.own import files_read
from datasets import layouts
from inference.backends import open_backend
from models import own_losses
from models.config import LossWeights
from models.own_encoders import register_encoder
from models.own_losses import loss, own_terms, run_loss_file
from tests.helpers import ROOT, run_script, small_network, small_run

EXAMPLES = sorted((ROOT / "examples" / "extending").glob("*.py"))
LOSS, DATASET, ENCODER, BACKEND, METRIC = (
    ROOT / "examples" / "extending" / f"{name}.py" for name in ("loss", "dataset", "encoder", "backend", "metric")
)


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    """Forget what a test registers."""
    registries: list[Any] = [own_losses.OWN_LOSSES, layouts.DATASETS, PROTOCOLS]
    before, lists = [registry.copy() for registry in registries], (list(layouts.LAYOUTS), files_read())
    yield
    for registry, kept in zip(registries, before, strict=True):
        registry.clear()
        registry.update(kept)
    layouts.LAYOUTS[:], own._read[:] = lists


def command(monkeypatch, script: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    run_script(ROOT / script)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_shows_the_file_which_runs_alone(path):
    assert f"```python\n{path.read_text()}```" in (ROOT / "docs" / "extending.md").read_text()
    runpy.run_path(str(path))


def test_a_loss_is_trained_logged_and_weighted(training_pairs, tmp_path):
    plain = ("--super_resolution=false", "--guidance=false", "--deep_supervision=false", "--epochs=1")
    assert train.train(small_run(training_pairs, tmp_path / "run", *plain, f"--loss_file={LOSS}")) == 0
    (row,) = csv.DictReader((tmp_path / "run" / "log.csv").open())
    terms = {name: float(row[name]) for name in ("saliency_map1", "edges", "total")}
    assert terms["edges"] > 0
    assert terms["total"] == pytest.approx(terms["saliency_map1"] + 0.5 * terms["edges"], rel=1e-4)
    assert str(LOSS) in (tmp_path / "run" / "config.yaml").read_text()


def test_a_loss_is_zero_where_the_map_is_the_mask():
    run_loss_file(LOSS)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:5, 3:6] = 1
    assert own_terms({"logits1": 200 * mask - 100}, {"mask": mask})["edges"].item() == pytest.approx(0, abs=1e-6)
    # A map that is zero everywhere misses 12 edge pixels of 2·7·8 across, and as many down.
    assert own_terms({"logits1": mask * 0 - 100}, {"mask": mask})["edges"].item() == pytest.approx(2 * 6 / 56, rel=1e-5)
    assert LossWeights().of_epoch(3)["edges"] == 0.5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no such file"),
        ("x = 1", "registers no loss"),
        ("raise KeyError('a')", "KeyError: 'a'"),
        ("from models.own_losses import loss\n@loss('sr')\ndef f(o, t): ...", "loss 'sr': choose another name"),
        ("from models.own_losses import loss\n@loss('a', -1)\ndef f(o, t): ...", "its weight is -1, expected at least"),
    ],
)
def test_loss_files_that_cannot_be_run(text, why, tmp_path):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises((FileNotFoundError, ValueError), match=why) as error:
        run_loss_file(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("term", "why"),
    [
        (lambda outputs, targets: outputs["none"], "loss bad: KeyError"),
        (lambda outputs, targets: targets["mask"], r"loss bad: it returned a tensor of shape \(1, 1, 4, 4\), expected"),
        (lambda outputs, targets: 1.0, "loss bad: AttributeError"),
    ],
)
def test_losses_that_fail_are_named(term, why):
    loss("bad")(term)
    with pytest.raises(ValueError, match=why):
        own_terms({}, {"mask": torch.zeros(1, 1, 4, 4)})


@pytest.fixture
def harbors(training_pairs: Path, tmp_path: Path) -> Path:
    """A set in the example's layout."""
    for split, numbers in (("train", range(7)), ("test", range(2))):
        for source, target in (("train-images", "rgb"), ("train-labels", "objects")):
            (tmp_path / "Harbors" / split / target).mkdir(parents=True)
            for number in numbers:
                file = next((training_pairs / source).glob(f"{number:04}.*"))
                (tmp_path / "Harbors" / split / target / file.name).write_bytes(file.read_bytes())
    return tmp_path / "Harbors"


def test_a_data_set_is_checked_trained_on_and_scored(harbors, tmp_path, monkeypatch):
    plain = ("--super_resolution=false", "--guidance=false", "--deep_supervision=false", "--epochs=1")
    named = (f"--data.dataset={DATASET}", f"--data.root={harbors}", "--data.images=null", "--data.masks=null")
    with pytest.warns(UserWarning, match="Harbors train: 7 found in .*, 40 expected"):
        assert train.train(small_run(harbors, tmp_path / "run", *plain, *named)) == 0
    weights, maps, scores = tmp_path / "run" / "last.safetensors", tmp_path / "maps", tmp_path / "scores"
    a_set = ("--dataset", DATASET, "--root", harbors)
    command(monkeypatch, "getsmaps.py", "--weights", weights, *a_set, "--output", maps, "--backend", "torch")
    assert sorted(file.name for file in maps.iterdir()) == ["0000.png", "0001.png"]
    more = ("--maps", f"mine={maps}", "--protocol", "field", "--metric-file", METRIC, "--workers", 1)
    command(monkeypatch, "compute_results/compute_metrics.py", *a_set, *more, "--output", scores)
    (result,) = json.loads((scores / "scores.json").read_text())["results"]
    assert result["dataset"] == "Harbors"
    found = []
    for name in ("0000", "0001"):
        mask = np.asarray(Image.open(harbors / "test" / "objects" / f"{name}.png")) > 0
        resized = Image.open(maps / f"{name}.png").resize(mask.shape[::-1], Image.Resampling.BILINEAR)
        is_found = np.asarray(resized) >= 128
        found.append((is_found & mask).sum() / (is_found | mask).sum())
    assert result["IoU"] == pytest.approx(np.mean(found), abs=0.02)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no such file"),
        ("x = 1", "registers 0 data sets, expected one"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_data_set_files_that_cannot_be_run(text, why, tmp_path):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=why) as error:
        layouts.dataset_name(str(path))
    assert str(path) in str(error.value)


def test_an_encoder_trains_and_infers(training_pairs, tmp_path, monkeypatch):
    options = ("--detector.encoder=five_convolutions", f"--host_file={ENCODER}", "--epochs=1")
    branches = ("--asrd.shallow_channels=8", "--asrd.fuse_channels=[8,8,8]", "--asrd.up_channels=[8,8,8]")
    assert train.train(small_run(training_pairs, tmp_path / "run", *branches, *options)) == 0
    command(
        monkeypatch, "getsmaps.py", "--weights", tmp_path / "run" / "last.safetensors", "--host-file", ENCODER,
        "--input", training_pairs / "train-images", "--output", tmp_path / "maps", "--backend", "torch",
    )  # fmt: skip
    with Image.open(tmp_path / "maps" / "0003.png") as image:
        assert image.size == (128, 128)


def test_names_of_encoders_are_checked():
    for name, channels, why in (
        ("resnet50", (1, 2, 3, 4), "timm has a network of this name"),
        ("a b", (1, 2, 3, 4), "make its name of letters"),
        ("mine", (1, 2, 3), "3 numbers of channels, expected those of 4 or 5"),
    ):
        with pytest.raises(ValueError, match=why):
            register_encoder(name, channels)


def test_a_backend_agrees_with_torchs(small_weights, tmp_path, monkeypatch, training_pairs):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    saliency = open_backend(f"{BACKEND}:Float64", small_network().detector)(pixels)
    assert saliency.dtype == np.float32
    assert saliency.std() > 0.05
    np.testing.assert_allclose(saliency, open_backend("torch", small_weights)(pixels), rtol=0, atol=5e-5)
    made = {}
    for name in (f"{BACKEND}:Float64", "torch"):
        output = tmp_path / name[-5:]
        shared = ("--weights", small_weights, "--input", training_pairs / "train-images", "--output", output)
        command(monkeypatch, "getsmaps.py", *shared, "--backend", name)
        made[name] = np.asarray(Image.open(output / "0002.png"), int)
    first, second = made.values()
    assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere.py:Mine", r"backend nowhere.py:Mine: FileNotFoundError"),
        (f"{BACKEND}:Float16", "the file has no class Float16"),
        ("tensorrt", "choose torch, compile, cudagraphs, onnxruntime, openvino, or FILE.py:CLASS"),
        ("os:system", "choose torch"),
    ],
)
def test_backends_that_are_not_there(name, why, small_weights):
    with pytest.raises(ValueError, match=why):
        open_backend(name, small_weights)
