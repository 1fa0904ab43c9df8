"""Score maps as the paper's Table I does (Fβ, MAE, Sm at 448×448, soft masks).

Mask and map are 8-bit gray at 448×448; other sizes are resized by Pillow's antialiased bilinear, still 8-bit. MAE
compares them as they are. For Fβ and Sm the map is stretched to p = (p − min) / (max − min + 1e-20).

All but MAE depend on the map only through its 256 gray levels, so histograms replace the loop over thresholds. One
pass counts the levels inside and outside the object in the four parts of the S-measure's region term. A second pass
weights them by the soft mask for Fβ.

The authors' release divides by zero in three cases. They are defined here as follows:

- A vanishing object, a mask whose mean is above 0 without a pixel of at least 0.5, has no object at this resolution:
  Sm treats it as the empty mask, Sm = 1 − mean(p). Fβ and MAE keep its soft values.
- A vanishing background, a mask whose mean is below 1 and whose pixels all reach 0.5: Sm = mean(p), as for a white
  mask.
- An object (or background) of one pixel has standard deviation 0.
"""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from PIL import Image

from compute_results.result import Curves, Gathered, ImageScores, Result, gathered

SIZE = 448
"""Side of the square, in pixels, at which maps and masks are compared."""

BETA2 = 0.3
EPS = 1e-20
THRESHOLDS = np.linspace(0, 1 - 1e-10, 255, dtype=np.float32)
"""The 255 thresholds in float32, the precision of the release; the last rounds to 1."""

_GRAYS = np.arange(256, dtype=np.float32) / np.float32(255)
_LEVELS = np.arange(256)

Moments = tuple[int, int, int]
"""Pixels, sum of levels, sum of squared levels."""


def score_image(saliency: np.ndarray, mask: np.ndarray) -> ImageScores:
    """Score one map.

    Args:
        saliency: the map, (H, W) uint8.
        mask: the mask, (h, w) uint8, soft values allowed; its size need not be the map's.

    Returns:
        Figures `Fbeta` (maximum of this image's curve), `MAE`, `Sm`; curves `precision`, `recall`, `F` over
        `THRESHOLDS`.
    """
    saliency, mask = at_one_size(saliency, mask)
    parts = _count_parts(saliency, mask >= 128)
    plain = parts.sum(axis=(0, 1))
    lit = mask > 0
    weighted = np.bincount(saliency[lit], weights=mask[lit], minlength=256) / 255
    precision, recall, f = f_curves(plain, weighted)
    mae = np.abs(saliency.astype(np.int16) - mask).sum() / (255 * SIZE * SIZE)
    figures = {"Fbeta": float(f.max()), "MAE": float(mae), "Sm": s_measure(parts)}
    return ImageScores(figures, {"precision": precision, "recall": recall, "F": f})


def summarize(images: Gathered | Mapping[str, ImageScores]) -> Result:
    """Return the averages over images by stem: Fβ is the maximum of the average curve, not the mean of the maxima."""
    images = gathered(images)
    curves = Curves(THRESHOLDS.astype(np.float64), *(images.mean_curve(name) for name in ("precision", "recall", "F")))
    figures = {"Fbeta": float(curves.f.max()), "MAE": images.mean_figure("MAE"), "Sm": images.mean_figure("Sm")}
    return Result("authors", figures, curves, images.figures, images.kept_curves())


