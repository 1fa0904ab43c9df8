"""Count parameters and multiply–adds of the networks that share one set of weights, part by part.

    python benchmarks/complexity.py [--encoder resnet50] [--host Unet] [--size 224] [--json FILE]
    python benchmarks/complexity.py --weights FILE …

Two counters are shown. torch's own is correct: it counts the multiplications of convolutions, linear layers and
attention. thop is what published figures use. It looks at modules alone: it adds batch norms, PReLUs and pooling,
counts a transposed convolution of stride 2 four times, and misses attention's two products and every other
function. Neither counts our interpolations.

`folded` is the exact inference form that every backend runs (`inference/fold.py`).
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Count parameters and multiply-adds, by torch's counter and by thop.", allow_abbrev=False
    )
    parser.add_argument("--encoder", metavar="NAME", help="any timm network that returns features (default: resnet50)")
    parser.add_argument("--host", metavar="NAME", help="another network in place of PPM and TSDD: Unet, FPN, …")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="count the network of a weights file")
    parser.add_argument("--size", type=int, nargs="+", metavar="N", help="side, or height and width, of the input")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args(arguments)
    if options.weights and (options.encoder or options.host):
        parser.error("a weights file names its encoder: give either --weights, or --encoder and --host")
    if options.size and len(options.size) > 2:
        parser.error("--size takes one number, or height and width")
    return options


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from inference.fold import fold
from models.config import DetectorConfig, HostConfig, SRALConfig
from models.detector import check_size
from models.sral import build_sral
from models.weights import read_header
from utils.files import atomic_write

PARTS = {
    "host": "detector.network",
    "encoder": "detector.encoder",
    "PPM": "detector.ppm",
    "TSDD blocks": "detector.tsdd.blocks",
    "finest head": "detector.tsdd.head",
    "coarse heads": "coarse_heads",
    "ASRD": "asrd",
    "TFGM": "tfgm",
}
"""The parts of the training network and their modules; together they are the whole network."""

FORM = {"host": "host.network", "encoder": "encoder", "PPM": "ppm", "TSDD blocks": "blocks", "finest head": "head"}
"""The parts of the inference form and their modules."""

NETWORKS = {
    "training": tuple(PARTS),
    "released evaluation": tuple(PARTS)[:-1],  # keeps ASRD and all five heads
    "pruned": tuple(PARTS)[:5],  # the detector
    "folded": tuple(FORM),
}


NOTHING = f"{'–':>12} {'–':>11} {'–':>11}"
"""Shown for a part that a network lacks."""


@dataclass
class Row:
    """The cost of one part of one network, for one image; `part` is a key of PARTS or 'total'."""

    network: str
    part: str
    parameters: int
    multiply_adds_torch: int
    multiply_adds_thop: int


def measure(config: SRALConfig, size: tuple[int, int]) -> list[Row]:
    """Return the rows of all networks, for the forward pass of one image of `size` (height, width).

    The training network and the inference form are counted; the others consist of parts of the first.

    Raises:
        ValueError: the size does not work, or there is no such encoder.
    """
    check_size(*size)
    network = build_sral(config).eval().to("meta")  # shapes are all that counting needs
    image = torch.empty(1, 3, *size, device="meta")
    pixels = torch.empty(1, *size, 3, dtype=torch.uint8, device="meta")
    whole = count(network, (image, image), PARTS)
    costs = dict.fromkeys(NETWORKS, whole) | {"folded": count(fold(network.detector), (pixels,), FORM)}
    rows = []
    for name, parts in NETWORKS.items():
        cost = [costs[name][part] for part in parts]
        rows += [Row(name, part, *of) for part, of in zip(parts, cost, strict=True)]
        rows.append(Row(name, "total", *map(sum, zip(*cost, strict=True))))
    return rows


def count(network: nn.Module, inputs: tuple[Tensor, ...], where: dict[str, str]) -> dict[str, tuple[int, int, int]]:
    """Return parameters and multiply–adds, by torch's counter and by thop, of the parts of a network.

    Args:
        network: may be on the `meta` device.
        inputs: of its forward pass.
        where: the module's name by part.
    """
    by_torch, by_thop = _count_torch(network, inputs), _count_thop(network, inputs)
    found = {}
    for part, module in where.items():
        parameters = sum(value.numel() for name, value in network.named_parameters() if name.startswith(f"{module}."))
        found[part] = (parameters, by_torch.get(module, 0), by_thop.get(module, 0))
    return found


def multiply_adds(network: nn.Module, *inputs: Tensor) -> int:
    """Return the multiply–adds of a forward pass by torch's counter; the `meta` device works too."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    return counter.get_total_flops() // 2


