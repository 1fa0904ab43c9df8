"""Checkpoints: all that a run needs to go on as if it had never stopped, written whole or not at all.

A checkpoint is a safetensors file: tensors, and beside them JSON. Nothing in it can run code or claim more memory than
the file has bytes, so that a stranger's checkpoint is no danger.
"""

import json
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from training.config import TrainingConfig, differences, plain
from utils.files import TEMPORARY, atomic_path

FOLDER = "checkpoints"
SUFFIX = ".safetensors"


def save_checkpoint(
    run: Path, settings: TrainingConfig, parts: dict[str, Any], progress: dict[str, Any], step: int, keep: int
) -> None:
    """Write RUN/checkpoints/step_NNNNNNNN.safetensors, then remove all but the newest `keep`.

    Args:
        run: the run's folder.
        settings: recorded, so that a resumed run is the same run.
        parts: what has a state_dict: network, average, optimizer, schedule, scaler; None is left out.
        progress: JSON values: where in which epoch, sums of the losses, the best score.
        step: steps done in all.
        keep: checkpoints to keep, at least 1.

    Raises:
        OSError: it cannot be written; the older ones are intact.
    """
    state = {
        "settings": plain(settings),
        "progress": progress,
        "parts": {name: part.state_dict() for name, part in parts.items() if part is not None},
        "random": _random_states(),
    }
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_without_tensors(state, tensors))
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    with atomic_path(folder / f"step_{step:08}{SUFFIX}") as path:
        try:
            save_file(tensors, path, {"format": "sral checkpoint", "tree": tree})
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error
    for old in checkpoints(run)[keep:]:
        old.unlink()


def checkpoints(run: Path) -> list[Path]:
    """A run's checkpoints, the newest first."""
    return sorted((run / FOLDER).glob(f"step_*{SUFFIX}"), reverse=True)


def load_checkpoint(run: Path, settings: TrainingConfig, parts: dict[str, Any], force: bool = False) -> dict[str, Any]:
    """Put every part and the random states back where the newest checkpoint left them.

    One that cannot be read is passed over with a warning: from the one before it the run comes to the same weights.

    Args:
        run: the run's folder; it has a checkpoint.
        settings: of the run that goes on.
        parts: as given to `save_checkpoint`.
        force: take a checkpoint of other settings too, with a warning that says what differs.

    Returns:
        The progress that was saved.

    Raises:
        ValueError: none can be read; it is of a run with other settings; or it does not fit the network.
    """
    path, state = _newest(run)
    changed = differences(settings, state["settings"])
    if changed and not force:
        raise ValueError(
            f"{path} is of a run with other settings: {'; '.join(changed)}; --force goes on with them all the same, "
            "another --output starts a new run"
        )
    if changed:
        warnings.warn(f"going on with other settings than {path}: {'; '.join(changed)}", stacklevel=2)
    try:
        for name, part in parts.items():
            if part is not None:
                part.load_state_dict(state["parts"][name])
                if isinstance(part, Optimizer):
                    _check_optimizer(part)
        _set_random_states(state["random"])
        return state["progress"]
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} does not fit this run's network or optimizer: {reason}") from error


def read_network(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What network a checkpoint holds: the settings of its run, and the state dict that the run would write as weights.

    Where there is a moving average of the weights, that is what a run writes.

    Raises:
        FileNotFoundError, ValueError: no such file; it is no readable checkpoint.
    """
    state = _read(path)
    try:
        average = state["parts"].get("average")
        return state["settings"], average["module"] if average else state["parts"]["network"]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error


def clear_unfinished(run: Path) -> None:
    """Remove what a killed run was in the middle of writing."""
    for folder in (run, run / FOLDER):
        for path in folder.glob(TEMPORARY):
            path.unlink()


def _newest(run: Path) -> tuple[Path, dict[str, Any]]:
    problems = []
    for path in checkpoints(run):
        try:
            state = _read(path)
        except (OSError, ValueError) as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"{problem}; going on from {path}", stacklevel=3)
        return path, state
    raise ValueError("; ".join(problems) or f"{run} has no checkpoint")


def _read(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        state = _with_tensors(json.loads(metadata["tree"]), tensors)
        if not {"settings", "progress", "parts", "random"} <= state.keys():
            raise KeyError("parts")
        return state
    except (SafetensorError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error


def _without_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON, in which a tensor is its name in `tensors`, and a dict a list of pairs: keys may be numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        last = value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last) and not value.is_contiguous()
        value = value.detach()
        tensors[name] = (value.permute(0, 2, 3, 1) if last else value).contiguous().cpu()
        return {"tensor": name, "channels_last": last}
    if isinstance(value, dict):
        return {"dict": [[key, _without_tensors(each, tensors)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return [_without_tensors(each, tensors) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _with_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`_without_tensors` undone. Layouts too: fused optimizers walk through a weight and its state side by side."""
    if isinstance(value, list):
        return [_with_tensors(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = tensors[value["tensor"]]
        return tensor.permute(0, 3, 1, 2) if value["channels_last"] else tensor
    return {key: _with_tensors(each, tensors) for key, each in value["dict"]}


def _check_optimizer(optimizer: Optimizer) -> None:
    """Fused optimizers trust that a weight's state has its shape and layout; a checkpoint may say otherwise."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and name != "step":
                if value.shape != weight.shape:
                    raise ValueError(f"{name} is {tuple(value.shape)}, its weight {tuple(weight.shape)}")
                if value.stride() != weight.stride():
                    state[name] = torch.empty_like(weight).copy_(value)


def _random_states() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(numbers), gauss],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
    }


def _set_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made where it is not there, against other processes.

    Raises:
        ValueError: another process trains in it.
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(f"another process is training in {folder}: wait for it, or choose another --output") from error
    try:
        yield
    finally:
        lock.release()
