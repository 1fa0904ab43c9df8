"""Blend the windows' saliency into a map, block by block in constant memory.

Every window adds its saliency times its weights. The weights of all windows of all scales sum to 1 at each pixel, so
nothing is divided. What a block's windows add beyond its right border is kept for the next block, what they add below
its band is written to disk for the next band.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from inference.scenes.windows import Grid, Window
from inference.scenes.work import Work


@dataclass(frozen=True)
class BlockEnd:
    """What is known of a block beside its windows.

    Attributes:
        band, block: its numbers.
        valid: which of its pixels are valid, H×W bool; None: all.
        look: its part of the quick look, h×w×3 uint8.
    """

    band: int
    block: int
    valid: np.ndarray | None
    look: np.ndarray


class Blender:
    """Adds windows' saliency and writes what is complete. Blocks come from left to right, bands downward.

    Args:
        grid: the scene's windows.
        work: where complete rows go.
    """

    def __init__(self, grid: Grid, work: Work) -> None:
        self.grid, self.work = grid, work
        self._sum: np.ndarray | None = None
        self._carried: np.ndarray | None = None
        self._looks: list[np.ndarray] = []
        self._joins = True

    def add(self, band: int, block: int, windows: Sequence[Window], saliency: np.ndarray) -> None:
        """Add windows of a block.

        Args:
            band, block: the block's numbers.
            windows: N windows.
            saliency: N×2H×2W in [0, 1].

        Raises:
            ValueError: the saliency holds NaN or infinity.
        """
        if not np.isfinite(saliency).all():
            raise ValueError("its saliency is not finite: the network overflows; try --precision bf16 or fp32")
        total, own = self._block_sum(band, block), self.grid.area(band, block)
        for window, values in zip(windows, saliency, strict=True):
            scale = self.grid.scales[window.scale]
            height, width = scale.shape
            resized = np.array(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))
            resized *= (scale.rows.weights[window.i] / np.float32(len(self.grid.scales)))[:, None]
            resized *= scale.columns.weights[window.j]
            top, left = window.row - own.top, window.column - own.left
            total[top : top + height, left : left + width] += resized

    def finish(self, end: BlockEnd) -> None:
        """Write what is complete after a block's last window; after a band's last block, mark it as finished.

        Raises:
            OSError: as `Work`.
        """
        band, own = end.band, self.grid.area(end.band, end.block)
        total = self._block_sum(band, end.block)
        upper, lower = total[: own.height, : own.width], total[own.height :, : own.width]
        if end.block == 0:
            self._joins = self.work.begin_band(band)
        if end.valid is not None:
            upper[~end.valid] = np.nan
        if not self._joins:
            self.work.write_upper(band, own.left, upper)
        else:
            above = self.work.read_lower(band - 1, own.left, own.width) if band else np.float32(0)
            self.work.write_map(own.top, own.left, upper + above)
        if len(lower):
            self.work.write_lower(band, own.left, lower)
        self._carried, self._sum = total[:, own.width :].copy(), None
        self._looks.append(end.look)
        if end.block == self.grid.blocks - 1:
            self.work.commit(band, np.concatenate(self._looks, axis=1))
            self._carried, self._looks = None, []

    def _block_sum(self, band: int, block: int) -> np.ndarray:
        """Return the sums of a block, of the block to its right and of the two below, float32."""
        if self._sum is None:
            grid, own = self.grid, self.grid.area(band, block)
            height = own.height + min(grid.band_rows, grid.height - own.bottom)
            width = own.width + min(grid.block_columns, grid.width - own.right)
            self._sum = np.zeros((height, width), np.float32)
            if self._carried is not None:
                self._sum[:, : self._carried.shape[1]] = self._carried
        return self._sum
