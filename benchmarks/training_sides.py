"""The two sides of `benchmarks/training.py`: what the authors' release does in training, and what `train.py` does.

The release's side is our implementation of its description. Its data path decodes the files again for every view, in
the training process, one sample at a time. Its step runs in fp32, runs the SR decoder twice, and waits for the device
at every loss term.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from PIL.Image import Transpose
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset

from datasets.cache import Records
from datasets.catalog import Pair
from datasets.loader import SalientObjectBatches, Views, as_it_is
from models.asrd import ASRD
from models.config import MEAN, STD, SRALConfig, TFGMConfig
from models.losses import LossWeights, joint_loss, loss_terms
from models.resize import bicubic_double
from models.sral import build_sral
from training.config import TrainingConfig
from training.distributed import build_accelerator
from training.logger import LossAccumulator
from training.trainer import Trainer

LEARNING_RATE, POWER, MOMENTUM, WEIGHT_DECAY = 2e-3, 0.9, 0.9, 5e-4

_FLIPS = (
    (Transpose.FLIP_LEFT_RIGHT, Transpose.FLIP_TOP_BOTTOM),
    (Transpose.FLIP_LEFT_RIGHT,),
    (Transpose.FLIP_TOP_BOTTOM,),
)
_ANGLES = (0, 90, 180, 270)


class ReleasedSamples(Dataset):
    """Pairs of files as the release reads them: four decodes a sample, flipped and rotated at full size, then resized.

    Args:
        pairs: from `datasets.catalog`.
        size: (height, width) of the low-resolution views; SR target and mask have twice that.
        augment: flip and rotate, drawn with Python's `random`.
    """

    def __init__(self, pairs: Sequence[Pair], size: tuple[int, int], augment: bool = True) -> None:
        self.pairs, self.size, self.augment = list(pairs), size, augment

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the views of one pair, float32: `rgb` 3×H×W normalized; `ycbcr` 3×H×W, `sr_target` 3×2H×2W and `mask`
        1×2H×2W in [0, 1]. Raise Pillow's error if a file cannot be read.
        """
        pair = self.pairs[index]
        height, width = self.size
        # The release opens and decodes a file for each view, although three views are of the same file.
        views = {
            "rgb": (Image.open(pair.image).convert("RGB"), (width, height)),
            "ycbcr": (Image.open(pair.image).convert("YCbCr"), (width, height)),
            "sr_target": (Image.open(pair.image).convert("YCbCr"), (2 * width, 2 * height)),
            "mask": (Image.open(pair.mask).convert("L"), (2 * width, 2 * height)),
        }
        if self.augment:
            flips, angle = random.choices(_FLIPS, (0.5, 0.25, 0.25))[0], random.choice(_ANGLES)
            views = {name: (_flip_and_rotate(image, flips, angle), size) for name, (image, size) in views.items()}
        sample = {
            name: _to_tensor(image.resize(size, Image.Resampling.BILINEAR)) for name, (image, size) in views.items()
        }
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return sample | {"rgb": sample["rgb"].sub_(mean).div_(std)}


def _flip_and_rotate(image: Image.Image, flips: tuple[Transpose, ...], angle: int) -> Image.Image:
    """Flip, then rotate within the frame, so that a quarter turn cuts off the ends of an oblong image."""
    for flip in flips:
        image = image.transpose(flip)
    return image.rotate(angle)


def _to_tensor(image: Image.Image) -> Tensor:
    """Return 8-bit pixels as float32 C×H×W in [0, 1], as torchvision's ToTensor."""
    pixels = torch.from_numpy(np.array(image))
    pixels = pixels.view(image.height, image.width, len(image.getbands()))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class DecodedTwice(nn.Module):
    """The release's forward of ASRD in training: image = bicubic + residual first, then overwritten by the residual.

    Args:
        asrd: the SR decoder with residual 'bare', so that its SR image is the residual alone.
    """

    def __init__(self, asrd: ASRD) -> None:
        super().__init__()
        self.asrd = asrd

    def forward(self, shallow: Tensor, context: Tensor, ycbcr: Tensor) -> dict[str, Tensor]:
        """Return the output of the second run; the first also updates the batch norm statistics."""
        found = {"sr_image": self.asrd(shallow, context, ycbcr)["sr_residual"] + bicubic_double(ycbcr)}
        found |= self.asrd(shallow, context, ycbcr)
        return found


