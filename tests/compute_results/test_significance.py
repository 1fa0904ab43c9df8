"""Methods compared with a reference: figures, missing images, figures that are not numbers, and what is written."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from compute_results.comparison_tables import as_text, comparison_records, files
from compute_results.protocols import PROTOCOLS
from compute_results.result import Gathered, ImageScores, Result, Scores
from compute_results.scoring import load_protocol
from compute_results.significance import compare, figures_over, uncompared


def result(stems: list[str], seed: int, lift: float = 0.0, protocol: str = "authors") -> Result:
    """Scores of random images: Sm and the curves are raised by `lift`, MAE is lowered by it."""
    gathered = Gathered(PROTOCOLS[protocol].curves)
    for stem in stems:
        rng = np.random.default_rng([seed, int(stem)])
        thresholds = 255 if protocol == "authors" else 256
        shape = np.sin(np.linspace(0, 3, thresholds))
        curves = {name: rng.uniform(0.5, 0.9) * shape + lift for name in ("precision", "recall", "F", "E")}
        figures = {name: rng.uniform(0.6, 0.9) + lift for name in PROTOCOLS[protocol].names}
        figures["MAE"] = rng.uniform(0.05, 0.1) - lift
        for metric in PROTOCOLS[protocol].metrics:
            if metric.maximum_of:
                figures[metric.name.replace("max", "mean")] = float(curves[metric.maximum_of].mean())
                figures[metric.name] = float(curves[metric.maximum_of].max())
        gathered.add(stem, ImageScores(figures, curves))
    return load_protocol(protocol).summarize(gathered)


STEMS = [f"{number:03d}" for number in range(60)]


def table(**results: Result) -> Scores:
    first = next(iter(results.values()))
    return Scores(first.protocol, ["Set"], {(method, "Set"): found for method, found in results.items()})


@pytest.mark.parametrize("protocol", ["authors", "field"])
def test_differences_are_those_of_the_tables_figures(protocol):
    scores = table(A=result(STEMS, 1, protocol=protocol), B=result(STEMS, 2, 0.01, protocol))
    rows = compare(scores)
    assert [row.metric.name for row in rows] == list(PROTOCOLS[protocol].names)
    for row in rows:
        name = row.metric.name
        figures = [scores.results[method, "Set"].figures[name] for method in "BA"]
        assert row.difference == pytest.approx(figures[0] - figures[1], abs=1e-12)
        assert row.interval[0] <= row.difference <= row.interval[1]
        own, other = (np.array([i[name] for i in scores.results[m, "Set"].per_image.values()]) for m in "BA")
        assert row.image_difference == pytest.approx(np.mean(own - other))
        assert row.p_wilcoxon == pytest.approx(stats.wilcoxon(own, other).pvalue)
        better = own < other if name == "MAE" else own > other
        assert (row.wins, row.ties, row.losses) == (better.sum(), 0, (~better).sum())
    p_values = [row.p for row in rows]
    assert min(row.p_holm for row in rows) == pytest.approx(min(1, min(p_values) * len(rows)))


def test_a_difference_that_is_on_every_image_is_found_and_noise_is_not():
    plain = result(STEMS, 1)
    figures = {stem: {name: value + 0.002 for name, value in own.items()} for stem, own in plain.per_image.items()}
    better = dataclasses.replace(plain, per_image=figures, image_curves={"F": plain.image_curves["F"] + 0.002})
    rows = compare(table(A=plain, B=better, C=result(STEMS, 5)), "A")
    assert all(
        row.p_holm < 0.01 and row.interval[0] > 0 for row in rows if row.method == "B" and row.metric.name != "MAE"
    )
    assert all(row.interval[0] < 0 < row.interval[1] for row in rows if row.method == "C")


def test_identical_methods_do_not_differ():
    rows = compare(table(A=result(STEMS, 1), B=result(STEMS, 1)))
    for row in rows:
        assert (row.difference, row.interval, row.p, row.p_wilcoxon) == (0, (0, 0), 1, 1)
        assert (row.wins, row.ties, row.losses) == (0, 60, 0)


def test_only_images_that_both_have_are_compared():
    scores = table(A=result(STEMS[:40], 1), B=result(STEMS[25:], 2), C=result(STEMS[40:], 3))
    rows = compare(scores)
    scores.comparisons.extend(rows)
    assert {(row.method, row.images) for row in rows} == {("B", 15)}
    common = STEMS[25:40]
    for row in rows:
        alone = compare(table(A=result(common, 1), B=result(common, 2)))
        same = next(other for other in alone if other.metric == row.metric)
        assert row.difference == pytest.approx(same.difference, abs=1e-7)
        assert row.p == pytest.approx(same.p, abs=1e-12)
        assert row.interval == pytest.approx(same.interval, abs=1e-6)
    assert uncompared(scores, "A") == ["C on Set: not compared, it has no image in common with A."]


def test_images_with_a_figure_that_is_not_a_number_are_left_out():
    broken = result(STEMS, 2)
    broken.per_image["003"]["Sm"] = float("nan")
    broken.image_curves["F"][7] = np.nan
    scores = table(A=result(STEMS, 1), B=broken)
    scores.comparisons.extend(compare(scores))
    assert {row.images for row in scores.comparisons} == {58}
    assert all(np.isfinite([row.difference, row.p, *row.interval]).all() for row in scores.comparisons)
    assert uncompared(scores, "A") == ["B on Set: 2 images not compared with A, a figure is not a number."]


def test_few_images_are_marked_and_one_image_has_no_interval():
    for count in (1, 5):
        scores = table(A=result(STEMS[:count], 1), B=result(STEMS[:count], 2, 0.3))
        scores.comparisons.extend(compare(scores))
        assert all(row.p >= 2 / 2**count for row in scores.comparisons)
        assert (scores.comparisons[0].interval is None) == (count == 1)
        text = as_text(scores)
        assert f"{count}†" in text
        assert "† fewer than 10 images" in text


def test_one_method_has_nothing_to_compare():
    scores = table(A=result(STEMS, 1))
    assert compare(scores) == []
    assert files(scores) == {}
    assert as_text(scores) == ""


def test_an_unknown_reference_is_named():
    with pytest.raises(ValueError, match="--reference X: no method has that name, choose from A"):
        compare(table(A=result(STEMS, 1)), "X")


def test_figures_over_some_images_are_those_of_scoring_them_alone():
    some = STEMS[10:20]
    for protocol in PROTOCOLS:
        found = figures_over(result(STEMS, 1, protocol=protocol), some)
        assert found == pytest.approx(result(some, 1, protocol=protocol).figures, abs=1e-7)


def test_tables_print_every_name_as_it_is():
    name = r"a_b|c%$\x"
    scores = Scores("authors", ["S_1"], {("A", "S_1"): result(STEMS, 1), (name, "S_1"): result(STEMS, 2)}, ["A note."])
    scores.comparisons.extend(compare(scores))
    assert [row["method"] for row in comparison_records(scores)] == [name] * 3
    text = as_text(scores)
    assert "Difference from A on S_1. Protocol: authors" in text
    assert name in text
    assert "A note." in text
    written = files(scores)
    assert r"a\_b\|c%\$\\x" in written["significance.md"]
    line = next(line for line in written["significance.tex"].splitlines() if line.startswith("a"))
    assert line.startswith(r"a\_b\textbar{}c\%\$\textbackslash x & $F_\beta\,\uparrow$ & 60 & ")
    assert written["significance.csv"].splitlines()[0].startswith("protocol,dataset,method,reference,metric,images")
