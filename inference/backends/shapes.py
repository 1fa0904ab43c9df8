"""Run batches of any size with runners that are made for fixed shapes."""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]
Runner = Callable[[np.ndarray], np.ndarray]
MAX_RUNNERS = 8
"""Number of shapes whose runners are kept. The images of one folder need one or two."""


class FixedShapes:
    """Keeps a runner for each shape, and pads smaller batches.

    A batch with fewer images than an earlier one of the same height and width, such as the last of a folder, is padded
    with zeros. This costs less than another runner.

    Args:
        make: returns the runner of a B×H×W×3 shape, from uint8 RGB to float32 B×2H×2W.
    """

    def __init__(self, make: Callable[[Shape], Runner]) -> None:
        self._make = make
        self._runners: OrderedDict[Shape, Runner] = OrderedDict()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the saliency, B×2H×2W float32 in [0, 1], of B×H×W×3 uint8 RGB."""
        count, *size = pixels.shape
        fitting = [shape for shape in self._runners if list(shape[1:]) == size and shape[0] >= count]
        shape = min(fitting, default=pixels.shape)
        if shape not in self._runners:
            self._runners[shape] = self._make(shape)
            if len(self._runners) > MAX_RUNNERS:
                self._runners.popitem(last=False)
        self._runners.move_to_end(shape)
        if shape[0] > count:
            pixels = np.concatenate([pixels, np.zeros((shape[0] - count, *size), np.uint8)])
        return self._runners[shape](pixels)[:count]
