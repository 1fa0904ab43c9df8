"""TFGM, the task-fusion guidance module: a training loss by which SR features guide the saliency map."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.config import TFGMConfig

AFFINITY_POOL = 16


class TFGM(nn.Module):
    """Task-fusion guidance module (the paper's TFGM).

    Args:
        config: how the affinity is compared.
    """

    def __init__(self, config: TFGMConfig):
        super().__init__()
        self.config = config
        self.guidance = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.ReLU())

    def forward(self, logits: Tensor, sr_features: Tensor) -> dict[str, Tensor]:
        """Fuse the finest saliency logits with the SR features.

        Args:
            logits: finest logits, B×1×2H×2W.
            sr_features: from ASRD, B×3×2H×2W.

        Returns:
            `guidance` (the logits lifted to three channels) and `fused` (its product with the SR features), each
            B×3×2H×2W.
        """
        guidance = self.guidance(logits)
        return {"guidance": guidance, "fused": guidance * sr_features}

    def losses(self, fused: Tensor, sr_target: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the loss terms `spatial` and `affinity` of the fused features against SR target × mask."""
        fused, target = fused.float(), sr_target * mask
        affinity = affinity_difference(fused, target, self.config.affinity, self.config.affinity_batch)
        return {"spatial": spatial_consistency(fused, target), "affinity": affinity}


def spatial_consistency(fused: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of two B×3×H×W tensors."""
    return (fused - target).abs().mean()


def affinity_difference(fused: Tensor, target: Tensor, similarity: str = "inner", batch: str = "mean") -> Tensor:
    """Return the mean absolute difference between the affinity matrices (n×n, of n positions) of two B×3×H×W tensors.

    Args:
        fused, target: H and W at least 16: both are average-pooled by 16 first.
        similarity: 'inner' products between positions or their 'cosine'.
        batch: 'mean' over the images, or their 'sum' as released.
    """
    ours, theirs = _affinity(fused, similarity), _affinity(target, similarity)
    per_image = (ours - theirs).abs().mean(dim=(1, 2))
    return per_image.mean() if batch == "mean" else per_image.sum()


def _affinity(x: Tensor, similarity: str) -> Tensor:
    """Return the B×n×n similarities between the n pooled positions of B×3×H×W."""
    positions = F.avg_pool2d(x, AFFINITY_POOL).flatten(2)
    if similarity == "cosine":
        positions = F.normalize(positions, dim=1)
    return positions.transpose(1, 2) @ positions
