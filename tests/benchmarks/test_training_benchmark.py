"""benchmarks/training.py: the release's side does what the release does, and times go to the parts that spend them."""

import copy
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image, ImageOps
from torch import nn

from benchmarks import training
from benchmarks.breakdown import PartMarks, Timeline
from benchmarks.complexity import PARTS
from benchmarks.training_sides import ReleasedSamples, ReleasedTrainer
from datasets.catalog import Pair, find_pairs
from tests.helpers import ROOT, small_network
from utils.devices import has_bf16

OURS = {*PARTS, "losses", "maps to full size, casts"} - {"host"}
"""What a step of our own detector is made of."""

SIZE = (16, 16)
SMALL = {
    "epochs": 2,
    "detector": {"encoder": "mobilenetv2_035", "width": 8, "head_channels": [8, 8], "input_size": [64, 64]},
    "asrd": {"shallow_channels": 8, "fuse_channels": [8, 8, 8], "up_channels": [8, 8, 8]},
    "optimizer": {"name": "adamw", "clip": 5.0, "ema": 0.9},
    "data": {"augmentation": {"scale": [0.5, 1.0], "brightness": 0.2}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Five training pairs in ORSSD's layout; the first is square."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for folder in ("train-images", "train-labels"):
        (root / folder).mkdir()
    for number in range(5):
        shape = (40, 40 + 10 * number)
        colors = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(colors).save(root / "train-images" / f"{number}.jpg", quality=95)
        mask = 255 * rng.integers(0, 2, shape, dtype=np.uint8)
        Image.fromarray(mask).save(root / "train-labels" / f"{number}.png")
    return root


@pytest.fixture
def pairs(data) -> list[Pair]:
    with pytest.warns(UserWarning, match="5"):
        return find_pairs("ORSSD", data, "train")


def by_hand(pair: Pair, change=lambda image: image) -> dict[str, np.ndarray]:
    """What architecture.md says of the views, H×W×C, with `change` done to the full-size images."""
    image, mask = Image.open(pair.image).convert("RGB"), Image.open(pair.mask)
    ycbcr, bilinear = image.convert("YCbCr"), Image.Resampling.BILINEAR
    sources = {"rgb": (image, 16), "ycbcr": (ycbcr, 16), "sr_target": (ycbcr, 32), "mask": (mask, 32)}
    views = {name: np.asarray(change(of).resize((side, side), bilinear)) / 255 for name, (of, side) in sources.items()}
    views["rgb"] = (views["rgb"] - (0.3412, 0.3798, 0.3583)) / (0.1148, 0.1042, 0.0990)
    return views


def difference(sample: dict[str, torch.Tensor], views: dict[str, np.ndarray]) -> float:
    assert sample.keys() == views.keys()
    arrays = {name: view.permute(1, 2, 0).numpy().squeeze() for name, view in sample.items()}
    return max(np.abs(arrays[name] - views[name]).max() for name in views)


def test_released_samples_are_pillows(pairs):
    samples = ReleasedSamples(pairs, SIZE, augment=False)
    assert len(samples) == 5
    for pair, sample in zip(pairs, samples, strict=False):
        assert all(view.dtype == torch.float32 and view.is_contiguous() for view in sample.values())
        assert difference(sample, by_hand(pair)) < 1e-6


def test_released_samples_decode_each_view_anew(pairs, monkeypatch):
    opened, really_open = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path) or really_open(path))
    ReleasedSamples(pairs, SIZE)[2]
    assert sorted(opened) == sorted([pairs[2].image] * 3 + [pairs[2].mask])


def test_released_augmentation_comes_to_the_squares_symmetries(pairs):
    """A flip and a quarter turn of a square image, as the release draws them, are its eight symmetries, all alike."""
    turns = {f"{angle}{'m' if mirrored else ''}": (angle, mirrored) for angle in range(4) for mirrored in (False, True)}

    def changed(angle: int, mirrored: bool):
        return lambda image: (ImageOps.mirror(image) if mirrored else image).rotate(90 * angle)

    variants = {name: by_hand(pairs[0], changed(*turn)) for name, turn in turns.items()}
    samples = ReleasedSamples(pairs, SIZE)
    random.seed(0)
    found = Counter()
    for _ in range(800):
        sample = samples[0]
        found.update(name for name, views in variants.items() if difference(sample, views) < 1e-6)
    assert found.total() == 800  # all four views agree, each time
    assert all(abs(found[name] - 100) < 4 * (800 * 7 / 64) ** 0.5 for name in variants)


