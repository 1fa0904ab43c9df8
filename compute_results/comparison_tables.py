"""Write comparisons with the reference and scores by group as text, Markdown, LaTeX, CSV and JSON records."""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from compute_results.protocols import PROTOCOLS, Metric
from compute_results.result import DIGITS, FEW, Comparison, GroupScores, Scores
from compute_results.table_text import Listing, escape_markdown, excluded_count, heading, latex_heading, to_csv

_COLUMNS = ("Method", "Metric", "Images", "Difference", "95 % interval", "p", "p Holm", "Wilcoxon", "Better/same/worse")
_LEGEND = [
    "Difference: the method's figure minus the reference's, over the images that both have. 95 % interval: paired "
    "bootstrap over images.",
    "p: paired permutation test of the difference; p Holm: corrected over all rows on the data set; * below 0.05. "
    "Wilcoxon: signed-rank test of the images' own figures, corrected too.",
]
_FEW = f"† fewer than {FEW} images: these figures say little."
_LEVEL = 0.05


FILES = [f"{name}.{ending}" for name in ("significance", "groups") for ending in ("csv", "md", "tex")]
"""The files that are written where there is something to write."""


def comparison_records(scores: Scores) -> list[dict]:
    """Return the comparisons at full precision."""
    return [
        {
            "dataset": row.dataset,
            "method": row.method,
            "reference": row.reference,
            "metric": row.metric.name,
            "images": row.images,
            **excluded_count(scores, row.dataset),
            "difference": row.difference,
            "low": row.interval[0] if row.interval else None,
            "high": row.interval[1] if row.interval else None,
            "p": row.p,
            "p_holm": row.p_holm,
            "image_difference": row.image_difference,
            "p_wilcoxon": row.p_wilcoxon,
            "p_wilcoxon_holm": row.p_wilcoxon_holm,
            "wins": row.wins,
            "ties": row.ties,
            "losses": row.losses,
        }
        for row in scores.comparisons
    ]


def group_records(scores: Scores) -> list[dict]:
    """Return the scores by group at full precision; figures of a group without images are None."""
    return [
        {
            "dataset": row.dataset,
            "grouping": row.grouping,
            "group": row.group,
            "method": row.method,
            "images": len(row.stems),
            **excluded_count(scores, row.dataset),
            "few": len(row.stems) < FEW,
        }
        | {name: row.figures.get(name) for name in PROTOCOLS[scores.protocol].names}
        for row in scores.groups
    ]


def files(scores: Scores) -> dict[str, str]:
    """Return the content of significance.* and groups.* (.csv, .md and .tex) by name, of those that there are."""
    found = {}
    for name, records, listings, notes in (
        ("significance", comparison_records(scores), _comparisons, _comparison_notes(scores)),
        ("groups", group_records(scores), _groups, _group_notes(scores)),
    ):
        if records:
            found[f"{name}.csv"] = to_csv([{"protocol": scores.protocol, **record} for record in records])
            lines = "".join(f"{escape_markdown(note)}  \n" for note in notes)
            found[f"{name}.md"] = "".join(f"{listing.as_markdown()}\n" for listing in listings(scores)) + lines
            found[f"{name}.tex"] = _latex(listings(scores, latex_heading), notes)
    return found


def as_text(scores: Scores) -> str:
    """Return the comparisons and groups for a terminal; an empty text where there are none."""
    parts = []
    if scores.comparisons:
        parts += [*(listing.as_text() for listing in _comparisons(scores)), _lines(_comparison_notes(scores))]
    if scores.groups:
        parts += [*(listing.as_text() for listing in _groups(scores)), _lines(_group_notes(scores))]
    return "".join(f"\n{part}" for part in parts)


def _comparisons(scores: Scores, label: Callable[[Metric], str] = heading) -> Iterator[Listing]:
    """Yield a list for each data set."""
    for dataset in scores.datasets:
        rows = [row for row in scores.comparisons if row.dataset == dataset]
        if rows:
            title = f"Difference from {rows[0].reference} on {dataset}. Protocol: {scores.protocol}"
            cells = [[row.method, label(row.metric), *_comparison_cells(row)] for row in rows]
            in_latex = [name.replace("%", r"\%") for name in _COLUMNS]
            yield Listing(title, pd.DataFrame(cells, columns=list(_COLUMNS)), in_latex, 2, ("Metric",))


def _comparison_cells(row: Comparison) -> Sequence[str]:
    return (
        _count(row.images),
        _signed(row.difference),
        " … ".join(map(_signed, row.interval)) if row.interval else "–",
        _p(row.p),
        _p(row.p_holm) + ("*" if row.p_holm < _LEVEL else ""),
        _p(row.p_wilcoxon_holm) + ("*" if row.p_wilcoxon_holm < _LEVEL else ""),
        f"{row.wins}/{row.ties}/{row.losses}",
    )


def _groups(scores: Scores, label: Callable[[Metric], str] = heading) -> Iterator[Listing]:
    """Yield a list for each data set and grouping."""
    metrics = PROTOCOLS[scores.protocol].metrics
    for dataset, grouping in dict.fromkeys((row.dataset, row.grouping) for row in scores.groups):
        rows = [row for row in scores.groups if (row.dataset, row.grouping) == (dataset, grouping)]
        cells = [[row.group, row.method, _count(len(row.stems)), *_figures(row, metrics)] for row in rows]
        columns = ["Group", "Method", "Images", *map(heading, metrics)]
        title = f"By {grouping} on {dataset}. Protocol: {scores.protocol}"
        yield Listing(title, pd.DataFrame(cells, columns=columns), [*columns[:3], *map(label, metrics)], 2)


def _figures(row: GroupScores, metrics: Sequence[Metric]) -> list[str]:
    return [f"{row.figures[metric.name]:.{DIGITS}f}" if row.figures else "–" for metric in metrics]


def _count(images: int) -> str:
    return f"{images}{'†' if images < FEW else ''}"


def _signed(value: float) -> str:
    return f"{value:+.{DIGITS}f}".replace("-", "−")


def _p(value: float) -> str:
    return f"{value:.{DIGITS}f}" if value >= 10**-DIGITS else f"<{10**-DIGITS}"


def _comparison_notes(scores: Scores) -> list[str]:
    few = [_FEW] if any(row.images < FEW for row in scores.comparisons) else []
    return [*_LEGEND, *few, *scores.notes]


def _group_notes(scores: Scores) -> list[str]:
    few = [_FEW] if any(len(row.stems) < FEW for row in scores.groups) else []
    return [*few, *scores.notes]


def _lines(notes: Sequence[str]) -> str:
    return "".join(f"{note}\n" for note in notes)


def _latex(listings: Iterator[Listing], notes: Sequence[str]) -> str:
    comments = "".join(f"% {note}\n" for note in notes)
    return comments + "% Needs \\usepackage{booktabs}.\n" + "\n".join(listing.as_latex() for listing in listings)
