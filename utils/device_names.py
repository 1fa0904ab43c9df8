"""Names of devices, as commands, configurations and entry points take them; torch, slow to import, is not needed."""

import re

DEVICE_NAMES = "auto, cpu, cuda, cuda:N or mps"


def check_device_name(name: str) -> str:
    """Return the name of a device.

    Raises:
        ValueError: there is no device of such a name on any machine.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", name):
        raise ValueError(f"device {name!r}: choose {DEVICE_NAMES}")
    return name