def by_plain_autograd(network: nn.Module, views: dict[str, torch.Tensor]) -> torch.Tensor:
    """The release's joint loss of its training forward, spelt out; `network.asrd` is ours, and is run twice."""

    def up(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, views["mask"].shape[-2:], mode="bilinear", align_corners=True)

    def structure(logits: torch.Tensor) -> torch.Tensor:
        p, y = logits.sigmoid(), views["mask"]
        both, total = (p * y).flatten(1).sum(1), (p + y).flatten(1).sum(1)
        bce = -(y * F.logsigmoid(logits) + (1 - y) * F.logsigmoid(-logits)).mean()
        return bce + (1 - (both + 1) / (total - both + 1)).mean()

    def products(x: torch.Tensor) -> torch.Tensor:
        x = F.avg_pool2d(x, 16).flatten(2)
        return torch.einsum("bci,bcj->bij", x, x)

    found = network.detector(views["rgb"])
    maps = [found["logits"]]
    maps += [up(head(x)) for head, x in zip(network.coarse_heads, found["decoded"][1:], strict=True)]
    network.asrd(found["features"][1], found["context"], views["ycbcr"])
    sr = network.asrd(found["features"][1], found["context"], views["ycbcr"])
    fused = network.tfgm.guidance(maps[0]) * sr["sr_features"]
    target = views["sr_target"] * views["mask"]
    n = (views["mask"].shape[-1] // 16) * (views["mask"].shape[-2] // 16)
    t1 = sum(weight * structure(each) for weight, each in zip((1, 1, 1 / 2, 1 / 4, 1 / 8), maps, strict=True))
    t2 = ((sr["sr_residual"] - views["sr_target"]) ** 2).mean()
    t3 = (fused - target).abs().mean() + (products(fused) - products(target)).abs().sum() / n**2
    return t1 + 100 * t2 + t3


def test_released_step_is_plain_sgd_on_the_releases_loss():
    torch.manual_seed(1)
    trainer = ReleasedTrainer(small_network(input_size=(64, 64)).config, 4, torch.device("cpu"))
    plain = copy.deepcopy(trainer.network)
    plain.asrd = plain.asrd.asrd
    views = {"rgb": torch.randn(2, 3, 64, 64), "ycbcr": torch.rand(2, 3, 64, 64)}
    views |= {"sr_target": torch.rand(2, 3, 128, 128), "mask": torch.rand(2, 1, 128, 128)}
    bought = {}
    for number in range(2):
        torch.manual_seed(number)  # dropout
        values = trainer.step(views)
        torch.manual_seed(number)
        total = by_plain_autograd(plain, views)
        assert all(isinstance(value, float) for value in values.values())
        assert len(values) == 9
        assert values["total"] == pytest.approx(total.item(), rel=1e-5)
        plain.zero_grad()
        total.backward()
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                gradient = parameter.grad + (0 if name.endswith("bias") else 5e-4 * parameter)
                bought[name] = 0.9 * bought[name] + gradient if name in bought else gradient
                parameter -= 2e-3 * (1 - number / 4) ** 0.9 * bought[name]
    theirs = {name.replace("asrd.asrd.", "asrd."): value for name, value in trainer.network.state_dict().items()}
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)
    assert theirs["asrd.shallow.1.num_batches_tracked"] == 4  # the decoder ran twice in each of two steps