def _count_torch(network: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """Return the multiply–adds of every module by its name, by torch's counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    counts = {name.partition(".")[2]: sum(of.values()) // 2 for name, of in counter.get_flop_counts().items()}
    for name, module in network.named_modules():
        if isinstance(module, nn.ModuleList):  # is not called itself
            counts[name] = sum(counts.get(f"{name}.{child}", 0) for child, _ in module.named_children())
    return counts


def _count_thop(network: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """Return the same by thop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # thop calls deprecated functions
        import thop

        *_, children = thop.profile(network, inputs, verbose=False, ret_layer_info=True)
    counts = {}

    def walk(children: dict, above: str) -> None:
        for name, (operations, _, below) in children.items():
            counts[above + name] = int(operations)
            walk(below, f"{above}{name}.")

    walk(children, "")
    return counts


def table(rows: list[Row]) -> str:
    """Return the rows as text: a line a part, three columns a network."""
    found = {(row.network, row.part): row for row in rows}
    head = f"{'':13}" + "".join(f"| {name:^37}" for name in NETWORKS)
    units = f"{'part':13}" + f"| {'parameters':>12} {'torch GMAC':>11} {'thop GMAC':>11} " * len(NETWORKS)
    lines = [head, units, "-" * len(units)]
    for part in (*PARTS, "total"):
        cells = [_cell(found.get((network, part))) for network in NETWORKS]
        if part in PARTS and set(cells) == {NOTHING}:
            continue
        lines.append(f"{part:13}" + "".join(f"| {cell} " for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def _cell(row: Row | None) -> str:
    if row is None or row.parameters == row.multiply_adds_torch == 0:
        return NOTHING
    return f"{row.parameters:>12,} {row.multiply_adds_torch / 1e9:>11.3f} {row.multiply_adds_thop / 1e9:>11.3f}"


def main() -> None:
    """Run the command; bad input ends it with one line."""
    options = _parse_arguments()
    try:
        config = configuration(options.encoder or "resnet50", options.weights, options.host)
        height, width = (options.size * 2)[:2] if options.size else config.detector.input_size
        rows = measure(config, (height, width))
        print(f"{config.detector.name}, one image of {height}×{width}\n\n{table(rows)}")
        if options.json:
            found = {"encoder": config.detector.encoder, "size": [height, width], "rows": [asdict(row) for row in rows]}
            atomic_write(options.json, json.dumps(found, indent=1) + "\n")
    except ModuleNotFoundError as error:
        if error.name != "thop":
            raise
        sys.exit("error: thop is not installed; `pip install -r requirements.txt` brings it")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def configuration(encoder: str, weights: Path | None, host: str | None = None) -> SRALConfig:
    """Return the configuration of a weights file's network, or of the paper's or a host's with an encoder.

    A file of the inference network does not record the branches of its training. The paper's branches are counted; a
    host has no coarse heads.
    """
    detector = DetectorConfig(encoder=encoder, host=HostConfig(host) if host else None)
    if weights is not None:
        config = read_header(weights)["config"]
        if isinstance(config, SRALConfig):
            return config
        detector = config
    return SRALConfig(detector, deep_supervision=detector.host is None)


if __name__ == "__main__":
    command.run(main)
