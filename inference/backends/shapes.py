"""Run batches of any size with runners that are made for fixed shapes."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np

Shape = tuple[int, ...]
Runner = Callable[[np.ndarray], np.ndarray]
MAX_RUNNERS = 8
"""Number of shapes whose runners are kept. The images of one folder need one or two."""


class FixedShapes:
    """Keeps a runner for each shape, and pads smaller batches. Several threads may call it, if they may the runners.

    A batch with fewer images than an earlier one of the same height and width, such as the last of a folder, is padded
    with zeros. This costs less than another runner.

    Args:
        make: returns the runner of a B×H×W×3 shape, from uint8 RGB to float32 B×2H×2W.
    """

    def __init__(self, make: Callable[[Shape], Runner]) -> None:
        self._make = make
        self._runners: OrderedDict[Shape, Runner] = OrderedDict()
        self._lock = Lock()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the saliency, B×2H×2W float32 in [0, 1], of B×H×W×3 uint8 RGB."""
        count, *size = pixels.shape
        with self._lock:
            shape, runner = self._find(pixels.shape)
        if shape[0] > count:
            pixels = np.concatenate([pixels, np.zeros((shape[0] - count, *size), np.uint8)])
        return runner(pixels)[:count]

    def _find(self, wanted: Shape) -> tuple[Shape, Runner]:
        """Return a runner for at least so many images, which is made where there is none, and its shape."""
        fitting = [shape for shape in self._runners if shape[1:] == wanted[1:] and shape[0] >= wanted[0]]
        shape = min(fitting, default=wanted)
        if shape not in self._runners:
            self._runners[shape] = self._make(shape)
            if len(self._runners) > MAX_RUNNERS:
                self._runners.popitem(last=False)
        self._runners.move_to_end(shape)
        return shape, self._runners[shape]
