"""Rasters of every kind are read as the bands, types and masks in their header say, or refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.io import open_image
from datasets.raster import choose_bands, describe, open_raster, parse_bands, parse_range
from datasets.raster_reader import Reader, read_rgb

rasterio = pytest.importorskip("rasterio")
copy = pytest.importorskip("rasterio.shutil").copy
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """H×W×3 uint8 whose channels differ and span 0 to 255."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).copy()
    pixels[0, :3] = ((0, 255, 0), (255, 0, 255), (0, 0, 0))
    return pixels


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Writes bands, C×H×W, to a raster."""

    def written(bands: np.ndarray, name: str = "scene.tif", **profile: Any) -> Path:
        keys = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
        colors, mask, table = (profile.pop(key, None) for key in ("colors", "mask", "table"))
        path = tmp_path / name
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", **{**keys, "dtype": bands.dtype, **profile}) as target,
        ):
            if colors:
                target.colorinterp = [rasterio.enums.ColorInterp[color] for color in colors]
            if table:
                target.write_colormap(1, table)
            target.write(bands)
            if mask is not None:
                target.write_mask(mask)
        return path

    return written


def bands_of(rgb: np.ndarray) -> np.ndarray:
    return np.moveaxis(rgb, 2, 0)


@pytest.mark.parametrize("deep", [False, True])
def test_a_file_whose_least_value_is_white_is_inverted_as_pillow_does(write, rgb, deep):
    values = rgb[..., 0].astype(np.uint16) * 257 if deep else rgb[..., 0]
    path = write(values[None], photometric="MINISWHITE")
    asked = ((1, 1, 1), (0.0, 65535.0)) if deep else (None, None)
    seen = read_rgb(path, *asked)[0]
    assert np.array_equal(seen, np.repeat(255 - rgb[..., :1], 3, axis=2))
    if not deep:
        assert np.array_equal(seen, np.asarray(open_image(path)))


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("compress", ["none", "deflate", "lzw", "zstd"])
def test_eight_bit_rgb_is_read_as_it_is(write, rgb, interleave, compress):
    path = write(bands_of(rgb), interleave=interleave, compress=compress, photometric="RGB")
    pixels, valid, bounds = read_rgb(path)
    assert np.array_equal(pixels, rgb)
    assert valid is None
    assert bounds == (0, 255)


@pytest.mark.parametrize("profile", [
    {"driver": "WEBP", "name": "scene.webp", "lossless": True},
    {"driver": "JP2OpenJPEG", "name": "scene.jp2", "quality": 100, "reversible": "YES"},
    {"driver": "PNG", "name": "scene.png"},
    {"compress": "webp", "webp_lossless": True},
])  # fmt: skip
def test_other_formats(write, rgb, profile):
    assert np.array_equal(read_rgb(write(bands_of(rgb), **profile))[0], rgb)


def test_a_vrt_is_read_like_its_source(write, rgb, tmp_path):
    source = write(bands_of(rgb), photometric="RGB")
    copy(source, tmp_path / "scene.vrt", driver="VRT")
    assert np.array_equal(read_rgb(tmp_path / "scene.vrt")[0], rgb)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize(("dtype", "scale", "offset"), [
    ("uint16", 257, 0), ("uint16", 8, 0), ("int16", 20, -1500), ("int8", 0.9, -110), ("uint32", 3000, 10**6),
    ("int32", -70000, 0), ("float32", 1 / 255, 0), ("float64", 2.5, -80),
])  # fmt: skip
def test_any_type_by_its_range(write, rgb, dtype, scale, offset, interleave):
    values = bands_of(rgb) * float(scale) + offset
    deep = (values if np.dtype(dtype).kind == "f" else np.rint(values)).astype(dtype)
    low, high = float(deep.min()), float(deep.max())
    path = write(deep, interleave=interleave, photometric="RGB")
    pixels, _, bounds = read_rgb(path, bounds=(low, high))
    expected = np.rint((deep.astype(np.float64) - low) / (high - low) * 255)
    assert np.abs(pixels - np.moveaxis(expected, 0, 2)).max() <= (0 if dtype.startswith("u") else 1)
    assert bounds == (low, high)


def test_the_range_is_estimated_from_valid_values(write, rgb):
    deep = bands_of(rgb).astype(np.uint16) * 8 + 100
    deep[:, :20] = 65535
    path = write(deep, nodata=65535, photometric="RGB")
    with open_raster(path) as dataset:
        bounds = Reader(dataset).bounds
    expected = np.percentile(deep[:, 20:], (0.5, 99.5))
    assert np.allclose(bounds, expected)
    pixels, valid, _ = read_rgb(path)
    assert valid is not None
    assert np.array_equal(valid, np.arange(HEIGHT)[:, None].repeat(WIDTH, 1) >= 20)
    assert np.abs(pixels[20:].astype(int) - rgb[20:]).mean() < 3


def test_a_large_raster_without_overviews_is_sampled_in_windows(write, rgb, monkeypatch):
    deep = np.tile(bands_of(rgb).astype(np.uint16) * 8, (1, 10, 10))
    path = write(deep, photometric="RGB")
    with open_raster(path) as dataset:
        whole = Reader(dataset).bounds
    monkeypatch.setattr("datasets.raster_reader.READ_WHOLE", 1000)
    with open_raster(path) as dataset:
        sampled = Reader(dataset).bounds
    assert np.allclose(whole, sampled, rtol=0.05, atol=20)


def test_nodata_counts_where_all_bands_have_it(write, rgb):
    pixels = rgb.copy()
    pixels[5:10, 5:10] = 0
    pixels[20, 20] = (0, 90, 90)  # one dark band is not nodata
    path = write(bands_of(pixels), nodata=0, photometric="RGB")
    with rasterio.open(path) as dataset:
        expected = dataset.dataset_mask() > 0
    assert np.array_equal(read_rgb(path)[1], expected)
    assert expected[20, 20]


def test_alpha_internal_mask_and_nan_are_invalid(write, rgb):
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[10:30, 40:] = True
    alpha = np.where(hidden, 0, 255).astype(np.uint8)
    nan = bands_of(rgb).astype(np.float32)
    nan[1, hidden] = np.nan
    paths = (
        write(np.concatenate([bands_of(rgb), alpha[None]]), "alpha.tif", photometric="RGB", alpha="yes"),
        write(bands_of(rgb), "mask.tif", photometric="RGB", mask=alpha),
        write(nan, "nan.tif", photometric="RGB", nodata=np.nan),
        write(nan, "undeclared.tif", photometric="RGB"),
    )
    for path in paths:
        pixels, valid, _ = read_rgb(path, bounds=(0, 255))
        assert np.array_equal(valid, ~hidden), path
        assert np.array_equal(pixels[~hidden], rgb[~hidden])


def test_gray_with_and_without_alpha(write, rgb):
    gray, alpha = rgb[..., 0], np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:5] = 0
    expected = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(read_rgb(write(gray[None]))[0], expected)
    pixels, valid, _ = read_rgb(write(np.stack([gray, alpha]), "alpha.tif", alpha="yes"))
    assert np.array_equal(pixels, expected)
    assert np.array_equal(valid, alpha > 0)


def test_a_palette_gives_its_colors(write):
    index = np.random.default_rng(1).integers(0, 4, (1, HEIGHT, WIDTH), dtype=np.uint8)
    table = {0: (10, 20, 30, 255), 1: (255, 0, 9, 255), 2: (7, 7, 7, 255), 3: (0, 99, 200, 255)}
    pixels, valid, _ = read_rgb(write(index, table=table))
    assert np.array_equal(pixels, np.array([table[i][:3] for i in range(4)], np.uint8)[index[0]])
    assert valid is None


def test_few_bits_are_spread_over_the_grays(write, rgb):
    bilevel, sixteen = (rgb[..., :1] > 128).astype(np.uint8), rgb // 16
    assert np.array_equal(read_rgb(write(bands_of(bilevel), nbits=1))[0][..., :1], bilevel * 255)
    pixels, _, bounds = read_rgb(write(bands_of(sixteen), nbits=4, photometric="RGB"))
    assert bounds == (0, 15)
    assert np.array_equal(pixels, sixteen * 17)


def test_bands_are_taken_by_their_color_or_description(write, rgb, tmp_path):
    bgr = bands_of(rgb)[::-1]
    assert np.array_equal(read_rgb(write(bgr, "bgr.tif", colors=("blue", "green", "red")))[0], rgb)
    four = np.concatenate([bgr, bgr[:1]])
    path = write(four, "described.tif", photometric="MINISBLACK")
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("Blue", "Green", "Red", "NIR")
    assert np.array_equal(read_rgb(path)[0], rgb)
    assert np.array_equal(read_rgb(path, bands=(3, 2, 1))[0], rgb)
    assert np.array_equal(read_rgb(path, bands=(4, 4, 4))[0], np.repeat(rgb[..., 2:], 3, axis=2))


@pytest.mark.parametrize(
    ("count", "dtype"), [(2, "uint8"), (3, "uint16"), (4, "uint16"), (11, "int16"), (3, "float32")]
)
def test_ambiguous_bands_are_refused_in_one_line(write, count, dtype):
    path = write(np.ones((count, 8, 8), dtype), photometric="MINISBLACK")
    with pytest.raises(ValueError, match=f"{count} bands of {dtype}.*--bands") as refusal:
        read_rgb(path)
    assert "\n" not in str(refusal.value)
    with open_raster(path) as dataset:
        assert choose_bands(describe(dataset), (2, 1, 1)) == (2, 1, 1)


def test_complex_values_missing_bands_and_broken_files_are_refused(write, tmp_path):
    with pytest.raises(ValueError, match="complex64"):
        read_rgb(write(np.ones((1, 8, 8), np.complex64)))
    with pytest.raises(ValueError, match="no band 7"):
        read_rgb(write(np.ones((1, 8, 8), np.uint8)), bands=(7, 1, 1))
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(ValueError, match=r"text\.tif cannot be read") as refusal:
        read_rgb(tmp_path / "text.tif")
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match=r"absent\.tif"):
        read_rgb(tmp_path / "absent.tif")


def test_a_truncated_raster_is_one_line(write, rgb):
    path = write(bands_of(rgb), photometric="RGB", compress="deflate")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="cannot be read") as refusal:
        read_rgb(path)
    assert "\n" not in str(refusal.value)


def test_options():
    assert parse_bands("3,2,1") == (3, 2, 1)
    assert parse_bands("4") == (4, 4, 4)
    assert parse_range("auto") is None
    assert parse_range("-200:3000.5") == (-200, 3000.5)
    for parse, wrong in (
        (parse_bands, ["0,1,2", "1,2", "a,b,c", "1,2,3,4"]),
        (parse_range, ["5", "9:3", "nan:4", "a:b", "1:2:3"]),
    ):
        for text in wrong:
            with pytest.raises(ValueError, match="give"):
                parse(text)


def test_without_rasterio_one_line_names_the_requirements(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(ValueError, match=r"pip install -r requirements-scenes\.txt"):
        read_rgb(tmp_path / "any.tif")
