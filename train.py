"""Train SRAL: a configuration becomes a run folder.

    python train.py --config configs/NAME.yaml [--key value …] [--dry-run] [--resume [--force]]
    accelerate launch --num_processes N train.py …          several GPUs or machines; torchrun starts it too

The run folder holds last.safetensors and best.safetensors for getsmaps.py, checkpoints/ for --resume, config.yaml and
versions.json to do it again, and log.csv, curves.png, validation.png and tensorboard/ to look at; finished.json comes
last. `--help` shows every key.
"""

import os
import signal
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

# Before torch loads OpenMP: threads that spin for long at its barriers, while another waits for a core that some other
# process has, make a step up to ten times slower; threads that sleep at once make it a tenth slower on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.cache import Records, cache_bytes, open_cache
from datasets.catalog import Pair
from datasets.loader import SalientObjectBatches, Views, as_it_is
from datasets.pairs import warning_lines
from datasets.transforms import ycbcr_to_rgb
from models.detector import check_size
from models.heads import set_foreground_prior
from models.hosts import run_host_file
from models.losses import joint_loss, loss_terms
from models.sral import SRAL, build_sral
from models.weights import holds_tokens, save_weights, start_from
from training.checkpoint import checkpoints, claimed, clear_unfinished, load_checkpoint, save_checkpoint
from training.config import Start, TrainingConfig, dump, parse
from training.data import find_data
from training.distillation import load_teacher
from training.distributed import build_accelerator, precision_of, train_as_one
from training.dry_run import Cost, rehearse
from training.ema import build_average
from training.logger import FINISHED, Logger, versions, write_finished, write_record
from training.optim import build_optimizer, build_schedule
from training.sampler import ResumableBatchSampler
from training.signals import Stopping, leave_signals_to_the_main_process
from training.step import LossAccumulator, Step
from training.validation import validate
from training.visualize import draw_validation, showcase
from utils.devices import keep_freed_memory

SETTLE_EVERY = 10
"""Steps between two looks at the losses: each look waits for the device."""

SHOWN = 6
"""Validation images in validation.png."""


def main() -> None:
    """Run the command; bad input ends it with one line."""
    start = parse()
    keep_freed_memory()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        start.settings.check()
        stopped_by = train(start)
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except torch.OutOfMemoryError:
        sys.exit("error: a step does not fit into the GPU's memory: lower batch_size, or set precision to bf16 or fp16")
    except KeyboardInterrupt:
        sys.exit(f"stopped: --resume continues {start.settings.output} after its last checkpoint")
    if stopped_by:
        sys.exit(128 + stopped_by)


