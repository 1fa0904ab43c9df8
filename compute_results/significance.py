"""Compare methods with a reference on the same images: is a difference real?

For each metric: the difference of the figures as the tables define them, its 95 % interval by a paired bootstrap over
images, the p-value of a paired permutation test, and the number of images on which the method is better, equal or
worse. Where a figure is the maximum of an average curve (Fβ, maxF, maxE), every draw averages the curves of its images
and takes the maximum. Wilcoxon's test asks another question: is the method better on a typical image?

Images that only one of the two methods has are left out, and so are images with a figure that is not a number. Holm's
correction is over all comparisons of a data set under a protocol.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from compute_results.protocols import PROTOCOLS, Metric, Protocol
from compute_results.result import DIGITS, Comparison, Result, Scores
from compute_results.statistics import Sample, bootstrap, holm, interval, permutation_p


def compare(scores: Scores, reference: str | None = None) -> list[Comparison]:
    """Compare every method with the reference on every data set.

    Args:
        scores: of two methods or more; of one there is nothing to compare.
        reference: the method to compare with, by default the first.

    Returns:
        A comparison for each data set, method and metric, in the order of the tables. A method without images in
        common with the reference has none.

    Raises:
        ValueError: no method is called `reference`.
    """
    methods = scores.methods
    reference = methods[0] if reference is None else reference
    if reference not in methods:
        raise ValueError(f"--reference {reference}: no method has that name, choose from {', '.join(methods)}")
    comparisons = []
    for dataset in scores.datasets:
        results = {method: scores.results[method, dataset] for method in methods if (method, dataset) in scores.results}
        if reference in results:
            comparisons += _corrected(_compare_on(dataset, results, reference))
    return comparisons


def uncompared(scores: Scores, reference: str) -> list[str]:
    """Return remarks on what `compare` left out: methods on data sets, and images whose figures are not numbers."""
    remarks = []
    for method, dataset in scores.results:
        if method == reference:
            continue
        other = scores.results.get((reference, dataset))
        common = set(other.per_image if other else ()) & set(scores.results[method, dataset].per_image)
        compared = [row for row in scores.comparisons if (row.method, row.dataset) == (method, dataset)]
        where = f"{method} on {dataset}"
        if not common:
            remarks.append(f"{where}: not compared, it has no image in common with {reference}.")
        elif not compared or compared[0].images < len(common):
            left_out = len(common) - (compared[0].images if compared else 0)
            remarks.append(f"{where}: {left_out} images not compared with {reference}, a figure is not a number.")
    return remarks


def figures_over(result: Result, stems: Sequence[str]) -> dict[str, float]:
    """Return a method's figures over some of its images, at least one, as the tables define them."""
    if list(stems) == list(result.per_image):
        return dict(result.figures)
    sample = _sample(result, stems)
    maxima = [float(curve.mean(axis=0, dtype=np.float64).max()) for curve in sample.curves]
    names = [metric.name for metric in _averages_first(PROTOCOLS[result.protocol])]
    return dict(zip(names, [*sample.means.mean(axis=0).tolist(), *maxima], strict=True))


def _compare_on(dataset: str, results: dict[str, Result], reference: str) -> list[Comparison]:
    """Return the comparisons on a data set, their p-values uncorrected, in the order of the methods."""
    sound = {method: _sound_stems(result) for method, result in results.items()}
    by_stems: dict[tuple[str, ...], list[str]] = {}
    for method in results:
        stems = tuple(stem for stem in sound[reference] if stem in sound[method])
        if method != reference and stems:
            by_stems.setdefault(stems, []).append(method)
    found: dict[str, list[Comparison]] = {}
    for stems, methods in by_stems.items():
        samples = [_sample(results[method], stems) for method in (reference, *methods)]
        draws = bootstrap(samples) if len(stems) > 1 else [np.empty((0, 0))] * len(samples)
        p_values = permutation_p(samples[1:], samples[0])
        for index, method in enumerate(methods, 1):
            pair = _Pair(dataset, method, reference, results[method], results[reference], stems)
            intervals = [interval(column) for column in (draws[index] - draws[0]).T]
            found[method] = list(_rows(pair, intervals, p_values[index - 1].tolist()))
    return [comparison for method in results for comparison in found.get(method, [])]


class _Pair(NamedTuple):
    """Two methods' results, and the images to compare them on."""

    dataset: str
    method: str
    reference: str
    result: Result
    other: Result
    stems: tuple[str, ...]


def _rows(pair: _Pair, intervals: Sequence[tuple[float, float]], p_values: Sequence[float]) -> Iterator[Comparison]:
    """Yield a comparison for each metric, in the protocol's order; intervals and p-values have averages first."""
    protocol = PROTOCOLS[pair.result.protocol]
    figures, others = (figures_over(result, pair.stems) for result in (pair.result, pair.other))
    order = [metric.name for metric in _averages_first(protocol)]
    for metric in protocol.metrics:
        name, position = metric.name, order.index(metric.name)
        own, other = (
            np.array([result.per_image[stem][name] for stem in pair.stems]) for result in (pair.result, pair.other)
        )
        alike = np.round(own, DIGITS) == np.round(other, DIGITS)
        better = ~alike & ((own < other) if metric.lower_is_better else (own > other))
        yield Comparison(
            dataset=pair.dataset,
            method=pair.method,
            reference=pair.reference,
            metric=metric,
            images=len(pair.stems),
            difference=figures[name] - others[name],
            interval=intervals[position] if intervals else None,
            p=p_values[position],
            image_difference=float(np.mean(own - other)),
            p_wilcoxon=_wilcoxon(own - other),
            wins=int(better.sum()),
            ties=int(alike.sum()),
            losses=int((~alike & ~better).sum()),
        )


def _corrected(comparisons: list[Comparison]) -> list[Comparison]:
    p_values, of_wilcoxon = (holm([getattr(row, name) for row in comparisons]) for name in ("p", "p_wilcoxon"))
    return [
        replace(row, p_holm=one, p_wilcoxon_holm=other)
        for row, one, other in zip(comparisons, p_values, of_wilcoxon, strict=True)
    ]


def _wilcoxon(differences: np.ndarray) -> float:
    return float(stats.wilcoxon(differences).pvalue) if np.any(differences) else 1.0


def _sound_stems(result: Result) -> dict[str, None]:
    """Return the images whose figures and curves are all numbers, in order."""
    sound = np.array([np.isfinite(list(figures.values())).all() for figures in result.per_image.values()])
    for curves in result.image_curves.values():
        sound &= np.isfinite(curves).all(axis=1)
    return {stem: None for stem, good in zip(result.per_image, sound, strict=True) if good}


def _sample(result: Result, stems: Sequence[str]) -> Sample:
    metrics = _averages_first(PROTOCOLS[result.protocol])
    names = [metric.name for metric in metrics if not metric.maximum_of]
    means = np.array([[result.per_image[stem][name] for name in names] for stem in stems])
    curves = [result.image_curves[metric.maximum_of] for metric in metrics if metric.maximum_of]
    if list(stems) != list(result.per_image):
        position = {stem: index for index, stem in enumerate(result.per_image)}
        rows = [position[stem] for stem in stems]
        curves = [curve[rows] for curve in curves]
    return Sample(means, tuple(curves))


def _averages_first(protocol: Protocol) -> list[Metric]:
    """Return the protocol's metrics in the order of `Sample`: averages, then maxima of average curves."""
    return sorted(protocol.metrics, key=lambda metric: bool(metric.maximum_of))
