"""Whether a server can be reached, known within seconds: download libraries try for a minute before they say so."""

import socket
import threading
import urllib.request
from urllib.parse import urlsplit

PATIENCE = 4.0
"""Seconds."""


def can_reach(url: str, seconds: float = PATIENCE) -> bool:
    """Return whether the server of an https URL, or the proxy that the environment names for it, takes connections."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 443
    proxy = urllib.request.getproxies().get("https")
    if proxy and not urllib.request.proxy_bypass(host):
        place = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        host, port = place.hostname or "", place.port or 80
    reached = threading.Event()

    def connect() -> None:  # in a thread: no timeout holds for the look-up of a name
        try:
            socket.create_connection((host, port), seconds).close()
            reached.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return reached.is_set()
