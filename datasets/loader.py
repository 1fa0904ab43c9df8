"""From 8-bit records to the tensors that a network reads and is supervised by: in batches, on the training device."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.cache import VIEWS, Records, height_and_width
from datasets.catalog import Pair
from datasets.transforms import (
    UNCHANGED,
    Augmentation,
    ColorJitter,
    crop_and_resize,
    draw,
    paste,
    ycbcr_to_rgb,
)

MEAN = (0.3412, 0.3798, 0.3583)
STD = (0.1148, 0.1042, 0.0990)
"""Per-channel statistics of EORSSD's RGB in [0, 1]; the release normalizes all its data sets with them."""


class BatchError(ValueError):
    """What is wrong with a batch, in one line that names set and stem.

    A DataLoader's worker hands an exception over by building it anew from a whole traceback; its last line is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().splitlines()[-1].rpartition("BatchError: ")[2])


class SalientObjectBatches(Dataset):
    """Batches of records with what is to be done to each sample; `Views` does it.

    For a DataLoader with a batch sampler and `collate_fn=as_it_is`. What is drawn for sample i in epoch e depends on
    (seed, e, i) alone: neither workers, nor processes, nor an interruption change it.

    Args:
        records: the pixels of a set.
        pairs: those of its pairs that are samples; None takes all.
        augment: what may be done to a sample; None leaves all as they are.
        seed: of the augmentations.
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
        """Draw the augmentations of this epoch (from 0); call it before the loader is iterated."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """One batch: `rgb`, `ycbcr`, `fine` (B×…, uint8, channels last; turned), `drawn` and `stem`, a list each.

        Where objects are to be pasted, `pasted` is the `fine` of those that they are of, one for each such sample.

        Raises:
            BatchError: a ValueError that names the pair that cannot be read.
        """
        drawn = [UNCHANGED] * len(indices)
        if self.augment:
            square = self.records.size[0] == self.records.size[1]
            generators = [np.random.default_rng((self.seed, int(self._epoch), index)) for index in indices]
            drawn = [draw(self.augment, generator, square) for generator in generators]
        try:
            batch = self.records.gather([self._rows[index] for index in indices], drawn)
            takers = [each for each in drawn if each.pasted is not None]
            if takers:
                givers = [self._rows[int(each.pasted * len(self))] for each in takers]
                batch["pasted"] = self.records.gather(givers, takers)["fine"]
        except (OSError, ValueError) as error:
            raise BatchError(" ".join(str(error).split())) from error
        return batch | {"drawn": drawn, "stem": [self.pairs[index].stem for index in indices]}

    def in_batches(self, size: int, process: int = 0, processes: int = 1) -> Iterator[dict[str, Any]]:
        """One process's share of the samples, in order; the shares of all processes are the set, each sample once."""
        mine = range(process, len(self), processes)
        for start in range(0, len(mine), size):
            yield self.__getitems__(mine[start : start + size])

    def spread(self, count: int) -> dict[str, Any]:
        """A batch of `count` samples, or of all where there are less, evenly spread over the set."""
        return self.__getitems__(sorted({index * len(self) // count for index in range(count)}))


def as_it_is(batch: Any) -> Any:
    """The collate_fn for a dataset that gives whole batches."""
    return batch


class Views:
    """What the network reads and is supervised by, made of a batch of records.

    Args:
        size: S, or (height, width), of the low-resolution views; SR target and mask have twice that.
        mean, std: the RGB view's normalization.
        device: where the views are made.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        device: torch.device | str = "cpu",
    ):
        height, width = height_and_width(size)
        self.low, self.high = (height, width), (2 * height, 2 * width)
        self.device = torch.device(device)
        self.mean, self.std = (torch.tensor(values, device=device).repeat(width) for values in (mean, std))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Float32 views of a batch from `SalientObjectBatches`, on the device; colors lie channels last in memory.

        `rgb` B×3×S×S normalized; `ycbcr` B×3×S×S and `sr_target` B×3×2S×2S, full-range (JPEG) YCbCr in [0, 1]; `mask`
        B×1×2S×2S in [0, 1], soft at the borders. All of a sample see the same geometry and colors.
        """
        drawn = batch["drawn"]
        rgb, ycbcr, fine = (self._moved(batch[view]) for view in VIEWS)
        if any(each.box for each in drawn):
            ycbcr = crop_and_resize(fine[:, :3], drawn, self.low, uncropped=ycbcr)
        if any(each.box for each in drawn) or tuple(fine.shape[-2:]) != self.high:
            fine = crop_and_resize(fine, drawn, self.high)
        rgb, ycbcr, fine = (pixels.float().div_(255) for pixels in (rgb, ycbcr, fine))
        if any(each.recolored for each in drawn):
            recolor = ColorJitter(drawn, ycbcr[:, 0].mean((1, 2)))
            ycbcr, fine = recolor(ycbcr), recolor(fine)
        if "pasted" in batch:
            self._paste(batch, ycbcr, fine)
        anew = [each.box is not None or each.recolored or each.pasted is not None for each in drawn]
        if any(anew):  # made of YCbCr, in which all this was done
            which = torch.tensor(anew).to(self.device, non_blocking=True).view(-1, 1, 1, 1)
            rgb = torch.where(which, ycbcr_to_rgb(ycbcr), rgb)
        mask = fine[:, 3:].contiguous()  # the losses read it many times over
        return {"rgb": self._normalized(rgb), "ycbcr": ycbcr, "sr_target": fine[:, :3], "mask": mask}

    def _paste(self, batch: Mapping[str, Any], ycbcr: Tensor, fine: Tensor) -> None:
        """Put what is to be pasted into both views, in place."""
        takers = [place for place, each in enumerate(batch["drawn"]) if each.pasted is not None]
        objects, whole = self._moved(batch["pasted"]), [UNCHANGED] * len(takers)
        for view, size in ((ycbcr, self.low), (fine, self.high)):
            view[takers] = paste(view[takers], crop_and_resize(objects, whole, size).float().div_(255))

    def _normalized(self, rgb: Tensor) -> Tensor:
        """RGB in [0, 1] less the mean, over the standard deviation; by rows, quicker than by the three channels."""
        rows = rgb.permute(0, 2, 3, 1).flatten(2)
        return rows.sub_(self.mean).div_(self.std).unflatten(2, (-1, 3)).permute(0, 3, 1, 2)

    def _moved(self, pixels: Tensor) -> Tensor:
        """B×H×W×C to B×C×H×W on the device, channels last; nothing is copied where it is there already."""
        return pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
