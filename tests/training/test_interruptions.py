"""A run that is killed, stopped or out of disk goes on as if nothing had happened: the same weights, bit for bit."""

import csv
import hashlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from models.weights import read_weights
from tests.helpers import SMALL
from training import trainer
from training.checkpoint import checkpoints, read_network
from training.config import parse
from training.logger import Logger

KILLS = int(os.environ.get("KILLS", "8"))
"""Processes that are killed; KILLS=100 for a longer campaign."""


def options(data: Path, run: Path, *more: str) -> list[str]:
    """A run of 3 epochs of 5 steps, with dropout, augmentation and a checkpoint after every step."""
    return [
        *SMALL, "--epochs=3", "--data.dataset=folders", f"--data.images={data}/train-images",
        f"--data.masks={data}/train-labels", f"--data.cache={run.parent}/cache", "--data.augmentation.scale=[0.5,1]",
        "--data.augmentation.brightness=0.2", "--checkpoint_minutes=1e-6", f"--output={run}", *more,
    ]  # fmt: skip


def trained(*arguments: str) -> int:
    """Train in this process."""
    return train.train(parse(arguments))


def _in_child(arguments: list[str], silent: bool) -> None:
    os.setsid()
    if silent:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    sys.argv = ["train.py", *arguments]
    train.main()


def started(arguments: list[str]) -> multiprocessing.Process:
    """Train in a process of its own: forked, so that a kill costs no import of torch."""
    process = multiprocessing.get_context("fork").Process(target=_in_child, args=(arguments, True))
    process.start()
    return process


def digest(run: Path) -> str:
    """Of all that last.safetensors holds: names, types, values."""
    state, _ = read_weights(run / "last.safetensors")
    whole = hashlib.sha256()
    for name in sorted(state):
        whole.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}".encode() + state[name].numpy().tobytes())
    return whole.hexdigest()


def scores(run: Path) -> list[dict[str, str]]:
    """The rows of log.csv without the columns that tell the time."""
    rows = csv.DictReader((run / "log.csv").open())
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def logged(run: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's (step, value) rows by tag, as it shows them, without the tags that tell the time."""
    board = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    tags = [tag for tag in board.Tags()["scalars"] if "seconds" not in tag and "per_second" not in tag]
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in tags}


