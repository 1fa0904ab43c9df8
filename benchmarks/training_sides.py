"""The two sides of `benchmarks/training.py`: what the authors' release does in training, and what `train.py` does."""

from collections.abc import Iterator

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.released_training import ReleasedSamples, ReleasedTrainer
from datasets.cache import Records
from datasets.catalog import Pair
from datasets.loader import SalientObjectBatches, Views, as_it_is
from models.sral import build_sral
from training.config import TrainingConfig
from training.distributed import build_accelerator
from training.logger import LossAccumulator
from training.trainer import Trainer

RELEASE = "release"
SETTLE_EVERY = 10
"""Steps between two looks at the losses, as in train.py."""

Batches = list[list[int]]


class ReleasedSide:
    """What the release does: its samples from a DataLoader as it comes (no workers), its trainer.

    Args:
        settings: whose network is trained.
        pairs: what it is trained on.
        device: where.
    """

    name = RELEASE

    def __init__(self, settings: TrainingConfig, pairs: list[Pair], device: torch.device):
        self.samples = ReleasedSamples(pairs, settings.detector.input_size)
        steps = settings.epochs * (len(pairs) // settings.batch_size)
        self.trainer = ReleasedTrainer(settings.network(), max(steps, 1), device)

    def views(self, batches: Batches) -> Iterator[dict[str, Tensor]]:
        """The batches' float views on the device."""
        for batch in DataLoader(self.samples, batch_sampler=batches):
            yield self.trainer.to_device(batch)

    def step(self, views: dict[str, Tensor]) -> None:
        """One step."""
        self.trainer.step(views)


class OurSide:
    """What train.py does between two checkpoints.

    Args:
        name: in the tables.
        settings: what is trained, and how.
        records: what it is trained on.
    """

    def __init__(self, name: str, settings: TrainingConfig, records: Records):
        AcceleratorState._reset_state()  # the sides differ in what accelerate keeps once for a process
        self.name, self.settings = name, settings
        self.accelerator = build_accelerator(settings.device, settings.precision, settings.compile, True, 0)
        self.samples = SalientObjectBatches(records, augment=settings.data.augmentation, seed=settings.seed)
        mean, std = settings.detector.mean, settings.detector.std
        self.to_views = Views(settings.detector.input_size, mean, std, self.accelerator.device)
        self.losses_seen = LossAccumulator()
        self.loaders: dict[str, DataLoader] = {}
        self.blocks = 0
        self.trainer = Trainer(
            settings, self.accelerator, build_sral(settings.network()), len(records) // settings.batch_size
        )
        self.network = self.trainer.network.train()

    def loaded(self, batches: Batches) -> DataLoader:
        """The loader of these batches; its workers stay."""
        workers, key = self.settings.data.workers, str(batches)
        if key not in self.loaders:
            self.loaders[key] = DataLoader(
                self.samples, batch_sampler=batches, collate_fn=as_it_is, num_workers=workers,
                persistent_workers=workers > 0, pin_memory=self.accelerator.device.type == "cuda",
            )  # fmt: skip
        self.samples.set_epoch(self.blocks)
        self.blocks += 1
        return self.loaders[key]

    def views(self, batches: Batches) -> Iterator[dict[str, Tensor]]:
        """The batches' float views on the device."""
        return map(self.to_views, self.loaded(batches))

    def step(self, views: dict[str, Tensor]) -> None:
        """One step."""
        self.losses_seen.add(self.trainer.train_step(views, self.settings.loss.of_epoch(1)))
        if len(self.losses_seen) == SETTLE_EVERY:
            self.losses_seen.settle(self.accelerator, 0)


Side = ReleasedSide | OurSide


def load(side: Side, batches: Batches) -> None:
    """Make the batches' views and leave them unused."""
    for _ in side.views(batches):
        pass


def train(side: Side, batches: Batches) -> None:
    """Take a step on each of the batches."""
    for views in side.views(batches):
        side.step(views)
