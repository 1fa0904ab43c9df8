"""The rows that `benchmarks/inference.py` measures, and its Markdown tables.

    python -m benchmarks.inference_tables FILE.json …     one table of several runs

Where several runs measured a variant, the last one counts. Ratios are to the release of the last run that has it.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

RELEASED = "released"
"""The backend of the release's evaluation."""
MISSING = ("–", "–")
DIFFERENCES = ("max_difference", "mean_difference", "flipped")


@dataclass
class Row:
    """The time of a variant for a batch, and the differences of its maps.

    Attributes:
        ratio: speed-up over the release; None if the release cannot run.
        of_product: its multiply–adds per second over those of the best matrix product of its precision.
    """

    network: str
    backend: str
    precision: str
    device: str
    batch: int
    median_ms: float
    ratio: float | None
    images_per_second: float
    rounds: int
    max_difference: float
    mean_difference: float
    flipped: float
    gmac: float
    gmac_per_second: float
    of_product: float


@dataclass
class ProductRate:
    """Multiply–adds per second of a matrix product, timed interleaved with the variants at this batch size."""

    precision: str
    product: str
    batch: int
    gmac_per_second: float


@dataclass
class OtherRow:
    """The time of another network for one image, from 8-bit pixels to the map; `ratio` as in Row."""

    network: str
    backend: str
    precision: str
    batch: int
    median_ms: float
    ratio: float | None


@dataclass
class Skipped:
    """A variant that cannot run here; `batch` is None if no batch size can."""

    network: str
    backend: str
    precision: str
    batch: int | None
    reason: str


@dataclass
class Score:
    """A variant's scores on a data set under protocol `authors`."""

    network: str
    backend: str
    precision: str
    images: int
    Fbeta: float
    MAE: float
    Sm: float


@dataclass
class Findings:
    """All results, in the layout of the JSON file."""

    variants: list[Row] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    roofline: list[ProductRate] = field(default_factory=list)
    baselines: list[OtherRow] = field(default_factory=list)
    accuracy: list[Score] = field(default_factory=list)


KINDS = {
    "variants": Row, "skipped": Skipped, "roofline": ProductRate, "baselines": OtherRow, "accuracy": Score
}  # fmt: skip
"""The kinds of rows in a JSON file."""
KEYS = ("network", "backend", "product", "precision", "batch")
"""What tells two rows of a kind apart."""


def merged(runs: Iterable[dict[str, Any]]) -> Findings:
    """Return the findings of several JSON files as one.

    Raises:
        KeyError, TypeError, AttributeError: a run has another layout.
    """
    rows: dict[str, dict[tuple[Any, ...], Any]] = {name: {} for name in KINDS}
    for run in runs:
        for name, kind in KINDS.items():
            for values in run[name]:
                row = kind(**values)
                rows[name][*(getattr(row, key, None) for key in KEYS)] = row
    findings = Findings(**{name: list(of.values()) for name, of in rows.items()})
    released = {row.batch: row.median_ms for row in findings.variants if row.backend == RELEASED}
    for row in (*findings.variants, *findings.baselines):
        row.ratio = released[row.batch] / row.median_ms if row.batch in released else None
    return findings


def tables(findings: Findings, batches: Sequence[int]) -> str:
    """Return the results as Markdown."""
    texts = ["Milliseconds an image, and differences of the maps\n", _speed_table(findings.variants, batches)]
    texts += ["", *_best_lines(findings.variants)]
    if findings.baselines:
        others = [(*_names(each), f"{each.median_ms:.1f}", _times(each.ratio)) for each in findings.baselines]
        head = ["network", "backend", "precision", "ms, batch 1", "against the release"]
        texts += ["\nOther networks\n", table(head, others, 3)]
    if findings.accuracy:
        scores = [
            (*_names(each), f"{each.Fbeta:.4f}", f"{each.MAE:.4f}", f"{each.Sm:.4f}") for each in findings.accuracy
        ]
        head = ["network", "backend", "precision", "Fβ ↑", "MAE ↓", "Sm ↑"]
        texts += [f"\nAccuracy, protocol `authors`, {findings.accuracy[0].images} images\n", table(head, scores, 3)]
    texts += ["\nMatrix products, GMAC a second\n", _products_table(findings.roofline, batches)]
    texts += ["\nNetworks, GMAC a second, and their share of the best product\n"]
    texts += [_rates_table(findings.variants, batches)]
    if findings.skipped:
        texts += ["\nCannot run here\n", *_skipped_lines(findings.skipped)]
    return "\n".join(texts)


