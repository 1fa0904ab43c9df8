"""What several tests build on: small networks, images and runs."""

import os
import runpy
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.config import ASRDConfig, DetectorConfig, SRALConfig
from models.detector import Detector, build_detector
from models.sral import SRAL, build_sral
from training.config import Start, parse

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
FIXTURES = ROOT / "tests" / "fixtures"

# Small networks on a busy machine: threads that wait for one another cost several times what they save.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the commands that tests run


def run_script(path: Path | str) -> None:
    """Run a script in this process as its command does, with sys.argv; raise SystemExit unless it succeeds."""
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def cpu_computes_in(kind: str) -> bool:
    """Whether the CPU has instructions for 'bf16', or the 'vnni' that int8's products do not overflow in."""
    return any(there for name, there in torch.cpu.get_capabilities().items() if name.endswith(kind))


def picture(width: int = 90, height: int = 70, seed: int = 0) -> Image.Image:
    """A colorful image of soft blobs."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def binary(width: int = 90, height: int = 70) -> np.ndarray:
    """An ellipse, 255 on 0."""
    y, x = np.mgrid[:height, :width]
    return (((x - 30) ** 2 + 2 * (y - 40) ** 2) < 400).astype(np.uint8) * 255


def small_network(encoder: str = "resnet18", input_size: tuple[int, int] = (64, 96)) -> SRAL:
    """A narrow training network in eval mode: random weights, batch norms that have seen data, odd statistics."""
    torch.manual_seed(0)
    statistics = {"mean": (0.5, 0.4, 0.3), "std": (0.3, 0.2, 0.25)}
    detector = DetectorConfig(encoder, width=16, head_channels=(8, 8), input_size=input_size, **statistics)
    asrd = ASRDConfig(shallow_channels=8, fuse_channels=(8, 8, 8), up_channels=(8, 8, 8))
    network = build_sral(SRALConfig(detector, asrd)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    network.detector.tsdd.head.predict.weight.data *= 300  # maps that are far from constant
    return network


def speaking_detector(config: DetectorConfig) -> Detector:
    """A detector in eval mode whose tokens speak: their joins are not at zero any more."""
    torch.manual_seed(0)
    detector = build_detector(config).eval()
    for join in detector.encoder.tokens.joins:
        nn.init.normal_(join.weight, std=0.1)
    return detector


def small_run(pairs: Path, folder: Path, *more: str) -> Start:
    """A run of a small network on pairs in ORSSD's layout, with more options."""
    return parse([
        "--detector.encoder=lcnet_035", "--detector.width=8", "--detector.head_channels=[8,8]",
        "--detector.input_size=[64,64]", "--encoder_weights=none", "--batch_size=2", "--device=cpu",
        "--data.validation=0.3", "--data.cache=null", "--data.dataset=folders", f"--data.images={pairs}/train-images",
        f"--data.masks={pairs}/train-labels", f"--output={folder}", *more,
    ])  # fmt: skip


SMALL = [
    "--detector.encoder=mobilenetv2_035",
    "--detector.width=8",
    "--detector.head_channels=[8,8]",
    "--detector.input_size=[64,64]",
    "--asrd.shallow_channels=8",
    "--asrd.fuse_channels=[8,8,8]",
    "--asrd.up_channels=[8,8,8]",
    "--encoder_weights=none",
    "--batch_size=2",
    "--epochs=2",
    "--device=cpu",
    "--data.validation=0.3",
    "--data.cache=null",
    "--optimizer.ema=0.9",
    "--optimizer.lr=2e-3",
    "--optimizer.weight_decay=1e-4",
    "--optimizer.clip=5",
]


def seen_data(detector: Detector, pixels: torch.Tensor) -> Detector:
    """The detector in eval mode, its batch norms with statistics of these images and odd weights."""
    for module in detector.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        detector.train()(normalized(pixels, detector.config))
    return detector.eval()


def normalized(pixels: torch.Tensor, config: DetectorConfig) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    return (pixels.permute(0, 3, 1, 2) / 255 - mean) / std


def scene_pixels(seed: int, width: int = 200, height: int = 160) -> np.ndarray:
    """Random rectangles and disks on soft ground, H×W×3 uint8: corners to align, and low frequencies to find."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 190, (4, 5, 3), dtype=np.uint8)
    pixels = cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, a, b = (int(of) for of in rng.integers((0, 0, 4, 4), (width, height, 24, 24)))
        color = rng.integers(0, 256, 3).tolist()
        if rng.random() < 0.5:
            cv2.rectangle(pixels, (x, y), (x + a, y + b), color, -1)
        else:
            cv2.circle(pixels, (x, y), a // 2, color, -1)
    return pixels
