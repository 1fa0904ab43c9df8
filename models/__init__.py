"""Tensors to maps and losses: the detector, what is attached for training only, and their weights files."""

import utils.torchvision_operators  # noqa: F401  (before anything imports timm, which imports torchvision)
