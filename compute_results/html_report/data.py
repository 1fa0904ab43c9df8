"""The figures that the page sorts, filters and draws, as a script that it loads."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from compute_results.html_report.pictures import Pictures, Scene, Size
from compute_results.protocols import PROTOCOLS
from compute_results.result import Curves, Scores

_DECIMALS = 5


def data_script(
    dataset: str, tables: Mapping[str, Scores], scenes: Sequence[Scene], pictures: Sequence[Pictures]
) -> str:
    """Return a script that hands the page everything it shows but the tables.

    Args:
        dataset: the data set's name.
        tables: the scores by protocol; all have the same methods.
        scenes: the images, with maps in the order of the methods.
        pictures: their pictures, in the same order.
    """
    first = next(iter(tables.values()))
    stems = [scene.stem for scene in scenes]
    features = first.masks.get(dataset, {})
    content = {
        "dataset": dataset,
        "methods": first.methods,
        "metrics": [
            {"protocol": name, "name": metric.name, "label": metric.label, "lower": metric.lower_is_better}
            for name in tables
            for metric in PROTOCOLS[name].metrics
        ],
        "stems": stems,
        "keys": [made.key for made in pictures],
        "shown": [made.shown for made in pictures],
        "sizes": [_text(made.image) for made in pictures],
        "features": [
            [_number(features[stem].share), features[stem].objects] if stem in features else None for stem in stems
        ],
        "remarks": {
            index: remarks
            for index, (scene, made) in enumerate(zip(scenes, pictures, strict=True))
            if (remarks := _remarks(scene, made, first.methods))
        },
        "resized": {
            index: remarks for index, made in enumerate(pictures) if (remarks := _resized(made, first.methods))
        },
        "missing": [[index for index, scene in enumerate(scenes) if scene.maps[m] is None] for m in _range(first)],
        "figures": [
            [[_figure(scores, method, dataset, stem, metric.name) for stem in stems] for method in scores.methods]
            for scores in tables.values()
            for metric in PROTOCOLS[scores.protocol].metrics
        ],
        "groupings": _groupings(first, dataset, stems),
        "curves": {name: _curves(scores, dataset) for name, scores in tables.items()},
    }
    # "<" is escaped so that the script could also stand in a page.
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f"window.reportData = {text};\n"


def _range(scores: Scores) -> range:
    return range(len(scores.methods))


def _remarks(scene: Scene, made: Pictures, methods: Sequence[str]) -> list[str]:
    """Return what is wrong with an image's files."""
    remarks = []
    if made.image != made.mask:
        remarks.append(f"The mask has {_text(made.mask)} pixels, the image {_text(made.image)}.")
    absent = [method for method, size in zip(methods, made.maps, strict=True) if size is None]
    if absent:
        remarks.append(f"No map of {', '.join(absent)}.")
    return remarks


def _resized(made: Pictures, methods: Sequence[str]) -> list[str]:
    """Return which maps differ in size from the mask: the protocols resize them."""
    by_size: dict[Size, list[str]] = {}
    for method, size in zip(methods, made.maps, strict=True):
        if size is not None and size != made.mask:
            by_size.setdefault(size, []).append(method)
    return [
        f"{', '.join(found)}: the map has {_text(size)} pixels, the mask {_text(made.mask)}. It was resized."
        for size, found in by_size.items()
    ]


def _figure(scores: Scores, method: str, dataset: str, stem: str, name: str) -> float | None:
    result = scores.results.get((method, dataset))
    figures = result.per_image.get(stem) if result else None
    return None if figures is None else _number(figures[name])


def _groupings(scores: Scores, dataset: str, stems: Sequence[str]) -> list[dict[str, object]]:
    """Return each grouping's groups with the positions of their images."""
    position = {stem: index for index, stem in enumerate(stems)}
    found: dict[str, dict[str, set[int]]] = {}
    for row in scores.groups:
        if row.dataset == dataset:
            members = found.setdefault(row.grouping, {}).setdefault(row.group, set())
            members.update(position[stem] for stem in row.stems if stem in position)
    return [
        {"name": name, "groups": [{"label": label, "images": sorted(images)} for label, images in groups.items()]}
        for name, groups in found.items()
    ]


def _curves(scores: Scores, dataset: str) -> list[dict[str, list[float | None]] | None]:
    """Return each method's averaged curves, in the order of the methods."""
    results = (scores.results.get((method, dataset)) for method in scores.methods)
    return [None if result is None else _points(result.curves) for result in results]


def _points(curves: Curves) -> dict[str, list[float | None]]:
    found = {
        "threshold": curves.thresholds,
        "precision": curves.precision,
        "recall": curves.recall,
        "f": curves.f,
        "e": curves.e,
    }
    return {name: _numbers(values) for name, values in found.items() if values is not None}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return round(value, _DECIMALS) if math.isfinite(value) else None


def _text(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
