"""Checkpoints: all that a run needs to go on as if it had never stopped, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

import torch

from training.settings import Settings, differences, plain
from training.whole_file import whole_file

NAME = "checkpoint.pt"


def save_checkpoint(folder: Path, settings: Settings, parts: dict[str, Any], progress: dict[str, Any]) -> None:
    """Write RUN/checkpoint.pt.

    Args:
        folder: the run's folder.
        settings: recorded, so that a resumed run is the same run.
        parts: what has a state_dict: network, optimiser, schedule…; None is left out.
        progress: plain values: the epochs done, the best score.
    """
    content = {
        "settings": json.dumps(plain(settings)),
        "progress": json.dumps(progress),
        "parts": {name: part.state_dict() for name, part in parts.items() if part is not None},
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with whole_file(folder / NAME) as file:
        torch.save(content, file)


def load_checkpoint(folder: Path, settings: Settings, parts: dict[str, Any]) -> dict[str, Any]:
    """Put every part and the random states back where RUN/checkpoint.pt left them.

    Returns:
        The progress that was saved.

    Raises:
        ValueError: the file cannot be read, or it is of a run with other settings: what differs is named.
    """
    path = folder / NAME
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        recorded, progress = json.loads(content["settings"]), json.loads(content["progress"])
    except Exception as error:  # torch.load has no one error of its own: pickle's, zipfile's, RuntimeError, EOFError…
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    changed = differences(settings, recorded)
    if changed:
        raise ValueError(f"{path} is of a run with other settings: {'; '.join(changed)}; choose another --output")
    for name, part in parts.items():
        if part is not None:
            part.load_state_dict(content["parts"][name])
    torch.set_rng_state(content["random"])
    if content["random_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(content["random_cuda"])
    return progress
