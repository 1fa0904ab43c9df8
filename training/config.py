"""The typed configuration of a training run: every key with its type, meaning and default.

The defaults are the paper's network with this project's choices (see the README's table of where paper and release
differ); files in configs/ say what differs for each recipe.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self

import yaml
from jsonargparse import ArgumentParser, Namespace
from pydantic import (
    AfterValidator,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from models.config import ASRDConfig, DetectorConfig, LossWeights, SRALConfig, TFGMConfig
from training.data_config import DataConfig
from training.list_options import arguments_with_lists, list_keys, with_lists
from training.optimizer_config import OptimizerConfig
from training.run_argument import with_run
from utils.config import STRICT, explained, nearest
from utils.device_names import check_device_name
from utils.text import encodable, one_line, printable, read_text

Device = Annotated[str, AfterValidator(check_device_name)]

RENAMED = {
    "optimiser": "optimizer",
    "optimizer.encoder_lr": "optimizer.encoder_lr_factor",
    "optimizer.token_lr": "optimizer.token_lr_factor",
    "expected": "foreground_prior",
    "teacher": "data.teacher_maps",
}
"""Keys of older configurations and their names now; the old ones are refused, unless they are null: not in use."""

FREE_ON_RESUME = (
    "output", "device", "threads", "checkpoint_minutes", "checkpoints_kept", "weights_kept", "data.root", "data.cache",
    "data.workers", "host_file",
)  # fmt: skip
"""Keys that may change when a run is resumed: where and how it runs, not what it computes."""


@dataclass(config=STRICT)
class TrainingConfig:
    """A training run.

    Args:
        output: the run's folder.
        epochs: passes over the training part; 0 only writes the initial network.
        batch_size: images per step over all processes, at least 2 (batch norm needs two values). A smaller last batch
            is dropped.
        seed: seed of the new layers, the order of the images, the augmentations and dropout. Dropout and stochastic
            depth use seed + rank in process number rank.
        device: auto (a CUDA GPU if there is one, else the CPU), cpu, cuda, cuda:N for the GPU of that number, or mps.
        precision: fp32, or mixed precision in bf16 or fp16 (fp16 on a GPU only); auto takes bf16 if the device computes
            in it, fp32 otherwise.
        channels_last: lay tensors out with channels last: faster on CPUs and tensor cores, the same function.
        threads: CPU threads of torch; 0 leaves it to torch.
        compile: compile the network with torch.compile: a slow start, faster steps.
        sync_batch_norm: with several processes on GPUs, compute batch norm's statistics over the images of all
            processes; false uses each process's own images. On CPUs each process always uses its own.
        checkpoint_minutes: minutes between two checkpoints within an epoch; 0 writes them at the end of epochs only.
        checkpoints_kept: how many of the newest checkpoints to keep.
        weights_kept: epochs (from 1) whose weights are kept for good, in the run's weights/ as epoch_NNN.safetensors:
            what tools.inspect_sr and tools.gradient_analysis read to show a training by epoch.
        validate_every: epochs from one validation to the next; the last epoch is always validated.
        best_by: validation figure (protocol authors) by which best.safetensors is chosen.
        encoder_weights: where the encoder starts: imagenet, timm's for that name; none, at random; or a file with
            timm's or torchvision's names.
        token_weights: where the transformer of detector.tokens starts, if there is one: pretrained, timm's for that
            name; none, at random; or a file with timm's names.
        foreground_prior: the share of salient pixels, in (0, 1), that the saliency heads predict at first, where they
            start at random (`models.heads.set_foreground_prior`); null keeps PyTorch's initialization, near one half.
            It does not apply to a host's own head.
        weights: a weights file of this project to start from, instead of encoder_weights: to train its network further.
            It has to be of the same detector, sizes and grid of tokens apart; training branches that it lacks start at
            random, tokens from token_weights.
        host_file: a Python file that registers a network of your own for detector.host (`models.hosts.register`), or
            an encoder (`models.own_encoders.register_encoder`); it is run.
        loss_file: a Python file that registers loss terms of your own (`models.own_losses`); it is run.
        detector: the inference network.
        asrd: the SR decoder.
        tfgm: the guidance.
        deep_supervision: attach a saliency head to each of the four coarser TSDD blocks. Hosts have none of these: set
            it to false, or name features in detector.host.coarse.
        super_resolution: attach the SR decoder.
        guidance: attach the guidance; it needs the SR decoder.
        loss: the weight of each loss term.
        data: the training and validation images.
        optimizer: the optimizer, its schedule and the EMA.
    """

    output: str = "runs/sral"
    epochs: NonNegativeInt = 100
    batch_size: PositiveInt = 8
    seed: NonNegativeInt = 2021
    device: Device = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    threads: NonNegativeInt = 0
    compile: bool = False
    sync_batch_norm: bool = True
    checkpoint_minutes: NonNegativeFloat = 10.0
    checkpoints_kept: PositiveInt = 2
    weights_kept: tuple[PositiveInt, ...] = ()
    validate_every: PositiveInt = 1
    best_by: Literal["Fbeta", "MAE", "Sm"] = "Sm"
    encoder_weights: str = "imagenet"
    token_weights: str = "pretrained"
    foreground_prior: float | None = None
    weights: str | None = None
    host_file: str | None = None
    loss_file: str | None = None
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    asrd: ASRDConfig = field(default_factory=ASRDConfig)
    tfgm: TFGMConfig = field(default_factory=TFGMConfig)
    deep_supervision: bool = True
    super_resolution: bool = True
    guidance: bool = True
    loss: LossWeights = field(default_factory=LossWeights)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.batch_size < 2:
            raise ValueError("batch_size 1: batch norm needs at least two images; set batch_size to 2 or more")
        if self.foreground_prior is not None and not 0 < self.foreground_prior < 1:
            raise ValueError(f"foreground_prior {self.foreground_prior}: a share of the pixels, in (0, 1), or null")
        if self.guidance and not self.super_resolution:
            raise ValueError("guidance reads the features of super_resolution: switch both on, or guidance off")
        return self

    def network(self) -> SRALConfig:
        """Return the configuration of the training network."""
        switches = (self.deep_supervision, self.super_resolution, self.guidance)
        return SRALConfig(self.detector, self.asrd, self.tfgm, *switches)


@dataclasses.dataclass
class Start:
    """A command line of train.py.

    Args:
        settings: the run's configuration.
        resume: continue the run in its folder, or start it if there is none yet.
        force: resume with changed settings.
        dry_run: print what the run would cost, and write nothing.
    """

    settings: TrainingConfig
    resume: bool = False
    force: bool = False
    dry_run: bool = False


class OneLineParser(ArgumentParser):
    """An argument parser that reports an error in one line, without the usage, and reads files as UTF-8."""

    def parse_path(self, path: Any, *arguments: Any, **options: Any) -> Namespace:
        """Parse a configuration file; jsonargparse itself reads it in the locale's encoding."""
        try:
            content = read_text(Path(path).expanduser())
        except (OSError, UnicodeDecodeError) as error:
            self.error(f"--config {path} cannot be read: {error}")
        return self.parse_string(content, str(path), *arguments, **options)

    def parse_string(self, content: str, *arguments: Any, **options: Any) -> Namespace:
        """Parse a configuration; lists may be written as `training.list_options` says. Old keys may be null."""
        content = re.sub(rf"^({'|'.join(map(re.escape, RENAMED))}): null$", "", content, flags=re.MULTILINE)
        return super().parse_string(with_lists(content, list_keys(TrainingConfig)), *arguments, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the message in one line; an unknown key is answered by the known ones that look like it."""
        line = one_line(message, 600)
        unknown = re.search(r"[Uu]nrecognized arguments: --([\w.-]+)", line)
        inside = re.search(r"Group '([\w.]+)' does not accept option '(\w+)'", line)
        found = unknown[1] if unknown else f"{inside[1]}.{inside[2]}" if inside else ""
        section, _, key = found.rpartition(".")
        known = [option[2:].rpartition(".") for action in self._actions for option in action.option_strings]
        keys = {name for before, _, name in known if before == section}
        hint = f"; {nearest(key, keys)}" if found and keys else ""
        sys.exit(f"error: {line}{hint} ({self.prog} --help lists every key)")


def parser() -> ArgumentParser:
    """Return the command line of train.py: --config FILE, and --key value for every setting."""
    parser = OneLineParser(
        prog="train.py", description="Train SRAL: a configuration becomes a run folder.", allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="a YAML file of settings; later --key value override it")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in output, or start it if there is none yet; --resume RUN: the run in that folder, with "
        "its own settings",
    )
    parser.add_argument(
        "--force", action="store_true", help="with --resume: allow changed settings; more epochs need no --force"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show sizes, memory and time per epoch; train and write nothing"
    )
    parser.add_class_arguments(TrainingConfig)
    return parser


def parse(arguments: Sequence[str] | None = None) -> Start:
    """Return the settings and options of a command line (None: this process's).

    Raises:
        SystemExit: a key is unknown or a value has the wrong type; the message is one line.
        ValueError: a value is out of range, or values contradict each other.
    """
    command_line = parser()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        arguments = with_run(arguments)
        _refuse_old_options(arguments)
    except ValueError as error:
        sys.exit(f"error: {error}")
    parsed = command_line.parse_args(arguments_with_lists(arguments, list_keys(TrainingConfig)))
    for section in dataclasses.fields(TrainingConfig):
        if dataclasses.is_dataclass(section.default_factory) and not isinstance(parsed[section.name], Namespace):
            command_line.error(f"{section.name}: expected named values, found {parsed[section.name]!r}")
    values = parsed.as_dict()
    values.pop("config", None)
    options = {name: values.pop(name) for name in ("resume", "force", "dry_run")}
    return Start(_validated(values), **options)


def from_record(values: Any, where: str) -> TrainingConfig:
    """Rebuild the settings that a run recorded in config.yaml or in a checkpoint. Old keys that are null are left out.

    Raises:
        ValueError: they are no settings, or have old or unknown keys; `where` names the file.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected named values of TrainingConfig, found {type(values).__name__}")
    values = {key: value for key, value in values.items() if value is not None or _new_name(key) is None}
    refuse_old_keys(values, where)
    try:
        return _validated(values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def refuse_old_keys(values: Mapping[str, Any], where: str, remedy: str = "rename it") -> None:
    """Raise a ValueError that names the new key and the remedy if settings use a key of an older version."""
    for key, value in flatten(values).items():
        if value is not None and (new := _new_name(key)):
            raise ValueError(f"{where}: the key {key} is now {new}; {remedy}")


def _new_name(key: str) -> str | None:
    """Return the present name of an older version's key; None for any other key."""
    new = key
    for old, now in RENAMED.items():
        if new == old or new.startswith(f"{old}."):
            new = now + new.removeprefix(old)
    return new if new != key else None


def _refuse_old_options(arguments: Sequence[str]) -> None:
    """Raise a ValueError for old keys in --key options and in the files that --config names."""
    for index, argument in enumerate(arguments):
        option, has_value, value = argument.partition("=")
        if option.startswith("--") and (new := _new_name(option.removeprefix("--"))):
            raise ValueError(f"the option {option} is now --{new}; rename it")
        if option == "--config":
            path = Path(value if has_value else "".join(arguments[index + 1 : index + 2]))
            try:
                content = yaml.safe_load(read_text(path))
            except (OSError, ValueError, yaml.YAMLError):
                continue  # the parser reports it
            if isinstance(content, dict):
                try:
                    refuse_old_keys(content, str(path))
                except RecursionError as error:
                    raise ValueError(f"--config {path}: a key holds itself by a YAML alias; write it out") from error


def _validated(values: dict[str, Any]) -> TrainingConfig:
    """Return the settings of nested dicts. Raises a ValueError of one line that names key and value."""
    for key, value in flatten(values).items():
        if isinstance(value, str) and encodable(value) != value:
            raise ValueError(f"{key} {printable(value)} is not UTF-8: rename it, or use a locale such as C.UTF-8")
    try:
        return TypeAdapter(TrainingConfig).validate_json(json.dumps(values))  # JSON: lists may become tuples
    except ValidationError as error:
        raise ValueError(explained(error, TrainingConfig)) from None


def plain(settings: TrainingConfig) -> dict[str, Any]:
    """Return the settings in JSON's types: dicts, lists, strings and numbers."""
    return json.loads(json.dumps(asdict(settings)))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key, as the command line names them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(settings: TrainingConfig, recorded: dict[str, Any]) -> list[str]:
    """Return what differs between a recorded run and `settings`, as 'key: recorded -> now'.

    A key that is not recorded counts as its default; `FREE_ON_RESUME` is left out.
    """
    now, then = flatten(plain(settings)), flatten(plain(TrainingConfig())) | flatten(recorded)
    keys = [key for key in dict.fromkeys([*now, *then]) if key not in FREE_ON_RESUME]
    return [f"{key}: {then.get(key)} -> {now.get(key)}" for key in keys if then.get(key) != now.get(key)]


def is_longer(settings: TrainingConfig, recorded: dict[str, Any]) -> bool:
    """Return whether all that differs from a recorded run is that `settings` have more epochs."""
    changed = differences(settings, recorded)
    return len(changed) == 1 and settings.epochs > recorded.get("epochs", settings.epochs)


def dump(settings: TrainingConfig) -> str:
    """Return the whole configuration as YAML that `train.py --config` takes."""
    return yaml.safe_dump(plain(settings), sort_keys=False)
