"""Open safetensors files that may be untrusted."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

HEADER_LIMIT = 8 << 20
"""Bytes of a file's header: names and shapes of about 70,000 tensors. Parsed, a header takes several times its size."""


def open_safetensors(path: Path) -> safe_open:
    """Return the file for a `with` statement, as `safetensors.safe_open` does.

    Raises:
        FileNotFoundError: no such file.
        SafetensorError: not a safetensors file, or its header is over HEADER_LIMIT or reaches beyond the file's end,
            which safetensors itself would allocate before it checks.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(HEADER_LIMIT, path.stat().st_size - 8):
        raise SafetensorError(f"its header would have {length:,} bytes")
    return safe_open(path, framework="pt")
