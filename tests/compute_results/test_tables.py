"""The tables' marks and layouts, and files that are written whole or not at all."""

import io
import os
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from compute_results import curves
from compute_results.curves import _style, draw_curves
from compute_results.protocols import PROTOCOLS
from compute_results.result import Curves, Result, Scores
from compute_results.tables import as_latex, as_markdown, as_text, rank
from utils.files import atomic_files, atomic_write


def scores(figures: dict[tuple[str, str], tuple[float, float, float]]) -> Scores:
    """Results of the `authors` protocol from (Fβ, MAE, Sm) by method and data set."""
    curves = Curves(*[np.linspace(0, 1, 255)] * 4)
    names = ("Fbeta", "MAE", "Sm")
    return Scores(
        "authors",
        ["ORSSD", "E%"],
        {key: Result("authors", dict(zip(names, row, strict=True)), curves, {"a": {}}) for key, row in figures.items()},
    )


@pytest.mark.parametrize(
    ("values", "lower", "expected"),
    [
        ([0.9, 0.8, 0.95, 0.1], False, [2, 3, 1, None]),
        ([0.02, 0.01, 0.05, 0.03], True, [2, 1, None, 3]),
        ([0.5, 0.50004, 0.4, 0.3], False, [1, 1, 3, None]),  # alike as printed: one rank, and the next is not given
        ([0.5, None, 0.7], False, [2, None, 1]),
        ([0.5], False, [None]),
        ([None, 0.5], True, [None, None]),
    ],
)
def test_the_best_three_of_a_column(values, lower, expected):
    assert rank(values, lower) == expected


PAPER = {
    ("A_1", "E%"): (0.5, 0.1, 0.5),
    ("A_1", "ORSSD"): (0.9, 0.01, 0.8),
    ("B", "ORSSD"): (0.8, 0.02, 0.9),
    ("C", "ORSSD"): (0.7, 0.03, 0.7),
    ("D", "ORSSD"): (0.6, 0.04, 0.6),
}


def test_the_terminal_s_table():
    lines = as_text(scores(PAPER)).splitlines()
    assert lines[0].startswith("Protocol: authors")
    assert "ORSSD (1 images)" in lines[1]
    assert lines[2].split() == ["Method", "Fβ", "↑", "MAE", "↓", "Sm", "↑", "Fβ", "↑", "MAE", "↓", "Sm", "↑"]
    assert lines[3].split() == ["A_1", "0.9000", "#1", "0.0100", "#1", "0.8000", "#2", "0.5000", "0.1000", "0.5000"]
    assert lines[6].split() == ["D", "0.6000", "0.0400", "0.6000", "–", "–", "–"]


def test_the_markdown_table():
    lines = [" ".join(line.split()) for line in as_markdown(scores(PAPER)).splitlines()]
    assert lines[0].startswith("Protocol: authors")
    assert lines[2].startswith("| Method | ORSSD Fβ ↑ | ORSSD MAE ↓ | ORSSD Sm ↑ | E% Fβ ↑ |")
    assert lines[4] == r"| A\_1 | **0.9000** | **0.0100** | <ins>0.8000</ins> | 0.5000 | 0.1000 | 0.5000 |"
    assert lines[7] == "| D | 0.6000 | 0.0400 | 0.6000 | – | – | – |"
    assert len({line.count(" | ") for line in lines[2:8] if "---" not in line}) == 1


def test_the_latex_table():
    text = as_latex(scores(PAPER))
    assert text.startswith("% Protocol: authors")
    assert r"\multicolumn{3}{c}{ORSSD} & \multicolumn{3}{c}{E\%} \\" in text
    assert r"\cmidrule(lr){2-4} \cmidrule(lr){5-7}" in text
    assert r"A\_1 & \sralFirst{0.9000} & \sralFirst{0.0100} & \sralSecond{0.8000} & 0.5000 & 0.1000 & 0.5000 \\" in text
    assert r"C & \sralThird{0.7000} & \sralThird{0.0300} & \sralThird{0.7000} & -- & -- & -- \\" in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("U^2-Net", r"U\textasciicircum 2-Net"),
        ("a~b", r"a\textasciitilde b"),
        ("x\\y", r"x\textbackslash y"),
        ("100%", r"100\%"),
        ("A&B", r"A\&B"),
        ("#1", r"\#1"),
        ("$x$", r"\$x\$"),
        ("{a}", r"\{a\}"),
        ("a_b", r"a\_b"),
        ("a<b|c>d", r"a\textless{}b\textbar{}c\textgreater{}d"),
        ("[12]", "{}[12]"),
        ("*Ours", "{}*Ours"),
    ],
)
def test_latex_prints_every_name_as_it_is(name, latex):
    """A bracket or a star after the end of the row before it would be an option of that row."""
    row = (0.9, 0.01, 0.8)
    table = as_latex(Scores("authors", [name], scores({("first", "E%"): row, (name, "E%"): row}).results))
    lines = table.splitlines()
    assert lines[-3].split(" & ")[0] == latex
    results = scores({("first", name): row}).results
    assert rf"\multicolumn{{3}}{{c}}{{{latex}}}" in as_latex(Scores("authors", [name], results))


