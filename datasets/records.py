"""A pair of files as the pixels that training reads: decoded once, resized by the paper's preprocessing, 8 bits."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from datasets.augment import UNCHANGED, Drawn, turn
from datasets.catalog import Pair
from datasets.decode import resized
from datasets.faults import Remark, open_pair, remarks

VIEWS = ("rgb", "ycbcr", "fine")


def record_type(size: tuple[int, int], detail: float = 1.0) -> np.dtype:
    """What is kept of a pair, for views of `size` (H, W), all uint8.

    `rgb` and `ycbcr` (full-range, JPEG) are H×W×3. `fine`, the SR target's three channels and the mask as a fourth, has
    twice that size, times `detail`. `remarks` are `datasets.faults.Remark`'s bits.
    """
    height, width = size
    fine = (round(2 * height * detail), round(2 * width * detail), 4)
    shapes = {"rgb": (height, width, 3), "ycbcr": (height, width, 3), "fine": fine}
    return np.dtype([(name, np.uint8, shapes[name]) for name in VIEWS] + [("remarks", np.uint8)])


def read_record(pair: Pair, size: tuple[int, int], detail: float = 1.0) -> np.ndarray:
    """The record of a pair: an array without dimensions, of `record_type`.

    Every view is Pillow's antialiased bilinear resize of the file's own pixels (spec/architecture.md, Inputs).

    Raises:
        ValueError: the pair cannot be trained on; its files and what is wrong with them are named.
    """
    image, mask = open_pair(pair)
    ycbcr = image.convert("YCbCr")
    record = np.zeros((), record_type(size, detail))
    record["rgb"], record["ycbcr"] = resized(image, size), resized(ycbcr, size)
    fine = record.dtype["fine"].shape[:2]
    record["fine"][..., :3], record["fine"][..., 3] = resized(ycbcr, fine), resized(mask, fine)
    record["remarks"] = remarks(mask)
    return record


class Records:
    """The records of many pairs, decoded whenever they are asked for.

    Args:
        pairs: what `datasets.catalog` found.
        size: S, or (height, width), of the low-resolution views.
        detail: how many times finer than without crops the target and mask are kept (`Augmentation.detail`).
        name: the set's name, for errors.
    """

    def __init__(self, pairs: Sequence[Pair], size: int | tuple[int, int], detail: float = 1.0, name: str = ""):
        self.pairs = list(pairs)
        self.size = height_and_width(size)
        self.detail = detail
        self.name = name

    def __len__(self) -> int:
        return len(self.pairs)

    def gather(self, indices: Sequence[int], drawn: Sequence[Drawn] | None = None) -> dict[str, Tensor]:
        """The records of a batch: B×…×channels, uint8, one tensor a view, in memory of their own.

        Where something is drawn, each record is turned by its symmetry on its way.

        Raises:
            ValueError: a pair cannot be read; set, stem and file are named.
        """
        kinds = record_type(self.size, self.detail)
        batch = {view: torch.empty((len(indices), *kinds[view].shape), dtype=torch.uint8) for view in VIEWS}
        for place, index in enumerate(indices):
            record = self._record(index)
            for view, pixels in batch.items():
                turn(record[view], drawn[place] if drawn else UNCHANGED, pixels[place].numpy())
        return batch

    def places(self, pairs: Sequence[Pair]) -> list[int]:
        """The place of each of `pairs` among these."""
        places = {pair: index for index, pair in enumerate(self.pairs)}
        return [places[pair] for pair in pairs]

    def remarks(self) -> list[tuple[str, Remark]]:
        """(stem, remark) of the masks about which there is something to say; only a cache knows."""
        return []

    def _record(self, index: int) -> np.ndarray:
        pair = self.pairs[index]
        try:
            return read_record(pair, self.size, self.detail)
        except ValueError as error:
            raise ValueError(f"{self.name} {pair.stem}: {error}".strip()) from error


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one number or two. Raises ValueError unless both are positive."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"the size must be positive, not {size}")
    return height, width
