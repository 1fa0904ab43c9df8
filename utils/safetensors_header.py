"""A check that safetensors itself leaves out: a header that cannot be as long as it says."""

from pathlib import Path

from safetensors import SafetensorError

HEADER_LIMIT = 8 << 20
"""Bytes of a file's header: names and shapes of a hundred thousand tensors."""


def check_safetensors_header(path: Path) -> None:
    """Raise a SafetensorError where a file's header would reach beyond its end, or is over HEADER_LIMIT."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(HEADER_LIMIT, path.stat().st_size - 8):
        raise SafetensorError(f"its header would have {length:,} bytes")
