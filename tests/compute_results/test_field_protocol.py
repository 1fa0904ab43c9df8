"""The `field` protocol against one run of PySODMetrics itself, in one process, over all images."""

import subprocess
import sys

import cv2
import numpy as np
import py_sod_metrics
import pytest
from PIL import Image

from compute_results.matching import MapMask
from compute_results.protocols import pysodmetrics
from compute_results.scoring import score


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> list[MapMask]:
    """Eight masks of their own sizes, one of them empty and one white, with maps of 40×40."""
    folder = tmp_path_factory.mktemp("field")
    rng = np.random.default_rng(0)
    pairs = []
    for index in range(8):
        height, width = rng.integers(30, 90, 2)
        y, x = np.mgrid[:height, :width]
        mask = np.hypot(x / width - rng.random(), y / height - rng.random()) < 0.3
        mask = np.full_like(mask, index == 7) if index in (3, 7) else mask
        saliency = cv2.resize(mask.astype(np.uint8) * 180, (40, 40)) + rng.integers(0, 70, (40, 40))
        pair = MapMask(f"{index:04d}", folder / f"{index}_map.png", folder / f"{index}.png")
        Image.fromarray(saliency.astype(np.uint8)).save(pair.map)
        Image.fromarray(mask.astype(np.uint8) * 255).save(pair.mask)
        pairs.append(pair)
    return pairs


@pytest.fixture(scope="module")
def library(pairs) -> dict:
    """The library's metrics, after it went through the images as its own examples do."""
    with pytest.warns(UserWarning, match="FmeasureV2"):
        f = py_sod_metrics.Fmeasure()
    metrics = {"f": f, "s": py_sod_metrics.Smeasure(), "e": py_sod_metrics.Emeasure()}
    metrics |= {"w": py_sod_metrics.WeightedFmeasure(), "mae": py_sod_metrics.MAE()}
    for pair in pairs:
        mask = cv2.imread(str(pair.mask), cv2.IMREAD_GRAYSCALE)
        saliency = cv2.imread(str(pair.map), cv2.IMREAD_GRAYSCALE)
        saliency = cv2.resize(saliency, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        for metric in metrics.values():
            metric.step(saliency, mask)
    return {name: metric.get_results() for name, metric in metrics.items()}


def masks_of_every_kind() -> dict[str, np.ndarray]:
    """Masks whose objects lie inside, at the border, in a corner, everywhere, in a tiny image; and none."""
    empty = np.zeros((50, 70), dtype=np.uint8)
    masks = {name: empty.copy() for name in ("inside", "two", "corner", "border", "dot", "empty")}
    masks["inside"][20:30, 10:40] = 255
    masks["two"][2:5, 3:6] = masks["two"][40:48, 60:69] = 255
    masks["corner"][44:, 66:] = 255
    masks["border"][:, :2] = 255
    masks["dot"][25, 0] = 255
    return masks | {
        "full": 255 - empty,
        "tiny": np.eye(3, dtype=np.uint8) * 255,
        "row": np.array([[0, 255, 255, 0]], np.uint8),
    }


@pytest.mark.parametrize("name", masks_of_every_kind())
def test_the_faster_library_gives_the_library_s_numbers_bit_by_bit(name):
    """Two maps of the same mask in turn, then of another: distances are kept for the second alone."""
    mask, rng = masks_of_every_kind()[name], np.random.default_rng(1)
    for target in (mask, mask, mask[::-1].copy()):
        saliency = np.clip(target * 0.7 + rng.integers(0, 80, target.shape), 0, 255).astype(np.uint8)
        found = []
        for library in (py_sod_metrics, pysodmetrics):
            f = library.FmeasureV2({"f": py_sod_metrics.FmeasureHandler(True, True)})
            e, w = library.Emeasure(), library.WeightedFmeasure()
            for metric in (f, e, w):
                metric.step(saliency, target)
            found.append((f.get_results()["f"]["dynamic"], e.get_results()["em"]["curve"], w.get_results()["wfm"]))
        for expected, faster in zip(*found, strict=True):
            np.testing.assert_array_equal(faster, expected)


@pytest.mark.parametrize("workers", [1, 3])
def test_figures_are_the_library_s(pairs, library, workers):
    f, e = library["f"]["fm"], library["e"]["em"]
    expected = {
        "Sm": library["s"]["sm"],
        "maxF": f["curve"].max(),
        "meanF": f["curve"].mean(),
        "adpF": f["adp"],
        "maxE": e["curve"].max(),
        "meanE": e["curve"].mean(),
        "adpE": e["adp"],
        "wF": library["w"]["wfm"],
        "MAE": library["mae"]["mae"],
    }
    result = score(pairs, "field", workers)
    assert result.figures == pytest.approx(expected, rel=0, abs=1e-14)
    assert result.images == len(pairs)
    assert list(result.per_image) == [pair.stem for pair in pairs]


def test_curves_are_the_library_s_by_rising_threshold(pairs, library):
    curves = score(pairs, "field", 2).curves
    np.testing.assert_allclose(curves.precision, library["f"]["pr"]["p"][::-1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(curves.recall, library["f"]["pr"]["r"][::-1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(curves.f, library["f"]["fm"]["curve"][::-1], rtol=0, atol=1e-14)
    assert np.all(np.diff(curves.recall) <= 0)
    assert curves.thresholds[0] == 0
    assert curves.thresholds[-1] == 1


@pytest.mark.parametrize("protocol", ["authors", "field"])
def test_the_result_does_not_depend_on_the_workers(pairs, protocol):
    alone, shared_out = (score(pairs, protocol, workers) for workers in (1, 2))
    assert alone.figures == shared_out.figures
    assert alone.per_image == shared_out.per_image
    assert np.array_equal(alone.curves.f, shared_out.curves.f)


def test_workers_do_not_wait_for_opencv_s_threads_and_the_caller_keeps_them(pairs, root):
    """Forked after OpenCV used its threads, a worker would wait for ever for threads that only its parent has."""
    code = f"""
import cv2, numpy
from pathlib import Path
from compute_results.matching import MapMask
from compute_results.protocols import pysodmetrics
from compute_results.scoring import score
cv2.setNumThreads(3)
cv2.resize(numpy.zeros((2000, 2000), numpy.uint8), (3000, 3000))
pairs = [MapMask(stem, Path(map), Path(mask)) for stem, map, mask in {[tuple(map(str, pair)) for pair in pairs]}]
score(pairs, "field", 2)
assert cv2.getNumThreads() == 3
"""
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=120)


def test_perfect_maps_are_perfect(pairs):
    figures = score([pair._replace(map=pair.mask) for pair in pairs if pair.stem not in ("0003", "0007")], "field")
    assert figures.figures["MAE"] == 0
    for name in ("Sm", "maxF", "adpF", "wF"):
        assert figures.figures[name] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"protocol": "other"}, "no protocol 'other'"), ({"workers": 0}, "0 workers"), ({"pairs": []}, "no map")],
)
def test_bad_arguments_are_named(pairs, arguments, message):
    with pytest.raises(ValueError, match=message):
        score(**({"pairs": pairs, "protocol": "authors"} | arguments))