class Slow(torch.autograd.Function):
    """The identity, which takes 30 ms forward and 60 ms backward."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.03)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        time.sleep(0.06)
        return gradient


@pytest.mark.parametrize("part", ["encoder", "TSDD blocks", "coarse heads", "ASRD", "TFGM"])
def test_time_is_put_down_to_the_part_that_spends_it(part):
    network = small_network(input_size=(64, 64)).train()
    module = network.get_submodule(PARTS[part])
    module = module[1] if isinstance(module, nn.ModuleList) else module
    inside = next(each for each in module.modules() if isinstance(each, nn.Conv2d))
    forward = inside.forward
    inside.forward = lambda x: Slow.apply(forward(x))
    timeline = Timeline(torch.device("cpu"))
    marks = PartMarks(network, timeline)
    image = torch.rand(2, 3, 64, 64)

    def spent() -> tuple[dict[tuple[str, str], float], float]:
        start = time.perf_counter()
        outputs = network(image, image)
        marks.before_backward(sum(value.square().mean() for value in outputs.values())).backward()
        return timeline.milliseconds(), 1e3 * (time.perf_counter() - start)

    spent()
    found, whole = spent()
    marks.remove()
    assert {name for name, _ in found} == OURS
    assert found[part, "forward"] > 30
    assert found[part, "backward"] > 60
    assert 0.5 * whole < sum(found.values()) <= whole


def run(data: Path, *arguments: object) -> list[str]:
    set_of = ["--dataset", "ORSSD", "--root", data, "--batch", 2, "--device", "cpu"]
    return [str(part) for part in (*set_of, *arguments)]


def test_command(data, tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    command = [sys.executable, str(ROOT / "benchmarks" / "training.py")]
    precisions = ["fp32", "bf16"] if has_bf16(on_cpu=True) else ["fp32"]
    ours = ["ours in fp32", "ours in bf16"] if len(precisions) == 2 else ["ours"]
    asked = run(data, "--networks", "small.yaml", "--steps", 1, "--rounds", 2, "--workers", 1, "--json", "found.json")
    asked += ["--precision", *precisions]
    done = subprocess.run(command + asked, cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ)

    found = json.loads((tmp_path / "found.json").read_text())
    assert found["options"]["images"] == 5
    rows = {(row["what"], row["side"]): row for row in found["rows"]}
    assert set(rows) == {("loader", ours[0]), ("loader", "release"), *(("step", side) for side in ("release", *ours))}
    for (what, _), row in rows.items():
        assert row["images"] == {"loader": 4, "step": 2}[what]
        assert len(row["seconds"]) == 2
        median = statistics.median(row["seconds"])
        assert row["ms_per_image"] == pytest.approx(1e3 * median / row["images"])
        assert row["images_per_second"] == pytest.approx(row["images"] / median)
        assert row["times_release"] == pytest.approx(statistics.median(rows[what, "release"]["seconds"]) / median)
    [cache] = found["caches"]
    large = round(2 * 64 * 2**0.5)
    assert cache["images"] == 5
    assert cache["gigabytes"] * 1e9 == pytest.approx(5 * (2 * 64**2 * 3 + large**2 * 4), rel=0.01)
    saved = statistics.median(rows["loader", "release"]["seconds"]) - statistics.median(
        rows["loader", ours[0]]["seconds"]
    )
    assert cache["epochs"] is None or cache["seconds"] <= cache["epochs"] * saved < cache["seconds"] + saved
    parts = {(each["part"], each["phase"]): each["milliseconds"] for each in found["parts"]}
    outside = {"gather", "views", "clip", "optimizer, schedule", "EMA"}
    assert {part for part, phase in parts if not phase} == outside
    assert {part for part, phase in parts if phase == "backward"} == OURS
    assert min(parts.values()) >= 0
    assert done.stdout.count("\n| small.yaml | release |") == 2
    assert "| ASRD |" in done.stdout


def test_the_count_of_images_has_one_name(data, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["training.py", *run(data, "--num-images", 3)])
    assert training.arguments().images == 3
    monkeypatch.setattr(sys, "argv", ["training.py", *run(data, "--images", 200)])
    with pytest.raises(SystemExit):
        training.arguments()
    assert "is now --num-images: use --num-images 200" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--networks", "resnet51"), "resnet51: neither a configuration file nor one of resnet50, light"),
        (("--batch", "8"), "5 training images are less than one batch of 8"),
        (("--batch", "1"), "batch_size 1"),
        (("--root", "nowhere"), "nowhere"),
    ],
)
@pytest.mark.filterwarnings("ignore:ORSSD train")
def test_bad_input_is_one_clear_line(arguments, why, data, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["training.py", *run(data, *arguments)])
    with pytest.raises(SystemExit, match=why) as stopped:
        training.main()
    assert str(stopped.value).startswith("error: ")
    assert "\n" not in str(stopped.value)
