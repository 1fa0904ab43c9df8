"""Score groups of images: by the object's size, by the number of objects, by any column of a CSV file, …

The built-in groups come from the masks at their own size, binarized at > 128:

    size      share of the foreground: empty, < 1 %, 1–5 %, 5–20 %, > 20 %
    objects   number of connected parts: none, 1, 2–3, 4–9, ≥ 10
    border    distance from the foreground to the image's border, in shares of the shorter side: empty, touches it,
              < 5 %, 5–15 %, > 15 %

A CSV file has a line of headings. Its column `stem` names the images; every other column groups them. With a column
`dataset` a line is for that data set alone. A column of more than twelve different numbers is cut at its quartiles.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd

from compute_results.mask_features import MaskFeatures
from compute_results.result import GroupScores, Scores
from compute_results.significance import figures_over
from utils.text import read_text

BUILT_IN = ("size", "objects", "border")

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


def read_groupings(path: Path, stems: Mapping[str, Sequence[str]]) -> dict[str, list[Grouping]]:
    """Group the images of data sets by the columns of a CSV file.

    Images that the file does not name form a group of their own. Lines for other images are skipped.

    Args:
        path: the file.
        stems: the images by data set.

    Returns:
        The groupings by data set, of those of which the file names an image.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not such a CSV file, names an image twice, or names none of the images.
    """
    table, groupings = _read_table(path), {}
    for dataset, images in stems.items():
        own = table[table["stem"].isin(set(images))]
        if "dataset" in own:
            own = own[own["dataset"] == dataset].drop(columns="dataset")
        if own["stem"].duplicated().any():
            twice = own["stem"][own["stem"].duplicated()].iloc[0]
            raise ValueError(f"--groups {path} names {twice} of {dataset} twice: give each image one line")
        if not own.empty:
            columns = own.set_index("stem")
            groupings[dataset] = [_column(path, columns[name], images) for name in columns]
    if not groupings:
        example = next(image for images in stems.values() for image in images)
        raise ValueError(f"--groups {path} names none of the images: its column stem must hold names like {example}")
    return groupings


class Request:
    """What images are to be grouped by, as the command's `--groups` names it.

    A CSV file is read, and its errors are raised, when the request is made. The masks are described later.
    """

    def __init__(self, names: Sequence[str], stems: Mapping[str, Sequence[str]]) -> None:
        """Read the files among `names`, of images by data set; the other names are built-in groups.

        Raises:
            OSError, ValueError: as `read_groupings`, or two groupings have the same name.
        """
        self._built_in = [name for name in dict.fromkeys(names or BUILT_IN) if name in BUILT_IN]
        self._read: dict[str, list[Grouping]] = {dataset: [] for dataset in stems}
        for name in dict.fromkeys(names):
            if name not in BUILT_IN:
                for dataset, groupings in read_groupings(Path(name), stems).items():
                    self._read[dataset] += groupings
        for groupings in self._read.values():
            found = [*self._built_in, *(grouping.name for grouping in groupings)]
            twice = [name for index, name in enumerate(found) if name in found[:index]]
            if twice:
                raise ValueError(f"--groups has two groupings called {twice[0]}: rename the column")

    def groupings(self, masks: Mapping[str, Mapping[str, MaskFeatures]]) -> dict[str, list[Grouping]]:
        """Return the groupings by data set, the built-in ones first; `masks` are the features by data set and stem."""
        return {
            dataset: [*built_in_groupings(masks[dataset], self._built_in), *read]
            for dataset, read in self._read.items()
        }


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
        text = io.StringIO(read_text(path, newline=""), newline="")
        headings, *lines = [[cell.strip() for cell in line] for line in csv.reader(text, strict=True) if line] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"--groups {path} is not CSV in UTF-8: {error}") from error
    if "stem" not in headings or len(set(headings) - {"stem", "dataset"}) < 1:
        found = ", ".join(headings) or "no columns"
        raise ValueError(f"--groups {path} has {found} in its first line: it needs stem and a column to group by")
    if len(set(headings)) < len(headings):
        raise ValueError(f"--groups {path} has two columns of the same name: rename one")
    for number, line in enumerate(lines, 2):
        if len(line) != len(headings):
            raise ValueError(f"--groups {path} has {len(line)} cells in row {number}: it needs {len(headings)}")
    return pd.DataFrame(lines, columns=headings, dtype=str)


def _column(path: Path, values: pd.Series, stems: Sequence[str]) -> Grouping:
    numbers = pd.to_numeric(values.where(values != ""), errors="coerce")
    numeric = numbers.notna().eq(values != "").all() and numbers.notna().any()
    if numeric and numbers.nunique() > _MOST_NUMBERS:
        quarters, edges = pd.qcut(numbers, 4, labels=False, retbins=True, duplicates="drop")
        order = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
        labels = quarters.map(lambda quarter: order[int(quarter)], na_action="ignore")
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
