"""Addresses of files: paths, and URLs such as s3://bucket/name.png, which may hold credentials."""

import os
import re
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_IN_TEXT = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^\s/@'\"]*@)?([^\s?'\"]*)(\?[^\s'\")]*)?", re.IGNORECASE)


def is_url(address: str) -> bool:
    """Return whether an address is a URL, not a path; file:// counts as a path."""
    return bool(_URL.match(address)) and not address.startswith("file://")


def without_scheme(address: str) -> str:
    """Return the path of a file:// address; any other address as it is."""
    return address.removeprefix("file://")


def public(address: str) -> str:
    """Return an address without user, password, query and fragment: what may be printed."""
    if not is_url(address):
        return address
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_secrets(text: str) -> str:
    """Return a text whose URLs have no user, password or query: signatures stand there."""
    return _IN_TEXT.sub(lambda found: found[1] + found[2], text)


def join(root: str, name: str) -> str:
    """Return the address of a file below a folder or prefix."""
    return f"{root.rstrip('/')}/{name}" if is_url(root) else os.path.join(root, name)


def suffix_of(address: str) -> str:
    """Return the suffix of an address's last part, in lower case, such as '.png'."""
    path = urlsplit(address).path if is_url(address) else address
    return os.path.splitext(path)[1].lower()


def name_of(address: str) -> str:
    """Return the last part of an address."""
    return (urlsplit(address).path if is_url(address) else address).rstrip("/").rpartition("/")[2]
