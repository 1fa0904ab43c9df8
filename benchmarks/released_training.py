"""What the authors' release does to train, written anew after its description: what ours is measured against.

Its data path decodes the files anew for every view, in the process that trains, one sample at a time; its step runs in
fp32, runs the SR decoder twice and has the host wait for every loss term. `benchmarks/training.py` times it.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from PIL.Image import Transpose
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import Dataset

from datasets.catalog import Pair
from models.asrd import ASRD
from models.config import MEAN, STD, SRALConfig, TFGMConfig
from models.losses import LossWeights, joint_loss, loss_terms
from models.resize import bicubic_double
from models.sral import build_sral

LEARNING_RATE, POWER, MOMENTUM, WEIGHT_DECAY = 2e-3, 0.9, 0.9, 5e-4

_FLIPS = (
    (Transpose.FLIP_LEFT_RIGHT, Transpose.FLIP_TOP_BOTTOM),
    (Transpose.FLIP_LEFT_RIGHT,),
    (Transpose.FLIP_TOP_BOTTOM,),
)
_ANGLES = (0, 90, 180, 270)


class ReleasedSamples(Dataset):
    """Pairs of files as the release reads them: four decodes a sample, flipped and turned at full size, then resized.

    Args:
        pairs: what `datasets.catalog` found.
        size: (height, width) of the low-resolution views; SR target and mask have twice that.
        augment: flip and turn, drawn with Python's `random`; False leaves the samples as they are.
    """

    def __init__(self, pairs: Sequence[Pair], size: tuple[int, int], augment: bool = True) -> None:
        self.pairs, self.size, self.augment = list(pairs), size, augment

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The views of one pair, float32: `rgb` 3×H×W normalized; `ycbcr` 3×H×W, `sr_target` 3×2H×2W and `mask` 1×2H×2W
        in [0, 1]. Raises what Pillow raises where a file cannot be read.
        """
        pair = self.pairs[index]
        height, width = self.size
        # Each is a file opened and decoded of its own, although three of them are the same file.
        views = {
            "rgb": (Image.open(pair.image).convert("RGB"), (width, height)),
            "ycbcr": (Image.open(pair.image).convert("YCbCr"), (width, height)),
            "sr_target": (Image.open(pair.image).convert("YCbCr"), (2 * width, 2 * height)),
            "mask": (Image.open(pair.mask).convert("L"), (2 * width, 2 * height)),
        }
        if self.augment:
            flips, angle = random.choices(_FLIPS, (0.5, 0.25, 0.25))[0], random.choice(_ANGLES)
            views = {name: (_turned(image, flips, angle), size) for name, (image, size) in views.items()}
        sample = {
            name: _to_tensor(image.resize(size, Image.Resampling.BILINEAR)) for name, (image, size) in views.items()
        }
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return sample | {"rgb": sample["rgb"].sub_(mean).div_(std)}


def _turned(image: Image.Image, flips: tuple[Transpose, ...], angle: int) -> Image.Image:
    """The full-size image flipped, then rotated in its own frame: a quarter turn cuts an oblong image's ends off."""
    for flip in flips:
        image = image.transpose(flip)
    return image.rotate(angle)


def _to_tensor(image: Image.Image) -> Tensor:
    """8-bit pixels as float32 C×H×W in [0, 1], as torchvision's ToTensor does it."""
    pixels = torch.from_numpy(np.array(image))
    pixels = pixels.view(image.height, image.width, len(image.getbands()))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class DecodedTwice(nn.Module):
    """The release's forward of ASRD in training: image = bicubic + residual first, then overwritten by the residual.

    Args:
        asrd: the SR decoder; with the option 'bare', so that its SR image is the residual alone.
    """

    def __init__(self, asrd: ASRD) -> None:
        super().__init__()
        self.asrd = asrd

    def forward(self, shallow: Tensor, context: Tensor, ycbcr: Tensor) -> dict[str, Tensor]:
        """What `ASRD.forward` returns, of its second run; the first leaves its trace in the batch norms' statistics."""
        found = {"sr_image": self.asrd(shallow, context, ycbcr)["sr_residual"] + bicubic_double(ycbcr)}
        found |= self.asrd(shallow, context, ycbcr)
        return found


class ReleasedTrainer:
    """The release's network, optimizer and step: fp32, contiguous, one GPU or the CPU.

    Args:
        config: encoder and widths; what the release does in its own way is set here.
        steps: of the whole run, over which the learning rate falls.
        device: where it trains.
    """

    def __init__(self, config: SRALConfig, steps: int, device: torch.device) -> None:
        asrd = replace(config.asrd, residual="bare")
        self.network = build_sral(replace(config, asrd=asrd, tfgm=TFGMConfig("inner", "sum")))
        self.network.asrd = DecodedTwice(self.network.asrd)
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
        """The batch's float views on the device."""
        return {name: view.to(self.device) for name, view in batch.items()}

    def step(self, views: dict[str, Tensor]) -> dict[str, float]:
        """One optimization step on `ReleasedSamples`' views, batched and on the device: each loss term by its name."""
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
