"""Two processes: with frozen norms and nothing random they train as one; their random masks differ and are resumed."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models.weights import read_weights
from tests.helpers import SMALL
from training.distributed import sync_batch_norm
from training.sampler import ResumableBatchSampler

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def options_of(data: Path, run: Path, *more: str) -> list[str]:
    """Return the options of a run: crops, EMA, clipping, boundary-weighted losses."""
    return [
        *SMALL, "--batch_size=4", "--epochs=2", "--data.dataset=folders", f"--data.images={data}/train-images",
        f"--data.masks={data}/train-labels", f"--data.cache={run.parent}/cache", "--data.augmentation.scale=[0.5,1]",
        "--loss.boundary=5", f"--output={run}", *more,
    ]  # fmt: skip


def pair(root: Path, options: list[str], **environment: str) -> list[tuple[int, str, str]]:
    """Train on two processes without torchrun, which starts slowly; return each one's (status, stdout, stderr)."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = str(found.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", **environment}
    command = [sys.executable, "tests/training/train_and_report.py", *options]
    started = [
        subprocess.Popen(
            command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in started]
    return [(process.returncode, *lines) for process, lines in zip(started, said, strict=True)]


def losses(run: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((run / "log.csv").open())
    return [{k: float(v) for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


@pytest.fixture(scope="module")
def runs(root: Path, training_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("parallel")
    for processes in (1, 2):
        run = folder / str(processes)
        launcher = TORCHRUN if processes == 2 else []
        options = options_of(training_pairs, run, "--asrd.dropout=[0,0]")
        command = [sys.executable, *launcher, "tests/training/train_in_double.py", *options]
        result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("are ready for getsmaps.py") == 1  # one process speaks
    return {1: folder / "1", 2: folder / "2"}


def test_losses_and_scores_agree(runs: dict[int, Path]) -> None:
    one, two = losses(runs[1]), losses(runs[2])
    assert len(one) == len(two) == 2
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


def test_each_process_draws_its_own_masks_and_resumes_them(root: Path, training_pairs: Path, tmp_path: Path) -> None:
    def random_states(run: str, status: bool, **environment: str) -> dict[tuple[str, str], str]:
        options = options_of(training_pairs, tmp_path / run, "--resume", "--detector.drop_path=0.3")
        ended = pair(root, options, **environment)
        assert all((code == 0) == status for code, _, _ in ended), ended
        assert "each process uses the statistics of its own images" in ended[0][2]
        lines = [line.split()[1:] for _, out, _ in ended for line in out.splitlines() if line.startswith("random ")]
        return {(rank, step): state for rank, step, state in lines}

    whole = random_states("whole", True)
    assert whole.keys() == {(rank, step) for rank in "01" for step in "01"}
    assert len(set(whole.values())) == 4
    stopped = random_states("stopped", False, STOP_IN_STEP="0")
    resumed = random_states("stopped", True)
    assert resumed.keys() == {("0", "1"), ("1", "1")}
    assert stopped | resumed == whole
    one, two = (read_weights(tmp_path / run / "last.safetensors")[0] for run in ("whole", "stopped"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_batch_norms_stay_as_they_are_on_cpus() -> None:
    class Two:
        num_processes, is_main_process, device = 2, True, torch.device("cpu")

    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with pytest.warns(UserWarning, match="batch norm on CPUs: each process uses the statistics of its own images"):
        assert sync_batch_norm(network, Two()) is network
    assert type(network[1]) is nn.BatchNorm2d
