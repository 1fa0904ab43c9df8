"""Score groups of images: by the object's size, by the number of objects, by any column of a CSV file, …

The built-in groups come from the masks at their own size, binarized at > 128:

    size      share of the foreground: empty, < 1 %, 1–5 %, 5–20 %, > 20 %
    objects   number of connected parts: none, 1, 2–3, 4–9, ≥ 10
    border    distance from the foreground to the image's border, in shares of the shorter side: empty, touches it,
              < 5 %, 5–15 %, > 15 %

A CSV file has a line of headings. Its column `stem` names the images; every other column groups them. With a column
`dataset` a line is for that data set alone. A column of more than twelve different numbers is cut at its quartiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from compute_results.mask_features import MaskFeatures
from compute_results.result import GroupScores, Scores
from compute_results.significance import figures_over

BUILT_IN = ("size", "objects", "border")

FEW = 10
"""Tables mark groups with fewer images than this."""

MOST_GROUPS = 60
"""A column of text with more different values than this does not group images."""

_MOST_NUMBERS = 12
_ABSENT = "(not in the file)"
_EMPTY = "(no value)"


@dataclass(frozen=True)
class Grouping:
    """Images by group.

    Attributes:
        name: what they are grouped by: `size`, `objects`, `border` or a column's heading.
        groups: the images' stems by the group's label, in the order of the tables.
    """

    name: str
    groups: dict[str, list[str]]


def built_in_groupings(masks: Mapping[str, MaskFeatures], names: Sequence[str] = BUILT_IN) -> list[Grouping]:
    """Group images by what their masks show; a group without images is left out."""
    labels = {"size": _size, "objects": _objects, "border": _border}
    orders = {"size": _SIZES, "objects": _COUNTS, "border": _BORDERS}
    groupings = []
    for name in names:
        of_image = {stem: labels[name](features) for stem, features in masks.items()}
        groupings.append(_grouping(name, of_image, orders[name]))
    return groupings


def read_groupings(path: Path, dataset: str, stems: Sequence[str]) -> list[Grouping]:
    """Group a data set's images by the columns of a CSV file.

    Images that the file does not name form a group of their own. Lines for other images are skipped.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not such a CSV file, names an image twice, or names none of the images.
    """
    table = _read_table(path)
    if "dataset" in table:
        table = table[table["dataset"] == dataset].drop(columns="dataset")
    table = table[table["stem"].isin(set(stems))]
    if table.empty:
        raise ValueError(
            f"--groups {path} names no image of {dataset}: its column stem must hold names like {stems[0]}"
        )
    twice = table["stem"][table["stem"].duplicated()]
    if len(twice):
        raise ValueError(f"--groups {path} names {twice.iloc[0]} twice: give each image one line")
    return [_column(path, table.set_index("stem")[name], stems) for name in table.columns if name != "stem"]


def breakdown(scores: Scores, groupings: Mapping[str, Sequence[Grouping]]) -> list[GroupScores]:
    """Score every method over each group of images of each data set.

    Args:
        scores: the scores under one protocol.
        groupings: the groupings by data set.

    Returns:
        The figures by data set, grouping, group and method, in this order. Figures that are maxima of average curves
        are those of the group's average curve.
    """
    rows = []
    for dataset in scores.datasets:
        for grouping in groupings.get(dataset, []):
            for label, members in grouping.groups.items():
                for method in scores.methods:
                    result = scores.results.get((method, dataset))
                    if result:
                        stems = [stem for stem in members if stem in result.per_image]
                        figures = figures_over(result, stems) if stems else {}
                        rows.append(GroupScores(dataset, method, grouping.name, label, stems, figures))
    return rows


_SIZES = ["empty", "< 1 %", "1–5 %", "5–20 %", "> 20 %"]
_COUNTS = ["none", "1", "2–3", "4–9", "≥ 10"]
_BORDERS = ["empty", "touches", "< 5 %", "5–15 %", "> 15 %"]


def _size(features: MaskFeatures) -> str:
    if features.share == 0:
        return _SIZES[0]
    return _SIZES[1 + (features.share >= 0.01) + (features.share >= 0.05) + (features.share > 0.2)]


def _objects(features: MaskFeatures) -> str:
    return _COUNTS[
        (features.objects >= 1) + (features.objects >= 2) + (features.objects >= 4) + (features.objects >= 10)
    ]


def _border(features: MaskFeatures) -> str:
    if features.border is None:
        return _BORDERS[0]
    return _BORDERS[1 + (features.border > 0) + (features.border >= 0.05) + (features.border > 0.15)]


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (UnicodeDecodeError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise ValueError(f"--groups {path} is not a CSV file in UTF-8 with a line of headings: {error}") from error
    table.columns = [str(name).strip() for name in table.columns]
    if "stem" not in table or len(table.columns) - ("dataset" in table) < 2:
        found = ", ".join(table.columns)
        raise ValueError(f"--groups {path} has the columns {found}: it needs stem and at least one more to group by")
    return table.apply(lambda column: column.str.strip())


def _column(path: Path, values: pd.Series, stems: Sequence[str]) -> Grouping:
    numbers = pd.to_numeric(values.where(values != ""), errors="coerce")
    numeric = numbers.notna().eq(values != "").all() and numbers.notna().any()
    if numeric and numbers.nunique() > _MOST_NUMBERS:
        quarters = pd.qcut(numbers, 4, duplicates="drop")
        labels = quarters.map(lambda part: f"{part.left:g}–{part.right:g}", na_action="ignore").astype(object)
        order = [f"{part.left:g}–{part.right:g}" for part in quarters.cat.categories]
    else:
        labels, distinct = values, [value for value in values.unique() if value != ""]
        order = sorted(distinct, key=(lambda value: float(value)) if numeric else None)
    if len(order) > MOST_GROUPS:
        raise ValueError(f"--groups {path} has {len(order)} different values in {values.name}: at most {MOST_GROUPS}")
    known = labels.where(labels.notna() & (labels != ""), _EMPTY).to_dict()
    return _grouping(str(values.name), {stem: known.get(stem, _ABSENT) for stem in stems}, [*order, _EMPTY, _ABSENT])


def _grouping(name: str, of_image: Mapping[str, str], order: Sequence[str]) -> Grouping:
    groups = {label: [stem for stem, own in of_image.items() if own == label] for label in order}
    return Grouping(name, {label: stems for label, stems in groups.items() if stems})
