"""train.py: the real command on small data, its run folder, its resuming, and every bad input that it names."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import train
from models.sral import build_sral
from models.weights import load_detector, load_sral, read_weights
from tests.helpers import SMALL
from training.config import TrainingConfig, from_record, parse, plain
from training.distributed import find_precision
from training.ema import build_ema
from training.optim import build_optimizer, parameter_groups, rate_factor
from training.optimizer_config import OptimizerConfig
from training.visualize import GAP, TILE, draw_validation, validation_columns


def _options(data: Path, run: Path, *more: str) -> list[str]:
    folders = [f"--data.images={data}/train-images", f"--data.masks={data}/train-labels"]
    return [*SMALL, "--data.dataset=folders", *folders, f"--output={run}", *more]


def _train(*options: str) -> int:
    return train.train(parse(options))


@pytest.fixture(scope="module")
def run(root, training_pairs, tmp_path_factory) -> Path:
    """A run by the real command."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    subprocess.run([sys.executable, "train.py", *_options(training_pairs, folder)], cwd=root, check=True)
    return folder


def test_a_run_starts_from_a_file(run, training_pairs, tmp_path, capsys):
    options = ("--epochs=0", f"--weights={run}/last.safetensors")
    assert _train(*_options(training_pairs, tmp_path / "further", *options)) == 0
    assert f"starts from {run}/last.safetensors\n" in capsys.readouterr().out
    ours, theirs = (read_weights(folder / "last.safetensors")[0] for folder in (tmp_path / "further", run))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_run_folder(run):
    names = {path.name for path in run.iterdir()} - {"uncommitted.diff"}
    assert names == {
        ".lock", "best.safetensors", "checkpoints", "config.yaml", "curves.png", "finished.json", "last.safetensors",
        "log.csv", "tensorboard", "validation.png", "versions.json",
    }  # fmt: skip
    rows = list(csv.DictReader((run / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        terms = [f"saliency_map{i}" for i in range(1, 6)] + ["sr", "spatial", "affinity"]
        weights = [1, 1, 0.5, 0.25, 0.125, 100, 1, 1]  # in the first epoch too, where 1 is minimized
        expected = sum(float(row[term]) * weight for term, weight in zip(terms, weights, strict=True))
        assert float(row["total"]) == pytest.approx(expected, rel=1e-4)
        assert 0 <= float(row["MAE"]) <= 1
    about = json.loads((run / "versions.json").read_text())
    assert about["seed"] == 2021
    assert about["versions"]["torch"] == torch.__version__


def test_it_is_validated_as_often_as_asked_and_at_the_end(training_pairs, tmp_path):
    run = tmp_path / "run"
    alone = ("--guidance=false", "--super_resolution=false", "--weights_kept=[1,4]")
    assert _train(*_options(training_pairs, run, *alone, "--epochs=5", "--validate_every=2")) == 0
    kept = sorted((run / "weights").iterdir())
    assert [path.name for path in kept] == ["epoch_001.safetensors", "epoch_004.safetensors"]
    assert [load_sral(path).training for path in kept] == [True, True]
    rows = list(csv.DictReader((run / "log.csv").open()))
    assert [row["epoch"] for row in rows if row["Sm"]] == ["2", "4", "5"]
    assert all(row["total"] for row in rows)
    best = max((row for row in rows if row["Sm"]), key=lambda row: float(row["Sm"]))
    about = read_weights(run / "best.safetensors")[1]["about"]
    assert about["epoch"] == int(best["epoch"])
    assert about["validation"]["Sm"] == pytest.approx(float(best["Sm"]), rel=1e-6)
    assert json.loads((run / "finished.json").read_text())["best"]["epoch"] == about["epoch"]


def test_weights_rebuild_their_network(run):
    _, header = read_weights(run / "last.safetensors")
    assert header["about"]["epoch"] == 2
    assert header["config"].detector.input_size == (64, 64)
    whole, pruned = load_sral(run / "last.safetensors").eval(), load_detector(run / "last.safetensors")
    rgb = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(whole(rgb, rgb)["logits1"], pruned(rgb)["logits"])


def test_config_does_the_run_again(run, tmp_path):
    _train("--config", str(run / "config.yaml"), f"--output={tmp_path / 'again'}")
    ours, theirs = (read_weights(folder / "last.safetensors")[0] for folder in (run, tmp_path / "again"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_run_is_not_overwritten(run, training_pairs):
    before = _contents(run)
    with pytest.raises(ValueError, match="already holds a run: --resume continues it"):
        _train(*_options(training_pairs, run))
    with pytest.raises(ValueError, match=r"other settings: optimizer.lr: 0.002 -> 0.5; --force goes on"):
        _train(*_options(training_pairs, run, "--resume", "--optimizer.lr=0.5"))
    assert _contents(run) == before


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_says_what_it_takes_and_writes_nothing(training_pairs, tmp_path, capsys):
    cached = f"--data.cache={tmp_path / 'cache'}"
    _train(*_options(training_pairs, tmp_path / "run", "--dry-run", cached, "--epochs=30", "--batch_size=2"))
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["network", "sizes", "data", "cache", "memory", "time"]
    network = load_sral_parameters()
    assert f"{network[0]:,} parameters while it trains, {network[1]:,} for inference" in lines["network"]
    assert lines["sizes"] == "2 × 64×64 a step, maps and SR target 128×128"
    assert lines["data"] == "5 training images: 2 steps an epoch, 30 epochs"
    assert float(lines["memory"].split()[0]) > 0.05
    assert float(lines["time"].split()[0]) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_on_the_sample_set_writes_nothing(root, training_pairs, tmp_path, capsys):
    demo = ["--config=configs/demo.yaml", "--encoder_weights=none", "--dry-run", f"--output={tmp_path}/run"]
    demo += [f"--data.cache={tmp_path}/cache", "--detector.input_size=[64,64]", "--device=cpu", "--precision=fp32"]
    before = _contents(training_pairs)
    _train(*demo, f"--data.root={training_pairs}")  # it has the sample set's layout
    assert "6 training images: 1 steps an epoch, 16 epochs" in capsys.readouterr().out
    assert _contents(training_pairs) == before
    with pytest.raises((OSError, ValueError), match="sample"):
        _train(*demo, f"--data.root={tmp_path}/sample")
    assert list(tmp_path.iterdir()) == []


def test_every_pair_is_cached_once(training_pairs, tmp_path):
    crops = ("--data.augmentation.scale=[0.5,1]", f"--data.cache={tmp_path / 'cache'}", "--epochs=0")
    assert _train(*_options(training_pairs, tmp_path / "run", *crops)) == 0
    files = sorted((tmp_path / "cache").glob("*.npy"))
    rows = {np.load(file).dtype["fine"].shape: len(np.load(file)) for file in files}
    assert rows == {(181, 181, 4): 5, (128, 128, 4): 2}
    _train(*_options(training_pairs, tmp_path / "again", *crops))  # with the same pairs
    assert sorted((tmp_path / "cache").glob("*.npy")) == files
    _train(*_options(training_pairs, tmp_path / "whole", "--epochs=0", f"--data.cache={tmp_path / 'plain'}"))
    assert [len(np.load(file)) for file in (tmp_path / "plain").glob("*.npy")] == [7]


def test_weights_follow_the_umask(run):
    umask = os.umask(0)
    os.umask(umask)
    for name in ("last", "best"):
        assert (run / f"{name}.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


def load_sral_parameters() -> tuple[int, int]:
    """Parameters of the small network, trained and kept."""
    network = build_sral(parse(SMALL).settings.network())
    return tuple(sum(p.numel() for p in part.parameters()) for part in (network, network.detector))


def test_the_validation_picture_shows_what_the_network_makes(run, tmp_path):
    network = load_sral(run / "last.safetensors")
    views = {"rgb": torch.rand(2, 3, 64, 64), "ycbcr": torch.full((2, 3, 64, 64), 0.25)}
    views |= {"sr_target": torch.full((2, 3, 128, 128), 0.75), "mask": torch.ones(2, 1, 128, 128)}
    columns = validation_columns(network, views, lambda ycbcr: ycbcr)
    assert list(columns) == ["image", "mask", "map", "SR input, bicubic", "SR output", "SR target"]
    outputs = network.eval()(views["rgb"], views["ycbcr"])
    assert torch.equal(columns["map"], outputs["logits1"].sigmoid())
    assert torch.equal(columns["SR output"], outputs["sr_image"])
    draw_validation(tmp_path / "a.png", columns, ["one", "two"], "title")
    with Image.open(tmp_path / "a.png") as sheet:
        tiles = [sheet.crop((left, 40, left + 100, 140)) for left in range(120, sheet.width - 100, TILE + GAP)]
    assert len(tiles) == 6
    assert tiles[1].getextrema() == ((255, 255),) * 3
    assert tiles[3].getextrema() == ((64, 64),) * 3
    assert tiles[5].getextrema() == ((191, 191),) * 3


def test_no_epochs_write_the_start(training_pairs, tmp_path):
    _train(*_options(training_pairs, tmp_path / "start", "--epochs=0"))
    assert read_weights(tmp_path / "start" / "best.safetensors")[1]["about"]["epoch"] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--detector.widht=8"], "widht"),
        (["--detector.wid=8"], "wid"),
        (["--epochs=many"], "epochs"),
        (["--asrd.shallow_kernel=2"], "shallow_kernel"),
        (["--loss.saliency=[1,2]"], "saliency"),
        (["--config=nothing.yaml"], "nothing.yaml"),
    ],
)
def test_unknown_keys_and_wrong_types(options, says):
    with pytest.raises(SystemExit) as stop:
        parse(options)
    assert str(stop.value).startswith("error: ")
    assert says in str(stop.value)
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--batch_size=1"], "batch_size 1: batch norm needs at least two images"),
        (["--foreground_prior=0"], r"foreground_prior 0.0: a share of the pixels, in \(0, 1\), or null"),
        (["--foreground_prior=1"], r"foreground_prior 1.0: a share of the pixels, in \(0, 1\), or null"),
        (["--foreground_prior=-0.1"], r"foreground_prior -0.1: a share of the pixels, in \(0, 1\), or null"),
        (["--batch_size=6"], "5 training images are less than one batch of 6"),
        (["--precision=fp16"], "precision fp16: only on a GPU"),
        (["--super_resolution=false"], "guidance reads the features of super_resolution"),
        (["--detector.input_size=[100,64]"], "nearest that works is 96×64"),
        (["--encoder_weights=nothing.pth"], "nothing.pth: no such file"),
        (["--detector.encoder=resnet19"], "timm has no network of that name"),
        (["--data.images=nowhere"], "nowhere"),
        (["--data.validation=1.5"], "data.validation must be less than 1, not 1.5"),
    ],
)
def test_values_that_cannot_work(training_pairs, tmp_path, options, says):
    with pytest.raises((ValueError, OSError), match=says):
        _train(*_options(training_pairs, tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "new"),
    [
        ("--optimiser.lr=1", "--optimizer.lr"),
        ("--optimiser.encoder_lr=1", "--optimizer.encoder_lr_factor"),
        ("--optimizer.token_lr=1", "--optimizer.token_lr_factor"),
        ("--expected=0.1", "--foreground_prior"),
    ],
)
def test_old_options_are_refused_by_their_new_names(option, new):
    old = option.partition("=")[0]
    with pytest.raises(SystemExit, match=f"^error: the option {old} is now {new}; rename it$"):
        parse([option])


@pytest.mark.parametrize("text", ["optimiser: {lr: 1}", "optimizer: {encoder_lr: 1}", "expected: 0.1"])
def test_old_keys_are_refused_by_their_new_names(tmp_path, text):
    path = tmp_path / "old.yaml"
    path.write_text(text)
    found = rf"{path}: the key \S+ is now (optimizer\.lr|optimizer\.encoder_lr_factor|foreground_prior); rename it$"
    for arguments in (["--config", str(path)], [f"--config={path}"]):
        with pytest.raises(SystemExit, match=f"^error: {found}"):
            parse(arguments)
    with pytest.raises(ValueError, match=found):
        from_record(yaml.safe_load(text), str(path))


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--epochs=-1", "epochs must be at least 0, not -1"),
        ("--optimizer.ema=1", "optimizer.ema must be less than 1, not 1.0"),
        ("--optimizer.lr=0", "optimizer.lr must be greater than 0, not 0.0"),
        ("--data.augmentation.hue=0.7", "data.augmentation.hue must be at most 0.5, not 0.7"),
        ("--data.dataset=folders", "data.dataset 'folders': set data.images and data.masks to the two folders"),
    ],
)
def test_a_value_out_of_range_is_one_line_with_its_key(option, says):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        parse([option])
    assert str(error.value).startswith(says)


