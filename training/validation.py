"""Scores on the validation part, under the protocol `authors`, of maps held in memory."""

from collections.abc import Iterable

import torch
from torch import nn

from compute_results import authors


@torch.inference_mode()
def validate(detector: nn.Module, batches: Iterable[dict], device: torch.device) -> dict[str, float]:
    """Fβ, MAE and Sm of a detector's maps, 8-bit and not stretched.

    Args:
        detector: the inference network; left in the mode it was in.
        batches: `rgb` B×3×S×S and `mask` B×1×2S×2S in [0, 1], not augmented.
        device: where the detector is.
    """
    training = detector.training
    detector.eval()
    scores = {}
    for batch in batches:
        saliency = detector(batch["rgb"].to(device))["logits"].float().sigmoid()
        maps = (saliency * 255).to(torch.uint8).cpu().numpy()
        masks = (batch["mask"] * 255).round().to(torch.uint8).numpy()
        for stem, one_map, one_mask in zip(batch["stem"], maps[:, 0], masks[:, 0], strict=True):
            scores[stem] = authors.score_image(one_map, one_mask)
    detector.train(training)
    return authors.summarise(scores).figures
