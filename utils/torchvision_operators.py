"""Let timm import a torchvision built for CUDA beside a CPU-only torch, as PyPI serves them. Import it before timm.

There, torchvision's operators cannot load, and its import fails where it registers rules for two of them by name.
Nothing here calls those two, so declaring them is enough. Where torch and torchvision match, this does nothing.
"""

import importlib.util
from pathlib import Path

import torch

_spec = importlib.util.find_spec("torchvision")
_version = Path(_spec.origin).with_name("version.py") if _spec and _spec.origin else None  # read, not imported
if torch.version.cuda is None and _version and _version.is_file() and "+cu" in _version.read_text().partition("\n")[0]:
    for _name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
