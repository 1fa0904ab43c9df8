"""Every mode of image and mask is read as it should be, and every broken file is named."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.io import open_image, open_mask, read_map
from tests.helpers import binary, picture


def test_every_mode_of_image(tmp_path: Path) -> None:
    rgb = picture()
    gray = rgb.convert("L")
    faint = Image.new("L", rgb.size, 3)
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    clear = rgb.quantize(16)
    clear.info["transparency"] = bytes(range(16))
    cases = {
        "rgb.png": (rgb, rgb),
        "gray.png": (gray, gray.convert("RGB")),
        "rgba.png": (Image.merge("RGBA", (*rgb.split(), faint)), rgb),  # dropped: no color fades into a background
        "la.png": (Image.merge("LA", (gray, faint)), gray.convert("RGB")),
        "palette.png": (rgb.quantize(16), rgb.quantize(16).convert("RGB")),
        "clear.png": (clear, rgb.quantize(16).convert("RGB")),
        "bits.png": (gray.convert("1"), gray.convert("1").convert("RGB")),
        "deep.png": (deep, gray.convert("RGB")),
        "deep.tif": (deep, gray.convert("RGB")),
        "cmyk.tif": (rgb.convert("CMYK"), rgb.convert("CMYK").convert("RGB")),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, (saved, expected) in cases.items():
            saved.save(tmp_path / name)
            read = open_image(tmp_path / name)
            assert (read.mode, read.size) == ("RGB", rgb.size), name
            assert read.tobytes() == expected.tobytes(), name


def test_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # a viewer would turn it
    picture().save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (90, 70)


def palette(indices: np.ndarray, *colors: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "L").convert("P")
    image.putdata(indices.flatten().tolist())
    image.putpalette([value for color in colors for value in color])
    return image


def test_every_mode_of_mask(tmp_path: Path) -> None:
    mask = binary()
    image, one = Image.fromarray(mask), mask // 255
    black, white, red = (0, 0, 0), (255, 255, 255), (128, 0, 0)
    clear = palette(one, black, white)
    clear.info["transparency"] = bytes([0, 255])
    cases = {
        "gray": image,
        "rgb": image.convert("RGB"),
        "rgba": Image.merge("RGBA", (image, image, image, Image.new("L", image.size, 7))),
        "la": Image.merge("LA", (image, Image.new("L", image.size, 7))),
        "bits": image.convert("1", dither=Image.Dither.NONE),
        "ones": Image.fromarray(one),
        "palette": palette(one, black, white),
        "turned": palette(1 - one, white, black),  # a palette of grays is looked up
        "classes": palette(one, black, red),  # one of colors lists classes
        "many": palette(one * 2, black, red, (0, 128, 0)),
        "clear": clear,
        "deep": Image.fromarray(mask.astype(np.uint16) * 257),
        "deep_bytes": Image.fromarray(mask.astype(np.uint16)),
        "deep_ones": Image.fromarray(one.astype(np.uint16)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, saved in cases.items():
            saved.save(tmp_path / f"{name}.png")
            read = open_mask(tmp_path / f"{name}.png")
            assert read.mode == "L", name
            assert np.array_equal(np.asarray(read), mask), name


def test_soft_colored_and_empty_masks(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L")
    ramp.save(tmp_path / "ramp.png")
    assert open_mask(tmp_path / "ramp.png").tobytes() == ramp.tobytes()
    colors = picture()
    colors.save(tmp_path / "colors.png")
    assert open_mask(tmp_path / "colors.png").tobytes() == colors.convert("L").tobytes()
    Image.new("L", (5, 5)).save(tmp_path / "empty.png")
    assert open_mask(tmp_path / "empty.png").getextrema() == (0, 0)


def broken_files(folder: Path) -> dict[str, Path]:
    whole = folder / "whole.jpg"
    picture(300, 200).save(whole)
    contents = {
        "empty.jpg": b"",
        "text.png": b"no image at all",
        "cut.jpg": whole.read_bytes()[: whole.stat().st_size // 2],
    }
    Image.fromarray(np.full((4, 4), 0.3, np.float32)).save(folder / "float.tif")
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(folder / "int32.tif")
    picture(300, 200).save(folder / "whole.png")
    contents["cut.png"] = (folder / "whole.png").read_bytes()[:-2000]
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    return {name: folder / name for name in (*contents, "float.tif", "int32.tif", "folder.png", "absent.png")}


def test_broken_files_are_named_in_one_line(tmp_path: Path) -> None:
    for name, path in broken_files(tmp_path).items():
        for opener in (open_image, open_mask, read_map):
            with pytest.raises(ValueError, match=name) as error:
                opener(path)
            assert "\n" not in str(error.value), name


def test_decompression_bombs_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(90, 70).save(tmp_path / "large.png")
    for limit in (90 * 70 - 1, 90 * 70 // 2 - 1):  # where Pillow warns, and where it stops
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"large\.png cannot be read: .*pixels.*: cut it into tiles .*--scene"):
            open_image(tmp_path / "large.png")
