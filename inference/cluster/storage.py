"""Read from folders and object stores by fsspec, and write each file there once.

Credentials are the store's own matter: AWS_* variables and profiles, Google's default credentials, fsspec's settings.
"""

import contextlib
import functools
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference.cluster.addresses import is_url, join, name_of, public, without_scheme
from inference.cluster.retrying import StoreError, patiently, said
from utils.files import new_path
from utils.outputs import check_folder, errors_of_one_item

REQUIREMENTS = "requirements-cluster.txt"
CONNECT_SECONDS, READ_SECONDS = 20, 60
CONNECTIONS = 32
READ_ONLY = ("http", "https")


@functools.cache
def _file_system(scheme: str) -> Any:
    """Return fsspec's file system of a scheme, with bounds on how long a silent server is waited for."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme in ("s3", "s3a"):
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "max_pool_connections": CONNECTIONS,
            "retries": {"max_attempts": 4, "mode": "standard"},
        }  # fmt: skip
    elif scheme in READ_ONLY:
        aiohttp = _module("aiohttp")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        options["client_kwargs"] = {"timeout": timeout}
    fsspec = _module("fsspec")
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise ValueError(f"{scheme}:// needs a package ({said(error)}): pip install -r {REQUIREMENTS}") from error
    except ValueError as error:
        raise ValueError(f"{scheme}://: fsspec has no such storage ({said(error)})") from error


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is not installed: pip install -r {REQUIREMENTS}") from error


def _remote(address: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the URL as that file system takes it."""
    fs = _file_system(address.partition("://")[0].lower())
    return fs, fs._strip_protocol(address)


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """Yield a file on this machine's disk with the content of an address: the file itself, or a copy for the block.

    Raises:
        FileNotFoundError, PermissionError: it is not there, or not for us.
        StoreError: the store does not give it.
    """
    if not is_url(address):
        yield Path(without_scheme(address))
        return
    fs, path = _remote(address)
    with tempfile.TemporaryDirectory(prefix="sral-") as folder:
        copy = Path(folder, name_of(address)[-100:] or "file")
        patiently(lambda: fs.get_file(path, str(copy)), f"{public(address)} cannot be read")
        yield copy


def read(address: str) -> bytes:
    """Return a file's content; errors as `local_copy`."""
    if not is_url(address):
        return Path(without_scheme(address)).read_bytes()
    fs, path = _remote(address)
    content: bytes = patiently(lambda: fs.cat_file(path), f"{public(address)} cannot be read")
    return content


class Folder:
    """A folder, or a prefix of an object store.

    Args:
        address: path or URL.

    Raises:
        ValueError: no such kind of storage, or its package is missing.
    """

    def __init__(self, address: str) -> None:
        self.address = without_scheme(address)
        self.is_local = not is_url(address)
        if not self.is_local:
            _remote(address)

    def __str__(self) -> str:
        return public(self.address)

    def check_writable(self) -> None:
        """Raise an OSError or ValueError if files cannot be written here; nothing is left behind."""
        if self.is_local:
            check_folder(Path(self.address))
        elif self.address.partition("://")[0].lower() in READ_ONLY:
            raise ValueError(f"--output {self}: http takes no files; give a folder, s3://… or gs://…")

    def of(self, name: str) -> str:
        """Return the address of a file of this folder."""
        return join(self.address, name)

    def exists(self, name: str) -> bool:
        """Return whether a file is there; a store is asked, not its cache."""
        if self.is_local:
            return os.path.isfile(self.of(name))
        fs, path = _remote(self.of(name))
        return bool(patiently(lambda: fs.exists(path), f"{public(self.of(name))} cannot be looked for"))

    def names(self, below: str = "") -> Iterator[str]:
        """Yield the names of all files below this folder, or below a part of it, relative to this folder."""
        if self.is_local:
            root = os.path.join(self.address, below)
            for parent, _, files in os.walk(root):
                for file in files:
                    yield os.path.relpath(os.path.join(parent, file), self.address)
            return
        fs, path = _remote(self.of(below).rstrip("/"))
        own = fs._strip_protocol(self.address).rstrip("/")
        try:
            found = patiently(lambda: fs.find(path), f"{self} cannot be listed")
        except FileNotFoundError:
            return
        yield from (file.removeprefix(own).lstrip("/") for file in found)

    def put_new(self, name: str, content: bytes | Path) -> bool:
        """Write a file unless one is there; return whether it was written.

        Args:
            name: relative to this folder.
            content: what to write, or a file of this machine's disk that holds it.

        Raises:
            ValueError: this one file cannot be written (`StoreError` if the store does not take it).
            OSError: no file can be written, as on a full disk.
        """
        if self.is_local:
            return _link_new(Path(self.of(name)), content)
        fs, path = _remote(self.of(name))
        try:
            patiently(lambda: _create(fs, path, content), f"{public(self.of(name))} cannot be written")
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise StoreError(
                f"{public(self.of(name))} cannot be written: {said(error)}: is the bucket there?"
            ) from error
        return True

    def remove(self, below: str) -> None:
        """Remove all files below a part of this folder."""
        for name in list(self.names(below)):
            if self.is_local:
                Path(self.of(name)).unlink(missing_ok=True)
            else:
                fs, path = _remote(self.of(name))
                patiently(functools.partial(_unlink, fs, path), f"{public(self.of(name))} cannot be removed")
        if self.is_local:
            for parent, _, _ in sorted(os.walk(os.path.join(self.address, below)), reverse=True):
                os.rmdir(parent)
            with contextlib.suppress(OSError):  # the folder above holds something else
                os.rmdir(os.path.dirname(os.path.join(self.address, below)))


def _link_new(path: Path, content: bytes | Path) -> bool:
    """Write a file of this machine's disks unless one is there; return whether it was written."""
    with errors_of_one_item(path):
        try:
            with new_path(path) as temporary:
                if isinstance(content, Path):
                    shutil.copyfile(content, temporary)
                else:
                    temporary.write_bytes(content)
        except FileExistsError:
            return False
    return True


def _create(fs: Any, path: str, content: bytes | Path) -> None:
    """Write a file of a store on the condition that none is there (If-None-Match, or the store's own word for it)."""
    if isinstance(content, Path):
        fs.put_file(str(content), path, mode="create")
    else:
        fs.pipe_file(path, content, mode="create")


def _unlink(fs: Any, path: str) -> None:
    try:
        fs.rm_file(path)
    except FileNotFoundError:
        return
