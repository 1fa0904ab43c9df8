"""A pair of files as the pixels that training reads: decoded once, resized by the paper's preprocessing, 8 bits."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from datasets.catalog import Pair
from datasets.decode import resized
from datasets.faults import Remark, open_pair, remarks

VIEWS = ("rgb", "ycbcr", "target", "mask")


def record_type(size: tuple[int, int], detail: float = 1.0) -> np.dtype:
    """What is kept of a pair, for views of `size` (H, W), all uint8.

    `rgb` and `ycbcr` (full-range, JPEG) are H×W×3; `target`, YCbCr, and `mask` have twice that size, times `detail`;
    `remarks` are `datasets.faults.Remark`'s bits.
    """
    height, width = size
    large = (round(2 * height * detail), round(2 * width * detail))
    shapes = {"rgb": (height, width, 3), "ycbcr": (height, width, 3), "target": (*large, 3), "mask": large}
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
    large = record.dtype["mask"].shape
    record["rgb"], record["ycbcr"] = resized(image, size), resized(ycbcr, size)
    record["target"], record["mask"] = resized(ycbcr, large), resized(mask, large)
    record["remarks"] = remarks(mask)
    return record


class Records:
    """The records of many pairs, decoded whenever they are asked for.

    Args:
        pairs: what `datasets.catalog` found.
        size: S, or (height, width), of the low-resolution views.
        detail: how much finer than the views the target and mask are kept, for crops (`Augmentation.detail`).
        name: the set's name, for errors.
    """

    def __init__(self, pairs: Sequence[Pair], size: int | tuple[int, int], detail: float = 1.0, name: str = ""):
        self.pairs = list(pairs)
        self.size = height_and_width(size)
        self.detail = detail
        self.name = name

    def __len__(self) -> int:
        return len(self.pairs)

    def gather(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The records of a batch: B×…, uint8, one tensor a view, in memory of their own.

        Raises:
            ValueError: a pair cannot be read; set, stem and file are named.
        """
        records = [self._record(index) for index in indices]
        return {view: torch.from_numpy(np.stack([record[view] for record in records])) for view in VIEWS}

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
