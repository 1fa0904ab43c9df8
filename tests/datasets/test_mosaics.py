"""Mosaics: every image has its place, and none lies on another."""

import numpy as np
import pytest

from datasets.mosaics import BACKGROUND, mosaic, pack


def test_images_lie_side_by_side() -> None:
    rng = np.random.default_rng(0)
    samples = [(rng.integers(0, 256, (h, w, 3), np.uint8), rng.integers(0, 2, (h, w), np.uint8) * np.uint8(255))
               for h, w in rng.integers(5, 60, (25, 2))]  # fmt: skip
    places, height = pack([mask.shape for _, mask in samples], 150)
    (image, mask), covered = mosaic(samples, places, height, 150)
    assert covered.sum() == sum(mask.size for _, mask in samples)  # none overlaps
    for (pixels, objects), place in zip(samples, places, strict=True):
        assert np.array_equal(image[place.slices], pixels)
        assert np.array_equal(mask[place.slices], objects)
    assert (image[~covered] == BACKGROUND).all()
    assert not mask[~covered].any()
    assert covered.mean() > 0.6


def test_an_image_wider_than_the_mosaic_is_refused() -> None:
    with pytest.raises(ValueError, match="narrower than an image of 40"):
        pack([(10, 40)], 30)
