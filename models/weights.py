"""Weights files: safetensors that carry their network's configuration, so that a file alone rebuilds its network."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from models.config import DetectorConfig, SRALConfig, detector_config, from_dict, without_sizes
from models.detector import Detector, build_detector
from models.hosts import Host
from models.shipped import LITE2 as LITE2  # read from here by those who rebuild it
from models.sral import SRAL, build_sral
from models.state import Network, check_fit, fill, resample_positions, shapes
from utils.file_kind import CONVERT, what_it_is
from utils.safetensors_file import open_safetensors, save_safetensors
from utils.text import one_line

DETECTOR_PREFIX = "detector."
OPTIONAL = {"tokens": "detector.encoder.tokens.*", "refined": "detector.tsdd.blocks.?.refine.*"}
"""Zero-initialized parts that a file to start from may lack, and the names of their tensors."""

# Bounds, since a file may be untrusted.
METADATA_LIMIT = 1 << 20
"""Characters of the configuration, and of `about`."""
DEPTH_LIMIT = 32
"""Nested lists and dicts there."""
TABLES_LIMIT = 256 << 20
"""Bytes of tables that no file holds (relative positions in windows…), beside twice the file's size."""
FLOATS, INTEGERS = ("F16", "BF16", "F32", "F64"), ("I64", "I32", "BOOL")
"""Types of tensors for parameters and statistics, and for counters and indices."""


class Header(TypedDict):
    """What a weights file says about itself: `kind` is 'training' or 'inference'."""

    kind: str
    config: DetectorConfig | SRALConfig
    about: dict[str, Any]


def save_weights(path: Path | str, network: SRAL | Detector | Host, about: Mapping[str, Any] | None = None) -> None:
    """Write a network's parameters, buffers and configuration to a weights file, atomically.

    Args:
        path: a .safetensors file; replaced if it exists.
        network: the training network (kind 'training') or the inference network (kind 'inference').
        about: what else to record, as JSON values: command, epoch, scores…

    Raises:
        utils.files.WriteError: it cannot be written; an older file is intact.
    """
    metadata = {
        "format": "sral",
        "kind": "training" if isinstance(network, SRAL) else "inference",
        "config": json.dumps(dataclasses.asdict(network.config)),
        "about": json.dumps(dict(about or {})),
    }
    _save(Path(path), network, metadata)


def save_bare(path: Path | str, network: nn.Module, about: Mapping[str, Any] | None = None) -> None:
    """Write a network's own state dict, atomically: `network.load_state_dict(load_file(path))` reads it.

    Args:
        path: a .safetensors file; replaced if it exists.
        network: any, such as what `models.hosts.release` returns.
        about: as `save_weights` has it.
    """
    _save(Path(path), network, {"format": "pt", "about": json.dumps(dict(about or {}))})


def _save(path: Path, network: nn.Module, metadata: dict[str, str]) -> None:
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_safetensors(path, state, metadata)


def read_weights(path: Path | str) -> tuple[dict[str, Tensor], Header]:
    """Return the state dict and the header of a weights file. Raises as `read_header`."""
    with _opened(Path(path)) as (file, header):
        return {key: file.get_tensor(key) for key in file.keys()}, header  # noqa: SIM118 (not a dict)


def read_header(path: Path | str) -> Header:
    """Return what a weights file says about itself, without reading its tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not one of our weights files.
    """
    with _opened(Path(path)) as (_, header):
        return header


def holds_tokens(path: Path | str) -> bool:
    """Return whether the network of a weights file has tokens. Raises as `read_header`."""
    return detector_config(read_header(path)["config"]).tokens is not None


def load_detector(path: Path | str) -> Detector | Host:
    """Rebuild the inference network of a weights file, in eval mode on the CPU; training branches are never built.

    A network of the user's own needs its Python file run before (`models.hosts.run_host_file`): a weights file names
    no code.

    Raises:
        FileNotFoundError, ValueError: as `read_header`, or its tensors do not fit its configuration.
    """
    path = Path(path)
    with _opened(path) as (file, header):
        config, prefix = detector_config(header["config"]), DETECTOR_PREFIX if header["kind"] == "training" else ""
        return _rebuilt(file, lambda: build_detector(config), prefix, path).eval()


def load_sral(path: Path | str) -> SRAL:
    """Rebuild the training network of a weights file, in training mode on the CPU.

    Raises:
        FileNotFoundError, ValueError: as `load_detector`, or the file holds the inference network only.
    """
    path = Path(path)
    with _opened(path) as (file, header):
        config = header["config"]
        if not isinstance(config, SRALConfig):
            raise ValueError(
                f"weights {path}: holds the inference network only; training needs the file of a training run"
            )
        return _rebuilt(file, lambda: build_sral(config), "", path).train()