def test_a_record_with_an_unknown_key_is_refused():
    settings = plain(TrainingConfig())
    assert from_record(settings, "config.yaml") == TrainingConfig()
    with pytest.raises(ValueError, match=r"config.yaml: optimizer: OptimizerConfig has no speed; it has clip,"):
        from_record(settings | {"optimizer": {"speed": 1}}, "config.yaml")


@pytest.mark.parametrize(("there", "found"), [(True, "bf16"), (False, "fp32")])
def test_precision_is_what_the_cpu_computes_in(monkeypatch, there, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": there})
    assert find_precision("auto", on_cpu=True) == found
    assert find_precision("fp32", on_cpu=True) == "fp32"
    if there:
        assert find_precision("bf16", on_cpu=True) == "bf16"
    else:
        with pytest.raises(ValueError, match=r"^precision bf16: this CPU does not have it; set precision to auto or"):
            find_precision("bf16", on_cpu=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(root, training_pairs, tmp_path):
    command = [sys.executable, "train.py", *_options(training_pairs, tmp_path / "run", "--device=cuda")]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, env=os.environ)
    assert run.returncode == 1
    assert (
        run.stderr.splitlines()[-1]
        == f"error: device cuda: torch {torch.__version__} finds no GPU here; use cpu or auto"
    )


def test_a_loss_that_is_not_finite_is_named(training_pairs, tmp_path):
    with pytest.raises(FloatingPointError, match=r"step \d+: loss term .*sr.* is not finite"):
        _train(*_options(training_pairs, tmp_path / "run", "--optimizer.lr=1e30", "--optimizer.name=adamw"))


def test_every_configuration_parses(root):
    files = sorted((root / "configs").glob("*.yaml"))
    assert {"released.yaml", "paper.yaml", "demo.yaml", "light.yaml"} <= {file.name for file in files}
    for file in files:
        parse(["--config", str(file)])
        assert "train.py --config" in file.read_text().partition("\noutput:")[0]


@pytest.mark.parametrize("text", ["optimizer: 3", "detector: null", "data: [1]"])
def test_a_section_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SystemExit, match=f"^error: {text.partition(':')[0]}: expected named values"):
        parse(["--config", str(tmp_path / "bad.yaml")])


