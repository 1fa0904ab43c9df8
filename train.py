"""Train SRAL: a configuration becomes a run folder.

    python train.py --config configs/NAME.yaml [--key value …] [--resume]

The run folder holds last.safetensors and best.safetensors for getsmaps.py, checkpoint.pt for --resume, config.yaml and
versions.json to do it again, and log.csv, curves.png and tensorboard/ to look at. `--help` shows every key.
"""

import os
import sys
import time
import warnings
from pathlib import Path

# Before torch loads OpenMP: the processes that read images share the CPU's cores with the network, and threads that
# spin at OpenMP's barriers while another waits for its core make a step up to ten times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, RandomSampler
from tqdm import tqdm

from datasets.catalog import Pair, find_pairs, pair_folders, split_validation
from datasets.sample import make_sample_set
from datasets.views import SalientObjectViews
from models.detector import check_size
from models.losses import joint_loss, loss_terms
from models.sral import build_sral
from models.weights import save_weights
from training.average import build_average
from training.checkpoint import NAME as CHECKPOINT
from training.checkpoint import load_checkpoint, save_checkpoint
from training.logbook import Logbook, versions, write_record
from training.schedule import build_optimiser, build_schedule
from training.settings import DataSettings, Settings, dump, parse
from training.validation import validate


def main() -> None:
    """Run the command; bad input ends it with one line."""
    settings, resume = parse()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        settings.check()
        train(settings, resume)
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"stopped: --resume continues {settings.output} after its last whole epoch")


def train(settings: Settings, resume: bool) -> None:
    """Train from the settings' beginning, or from where the run in settings.output stopped."""
    # A folder that holds a run is only touched to go on with it.
    folder = Path(settings.output)
    if not resume and any((folder / name).exists() for name in (CHECKPOINT, "last.safetensors")):
        raise ValueError(f"{folder} already holds a run: --resume continues it, another --output starts a new one")
    resume = resume and (folder / CHECKPOINT).is_file()

    # Everything that can be wrong with the input comes to light before anything is written or computed.
    accelerator = build_accelerator(settings)
    check_size(*settings.detector.input_size)
    training_pairs, validation_pairs = find_data(settings.data)
    steps_per_epoch = len(training_pairs) // settings.batch_size
    if steps_per_epoch == 0:
        raise ValueError(f"{len(training_pairs)} training images are less than one batch of {settings.batch_size}")
    torch.manual_seed(settings.seed)
    network = build_sral(settings.network(), "none" if resume else settings.encoder_weights)  # a checkpoint has its own

    # The loaders. An epoch's order and augmentations depend on the seed and the epoch alone.
    shared = {"size": settings.detector.input_size, "name": settings.data.dataset}
    shared |= {"mean": settings.detector.mean, "std": settings.detector.std, "seed": settings.seed}
    views = SalientObjectViews(training_pairs, augment=settings.data.augmentation, **shared)
    order = torch.Generator()
    workers = {"num_workers": settings.data.workers, "pin_memory": accelerator.device.type == "cuda"}
    batches = DataLoader(
        views, settings.batch_size, sampler=RandomSampler(views, generator=order), drop_last=True,
        persistent_workers=settings.data.workers > 0, **workers,
    )  # fmt: skip
    validation = DataLoader(SalientObjectViews(validation_pairs, **shared), settings.batch_size, **workers)

    # What is optimised, and how.
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    network = network.to(accelerator.device, memory_format=layout)
    average = build_average(network, settings.optimiser.ema)
    encoder = network.detector.encoder
    optimiser = build_optimiser(network, encoder, settings.optimiser, fused=accelerator.device.type == "cuda")
    schedule = build_schedule(optimiser, settings.optimiser, settings.epochs, steps_per_epoch)
    prepared, optimiser = accelerator.prepare(network, optimiser)
    kept = average.module if average is not None else network  # what is validated and written

    parts = {"network": network, "average": average, "optimiser": optimiser, "schedule": schedule}
    parts["scaler"] = accelerator.scaler
    progress = {"epochs": 0, "best": None}
    if resume:
        progress = load_checkpoint(folder, settings, parts)

    folder.mkdir(parents=True, exist_ok=True)
    about = {"seed": settings.seed, "command": " ".join(sys.argv), "versions": versions()}
    write_record(folder, dump(settings), about)
    logbook = Logbook(folder, progress["epochs"], progress["epochs"] * steps_per_epoch)
    print(
        f"{len(training_pairs)} training and {len(validation_pairs)} validation images, {settings.epochs} epochs of "
        f"{steps_per_epoch} steps, on {accelerator.device} in {settings.precision}"
        + (f", from epoch {progress['epochs'] + 1}" if resume else "")
    )
    if settings.epochs == 0:
        save_weights(folder / "last.safetensors", kept, about | {"epoch": 0})
        save_weights(folder / "best.safetensors", kept, about | {"epoch": 0})

    for epoch in range(progress["epochs"], settings.epochs):
        started = time.perf_counter()
        views.set_epoch(epoch)
        order.manual_seed(settings.seed + epoch)
        weights = settings.loss.of_epoch(epoch)
        sums: dict[str, float] = {}
        prepared.train()
        bar = tqdm(batches, f"epoch {epoch + 1}/{settings.epochs}", leave=False, mininterval=0.5)
        for number, batch in enumerate(bar):
            step = epoch * steps_per_epoch + number
            batch = {
                name: value.to(accelerator.device, memory_format=layout, non_blocking=True)
                for name, value in batch.items()
                if name != "stem"
            }
            outputs = prepared(batch["rgb"], batch["ycbcr"])
            terms = loss_terms(outputs, batch, network.tfgm)
            total = joint_loss(terms, weights)
            values = finite(terms | {"total": total}, step)

            accelerator.backward(total)
            if settings.optimiser.clip:
                accelerator.clip_grad_norm_(network.parameters(), settings.optimiser.clip)
            optimiser.step()
            optimiser.zero_grad()
            if not accelerator.optimizer_step_was_skipped:  # fp16's scaler skips a step that overflowed
                schedule.step()
            if average is not None:
                average.update_parameters(network)

            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
            if step % 10 == 0:
                rates = {"lr": optimiser.param_groups[-1]["lr"]}
                logbook.step(step, values | rates)
                bar.set_postfix({name: f"{value / (number + 1):.3f}" for name, value in sums.items()})

        # The epoch's end: scores, logs, weights, and last the checkpoint, which says that all of them are there.
        seconds = time.perf_counter() - started
        row = {"epoch": epoch + 1} | {name: value / steps_per_epoch for name, value in sums.items()}
        row |= {"lr": optimiser.param_groups[-1]["lr"], "seconds": seconds}
        row["images_per_second"] = steps_per_epoch * settings.batch_size / seconds
        scores = {}
        if validation_pairs:
            with accelerator.autocast():
                scores = validate(kept.detector, validation, accelerator.device)
        logbook.epoch(row | scores, (epoch + 1) * steps_per_epoch)
        about |= {"epoch": epoch + 1, "validation": scores}
        save_weights(folder / "last.safetensors", kept, about)
        if is_best(scores, progress["best"], settings.best_by):
            progress["best"] = scores | {"epoch": epoch + 1}
            save_weights(folder / "best.safetensors", kept, about)
        progress["epochs"] = epoch + 1
        save_checkpoint(folder, settings, parts, progress)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in ({"total": row["total"]} | scores).items())
        tqdm.write(f"epoch {epoch + 1}/{settings.epochs}: {shown}  {seconds:.0f} s")

    best = progress["best"] or {}
    print(f"{folder}/last.safetensors and best.safetensors (epoch {best.get('epoch', 0)}) are ready for getsmaps.py")