def start_from(path: Path | str, network: SRAL) -> list[str]:
    """Fill a training network from a weights file: to train further, on other data or at another size.

    Args:
        path: of either kind. Its detector's configuration must be the network's, but for `input_size`, `encoder_size`,
            `drop_path` and the grid of `tokens`; it may lack `tokens` and `refined`.
        network: its detector is filled, and each training branch that the file has in the same shapes.

    Returns:
        The names of the parts that are not filled.

    Raises:
        FileNotFoundError, ValueError: as `read_header`; or the file's detector differs: the keys are named.
    """
    state, header = read_weights(path)
    where = f"weights {path}"
    ours, theirs = network.config.detector, detector_config(header["config"])
    unfilled = [name for name in OPTIONAL if getattr(ours, name) and not getattr(theirs, name)]
    _check_same(dataclasses.replace(ours, **{name: getattr(theirs, name) for name in unfilled}), theirs, where)
    if header["kind"] == "inference":
        state = {DETECTOR_PREFIX + key: value for key, value in state.items()}
    for name in unfilled:
        state |= {key: value for key, value in network.state_dict().items() if fnmatch(key, OPTIONAL[name])}
    for name, part in network.named_children():
        inside = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        if name == "detector":
            fill(part, resample_positions(inside, theirs.tokens, ours.tokens), where)
        elif shapes(inside) == shapes(part.state_dict()):
            fill(part, inside, where)
        elif part.state_dict():
            unfilled.append(name)
    return unfilled


def _check_same(ours: DetectorConfig, theirs: DetectorConfig, where: str) -> None:
    """Raise a ValueError that names the keys in which two detectors' configurations, sizes apart, differ."""
    one, other = without_sizes(ours), without_sizes(theirs)
    keys = [each.name for each in dataclasses.fields(ours) if getattr(one, each.name) != getattr(other, each.name)]
    differ = [f"detector.{key} {getattr(theirs, key)}, not {getattr(ours, key)}" for key in keys]
    if differ:
        raise ValueError(f"{where}: another network, with {'; '.join(differ)}: set them so in the configuration")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Header]]:
    """Yield a weights file's open safetensors and its header."""
    if not path.exists():
        raise FileNotFoundError(f"weights {path}: no such file")
    if not path.is_file():
        raise ValueError(f"weights {path}: {': '.join(what_it_is(path))}")
    try:
        with open_safetensors(path) as file:
            yield file, _header(path, file.metadata() or {})
    except SafetensorError as error:
        kind, remedy = what_it_is(path)
        found = f"but {kind}" if kind else f"({one_line(error)})"
        raise ValueError(f"weights {path}: not a safetensors file {found}; {remedy or CONVERT}") from error


def _header(path: Path, metadata: dict[str, str]) -> Header:
    kind = metadata.get("kind", "")
    if metadata.get("format") == "sral checkpoint":
        run = path.resolve().parent.parent
        raise ValueError(
            f"weights {path}: a run's checkpoint, which --resume reads; the run's weights are "
            f"{run}/best.safetensors and {run}/last.safetensors"
        )
    if metadata.get("format") != "sral" or kind not in ("training", "inference"):
        raise ValueError(
            f"weights {path}: a safetensors file, but not one of ours: its metadata name no network; "
            "an encoder's weights are --encoder_weights of train.py"
        )
    kind_of: type[DetectorConfig] | type[SRALConfig] = SRALConfig if kind == "training" else DetectorConfig
    try:
        config = from_dict(kind_of, _parsed(metadata["config"]))
        about = _parsed(metadata.get("about", "{}"))
    except (KeyError, RecursionError, ValueError) as error:
        raise ValueError(f"weights {path}: its configuration cannot be read ({one_line(error)})") from error
    return {"kind": kind, "config": config, "about": about}


def _parsed(text: str) -> dict[str, Any]:
    """Parse named values from JSON of bounded length and depth."""
    if len(text) > METADATA_LIMIT:
        raise ValueError(f"it has {len(text):,} characters, more than {METADATA_LIMIT:,}")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected named values, found {type(found).__name__}")
    level: list[Any] = [found]
    for _ in range(DEPTH_LIMIT):
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [value for values in inside for value in values]
    if level:
        raise ValueError(f"its values are nested more than {DEPTH_LIMIT} deep")
    return found


def _rebuilt(file: Any, build: Callable[[], Network], prefix: str, path: Path) -> Network:
    """Build a network and fill it with the file's tensors whose names start with `prefix`.

    It is built without memory first and compared with the file: no file can ask for more than it holds.
    """
    where = f"weights {path}"
    slices = {key.removeprefix(prefix): file.get_slice(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
    try:
        with torch.device("meta"):
            outline = build()
    except Exception as error:  # timm has no one error of its own for a network that cannot be built
        reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{where}: its network cannot be built ({one_line(reason)})") from error
    check_fit(outline, {key: tuple(of.get_shape()) for key, of in slices.items()}, where)
    for key, tensor in outline.state_dict().items():
        dtype = slices[key].get_dtype()
        if dtype not in (FLOATS if tensor.is_floating_point() else INTEGERS):
            raise ValueError(f"{where}: {key} is of the type {dtype}")
    memory, size = sum(t.nbytes for t in itertools.chain(outline.parameters(), outline.buffers())), path.stat().st_size
    if memory > 2 * size + TABLES_LIMIT:
        raise ValueError(f"{where}: its network would take {memory:,} bytes, the file has {size:,}")
    return fill(build(), {key: file.get_tensor(prefix + key) for key in slices}, where)
