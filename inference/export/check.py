"""Compare the outputs of an exported file with those of its network."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from inference.backends import onnx_runtime, open_vino
from inference.export import FORMATS
from inference.export.header import INPUT, MAP, SALIENCY, Header
from inference.fold import fold
from inference.maps import truncated
from models.detector import STRIDE, Detector
from models.hosts import Host
from utils.devices import optional

MAX_DIFFERENCE_FP32 = 1e-4
"""Largest difference of saliency, at any pixel, between a file in fp32 and its network."""
MEAN_DIFFERENCE_HALF = 0.001
"""Largest mean difference of saliency between a file whose weights are stored in fp16 and its network."""
MEAN_DIFFERENCE_INT8 = 0.01
"""Largest mean difference of saliency between a file in int8 and its network. It bounds the change of MAE."""
BLOB_SPACING = 16
"""Pixels between the background blobs of synthetic images."""
Runner = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From B×H×W×3 uint8 RGB to the 8-bit map and the saliency, B×2H×2W each."""


def check_export(path: Path, header: Header, detector: Detector | Host, pixels: np.ndarray, half: bool = False) -> str:
    """Compare a file with its network on images of the training size and, if it takes any size, on synthetic ones.

    Args:
        path: the file.
        header: its header.
        detector: the network, in eval mode.
        pixels: N×H×W×3 uint8 RGB.
        half: the file's weights are stored in fp16.

    Returns:
        The differences, one line for each image size.

    Raises:
        ValueError: the difference is above MAX_DIFFERENCE_FP32, MEAN_DIFFERENCE_HALF or MEAN_DIFFERENCE_INT8, or the
            8-bit map is not the truncated saliency × 255.
    """
    run = RUNNERS[path.suffix](path)
    batches = [pixels]
    if header.sizes == "any":
        height, width = header.input_size
        batches.append(synthetic_images(3, (height + STRIDE, width + 3 * STRIDE)))
    return "\n".join(_compare(run, header, detector, batch, half) for batch in batches)


def synthetic_images(count: int, size: tuple[int, int]) -> np.ndarray:
    """Return `count` images of a bright ellipse on smooth blobs, count×H×W×3 uint8 RGB for size (H, W); no randomness.

    A trained network finds no object in plain noise, so noise would test nothing.
    """
    height, width = size
    draw = functools.partial(torch.rand, generator=torch.Generator().manual_seed(0))
    blobs = F.interpolate(draw(count, 3, height // BLOB_SPACING, width // BLOB_SPACING), size, mode="bilinear")
    y, x, high, wide = torch.tensor([0.3, 0.3, 0.1, 0.1]).view(4, 1, 1, 1) + draw(4, count, 1, 1) * 0.4
    down, across = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    inside = ((down - y) / high) ** 2 + ((across - x) / wide) ** 2 < 1
    colors = 0.5 + 0.5 * draw(count, 3, 1, 1)
    return (255 * torch.where(inside[:, None], colors, 0.3 + 0.15 * blobs)).byte().permute(0, 2, 3, 1).numpy()


def _compare(run: Runner, header: Header, detector: Detector | Host, pixels: np.ndarray, half: bool) -> str:
    """Return the differences on images of one size as text; raise a ValueError if they are above the bounds."""
    where = f"{len(pixels)} images at {pixels.shape[1]}×{pixels.shape[2]}"
    batches = [batch for batch in (pixels[:1], pixels[1:]) if len(batch)]  # a single image, and several at once
    gray, saliency = (np.concatenate(parts) for parts in zip(*map(run, batches), strict=True))
    found = []
    for name, expected in zip(("the network", "its inference form"), _run_torch(detector, pixels), strict=True):
        difference = np.abs(saliency - expected)
        found.append(f"{difference.max():.1e} from {name}")
        if header.precision == "int8":
            _check_bound(difference.mean(), MEAN_DIFFERENCE_INT8, f"mean saliency, in int8, of {where} from {name}")
        elif half:
            _check_bound(difference.mean(), MEAN_DIFFERENCE_HALF, f"mean saliency, in fp16, of {where} from {name}")
        else:
            _check_bound(difference.max(), MAX_DIFFERENCE_FP32, f"saliency of {where} from {name}")
    if not np.array_equal(gray, truncated(saliency)):
        raise ValueError("not written: its 8-bit map is not its saliency × 255, cut off")
    flipped = ((saliency > 0.5) != (expected > 0.5)).mean()
    return (
        f"{where}: largest difference {', '.join(found)}; "
        f"{difference.mean():.1e} on average, {flipped:.3%} of the pixels on the other side of 0.5"
    )


def _check_bound(difference: float, bound: float, what: str) -> None:
    if not difference <= bound:  # also refuses NaN
        raise ValueError(f"not written: difference in {what} {difference:.1e}, more than {bound:g}")


@torch.inference_mode()
def _run_torch(detector: Detector | Host, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the saliency of the detector, its input normalized as in training, and of its inference form."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (detector.config.mean, detector.config.std))
    image = torch.from_numpy(pixels)
    rgb = (image.permute(0, 3, 1, 2) / 255 - mean) / std
    return detector(rgb)["logits"][:, 0].sigmoid().numpy(), fold(detector)(image).numpy()


def _open_onnx_runtime(path: Path) -> Runner:
    runtime = optional("onnxruntime", onnx_runtime.REQUIREMENTS)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: tuple(session.run([MAP, SALIENCY], {INPUT: pixels}))


def _open_openvino(path: Path) -> Runner:
    core = optional("openvino", open_vino.REQUIREMENTS).Core()
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = compiled({INPUT: pixels})
        return found[MAP].copy(), found[SALIENCY].copy()

    return run


RUNNERS = {FORMATS["onnx"]: _open_onnx_runtime, FORMATS["openvino"]: _open_openvino}
