"""What `benchmarks/training.py` measures, and its tables."""

import statistics
from dataclasses import dataclass

from benchmarks.markdown import table
from benchmarks.training_sides import RELEASE


@dataclass
class Row:
    """A side's figures: `what` is 'loader' or 'step', `seconds` those of each block of so many `images`."""

    network: str
    what: str
    side: str
    images: int
    seconds: list[float]
    ms_per_image: float
    images_per_second: float
    times_release: float


@dataclass
class CacheCost:
    """What the cache of one network's records costs once; `epochs` until that is less than the release's loading."""

    network: str
    images: int
    gigabytes: float
    seconds: float
    epochs: int | None


@dataclass
class PartTime:
    """Milliseconds that one part of our step takes; `phase` is 'forward', 'backward' or, outside the network, ''."""

    network: str
    part: str
    phase: str
    milliseconds: float


@dataclass
class Findings:
    """All that is measured."""

    rows: list[Row]
    caches: list[CacheCost]
    parts: list[PartTime]


def rows_of(network: str, what: str, images: int, seconds: dict[str, list[float]]) -> list[Row]:
    """The rows of blocks of so many images, from their seconds by side."""
    medians = {side: statistics.median(of) for side, of in seconds.items()}
    return [
        Row(network, what, side, images, of, 1e3 * medians[side] / images, images / medians[side],
            medians[RELEASE] / medians[side])
        for side, of in seconds.items()
    ]  # fmt: skip


def tables(findings: Findings, batch: int) -> str:
    """The findings in Markdown; `batch` is the images a step."""
    caches = [
        (each.network, str(each.images), f"{each.gigabytes:.2f}", f"{each.seconds:.1f}", str(each.epochs or "never"))
        for each in findings.caches
    ]
    texts = [
        "Loading alone: from files to float views on the device\n",
        _rows_table([row for row in findings.rows if row.what == "loader"], "ms an image", 1),
        "\nWhole steps, their loading included\n",
        _rows_table([row for row in findings.rows if row.what == "step"], "ms a step", batch),
        "\nThe cache, built once for a set and its sizes\n",
        table(("network", "images", "GB", "seconds to build", "epochs until it has paid for itself"), caches),
    ]
    for network in dict.fromkeys(each.network for each in findings.parts):
        parts = [each for each in findings.parts if each.network == network]
        texts += [f"\nWhere our step's time goes: {network}, not compiled\n", _parts_table(parts)]
    return "\n".join(texts)


def _rows_table(rows: list[Row], unit: str, images: int) -> str:
    lines = [
        (row.network, row.side, f"{row.ms_per_image * images:.2f}", f"{row.images_per_second:.2f}",
         f"{row.times_release:.2f}×")
        for row in rows
    ]  # fmt: skip
    return table(("network", "side", unit, "images a second", "against the release"), lines)


def _parts_table(parts: list[PartTime]) -> str:
    spent = {(each.part, each.phase): each.milliseconds for each in parts}
    whole = sum(spent.values())
    lines = []
    for part in dict.fromkeys(part for part, _ in spent):
        forward = spent.get((part, "forward"), spent.get((part, "")))
        both = [forward, spent.get((part, "backward"))]
        share = sum(each for each in both if each is not None) / whole
        lines.append((part, *("–" if each is None else f"{each:.1f}" for each in both), f"{share:.1%}"))
    lines.append(("all", f"{whole:.1f}", "", "100%"))
    return table(("part", "forward, ms", "backward, ms", "of the step"), lines)
