"""The page: tables of both protocols with comparisons and groups, and the frame that the scripts fill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compute_results.protocols import PROTOCOLS
from compute_results.result import DIGITS, FEW, Comparison, GroupScores, Scores
from compute_results.table_text import heading
from compute_results.tables import rank

TEMPLATES = Path(__file__).with_name("templates")
ASSETS = Path(__file__).with_name("assets")

STYLE = "report.css"
SCRIPTS = ("core.js", "order.js", "grid.js", "overlay.js", "picture.js", "curves.js", "start.js")
"""The page's scripts, in the order in which they are loaded."""

_LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """A printed figure: its rank from 1 to 3 in the column, or None."""

    text: str
    rank: int | None = None


@dataclass(frozen=True)
class Difference:
    """A printed comparison; `verdict` is `better`, `worse` or `same` after Holm's correction."""

    metric: str
    images: str
    difference: str
    interval: str
    p: str
    p_holm: str
    wilcoxon: str
    counts: str
    verdict: str


@dataclass(frozen=True)
class Section:
    """The tables of one protocol.

    Attributes:
        name, description: the protocol.
        headings: the metrics.
        rows: each method's number of images and figures.
        reference: what the differences are from; None where nothing was compared.
        differences: comparisons by method.
        groups: by grouping, group and method: the number of images and the figures.
        notes: remarks below the tables.
    """

    name: str
    description: str
    headings: list[str]
    rows: list[tuple[str, str, list[Cell]]]
    reference: str | None
    differences: dict[str, list[Difference]]
    groups: dict[str, dict[str, list[tuple[str, str, list[Cell]]]]]
    notes: list[str]


def render(dataset: str, tables: Mapping[str, Scores], images: int, addresses: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        dataset: the data set's name.
        tables: the scores by protocol.
        images: the number of images in the grid.
        addresses: the address of each script and style by its name, relative to the page.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.lstrip_blocks = True
    return environment.get_template("index.html").render(
        dataset=dataset,
        images=images,
        methods=next(iter(tables.values())).methods,
        sections=[_section(dataset, scores) for scores in tables.values()],
        few=FEW,
        style=addresses[STYLE],
        data=addresses["data.js"],
        plotly=addresses["plotly.js"],
        scripts=[addresses[name] for name in SCRIPTS],
    )


def _section(dataset: str, scores: Scores) -> Section:
    protocol = PROTOCOLS[scores.protocol]
    results = {method: scores.results[method, dataset] for method in scores.methods}
    columns = [
        _column([result.figures[metric.name] for result in results.values()], metric.lower_is_better)
        for metric in protocol.metrics
    ]
    rows = [
        (method, _count(result.images), [column[index] for column in columns])
        for index, (method, result) in enumerate(results.items())
    ]
    differences: dict[str, list[Difference]] = {}
    for row in scores.comparisons:
        differences.setdefault(row.method, []).append(_difference(row))
    return Section(
        scores.protocol,
        protocol.description,
        [heading(metric) for metric in protocol.metrics],
        rows,
        scores.comparisons[0].reference if scores.comparisons else None,
        differences,
        _groups(scores),
        scores.notes,
    )


def _groups(scores: Scores) -> dict[str, dict[str, list[tuple[str, str, list[Cell]]]]]:
    by_group: dict[tuple[str, str], list[GroupScores]] = {}
    for row in scores.groups:
        by_group.setdefault((row.grouping, row.group), []).append(row)
    found: dict[str, dict[str, list[tuple[str, str, list[Cell]]]]] = {}
    for (grouping, group), rows in by_group.items():
        columns = [
            _column([row.figures.get(metric.name) for row in rows], metric.lower_is_better)
            for metric in PROTOCOLS[scores.protocol].metrics
        ]
        lines = [
            (row.method, _count(len(row.stems)), [column[index] for column in columns])
            for index, row in enumerate(rows)
        ]
        found.setdefault(grouping, {})[group] = lines
    return found


def _column(values: Sequence[float | None], lower_is_better: bool) -> list[Cell]:
    sound = [value if value is not None and value == value else None for value in values]
    ranks = rank(sound, lower_is_better)
    return [
        Cell("–" if value is None else f"{value:.{DIGITS}f}", place) for value, place in zip(sound, ranks, strict=True)
    ]


def _difference(row: Comparison) -> Difference:
    improved = (row.difference < 0) == row.metric.lower_is_better
    real = row.p_holm < _LEVEL
    return Difference(
        metric=heading(row.metric),
        images=_count(row.images),
        difference=_signed(row.difference),
        interval=" … ".join(map(_signed, row.interval)) if row.interval else "–",
        p=_probability(row.p),
        p_holm=_probability(row.p_holm),
        wilcoxon=_probability(row.p_wilcoxon_holm),
        counts=f"{row.wins} / {row.ties} / {row.losses}",
        verdict="same" if not real else "better" if improved else "worse",
    )


def _count(images: int) -> str:
    return f"{images}†" if images < FEW else str(images)


def _signed(value: float) -> str:
    return f"{value:+.{DIGITS}f}".replace("-", "−")


def _probability(value: float) -> str:
    if value != value:
        return "–"
    return f"{value:.{DIGITS}f}" if value >= 10**-DIGITS else f"< {10**-DIGITS}"
