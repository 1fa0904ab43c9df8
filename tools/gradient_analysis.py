"""What each loss term asks of the encoder: how hard its gradient pulls there, and whether the saliency's way.

    python -m tools.gradient_analysis RUN [--weights FILE …] [--batches N] [--host-file FILE.py]

Looked at are the run's checkpoints, the oldest first, and then its best.safetensors; or the files that --weights names,
of this run or of others on the same data. For every stage a line a term, means over the batches:

    loss    the term with its weight, as it stands in the joint loss after the first epoch
    pull    the length of its gradient in the encoder's weights, over that of the saliency terms together
    cosine  between the two gradients: 1 the same direction, 0 none of the other's business, -1 against it

A term whose pull is small teaches the encoder little, whatever its loss; one whose cosine is near 0 teaches it
something else. The last line has another batch's saliency terms in the term's place: what agreement looks like here.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets.cache import Records
from datasets.loader import SalientObjectBatches, Views
from models.losses import loss_terms
from models.sral import SRAL
from tools.inspect_sr import find_stages, load_stage
from training.config import TrainingConfig
from training.data import find_data

SALIENCY = "saliency"
ANOTHER = "saliency, another batch"


def gradients(network: SRAL, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of each loss in the encoder's parameters, as one vector.

    Args:
        network: the network that trains; its encoder's parameters need gradients.
        losses: what `weighted` gave.
    """
    parameters = list(network.detector.encoder.parameters())
    found = {}
    for name, loss in losses.items():
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        found[name] = torch.cat([part.flatten() for part in parts]).double()  # cosines of millions of values
    return found


def weighted(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The terms as they stand in the joint loss; `saliency` is the sum of the maps' own."""
    found: dict[str, Tensor] = {}
    for name, term in terms.items():
        group = SALIENCY if name.startswith(SALIENCY) else name
        found[group] = found.get(group, 0) + weights[name] * term
    return found


def pulls(
    network: SRAL, made: Sequence[Mapping[str, Tensor]], settings: TrainingConfig
) -> dict[str, tuple[float, ...]]:
    """Loss, pull and cosine of each term, means over batches.

    Args:
        network: the network that trains, in training mode.
        made: the batches' views, at least two.
        settings: the run's: they have the weights.
    """
    weights = settings.loss.of_epoch(1)
    rows: dict[str, list[tuple[float, ...]]] = {}
    before = None
    for views in made:
        outputs = network(views["rgb"], views["ycbcr"])
        terms = loss_terms(outputs, views, network.tfgm, settings.loss.boundary)
        totals = weighted(terms, weights)
        losses = {name: float(total.detach()) for name, total in totals.items()}
        found = gradients(network, totals)
        saliency = found[SALIENCY]
        for name, gradient in found.items():
            rows.setdefault(name, []).append((losses[name], *_compared(gradient, saliency)))
        if before is not None:
            rows.setdefault(ANOTHER, []).append((losses[SALIENCY], *_compared(before, saliency)))
        before = saliency
    return {name: tuple(torch.tensor(each).mean(dim=0).tolist()) for name, each in rows.items()}


def _compared(gradient: Tensor, saliency: Tensor) -> tuple[float, float]:
    """The ratio of two vectors' lengths, and their cosine."""
    return float(gradient.norm() / saliency.norm()), float(torch.cosine_similarity(gradient, saliency, dim=0))


def training_batches(settings: TrainingConfig, count: int) -> Iterator[dict[str, Tensor]]:
    """The views of so many batches of the training part, as augmented in the first epoch.

    Raises:
        ValueError: the part has not so many images.
    """
    pairs, _ = find_data(settings.data)
    detector, augmentation, size = settings.detector, settings.data.augmentation, settings.batch_size
    if count * size > len(pairs):
        raise ValueError(f"--batches {count}: {len(pairs)} training images make {len(pairs) // size} of {size}")
    records = Records(pairs, detector.input_size, augmentation.detail, settings.data.dataset)
    samples = SalientObjectBatches(records, pairs, augmentation, settings.seed)
    samples.set_epoch(0)
    views = Views(detector.input_size, detector.mean, detector.std)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(settings.seed)).tolist()
    for first in range(0, count * size, size):
        yield views(samples.__getitems__(order[first : first + size]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; bad input ends it with one line."""
    options = _parsed(arguments)
    try:
        settings, files = find_stages(options.run, options.weights, options.host_file)
        if options.batches < 2:
            raise ValueError(f"--batches {options.batches}: at least 2")
        made = list(training_batches(settings, options.batches))
        for path in files:
            torch.manual_seed(settings.seed)  # dropout
            caption, network = load_stage(path)
            print(f"\n{caption:26} {'loss':>8} {'pull':>8} {'cosine':>8}")
            for name, (loss, pull, cosine) in pulls(network.train(), made, settings).items():
                print(f"{name:26} {loss:8.4f} {pull:8.4f} {cosine:8.3f}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _parsed(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gradient_analysis",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a training run's folder, whose network has an SR branch")
    add("--weights", type=Path, nargs="+", metavar="FILE", help="weights files or checkpoints to look at instead")
    add("--batches", type=int, default=16, metavar="N", help="training batches to take means over (default: 16)")
    add("--host-file", type=Path, metavar="FILE.py", help="registers the network, where it is your own; it is run")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
