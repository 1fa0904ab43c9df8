"""A step never waits for the device, and the accumulated losses are the sums of the steps'."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode

from datasets.cache import Records
from datasets.catalog import pair_folders
from datasets.loader import SalientObjectBatches, Views
from datasets.transforms import Augmentation
from models.losses import LossWeights
from tests.helpers import small_network
from training.config import TrainingConfig
from training.logger import LossAccumulator
from training.optimizer_config import OptimizerConfig
from training.trainer import Trainer

WAITS = {"aten._local_scalar_dense", "aten.nonzero", "aten.equal", "aten.is_nonzero"}
"""Operations whose result the host needs: item, tolist, bool, float, indexing by a mask."""


class Watch(TorchDispatchMode):
    """Takes down the operations that make the host wait for the device."""

    def __init__(self):
        super().__init__()
        self.seen, self.waits = 0, []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.seen += 1
        name = str(function).rpartition(".")[0]
        if name in WAITS:
            self.waits.append(name)
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_does_not_wait(training_pairs, name):
    pairs = pair_folders(training_pairs / "train-images", training_pairs / "train-labels")
    augment = Augmentation(scale=(0.5, 1.0), brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    batch = SalientObjectBatches(Records(pairs, 64, augment.detail), None, augment).__getitems__(range(4))
    network = small_network(input_size=(64, 64)).train()
    settings = TrainingConfig(optimizer=OptimizerConfig(name=name, clip=1.0, ema=0.9))
    trainer = Trainer(settings, Accelerator(cpu=True), network, 10)
    views, weights = Views(64), LossWeights().of_epoch(1)
    before = network.detector.tsdd.head.predict.weight.clone()
    trainer.train_step(views(batch), weights)
    with Watch() as watch:
        trainer.train_step(views(batch), weights)
    assert trainer.ema is not None
    assert trainer.ema.updates == 2
    assert watch.seen > 1000
    assert watch.waits == []
    assert not torch.equal(network.detector.tsdd.head.predict.weight, before)
    with Watch() as watch:
        bool(before.sum() > 0)
    assert watch.waits  # what the test looks for is seen


def test_the_accumulators_sums_are_those_of_the_steps():
    accelerator = Accelerator(cpu=True)
    values = np.random.default_rng(0).random((7, 2))
    losses_seen = LossAccumulator({"sr": 1.0})
    for number, (sr, total) in enumerate(values, 1):
        losses_seen.add({"sr": torch.tensor(sr), "total": torch.tensor(total)})
        if number in (3, 7):
            assert losses_seen.settle(accelerator, number) == {"sr": sr, "total": total}
    assert losses_seen.sums == {"sr": pytest.approx(1 + values[:, 0].sum()), "total": pytest.approx(values[:, 1].sum())}
    assert losses_seen.settle(accelerator, 7) == {}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_the_first_step_that_is_not_finite_is_named(wrong):
    losses_seen = LossAccumulator()
    for value in (1.0, wrong, wrong):
        losses_seen.add({"sr": torch.tensor(1.0), "affinity": torch.tensor(value)})
    with pytest.raises(FloatingPointError, match="step 41: loss term affinity is not finite"):
        losses_seen.settle(Accelerator(cpu=True), 43)
