"""Draws are distributed as documented, and what is drawn does to a batch what Pillow or NumPy would do by hand."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from datasets.transforms import (
    UNCHANGED,
    Augmentation,
    ColorJitter,
    Drawn,
    crop_and_resize,
    draw,
    in_unit_range,
    turn,
    ycbcr_to_rgb,
)

SQUARE = np.arange(16, dtype=np.uint8).reshape(4, 4)
EIGHT = {np.rot90(side, turns).tobytes() for side in (SQUARE, SQUARE[:, ::-1]) for turns in range(4)}
FOUR = {part.tobytes() for part in (SQUARE, SQUARE[::-1], SQUARE[:, ::-1], SQUARE[::-1, ::-1])}


def photo(width: int = 60, height: int = 40, seed: int = 5) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(40, 216, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def as_batch(*images: Image.Image) -> Tensor:
    """B×C×H×W uint8, channels last, as records come."""
    return torch.from_numpy(np.stack([np.atleast_3d(np.asarray(image)) for image in images])).permute(0, 3, 1, 2)


def as_image(tensor: Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).numpy()


def turned(pixels: np.ndarray, drawn: Drawn) -> np.ndarray:
    into = np.empty_like(pixels)
    turn(pixels, drawn, into)
    return into


@pytest.mark.parametrize(("square", "versions"), [(True, EIGHT), (False, FOUR)])
def test_symmetries_are_uniform(square: bool, versions: set[bytes]) -> None:
    generator = np.random.default_rng(0)
    drawn = [draw(Augmentation(), generator, square) for _ in range(4000)]
    counts = Counter(turned(SQUARE, each).tobytes() for each in drawn)
    assert set(counts) == versions
    expected = 4000 / len(versions)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_the_releases_flip_and_rotation_come_to_the_same() -> None:
    """Both flips with probability 1/2, either with 1/4, then a rotation by a multiple of 90 degrees."""
    flipped = {(True, True): 2, (True, False): 1, (False, True): 1}
    found = Counter()
    for (vertical, horizontal), weight in flipped.items():
        side = SQUARE[:: -1 if vertical else 1, :: -1 if horizontal else 1]
        for turns in range(4):
            found[np.rot90(side, turns).tobytes()] += weight
    assert found == dict.fromkeys(EIGHT, 2)


@pytest.mark.parametrize("channels", [3, 4])
def test_turned_as_numpy_does(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, channels), dtype=np.uint8)
    for transposed, left_right, top_bottom in itertools.product((False, True), repeat=3):
        expected = pixels.swapaxes(0, 1) if transposed else pixels
        expected = expected[:: -1 if top_bottom else 1, :: -1 if left_right else 1]
        assert np.array_equal(turned(pixels, Drawn(transposed, left_right, top_bottom)), expected)
    wide = pixels[:5]
    assert np.array_equal(turned(wide, Drawn(left_right=True, top_bottom=True)), wide[::-1, ::-1])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_become_quotients(channels: int) -> None:
    """As numpy divides, for both layouts in memory; the result can be changed in place and leaves the pixels alone."""
    stored = np.random.default_rng(0).integers(0, 256, (3, 20, 30, channels), dtype=np.uint8)
    stored.flat[:256] = np.arange(256)
    wanted = stored.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    for pixels in (torch.from_numpy(stored).permute(0, 3, 1, 2), torch.from_numpy(stored.transpose(0, 3, 1, 2).copy())):
        found = in_unit_range(pixels)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found, wanted)
        assert found.stride() == pixels.float().stride() or channels == 1
        found.zero_()
        np.testing.assert_array_equal(pixels, stored.transpose(0, 3, 1, 2))


def test_none_draws_nothing() -> None:
    assert draw(Augmentation(symmetries="none"), np.random.default_rng(0)) == UNCHANGED


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
    first, second = photo(60, 40), photo(60, 40, 6)
    stored = as_batch(Image.new("RGB", (28, 28), "red"), Image.new("RGB", (28, 28), "red"))
    views = crop_and_resize(as_batch(first, second), [Drawn(box=(0.25, 0.1, 0.75, 0.6)), UNCHANGED], (28, 28), stored)
    by_hand = first.crop((15, 4, 45, 24)).resize((28, 28), Image.Resampling.BILINEAR)
    assert abs(as_image(views[0]).astype(int) - np.asarray(by_hand)).max() <= 1
    assert torch.equal(views[1], stored[1])
    whole = crop_and_resize(as_batch(first), [UNCHANGED], (20, 30))[0]
    assert abs(as_image(whole).astype(int) - np.asarray(first.resize((30, 20), Image.Resampling.BILINEAR))).max() <= 1


def recolored(image: Image.Image, drawn: Drawn) -> np.ndarray:
    """An image through the batch's YCbCr and back, in gray levels."""
    ycbcr = as_batch(image.convert("YCbCr"), image.convert("YCbCr")) / 255
    recolor = ColorJitter([UNCHANGED, drawn], ycbcr[:, 0].mean((1, 2)))
    plain, colored = ycbcr_to_rgb(recolor(ycbcr))
    assert abs(as_image(plain) * 255 - np.asarray(image)).max() < 3  # Pillow's YCbCr is cut to whole levels
    return as_image(colored) * 255


def test_colors_are_pillows() -> None:
    image = photo()
    by_hand = ImageEnhance.Color(ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.1)).enhance(0.8))
    expected = np.asarray(by_hand.enhance(1.2)).astype(float)
    found = recolored(image, Drawn(brightness=1.1, contrast=0.8, saturation=1.2))
    within = (expected > 3) & (expected < 252)
    assert within.mean() > 0.9
    assert abs(found - expected)[within.all(-1)].max() < 5  # Pillow rounds to a gray level after each of the three


def test_hue_turns_chroma_and_keeps_luma() -> None:
    image = Image.new("RGB", (2, 2), (150, 90, 90))
    before = np.asarray(image.convert("YCbCr")).astype(float)[0, 0]
    for turns in (0.25, -0.25, 0.5):
        pixel = recolored(image, Drawn(hue=turns))[0, 0]
        after = np.asarray(Image.new("RGB", (1, 1), tuple(pixel.round().astype(int))).convert("YCbCr"))[0, 0]
        angle = 2 * np.pi * turns
        turned = np.exp(1j * angle) * complex(*(before[1:] - 128))
        expected = (before[0], 128 + turned.real, 128 + turned.imag)
        assert np.allclose(after, expected, atol=2), (turns, after, expected)


def test_color_draws_stay_within_their_strength() -> None:
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
        ({"symmetries": "all"}, "symmetries must be 'none' or 'eight'"),
        ({"scale": (0.0, 1.0)}, "scale must be"),
        ({"scale": (0.9, 0.5)}, "scale must be"),
        ({"scale": (0.5, 1.5)}, "scale must be"),
        ({"scale_probability": 1.5}, "scale_probability must be at most 1"),
        ({"brightness": -0.1}, "brightness must be at least 0"),
        ({"hue": 0.6}, "hue must be at most 0.5"),
    ],
)
def test_options_out_of_range_are_named(wrong: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Augmentation(**wrong)
