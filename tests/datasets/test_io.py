"""What inference reads of images is what Pillow gives, whatever kind of file it is."""

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.catalog import images_at
from datasets.io import jpeg_pixels, open_image, read_pixels
from tests.helpers import picture

SIZE = (64, 96)


def by_pillow(path: Path, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.asarray(open_image(path).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90°
    return exif


KINDS = {
    "plain.jpg": ("RGB", {}),
    "coarse.jpg": ("RGB", {"quality": 30, "subsampling": 2}),
    "fine.jpg": ("RGB", {"subsampling": 0}),
    "wide.jpg": ("RGB", {"subsampling": 1}),
    "progressive.jpg": ("RGB", {"progressive": True}),
    "without_luma.jpg": ("RGB", {"keep_rgb": True}),
    "gray.jpg": ("L", {}),
    "print.jpg": ("CMYK", {}),
    "turned.jpg": ("RGB", {"exif": turned()}),
    "plain.png": ("RGB", {}),
    "alpha.png": ("RGBA", {}),
    "gray.png": ("L", {}),
    "deep.png": ("I;16", {}),
    "palette.png": ("P", {}),
    "see_through.png": ("P", {"transparency": 3}),
    "bit.png": ("1", {}),
    "tiff.tif": ("RGB", {}),
    "bmp.bmp": ("RGB", {}),
    "webp.webp": ("RGB", {}),
    "png_in_disguise.jpg": ("RGB", {"format": "PNG"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_comes_out_as_pillow_has_it(name, tmp_path):
    mode, options = KINDS[name]
    image = picture(150, 110)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    image = image if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / name, **options)
    pixels, own_size = read_pixels(tmp_path / name, SIZE)
    assert (pixels.shape, pixels.dtype, own_size) == ((*SIZE, 3), np.uint8, (110, 150))
    assert pixels.flags.c_contiguous
    assert np.abs(pixels - by_pillow(tmp_path / name)).max() <= 1
    straight = jpeg_pixels(tmp_path / name)
    assert (straight is not None) == (name in {*list(KINDS)[:5], "gray.jpg", "turned.jpg"})
    if straight is not None:
        assert np.array_equal(straight, np.asarray(open_image(tmp_path / name)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("own", [(1, 1), (1, 700), (700, 1), (64, 96), (64, 500), (31, 50), (65, 97), (1500, 1100)])
def test_resizing_is_pillows_to_one_level(own, tmp_path):
    """On noise of the extremes, where rounding shows most."""
    noise = np.random.default_rng(0).integers(0, 2, (*own, 3), dtype=np.uint8) * 255
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for size in (SIZE, (224, 224)):
        pixels = read_pixels(tmp_path / "noise.png", size)[0]
        assert np.abs(pixels - by_pillow(tmp_path / "noise.png", size)).max() <= 1


def test_an_image_in_memory_is_read_as_its_file(tmp_path):
    picture(150, 110).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        pixels, own_size = read_pixels(image, SIZE)
    expected, expected_size = read_pixels(tmp_path / "a.jpg", SIZE)
    assert np.array_equal(pixels, expected)
    assert own_size == expected_size


def outcome(reads: Callable[[Path], np.ndarray], path: Path) -> tuple[str, np.ndarray | str]:
    try:
        return "read", reads(path)
    except ValueError as error:
        return "refused", str(error)


def test_a_damaged_jpeg_is_what_pillow_makes_of_it(tmp_path):
    """Cut off, it is refused; with a wrong byte it is read where Pillow can, or refused in Pillow's words."""
    whole = io.BytesIO()
    picture(150, 110).save(whole, "JPEG")
    whole, rng, read = whole.getvalue(), np.random.default_rng(0), 0
    for number in range(120):
        damaged, place = bytearray(whole), int(rng.integers(2, len(whole)))
        if number % 2:
            del damaged[place:]
        else:
            damaged[place] = rng.integers(256)
        path = tmp_path / "damaged.jpg"
        path.write_bytes(damaged)
        (one, expected), (two, found) = outcome(by_pillow, path), outcome(lambda path: read_pixels(path, SIZE)[0], path)
        assert (one, two) in {("read", "read"), ("refused", "refused")}
        assert found == expected if one == "refused" else np.abs(found - expected).max() <= 1
        read += one == "read"
    assert 20 < read < 80


@pytest.mark.filterwarnings("ignore:Image size")
def test_more_pixels_than_are_safe_are_refused(tmp_path, monkeypatch):
    picture(150, 110).save(tmp_path / "a.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150 * 110 - 1)
    with pytest.raises(ValueError, match="more than the 16499 that Pillow deems safe"):
        read_pixels(tmp_path / "a.jpg", SIZE)


def test_real_images_to_one_level(shared):
    for path in sorted((shared / "data" / "ORSSD" / "test-images").glob("*.jpg"))[::20]:
        pixels = read_pixels(path, (224, 224))[0]
        assert np.abs(pixels - by_pillow(path, (224, 224))).max() <= 1
        assert np.array_equal(jpeg_pixels(path), np.asarray(open_image(path)))


def test_a_long_list_takes_little_memory(tmp_path):
    """A million images must not need gigabytes before the first is read."""
    count = 20_000
    (tmp_path / "list.txt").write_text("".join(f"scenes/harbor_{i // 1000}/image_{i:07}.jpg\n" for i in range(count)))
    tracemalloc.start()
    try:
        found = images_at(tmp_path / "list.txt")
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == count
    assert found[-1][0] == "scenes/harbor_19/image_0019999"
    assert kept < 400 * count
    assert most < 600 * count
