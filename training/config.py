"""The typed configuration of a training run: every key with its type, meaning and default.

The defaults are the paper's network with this project's choices (see the README's table of where paper and release
differ); files in configs/ say what differs for each recipe.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from datasets.transforms import Augmentation
from models.config import ASRDConfig, DetectorConfig, SRALConfig, TFGMConfig, from_dict
from models.losses import LossWeights
from utils.config import configuration


@configuration
class DataConfig:
    """What is trained on.

    Args:
        dataset: ORSSD, EORSSD, ORSI-4199, RSISOD or RSSOD; 'folders' for any pair of folders; 'sample' for the rendered
            sample set, which is made under root if it is not there.
        root: the data set's folder.
        images: the folder of images, with dataset 'folders'.
        masks: the folder of masks, with dataset 'folders'.
        exclude: stems of training pairs that are left out, as those whose image is in a test split too.
        validation: part of the training pairs that is held back for validation, in [0, 1); the test split is not read.
        validation_seed: draws that part; apart from the run's seed, so that runs over seeds share it.
        cache: folder for the decoded and resized images (about 1.1 MB each at 224×224, more with crops), which every
            run on the set shares; null decodes the files anew in every epoch.
        workers: processes that read; 0 reads in the training process, which is enough for a CPU with a cache.
        augmentation: what may be done to a training sample.
    """

    dataset: str = "ORSSD"
    root: str = "data/ORSSD"
    images: str | None = None
    masks: str | None = None
    exclude: tuple[str, ...] = ()
    validation: NonNegativeFloat = 0.1
    validation_seed: int = 2021
    cache: str | None = "data/cache"
    workers: NonNegativeInt = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


@configuration
class OptimizerConfig:
    """How the weights are found.

    Args:
        name: sgd (with momentum) or adamw.
        lr: learning rate of everything but the encoder.
        encoder_lr_factor: the encoder's learning rate, as a factor of lr.
        token_lr_factor: the same for the transformer in detector.tokens; the layers that join it have lr.
        frozen_blocks: how many of that transformer's first blocks stay as they are, its patch embedding too; 0: none.
        momentum: of sgd.
        weight_decay: of every parameter but the biases.
        decay_norms: decay the one-dimensional weights too (batch norm's gain, PReLU's slope), as the release does.
        schedule: poly, lr·(1 − step/steps)^power, or cosine to 0; both per step.
        power: of the poly schedule.
        warmup_epochs: epochs over which the rate rises linearly from 0 first.
        clip: largest norm of the gradient, all parameters together; 0 does not clip.
        ema: decay of the exponential moving average of the weights, per step; 0 keeps none. Its first steps decay less.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 2e-3
    encoder_lr_factor: PositiveFloat = 1.0
    token_lr_factor: PositiveFloat = 0.1
    frozen_blocks: NonNegativeInt = 0
    momentum: NonNegativeFloat = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    decay_norms: bool = True
    schedule: Literal["poly", "cosine"] = "poly"
    power: PositiveFloat = 0.9
    warmup_epochs: NonNegativeFloat = 0.0
    clip: NonNegativeFloat = 0.0
    ema: NonNegativeFloat = 0.0


@configuration
class TrainingConfig:
    """A training run.

    Args:
        output: the run's folder.
        epochs: passes over the training part; 0 only writes the network that training would start from.
        batch_size: images per step, of all processes together and at least 2 (batch norm needs two values); a last,
            smaller batch is left out.
        seed: of the new layers' weights, the order of the images, the augmentations and dropout.
        device: auto takes a GPU where there is one.
        precision: fp32, or mixed precision in bf16 or fp16 (fp16 on a GPU only); auto is bf16 where the device has it
            and fp32 elsewhere.
        channels_last: lay tensors out with channels last: faster on CPUs and tensor cores, the same function.
        threads: CPU threads of torch; 0 leaves it to torch.
        compile: compile the network with torch.compile: a slow start, faster steps.
        sync_batch_norm: with several processes, take batch norm's statistics over all their images, as one process
            would; false takes each process's own, with less traffic between them.
        checkpoint_minutes: a checkpoint within an epoch whenever so many minutes have passed since the last; 0 writes
            them at the ends of epochs only.
        checkpoints_kept: how many of the newest checkpoints stay.
        validate_every: epochs from one validation to the next; the last is always validated. For a GPU, whose epochs
            may take seconds.
        best_by: the validation figure (protocol authors) by which best.safetensors is kept, of epochs with one.
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
        host_file: a Python file that registers a network of your own for detector.host (`models.hosts.register`); it
            is run.
        teacher: a weights file of a network that was trained at detector.input_size, or at twice that: its maps of the
            images, or of the SR targets, are targets too, beside the masks (loss.teacher). It costs a forward pass at
            that size in each step.
        detector: the network that infers.
        asrd: the SR decoder.
        tfgm: the guidance.
        deep_supervision: attach a saliency head to each of the four coarser TSDD blocks. Hosts have none of these: set
            it to false, or name features in detector.host.coarse.
        super_resolution: attach the SR decoder.
        guidance: attach the guidance; it needs the SR decoder.
        loss: the weight of each loss term.
        data: what is trained on.
        optimizer: how the weights are found.
    """

    output: str = "runs/sral"
    epochs: NonNegativeInt = 100
    batch_size: PositiveInt = 8
    seed: NonNegativeInt = 2021
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    threads: NonNegativeInt = 0
    compile: bool = False
    sync_batch_norm: bool = True
    checkpoint_minutes: NonNegativeFloat = 10.0
    checkpoints_kept: PositiveInt = 2
    validate_every: PositiveInt = 1
    best_by: Literal["Fbeta", "MAE", "Sm"] = "Sm"
    encoder_weights: str = "imagenet"
    token_weights: str = "pretrained"
    foreground_prior: float | None = None
    weights: str | None = None
    host_file: str | None = None
    teacher: str | None = None
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    asrd: ASRDConfig = field(default_factory=ASRDConfig)
    tfgm: TFGMConfig = field(default_factory=TFGMConfig)
    deep_supervision: bool = True
    super_resolution: bool = True
    guidance: bool = True
    loss: LossWeights = field(default_factory=LossWeights)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def network(self) -> SRALConfig:
        """What the training network is made of."""
        switches = (self.deep_supervision, self.super_resolution, self.guidance)
        return SRALConfig(self.detector, self.asrd, self.tfgm, *switches)

    def check(self) -> None:
        """Raise a ValueError where values that are right by themselves do not go together."""
        if self.batch_size < 2:
            raise ValueError("batch_size 1: batch norm needs at least two images; set batch_size to 2 or more")
        if not self.data.validation < 1:
            raise ValueError(f"data.validation {self.data.validation}: a part of the set, in [0, 1)")
        if self.foreground_prior is not None and not 0 < self.foreground_prior < 1:
            raise ValueError(f"foreground_prior {self.foreground_prior}: a share of the pixels, in (0, 1), or null")
        if not self.optimizer.ema < 1:
            raise ValueError(f"optimizer.ema {self.optimizer.ema}: a decay in [0, 1)")
        if self.guidance and not self.super_resolution:
            raise ValueError("guidance reads the features of super_resolution: switch both on, or guidance off")
        if self.data.dataset == "folders" and not (self.data.images and self.data.masks):
            raise ValueError("data.dataset 'folders': set data.images and data.masks to the two folders")