def _names(row: Row | OtherRow | Score | Skipped) -> tuple[str, str, str]:
    return row.network, row.backend, row.precision


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}×"


def _by_batch(rows: Iterable[Row]) -> dict[tuple[str, str, str], dict[int, Row]]:
    found: dict[tuple[str, str, str], dict[int, Row]] = {}
    for row in rows:
        found.setdefault(_names(row), {})[row.batch] = row
    return found


def _speed_table(rows: Sequence[Row], batches: Sequence[int]) -> str:
    lines = []
    for names, of in _by_batch(rows).items():
        times = [(f"{of[b].median_ms / b:.1f}", _times(of[b].ratio)) if b in of else MISSING for b in batches]
        worst = [max(getattr(row, what) for row in of.values()) for what in DIFFERENCES]
        lines.append((*names, *chain(*times), *(f"{value:.1e}" for value in worst)))
    columns = [column for batch in batches for column in (f"batch {batch}", "against the release")]
    return table(("network", "backend", "precision", *columns, "largest difference", "mean", "flipped"), lines, 3)


def _best_lines(rows: Sequence[Row]) -> list[str]:
    """Return each network's highest throughput, compared with the release's at batch 1."""
    single = [row.images_per_second for row in rows if row.backend == RELEASED and row.batch == 1]
    lines = []
    for network in dict.fromkeys(row.network for row in rows):
        best = max((row for row in rows if row.network == network), key=lambda row: row.images_per_second)
        times = f", {best.images_per_second / single[0]:.1f}× the release's {single[0]:.2f}" if single else ""
        lines.append(
            f"{network}: at most {best.images_per_second:.1f} images per second ({best.backend} in {best.precision}, "
            f"batches of {best.batch}){times}."
        )
    return lines


def _products_table(rates: Sequence[ProductRate], batches: Sequence[int]) -> str:
    found: dict[tuple[str, str], dict[int, float]] = {}
    for rate in rates:
        found.setdefault((rate.precision, rate.product), {})[rate.batch] = rate.gmac_per_second
    lines = [(*key, *(f"{of[batch]:,.0f}" for batch in batches)) for key, of in found.items()]
    return table(("precision", "product", *(f"beside batches of {batch}" for batch in batches)), lines, 2)


def _rates_table(rows: Sequence[Row], batches: Sequence[int]) -> str:
    lines = []
    for names, of in _by_batch(rows).items():
        rates = [(f"{of[b].gmac_per_second:.0f}", f"{of[b].of_product:.0%}") if b in of else MISSING for b in batches]
        gmac = next(iter(of.values())).gmac
        lines.append((*names, f"{gmac:.2f}", *chain(*rates)))
    columns = [column for batch in batches for column in (f"batch {batch}", "of the product")]
    return table(("network", "backend", "precision", "GMAC an image", *columns), lines, 3)


def _skipped_lines(skipped: Sequence[Skipped]) -> list[str]:
    """Return a line for each reason, with the variants that it stops."""
    reasons: dict[str, dict[str, None]] = {}
    for each in skipped:
        batch = "" if each.batch is None else f", batches of {each.batch}"
        reasons.setdefault(each.reason, {})[f"{' '.join(_names(each))}{batch}"] = None
    return [f"- {'; '.join(what)}: {reason}" for reason, what in reasons.items()]


def table(head: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table. The first `left` columns are left-aligned, the others right-aligned."""
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inference_tables", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="of benchmarks/inference.py --json")
    return parser.parse_args()


def main() -> None:
    """Run the command; bad input ends it with one line."""
    runs = []
    for path in arguments().files:
        try:
            runs.append(json.loads(path.read_text()))
            merged(runs[-1:])
        except OSError as error:
            sys.exit(f"error: {error}")
        except (ValueError, KeyError, TypeError, AttributeError):
            sys.exit(f"error: {path}: not a file that benchmarks/inference.py wrote with --json")
    findings = merged(runs)
    machines = dict.fromkeys("; ".join(f"{name} {value}" for name, value in run["machine"].items()) for run in runs)
    print(" / ".join(machines), tables(findings, sorted({row.batch for row in findings.variants})), sep="\n\n")


if __name__ == "__main__":
    command.run(main)