def f_curves(plain: np.ndarray, weighted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and Fβ over `THRESHOLDS` from the histograms of a map's 256 levels.

    Args:
        plain: pixels of each level, (256,).
        weighted: sum of the soft mask, in [0, 1], over the pixels of each level, (256,).

    Returns:
        Three (255,) float64 arrays. All are 1 where the stretched map and the mask both sum to 0.
    """
    low, high = _range(plain)
    total = weighted.sum()
    if low == high and total == 0:
        return (np.ones(len(THRESHOLDS)),) * 3
    # Float32 in the release's order of operations: at a tie, whether p ≥ t holds depends on the rounding.
    stretched = (_GRAYS - _GRAYS[low]) / (_GRAYS[high] - _GRAYS[low] + np.float32(EPS))
    passed = np.searchsorted(THRESHOLDS, stretched, side="right")  # how many thresholds each level reaches
    chosen = _reaching(passed, plain)
    hits = _reaching(passed, weighted)
    precision, recall = hits / (chosen + EPS), hits / (total + EPS)
    f = np.zeros(len(THRESHOLDS))
    np.divide((1 + BETA2) * precision * recall, BETA2 * precision + recall, out=f, where=hits > 0)
    return precision, recall, f


def s_measure(parts: np.ndarray) -> float:
    """Return the S-measure (α = 0.5) of a stretched map.

    Args:
        parts: pixels by part of the image (upper left, upper right, lower left, lower right about the object's
            centroid), by background or object, by map level: (4, 2, 256) integers.

    Returns:
        The S-measure, at least 0.
    """
    low, high = _range(parts.sum(axis=(0, 1)))
    span = max(high - low, 1)  # a constant map is stretched to zeros
    moments = [[_moments(counts, low) for counts in part] for part in parts]
    background, target = (_added(*(part[side] for part in moments)) for side in (0, 1))
    area = background[0] + target[0]
    if target[0] == 0 or background[0] == 0:
        mean = (background[1] + target[1]) / (area * span)
        return mean if target[0] else 1 - mean
    share = target[0] / area
    of_object = share * _object_score(target, span, False) + (1 - share) * _object_score(background, span, True)
    weights = [sum(side[0] for side in part) / area for part in moments[:3]]
    weights.append(1 - sum(weights))
    of_regions = sum(w * _similarity(part[0], part[1], span) for w, part in zip(weights, moments, strict=True))
    return max(0.0, 0.5 * of_object + 0.5 * of_regions)


def at_one_size(saliency: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return map and mask at the size at which the protocol compares them, (SIZE, SIZE) uint8."""
    return _at_size(saliency), _at_size(mask)


def _at_size(gray: np.ndarray) -> np.ndarray:
    if gray.shape == (SIZE, SIZE):
        return gray
    return np.asarray(Image.fromarray(gray).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _count_parts(saliency: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Count levels by part and side for `s_measure`; without an object all pixels are in the last part."""
    across, down = np.count_nonzero(target, axis=0), np.count_nonzero(target, axis=1)
    area = max(int(across.sum()), 1)
    cx = round(float(across @ np.arange(across.size)) / area)
    cy = round(float(down @ np.arange(down.size)) / area)
    joint = saliency + target * np.uint16(256)
    quarters = (joint[:cy, :cx], joint[:cy, cx:], joint[cy:, :cx], joint[cy:, cx:])
    return np.stack([np.bincount(quarter.ravel(), minlength=512).reshape(2, 256) for quarter in quarters])


def _range(plain: np.ndarray) -> tuple[int, int]:
    present = np.flatnonzero(plain)
    return int(present[0]), int(present[-1])


def _reaching(passed: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Return, per threshold, the amount in the levels that reach it; level k reaches the first `passed[k]`."""
    by_count = np.bincount(passed, weights=amounts, minlength=len(THRESHOLDS) + 1)
    return by_count[:0:-1].cumsum()[::-1]


def _moments(counts: np.ndarray, low: int) -> Moments:
    """Return the moments of level − low: whole numbers, so that a zero variance is exactly zero."""
    values = _LEVELS - low
    return int(counts.sum()), int(counts @ values), int(counts @ values**2)


def _added(*parts: Moments) -> Moments:
    return sum(part[0] for part in parts), sum(part[1] for part in parts), sum(part[2] for part in parts)


def _object_score(moments: Moments, span: int, inverted: bool) -> float:
    n, total, squares = moments
    mean = total / (n * span)
    deviation = sqrt((n * squares - total**2) / (n * (n - 1))) / span if n > 1 else 0.0
    if inverted:
        mean = 1 - mean
    return 2 * mean / (mean**2 + 1 + deviation + EPS)


def _similarity(background: Moments, target: Moments, span: int) -> float:
    """Return the structural similarity of map and binary mask in one part of the image."""
    n, total, squares = _added(background, target)
    if n == 0:
        return 0.0
    norm = n * (n - 1 + EPS)
    mean_map, mean_mask = total / (n * span), target[0] / n
    covariance = (n * target[1] - target[0] * total) / (norm * span)
    variance_map = (n * squares - total**2) / (norm * span**2)
    variance_mask = target[0] * background[0] / norm
    a = 4 * mean_map * mean_mask * covariance
    b = (mean_map**2 + mean_mask**2) * (variance_map + variance_mask)
    if a != 0:
        return a / (b + EPS)
    return 1.0 if b == 0 else 0.0
