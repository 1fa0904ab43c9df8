"""Batches of any size for what runs fixed shapes only."""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]
Runner = Callable[[np.ndarray], np.ndarray]
KEPT = 8
"""Shapes that a runner is kept for: the images of one folder have one, or two."""


class FixedShapes:
    """Runs every batch in a shape that something was made for.

    A batch that is smaller than one of its size that came before is filled up and its rest cut off again, as the last
    of a folder is: that costs less than making a runner for it.

    Args:
        make: a B×H×W×3 shape to what runs it, from uint8 RGB to float32 B×2H×2W.
    """

    def __init__(self, make: Callable[[Shape], Runner]):
        self._make = make
        self._runners: OrderedDict[Shape, Runner] = OrderedDict()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """B×H×W×3 uint8 RGB to B×2H×2W float32 in [0, 1]."""
        count, *size = pixels.shape
        fitting = [shape for shape in self._runners if list(shape[1:]) == size and shape[0] >= count]
        shape = min(fitting, default=pixels.shape)
        if shape not in self._runners:
            self._runners[shape] = self._make(shape)
            if len(self._runners) > KEPT:
                self._runners.popitem(last=False)
        self._runners.move_to_end(shape)
        if shape[0] > count:
            pixels = np.concatenate([pixels, np.zeros((shape[0] - count, *size), np.uint8)])
        return self._runners[shape](pixels)[:count]
