"""Whether an exported file does what the network does that it was made from."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from inference.backends import onnx_runtime, open_vino
from inference.export.header import FORMATS, INPUT, MAP, SALIENCY, Header
from inference.fold import fold
from inference.maps import truncated
from models.detector import STRIDE, Detector
from utils.devices import optional

EXACT = 1e-4
"""By how much the saliency of a file in fp32 may differ from the network's, anywhere."""
NEAR = 0.01
"""By how much the saliency of a file in int8 may differ on average: more than that MAE cannot change either."""
BLOB = 16
"""Pixels from one of the drawn scenes' blobs to the next."""
Outputs = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def check_export(path: Path, header: Header, detector: Detector, pixels: np.ndarray) -> str:
    """Run a file on images at the size that it was trained for, and, where it takes any, on drawn scenes at another.

    Args:
        path: what was written.
        header: its header.
        detector: what it was made from, in eval mode.
        pixels: N×H×W×3 uint8 RGB.

    Returns:
        The differences, a line for each size.

    Raises:
        ValueError: the difference is beyond EXACT or NEAR, or the 8-bit map is not the saliency × 255, cut off.
    """
    outputs = _OUTPUTS[path.suffix](path)
    batches = [pixels]
    if header.sizes == "any":
        height, width = header.input_size
        batches.append(scenes(3, (height + STRIDE, width + 3 * STRIDE)))
    return "\n".join(_compared(outputs, header, detector, batch) for batch in batches)


def scenes(count: int, size: tuple[int, int]) -> np.ndarray:
    """A bright ellipse on soft blobs, the same every time: on noise alone a trained network finds nothing to compare.

    Returns:
        count×H×W×3 uint8 RGB for size (H, W).
    """
    height, width = size
    source = torch.Generator().manual_seed(0)
    draw = functools.partial(torch.rand, generator=source)
    blobs = F.interpolate(draw(count, 3, height // BLOB, width // BLOB), size, mode="bilinear")
    y, x, high, wide = torch.tensor([0.3, 0.3, 0.1, 0.1]).view(4, 1, 1, 1) + draw(4, count, 1, 1) * 0.4
    down, across = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    inside = ((down - y) / high) ** 2 + ((across - x) / wide) ** 2 < 1
    colors = 0.5 + 0.5 * draw(count, 3, 1, 1)
    return (255 * torch.where(inside[:, None], colors, 0.3 + 0.15 * blobs)).byte().permute(0, 2, 3, 1).numpy()


def _compared(outputs: Outputs, header: Header, detector: Detector, pixels: np.ndarray) -> str:
    """The differences on images of one size, for people to read; those beyond the bounds are a ValueError."""
    where = f"{len(pixels)} images at {pixels.shape[1]}×{pixels.shape[2]}"
    gray, saliency = (np.concatenate(parts) for parts in zip(*map(outputs, _batches(pixels)), strict=True))
    found = []
    for name, wanted in zip(("the network", "its inference form"), _by_torch(detector, pixels), strict=True):
        difference = np.abs(saliency - wanted)
        found.append(f"{difference.max():.1e} from {name}")
        if header.precision == "int8":
            _refuse(difference.mean(), NEAR, f"mean saliency, in int8, of {where} from {name}")
        else:
            _refuse(difference.max(), EXACT, f"saliency of {where} from {name}")
    if not np.array_equal(gray, truncated(saliency)):
        raise ValueError("not written: its 8-bit map is not its saliency × 255, cut off")
    sides = ((saliency > 0.5) != (wanted > 0.5)).mean()
    return (
        f"{where}: largest difference {', '.join(found)}; "
        f"{difference.mean():.1e} on average, {sides:.3%} of the pixels on the other side of 0.5"
    )


def _refuse(difference: float, bound: float, what: str) -> None:
    if not difference <= bound:  # nor where it is not a number
        raise ValueError(f"not written: difference in {what} {difference:.1e}, more than {bound:g}")


def _batches(pixels: np.ndarray) -> Iterable[np.ndarray]:
    """All images, first one and then the others at once."""
    return (part for part in (pixels[:1], pixels[1:]) if len(part))


@torch.inference_mode()
def _by_torch(detector: Detector, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Saliency of the detector, its input normalized as in training, and of its inference form."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (detector.config.mean, detector.config.std))
    image = torch.from_numpy(pixels)
    rgb = (image.permute(0, 3, 1, 2) / 255 - mean) / std
    return detector(rgb)["logits"][:, 0].sigmoid().numpy(), fold(detector)(image).numpy()


def _by_onnx_runtime(path: Path) -> Outputs:
    runtime = optional("onnxruntime", onnx_runtime.REQUIREMENTS)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: tuple(session.run([MAP, SALIENCY], {INPUT: pixels}))


def _by_openvino(path: Path) -> Outputs:
    core = optional("openvino", open_vino.REQUIREMENTS).Core()
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def outputs(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = compiled({INPUT: pixels})
        return found[MAP].copy(), found[SALIENCY].copy()

    return outputs


_OUTPUTS = {FORMATS["onnx"]: _by_onnx_runtime, FORMATS["openvino"]: _by_openvino}
