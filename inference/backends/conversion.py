"""Convert a weights file for other runtimes once: the ONNX graph is kept in the user's cache.

The conversion builds the network and traces it, which takes 5 to 20 seconds. A cached graph is read in a tenth of a
second, without timm and without building the network.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from utils.file_kind import refuse_no_content
from utils.files import WriteError, atomic_write
from utils.user_cache import cache_folder, find_cached, remove_unused

if TYPE_CHECKING:
    from models.detector import Detector
    from models.hosts import Host

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("models", "inference/fold.py", "inference/batchnorm.py", "inference/export/graph.py")
"""Code that determines the graph."""
PACKAGES = ("torch", "timm", "onnx", "onnxscript")
"""Packages that determine it."""


def converted(weights: Path, requirements: str) -> "Path | bytes | Detector | Host":
    """Return a weights file's graph: a file in the cache, the ONNX bytes where nothing can be kept, or its network.

    A network of the user's own depends on code that is not ours, so it is never cached: it is returned as it is.

    Args:
        weights: a .safetensors file.
        requirements: requirements file to name if a package is missing.

    Raises:
        FileNotFoundError, ValueError: as `load_detector` and `onnx_graph`.
    """
    if found := find_converted(weights):
        return found
    from inference.export.graph import onnx_graph
    from inference.export.header import Header
    from models.hosts import Host
    from models.weights import load_detector

    detector = load_detector(weights)
    if isinstance(detector, Host):
        return detector
    graph = onnx_graph(detector, any_size=False, requirements=requirements)
    header = replace(Header.of(detector.config, any_size=False), weights_sha256=file_sha256(weights))
    for name, text in header.as_text().items():
        graph.metadata_props.add(key=name, value=text)
    content: bytes = graph.SerializeToString()
    if (folder := _folder()) is None:
        return content
    path = folder / _name(weights)
    try:
        atomic_write(path, content)
    except WriteError:  # a full or read-only disk: the cache is a convenience
        return content
    remove_unused(folder)
    return path


def find_converted(weights: Path) -> Path | None:
    """Return the graph of a weights file in the cache, or None; raise errors as `refuse_no_content` does."""
    refuse_no_content(weights)
    folder = _folder()
    return find_cached(folder, _name(weights)) if folder and folder.is_dir() else None


def forget_converted(weights: Path) -> None:
    """Remove the graph of a weights file from the cache, such as one that cannot be read."""
    if found := find_converted(weights):
        with suppress(OSError):
            found.unlink()


def file_sha256(path: Path) -> str:
    """Return a file's hash, 64 hexadecimal digits."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder() -> Path | None:
    return cache_folder("networks")


def _name(weights: Path) -> str:
    """Return the name of a weights file's graph: whatever would change the graph changes the name."""
    digest = hashlib.sha256(f"{file_sha256(weights)} {_environment()}".encode())
    return f"{weights.stem[:60]}-{digest.hexdigest()[:24]}.onnx"


@cache
def _environment() -> str:
    """Return the hash of the code and the versions of the packages that determine a graph."""
    digest = hashlib.sha256()
    for source in _sources():
        digest.update(source.read_bytes())
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for source in SOURCES:
        path = ROOT / source
        yield from sorted(path.rglob("*.py")) if path.is_dir() else (path,)