@pytest.fixture(scope="module")
def uninterrupted(training_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert trained(*options(training_pairs, run)) == 0
    return run


def test_killed_at_any_moment(training_pairs: Path, uninterrupted: Path) -> None:
    """Kill -9 at random moments; every third time while a checkpoint is being written."""
    run = uninterrupted.parent / "killed"
    arguments = options(training_pairs, run, "--resume")
    chance = random.Random(0)
    kills = within_writing = 0
    deadline = time.monotonic() + 60 + 20 * KILLS
    while kills < KILLS and time.monotonic() < deadline:
        before = checkpoints(run)[:1]
        process = started(arguments)
        while process.is_alive() and checkpoints(run)[:1] == before:  # let it come one step further
            time.sleep(0.001)
        if kills % 3 == 2:
            unfinished = run / "checkpoints"
            while process.is_alive() and not list(unfinished.glob(".*.tmp")):
                pass
        else:
            time.sleep(chance.uniform(0, 0.4))
        if not process.is_alive():  # it came to its end before: begin anew
            assert digest(run) == digest(uninterrupted)
            for path in [*checkpoints(run), run / "last.safetensors", run / "finished.json"]:
                path.unlink()
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
        within_writing += bool(list((run / "checkpoints").glob(".*.tmp")))
    assert kills == KILLS
    assert within_writing
    assert trained(*arguments) == 0
    print(f"{kills} kills, {within_writing} of them while a checkpoint was written: {digest(run)}")
    assert digest(run) == digest(uninterrupted)
    assert scores(run) == scores(uninterrupted)
    assert logged(run) == logged(uninterrupted)
    assert not list(run.glob("**/.*.tmp"))
    assert len(checkpoints(run)) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends(training_pairs: Path, uninterrupted: Path, number: signal.Signals) -> None:
    run = uninterrupted.parent / number.name
    arguments = [*options(training_pairs, run, "--resume"), "--checkpoint_minutes=0"]
    process = started(arguments)
    while not (run / "versions.json").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == 128 + number
    assert len(checkpoints(run)) == 1
    done = int(checkpoints(run)[0].stem.removeprefix("step_"))
    assert logged(run)["train/total"][-1][0] == done - 1
    assert trained(*arguments) == 0
    assert digest(run) == digest(uninterrupted)
    ours, whole = logged(run), logged(uninterrupted)
    assert {tag: rows for tag, rows in ours.items() if tag.startswith("epoch/")} == {
        tag: rows for tag, rows in whole.items() if tag.startswith("epoch/")
    }
    assert len(ours["epoch/total"]) == len(ours["validation/Sm"]) == 3
    assert "epoch/epoch" not in ours


def test_an_error_keeps_what_was_logged(tmp_path: Path) -> None:
    def fail() -> None:
        with Logger(tmp_path) as logger:
            for step in range(50):
                logger.step(step, {"total": float(step)})
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        fail()
    assert logged(tmp_path)["train/total"] == [(step, float(step)) for step in range(50)]


def test_the_command_says_where_it_stopped(root: Path, training_pairs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "train.py", *options(training_pairs, tmp_path / "run", "--epochs=500")]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not checkpoints(tmp_path / "run"):
        time.sleep(0.05)
        assert process.poll() is None
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM after epoch" in process.stderr.read().splitlines()[-1]


def test_a_full_disk_ends_the_run_and_spares_the_last_checkpoint(training_pairs: Path, uninterrupted: Path) -> None:
    run = uninterrupted.parent / "full"
    arguments = options(training_pairs, run, "--resume")
    size = checkpoints(uninterrupted)[0].stat().st_size

    def in_child() -> None:
        # The disk is full in the middle of the third checkpoint: a limit on a file's size stands in for it.
        save, count = trainer.save_checkpoint, []

        def save_then_fill(*arguments) -> None:
            count.append(1)
            if len(count) == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
            save(*arguments)

        trainer.save_checkpoint = save_then_fill
        _in_child(arguments, silent=True)

    process = multiprocessing.get_context("fork").Process(target=in_child)
    process.start()
    process.join(60)
    assert process.exitcode == 1
    assert [path.stem for path in checkpoints(run)] == ["step_00000002", "step_00000001"]
    assert not list(run.glob("**/.*.tmp"))
    assert trained(*arguments) == 0
    assert digest(run) == digest(uninterrupted)


def test_a_folder_that_cannot_be_written_is_named(training_pairs: Path, tmp_path: Path) -> None:
    for place in (Path("/proc/run"), tmp_path / "file" / "run"):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(OSError, match=str(place.parent)):
            trained(*options(training_pairs, place, f"--data.cache={tmp_path}/cache"))


def test_two_runs_cannot_have_one_folder(training_pairs: Path, uninterrupted: Path) -> None:
    run = uninterrupted.parent / "shared"
    process = started(options(training_pairs, run, "--epochs=500"))
    while not checkpoints(run):
        time.sleep(0.01)
    with pytest.raises(ValueError, match="another process is training in"):
        trained(*options(training_pairs, run, "--epochs=500", "--resume"))
    process.kill()
    process.join()


def test_a_damaged_checkpoint_is_passed_over_aloud(training_pairs: Path, uninterrupted: Path) -> None:
    run = uninterrupted.parent / "damaged"
    process = started(options(training_pairs, run))
    process.join()
    for name in ("last.safetensors", "finished.json"):
        (run / name).unlink()
    newest, older = checkpoints(run)
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=f"{newest.name}: not a readable checkpoint .* going on from .*{older.name}"):
        trained(*options(training_pairs, run, "--resume"))
    assert digest(run) == digest(uninterrupted)
    for path in checkpoints(run):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        trained(*options(training_pairs, run, "--resume"))


