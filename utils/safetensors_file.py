"""Open safetensors files that may be untrusted, and write them atomically."""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from utils.files import atomic_path

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


def save_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text by name to a file, atomically.

    Raises:
        WriteError: the file cannot be written; an older file of that name is intact.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, dict(metadata))
        except SafetensorError as error:  # which is not an OSError
            code = re.search(r"(?:os error|code:) (\d+)", str(error))
            number = int(code[1]) if code else errno.EIO
            raise OSError(number, os.strerror(number) if code else str(error)) from error
