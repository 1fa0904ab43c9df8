"""Deep, planar, colored, turned and special files: right by every door, remarked on, or refused in one line."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from benchmarks.fuzz_images import fuzz
from datasets.check import check_folders
from datasets.file_warnings import FileWarning, warning_lines
from datasets.io import Reading, inspect_image, inspect_map, inspect_mask, open_image, read_map, read_pixels
from tests.helpers import binary, picture

SIZE = (64, 96)


def save_tiff(path: Path, values: np.ndarray, **options: object) -> Path:
    """Write C×H×W values by GDAL."""
    rasterio = pytest.importorskip("rasterio")
    count, height, width = values.shape
    with (
        warnings.catch_warnings(action="ignore"),
        rasterio.open(path, "w", "GTiff", width, height, count, dtype=values.dtype, **options) as dataset,
    ):
        dataset.write(values)
    return path


@pytest.fixture
def rgb() -> np.ndarray:
    return np.asarray(picture())


@pytest.mark.parametrize("compress", ["none", "lzw"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_16_bit_rgb_is_read_right_or_refused(tmp_path, rgb, compress, interleave):
    deep = np.moveaxis(rgb.astype(np.uint16) * 257, 2, 0)
    path = save_tiff(tmp_path / "a.tif", deep, photometric="RGB", compress=compress, interleave=interleave)
    if (compress, interleave) == ("none", "band"):  # Pillow would read garbage
        with pytest.raises(ValueError, match=r"a\.tif .*3 bands of uint16, stored one after another: give --bands"):
            open_image(path)
    else:
        assert np.array_equal(np.asarray(open_image(path)), rgb)
    assert np.array_equal(np.asarray(open_image(path, Reading((1, 2, 3), (0, 65535)))), rgb)


@pytest.mark.parametrize(
    ("kind", "bands", "says"),
    [
        ("uint16", 4, "4 bands of uint16, and does not say which"),
        ("uint8", 5, "5 bands of uint8"),
        ("int16", 1, "1 band of int16, whose range is unknown"),
        ("int8", 1, "1 band of int8"),
        ("float32", 3, "3 bands of float32"),
        ("float64", 1, "1 band of float64"),
        ("uint32", 1, "1 band of uint32"),
    ],
)
def test_what_says_no_range_or_bands_names_them_and_the_remedy(tmp_path, kind, bands, says):
    values = np.random.default_rng(0).integers(0, 100, (bands, 20, 30)).astype(kind)
    path = save_tiff(tmp_path / "a.tif", values, photometric="MINISBLACK")
    with pytest.raises(ValueError, match=says) as error:
        open_image(path)
    assert "--bands and --range" in str(error.value)
    image = open_image(path, Reading((1, 1, 1), (0, 255)))
    assert np.array_equal(np.asarray(image)[..., 0], values[0].astype(np.uint8))


def test_11_bits_in_16_are_refused_by_every_door(tmp_path, rgb):
    faint = rgb[..., 0].astype(np.uint16) * 8
    Image.fromarray(faint).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", Image.open(tmp_path / "a.png"), Image.fromarray(faint), faint):
        with pytest.raises(ValueError, match=r"as if they had 11 or 12 bits.* --range"):
            read_pixels(source, SIZE)
    full = rgb[..., 0].astype(np.uint16) * 257
    expected = read_pixels(rgb[..., 0], SIZE)[0]
    Image.fromarray(full).save(tmp_path / "b.png")
    for source in (tmp_path / "b.png", Image.open(tmp_path / "b.png"), Image.fromarray(full), full):
        assert np.array_equal(read_pixels(source, SIZE)[0], expected)


def test_arrays_of_other_shapes_and_types_are_refused(rgb):
    for array in (np.moveaxis(rgb, 2, 0), rgb.astype(np.float32), rgb.astype(np.int64), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"an array of .*: give H×W gray or H×W×3 RGB"):
            read_pixels(array, SIZE)


def test_dark_turned_transparent_and_many_framed_files_are_remarked_on(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (20, 20), (9, 9, 9)).save(tmp_path / "dark.png")
    picture().save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (20, 20), (200, 90, 90, 0)).save(tmp_path / "hidden.png")
    frames = [picture(seed=seed) for seed in range(2)]
    frames[0].save(tmp_path / "frames.tif", save_all=True, append_images=frames[1:])
    save_tiff(tmp_path / "nodata.tif", np.arange(400, dtype=np.uint8).reshape(1, 20, 20), nodata=7)
    for name in ("dark.png", "turned.jpg", "hidden.png", "frames.tif", "nodata.tif"):
        flag = FileWarning.HIDDEN if name == "nodata.tif" else FileWarning[name.partition(".")[0].upper()]
        assert inspect_image(tmp_path / name)[1] == flag
        assert warning_lines("set", [(name, flag)])


def test_a_tiff_is_read_as_stored_though_pillow_turns_it(tmp_path, rgb):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for orientation in range(2, 9):
        tags[274] = orientation
        Image.fromarray(rgb).save(tmp_path / "a.tif", tiffinfo=tags)
        image, found = inspect_image(tmp_path / "a.tif")
        assert np.array_equal(np.asarray(image), rgb)
        assert found == FileWarning.TURNED


@pytest.mark.parametrize("color", [(255, 0, 0), (255, 255, 0), (0, 128, 255), (0, 0, 1 << 7)])
def test_colors_on_black_are_foreground_whatever_the_palettes_order(tmp_path, color):
    mask = binary()
    colored = Image.fromarray((mask[..., None] // 255 * np.array(color)).astype(np.uint8))
    colored.save(tmp_path / "rgb.png")
    colored.quantize(2).save(tmp_path / "palette.png")
    for name in ("rgb.png", "palette.png"):
        read, found = inspect_mask(tmp_path / name)
        assert np.array_equal(np.asarray(read), mask)
        assert found == FileWarning.COLORED


def test_colors_without_black_leave_the_background_unknown(tmp_path):
    pixels = np.full((20, 30, 3), (0, 128, 255), np.uint8)
    pixels[5:9] = (255, 200, 0)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png .*2 colors and no black"):
        inspect_mask(tmp_path / "m.png")


def test_masks_of_any_type_mean_the_same(tmp_path):
    mask = binary()
    for number, values in enumerate([mask.astype(np.float32), mask / np.float32(255), (mask // 255).astype(np.int32),
                                     mask.astype(np.uint16), mask.astype(np.uint16) * 257]):  # fmt: skip
        Image.fromarray(values).save(tmp_path / f"{number}.tif")
        assert np.array_equal(np.asarray(inspect_mask(tmp_path / f"{number}.tif")[0]), mask)
    Image.fromarray((mask // 255).astype(np.uint16) * 300).save(tmp_path / "ids.png")
    assert inspect_mask(tmp_path / "ids.png")[1] == FileWarning.EMPTY | FileWarning.GRAY  # ids above 255 are no 0 and 1


def test_a_maps_scale_does_not_depend_on_its_values(tmp_path):
    faint = np.full((20, 30), 200, np.uint16)
    Image.fromarray(faint).save(tmp_path / "faint.png")
    Image.fromarray(faint * 200).save(tmp_path / "strong.png")
    assert read_map(tmp_path / "faint.png").max() == 0
    assert read_map(tmp_path / "strong.png").max() == 156
    assert inspect_map(tmp_path / "faint.png").pixels(255).max() == 200


def test_pipes_dangling_links_and_devices_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name, says in {
        "pipe": "is a pipe",
        "gone": "is a link to a file that is not there",
        "device": "is a device",
    }.items():
        for reader in (inspect_image, inspect_mask, inspect_map, lambda path: read_pixels(path, SIZE)):
            with pytest.raises(ValueError, match=rf"{name}\.png {says}"):
                reader(tmp_path / f"{name}.png")


def test_the_check_says_what_it_passes_over_and_takes_decomposed_names(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    picture().save(tmp_path / "images" / "e\u0301.jpg")
    Image.fromarray(binary()).save(tmp_path / "masks" / "\u00e9.png")
    (tmp_path / "images" / "notes.txt").touch()
    report = check_folders(tmp_path / "images", tmp_path / "masks")
    assert report.count(is_error=True) == 0
    assert "1 file passed over, no image by the suffix: 1 .txt" in report.parts["folders"].findings[0].what


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("seed", "number"), [(1, 1850), (1, 4765), (1, 6326), (2, 6117)])
def test_files_that_failed_once(tmp_path, seed, number):
    pytest.importorskip("rasterio")
    assert fuzz(range(number, number + 1), seed, tmp_path)[1] == []


@pytest.mark.filterwarnings("ignore")
def test_generated_and_damaged_files(tmp_path):
    pytest.importorskip("rasterio")
    counts, failures = fuzz(range(400), 3, tmp_path)
    assert not failures
    assert counts["read"] > 100
    assert counts["refused"] > 100
