"""Two processes train as one: the same losses, weights and validation scores, to rounding."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models.weights import read_weights
from tests.helpers import SMALL
from training.distributed import SharedBatchNorm, SharedDropout, train_as_one
from training.sampler import ResumableBatchSampler

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def launched(root: Path, data: Path, run: Path, processes: int, *more: str) -> subprocess.CompletedProcess:
    """Train by the command, in float64: dropout, crops, EMA, clipping."""
    options = [
        *SMALL, "--batch_size=4", "--epochs=3", "--data.dataset=folders", f"--data.images={data}/train-images",
        f"--data.masks={data}/train-labels", f"--data.cache={run.parent}/cache", "--data.augmentation.scale=[0.5,1]",
        f"--output={run}", *more,
    ]  # fmt: skip
    command = [sys.executable, *(TORCHRUN if processes == 2 else []), "tests/training/train_in_double.py", *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


def losses(run: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((run / "log.csv").open())
    return [{k: float(v) for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


@pytest.fixture(scope="module")
def runs(root: Path, training_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("parallel")
    for processes in (1, 2):
        result = launched(root, training_pairs, folder / str(processes), processes)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("are ready for getsmaps.py") == 1  # one process speaks
    return {1: folder / "1", 2: folder / "2"}


def test_losses_and_scores_agree(runs: dict[int, Path]) -> None:
    one, two = losses(runs[1]), losses(runs[2])
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-6)  # log.csv has seven digits


def test_weights_agree(runs: dict[int, Path]) -> None:
    one, two = (read_weights(run / "last.safetensors")[0] for run in runs.values())
    assert one.keys() == two.keys()
    largest = max((one[name].float() - two[name].float()).abs().max().item() for name in one)
    print(f"largest difference of a weight: {largest:.1e}")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_one_process_writes(runs: dict[int, Path]) -> None:
    assert {path.name for path in runs[1].iterdir()} == {path.name for path in runs[2].iterdir()}
    assert len(list((runs[2] / "tensorboard").iterdir())) == 1


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_processes_share_each_batch(processes: int) -> None:
    def epochs(process: int, of: int) -> list[list[int]]:
        order = ResumableBatchSampler(50, 8, 3, process, of)
        batches = []
        for epoch in range(2):
            order.start(epoch)
            batches += list(order)
        return batches

    whole, shares = epochs(0, 1), [epochs(process, processes) for process in range(processes)]
    assert len(whole) == 12
    for step, batch in enumerate(whole):
        assert batch == [index for share in shares for index in share[step]]
    assert len({index for batch in whole[:6] for index in batch}) == 48
    assert whole[:6] != whole[6:]


def test_an_epoch_goes_on_where_it_stopped() -> None:
    order = ResumableBatchSampler(50, 8, 3)
    order.start(1)
    whole = list(order)
    order.start(1, 4)
    assert len(order) == 2
    assert list(order) == whole[4:]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size 8 .* does not divide by 3 processes: set it to a multiple of 3"):
        ResumableBatchSampler(50, 8, 0, 0, 3)


def test_dropout_is_a_part_of_the_whole_batchs() -> None:
    for x in (torch.rand(6, 5, 4, 3), torch.rand(6, 5, 4, 3).to(memory_format=torch.channels_last), torch.rand(6, 7)):
        torch.manual_seed(4)
        expected = nn.functional.dropout(x, 0.4)
        for process in range(3):
            torch.manual_seed(4)
            part = x[2 * process : 2 * process + 2]
            assert torch.equal(SharedDropout(0.4, 3, process)(part), expected[2 * process : 2 * process + 2])


def test_a_network_keeps_its_names_and_its_inference() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    network(torch.rand(2, 3, 4, 4))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.rand(2, 3, 4, 4)
    expected = network.eval()(x)
    shared = train_as_one(network, 2, 0, equal_norms=True)
    assert isinstance(shared[1], SharedBatchNorm)
    assert shared.state_dict().keys() == state.keys()
    assert torch.equal(shared.eval()(x), expected)
    assert isinstance(train_as_one(nn.Sequential(nn.BatchNorm2d(4)), 2, 0, equal_norms=False)[0], nn.BatchNorm2d)
