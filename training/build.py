"""From the configuration to a trainer and its data; all errors of the input come to light here."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn.modules.batchnorm import _BatchNorm

from datasets.catalog import with_teacher_maps
from models.detector import check_size
from models.heads import set_foreground_prior
from models.hosts import Host, run_host_file
from models.own_losses import run_loss_file
from models.sral import SRAL, build_sral
from models.weights import holds_tokens, start_from
from training.checkpoint import checkpoints
from training.config import Start, TrainingConfig
from training.data import TrainingData, open_data
from training.distributed import build_accelerator
from training.find_data import find_data
from training.sampler import ResumableBatchSampler
from training.trainer import Trainer


def continues(start: Start) -> bool:
    """Return whether the run continues from a checkpoint.

    Raises:
        ValueError: the folder holds a run, and neither resume nor dry_run is set.
    """
    folder = Path(start.settings.output)
    found = bool(checkpoints(folder))
    if (found or (folder / "last.safetensors").exists()) and not start.resume and not start.dry_run:
        raise ValueError(f"{folder} already holds a run: --resume continues it, another --output starts a new one")
    return start.resume and found


def build_trainer(
    settings: TrainingConfig, resume: bool = False, use_cache: bool = True
) -> tuple[Trainer, TrainingData]:
    """Return the trainer of a configuration and its data.

    Args:
        settings: the configuration.
        resume: a checkpoint will replace the weights, so that no other weights are loaded.
        use_cache: False decodes the images in every epoch; then nothing is written.

    Raises:
        OSError, ValueError: a file, a value or the data set cannot be used; nothing was trained.
    """
    accelerator = build_accelerator(
        settings.device, settings.precision, settings.compile, settings.sync_batch_norm, settings.threads
    )
    check_size(*settings.detector.input_size)
    if settings.host_file:
        run_host_file(settings.host_file)
    if settings.loss_file:
        run_loss_file(settings.loss_file)
    training, validation = find_data(settings.data)
    training = with_teacher_maps(training, settings.data.teacher_maps)
    rank, processes = accelerator.process_index, accelerator.num_processes
    sampler = ResumableBatchSampler(len(training), settings.batch_size, settings.seed, rank, processes)
    torch.manual_seed(settings.seed)  # the same network in every process
    network = build_network(settings, resume, accelerator)
    if isinstance(network.detector, Host):
        network.detector.channels()  # runs it once: not every host takes every size
    check_norms(network, settings, accelerator)
    if rank:
        torch.manual_seed(settings.seed + rank)  # other masks of dropout and stochastic depth in every process
    with accelerator.local_main_process_first():  # it builds the cache
        data = open_data(settings, training, validation, sampler, accelerator.device, use_cache)
    return Trainer(settings, accelerator, network, sampler.steps), data


def check_norms(network: SRAL, settings: TrainingConfig, accelerator: Accelerator) -> None:
    """Raise a ValueError if batch norm would see a single image: its statistics would be those of one value."""
    processes = accelerator.num_processes
    is_synced = settings.sync_batch_norm and accelerator.device.type == "cuda"
    has_norms = any(isinstance(module, _BatchNorm) for module in network.modules())
    if has_norms and not is_synced and settings.batch_size < 2 * processes:
        raise ValueError(
            f"batch_size {settings.batch_size} for {processes} processes: each one's batch norm needs two images; set "
            f"it to {2 * processes} or more"
        )


def build_network(settings: TrainingConfig, resume: bool, accelerator: Accelerator) -> SRAL:
    """Return the training network, on the CPU, with the weights that the configuration names."""
    from_file = resume or bool(settings.weights)  # a file replaces the encoder's weights
    has_tokens = resume or (settings.weights is not None and holds_tokens(settings.weights))
    network = build_sral(
        settings.network(),
        "none" if from_file else settings.encoder_weights,
        "none" if has_tokens else settings.token_weights,
    )
    if settings.foreground_prior is not None:
        set_foreground_prior(network, settings.foreground_prior)  # a file replaces it
    if settings.weights and not resume:
        new = start_from(settings.weights, network)
        accelerator.print(f"starts from {settings.weights}" + f", but for {', '.join(new)}" * bool(new))
    if settings.detector.tokens is not None:
        tokens: Any = network.detector.encoder.tokens
        tokens.freeze(settings.optimizer.frozen_blocks)
    return network
