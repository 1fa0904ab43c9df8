"""Training and validation images: from the configuration to a DataLoader of batches."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from datasets.cache import Records, cache_bytes, open_cache
from datasets.catalog import Pair
from datasets.file_warnings import warning_lines
from datasets.loader import SalientObjectBatches, Views, as_it_is
from training.config import TrainingConfig
from training.sampler import ResumableBatchSampler
from training.signals import ignore_signals


@dataclass(frozen=True)
class TrainingData:
    """What a run reads.

    Attributes:
        training: batches of augmented training samples.
        validation: batches of validation samples.
        sampler: chooses the training samples of each step.
        batches: loads the sampler's batches.
        views: makes the network's inputs and targets of a batch, on the training device.
        warnings: one line for each kind of unusual file; known with a cache only.
    """

    training: SalientObjectBatches
    validation: SalientObjectBatches
    sampler: ResumableBatchSampler
    batches: DataLoader[Any]
    views: Views
    warnings: list[str]

    def start_epoch(self, epoch: int, step: int) -> None:
        """Set which epoch (from 0) `batches` gives, and from which step on."""
        self.training.set_epoch(epoch)
        self.sampler.start(epoch, step)


def open_data(
    settings: TrainingConfig,
    training: list[Pair],
    validation: list[Pair],
    sampler: ResumableBatchSampler,
    device: torch.device,
    use_cache: bool = True,
) -> TrainingData:
    """Open the pairs' pixels and build the loader.

    Args:
        settings: sizes, augmentation, cache and workers.
        training, validation: the pairs.
        sampler: chooses from the training pairs.
        device: the training device.
        use_cache: False decodes the files in every epoch and writes nothing.

    Raises:
        ValueError: pairs that cannot be used, by name.
        OSError: the cache cannot be written.
    """
    fine, plain = _open_records(settings, training, validation, use_cache)
    samples = SalientObjectBatches(fine, training, settings.data.augmentation, settings.seed)
    workers = settings.data.workers
    batches: DataLoader[Any] = DataLoader(
        samples, batch_sampler=sampler, collate_fn=as_it_is, pin_memory=device.type == "cuda",
        worker_init_fn=ignore_signals, num_workers=workers, persistent_workers=workers > 0,
        generator=torch.Generator(),  # otherwise it draws from the random numbers of dropout
    )  # fmt: skip
    views = Views(settings.detector.input_size, settings.detector.mean, settings.detector.std, device)
    found = fine.warnings() + ([] if plain is fine else plain.warnings())
    lines = warning_lines(settings.data.dataset, sorted(found))
    return TrainingData(samples, SalientObjectBatches(plain, validation), sampler, batches, views, lines)


def _open_records(
    settings: TrainingConfig, training: list[Pair], validation: list[Pair], use_cache: bool
) -> tuple[Records, Records]:
    """Return records of the training pairs, fine enough for crops, and of the validation pairs.

    Each pair is cached once. Without crops and a teacher both are one cache file, which runs with another validation
    part share.
    """
    detail = settings.data.augmentation.detail
    if detail == 1 and not settings.data.teacher_maps:
        together = _open(settings, sorted([*training, *validation], key=lambda pair: pair.stem), 1.0, use_cache)
        return together, together
    return _open(settings, training, detail, use_cache), _open(settings, validation, 1.0, use_cache)


def _open(settings: TrainingConfig, pairs: list[Pair], detail: float, use_cache: bool) -> Records:
    size, name, reading = settings.detector.input_size, settings.data.dataset, settings.data.reading
    if settings.data.cache is not None and use_cache and pairs:
        return open_cache(pairs, size, detail, settings.data.cache, name, reading)
    records = Records(pairs, size, detail, name, reading)
    if use_cache:
        records.inspect()
    return records


def cache_size(settings: TrainingConfig, training: int, validation: int) -> int:
    """Return the bytes that the cache of so many pairs takes."""
    size, data = settings.detector.input_size, settings.data
    trained = cache_bytes(training, size, data.augmentation.detail, bool(data.teacher_maps))
    return trained + cache_bytes(validation, size, 1.0)
