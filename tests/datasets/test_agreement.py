"""Agreement of thumbnails, and the index that proposes pairs: edits count little, straight edges do not suffice."""

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets import proposals
from datasets.agreement import agreement, detail, overlap
from datasets.descriptors import WINDOWS, describe, transformed
from datasets.proposals import propose
from tests.helpers import scene_pixels


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    return describe(Image.fromarray(pixels)).thumbnail


def agreed(first: np.ndarray, second: np.ndarray, window: int = 0, symmetry: int = 0) -> float:
    return float(agreement(detail(first, window, symmetry)[None], detail(second)[None])[0])


def road(x: int, seed: int) -> np.ndarray:
    """A straight road on other ground of low contrast."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(90, 120, (24, 24), dtype=np.uint8), (160, 160), interpolation=cv2.INTER_CUBIC)
    ground[:, x : x + 24] = 190
    return np.repeat(ground[..., None], 3, 2)


@pytest.mark.parametrize("symmetry", range(8))
def test_a_third_painted_over_and_another_brightness(symmetry: int) -> None:
    edited = scene_pixels(1)
    edited[30:130, 40:140] = (90, 120, 100)
    edited = np.clip(edited * 0.7 + 30, 0, 255).astype(np.uint8)
    moved = np.stack([transformed(edited[..., channel], symmetry) for channel in range(3)], -1)
    assert agreed(thumbnail(scene_pixels(1)), thumbnail(moved), symmetry=symmetry) > 0.4


def test_other_scenes_do_not_agree() -> None:
    thumbnails = [thumbnail(scene_pixels(seed)) for seed in range(12)]
    assert max(agreed(one, other) for one in thumbnails for other in thumbnails if one is not other) < 0.2


def test_straight_edges_do_not_suffice() -> None:
    assert agreed(thumbnail(road(60, 0)), thumbnail(road(62, 1))) < 0.2


def test_images_without_texture_give_zero_without_a_warning() -> None:
    flat = np.full((80, 80), 90, np.uint8)
    with np.errstate(all="raise"):
        assert agreed(flat, flat) == 0


@pytest.mark.parametrize("window", range(1, len(WINDOWS)))
def test_a_crop_agrees_and_lies_wholly_inside(window: int) -> None:
    pixels = scene_pixels(3, 160, 160)
    left, top, side = (round(of * 160) for of in WINDOWS[window])
    crop = thumbnail(np.ascontiguousarray(pixels[top : top + side, left : left + side][::-1]))
    whole = thumbnail(pixels)
    assert agreed(whole, crop, window, 1) > 0.5
    similarity, part = overlap(whole, crop, 1, window, 0)
    assert similarity > 0.95
    assert part == pytest.approx(1, abs=0.03)


def test_the_overlap_of_two_shifted_crops_is_their_common_area() -> None:
    pixels = scene_pixels(4, 200, 200)
    first, second = pixels[:180, :180], pixels[20:, 20:]  # 160 of 180 pixels a side
    windows = 9, 1  # the lower right of the first is the upper left of the second
    similarity, part = overlap(thumbnail(first), thumbnail(second), 0, *windows)
    assert part == pytest.approx((160 / 180) ** 2, abs=0.05)
    assert similarity > 0.8


def test_lists_of_a_large_index_propose_what_all_comparisons_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = [scene_pixels(seed) for seed in range(60)]
    copies = [np.ascontiguousarray(of[:, ::-1]) for of in pixels[:20]]
    descriptors = [describe(Image.fromarray(of)) for of in [*pixels, *copies]]
    exact = propose(descriptors, 4)
    monkeypatch.setattr(proposals, "_EXACT_UP_TO", 100)
    nearby = propose(descriptors, 4)
    for found in (exact, nearby):
        assert {(number, 60 + number) for number in range(20)} <= set(
            zip(found.first.tolist(), found.second.tolist(), strict=True)
        )
        assert (found.first < found.second).all()
        assert found.rank.max() < 4
