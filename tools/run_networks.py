"""Find and open the networks of a training run: its configuration, checkpoints and weights files."""

from pathlib import Path

import yaml

from models.hosts import run_host_file
from models.sral import SRAL, build_sral
from models.state import fill
from models.weights import load_sral, read_header
from training.checkpoint import FOLDER, checkpoints, read_network
from training.config import TrainingConfig, from_record


def read_config(run: Path) -> TrainingConfig:
    """Return the configuration of a run. Raise a FileNotFoundError or ValueError if the folder holds none."""
    path = run / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no run's folder: there is no {path}")
    try:
        return from_record(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except (TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def find_networks(run: Path) -> list[Path]:
    """Return a run's checkpoints, oldest first, and its best weights."""
    return [*reversed(checkpoints(run)), *[path for path in [run / "best.safetensors"] if path.is_file()]]


def open_run(run: Path, weights: list[Path] | None, host_file: Path | None) -> tuple[TrainingConfig, list[Path]]:
    """Return a run's configuration and the files to examine: `weights`, or else the run's own.

    Raises:
        FileNotFoundError, ValueError: no such run, or it has no weights yet; or as `run_host_file`.
    """
    if host_file:
        run_host_file(host_file)
    config, files = read_config(run), weights or find_networks(run)
    if not files:
        raise ValueError(f"{run} has neither checkpoints nor best.safetensors")
    return config, files


def load_checkpoint_network(path: Path) -> tuple[TrainingConfig, SRAL]:
    """Return a checkpoint's configuration and the training network whose weights the run would write at that step.

    Raises:
        FileNotFoundError, ValueError: it cannot be read.
    """
    recorded, state = read_network(path)
    config = from_record(recorded, str(path))
    return config, fill(build_sral(config.network()), state, str(path))


def load_network(path: Path) -> tuple[str, SRAL]:
    """Return a caption and the training network, in eval mode, of a weights file or a checkpoint.

    Raises:
        FileNotFoundError, ValueError: the file cannot be read, or its network has no SR branch.
    """
    if path.parent.name == FOLDER:
        caption, network = f"step {int(path.stem.removeprefix('step_'))}", load_checkpoint_network(path)[1]
    else:
        network = load_sral(path)
        epoch = read_header(path)["about"].get("epoch")
        caption = path.stem if epoch is None else f"{path.stem}, epoch {epoch}"
    if network.asrd is None:
        raise ValueError(f"{path}: its network has no SR branch")
    return caption, network.eval()
