"""Measure how each loss term's gradient in the encoder compares with that of the saliency loss.

    python -m tools.gradient_analysis RUN [--csv FILE] [--weights FILE …] [--num-batches N] [--host-file FILE.py]

The networks are the run's checkpoints, oldest first, and its best.safetensors; or the files that --weights names, of
this run or of others on the same data. The table of a network has one row for each term, means over the batches:

    loss    the weighted term, as in the joint loss after the first epoch
    ratio   norm of its gradient in the encoder's weights, divided by that of the saliency terms together
    cosine  between the two gradients: 1 same direction, 0 orthogonal, -1 opposed

A term with a small ratio hardly changes the encoder, whatever its loss. A term with a cosine near 0 trains the encoder
for something else. For reference, the last row compares the saliency gradients of two different batches.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gradient_analysis",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a training run whose network has an SR branch")
    add("--weights", type=Path, nargs="+", metavar="FILE", help="weights files or checkpoints, instead of the run's")
    add("--csv", type=Path, metavar="FILE", help="also write the tables as CSV: network, term, loss, ratio, cosine")
    add("--num-batches", type=int, default=16, metavar="N", help="training batches to average over (default: 16)")
    add("--batches", help=argparse.SUPPRESS)
    add("--host-file", type=Path, metavar="FILE.py", help="Python file that registers your own network; it is executed")
    options = parser.parse_args(arguments)
    if options.batches is not None:
        parser.error(f"--batches is now --num-batches: use --num-batches {options.batches}")
    return options


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import pandas as pd
import torch
from torch import Tensor

from datasets.cache import Records
from datasets.loader import SalientObjectBatches, Views
from models.losses import loss_terms
from models.own_losses import run_loss_file
from models.sral import SRAL
from tools.run_networks import load_network, open_run
from training.config import TrainingConfig
from training.find_data import find_data
from utils.files import atomic_write
from utils.outputs import check_file

SALIENCY = "saliency"
OTHER_BATCH = "saliency, another batch"


def encoder_gradients(network: SRAL, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of each loss in the encoder's parameters, as one float64 vector.

    Args:
        network: the training network; its encoder's parameters require gradients.
        losses: the result of `weighted_terms`.
    """
    parameters = list(network.detector.encoder.parameters())
    found = {}
    for name, loss in losses.items():
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        found[name] = torch.cat([part.flatten() for part in parts]).double()  # sums over millions of values
    return found


def weighted_terms(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the weighted terms of the joint loss; `saliency` is the sum of the terms of all maps."""
    found: dict[str, Tensor] = {}
    for name, term in terms.items():
        group = SALIENCY if name.startswith(SALIENCY) else name
        found[group] = found.get(group, 0) + weights[name] * term
    return found


def compare_gradients(
    network: SRAL, batches: Sequence[Mapping[str, Tensor]], config: TrainingConfig
) -> dict[str, tuple[float, ...]]:
    """Return loss, ratio and cosine of each term, means over the batches.

    Args:
        network: the training network, in training mode.
        batches: views of at least two batches.
        config: the run's configuration, which holds the weights of the terms.
    """
    weights = config.loss.of_epoch(1)
    rows: dict[str, list[tuple[float, ...]]] = {}
    previous = None
    for views in batches:
        outputs = network(views["rgb"], views["ycbcr"])
        terms = loss_terms(outputs, views, network.tfgm, config.loss.boundary)
        totals = weighted_terms(terms, weights)
        losses = {name: float(total.detach()) for name, total in totals.items()}
        found = encoder_gradients(network, totals)
        saliency = found[SALIENCY]
        for name, gradient in found.items():
            rows.setdefault(name, []).append((losses[name], *_ratio_and_cosine(gradient, saliency)))
        if previous is not None:
            rows.setdefault(OTHER_BATCH, []).append((losses[SALIENCY], *_ratio_and_cosine(previous, saliency)))
        previous = saliency
    return {name: tuple(torch.tensor(each).mean(dim=0).tolist()) for name, each in rows.items()}


def _ratio_and_cosine(gradient: Tensor, saliency: Tensor) -> tuple[float, float]:
    """Return the ratio of the norms of two vectors, and their cosine."""
    return float(gradient.norm() / saliency.norm()), float(torch.cosine_similarity(gradient, saliency, dim=0))


def training_batches(config: TrainingConfig, count: int) -> Iterator[dict[str, Tensor]]:
    """Yield the views of `count` batches of the training part, augmented as in the first epoch.

    Raises:
        ValueError: the training part has too few images.
    """
    pairs, _ = find_data(config.data)
    detector, augmentation, size = config.detector, config.data.augmentation, config.batch_size
    if count * size > len(pairs):
        raise ValueError(f"--num-batches {count}: {len(pairs)} training images make {len(pairs) // size} of {size}")
    records = Records(pairs, detector.input_size, augmentation.detail, config.data.dataset)
    samples = SalientObjectBatches(records, pairs, augmentation, config.seed)
    samples.set_epoch(0)
    views = Views(detector.input_size, detector.mean, detector.std)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(config.seed)).tolist()
    for first in range(0, count * size, size):
        yield views(samples.__getitems__(order[first : first + size]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Bad input ends with one line on standard error and a non-zero exit status."""
    options = _parse_arguments(arguments)
    try:
        config, files = open_run(options.run, options.weights, options.host_file)
        if config.loss_file:
            run_loss_file(config.loss_file)
        if options.num_batches < 2:
            raise ValueError(f"--num-batches {options.num_batches}: at least 2")
        if options.csv:
            check_file(options.csv)
        batches, rows = list(training_batches(config, options.num_batches)), []
        for path in files:
            torch.manual_seed(config.seed)  # for dropout
            caption, network = load_network(path)
            print(f"\n{caption:26} {'loss':>8} {'ratio':>8} {'cosine':>8}")
            for name, (loss, ratio, cosine) in compare_gradients(network.train(), batches, config).items():
                print(f"{name:26} {loss:8.4f} {ratio:8.4f} {cosine:8.3f}")
                rows.append((caption, name, loss, ratio, cosine))
        if options.csv:
            table = pd.DataFrame(rows, columns=["network", "term", "loss", "ratio", "cosine"])
            atomic_write(options.csv, table.to_csv(index=False, lineterminator="\n"))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    command.run(main)
