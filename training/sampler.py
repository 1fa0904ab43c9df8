"""The order of the training images: it depends on the seed and the epoch alone."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class ResumableBatchSampler(Sampler[list[int]]):
    """The batches of an epoch, for DataLoader's `batch_sampler`; a smaller last batch is dropped.

    A step's batch is the same for any number of processes, each of which gets an equal part of it. (accelerate's
    samplers do not guarantee this.)

    Args:
        images: number of images.
        batch_size: images a step over all processes.
        seed: seed of the orders.
        process, processes: which part of each batch to give.

    Raises:
        ValueError: the batch does not divide evenly, or there are fewer images than one batch.
    """

    def __init__(self, images: int, batch_size: int, seed: int, process: int = 0, processes: int = 1):
        if batch_size % processes:
            raise ValueError(
                f"batch_size {batch_size} (all processes together) does not divide by {processes} processes: "
                f"set it to a multiple of {processes}"
            )
        if images < batch_size:
            raise ValueError(f"{images} training images are less than one batch of {batch_size}")
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.part = slice(process * batch_size // processes, (process + 1) * batch_size // processes)
        self.epoch = self.first = 0

    def start(self, epoch: int, step: int = 0) -> None:
        """Make the next iteration give the batches of `epoch` (from 0), from `step` on."""
        self.epoch, self.first = epoch, step

    @property
    def steps(self) -> int:
        """Steps of a complete epoch."""
        return self.images // self.batch_size

    def __len__(self) -> int:
        return self.steps - self.first

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.images, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        for step in range(self.first, self.steps):
            yield order[step * self.batch_size : (step + 1) * self.batch_size][self.part]