def test_markdown_prints_every_name_as_it_is():
    name = r"a|b*c_d`e`[f](g)<h>~i~\j$k$&amp;"
    results = scores({("first", name): (0.9, 0.01, 0.8), (name, name): (0.9, 0.01, 0.8)}).results
    lines = as_markdown(Scores("authors", [name], results, [f"{name} is noted"])).splitlines()
    escaped = r"a\|b\*c\_d\`e\`\[f\](g)\<h\>\~i\~\\j\$k\$\&amp;"
    assert lines[5].startswith(f"| {escaped} ")
    assert lines[2].count(escaped) == 3
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines[2:6]}) == 1
    assert f"{escaped} is noted" in lines[-2]


def test_text_prints_every_name_as_it_is():
    name = r"x\y|$z$"
    lines = as_text(Scores("authors", [name], scores({(name, name): (0.9, 0.01, 0.8)}).results)).splitlines()
    assert lines[1].strip() == f"{name} (1 images)"
    assert lines[3].split() == [name, "0.9000", "0.0100", "0.8000"]


def test_figures_take_any_name():
    """Matplotlib reads dollar signs as formulas, and leaves names that start with an underscore out of the legend."""
    methods = ("_hidden", r"$\nonsense$")
    for name, draw in (("pr", curves._precision_recall), ("fbeta", curves._f_over_threshold)):
        figure = draw({method: Curves(*[np.linspace(0, 1, 9)] * 4) for method in methods}, name)
        legend = figure.axes[0].get_legend()
        assert [text.get_text() for text in legend.get_texts()] == list(methods)
    sets = ("$\\bad$", "a b", "a/b")
    many = Scores("authors", list(sets), scores({(methods[1], name): (0.9, 0.01, 0.8) for name in sets}).results)
    files = [name for name, _ in curves.draw_curves(many)]
    assert len(set(files)) == 4 * len(sets)


def test_a_metric_is_described_in_one_place():
    for name, protocol in PROTOCOLS.items():
        assert protocol.description.startswith(f"{name} (")
        assert len(set(protocol.names)) == len(protocol.names)
        assert [metric.name for metric in protocol.metrics if metric.lower_is_better] == ["MAE"]


def test_files_that_belong_together_are_written_all_or_none(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError, match=r"b cannot be written: .*; nothing of this result is there"):
        atomic_files({tmp_path / name: name for name in ("a", "b", "c")})
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "scores.md"
    atomic_write(path, "Fβ")
    assert path.read_text(encoding="utf-8") == "Fβ"

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, "other")
    assert [found.name for found in path.parent.iterdir()] == ["scores.md"]
    assert path.read_text(encoding="utf-8") == "Fβ"


def test_curves_differ_in_color_and_line_and_their_size_follows_dpi():
    results = scores({(f"m{index}", "ORSSD"): (0.9, 0.01, 0.8) for index in range(3)}).results
    drawn = Scores("authors", ["ORSSD"], results)
    plain, titled = (dict(draw_curves(drawn, with_title, dpi=50)) for with_title in (False, True))
    with Image.open(io.BytesIO(plain["pr_ORSSD.png"])) as image:
        assert image.size == (250, 200)  # 5×4 inches
    assert plain["pr_ORSSD.png"] != titled["pr_ORSSD.png"]
    assert plain["pr_ORSSD.pdf"].startswith(b"%PDF-")
    styles = [tuple(_style(index).values()) for index in range(40)]
    assert len(set(styles)) == 40
    assert all(one[0] != two[0] and one[1] != two[1] for one, two in pairwise(styles[:10]))