def test_help_shows_every_key(root):
    run = subprocess.run([sys.executable, "train.py", "--help"], cwd=root, capture_output=True, text=True, check=True)
    for key in ("--output", "--resume", "--detector.encoder", "--asrd.residual", "--tfgm.affinity", "--loss.saliency",
                "--data.augmentation.symmetries", "--optimizer.ema"):  # fmt: skip
        assert f"  {key}" in run.stdout


def test_schedules():
    poly = [rate_factor(step, 100, 0, "poly", 0.9) for step in range(100)]
    assert poly == [pytest.approx((1 - step / 100) ** 0.9) for step in range(100)]
    cosine = [rate_factor(step, 110, 10, "cosine", 0.9) for step in range(110)]
    assert cosine[:10] == [pytest.approx((step + 1) / 11) for step in range(10)]
    assert cosine[10] == 1
    assert cosine[60] == pytest.approx(0.5)
    assert cosine[109] == pytest.approx((1 + math.cos(math.pi * 0.99)) / 2)


def test_parameter_groups():
    rest = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    network = nn.ModuleDict({"encoder": nn.Conv2d(3, 4, 3), "rest": rest})
    settings = OptimizerConfig(lr=1.0, encoder_lr_factor=0.1, weight_decay=0.5)

    def groups(settings):
        found = parameter_groups(network, network["encoder"], settings)
        return sorted((g["lr"], g["weight_decay"], sum(p.numel() for p in g["params"])) for g in found)

    assert groups(settings) == [(0.1, 0.0, 4), (0.1, 0.5, 108), (1.0, 0.0, 8), (1.0, 0.5, 148)]
    settings.decay_norms = False
    assert groups(settings) == [(0.1, 0.0, 4), (0.1, 0.5, 108), (1.0, 0.0, 12), (1.0, 0.5, 144)]


