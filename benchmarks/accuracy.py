"""The scores of a network's maps on a data set, without files in between: protocol `authors`."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from compute_results.protocols.authors import score_image, summarize
from datasets.catalog import Pair
from datasets.io import read_mask
from inference.maps import gray_map

BATCH = 8


def figures(
    network: Callable[[np.ndarray], np.ndarray], read: Callable[[Path], np.ndarray], pairs: Sequence[Pair]
) -> dict[str, float]:
    """Fβ, MAE and Sm, as compute_metrics.py finds them for the maps that getsmaps.py writes.

    Args:
        network: B×H×W×3 uint8 RGB to B×h×w saliency in [0, 1].
        read: an image file to what the network reads of it, H×W×3 uint8 RGB.
        pairs: images and masks.

    Raises:
        ValueError: a file is broken.
    """
    scores, left = {}, iter(pairs)
    while some := list(islice(left, BATCH)):
        saliencies = network(np.stack([read(pair.image) for pair in some]))
        for pair, saliency in zip(some, saliencies, strict=True):
            scores[pair.stem] = score_image(np.asarray(gray_map(saliency)), read_mask(pair.mask))
    return summarize(scores).figures
