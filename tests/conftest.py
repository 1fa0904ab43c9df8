"""Fixtures that several tests share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train
from models.weights import save_weights
from tests.helpers import ROOT, SHARED, small_network, small_run

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as where the suite runs in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Restore the signal handlers, which commands that run in this process set."""
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for name, handler in handlers.items():
        signal.signal(name, handler)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test, and the commands that it runs, an empty cache of converted networks."""
    monkeypatch.setenv("SRAL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root, from which every command runs."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of fixtures, real data and published maps beside the checkout; skips where there is none."""
    if not SHARED.is_dir():
        pytest.skip("../shared (fixtures, real data) is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights file of a small training network for 64×96 inputs."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, small_network())
    return path


@pytest.fixture(scope="session")
def training_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven training pairs in ORSSD's layout: a bright square on noise."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for folder in ("train-images", "train-labels"):
        (root / folder).mkdir()
    for number in range(7):
        image = rng.integers(0, 120, (60, 80, 3), dtype=np.uint8)
        mask = np.zeros((60, 80), dtype=np.uint8)
        mask[10 : 30 + number, 20:50] = 255
        image[mask > 0] += 120
        Image.fromarray(image).save(root / "train-images" / f"{number:04}.jpg")
        Image.fromarray(mask).save(root / "train-labels" / f"{number:04}.png")
    return root


@pytest.fixture(scope="session")
def trained_run(training_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder: two epochs of everything, whose checkpoints are kept."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    branches = ("--asrd.shallow_channels=8", "--asrd.fuse_channels=[8,8,8]", "--asrd.up_channels=[8,8,8]")
    assert train.train(small_run(training_pairs, folder, *branches, "--epochs=2", "--optimizer.ema=0.9")) == 0
    return folder