# What may differ when a run is resumed: where and how it runs, not what it computes.
FREE_ON_RESUME = (
    "output", "device", "threads", "checkpoint_minutes", "checkpoints_kept", "data.root", "data.cache", "data.workers",
    "host_file",
)  # fmt: skip


@dataclass
class Start:
    """How train.py was asked to start.

    Args:
        settings: the run.
        resume: continue the run in its folder; start it where there is nothing yet.
        force: resume with other settings than it began with.
        dry_run: say what the run would cost, and write nothing.
    """

    settings: TrainingConfig
    resume: bool = False
    force: bool = False
    dry_run: bool = False


class OneLineParser(ArgumentParser):
    """A command line that ends the command with one line where it is wrong, rather than with its usage too."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with what is wrong, and where it says how it should be."""
        sys.exit(f"error: {' '.join(message.split())} ({self.prog} --help lists every key)")


def parser() -> ArgumentParser:
    """The command line of train.py: --config FILE, and --key value for every setting."""
    parser = OneLineParser(
        prog="train.py", description="Train SRAL: a configuration becomes a run folder.", allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="a YAML file of settings; later --key value override it")
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in output; start it where there is nothing yet"
    )
    parser.add_argument("--force", action="store_true", help="with --resume: also with other settings than before")
    parser.add_argument(
        "--dry-run", action="store_true", help="show sizes, memory and time per epoch; train and write nothing"
    )
    parser.add_class_arguments(TrainingConfig)
    return parser


def parse(arguments: Sequence[str] | None = None) -> Start:
    """The settings and how to start; exits with one line where a key is unknown or a value has the wrong type."""
    command_line = parser()
    parsed = command_line.parse_args(arguments)
    for section in fields(TrainingConfig):
        if is_dataclass(section.default_factory) and not isinstance(parsed[section.name], Namespace):
            command_line.error(f"{section.name}: expected named values, found {parsed[section.name]!r}")
    values = vars(command_line.instantiate(parsed))
    values.pop("config", None)
    how = {name: values.pop(name) for name in ("resume", "force", "dry_run")}
    # jsonargparse's restricted numbers are classes of their own, which no checkpoint could be read back with.
    return Start(from_dict(TrainingConfig, plain(TrainingConfig(**values)), "settings"), **how)


def plain(settings: TrainingConfig) -> dict[str, Any]:
    """The settings as what JSON and YAML know: dicts, lists, strings and numbers."""
    return json.loads(json.dumps(asdict(settings)))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key, as the command line names them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def differences(settings: TrainingConfig, recorded: dict[str, Any]) -> list[str]:
    """What makes `settings` another run than the recorded one, as 'key: recorded -> now'.

    A key that is not recorded did not exist then: the run was what the key's default is now.
    """
    now, then = flatten(plain(settings)), flatten(plain(TrainingConfig())) | flatten(recorded)
    keys = [key for key in dict.fromkeys([*now, *then]) if key not in FREE_ON_RESUME]
    return [f"{key}: {then.get(key)} -> {now.get(key)}" for key in keys if then.get(key) != now.get(key)]


def dump(settings: TrainingConfig) -> str:
    """The whole configuration as YAML that `train.py --config` takes."""
    return yaml.safe_dump(plain(settings), sort_keys=False)