def test_a_strangers_checkpoint_does_no_harm(training_pairs: Path, uninterrupted: Path) -> None:
    """Optimizer state of another shape would be walked past its end by a fused optimizer."""
    run = uninterrupted.parent / "stranger"
    started(options(training_pairs, run)).join()
    newest = checkpoints(run)[0]
    checkpoints(run)[1].unlink()
    with safe_open(newest, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(newest)
    for wrong in ({"tree": "[" * 100_000}, {"tree": '{"dict": []}'}, {"tree": '{"tensor": "none"}'}, {}):
        save_file(tensors, newest, wrong)
        with pytest.raises(ValueError, match="not a readable checkpoint"):
            trained(*options(training_pairs, run, "--resume"))
    small = {name: torch.zeros(1, 1, 1, 1) if value.ndim == 4 else value for name, value in tensors.items()}
    save_file(small, newest, metadata)
    with pytest.raises(ValueError, match="does not fit this run's network or optimizer"):
        trained(*options(training_pairs, run, "--resume"))


def test_other_settings_need_force(training_pairs: Path, uninterrupted: Path) -> None:
    run = uninterrupted.parent / "forced"
    started(options(training_pairs, run)).join()
    more = options(training_pairs, run, "--resume", "--epochs=4", "--optimizer.clip=4")
    with pytest.raises(ValueError, match=r"epochs: 3 -> 4; optimizer\.clip: 5\.0 -> 4\.0; --force"):
        trained(*more)
    with pytest.warns(UserWarning, match="going on with other settings .* epochs: 3 -> 4"):
        assert trained(*more, "--force") == 0
    assert [row["epoch"] for row in scores(run)] == ["1", "2", "3", "4"]
    with pytest.raises(ValueError, match="does not fit this run's network"):
        trained(*more, "--force", "--detector.width=16")


def test_a_larger_batch_goes_on_at_its_share_of_the_epochs(training_pairs: Path, uninterrupted: Path) -> None:
    """Counted in steps, the longer run of small batches would be past the end of the schedule."""
    run = shutil.copytree(uninterrupted, uninterrupted.parent / "larger")
    changed = ("--epochs=5", "--batch_size=5", "--optimizer.lr=3e-3")
    with pytest.warns(UserWarning, match="batch_size: 2 -> 5"):
        assert trained(*options(training_pairs, run, "--resume", "--force", *changed)) == 0
    rates = [float(row["lr"]) for row in scores(run)]
    assert rates[3:] == pytest.approx([3e-3 * (1 - 4 / 5) ** 0.9, 0.0])
    assert [path.stem for path in checkpoints(run)] == ["step_00000005", "step_00000004"]


def test_a_checkpoint_of_an_older_version_is_refused(training_pairs: Path, uninterrupted: Path) -> None:
    run = shutil.copytree(uninterrupted, uninterrupted.parent / "older")
    for path in checkpoints(run):
        with safe_open(path, "pt") as file:
            tree = file.metadata()["tree"]
        save_file(
            load_file(path),
            path,
            {"tree": tree.replace('"optimizer", {"dict": [["name"', '"optimiser", {"dict": [["name"')},
        )
    with pytest.raises(
        ValueError, match=r"older version .*: the key optimiser\.name is now optimizer\.name; start a new"
    ):
        trained(*options(training_pairs, run, "--resume"))
    with pytest.raises(ValueError, match="optimiser"):
        read_network(checkpoints(run)[0])


def test_another_precision_on_another_cpu_is_said(training_pairs: Path, uninterrupted: Path, monkeypatch) -> None:
    run = shutil.copytree(uninterrupted, uninterrupted.parent / "moved")
    monkeypatch.setattr(trainer, "precision_of", lambda _: "bf16")  # accelerate keeps a process's first precision
    with pytest.warns(UserWarning, match="the run was in fp32 so far and goes on in bf16"):
        assert trained(*options(training_pairs, run, "--resume")) == 0
