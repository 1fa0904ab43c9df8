"""The registry of hosts: how each network is built, and which of its features are read."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from models.config import DetectorConfig
from models.own_encoders import OWN_ENCODERS
from utils.text import one_line

Builder = Callable[[DetectorConfig, bool], nn.Module]


@dataclass(frozen=True)
class HostKind:
    """A network that SRAL can be attached to. `models.config.HostConfig` says how places are named.

    Attributes:
        build: builds the network from a configuration and a flag: whether to download pre-trained encoder weights. The
            network maps B×3×H×W normalized RGB to logits B×1 at any size, alone or among other outputs.
        shallow: the place of a feature at about stride 4.
        context: the place of a deep feature.
        logits: where the logits are among the network's outputs, as '[0]' or '[out]'; empty: they are the output.
        coarse: places of decoded features for deep supervision, finest first.
        encoder: name of the pre-trained module, which has its own learning rate and is filled by `encoder_weights`;
            None: there is none.
    """

    build: Builder
    shallow: str
    context: str
    logits: str = ""
    coarse: tuple[str, ...] = ()
    encoder: str | None = None


KINDS: dict[str, HostKind] = {}


def register(name: str, **places: Any) -> Callable[[Builder], Builder]:
    """Register your own network under a name; decorates the function that builds it.

    Args:
        name: for `detector.host.network`.
        places: `shallow` and `context`, and `logits`, `coarse` and `encoder` where their defaults do not fit; see
            HostKind.

    Raises:
        TypeError: a required place is missing, or a name is unknown.
    """

    def registered(build: Builder) -> Builder:
        KINDS[name] = HostKind(build, **places)
        return build

    return registered


def run_host_file(path: Path | str) -> list[str]:
    """Run a Python file that registers networks or encoders, and return their names.

    Only a file that the user names is run: never one that a weights file names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it fails, or it registers nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"host file {path}: no such file")
    before = {**KINDS, **OWN_ENCODERS}
    spec = importlib.util.spec_from_file_location(f"host_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"host file {path}: not a Python file, whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look a class's module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is the user's code
        raise ValueError(f"host file {path}: {type(error).__name__}: {one_line(error)}") from error
    names = [name for name, kind in {**KINDS, **OWN_ENCODERS}.items() if before.get(name) is not kind]
    if not names:
        raise ValueError(
            f"host file {path} registers no network: put @models.hosts.register(NAME, …) on its builder, or "
            "@models.own_encoders.register_encoder(NAME, …) on an encoder's"
        )
    return names


def find_kind(name: str) -> HostKind:
    """Return the registered network of that name. Raises ValueError if there is none."""
    if name not in KINDS:
        raise ValueError(
            f"host {name!r} is none of {', '.join(KINDS)}; if it is a network of your own, name the Python file that "
            "registers it: host_file"
        )
    return KINDS[name]
