"""The joint loss: every term has a name, and its weight is set here and nowhere else."""

from typing import cast

import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from models.config import LossWeights as LossWeights
from models.config import map_term
from models.own_losses import own_terms
from models.tfgm import TFGM

BORDER = 15
"""Pixels of the map to either side that `boundary_weight` looks at."""


def structure_loss(
    logits: Tensor, mask: Tensor, weight: Tensor | None = None, mean_weight: Tensor | None = None
) -> Tensor:
    """Return binary cross-entropy plus soft intersection over union, of B×1×H×W logits and masks in [0, 1].

    BCE is averaged over batch and pixels; 1 − (Σpy + 1)/(Σp + Σy − Σpy + 1) is summed over each sample's pixels and
    averaged over the batch. With `weight`, B×1×H×W, that average and those sums are weighted. `mean_weight` is the mean
    of the weights that the average is over; None: the mean of `weight`.
    """

    def weighted_sum(x: Tensor) -> Tensor:
        return (x if weight is None else x * weight).sum(dim=(1, 2, 3))

    bce = F.binary_cross_entropy_with_logits(logits, mask, weight)
    saliency = logits.sigmoid()
    both = weighted_sum(saliency * mask)
    either = weighted_sum(saliency + mask) - both
    if weight is not None:
        bce = bce / (weight.mean() if mean_weight is None else mean_weight)
    return bce + (1 - (both + 1) / (either + 1)).mean()


def boundary_weight(mask: Tensor, strength: float) -> Tensor:
    """Weights of a B×1×H×W mask's pixels: 1 + strength · |mean of the mask within 15 pixels − mask|.

    Far from any border that is 1, at a straight one 1 + strength/2, on a small object up to 1 + strength. It is the
    pixel position aware weight of F³Net (Wei et al., AAAI 2020; strength 5), but that the image's edge is no border.
    """
    near = mask
    for reach in ((BORDER, 0), (0, BORDER)):  # a square is a column's and then a row's mean: 62 values, not 961
        window = tuple(2 * pixels + 1 for pixels in reach)
        near = F.avg_pool2d(near, window, stride=1, padding=reach, count_include_pad=False)
    return 1 + strength * (near - mask).abs()


def mean_over_processes(weight: Tensor) -> Tensor:
    """Return the mean of all processes' values, which all have as many; without a gradient.

    Averaged over processes, a loss that is divided by it is the loss of the whole batch.
    """
    mean = weight.detach().mean()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(mean)
        mean /= torch.distributed.get_world_size()
    return mean


def loss_terms(
    outputs: dict[str, Tensor], targets: dict[str, Tensor], tfgm: TFGM | None, boundary: float = 0.0
) -> dict[str, Tensor]:
    """Return the unweighted terms that `outputs` allow.

    Their names are `saliency_map1` (finest) … `saliency_map5`, `sr`, `spatial`, `affinity` and `teacher`, and those of
    `models.own_losses`.

    Args:
        outputs: what the training network returned.
        targets: `mask` B×1×2H×2W and `sr_target` B×3×2H×2W, both in [0, 1]; `teacher`, where there is one, its
            saliency, B×1×2H×2W in [0, 1].
        tfgm: the guidance module whose `fused` is among the outputs.
        boundary: `LossWeights.boundary`.
    """
    mask, sr_target = targets["mask"], targets["sr_target"]
    weight = boundary_weight(mask, boundary) if boundary else None
    mean = None if weight is None else mean_over_processes(weight)
    levels = [i for i in range(1, 6) if f"logits{i}" in outputs]
    terms = {map_term(i): structure_loss(outputs[f"logits{i}"].float(), mask, weight, mean) for i in levels}
    if "sr_image" in outputs:
        terms["sr"] = F.mse_loss(outputs["sr_image"].float(), sr_target)
    if tfgm is not None:
        terms |= tfgm.losses(outputs["fused"], sr_target, mask)
    if "teacher" in targets:
        terms["teacher"] = structure_loss(outputs["logits1"].float(), targets["teacher"])
    return terms | own_terms(outputs, targets)


def joint_loss(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The weighted sum of the terms: the scalar that is minimized."""
    return cast(Tensor, sum(weights[name] * term for name, term in terms.items()))
