"""A file is written whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path` under a temporary name in the same folder, then move it into place.

    A reader, or a run cut off half-way, therefore finds either the old file or the new one. The folder is made
    where it does not exist.

    Raises:
        OSError: the folder cannot be made or the file cannot be written; nothing of it is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
