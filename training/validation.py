"""Scores of a detector on the validation part, under the protocol `authors`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from compute_results.protocols import authors


@torch.inference_mode()
def validate(
    detector: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    views: Callable[[Mapping[str, Any]], dict[str, Tensor]],
    accelerator: Accelerator,
) -> dict[str, float]:
    """Return Fβ, MAE and Sm of a detector's 8-bit maps, not stretched, over the images of all processes.

    Args:
        detector: the inference network; its mode is kept.
        batches: this process's part of the validation images, with their `stem`s.
        views: gives `rgb` B×3×S×S and `mask` B×1×2S×2S in [0, 1].
        accelerator: knows the precision and the other processes.
    """
    training = detector.training
    detector.eval()
    scores = {}
    for batch in batches:
        made = views(batch)
        with accelerator.autocast():
            saliency = detector(made["rgb"])["logits"].float().sigmoid()
        maps = (saliency * 255).to(torch.uint8).cpu().numpy()
        masks = (made["mask"] * 255).round().to(torch.uint8).cpu().numpy()
        for stem, one_map, one_mask in zip(batch["stem"], maps[:, 0], masks[:, 0], strict=True):
            scores[stem] = authors.score_image(one_map, one_mask)
    detector.train(training)
    if accelerator.num_processes > 1:
        scores = dict(gather_object(list(scores.items())))
    return authors.summarize(dict(sorted(scores.items()))).figures
