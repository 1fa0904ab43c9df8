"""Lets timm import PyPI's torchvision, which is built for CUDA, beside a CPU-only torch.

There torchvision's compiled operators cannot load, and its import stops at `operator torchvision::nms does not exist`.
Nothing here calls those operators, but torchvision registers rules for two of them by name, so declaring their
schemas is enough. Where torchvision's own operators load, this does nothing. Import it before timm or torchvision.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _built_for_cuda() -> bool:
    """Whether the installed torchvision says so in its version file, read without importing it."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    version_file = Path(spec.origin).with_name("version.py")
    return version_file.is_file() and "+cu" in version_file.read_text().partition("\n")[0]


if torch.version.cuda is None and not hasattr(torch.ops.torchvision, "nms") and _built_for_cuda():
    for _name, _schema in _SCHEMAS.items():
        torch.library.define(f"torchvision::{_name}", _schema)
