"""Hosts: other networks that take the detector's place, unchanged, with SRAL attached from outside."""

import models.hosts.smp  # noqa: F401 (registers its networks)
from models.hosts.host import Host, build_host, release
from models.hosts.registry import register, run_host_file

__all__ = ["Host", "build_host", "register", "release", "run_host_file"]
