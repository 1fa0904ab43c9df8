"""What people give as weights, and what they are told: one line, what it is and what to do."""

import gzip
import json
import os
import random
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from inference.backends import open_backend
from models.weights import read_header
from tools.convert_released import convert, read_checkpoint, released_name
from utils.file_kind import what_it_is
from utils.text import read_text
from utils.torch_file import read_torch_file

FUZZ = int(os.environ.get("FUZZ", "300"))
"""Mutated files that are classified; FUZZ=10000 for a longer campaign."""
SAFETENSORS = save({"a": torch.zeros(8)}, {"format": "sral", "kind": "training"})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 20123456\n"
FILES = {
    "LFS": (POINTER, "a Git LFS pointer for a file of 20,123,456 bytes", "git lfs pull"),
    "page": (b"\n<!DOCTYPE html><html>", r"a web page \(HTML\)", "download the file itself"),
    "error": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "a server's error message", "download"),
    "empty": (b"", r"empty \(0 bytes\)", "again"),
    "zeros": (bytes(5000), "zeros at its start", "again"),
    "cut": (SAFETENSORS[:40], "the first 40 bytes of a safetensors file", "again"),
    "gzip": (gzip.compress(SAFETENSORS), "a gzip archive", "unpack"),
    "image": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image", "weights"),
    "JSON": (b'{"lr": 1}', "a JSON file", "weights"),
    "text": ("Größe: 3\n".encode(), "a text file", "weights"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_called_what_it_is_through_every_door(tmp_path: Path, kind: str) -> None:
    content, says, remedy = FILES[kind]
    (path := tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=f"{says}.*{remedy}"):
        read_header(path)
    (other := tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match=f"{says}.*{remedy}"):
        read_torch_file(other)


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".safetensors"])
@pytest.mark.parametrize("kind", ["LFS", "page", "empty", "folder", "nothing"])
def test_an_exported_file_is_called_what_it_is(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    content, says, remedy = FILES.get(kind, (None, "a folder" if kind == "folder" else "no such file", ""))
    if content is not None:
        path.write_bytes(content)
        path.with_suffix(".bin").write_bytes(b"tensors")
    elif kind == "folder":
        path.mkdir()
        path.with_suffix(".bin").write_bytes(b"tensors")
    for name in ("onnxruntime", "openvino"):
        if name == "onnxruntime" and suffix == ".xml":
            continue
        pytest.importorskip(name)
        with pytest.raises((ValueError, FileNotFoundError), match=f"^weights {path}: (not a .* but )?{says}.*{remedy}"):
            open_backend(name, path)


def test_text_is_no_pointer(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(FILES["LFS"][0])
    with pytest.raises(OSError, match=r"c\.yaml is a Git LFS pointer, not the file; get the file itself: git lfs"):
        read_text(tmp_path / "c.yaml")


def test_folders_archives_and_checkpoints_are_told_apart(tmp_path: Path, trained_run: Path) -> None:
    with pytest.raises(ValueError, match="a folder: name a file in it"):
        read_header(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("model/readme.txt", "")
    with pytest.raises(ValueError, match="a zip archive; unpack it first"):
        read_header(tmp_path / "a.zip")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a file of torch.save; convert .* tools.convert_released"):
        read_header(tmp_path / "a.pth")
    checkpoint = next(trained_run.glob("checkpoints/*.safetensors"))
    with pytest.raises(ValueError, match=f"a run's checkpoint.*{trained_run}/best.safetensors"):
        read_header(checkpoint)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_header(tmp_path / "pipe")


def test_wrappers_and_training_programs_dictionaries_are_read(tmp_path: Path) -> None:
    state, path = {"conv.weight": torch.ones(2), "conv.bias": torch.zeros(2)}, tmp_path / "w.pth"
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    for saved in ({"epoch": 3, "model_state_dict": wrapped}, {"model": {"state_dict": state}}):
        torch.save(saved, path)
        assert list(read_torch_file(path)) == list(state)
    torch.save({"state_dict_ema": wrapped, "state_dict": state}, path)
    with pytest.warns(UserWarning, match="its state_dict is read; it also holds state_dict_ema"):
        read_torch_file(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"it needs torch\.nn\.modules\.linear\.Linear, which only .* save state_dict"):
        read_checkpoint(path)


def test_a_larger_programs_checkpoint_is_converted(tmp_path: Path) -> None:
    from models.config import SRALConfig
    from models.sral import build_sral

    state = {released_name(name): value for name, value in build_sral(SRALConfig()).state_dict().items()}
    lightning = {f"model.{name}": value for name, value in state.items()} | {"loss.weight": torch.zeros(1)}
    found = {released_name(name): value for name, value in convert(lightning).state_dict().items()}
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_any_bytes_are_classified(tmp_path: Path) -> None:
    starts = [content for content, _, _ in FILES.values()]
    path = tmp_path / "file"
    for seed in range(FUZZ):
        chance = random.Random(seed)
        content = bytearray(chance.choice(starts) or b"PK\x03\x04" + bytes(20))
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.randint(0, len(content))])
        kind, remedy = what_it_is(path)
        assert bool(kind) == bool(remedy), seed
        assert (kind + remedy).isprintable(), seed
        json.dumps(kind)
