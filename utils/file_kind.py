"""What a file that is not what was expected is, by its first bytes, and what to do about it."""

import json
import zipfile
from pathlib import Path

from utils.text import LFS_REMEDY, LFS_START

_STARTS = {
    b"\x1f\x8b": ("a gzip archive", "unpack it first"),
    b"BZh": ("a bzip2 archive", "unpack it first"),
    b"\xfd7zXZ\x00": ("an xz archive", "unpack it first"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it first"),
    b"Rar!": ("a RAR archive", "unpack it first"),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "unpack it first"),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file, as Keras writes it", "convert it to a state dict of PyTorch"),
    b"\x89PNG\r\n": ("a PNG image", "name the weights, not an image"),
    b"\xff\xd8\xff": ("a JPEG image", "name the weights, not an image"),
    b"II*\x00": ("a TIFF image", "name the weights, not an image"),
    b"MM\x00*": ("a TIFF image", "name the weights, not an image"),
    b"%PDF": ("a PDF document", "name the weights"),
    b"\x93NUMPY": ("a NumPy array", "name the weights"),
    b"GGUF": ("a GGUF file, of a language model", "name the weights"),
    b"\x7fELF": ("a program", "name the weights"),
}
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
CONVERT = "convert the authors' .pth files by `python -m tools.convert_released IN.pth --output OUT.safetensors`"


def what_it_is(path: Path) -> tuple[str, str]:
    """Return what a file is in a few words, and what to do: both empty where that is not known.

    Args:
        path: a file or folder that exists; nothing but its first bytes is read, and no pipe or device.
    """
    if found := _no_content(path):
        return found
    with path.open("rb") as file:
        start = file.read(4096)
    size = path.stat().st_size
    if path.suffix == ".onnx":
        return "an ONNX network", "give the .safetensors that it was made from"
    if not start.strip(b"\x00"):
        return "zeros at its start, as an interrupted copy leaves it", "copy or download it again"
    for magic, found in _STARTS.items():
        if start.startswith(magic):
            return found
    if start.startswith(b"PK\x03\x04"):
        return _zip(path)
    if start.startswith(_PICKLES):
        return "a pickle, as old versions of torch.save write it", CONVERT
    if start[257:262] == b"ustar":
        return "a tar archive", "unpack it first"
    if int.from_bytes(start[:8], "little") > 0 and start[8:9] == b"{":
        return _safetensors(start, size)
    return _text(start)


def refuse_no_content(path: Path) -> None:
    """Raise an error of one line unless an exported network's file is there and is not another file in its place.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, an empty file, a Git LFS pointer or a web page.
    """
    if not path.exists():
        raise FileNotFoundError(f"weights {path}: no such file")
    if found := _no_content(path):
        raise ValueError(f"weights {path}: {': '.join(found)}")


def _no_content(path: Path) -> tuple[str, str] | None:
    """Return what stands in a file's place, and what to do; None for a file with content of its own."""
    if path.is_dir():
        return "a folder", "name a file in it"
    if not path.is_file():
        return "no regular file", "name a file"
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        return "empty (0 bytes)", "copy or download it again"
    if start.startswith(LFS_START.encode()):
        wanted = next((line.split()[1].decode() for line in start.splitlines() if line.startswith(b"size ")), "")
        whole = f" for a file of {int(wanted):,} bytes" if wanted.isdigit() and len(wanted) < 16 else ""
        return f"a Git LFS pointer{whole}", LFS_REMEDY
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page (HTML)", "download the file itself: the page was saved in its place"
    return None


def _zip(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:1000]
    except (OSError, zipfile.BadZipFile):
        return "the first part of a zip or .pth file", "copy or download it again"
    if any(name.endswith("data.pkl") for name in names):
        return "a file of torch.save", CONVERT
    if any(name.endswith((".npy", ".npz")) for name in names):
        return "NumPy arrays", "name the weights"
    return "a zip archive", "unpack it first"


def _safetensors(start: bytes, size: int) -> tuple[str, str]:
    length = int.from_bytes(start[:8], "little")
    if length > size - 8:
        return f"the first {size:,} bytes of a safetensors file", "copy or download it again"
    return (
        "a safetensors file of another name, a damaged one or a part of one",
        "name it .safetensors, or copy it again",
    )


def _text(start: bytes) -> tuple[str, str]:
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<?xml") and b"<error" in head:
        return "a server's error message (XML)", "download the file again"
    if head.startswith((b"<?xml", b"<net")):
        return "an XML file", "OpenVINO's networks end in .xml"
    try:
        text = start[:2048].decode("utf-8", errors="ignore" if len(start) > 2048 else "strict")
    except UnicodeDecodeError:
        return "", ""
    if not all(character.isprintable() or character.isspace() for character in text):
        return "", ""
    return ("a JSON file" if _is_json(text) else "a text file"), "name the weights themselves, or download them again"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text.lstrip().startswith(("{", "["))
    return True
