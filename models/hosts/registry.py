"""Networks that may stand in the detector's place, by name: how each is built, and where its features are taken."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from models.config import DetectorConfig
from utils.text import one_line

Builder = Callable[[DetectorConfig, bool], nn.Module]


@dataclass(frozen=True)
class HostKind:
    """A network that SRAL can be attached to. Places are named as `models.config.HostConfig` says.

    Attributes:
        build: from a configuration, and whether its encoder should start from weights that it can download by itself,
            to the network: B×3×H×W normalized RGB to logits B×1 at any size, alone or among other outputs.
        shallow: the place of a feature at stride 4 or near it.
        context: the place of a deep feature.
        logits: what to take of the network's outputs, as '[0]' or '[out]'; empty where it gives the logits alone.
        coarse: places of decoded features for deep supervision, finest first.
        encoder: name of the module whose weights are pre-trained: it has a learning rate of its own, and
            `encoder_weights` fills it; None where there is none.
    """

    build: Builder
    shallow: str
    context: str
    logits: str = ""
    coarse: tuple[str, ...] = ()
    encoder: str | None = None


KINDS: dict[str, HostKind] = {}


def register(name: str, **places: Any) -> Callable[[Builder], Builder]:
    """Make a network of one's own known under a name; decorates the function that builds it.

    Args:
        name: for `detector.host.network`.
        places: `shallow`, `context` and, where they are not as usual, `logits`, `coarse` and `encoder`, as HostKind has
            them.

    Raises:
        TypeError: a place is missing, or there is none of that name.
    """

    def registered(build: Builder) -> Builder:
        KINDS[name] = HostKind(build, **places)
        return build

    return registered


def run_host_file(path: Path | str) -> list[str]:
    """Run a Python file that registers networks, and give their names.

    This is for a file that the user names. No weights file and no configuration in one leads here.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be run, or it registers nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"host file {path}: no such file")
    before = dict(KINDS)
    spec = importlib.util.spec_from_file_location(f"host_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"host file {path}: not a Python file, whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look a class's module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is the user's code
        raise ValueError(f"host file {path}: {type(error).__name__}: {one_line(error)}") from error
    names = [name for name, kind in KINDS.items() if before.get(name) is not kind]
    if not names:
        raise ValueError(f"host file {path} registers no network: put @models.hosts.register(NAME, …) on its builder")
    return names


def find_kind(name: str) -> HostKind:
    """The network of that name. Raises ValueError where there is none."""
    if name not in KINDS:
        raise ValueError(
            f"host {name!r} is none of {', '.join(KINDS)}; if it is a network of your own, name the Python file that "
            "registers it: host_file"
        )
    return KINDS[name]
