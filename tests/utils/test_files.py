"""Unfinished files: named by process, removed when it is gone; a result's files all or none; a full disk is said."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from utils import unfinished
from utils.files import WriteError, atomic_file, atomic_files, atomic_write, sync_disk, temporary_folder
from utils.safetensors_file import save_safetensors
from utils.unfinished import remove_unfinished, unfinished_name

WRITER = """
import sys, time, pathlib
from utils.files import atomic_path
with atomic_path(pathlib.Path(sys.argv[1])) as path:
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(root: Path, tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that is writing tmp_path/file."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_only_what_a_process_that_is_gone_left_is_removed(writer: subprocess.Popen, tmp_path: Path) -> None:
    [left] = tmp_path.glob(".*.tmp")
    remove_unfinished(tmp_path)
    assert left.exists()
    os.kill(writer.pid, signal.SIGKILL)
    while unfinished._start_of(writer.pid) is not None:  # it is not waited for: a zombie counts as gone
        time.sleep(0.01)
    remove_unfinished(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_later_process_with_the_same_number_is_not_the_writer(tmp_path: Path) -> None:
    path = tmp_path / f".{unfinished._host()}-{os.getppid()}-0.tmp"
    path.write_text("of this boot")
    remove_unfinished(tmp_path)
    assert path.exists()
    os.utime(path, (1e9, 1e9))  # before that process started
    remove_unfinished(tmp_path)
    assert not path.exists()


def test_another_machines_files_stay_for_a_day(tmp_path: Path) -> None:
    kept = [
        tmp_path / ".00000000-1-0.tmp",
        tmp_path / ".0123456789ab.1.tmp",
        tmp_path / ".mine.tmp",
        tmp_path / "a.tmp",
    ]
    gone = [tmp_path / ".00000000-1-1.tmp", tmp_path / ".0123456789ab.2.tmp"]
    for path in kept + gone:
        path.write_text("")
    folder = tmp_path / ".00000000-1-2.tmp"
    (folder / "inside").mkdir(parents=True)
    for path in [*gone, folder, *kept[2:]]:
        os.utime(path, (1e9, 1e9))
    remove_unfinished(tmp_path)
    assert set(tmp_path.iterdir()) == set(kept)


def test_names_of_one_process_differ(tmp_path: Path) -> None:
    assert unfinished_name(tmp_path) != unfinished_name(tmp_path)


def test_the_first_write_to_a_folder_removes_what_is_left(tmp_path: Path) -> None:
    (tmp_path / f".{unfinished._host()}-4000000-0.tmp").write_text("")
    atomic_write(tmp_path / "a", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_names_the_file_and_survives_pickling(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/deep/x cannot be written: .*a part of the path is a file") as error:
        atomic_write(tmp_path / "file" / "deep" / "x", "")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.raises(FileNotFoundError, match="elsewhere"), temporary_folder(tmp_path) as folder:
        Path(folder.parent, "elsewhere").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB; skips where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_on_a_full_disk_a_results_files_are_all_or_none(small_disk: Path) -> None:
    atomic_files({small_disk / "a": "old", small_disk / "b": "old"})
    with pytest.raises(WriteError, match=r"/c cannot be written: No space left on device; free some space.*nothing"):
        atomic_files({small_disk / "a": "new", small_disk / "b": "new", small_disk / "c": bytes(1 << 20)})
    assert {path.name: path.read_text() for path in small_disk.iterdir()} == {"a": "old", "b": "old"}


def test_on_a_full_disk_weights_stay_as_they_were(small_disk: Path) -> None:
    path = small_disk / "w.safetensors"
    save_safetensors(path, {"a": torch.zeros(10)}, {})
    before = path.read_bytes()
    with pytest.raises(WriteError, match=r"w.safetensors cannot be written: No space.*the older file is as it was"):
        save_safetensors(path, {"a": torch.zeros(1 << 18)}, {})
    assert {each.name: each.read_bytes() for each in small_disk.iterdir()} == {"w.safetensors": before}


def test_many_files_reach_the_disk_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for number in range(3):
        with atomic_file(tmp_path / str(number), sync=False) as file:
            file.write(b"content")
    assert not synced
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    sync_disk(tmp_path)
    sync_disk(tmp_path / "nowhere")
    atomic_write(tmp_path / "3", "content")
    assert len(synced) == 1