def test_average_follows_its_formula():
    network = nn.BatchNorm2d(1)
    average = build_ema(network, 0.9)
    expected = None
    for update in range(60):
        with torch.no_grad():
            network.weight.fill_(float(update))
        average.update(network)
        keep = min(0.9, (1 + update) / (10 + update))
        expected = float(update) if expected is None else keep * expected + (1 - keep) * update
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert build_ema(network, 0.0) is None
    again = build_ema(network, 0.9)
    again.load_state_dict(average.state_dict())
    assert again.updates == 60
    assert torch.equal(again.module.weight, average.module.weight)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fused_optimizers_do_as_the_plain_ones(name):
    """Fused optimizers walk through weights in memory, here with channels last."""

    def trained(fused: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 3, 3)).to(
            memory_format=torch.channels_last
        )
        settings = OptimizerConfig(name=name, lr=0.05, momentum=0.9, encoder_lr_factor=0.5)
        optimizer = build_optimizer(network, network[0], settings)
        if not fused:
            for group in optimizer.param_groups:
                group |= {"fused": False, "foreach": False}
        images = torch.rand(2, 3, 8, 8)
        for _ in range(5):
            network(images).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return [parameter.detach() for parameter in network.parameters()]

    for ours, theirs in zip(trained(True), trained(False), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_defaults_are_the_releases_schedule():
    settings = TrainingConfig()
    optimizer = settings.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay, optimizer.momentum) == ("sgd", 2e-3, 5e-4, 0.9)
    assert (settings.seed, settings.epochs, settings.detector.encoder) == (2021, 100, "resnet50")