def train(start: Start) -> int:
    """Train from the settings' beginning, or from where the run in settings.output stopped.

    Returns:
        The number of the signal that stopped it, or 0.
    """
    settings, folder = start.settings, Path(start.settings.output)

    # A folder that holds a run is only touched to go on with it.
    held = (folder / "last.safetensors").exists() or bool(checkpoints(folder))
    if held and not start.resume and not start.dry_run:
        raise ValueError(f"{folder} already holds a run: --resume continues it, another --output starts a new one")
    resume = start.resume and bool(checkpoints(folder))

    # Everything that can be wrong with the input comes to light before anything is written or computed.
    accelerator = build_accelerator(
        settings.device, settings.precision, settings.compile, settings.sync_batch_norm, settings.threads
    )
    device, precision, is_main = accelerator.device, precision_of(accelerator), accelerator.is_main_process
    processes, process = accelerator.num_processes, accelerator.process_index
    check_size(*settings.detector.input_size)
    if settings.host_file:
        run_host_file(settings.host_file)
    with accelerator.local_main_process_first():  # it may have to render the sample set
        pairs, training_pairs, validation_pairs = find_data(settings.data)
    order = ResumableBatchSampler(len(training_pairs), settings.batch_size, settings.seed, process, processes)
    torch.manual_seed(settings.seed)
    encoder_weights = "none" if resume or settings.weights else settings.encoder_weights  # the file has all of them
    filled = resume or (settings.weights and holds_tokens(settings.weights))
    network = build_sral(settings.network(), encoder_weights, "none" if filled else settings.token_weights)
    if settings.foreground_prior is not None:
        set_foreground_prior(network, settings.foreground_prior)  # what starts from a file is overwritten below
    if settings.weights and not resume:
        anew = start_from(settings.weights, network)
        if is_main:
            print(f"starts from {settings.weights}" + f", but for {', '.join(anew)}" * bool(anew))

    if settings.detector.tokens is not None:
        network.detector.encoder.tokens.freeze(settings.optimizer.frozen_blocks)

    teacher = None
    if settings.teacher:
        size = settings.detector.input_size
        teacher = load_teacher(settings.teacher, size, device, ycbcr_to_rgb, accelerator.autocast)

    # The images. What is done to them in an epoch depends on the seed, the epoch and their places alone.
    with accelerator.local_main_process_first():  # it builds the cache, the others find it built
        fine, plain = (
            open_records(pairs, settings, detail, start.dry_run) for detail in (settings.data.augmentation.detail, 1.0)
        )
    if is_main:
        for line in warning_lines(settings.data.dataset, plain.mask_warnings()):
            warnings.warn(line, stacklevel=1)
    samples = SalientObjectBatches(fine, training_pairs, settings.data.augmentation, settings.seed)
    held_out = SalientObjectBatches(plain, validation_pairs)
    workers = {"num_workers": settings.data.workers, "persistent_workers": settings.data.workers > 0}
    batches = DataLoader(
        samples, batch_sampler=order, collate_fn=as_it_is, pin_memory=device.type == "cuda",
        worker_init_fn=leave_signals_to_the_main_process, **workers,
        generator=torch.Generator(),  # by itself it draws from dropout's random numbers whenever it starts
    )  # fmt: skip
    views = Views(settings.detector.input_size, settings.detector.mean, settings.detector.std, device)

    # What is optimized, and how.
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    network = network.to(device, memory_format=layout)
    average = build_average(network, settings.optimizer.ema)
    network = train_as_one(network, processes, process, settings.sync_batch_norm)
    optimizer = build_optimizer(network, network.detector.encoder, settings.optimizer)
    schedule = build_schedule(optimizer, settings.optimizer, settings.epochs, order.steps)
    prepared, optimizer = accelerator.prepare(network, optimizer)
    kept = average.module if average is not None else network  # what is validated and written

    def losses(made: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if teacher is not None:
            made["teacher"] = teacher(made)
        terms = loss_terms(prepared(made["rgb"], made["ycbcr"]), made, network.tfgm, settings.loss.boundary)
        if settings.tfgm.affinity_batch == "sum" and "affinity" in terms:
            terms["affinity"] = terms["affinity"] * processes  # the processes' gradients are averaged, not summed
        return terms

    step = Step(accelerator, network, losses, joint_loss, optimizer, schedule, average, settings.optimizer.clip)
    prepared.train()

    if start.dry_run:
        weights = settings.loss.of_epoch(1)
        cost = rehearse(batches, lambda batch: step(views(batch), weights), device)
        if is_main:
            print(describe(settings, network, order, cost, len(pairs), f"{device} in {precision}"))
        return 0

    with ExitStack() as open_things:
        if is_main:
            open_things.enter_context(claimed(folder))
            clear_unfinished(folder)
        stopping = open_things.enter_context(Stopping())

        parts = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
        parts["scaler"] = accelerator.scaler
        progress = {"epoch": 0, "step": 0, "sums": {}, "epoch_seconds": 0.0, "seconds": 0.0, "best": None}
        if resume:
            progress |= load_checkpoint(folder, settings, parts, start.force)
            before = progress.get("precision", precision)  # older checkpoints do not say
            if is_main and before != precision:
                warnings.warn(f"the run was in {before} so far and goes on in {precision}", stacklevel=1)
        progress["precision"] = precision
        done = progress["epoch"] * order.steps + progress["step"]

        about = {"seed": settings.seed, "command": " ".join(sys.argv), "versions": versions()}
        logger = None
        if is_main:
            (folder / FINISHED).unlink(missing_ok=True)
            write_record(folder, dump(settings), about)
            logger = Logger(folder, progress["epoch"], done)
            print(
                f"{len(training_pairs)} training and {len(validation_pairs)} validation images, {settings.epochs} "
                f"epochs of {order.steps} steps, on {processes} × {device.type} in {precision}"
                + (f", from epoch {progress['epoch'] + 1}, step {progress['step'] + 1}" if resume else "")
            )
        if settings.epochs == 0 and is_main:
            for name in ("last", "best"):
                save_weights(folder / f"{name}.safetensors", kept, about | {"epoch": 0})

        def save(values: dict) -> None:
            progress.update(values)
            if is_main:
                save_checkpoint(folder, settings, parts, progress, done, settings.checkpoints_kept)

        for epoch in range(progress["epoch"], settings.epochs):
            started = time.perf_counter() - progress["epoch_seconds"]
            next_checkpoint = time.monotonic() + 60 * (settings.checkpoint_minutes or float("inf"))
            samples.set_epoch(epoch)
            order.start(epoch, progress["step"])
            weights = settings.loss.of_epoch(epoch)
            losses_seen = LossAccumulator(progress["sums"])
            prepared.train()
            label = f"epoch {epoch + 1}/{settings.epochs}"
            bar = tqdm(
                batches,
                label,
                order.steps,
                initial=progress["step"],
                leave=False,
                mininterval=0.5,
                disable=None if is_main else True,  # None: no bar where it would fill a log
            )
            for number, batch in enumerate(bar, progress["step"] + 1):
                losses_seen.note(step(views(batch), weights))
                done += 1

                # Looking at the losses waits for the device, and for the other processes: now and then is enough.
                alone = processes == 1 and (stopping.signal or time.monotonic() >= next_checkpoint)
                if done % SETTLE_EVERY and number < order.steps and not alone:
                    continue
                values = losses_seen.settle(accelerator, done)
                if logger:
                    logger.step(done - 1, values | {"lr": optimizer.param_groups[-1]["lr"]})
                    bar.set_postfix(loss=f"{losses_seen.sums['total'] / number:.3f}")
                stop = stopping.agreed(accelerator)
                if number < order.steps and (stop or time.monotonic() >= next_checkpoint):
                    seconds = time.perf_counter() - started
                    save({"epoch": epoch, "step": number, "sums": losses_seen.sums, "epoch_seconds": seconds})
                    next_checkpoint = time.monotonic() + 60 * settings.checkpoint_minutes
                    if stop:
                        bar.close()
                        return stopped(stop, f"{label}, step {number}", folder, is_main)

            # The epoch's end: scores, logs, weights, and last the checkpoint, which says that all of them are there.
            seconds = time.perf_counter() - started
            row = {"epoch": epoch + 1} | {name: value / order.steps for name, value in losses_seen.sums.items()}
            row |= {"lr": optimizer.param_groups[-1]["lr"], "seconds": seconds}
            row["images_per_second"] = order.steps * settings.batch_size / seconds
            last = epoch + 1 == settings.epochs
            validated = bool(validation_pairs) and (last or (epoch + 1) % settings.validate_every == 0)
            scores = {}
            if validated:
                share = held_out.in_batches(settings.batch_size // processes, process, processes)
                scores = validate(kept.detector, share, views, accelerator)
            best = is_best(scores, progress["best"], settings.best_by) if validated else not validation_pairs
            about |= {"epoch": epoch + 1, "validation": scores}
            if is_main:
                logger.epoch(row | scores, done, last)
                save_weights(folder / "last.safetensors", kept, about)
                if best:
                    save_weights(folder / "best.safetensors", kept, about)
                if validated:
                    few = held_out.spread(SHOWN)
                    columns = showcase(kept, views(few), ycbcr_to_rgb)
                    draw_validation(folder / "validation.png", columns, few["stem"], f"{label}: {line_of(scores)}")
            progress["seconds"] += seconds
            progress["best"] = scores | {"epoch": epoch + 1} if best else progress["best"]
            save({"epoch": epoch + 1, "step": 0, "sums": {}, "epoch_seconds": 0.0})
            if is_main:
                left = progress["seconds"] / (epoch + 1) * (settings.epochs - epoch - 1)
                tqdm.write(
                    f"{label}: {line_of({'total': row['total']} | scores)}  {seconds:.0f} s, {duration(left)} left"
                )
            stop = stopping.agreed(accelerator)
            if stop and not last:
                return stopped(stop, label, folder, is_main)

        if is_main:
            best = progress["best"] or {"epoch": 0}
            result = {"epochs": settings.epochs, "best": progress["best"]}
            write_finished(folder, result | {"seconds": progress["seconds"], "seed": settings.seed})
            print(f"{folder}/last.safetensors and best.safetensors (epoch {best['epoch']}) are ready for getsmaps.py")
    return 0


def open_records(pairs: list[Pair], settings: TrainingConfig, detail: float, on_demand: bool) -> Records:
    """The pairs' pixels: from the cache, or decoded on demand, which writes nothing."""
    size, name = settings.detector.input_size, settings.data.dataset
    if settings.data.cache is None or on_demand:
        return Records(pairs, size, detail, name)
    return open_cache(pairs, size, detail, settings.data.cache, name)


def describe(
    settings: TrainingConfig, network: SRAL, order: ResumableBatchSampler, cost: Cost, pairs: int, where: str
) -> str:
    """What --dry-run says."""
    height, width = settings.detector.input_size
    trained, kept = (sum(p.numel() for p in part.parameters()) for part in (network, network.detector))
    needed = {(d, cache_bytes(pairs, (height, width), d)) for d in (1.0, settings.data.augmentation.detail)}
    epoch = cost.step_seconds * order.steps
    lines = [
        f"network    {settings.detector.name}: {trained:,} parameters while it trains, {kept:,} for inference",
        f"sizes      {settings.batch_size} × {height}×{width} a step, maps and SR target {2 * height}×{2 * width}",
        f"data       {order.images} training images: {order.steps} steps an epoch, {settings.epochs} epochs",
        f"cache      {sum(size for _, size in needed) / 1e9:.2f} GB in {settings.data.cache}" if settings.data.cache
        else f"cache      none: files are decoded in every epoch, {1e3 * cost.load_seconds:.0f} ms a batch a process",
        f"memory     {cost.memory / 1e9:.2f} GB at the peak, on {where}",
        f"time       {cost.step_seconds:.3f} s a step, {duration(epoch)} an epoch, {duration(epoch * settings.epochs)} "
        "in all, validation not counted",
    ]  # fmt: skip
    return "\n".join(lines)


def is_best(scores: dict[str, float], best: dict[str, float] | None, by: str) -> bool:
    """Whether a validated epoch is the best so far by one figure."""
    if best is None:
        return True
    return scores[by] < best[by] if by == "MAE" else scores[by] > best[by]


def stopped(number: int, where: str, folder: Path, aloud: bool) -> int:
    """Say that a signal ended the run, and give its number."""
    if aloud:
        name = signal.Signals(number).name
        print(f"stopped by {name} after {where}: --resume continues {folder} from there", file=sys.stderr)
    return number


def line_of(values: dict[str, float]) -> str:
    """Figures on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


def duration(seconds: float) -> str:
    """A time as a person says it."""
    whole = round(seconds)
    return f"{whole // 3600} h {whole % 3600 // 60:02} min" if whole >= 3600 else f"{whole // 60} min {whole % 60:02} s"


if __name__ == "__main__":
    main()
