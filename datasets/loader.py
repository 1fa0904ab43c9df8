"""Load batches of 8-bit records and convert them, on the training device, to the network's inputs and targets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.cache import TEACHER, VIEWS, Records, height_and_width
from datasets.catalog import Pair
from datasets.transforms import UNCHANGED, Augmentation, apply, apply_to_maps, draw, in_unit_range
from utils.text import one_line

MEAN = (0.3412, 0.3798, 0.3583)
STD = (0.1148, 0.1042, 0.0990)
"""Per-channel statistics of EORSSD's RGB in [0, 1]; the release normalizes all its data sets with them."""


class BatchError(ValueError):
    """A batch that cannot be read; the message is one line that names set and stem.

    A DataLoader passes a worker's exception on by constructing it from a whole traceback; its last line is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().splitlines()[-1].rpartition("BatchError: ")[2])


class SalientObjectBatches(Dataset):
    """A data set of whole batches of records, with the augmentation drawn for each sample; `Views` applies it.

    For a DataLoader with a batch sampler and `collate_fn=as_it_is`. The augmentation of sample i in epoch e depends on
    (seed, e, i) alone, not on workers, processes or interruptions.

    Args:
        records: the pixels of a set.
        pairs: the pairs that are samples; None takes all of `records`.
        augment: the augmentation; None for none.
        seed: the seed of the augmentation.
    """

    def __init__(
        self,
        records: Records,
        pairs: Sequence[Pair] | None = None,
        augment: Augmentation | None = None,
        seed: int = 0,
    ):
        self.records, self.augment, self.seed = records, augment, seed
        self.pairs = list(records.pairs if pairs is None else pairs)
        self._rows = records.places(self.pairs)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers read it too

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (from 0) that the augmentation is drawn for; call it before the loader is iterated."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return one batch: `rgb`, `ycbcr`, `fine` (B×H×W×C uint8, flipped and rotated), lists `drawn` and `stem`.

        Where the pairs have a teacher's maps, `teacher` is their mean. Where objects are pasted, `pasted` is the `fine`
        of the samples that they come from, in the receivers' order.

        Raises:
            BatchError: a pair cannot be read; the message names it.
        """
        drawn = [UNCHANGED] * len(indices)
        if self.augment:
            square, epoch = self.records.size[0] == self.records.size[1], int(self._epoch)
            generators = [np.random.default_rng((self.seed, epoch, index)) for index in indices]
            drawn = [draw(self.augment, generator, square) for generator in generators]
        givers = [(self._rows[int(each.pasted * len(self))], each) for each in drawn if each.pasted is not None]
        try:
            batch: dict[str, Any] = self.records.gather([self._rows[index] for index in indices], drawn)
            if givers:
                batch["pasted"] = self.records.gather(*zip(*givers, strict=True))["fine"]
        except (OSError, ValueError) as error:
            raise BatchError(one_line(error, 1000)) from error
        return batch | {"drawn": drawn, "stem": [self.pairs[index].stem for index in indices]}

    def in_batches(self, size: int, process: int = 0, processes: int = 1) -> Iterator[dict[str, Any]]:
        """Yield one process's share of the samples, in order; each sample is in the share of one process."""
        mine = range(process, len(self), processes)
        for start in range(0, len(mine), size):
            yield self.__getitems__(mine[start : start + size])

    def spread(self, count: int) -> dict[str, Any]:
        """Return a batch of `count` samples, evenly spread over the set, or of all where there are fewer."""
        return self.__getitems__(sorted({index * len(self) // count for index in range(count)}))


def as_it_is(batch: Any) -> Any:
    """Return the batch: the collate_fn of a data set that yields whole batches."""
    return batch


class Views:
    """Converts a batch of records to the network's inputs and targets.

    Args:
        size: S, or (height, width), of the low-resolution views; SR target and mask have twice that.
        mean, std: the RGB view's normalization.
        device: where the views are computed.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        device: torch.device | str = "cpu",
    ):
        _, width = height_and_width(size)
        self.device = torch.device(device)
        self.mean, self.std = (torch.tensor(values, device=device).repeat(width) for values in (mean, std))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the float32 views of a batch of `SalientObjectBatches`, on the device, channels last in memory.

        `rgb` is B×3×S×S, normalized. `ycbcr`, B×3×S×S, and `sr_target`, B×3×2S×2S, are full-range (JPEG) YCbCr in
        [0, 1]. `mask` is B×1×2S×2S in [0, 1], soft at the borders; `teacher`, where the pairs have a teacher's maps, is
        as large.
        """
        objects = self._moved(batch["pasted"]) if "pasted" in batch else None
        rgb, ycbcr, stored = (self._moved(batch[view]) for view in VIEWS)
        rgb, ycbcr, fine = apply(batch["drawn"], rgb, ycbcr, stored, objects)
        kept = objects is None and stored.shape == fine.shape and not any(each.box for each in batch["drawn"])
        # Contiguous, because the losses read it several times; a quarter of the bytes where it is as stored.
        mask = _stored_mask(stored) if kept else fine[:, 3:].contiguous()
        views = {"rgb": self._normalized(rgb), "ycbcr": ycbcr, "sr_target": fine[:, :3], "mask": mask}
        if TEACHER in batch:
            size = (fine.shape[-2], fine.shape[-1])
            views[TEACHER] = apply_to_maps(batch["drawn"], self._moved(batch[TEACHER]), size, objects)
        return views

    def _normalized(self, rgb: Tensor) -> Tensor:
        """Normalize RGB in [0, 1] in place; whole rows at a time, which is faster than three channels."""
        rows = rgb.permute(0, 2, 3, 1).flatten(2)
        return rows.sub_(self.mean).div_(self.std).unflatten(2, (-1, 3)).permute(0, 3, 1, 2)

    def _moved(self, pixels: Tensor) -> Tensor:
        """Move B×H×W×C to the device and return it as B×C×H×W, channels last, without a copy where it is there."""
        return pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)


def _stored_mask(fine: Tensor) -> Tensor:
    """Return the last of four channels, B×4×H×W uint8, as contiguous B×1×H×W float32 in [0, 1]."""
    if fine.device.type != "cpu":
        return in_unit_range(fine[:, 3:].contiguous())
    mask = torch.empty((fine.shape[0], 1, *fine.shape[2:]), dtype=torch.uint8)
    for image, channel in zip(fine.permute(0, 2, 3, 1).numpy(), mask[:, 0].numpy(), strict=True):
        cv2.extractChannel(image, 3, channel)
    return in_unit_range(mask)
