"""Weights files: safetensors that carry their network's configuration, so that a file alone rebuilds its network."""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.config import DetectorConfig, SRALConfig, check_config, detector_config, from_dict, without_sizes
from models.detector import Detector, build_detector
from models.hosts import Host
from models.sral import SRAL, build_sral
from models.vit import for_grid
from utils.safetensors_header import check_safetensors_header
from utils.text import one_line

LIGHT = Path(__file__).resolve().parent.parent / "weights" / "lite2_eorssd.safetensors"
"""The light network that comes with the repository: what makes maps where no weights are named."""
DETECTOR_PREFIX = "detector."
ADDED = {"tokens": "detector.encoder.tokens.", "refined": "detector.tsdd.blocks.?.refine."}
"""Parts that add nothing at first, so that a detector may have them where the file that it starts from has not; and how
the names of their tensors begin."""

# What a file from a stranger may hold.
METADATA_LIMIT = 1 << 20
"""Characters of the configuration, and of what the file says about itself."""
DEPTH_LIMIT = 32
"""Levels of lists and dicts within each other there."""
TABLES_LIMIT = 256 << 20
"""Bytes of a network's tables that no file holds (positions in windows…), beside twice the file's size."""
FLOATS, WHOLE = ("F16", "BF16", "F32", "F64"), ("I64", "I32", "BOOL")
"""Types of tensors for parameters and statistics, and for counters and indices."""

Network = TypeVar("Network", bound=nn.Module)


def save_weights(path: Path | str, network: SRAL | Detector | Host, about: Mapping[str, Any] | None = None) -> None:
    """Write a network's parameters and buffers, whole or not at all.

    Args:
        path: a .safetensors file; replaced if it is there.
        network: the training network (kind 'training') or the inference network (kind 'inference').
        about: what else the file should say of itself, as JSON values: command, epoch, scores…
    """
    metadata = {
        "format": "sral",
        "kind": "training" if isinstance(network, SRAL) else "inference",
        "config": json.dumps(dataclasses.asdict(network.config)),
        "about": json.dumps(dict(about or {})),
    }
    _save(Path(path), network, metadata)


def save_bare(path: Path | str, network: nn.Module, about: Mapping[str, Any] | None = None) -> None:
    """Write a network's own state dict, whole or not at all: `network.load_state_dict(load_file(path))` reads it.

    Args:
        path: a .safetensors file; replaced if it is there.
        network: any, such as what `models.hosts.release` gives.
        about: as `save_weights` has it.
    """
    _save(Path(path), network, {"format": "pt", "about": json.dumps(dict(about or {}))})


