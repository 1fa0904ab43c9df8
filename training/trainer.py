"""The trainer: fit → train_epoch → train_step → validate → save."""

import signal
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from datasets.transforms import ycbcr_to_rgb
from models.losses import joint_loss, loss_terms
from models.sral import SRAL
from models.weights import save_weights
from training.checkpoint import Progress, clear_unfinished, load_checkpoint, lock_run, save_checkpoint
from training.config import TrainingConfig, dump
from training.data import TrainingData
from training.depthwise import compute_depthwise_in_fp32
from training.distributed import broadcast_buffers, gather_random_states, precision_of, sync_batch_norm
from training.ema import build_ema
from training.logger import (
    FINISHED,
    Logger,
    LossAccumulator,
    format_duration,
    format_figures,
    versions,
    write_finished,
    write_record,
)
from training.optim import build_optimizer, build_schedule, continue_schedule
from training.signals import StopSignals
from training.validation import validate
from training.visualize import validation_columns, validation_sheet, write_sheet

SETTLE_EVERY = 10
"""Steps between two transfers of the losses, each of which waits for the device and the other processes."""

KEPT = "weights"
"""Folder of a run for the weights of settings.weights_kept."""

SHOWN = 6
"""Validation images in validation.png."""

FEW = 20
"""Fewer validation images than this give a warning."""

LINE_EVERY = 60.0
"""Seconds between two lines within an epoch where no terminal shows a progress bar."""


