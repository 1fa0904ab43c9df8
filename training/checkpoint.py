"""Checkpoints: everything that a run needs to continue exactly, written atomically.

A checkpoint is a safetensors file of tensors with JSON in its metadata. It cannot run code, and it cannot claim more
memory than the file has bytes, so that an untrusted checkpoint is safe to read.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from training.config import TrainingConfig, differences, is_longer, plain, refuse_old_keys
from training.distributed import restore_random_state
from utils.safetensors_file import save_safetensors
from utils.text import one_line
from utils.unfinished import remove_unfinished

FOLDER = "checkpoints"
SUFFIX = ".safetensors"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: complete epochs.
        step: steps done of the next epoch.
        steps_per_epoch: steps of an epoch.
        sums: that epoch's sums of the loss terms so far.
        epoch_seconds: that epoch's training time so far.
        seconds: training time of the complete epochs.
        best: figures of the best epoch, and its number as `epoch`.
        start: figures of the weights that a fine-tuning started from.
        precision: what the run computes in.
    """

    epoch: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    best: dict[str, Any] | None = None
    precision: str = ""
    start: dict[str, float] | None = None

    @property
    def steps_done(self) -> int:
        """Steps done in all."""
        return self.epoch * self.steps_per_epoch + self.step


def save_checkpoint(
    run: Path,
    settings: TrainingConfig,
    parts: dict[str, Any],
    progress: Progress,
    random_states: list[dict[str, Any]],
    keep: int,
) -> None:
    """Write RUN/checkpoints/step_NNNNNNNN.safetensors, then remove all but the newest `keep`.

    Args:
        run: the run's folder.
        settings: recorded, so that a resumed run is the same run.
        parts: objects with a state_dict: network, ema, optimizer, schedule, scaler; None is left out.
        progress: where the run stands.
        random_states: of every process, by rank (`training.distributed.gather_random_states`).
        keep: checkpoints to keep, at least 1.

    Raises:
        OSError: it cannot be written; the older checkpoints are intact.
    """
    state = {
        "settings": plain(settings),
        "progress": asdict(progress),
        "parts": {name: part.state_dict() for name, part in parts.items() if part is not None},
        "random": random_states,
    }
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_without_tensors(state, tensors))
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    name = f"step_{progress.steps_done:08}{SUFFIX}"
    save_safetensors(folder / name, tensors, {"format": "sral checkpoint", "tree": tree})
    found = checkpoints(run)
    stale = [old for old in found if old.name > name]  # damaged, or counted in steps of another batch size
    for old in [*stale, *found[len(stale) + keep :]]:
        old.unlink()


def checkpoints(run: Path) -> list[Path]:
    """Return a run's checkpoints, the newest first."""
    return sorted((run / FOLDER).glob(f"step_*{SUFFIX}"), reverse=True)


def load_checkpoint(
    run: Path, settings: TrainingConfig, parts: dict[str, Any], accelerator: Accelerator, force: bool = False
) -> tuple[Progress, bool]:
    """Restore every part, and this process's random state, from the newest checkpoint that can be read.

    A damaged checkpoint is skipped with a warning: the one before it leads to the same weights.

    Args:
        run: the run's folder; it has a checkpoint.
        settings: the settings of the run that continues.
        parts: as given to `save_checkpoint`.
        accelerator: knows which process this is.
        force: accept changed settings, with a warning that names them. More epochs are accepted without it.

    Returns:
        Where the run stood, and whether its settings have changed.

    Raises:
        ValueError: no checkpoint can be read, settings have changed, or it does not fit the network.
    """
    path, state = _newest(run)
    _refuse_older_version(path, state["settings"])
    changed = differences(settings, state["settings"])
    longer = is_longer(settings, state["settings"])
    if changed and not force and not longer:
        raise ValueError(
            f"{path} is of a run with other settings: {'; '.join(changed)}; --force goes on with them all the same, "
            "another --output starts a new run"
        )
    if longer:
        warnings.warn(
            f"{changed[0]}: from here on the learning rate is that of a run of {settings.epochs} epochs", stacklevel=2
        )
    elif changed:
        warnings.warn(f"going on with other settings than {path}: {'; '.join(changed)}", stacklevel=2)
    try:
        for name, part in parts.items():
            if part is not None:
                part.load_state_dict(state["parts"][name])
                if isinstance(part, Optimizer):
                    _check_optimizer(part)
        restore_random_state(state["random"], accelerator)
        return Progress(**state["progress"]), bool(changed)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit this run's network or optimizer: {one_line(error)}") from error


def read_network(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings of a checkpoint's run, and the state dict that the run would write as weights.

    These are the EMA's weights if there is an EMA.

    Raises:
        FileNotFoundError, ValueError: the file does not exist, or is no readable checkpoint of this version.
    """
    state = _read(path)
    _refuse_older_version(path, state["settings"])
    try:
        if ema := state["parts"].get("ema"):
            weights = {name.removeprefix("module."): value for name, value in ema.items() if name != "_extra_state"}
            return state["settings"], weights
        return state["settings"], state["parts"]["network"]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error


def clear_unfinished(run: Path) -> None:
    """Remove the partial files that a killed run left in its folders."""
    for folder in (run, run / FOLDER):
        remove_unfinished(folder)


def _refuse_older_version(path: Path, settings: dict[str, Any]) -> None:
    remedy = "start a new run from the old one's last.safetensors with --weights"
    refuse_old_keys(settings, f"{path} is of an older version of this program", remedy)


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
        if not {"settings", "progress", "parts", "random"} <= state.keys() or not isinstance(state["settings"], dict):
            raise KeyError("parts")
        return state
    except (SafetensorError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error


def _without_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON: a tensor becomes its name in `tensors`, a dict a list of pairs (keys may be numbers)."""
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
    """Undo `_without_tensors`, memory layouts included: fused optimizers need a weight and its state laid out alike."""
    if isinstance(value, list):
        return [_with_tensors(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = tensors[value["tensor"]]
        return tensor.permute(0, 3, 1, 2) if value["channels_last"] else tensor
    return {key: _with_tensors(each, tensors) for key, each in value["dict"]}


def _check_optimizer(optimizer: Optimizer) -> None:
    """Make the state's layout the weight's, as fused optimizers assume; raise a ValueError for another shape."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and name != "step":
                if value.shape != weight.shape:
                    raise ValueError(f"{name} is {tuple(value.shape)}, its weight {tuple(weight.shape)}")
                if value.stride() != weight.stride():
                    state[name] = torch.empty_like(weight).copy_(value)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold the run folder's lock; the folder is created if missing.

    Raises:
        ValueError: another process trains in it.
        OSError: it cannot be created or written to.
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