def _save(path: Path, network: nn.Module, metadata: dict[str, str]) -> None:
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(state, temporary, metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a weights file without building anything.

    Returns:
        The state dict, and what `read_header` gives.

    Raises:
        FileNotFoundError, ValueError: as `read_header`.
    """
    path = Path(path)
    with _opened(path) as file:
        header = _read_metadata(path, file.metadata() or {})
        return {key: file.get_tensor(key) for key in file.keys()}, header  # noqa: SIM118 (not a dict)


def read_header(path: Path | str) -> dict[str, Any]:
    """Read what a weights file says about itself, and none of its tensors.

    Returns:
        `kind` ('training' or 'inference'), `config` (a DetectorConfig or SRALConfig) and `about`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not one of our weights files.
    """
    path = Path(path)
    with _opened(path) as file:
        metadata = file.metadata() or {}
    return _read_metadata(path, metadata)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"weights {path}: no such file")
    try:
        check_safetensors_header(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"weights {path}: not a safetensors file ({one_line(error)}); "
            "the authors' .pth files are converted by `python -m tools.convert_released IN.pth OUT.safetensors`"
        ) from error


def _read_metadata(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if metadata.get("format") != "sral" or metadata.get("kind") not in ("training", "inference"):
        raise ValueError(f"weights {path}: a safetensors file, but not one of ours: its metadata name no network")
    config_class = SRALConfig if metadata["kind"] == "training" else DetectorConfig
    try:
        config = from_dict(config_class, _parsed(metadata["config"]))
        check_config(config)
        about = _parsed(metadata.get("about", "{}"))
    except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"weights {path}: its configuration cannot be read ({one_line(error)})") from error
    return {"kind": metadata["kind"], "config": config, "about": about}


def _parsed(text: str) -> dict[str, Any]:
    """Named values from JSON that is neither long nor deeply nested."""
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


def load_detector(path: Path | str) -> Detector | Host:
    """Rebuild the inference network of a weights file, in eval mode on the CPU; training branches are never built.

    Where that is a network of the user's own, the Python file that registers it has to have been run before
    (`models.hosts.run_host_file`): a weights file names no code.

    Raises:
        FileNotFoundError, ValueError: as `read_header`, or its tensors are not its configuration's.
    """
    path = Path(path)
    with _opened(path) as file:
        header = _read_metadata(path, file.metadata() or {})
        training = header["kind"] == "training"
        config = detector_config(header["config"])
        return _rebuilt(file, lambda: build_detector(config), DETECTOR_PREFIX if training else "", path).eval()


def load_sral(path: Path | str) -> SRAL:
    """Rebuild the training network of a weights file, in training mode on the CPU.

    Raises:
        FileNotFoundError, ValueError: as `load_detector`, or the file holds the inference network only.
    """
    path = Path(path)
    with _opened(path) as file:
        header = _read_metadata(path, file.metadata() or {})
        if header["kind"] != "training":
            raise ValueError(
                f"weights {path}: holds the inference network only; training needs the file of a training run"
            )
        return _rebuilt(file, lambda: build_sral(header["config"]), "", path).train()


def start_from(path: Path | str, network: SRAL) -> list[str]:
    """Fill a training network with a weights file's values: to train it further, on other data or at another size.

    Args:
        path: of a training run or of an inference network, whose configuration is the detector's but for `input_size`,
            `encoder_size`, `drop_path` and the grid of its `tokens`; it may also lack those and be not `refined`.
        network: what is filled: its detector, and each training branch that the file has in the same shapes.

    Returns:
        The names of the parts that stay as they were.

    Raises:
        FileNotFoundError, ValueError: as `read_header`; or the file's detector is another one: what differs is named.
    """
    state, header = read_weights(path)
    where, training = f"weights {path}", header["kind"] == "training"
    ours, theirs = network.config.detector, detector_config(header["config"])
    anew = [name for name in ADDED if getattr(ours, name) and not getattr(theirs, name)]
    _check_same(dataclasses.replace(ours, **{name: getattr(theirs, name) for name in anew}), theirs, where)
    if not training:
        state = {DETECTOR_PREFIX + key: value for key, value in state.items()}
    for name in anew:
        state |= {key: value for key, value in network.state_dict().items() if fnmatch(key, f"{ADDED[name]}*")}
    for name, part in network.named_children():
        inside = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        if name == "detector":
            fill(part, for_grid(inside, theirs.tokens, ours.tokens), where)
        elif _shapes(inside) == _shapes(part.state_dict()):
            fill(part, inside, where)
        elif part.state_dict():
            anew.append(name)
    return anew


def holds_tokens(path: Path | str) -> bool:
    """Whether the network of a weights file has tokens. Raises as `read_header`."""
    return detector_config(read_header(path)["config"]).tokens is not None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _check_same(ours: DetectorConfig, theirs: DetectorConfig, where: str) -> None:
    """Raise a ValueError that names what two detectors' configurations, sizes apart, differ in."""
    one, other = without_sizes(ours), without_sizes(theirs)
    keys = [each.name for each in dataclasses.fields(ours) if getattr(one, each.name) != getattr(other, each.name)]
    ours, theirs = dataclasses.asdict(ours), dataclasses.asdict(theirs)
    differ = [f"detector.{key} {theirs[key]}, not {ours[key]}" for key in keys]
    if differ:
        raise ValueError(f"{where}: another network, with {'; '.join(differ)}: set them so in the configuration")


def _rebuilt(file: Any, build: Callable[[], Network], prefix: str, path: Path) -> Network:
    """The network that `build` gives, filled with the file's tensors whose names start with `prefix`.

    What the configuration asks for is built without memory first, and compared with the file: it has to hold it all.
    """
    where = f"weights {path}"
    slices = {key: file.get_slice(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118 (not a dict)
    try:
        with torch.device("meta"):
            outline = build()
    except Exception as error:  # timm has no one error of its own for a network that cannot be built
        reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{where}: its network cannot be built ({one_line(reason)})") from error
    check_fit(outline, {key.removeprefix(prefix): tuple(of.get_shape()) for key, of in slices.items()}, where)
    for key, tensor in outline.state_dict().items():
        dtype = slices[prefix + key].get_dtype()
        if dtype not in (FLOATS if tensor.is_floating_point() else WHOLE):
            raise ValueError(f"{where}: {key} is of the type {dtype}")
    memory, size = sum(t.nbytes for t in itertools.chain(outline.parameters(), outline.buffers())), path.stat().st_size
    if memory > 2 * size + TABLES_LIMIT:
        raise ValueError(f"{where}: its network would take {memory:,} bytes, the file has {size:,}")
    return fill(build(), {key.removeprefix(prefix): file.get_tensor(key) for key in slices}, where)


def fill(network: Network, state: Mapping[str, Tensor], where: str, names: Mapping[str, str] | None = None) -> Network:
    """Load a state dict that must hold all of the network's parameters and buffers, and nothing else.

    Args:
        network: what to fill; returned.
        state: the tensors.
        where: what to call `state` in an error.
        names: the name in `state` of each of the network's tensors, where they differ.

    Raises:
        ValueError: as `check_fit`.
    """
    check_fit(network, _shapes(state), where, names)
    network.load_state_dict({key: state[(names or {}).get(key, key)] for key in network.state_dict()})
    return network


def check_fit(
    network: nn.Module, shapes: Mapping[str, tuple[int, ...]], where: str, names: Mapping[str, str] | None = None
) -> None:
    """Raise a ValueError where tensors of these names and shapes are not all of a network's, and nothing else.

    Args:
        network: may be on the `meta` device.
        shapes: of the tensors that are to fill it.
        where: what to call them in the error, which names what is missing, extra or misshapen.
        names: their name for each of the network's tensors, where they differ.
    """
    wanted = {(names or {}).get(key, key): tuple(value.shape) for key, value in network.state_dict().items()}
    problems = [f"missing {name}" for name in wanted if name not in shapes]
    problems += [f"extra {one_line(name, 100)}" for name in shapes if name not in wanted]
    problems += [
        f"misshapen {name}: {shapes[name]}, expected {shape}"
        for name, shape in wanted.items()
        if name in shapes and shapes[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{where}: does not fit the network: {'; '.join(problems[:8])}{more}")
