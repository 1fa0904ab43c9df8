"""Views are Pillow's, normalized by hand; all of a sample agree; draws depend on seed, epoch and index alone."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from datasets.cache import Records
from datasets.catalog import Pair, find_pairs, pair_folders
from datasets.io import read_pixels
from datasets.loader import MEAN, STD, SalientObjectBatches, Views, as_it_is
from datasets.transforms import Augmentation
from tests.helpers import FIXTURES, binary, picture

STRONG = Augmentation(scale=(0.4, 1.0), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
PASTING = Augmentation(scale=(0.4, 1.0), copy_paste=0.7)


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """Five pairs whose image shows its own mask, light gray on dark, so that views can be held against each other."""
    for number in range(5):
        mask = np.roll(binary(90 + 8 * number), 6 * number, axis=1)
        shape = Image.fromarray(np.where(mask > 0, np.uint8(170), np.uint8(60)))
        for folder, image in (("im", shape.convert("RGB")), ("gt", Image.fromarray(mask))):
            (tmp_path / folder).mkdir(exist_ok=True)
            image.save(tmp_path / folder / f"{number}.png")
    return pair_folders(tmp_path / "im", tmp_path / "gt")


def views_of(
    pairs: list[Pair], size: int | tuple[int, int], augment: Augmentation | None = None, epoch: int = 0
) -> dict[str, Tensor]:
    """All the pairs as one batch."""
    samples = SalientObjectBatches(Records(pairs, size, augment.detail if augment else 1.0), None, augment)
    samples.set_epoch(epoch)
    return Views(size)(samples.__getitems__(range(len(pairs))))


def test_views_by_hand(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(binary()).save(tmp_path / "a.png")
    batch = views_of([Pair("a", tmp_path / "a.jpg", tmp_path / "a.png")], 32)
    image, mask = Image.open(tmp_path / "a.jpg"), Image.open(tmp_path / "a.png")

    def by_hand(of: Image.Image, side: int) -> np.ndarray:
        pixels = np.asarray(of.resize((side, side), Image.Resampling.BILINEAR), np.float64) / 255
        return np.moveaxis(np.atleast_3d(pixels), -1, 0)

    rgb = (by_hand(image, 32) - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    ycbcr = image.convert("YCbCr")
    expected = {"rgb": rgb, "ycbcr": by_hand(ycbcr, 32), "sr_target": by_hand(ycbcr, 64), "mask": by_hand(mask, 64)}
    assert set(batch) == set(expected)
    for name, view in batch.items():
        assert view.dtype == torch.float32
        assert view.stride(1) == 1 or name == "mask"  # channels last
        np.testing.assert_allclose(view[0].numpy(), expected[name], atol=2e-6)
    assert ((batch["mask"] > 0) & (batch["mask"] < 1)).any()  # soft at the borders, never thresholded


def test_ycbcr_is_full_range_jpeg(tmp_path: Path) -> None:
    red, green, blue = 40, 200, 90
    Image.new("RGB", (8, 8), (red, green, blue)).save(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "m.png")
    batch = views_of([Pair("a", tmp_path / "a.png", tmp_path / "m.png")], 4)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = np.array([luma, 128 + 0.564 * (blue - luma), 128 + 0.713 * (red - luma)]) / 255
    np.testing.assert_allclose(batch["sr_target"][0].mean((1, 2)), expected, atol=1.5 / 255)


@pytest.mark.parametrize("augment", [None, Augmentation(), STRONG, PASTING])
def test_all_views_see_the_same_geometry(pairs: list[Pair], augment: Augmentation | None) -> None:
    for epoch in range(6):
        batch = views_of(pairs, 40, augment, epoch)
        rgb = batch["rgb"] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        pooled = torch.nn.functional.avg_pool2d(batch["mask"], 2)
        for seen, mask in ((batch["sr_target"], batch["mask"]), (batch["ycbcr"], pooled), (rgb, pooled)):
            for one, shape in zip(seen[:, 0], mask[:, 0], strict=True):
                assert np.corrcoef(one.flatten(), shape.flatten())[0, 1] > 0.97  # recolored, lighter stays lighter


def test_pasted_objects_are_in_every_view_and_in_the_mask(pairs: list[Pair]) -> None:
    plain = views_of(pairs, 40)
    batch = views_of(pairs, 40, Augmentation(symmetries="none", copy_paste=1.0))
    unions = torch.maximum(plain["mask"][:, None], plain["mask"][None])
    givers = [(unions[i] - batch["mask"][i]).abs().mean((1, 2, 3)).argmin().item() for i in range(5)]
    assert len(set(givers)) > 1
    assert any(giver != taker for taker, giver in enumerate(givers))
    for taker, giver in enumerate(givers):
        own, other = plain["mask"][taker], plain["mask"][giver]
        assert torch.allclose(batch["mask"][taker], own + other - own * other, atol=1e-6)
        expected = plain["sr_target"][taker] * (1 - other) + plain["sr_target"][giver] * other
        assert torch.allclose(batch["sr_target"][taker], expected, atol=1e-6)


def test_colors_agree_between_views(tmp_path: Path) -> None:
    for number in range(6):
        picture(seed=number).save(tmp_path / f"{number}.png")
        Image.new("L", (90, 70)).save(tmp_path / f"{number}.bmp")
    files = [Pair(str(n), tmp_path / f"{n}.png", tmp_path / f"{n}.bmp") for n in range(6)]
    batch = views_of(files, 32, Augmentation(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1))
    halved = torch.nn.functional.interpolate(batch["sr_target"], (32, 32), mode="bilinear", antialias=True)
    assert (halved - batch["ycbcr"]).abs().mean() < 0.02
    luma = (batch["rgb"] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)).mul(
        torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    )
    assert (luma.sum(1) - batch["ycbcr"][:, 0]).abs().mean() < 0.02  # but for what is cut off at black and white


def test_a_plain_augmented_view_is_a_flipped_plain_view(pairs: list[Pair]) -> None:
    plain = views_of(pairs, 40)
    met = set()
    for epoch in range(12):
        flipped = views_of(pairs, 40, Augmentation(), epoch)
        for before, after, mask, turned in zip(
            plain["rgb"][:, 0], flipped["rgb"][:, 0], plain["mask"][:, 0], flipped["mask"][:, 0], strict=True
        ):
            versions = [torch.rot90(side, k) for side in (before, before.flip(1)) for k in range(4)]
            masks = [torch.rot90(side, k) for side in (mask, mask.flip(1)) for k in range(4)]
            which = [k for k in range(8) if torch.equal(versions[k], after)]
            assert len(which) == 1
            assert torch.equal(masks[which[0]], turned)
            met |= set(which)
    assert met == set(range(8))


def test_crops_are_pillows_crops(tmp_path: Path) -> None:
    picture(400, 300, seed=3).save(tmp_path / "a.png")
    Image.fromarray(binary(400, 300)).save(tmp_path / "m.png")
    augment = Augmentation(symmetries="none", scale=(0.5, 0.5), scale_probability=1.0)
    samples = SalientObjectBatches(
        Records([Pair("a", tmp_path / "a.png", tmp_path / "m.png")], 64, 2**0.5), None, augment
    )
    batch = samples.__getitems__([0])
    box = batch["drawn"][0].box
    views = Views(64)(batch)
    edges = [edge * side for edge, side in zip(box, (400, 300) * 2, strict=True)]
    ycbcr = Image.open(tmp_path / "a.png").convert("YCbCr")
    for name, side in (("sr_target", 128), ("ycbcr", 64)):
        expected = np.asarray(ycbcr.resize((side, side), Image.Resampling.BILINEAR, box=edges), float) / 255
        found = views[name][0].permute(1, 2, 0).numpy()
        assert abs(found - expected).mean() < 0.012, name  # cut to whole pixels of the stored image


def test_sizes_that_are_not_square(pairs: list[Pair]) -> None:
    for augment in (None, Augmentation(), STRONG):
        shapes = {name: tuple(view.shape[1:]) for name, view in views_of(pairs, (24, 40), augment).items()}
        assert shapes == {"rgb": (3, 24, 40), "ycbcr": (3, 24, 40), "sr_target": (3, 48, 80), "mask": (1, 48, 80)}
    with pytest.raises(ValueError, match="size must be positive"):
        Records(pairs, 0)


def all_rgb(samples: SalientObjectBatches, epoch: int, batches: list[list[int]], loader: DataLoader | None = None):
    samples.set_epoch(epoch)
    loader = loader or DataLoader(samples, batch_sampler=batches, collate_fn=as_it_is)
    return torch.cat([Views(32)(batch)["rgb"] for batch in loader])


@pytest.mark.parametrize("augment", [STRONG, PASTING])
def test_draws_depend_on_seed_epoch_and_index_alone(pairs: list[Pair], augment: Augmentation) -> None:
    records = Records(pairs, 32)
    samples = SalientObjectBatches(records, None, augment, seed=11)
    whole, parts = [[0, 1, 2, 3, 4]], [[0, 1], [2, 3], [4]]
    alone = [all_rgb(samples, epoch, parts) for epoch in range(3)]
    assert not torch.equal(alone[0], alone[1])
    assert torch.allclose(all_rgb(samples, 2, whole), alone[2], atol=1e-5)
    persistent = DataLoader(
        samples, batch_sampler=parts, collate_fn=as_it_is, num_workers=2, persistent_workers=True
    )  # fmt: skip
    for epoch in (0, 1, 2, 1):
        assert torch.equal(all_rgb(samples, epoch, parts, persistent), alone[epoch])
    other = SalientObjectBatches(records, None, augment, seed=12)
    assert not torch.allclose(all_rgb(other, 0, whole), alone[0], atol=1e-2)


def test_shares_are_the_set_each_sample_once(pairs: list[Pair]) -> None:
    samples = SalientObjectBatches(Records(pairs, 16), pairs[1:])
    for processes in (1, 2, 3, 5):
        shares = [[s for batch in samples.in_batches(2, p, processes) for s in batch["stem"]] for p in range(processes)]
        assert sorted(itertools.chain(*shares)) == ["1", "2", "3", "4"]
    assert samples.spread(2)["stem"] == ["1", "3"]
    assert samples.spread(9)["stem"] == ["1", "2", "3", "4"]


def test_inference_sees_the_training_view(tmp_path: Path) -> None:
    picture(61, 47).save(tmp_path / "a.jpg")
    Image.new("L", (61, 47)).save(tmp_path / "a.png")
    record = Records([Pair("a", tmp_path / "a.jpg", tmp_path / "a.png")], (32, 48)).gather([0])
    pixels, size_on_disk = read_pixels(tmp_path / "a.jpg", (32, 48))
    difference = record["rgb"][0].numpy().astype(int) - pixels  # Pillow's antialiased resize, and torch's
    assert np.abs(difference).max() <= 1
    assert size_on_disk == (47, 61)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_name_set_and_stem(pairs: list[Pair], tmp_path: Path, workers: int) -> None:
    def first_error(image: Path, mask: Path) -> str:
        samples = SalientObjectBatches(Records([Pair("ship/0042", image, mask)], 32, name="EORSSD"))
        with pytest.raises(ValueError, match="EORSSD ship/0042") as error:
            next(iter(DataLoader(samples, batch_sampler=[[0]], collate_fn=as_it_is, num_workers=workers)))
        return str(error.value)

    (tmp_path / "cut.png").write_bytes(pairs[0].image.read_bytes()[:200])
    for text, named in (
        (first_error(pairs[0].image, pairs[2].mask), "106×70"),
        (first_error(tmp_path / "cut.png", pairs[0].mask), "cut.png"),
        (first_error(pairs[0].image, tmp_path / "cut.png"), "cut.png"),
        (first_error(pairs[0].image, tmp_path / "absent.png"), "absent.png is not there"),
    ):
        assert text.startswith("EORSSD ship/0042: ")
        assert "\n" not in text
        assert named in text


def test_real_images(shared: Path) -> None:
    batch = views_of(find_pairs("ORSSD", shared / "data" / "ORSSD", "test")[:3], 224, Augmentation())
    assert batch["rgb"].shape == (3, 3, 224, 224)
    assert batch["sr_target"].shape == (3, 3, 448, 448)
    assert batch["mask"].amin() == 0
    assert batch["mask"].amax() == 1


def test_the_fixtures_input_is_our_view(tmp_path: Path) -> None:
    """The released network's fixture stores RGB and YCbCr bytes: our views scale and normalize as its notes say."""
    fixture = np.load(FIXTURES / "released_network.npz")
    Image.fromarray(fixture["rgb"]).save(tmp_path / "a.png")
    Image.new("L", fixture["rgb"].shape[1::-1]).save(tmp_path / "m.png")
    rgb = views_of([Pair("a", tmp_path / "a.png", tmp_path / "m.png")], 224)["rgb"][0]
    expected = (fixture["rgb"] / 255 - MEAN) / STD
    np.testing.assert_allclose(rgb.numpy(), np.moveaxis(expected, -1, 0), atol=2e-6)
