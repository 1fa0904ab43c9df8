"""Views are Pillow's, normalised by hand; every mode of image and mask is read; every broken file is named."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datasets.augment import Augmentation
from datasets.catalog import Pair, find_pairs, pair_folders
from datasets.decode import open_grey, open_image, open_mask
from datasets.images import read_pixels
from datasets.views import MEAN, STD, SalientObjectViews, normalised

STRONG = Augmentation(scale=(0.4, 1.0), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)


def picture(width: int = 90, height: int = 70, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def binary(width: int = 90, height: int = 70) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (((x - 30) ** 2 + 2 * (y - 40) ** 2) < 400).astype(np.uint8) * 255


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """Five pairs whose image shows its own mask: white on black, so that views can be held against each other."""
    for number in range(5):
        shape = Image.fromarray(np.roll(binary(90 + 8 * number), 6 * number, axis=1))
        for folder, image in (("im", shape.convert("RGB")), ("gt", shape)):
            (tmp_path / folder).mkdir(exist_ok=True)
            image.save(tmp_path / folder / f"{number}.png")
    return pair_folders(tmp_path / "im", tmp_path / "gt")


def test_views_by_hand(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(binary()).save(tmp_path / "a.png")
    sample = SalientObjectViews([Pair("a", tmp_path / "a.jpg", tmp_path / "a.png")], size=32)[0]
    image, mask = Image.open(tmp_path / "a.jpg"), Image.open(tmp_path / "a.png")

    def by_hand(of: Image.Image, side: int) -> np.ndarray:
        pixels = np.asarray(of.resize((side, side), Image.Resampling.BILINEAR), np.float64) / 255
        return np.moveaxis(np.atleast_3d(pixels), -1, 0)

    rgb = (by_hand(image, 32) - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    ycbcr = image.convert("YCbCr")
    expected = {"rgb": rgb, "ycbcr": by_hand(ycbcr, 32), "sr_target": by_hand(ycbcr, 64), "mask": by_hand(mask, 64)}
    assert sample.pop("stem") == "a"
    assert set(sample) == set(expected)
    for name, view in sample.items():
        assert view.dtype == torch.float32
        assert view.is_contiguous()
        np.testing.assert_allclose(view.numpy(), expected[name], atol=2e-6)
    assert ((sample["mask"] > 0) & (sample["mask"] < 1)).any()  # soft at the borders, never thresholded


def test_ycbcr_is_full_range_jpeg(tmp_path: Path) -> None:
    red, green, blue = 40, 200, 90
    Image.new("RGB", (8, 8), (red, green, blue)).save(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "m.png")
    sample = SalientObjectViews([Pair("a", tmp_path / "a.png", tmp_path / "m.png")], size=4)[0]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = np.array([luma, 128 + 0.564 * (blue - luma), 128 + 0.713 * (red - luma)]) / 255
    np.testing.assert_allclose(sample["sr_target"].mean((1, 2)), expected, atol=1.5 / 255)


@pytest.mark.parametrize("augment", [None, Augmentation(), Augmentation("released"), STRONG])
def test_all_views_see_the_same_geometry(pairs: list[Pair], augment: Augmentation | None) -> None:
    dataset = SalientObjectViews(pairs, size=40, augment=augment)
    for epoch in range(6):
        dataset.set_epoch(epoch)
        for sample in dataset:
            rgb = sample["rgb"][0] * STD[0] + MEAN[0]
            pooled = torch.nn.functional.avg_pool2d(sample["mask"], 2)[0]
            for seen, mask in (
                (sample["sr_target"][0], sample["mask"][0]),
                (sample["ycbcr"][0], pooled),
                (rgb, pooled),
            ):
                # recoloured, white on black is still lighter on darker
                assert np.corrcoef(seen.flatten(), mask.flatten())[0, 1] > 0.98


def test_a_plain_augmented_view_is_a_flipped_plain_view(pairs: list[Pair]) -> None:
    plain, flipped = SalientObjectViews(pairs, size=40), SalientObjectViews(pairs, size=40, augment=Augmentation())
    met = set()
    for epoch in range(12):
        flipped.set_epoch(epoch)
        for before, after in zip(plain, flipped, strict=True):
            versions = [torch.rot90(side, k) for side in (before["rgb"][0], before["rgb"][0].flip(1)) for k in range(4)]
            masks = [torch.rot90(side, k) for side in (before["mask"][0], before["mask"][0].flip(1)) for k in range(4)]
            which = [k for k in range(8) if torch.equal(versions[k], after["rgb"][0])]
            assert len(which) == 1
            assert torch.equal(masks[which[0]], after["mask"][0])
            met |= set(which)
    assert met == set(range(8))


def test_sizes_that_are_not_square(pairs: list[Pair]) -> None:
    for augment in (None, Augmentation(), Augmentation("released")):
        sample = SalientObjectViews(pairs, size=(24, 40), augment=augment)[1]
        shapes = {name: tuple(view.shape) for name, view in sample.items() if name != "stem"}
        assert shapes == {"rgb": (3, 24, 40), "ycbcr": (3, 24, 40), "sr_target": (3, 48, 80), "mask": (1, 48, 80)}
    with pytest.raises(ValueError, match="size must be positive"):
        SalientObjectViews(pairs, size=0)


def test_each_file_is_opened_once(pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(Path(path)) or original(path))
    SalientObjectViews(pairs, size=32, augment=STRONG)[3]
    assert opened == [pairs[3].image, pairs[3].mask]


def all_rgb(loader: DataLoader, epoch: int) -> torch.Tensor:
    loader.dataset.set_epoch(epoch)
    return torch.cat([batch["rgb"] for batch in loader])


def test_draws_depend_on_seed_epoch_and_index_alone(pairs: list[Pair]) -> None:
    dataset = SalientObjectViews(pairs, size=32, augment=STRONG, seed=11)
    alone = [all_rgb(DataLoader(dataset, batch_size=5), epoch) for epoch in range(3)]
    assert not torch.equal(alone[0], alone[1])
    persistent = DataLoader(dataset, batch_size=2, num_workers=2, persistent_workers=True)
    for epoch in (0, 1, 2, 1):
        assert torch.equal(all_rgb(persistent, epoch), alone[epoch])
    resumed = SalientObjectViews(pairs, size=32, augment=STRONG, seed=11)
    assert torch.equal(all_rgb(DataLoader(resumed, batch_size=5), 2), alone[2])
    other = SalientObjectViews(pairs, size=32, augment=STRONG, seed=12)
    assert not torch.equal(all_rgb(DataLoader(other, batch_size=5), 0), alone[0])


def test_inference_sees_the_training_view(tmp_path: Path) -> None:
    picture(61, 47).save(tmp_path / "a.jpg")
    Image.new("L", (61, 47)).save(tmp_path / "a.png")
    sample = SalientObjectViews([Pair("a", tmp_path / "a.jpg", tmp_path / "a.png")], size=(32, 48))[0]
    pixels, size_on_disk = read_pixels(tmp_path / "a.jpg", (32, 48))
    assert torch.equal(normalised(Image.fromarray(pixels)), sample["rgb"])
    assert size_on_disk == (47, 61)


def test_every_mode_of_image(tmp_path: Path) -> None:
    rgb = picture()
    grey = rgb.convert("L")
    faint = Image.new("L", rgb.size, 3)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    clear = rgb.quantize(16)
    clear.info["transparency"] = bytes(range(16))
    cases = {
        "rgb.png": (rgb, rgb),
        "grey.png": (grey, grey.convert("RGB")),
        "rgba.png": (Image.merge("RGBA", (*rgb.split(), faint)), rgb),  # dropped: no colour fades into a background
        "la.png": (Image.merge("LA", (grey, faint)), grey.convert("RGB")),
        "palette.png": (rgb.quantize(16), rgb.quantize(16).convert("RGB")),
        "clear.png": (clear, rgb.quantize(16).convert("RGB")),
        "bits.png": (grey.convert("1"), grey.convert("1").convert("RGB")),
        "deep.png": (deep, grey.convert("RGB")),
        "deep.tif": (deep, grey.convert("RGB")),
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


def palette(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "L").convert("P")
    image.putdata(indices.flatten().tolist())
    image.putpalette([value for colour in colours for value in colour])
    return image


def test_every_mode_of_mask(tmp_path: Path) -> None:
    mask = binary()
    image, one = Image.fromarray(mask), mask // 255
    black, white, red = (0, 0, 0), (255, 255, 255), (128, 0, 0)
    clear = palette(one, black, white)
    clear.info["transparency"] = bytes([0, 255])
    cases = {
        "grey": image,
        "rgb": image.convert("RGB"),
        "rgba": Image.merge("RGBA", (image, image, image, Image.new("L", image.size, 7))),
        "la": Image.merge("LA", (image, Image.new("L", image.size, 7))),
        "bits": image.convert("1", dither=Image.Dither.NONE),
        "ones": Image.fromarray(one),
        "palette": palette(one, black, white),
        "turned": palette(1 - one, white, black),  # a palette of greys is looked up
        "classes": palette(one, black, red),  # one of colours lists classes
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


def test_soft_coloured_and_empty_masks(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L")
    ramp.save(tmp_path / "ramp.png")
    assert open_mask(tmp_path / "ramp.png").tobytes() == ramp.tobytes()
    colours = picture()
    colours.save(tmp_path / "colours.png")
    assert open_mask(tmp_path / "colours.png").tobytes() == colours.convert("L").tobytes()
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
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "float.tif")
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(folder / "int32.tif")
    picture(300, 200).save(folder / "whole.png")
    contents["cut.png"] = (folder / "whole.png").read_bytes()[:-2000]
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    return {name: folder / name for name in (*contents, "float.tif", "int32.tif", "folder.png", "absent.png")}


def test_broken_files_are_named_in_one_line(tmp_path: Path) -> None:
    for name, path in broken_files(tmp_path).items():
        for opener in (open_image, open_mask, open_grey):
            with pytest.raises(ValueError, match=name) as error:
                opener(path)
            assert "\n" not in str(error.value), name


def test_decompression_bombs_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(90, 70).save(tmp_path / "large.png")
    for limit in (90 * 70 - 1, 90 * 70 // 2 - 1):  # where Pillow warns, and where it stops
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"large\.png cannot be read: .*pixels"):
            open_image(tmp_path / "large.png")


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_name_set_and_stem(pairs: list[Pair], tmp_path: Path, workers: int) -> None:
    def first_error(image: Path, mask: Path) -> str:
        dataset = SalientObjectViews([Pair("ship/0042", image, mask)], size=32, name="EORSSD")
        with pytest.raises(ValueError, match="EORSSD ship/0042") as error:
            next(iter(DataLoader(dataset, num_workers=workers)))
        return str(error.value)

    text = first_error(pairs[0].image, pairs[2].mask)
    assert text == "EORSSD ship/0042: the image has 90×70 pixels, its mask 106×70"
    (tmp_path / "cut.png").write_bytes(pairs[0].image.read_bytes()[:200])
    for text in (
        first_error(tmp_path / "cut.png", pairs[0].mask),
        first_error(pairs[0].image, tmp_path / "cut.png"),
        first_error(pairs[0].image, tmp_path / "absent.png"),
    ):
        assert text.startswith("EORSSD ship/0042: ")
        assert "\n" not in text
        assert "cut.png" in text or "absent.png is not there" in text


def test_real_images(shared: Path) -> None:
    pairs = find_pairs("ORSSD", shared / "data" / "ORSSD", "test")[:3]
    for sample in SalientObjectViews(pairs, augment=Augmentation()):
        assert sample["rgb"].shape == (3, 224, 224)
        assert sample["sr_target"].shape == (3, 448, 448)
        assert sample["mask"].amin() == 0
        assert sample["mask"].amax() == 1


def test_the_fixtures_input_is_our_view(shared: Path, tmp_path: Path) -> None:
    """The released network's fixture stores RGB and YCbCr bytes: our views scale and normalise as its notes say."""
    fixture = np.load(shared / "fixtures" / "released_network.npz")
    Image.fromarray(fixture["rgb"]).save(tmp_path / "a.png")
    pixels, _ = read_pixels(tmp_path / "a.png", (224, 224))
    rgb = normalised(Image.fromarray(pixels))
    expected = (fixture["rgb"] / 255 - MEAN) / STD
    np.testing.assert_allclose(rgb.numpy(), np.moveaxis(expected, -1, 0), atol=2e-6)
