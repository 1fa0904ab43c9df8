"""Weights files: safetensors that carry their network's configuration, so that a file alone rebuilds its network."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.config import DetectorConfig, SRALConfig, from_dict
from models.detector import Detector, build_detector
from models.sral import SRAL, build_sral

DETECTOR_PREFIX = "detector."


def save_weights(path: Path | str, network: SRAL | Detector, about: Mapping[str, Any] | None = None) -> None:
    """Write a network's parameters and buffers, whole or not at all.

    Args:
        path: a .safetensors file; replaced if it is there.
        network: the training network (kind 'training') or the inference network (kind 'inference').
        about: what else the file should say of itself, as JSON values: command, epoch, scores…
    """
    path = Path(path)
    metadata = {
        "format": "sral",
        "kind": "training" if isinstance(network, SRAL) else "inference",
        "config": json.dumps(dataclasses.asdict(network.config)),
        "about": json.dumps(dict(about or {})),
    }
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
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        metadata = file.metadata() or {}
    return state, _read_metadata(path, metadata)


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
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"weights {path}: not a safetensors file ({error}); "
            "the authors' .pth files are converted by `python -m models.released IN.pth OUT.safetensors`"
        ) from error


def _read_metadata(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if metadata.get("format") != "sral" or metadata.get("kind") not in ("training", "inference"):
        raise ValueError(f"weights {path}: a safetensors file, but not one of ours: its metadata name no network")
    config_class = SRALConfig if metadata["kind"] == "training" else DetectorConfig
    try:
        config = from_dict(config_class, json.loads(metadata["config"]))
        about = json.loads(metadata.get("about", "{}"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"weights {path}: its configuration cannot be read ({error})") from error
    return {"kind": metadata["kind"], "config": config, "about": about}


def load_detector(path: Path | str) -> Detector:
    """Rebuild the inference network of a weights file, in eval mode on the CPU; training branches are never built.

    Raises:
        FileNotFoundError, ValueError: as `read_weights`, or its tensors are not its configuration's.
    """
    state, header = read_weights(path)
    if header["kind"] == "training":
        config = header["config"].detector
        state = {k.removeprefix(DETECTOR_PREFIX): v for k, v in state.items() if k.startswith(DETECTOR_PREFIX)}
    else:
        config = header["config"]
    return fill(build_detector(config), state, f"weights {path}").eval()


def load_sral(path: Path | str) -> SRAL:
    """Rebuild the training network of a weights file, in training mode on the CPU.

    Raises:
        FileNotFoundError, ValueError: as `read_weights`, or the file holds the inference network only.
    """
    state, header = read_weights(path)
    if header["kind"] != "training":
        raise ValueError(f"weights {path}: holds the inference network only; training needs the file of a training run")
    return fill(build_sral(header["config"]), state, f"weights {path}").train()


def fill(
    network: nn.Module, state: Mapping[str, Tensor], where: str, names: Mapping[str, str] | None = None
) -> nn.Module:
    """Load a state dict that must hold all of the network's parameters and buffers, and nothing else.

    Args:
        network: what to fill; returned.
        state: the tensors.
        where: what to call `state` in an error.
        names: the name in `state` of each of the network's tensors, where they differ.

    Raises:
        ValueError: naming, as `state` does, what is missing, extra or misshapen.
    """
    wanted = {(names or {}).get(key, key): (key, value) for key, value in network.state_dict().items()}
    problems = [f"missing {name}" for name in wanted if name not in state]
    problems += [f"extra {name}" for name in state if name not in wanted]
    problems += [
        f"misshapen {name}: {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, (_, value) in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{where}: does not fit the network: {'; '.join(problems[:8])}{more}")
    network.load_state_dict({key: state[name] for name, (key, _) in wanted.items()})
    return network
