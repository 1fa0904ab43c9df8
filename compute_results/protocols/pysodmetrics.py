"""PySODMetrics' own code, with some of the functions that it calls replaced by ones that give the same numbers sooner.

- Distances from the object depend on the mask alone: they are kept for the next map of the same mask.
- The smoothed errors of the weighted F-measure are read inside the object alone, so they are computed only there.
- A histogram of 8-bit levels is a count, for which NumPy's `histogram` sorts.

The library itself is left as it is: the classes here run copies of its methods that see the replacements. Its results
are reproduced bit by bit (tests/compute_results/test_field_protocol.py).
"""

from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import py_sod_metrics
from py_sod_metrics import fmeasurev2, sod_metrics
from scipy import ndimage

_distance_transform = ndimage.distance_transform_edt


def _with(method: Callable, **replaced: object) -> Any:
    """Return a copy of a function that sees other globals under some names."""
    assert isinstance(method, FunctionType)
    return FunctionType(method.__code__, {**method.__globals__, **replaced}, method.__name__, method.__defaults__)


class _Neighborhood:
    """The distance transform of the last mask, and convolution in that mask's object."""

    def __init__(self) -> None:
        self._background: np.ndarray | None = None
        self._transform: tuple[np.ndarray, np.ndarray] | None = None

    def distances(self, background: np.ndarray, return_indices: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return SciPy's `distance_transform_edt`; the arrays are not to be written to."""
        if self._background is None or self._transform is None or not np.array_equal(background, self._background):
            self._transform = _distance_transform(background, return_indices=return_indices)
            self._background = background
        return self._transform

    def convolve(self, values: np.ndarray, weights: np.ndarray, mode: str, cval: float) -> np.ndarray:
        """Return SciPy's `convolve` in the rectangle around the last mask's object, and zeros elsewhere."""
        assert self._background is not None
        found = np.zeros_like(values)
        inside, wider = [], []
        for axis, reach in enumerate(weights.shape):
            (lines,) = np.nonzero(~self._background.all(axis=1 - axis))
            first, end, margin = int(lines[0]), int(lines[-1]) + 1, reach // 2
            start = max(0, first - margin)
            wider.append(slice(start, end + margin))
            inside.append((slice(first, end), slice(first - start, end - start)))
        (rows, own_rows), (columns, own_columns) = inside
        around = ndimage.convolve(values[wider[0], wider[1]], weights=weights, mode=mode, cval=cval)
        found[rows, columns] = around[own_rows, own_columns]
        return found


def _count_levels(levels: np.ndarray, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return NumPy's `histogram` of uint8 levels over the 256 bins of one level each."""
    return np.bincount(levels, minlength=len(bins) - 1), bins


_neighborhood = _Neighborhood()
_numpy = SimpleNamespace(**vars(np))
_numpy.histogram = _count_levels


class WeightedFmeasure(py_sod_metrics.WeightedFmeasure):
    """The library's, with distances kept for the next map of the same mask."""

    cal_wfm = _with(
        sod_metrics.WeightedFmeasure.cal_wfm, bwdist=_neighborhood.distances, convolve=_neighborhood.convolve
    )


class FmeasureV2(py_sod_metrics.FmeasureV2):
    """The library's, with counted levels."""

    dynamically_binarizing = _with(fmeasurev2.FmeasureV2.dynamically_binarizing, np=_numpy)


class Emeasure(py_sod_metrics.Emeasure):
    """The library's, with counted levels."""

    cal_em_with_cumsumhistogram = _with(sod_metrics.Emeasure.cal_em_with_cumsumhistogram, np=_numpy)


class Smeasure(py_sod_metrics.Smeasure):
    """The library's, where an empty part of the image adds nothing, as its weight of 0 says.

    An object in the last row or column alone leaves such a part, of which the library takes the mean: not a number.
    """

    def ssim(self, pred: np.ndarray, gt: np.ndarray) -> float:
        """Return the library's structural similarity of a part, 0 where the part has no pixels."""
        return super().ssim(pred, gt) if pred.size else 0.0
