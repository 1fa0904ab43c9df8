"""What `benchmarks/inference.py` measures, and its tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from benchmarks.markdown import table
from benchmarks.variants import RELEASED, Skipped

MISSING = ("–", "–")
DIFFERENCES = ("max_difference", "mean_difference", "flipped")


@dataclass
class Row:
    """What a variant takes for a batch, and how far its maps are off.

    Attributes:
        ratio: how many times faster than the release; None where that cannot run.
        of_product: its multiply–adds per second over those of the best matrix product in its precision.
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
    """Multiply–adds per second of a matrix product, timed in turns with the variants at this batch."""

    precision: str
    product: str
    batch: int
    gmac_per_second: float


@dataclass
class OtherRow:
    """What another network takes for one image, from its 8-bit pixels to its map; `ratio` as Row's."""

    network: str
    backend: str
    precision: str
    batch: int
    median_ms: float
    ratio: float | None


@dataclass
class Score:
    """A variant's scores on a data set, protocol `authors`."""

    network: str
    backend: str
    precision: str
    images: int
    Fbeta: float
    MAE: float
    Sm: float


@dataclass
class Findings:
    """All that is measured."""

    variants: list[Row] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    roofline: list[ProductRate] = field(default_factory=list)
    baselines: list[OtherRow] = field(default_factory=list)
    accuracy: list[Score] = field(default_factory=list)


def tables(findings: Findings, batches: Sequence[int]) -> str:
    """The findings in Markdown."""
    texts = ["Milliseconds a batch, and how far the maps are off\n", _speed_table(findings.variants, batches)]
    texts += ["", *_best_lines(findings.variants)]
    if findings.baselines:
        lines = [(*_names(each), f"{each.median_ms:.1f}", _times(each.ratio)) for each in findings.baselines]
        head = ("network", "backend", "precision", "ms, batch 1", "against the release")
        texts += ["\nOff the shelf\n", table(head, lines, 3)]
    if findings.accuracy:
        lines = [
            (*_names(each), f"{each.Fbeta:.4f}", f"{each.MAE:.4f}", f"{each.Sm:.4f}") for each in findings.accuracy
        ]
        head = ("network", "backend", "precision", "Fβ ↑", "MAE ↓", "Sm ↑")
        texts += [f"\nAccuracy, protocol `authors`, {findings.accuracy[0].images} images\n", table(head, lines, 3)]
    texts += ["\nMatrix products, GMAC a second\n", _products_table(findings.roofline, batches)]
    texts += ["\nNetworks, GMAC a second, and what that is of the best product\n"]
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
        times = [(f"{of[b].median_ms:.1f}", _times(of[b].ratio)) if b in of else MISSING for b in batches]
        worst = [max(getattr(row, what) for row in of.values()) for what in DIFFERENCES]
        lines.append((*names, *chain(*times), *(f"{value:.1e}" for value in worst)))
    columns = [column for batch in batches for column in (f"ms, batch {batch}", "against the release")]
    return table(("network", "backend", "precision", *columns, "largest difference", "mean", "flipped"), lines, 3)


def _best_lines(rows: Sequence[Row]) -> list[str]:
    """For each network its most images per second, beside the release's one by one."""
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
    """A line for each reason, with all that it keeps from running."""
    reasons: dict[str, dict[str, None]] = {}
    for each in skipped:
        batch = "" if each.batch is None else f", batches of {each.batch}"
        reasons.setdefault(each.reason, {})[f"{' '.join(_names(each))}{batch}"] = None
    return [f"- {'; '.join(what)}: {reason}" for reason, what in reasons.items()]