class ReleasedTrainer:
    """The release's network, optimizer and step: fp32, contiguous, one GPU or the CPU.

    Args:
        config: encoder and widths; ASRD and TFGM are set to the release's choices.
        steps: of the whole run, over which the learning rate decays.
        device: where it trains.
    """

    def __init__(self, config: SRALConfig, steps: int, device: torch.device) -> None:
        asrd = replace(config.asrd, residual="bare")
        self.network = build_sral(replace(config, asrd=asrd, tfgm=TFGMConfig("inner", "sum")))
        assert self.network.asrd is not None
        self.network.asrd = DecodedTwice(self.network.asrd)  # type: ignore[assignment]
        self.network.to(device).train()
        self.device, self.steps, self.done = device, steps, 0
        self.weights = LossWeights().of_epoch(1)
        named = list(self.network.named_parameters())
        groups = [
            {"params": [value for name, value in named if "bias" in name], "weight_decay": 0.0},
            {"params": [value for name, value in named if "bias" not in name]},
        ]
        self.optimizer = SGD(groups, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def to_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move a batch's float views to the device."""
        return {name: view.to(self.device) for name, view in batch.items()}

    def step(self, views: dict[str, Tensor]) -> dict[str, float]:
        """Do one optimization step on `ReleasedSamples`' views on the device; return the loss terms by name."""
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * max(1 - self.done / self.steps, 0) ** POWER
        outputs = self.network(views["rgb"], views["ycbcr"])
        terms = loss_terms(outputs, views, self.network.tfgm)
        total = joint_loss(terms, self.weights)
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self.done += 1
        return {name: term.item() for name, term in (terms | {"total": total}).items()}


RELEASE = "release"
SETTLE_EVERY = 10
"""Steps between two reads of the losses, as in train.py."""

Batches = list[list[int]]


class ReleasedSide:
    """The release's side: its samples from a DataLoader without workers, and its trainer.

    Args:
        settings: the network and the length of the run.
        pairs: the training pairs.
        device: where it trains.
    """

    name = RELEASE

    def __init__(self, settings: TrainingConfig, pairs: list[Pair], device: torch.device):
        self.samples = ReleasedSamples(pairs, settings.detector.input_size)
        steps = settings.epochs * (len(pairs) // settings.batch_size)
        self.trainer = ReleasedTrainer(settings.network(), max(steps, 1), device)

    def views(self, batches: Batches) -> Iterator[dict[str, Tensor]]:
        """Yield the batches' float views on the device."""
        for batch in DataLoader(self.samples, batch_sampler=batches):
            yield self.trainer.to_device(batch)

    def step(self, views: dict[str, Tensor]) -> None:
        """Do one optimization step."""
        self.trainer.step(views)


class OurSide:
    """Our side: what train.py does between two checkpoints.

    Args:
        name: in the tables.
        settings: the run.
        records: the training pairs' pixels.
    """

    def __init__(self, name: str, settings: TrainingConfig, records: Records):
        AcceleratorState._reset_state()  # accelerate keeps precision and compilation once a process
        self.name, self.settings = name, settings
        self.accelerator = build_accelerator(settings.device, settings.precision, settings.compile, True, 0)
        self.samples = SalientObjectBatches(records, augment=settings.data.augmentation, seed=settings.seed)
        mean, std = settings.detector.mean, settings.detector.std
        self.to_views = Views(settings.detector.input_size, mean, std, self.accelerator.device)
        self.losses = LossAccumulator()
        self.loaders: dict[str, DataLoader] = {}
        self.blocks = 0
        self.trainer = Trainer(
            settings, self.accelerator, build_sral(settings.network()), len(records) // settings.batch_size
        )
        self.network = self.trainer.network.train()

    def loaded(self, batches: Batches) -> DataLoader:
        """Return the loader of these batches; its workers persist."""
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
        """Yield the batches' float views on the device."""
        return map(self.to_views, self.loaded(batches))

    def step(self, views: dict[str, Tensor]) -> None:
        """Do one optimization step."""
        self.losses.add(self.trainer.train_step(views, self.settings.loss.of_epoch(1)))
        if len(self.losses) == SETTLE_EVERY:
            self.losses.settle(self.accelerator, 0)


Side = ReleasedSide | OurSide


def load(side: Side, batches: Batches) -> None:
    """Load the batches' views and discard them."""
    for _ in side.views(batches):
        pass


def train(side: Side, batches: Batches) -> None:
    """Do a step on each of the batches."""
    for views in side.views(batches):
        side.step(views)