class Trainer:
    """Trains a network and writes its run folder, settings.output.

    Args:
        settings: the configuration.
        accelerator: device, precision and processes.
        network: the training network, moved to the device here.
        steps_per_epoch: steps of an epoch.
    """

    def __init__(self, settings: TrainingConfig, accelerator: Accelerator, network: SRAL, steps_per_epoch: int):
        self.settings, self.accelerator = settings, accelerator
        self.folder = Path(settings.output)
        self.precision = precision_of(accelerator)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network.to(accelerator.device, memory_format=layout)  # type: ignore[call-overload]
        self.ema = build_ema(network, settings.optimizer.ema)
        self.network = sync_batch_norm(network, accelerator) if settings.sync_batch_norm else network
        if self.precision == "bf16" and accelerator.device.type == "cpu":
            compute_depthwise_in_fp32(self.network)
        optimizer = build_optimizer(self.network, self.network.detector.encoder, settings.optimizer)
        self.schedule = build_schedule(optimizer, settings.optimizer, settings.epochs, steps_per_epoch)
        self.prepared, self.optimizer = accelerator.prepare(self.network, optimizer)
        self.progress = Progress(steps_per_epoch=steps_per_epoch, precision=self.precision)
        self.signals = StopSignals()
        self.logger: Logger | None = None  # the main process has one while it trains
        self.about: dict[str, Any] = {}
        self.next_checkpoint = float("inf")
        self.next_line = time.monotonic() + LINE_EVERY

    @property
    def result(self) -> SRAL:
        """The network that is validated and written: the EMA if there is one."""
        return self.network if self.ema is None else self.ema.module

    @property
    def detector(self) -> nn.Module:
        """The inference network of `result`."""
        detector = self.result.detector
        assert isinstance(detector, nn.Module)
        return detector

    def fit(self, data: TrainingData, resume: bool = False, force: bool = False) -> int:
        """Train to the last epoch.

        Args:
            data: the images.
            resume: continue from the newest checkpoint in the run folder.
            force: also with changed settings.

        Returns:
            The number of the signal that stopped the run after a checkpoint, or 0.

        Raises:
            OSError: the run folder cannot be written.
            ValueError: another process trains in it; the checkpoint does not fit.
            FloatingPointError: a loss is not finite.
        """
        is_main, epochs = self.accelerator.is_main_process, self.settings.epochs
        with self.signals, ExitStack() as contexts:
            if is_main:
                contexts.enter_context(lock_run(self.folder))
                clear_unfinished(self.folder)
            if resume:
                self._restore(force)
            if self.progress.epoch >= epochs > 0 and (self.folder / FINISHED).is_file():
                if is_main:
                    print(f"{self.folder} is finished ({epochs} epochs): nothing to do; more --epochs train it further")
                return 0
            if is_main:
                self.logger = contexts.enter_context(self._start_logs(data, resume))
            if not resume and self.settings.weights and len(data.validation):
                self._score_start(data)
            if epochs == 0 and is_main:
                self._write_weights(self.about | {"epoch": 0}, is_best=True)
            for epoch in range(self.progress.epoch, epochs):
                if number := self.train_epoch(data, epoch):
                    return number
            if is_main:
                self._finish()
        return 0

    def train_epoch(self, data: TrainingData, epoch: int) -> int:
        """Train what is left of an epoch (from 0), validate and save.

        Returns:
            The number of the signal that stops the run, or 0.
        """
        progress, steps = self.progress, self.progress.steps_per_epoch
        label = f"epoch {epoch + 1}/{self.settings.epochs}"
        started = time.perf_counter() - progress.epoch_seconds
        self._plan_checkpoint()
        data.start_epoch(epoch, progress.step)
        losses, weights = LossAccumulator(progress.sums), self.settings.loss.of_epoch(epoch)
        self.prepared.train()
        shown = None if self.accelerator.is_main_process else True  # None: only on a terminal
        bar = tqdm(data.batches, label, steps, leave=False, initial=progress.step, mininterval=0.5, disable=shown)
        for step, batch in enumerate(bar, progress.step + 1):
            losses.add(self.train_step(data.views(batch), weights))
            progress.step = step
            if not self._settles(step):
                continue
            self._log_step(losses, bar, label, started)
            number, due = self.signals.agree(self.accelerator, time.monotonic() >= self.next_checkpoint)
            if step < steps and (number or due):
                progress.sums, progress.epoch_seconds = losses.sums, time.perf_counter() - started
                self.save()
                if number:
                    bar.close()
                    return self._stopped(number, f"{label}, step {step}")
        self._finish_epoch(data, label, losses.sums, time.perf_counter() - started)
        number, _ = self.signals.agree(self.accelerator)
        return self._stopped(number, label) if number and epoch + 1 < self.settings.epochs else 0

    def train_step(self, views: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
        """Take one step of optimization; the host never waits for the device.

        Args:
            views: the network's inputs and targets, as `datasets.loader.Views` makes them.
            weights: of the loss terms, by name.

        Returns:
            The loss terms and their `total`, detached, on the device. The total has the weights of all epochs but the
            first, whose SR weight is another: totals of all epochs can be compared.
        """
        terms = self.loss_terms(views)
        total = joint_loss(terms, weights)
        self.accelerator.backward(total)
        if clip := self.settings.optimizer.clip:
            self.accelerator.clip_grad_norm_(self.network.parameters(), clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if not self.accelerator.optimizer_step_was_skipped:  # fp16's scaler skips a step that overflowed
            self.schedule.step()
        if self.ema is not None:
            self.ema.update(self.network)
        found = {name: term.detach() for name, term in terms.items()}
        usual = self.settings.loss.of_epoch(1)
        return found | {"total": total.detach() if weights == usual else joint_loss(found, usual)}

    def loss_terms(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the unweighted loss terms of this process's part of a batch, by name."""
        outputs = self.prepared(views["rgb"], views["ycbcr"])
        terms = loss_terms(outputs, views, self.network.tfgm, self.settings.loss.boundary)
        if self.settings.tfgm.affinity_batch == "sum" and "affinity" in terms:
            # Gradients are averaged over the processes, and this term is a sum over the batch.
            terms["affinity"] = terms["affinity"] * self.accelerator.num_processes
        return terms

    def validate(self, data: TrainingData) -> dict[str, float]:
        """Return the result's scores on the validation part, under the protocol `authors`."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        broadcast_buffers(self.detector, self.accelerator)
        batches = data.validation.in_batches(self.settings.batch_size // processes, rank, processes)
        return validate(self.detector, batches, data.views, self.accelerator)

    def save(self) -> None:
        """Write a checkpoint; all processes call this at the same step."""
        random_states = gather_random_states(self.accelerator)
        if self.logger is not None:
            self.logger.flush()
            kept = self.settings.checkpoints_kept
            save_checkpoint(self.folder, self.settings, self._parts(), self.progress, random_states, kept)
        self._plan_checkpoint()

    def _finish_epoch(self, data: TrainingData, label: str, sums: dict[str, float], seconds: float) -> None:
        """Validate and log the epoch, write the weights, and at last the checkpoint, which says that all is there."""
        settings, progress, steps = self.settings, self.progress, self.progress.steps_per_epoch
        epoch = progress.epoch + 1
        row = {"epoch": epoch} | {name: value / steps for name, value in sums.items()}
        row |= {"lr": self._rate(), "seconds": seconds, "images_per_second": steps * settings.batch_size / seconds}
        last, scores = epoch == settings.epochs, {}
        if len(data.validation) and (last or epoch % settings.validate_every == 0):
            scores = self.validate(data)
        best = is_best(scores, progress.best, settings.best_by) if scores else not len(data.validation)
        if self.logger is not None:
            self.logger.epoch(row, scores, progress.steps_done - 1, last)
            self.about |= {"epoch": epoch, "validation": scores}
            self._write_weights(self.about, best)
            if scores:
                self._show_validation(data, f"{label}: {format_figures(scores)}")
        progress.seconds += seconds
        progress.best = scores | {"epoch": epoch} if best else progress.best
        progress.epoch, progress.step, progress.sums, progress.epoch_seconds = epoch, 0, {}, 0.0
        self.save()
        if self.accelerator.is_main_process:
            left = format_duration(progress.seconds / epoch * (settings.epochs - epoch))
            figures = format_figures({"total": row["total"]} | scores)
            tqdm.write(f"{label}: {figures}  {seconds:.0f} s, {left} left")

    def _score_start(self, data: TrainingData) -> None:
        """Score the weights that the training starts from, as epoch 0."""
        self.progress.start = self.validate(data)
        if self.logger is not None:
            self.logger.epoch({"epoch": 0}, self.progress.start, 0, self.settings.epochs == 0)
            print(f"start, {self.settings.weights}: {format_figures(self.progress.start)}")

    def _show_validation(self, data: TrainingData, title: str) -> None:
        """Draw a few validation images with their maps: validation.png, and the same for TensorBoard."""
        few = data.validation.spread(SHOWN)
        columns = validation_columns(self.result, data.views(few), ycbcr_to_rgb)
        sheet = validation_sheet(columns, few["stem"], title)
        write_sheet(self.folder / "validation.png", sheet)
        if self.logger is not None:
            self.logger.picture("validation/images", sheet, self.progress.steps_done - 1)

    def _finish(self) -> None:
        """Write finished.json, and print what the run has made."""
        progress, by = self.progress, self.settings.best_by
        best, start = progress.best, progress.start
        result = {"epochs": self.settings.epochs, "best": best, "seconds": progress.seconds, "seed": self.settings.seed}
        write_finished(self.folder, result | ({"start": start} if start else {}))
        number = best["epoch"] if best else 0
        print(f"{self.folder}/last.safetensors and best.safetensors (epoch {number}) are ready for getsmaps.py")
        if start and best and number:
            print(f"validation {by}: {start[by]:.4f} at the start, {best[by]:.4f} in epoch {number}")
            if not is_best(best, start, by):
                warnings.warn(f"no epoch is better than the start: {self.settings.weights} is the best", stacklevel=2)

    def _parts(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the progress."""
        parts = {"network": self.network, "ema": self.ema, "optimizer": self.optimizer, "schedule": self.schedule}
        return parts | {"scaler": self.accelerator.scaler}

    def _restore(self, force: bool) -> None:
        """Continue from the newest checkpoint."""
        steps, options = self.progress.steps_per_epoch, [dict(group) for group in self.optimizer.param_groups]
        base_rates = list(self.schedule.base_lrs)
        progress, changed = load_checkpoint(self.folder, self.settings, self._parts(), self.accelerator, force)
        if self.accelerator.is_main_process and progress.precision != self.precision:
            warnings.warn(f"the run was in {progress.precision} so far and goes on in {self.precision}", stacklevel=1)
        if progress.steps_per_epoch != steps and progress.step:  # its batches are not those of the new batch size
            progress.step, progress.sums, progress.epoch_seconds = 0, {}, 0.0
        progress.steps_per_epoch, progress.precision = steps, self.precision
        if changed:
            continue_schedule(self.optimizer, self.schedule, options, base_rates, progress.steps_done)
        self.progress = progress

    def _start_logs(self, data: TrainingData, resume: bool) -> Logger:
        """Write what reproduces the run, and return its open logs."""
        settings, progress = self.settings, self.progress
        for line in data.warnings:
            warnings.warn(line, stacklevel=1)
        (self.folder / FINISHED).unlink(missing_ok=True)
        self.about = {"seed": settings.seed, "command": " ".join(sys.argv), "versions": versions()}
        write_record(self.folder, dump(settings), self.about)
        print(
            f"{len(data.training)} training and {len(data.validation)} validation images, {settings.epochs} epochs of "
            f"{progress.steps_per_epoch} steps, on {self.accelerator.num_processes} × {self.accelerator.device.type} "
            f"in {self.precision}" + (f", {self._place()}" if resume else "")
        )
        if 0 < len(data.validation) < FEW:
            warnings.warn(
                f"{len(data.validation)} validation images: scores of fewer than {FEW} vary by chance; name your own "
                "by data.val_images and data.val_masks, or raise data.validation",
                stacklevel=2,
            )
        return Logger(self.folder, progress.epoch, progress.steps_done)

    def _place(self) -> str:
        """Return where a resumed run goes on."""
        progress = self.progress
        if progress.epoch >= self.settings.epochs:
            return "all done"
        return f"from epoch {progress.epoch + 1}, step {progress.step + 1}, at learning rate {self._rate():.3g}"

    def _plan_checkpoint(self) -> None:
        self.next_checkpoint = time.monotonic() + 60 * (self.settings.checkpoint_minutes or float("inf"))

    def _settles(self, step: int) -> bool:
        """Return whether the losses are transferred after this step; several processes cannot decide it by the time."""
        alone = self.accelerator.num_processes == 1
        now = time.monotonic()
        asked = alone and (self.signals.signal is not None or now >= min(self.next_checkpoint, self.next_line))
        return asked or self.progress.steps_done % SETTLE_EVERY == 0 or step == self.progress.steps_per_epoch

    def _log_step(self, losses: LossAccumulator, bar: tqdm, label: str, started: float) -> None:
        """Transfer the losses and log the last step; where no terminal shows the bar, print a line a minute."""
        values = losses.settle(self.accelerator, self.progress.steps_done)
        if self.logger is not None:
            self.logger.step(self.progress.steps_done - 1, values | {"lr": self._rate()})
            loss = losses.sums["total"] / self.progress.step
            bar.set_postfix(loss=f"{loss:.3f}")
            if (
                bar.disable
                and time.monotonic() >= self.next_line
                and self.progress.step < self.progress.steps_per_epoch
            ):
                print(f"{label}, {self._speed(loss, time.perf_counter() - started)}", flush=True)
        if time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + LINE_EVERY

    def _speed(self, loss: float, seconds: float) -> str:
        """Return how far an epoch is after so many seconds, how fast, and how long all epochs will take from here."""
        progress, settings = self.progress, self.settings
        steps = progress.steps_per_epoch
        left = steps * settings.epochs - progress.steps_done
        return (
            f"step {progress.step}/{steps}: loss {loss:.4f}, {progress.step * settings.batch_size / seconds:.1f} "
            f"images/s, {format_duration(left * seconds / progress.step)} left"
        )

    def _rate(self) -> float:
        """Return the learning rate of what is neither encoder nor tokens."""
        return self.optimizer.param_groups[-1]["lr"]

    def _write_weights(self, about: dict[str, Any], is_best: bool) -> None:
        """Write last.safetensors, best.safetensors if the result is the best so far, and an epoch's file to keep."""
        names = ["last", *["best"] * is_best]
        if about["epoch"] in self.settings.weights_kept:
            (self.folder / KEPT).mkdir(exist_ok=True)
            names.append(f"{KEPT}/epoch_{about['epoch']:03}")
        for name in names:
            save_weights(self.folder / f"{name}.safetensors", self.result, about)

    def _stopped(self, number: int, where: str) -> int:
        """Print that a signal ended the run, and return its number."""
        if self.accelerator.is_main_process:
            name = signal.Signals(number).name
            print(f"stopped by {name} after {where}: --resume continues {self.folder} from there", file=sys.stderr)
        return number


def is_best(scores: dict[str, float], best: dict[str, float] | None, by: str) -> bool:
    """Return whether an epoch's scores are the best so far by one figure; MAE is best when low."""
    if best is None:
        return True
    return scores[by] < best[by] if by == "MAE" else scores[by] > best[by]
