"""Draws are distributed as documented, and what is drawn does to an image what Pillow or NumPy would do by hand."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from datasets.augment import UNCHANGED, Augmentation, Drawn, apply_colour, apply_geometry, draw

SQUARE = np.arange(16, dtype=np.uint8).reshape(4, 4)
EIGHT = {np.rot90(side, turns).tobytes() for side in (SQUARE, SQUARE[:, ::-1]) for turns in range(4)}
FOUR = {part.tobytes() for part in (SQUARE, SQUARE[::-1], SQUARE[:, ::-1], SQUARE[::-1, ::-1])}


def photo(width: int = 60, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(5).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def seen(symmetries: str, square: bool, count: int = 4000) -> Counter:
    """How often each transformed version of a 4×4 pattern comes up."""
    generator = np.random.default_rng(0)
    image = Image.fromarray(SQUARE)
    drawn = (draw(Augmentation(symmetries=symmetries), generator, square) for _ in range(count))
    return Counter(np.asarray(apply_geometry(each, image, (4, 4))).tobytes() for each in drawn)


@pytest.mark.parametrize("symmetries", ["eight", "released"])
@pytest.mark.parametrize(("square", "versions"), [(True, EIGHT), (False, FOUR)])
def test_symmetries_are_uniform(symmetries: str, square: bool, versions: set[bytes]) -> None:
    counts = seen(symmetries, square)
    assert set(counts) == versions
    expected = 4000 / len(versions)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_released_always_flips() -> None:
    generator = np.random.default_rng(0)
    draws = [draw(Augmentation(symmetries="released"), generator).symmetries for _ in range(2000)]
    first = Counter(symmetries[0] for symmetries in draws)
    assert abs(first[Image.Transpose.ROTATE_180] - 1000) < 120
    assert abs(first[Image.Transpose.FLIP_LEFT_RIGHT] - 500) < 100
    assert abs(first[Image.Transpose.FLIP_TOP_BOTTOM] - 500) < 100


def test_none_leaves_all() -> None:
    assert draw(Augmentation(symmetries="none"), np.random.default_rng(0)) == UNCHANGED
    image = photo()
    assert apply_colour(UNCHANGED, image) is image


def test_views_that_are_not_square_keep_their_shape() -> None:
    generator = np.random.default_rng(3)
    for symmetries in ("eight", "released"):
        for _ in range(50):
            drawn = draw(Augmentation(symmetries=symmetries), generator, square=False)
            assert apply_geometry(drawn, photo(), (20, 30)).size == (30, 20)


def test_crops_keep_area_and_aspect_and_stay_inside() -> None:
    augmentation = Augmentation(symmetries="none", scale=(0.25, 0.81), scale_probability=0.75)
    generator = np.random.default_rng(1)
    boxes = [draw(augmentation, generator).box for _ in range(2000)]
    cropped = np.array([box for box in boxes if box])
    assert abs(len(cropped) - 1500) < 100
    assert cropped.min() >= 0
    assert cropped.max() <= 1
    sides = cropped[:, 2:] - cropped[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1])
    area = sides.prod(axis=1)
    assert area.min() >= 0.25 - 1e-9
    assert area.max() <= 0.81 + 1e-9
    assert abs(area.mean() - 0.53) < 0.02


def test_the_crop_is_pillows() -> None:
    image, box = photo(60, 40), (0.25, 0.1, 0.75, 0.6)
    by_hand = image.crop((15, 4, 45, 24)).resize((28, 28), Image.Resampling.BILINEAR)
    view = apply_geometry(Drawn(box=box), image, (28, 28))
    inside = slice(2, -2)  # at its edges resize(box=…) sees the pixels beyond the crop, as it should
    assert np.array_equal(np.asarray(view)[inside, inside], np.asarray(by_hand)[inside, inside])


def test_colours_are_pillows() -> None:
    image = photo()
    by_hand = ImageEnhance.Color(ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.2)).enhance(0.7))
    drawn = Drawn(brightness=1.2, contrast=0.7, saturation=1.5)
    assert apply_colour(drawn, image).tobytes() == by_hand.enhance(1.5).tobytes()


def test_hue_goes_round_the_circle() -> None:
    red = Image.new("RGB", (2, 2), (200, 20, 20))
    for turns, brightest in ((1 / 3, 1), (-1 / 3, 2), (2 / 3, 2)):
        pixel = apply_colour(Drawn(hue=turns), red).getpixel((0, 0))
        assert int(np.argmax(pixel)) == brightest
        assert abs(max(pixel) - 200) <= 2
        assert abs(min(pixel) - 20) <= 2


def test_colour_draws_stay_within_their_strength() -> None:
    augmentation = Augmentation(brightness=0.3, contrast=0.2, saturation=0.1, hue=0.05)
    generator = np.random.default_rng(2)
    draws = [draw(augmentation, generator) for _ in range(1000)]
    for name, middle, strength in (
        ("brightness", 1, 0.3),
        ("contrast", 1, 0.2),
        ("saturation", 1, 0.1),
        ("hue", 0, 0.05),
    ):
        values = np.array([getattr(drawn, name) for drawn in draws])
        assert abs(values - middle).max() <= strength
        assert abs(values - middle).max() > 0.95 * strength
        assert abs(values.mean() - middle) < 0.1 * strength


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"symmetries": "all"}, "symmetries must be none, eight or released"),
        ({"scale": (0.0, 1.0)}, "scale must be"),
        ({"scale": (0.9, 0.5)}, "scale must be"),
        ({"scale": (0.5, 1.5)}, "scale must be"),
        ({"scale_probability": 1.5}, "scale_probability must be within 0 and 1"),
        ({"brightness": -0.1}, "brightness must be within 0 and 1"),
        ({"hue": 0.6}, "hue must be within 0 and 0.5"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Augmentation(**wrong)