def build_accelerator(settings: Settings) -> Accelerator:
    """The device and precision that were asked for, or an error that says why they cannot be had."""
    has_gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not has_gpu:
        raise ValueError("device cuda: torch finds no GPU here; set device to auto or cpu")
    on_cpu = settings.device == "cpu" or not has_gpu
    if on_cpu and settings.precision == "fp16":
        raise ValueError("precision fp16: only on a GPU; set precision to bf16 or fp32")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return Accelerator(mixed_precision="no" if settings.precision == "fp32" else settings.precision, cpu=on_cpu)


def find_data(settings: DataSettings) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs; the test split is not looked at."""
    if settings.dataset == "folders":
        pairs = pair_folders(settings.images, settings.masks)
    else:
        if settings.dataset == "sample":
            make_sample_set(Path(settings.root))
        pairs = find_pairs(settings.dataset, settings.root, "train")
    return split_validation(pairs, settings.validation, settings.validation_seed)


def finite(values: dict[str, torch.Tensor], step: int) -> dict[str, float]:
    """The loss terms as numbers, in one transfer; a FloatingPointError names those that are not finite."""
    numbers = dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
    wrong = [name for name, number in numbers.items() if abs(number) == float("inf") or number != number]
    if wrong:
        raise FloatingPointError(
            f"step {step}: loss term {', '.join(wrong)} is not finite; lower optimiser.lr, set optimiser.clip, or use "
            "precision fp32; the last epoch's weights and checkpoint are intact"
        )
    return numbers


def is_best(scores: dict[str, float], best: dict[str, float] | None, by: str) -> bool:
    """Whether this epoch is the one to keep: the best so far by one figure, or the latest where none is validated."""
    if not scores or best is None:
        return True
    return scores[by] < best[by] if by == "MAE" else scores[by] > best[by]


if __name__ == "__main__":
    main()
