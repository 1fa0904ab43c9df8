"""The mosaic holds every image and mask unchanged; its measures are those of maps made by hand."""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mosaic import Mosaic, Placed, build_mosaic, false_alarms, recalls, scores, seam_ratio
from benchmarks.mosaics import choose_pairs, scene_map
from datasets.catalog import find_pairs
from datasets.io import open_image, read_mask
from datasets.split import split_validation
from inference.scenes.job import Wishes
from inference.scenes.windows import Axis
from tests.helpers import ROOT, run_script

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::rasterio.errors.NotGeoreferencedWarning")


def test_every_image_is_in_the_mosaic(training_pairs, tmp_path):
    pairs = find_pairs("ORSSD", training_pairs, "train")
    mosaic = build_mosaic(pairs, tmp_path / "mosaic.tif")
    with rasterio.open(mosaic.path) as dataset:
        pixels, covered = np.moveaxis(dataset.read(), 0, 2), dataset.dataset_mask() > 0
    assert np.array_equal(covered, mosaic.covered)
    assert covered.sum() == sum(image.height * image.width for image in mosaic.images)
    placed = {image.stem: image for image in mosaic.images}
    for pair in pairs:
        place = placed[pair.stem].slices
        assert np.array_equal(pixels[place], np.asarray(open_image(pair.image)))
        assert np.array_equal(mosaic.mask[place], read_mask(pair.mask))


@pytest.fixture
def by_hand() -> Mosaic:
    """Two images of 400×700, one with objects of 100 and 2000 pixels."""
    mask = np.zeros((800, 700), np.uint8)
    mask[10:20, 10:20] = mask[100:140, 100:150] = 255
    images = [Placed(0, 0, 400, 700, "a"), Placed(400, 0, 400, 700, "b")]
    return Mosaic(Path("none"), images, mask, np.ones(mask.shape, bool))


def test_recall_false_alarms_and_scores(by_hand):
    perfect = np.where(by_hand.mask > 0, 254, 0).astype(np.uint8)
    assert scores(perfect, by_hand)["MAE"] == pytest.approx(0, abs=1e-3)
    assert [recall for recall, count in recalls(perfect, by_hand) if count] == [1, 1]
    assert false_alarms(perfect, by_hand) == (0, 3)  # of four windows of 320, the first has objects
    levels = np.zeros((800, 700), np.uint8)
    levels[100:140, 100:130] = 200
    levels[330:338, 10:18] = 200  # 64 pixels in an object-free window
    levels[330:337, 330:338] = 200  # 56 pixels are no alarm
    assert [recall for recall, count in recalls(levels, by_hand) if count] == [0, 1]
    assert false_alarms(levels, by_hand) == (pytest.approx(1 / 3), 3)


def test_the_seam_ratio_counts_jumps_at_the_windows_borders(by_hand):
    axes = [(Axis(800, 100, 0), Axis(700, 100, 0))]
    rng = np.random.default_rng(0)
    even = rng.integers(0, 50, (800, 700), dtype=np.uint8)
    assert seam_ratio(even, by_hand, axes) == pytest.approx(1, abs=0.02)
    rows, columns = np.mgrid[:800, :700] // 100
    jumps = ((rows + columns) % 2 * 100).astype(np.uint8) + rng.integers(0, 2, (800, 700), dtype=np.uint8)
    assert seam_ratio(jumps, by_hand, axes) == pytest.approx(100 / 0.5, rel=0.05)


def test_the_command_prints_its_tables(training_pairs, tmp_path, small_weights, monkeypatch, capsys):
    command = [
        "mosaics",
        "--dataset",
        "ORSSD",
        "--root",
        training_pairs,
        "--output",
        tmp_path,
        "--context",
        "64",
        "96,192",
    ]
    command += [
        "--weights",
        small_weights,
        "--backend",
        "torch",
        "--threads",
        1,
        "--num-images",
        4,
        "--seam-overlap",
        0.5,
    ]
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    run_script(ROOT / "benchmarks" / "mosaics.py")
    out = capsys.readouterr().out
    for row in ("| each image by itself |", "| 64 | 0.5 |", "| 96,192 | 0.5 |", "| overlap | seam ratio |"):
        assert row in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mosaic.json", "mosaic.tif"]


def test_the_work_folder_goes_after_an_error(training_pairs, tmp_path):
    def failing(_: np.ndarray) -> np.ndarray:
        raise ValueError("out of order")

    mosaic = build_mosaic(find_pairs("ORSSD", training_pairs, "train"), tmp_path / "mosaic.tif")
    network = Namespace(backend=Namespace(input_size=(64, 64)), batch_size=2, call=failing)
    with pytest.raises(ValueError, match="out of order"):
        scene_map(mosaic.path, Wishes(), network, tmp_path / ".work")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mosaic.json", "mosaic.tif"]


def test_the_validation_part_is_what_training_holds_back(training_pairs):
    options = Namespace(dataset="ORSSD", root=training_pairs, split="validation", validation=0.25, exclude=[])
    held_back = {pair.stem for pair in choose_pairs(options)}
    _, expected = split_validation(find_pairs("ORSSD", training_pairs, "train"), 0.25, 2021)
    assert held_back == {pair.stem for pair in expected} != set()
    options.exclude = sorted(held_back)[:1]
    assert {pair.stem for pair in choose_pairs(options)} == held_back - set(options.exclude)
    options.split = "train"
    assert not set(options.exclude) & {pair.stem for pair in choose_pairs(options)}
