"""Score maps by PySODMetrics, as most papers of the field do.

The map, 8-bit gray, is resized to the mask's own size by OpenCV's bilinear; the mask is binarized at > 128. The
library scores one image at a time, so that images can be spread over processes. The average over images is the one
that the library takes.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from py_sod_metrics import MAE, FmeasureHandler, PrecisionHandler, RecallHandler
from py_sod_metrics.utils import prepare_data

from compute_results.protocols.pysodmetrics import Emeasure, FmeasureV2, Smeasure, WeightedFmeasure
from compute_results.result import Curves, Gathered, ImageScores, Result, gathered


def score_image(saliency: np.ndarray, mask: np.ndarray) -> ImageScores:
    """Score one map.

    Args:
        saliency: the map, (H, W) uint8.
        mask: the mask, (h, w) uint8; its size need not be the map's.

    Returns:
        The protocol's nine figures of this image; curves `precision`, `recall`, `F`, `E` in the library's order,
        from threshold 255 down to 0.
    """
    saliency, mask = at_one_size(saliency, mask)
    prepared = prepare_data(saliency, mask)  # once for all metrics
    f_measure = FmeasureV2(
        {"F": FmeasureHandler(True, True), "P": PrecisionHandler(True, False), "R": RecallHandler(True, False)}
    )
    s_measure, e_measure, weighted_f, mae = Smeasure(), Emeasure(), WeightedFmeasure(), MAE()
    for metric in (f_measure, s_measure, e_measure, weighted_f, mae):
        metric.step(*prepared, normalize=False)
    f, e = f_measure.get_results(), e_measure.get_results()["em"]
    curves = {"precision": f["P"]["dynamic"], "recall": f["R"]["dynamic"], "F": f["F"]["dynamic"], "E": e["curve"]}
    figures = {
        "Sm": float(s_measure.get_results()["sm"]),
        **_extremes(curves),
        "adpF": float(f["F"]["adaptive"]),
        "adpE": float(e["adp"]),
        "wF": float(weighted_f.get_results()["wfm"]),
        "MAE": float(mae.get_results()["mae"]),
    }
    return ImageScores(figures, curves)


def summarize(images: Gathered | Mapping[str, ImageScores]) -> Result:
    """Return the averages over images by stem; maximum and mean F and E are those of the average curve."""
    images = gathered(images)
    curves = {name: images.mean_curve(name) for name in ("precision", "recall", "F", "E")}
    figures = {name: images.mean_figure(name) for name in ("Sm", "adpF", "adpE", "wF", "MAE")} | _extremes(curves)
    thresholds = np.arange(256) / 255
    ascending = (curves[name][::-1] for name in ("precision", "recall", "F", "E"))
    return Result("field", figures, Curves(thresholds, *ascending), images.figures, images.kept_curves())


def at_one_size(saliency: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return map and mask at the mask's own size, (h, w) uint8."""
    if saliency.shape != mask.shape:
        saliency = cv2.resize(saliency, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return saliency, mask


def _extremes(curves: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        f"{kind}{letter}": float(getattr(curves[letter], kind)()) for letter in ("F", "E") for kind in ("max", "mean")
    }
