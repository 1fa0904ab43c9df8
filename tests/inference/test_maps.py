"""Which file is whose map, and files of every mode as 8-bit gray."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compute_results.matching import describe, find_masks, match_maps
from datasets.io import open_mask, read_map, read_mask


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def matched(tmp_path: Path, masks: list[str], maps: list[str]) -> tuple[dict[str, str], list[str], list[str]]:
    found = find_masks(touch(tmp_path / "masks", *masks))
    folder = touch(tmp_path / "maps", *maps)
    matching = match_maps(found, folder)
    pairs = {pair.stem: pair.map.relative_to(folder).as_posix() for pair in matching.pairs}
    return pairs, matching.missing, matching.surplus


def test_maps_are_found_with_and_without_a_suffix(tmp_path):
    pairs, missing, surplus = matched(tmp_path, ["0004.png", "0005.png"], ["0004.png", "0005_HFANet_R.PNG"])
    assert pairs == {"0004": "0004.png", "0005": "0005_HFANet_R.PNG"}
    assert (missing, surplus) == ([], [])


def test_a_stem_is_no_mere_beginning(tmp_path):
    pairs, missing, surplus = matched(tmp_path, ["0004.png"], ["00041.png", "0004x_y.png", "_0004.png"])
    assert pairs == {}
    assert missing == ["0004"]
    assert surplus == ["00041.png", "0004x_y.png", "_0004.png"]


def test_the_longest_stem_takes_the_map(tmp_path):
    pairs, missing, _ = matched(tmp_path, ["a.png", "a_b.png", "a_b_c.png"], ["a_b.png", "a_b_c_method.png", "a_x.png"])
    assert pairs == {"a": "a_x.png", "a_b": "a_b.png", "a_b_c": "a_b_c_method.png"}
    assert missing == []
    assert matched(tmp_path / "two", ["a.png", "a_b.png"], ["a_b.png"])[1] == ["a"]


def test_sub_folders_are_part_of_the_stem(tmp_path):
    pairs, missing, surplus = matched(
        tmp_path, ["ship/1.png", "plane/1.png", "plane/2.png"], ["plane/1_m.png", "ship/1.png", "2.png"]
    )
    assert pairs == {"plane/1": "plane/1_m.png", "ship/1": "ship/1.png"}
    assert missing == ["plane/2"]
    assert surplus == ["2.png"]


def test_dots_belong_to_stems_and_other_files_to_nobody(tmp_path):
    pairs, missing, surplus = matched(
        tmp_path,
        ["P0.5.png", "notes.txt", ".hidden.png"],
        ["P0.5_m.png", "readme.txt", ".DS_Store.png", ".cache/P0.5.png"],
    )
    assert pairs == {"P0.5": "P0.5_m.png"}
    assert (missing, surplus) == ([], [])


@pytest.mark.parametrize("maps", [["7.png", "7_m.png"], ["7_a.png", "7_b.png"]])
def test_two_maps_of_one_mask_are_both_named(tmp_path, maps):
    with pytest.raises(ValueError, match="could both be the map of 7") as error:
        matched(tmp_path, ["7.png"], maps)
    assert all(name in str(error.value) for name in maps)


def test_two_masks_of_one_stem_are_both_named(tmp_path):
    with pytest.raises(ValueError, match=r"7\.jpg and .*7\.png could both be the mask"):
        matched(tmp_path, ["7.png", "7.jpg"], [])


def test_names_that_look_alike_are_said_to(tmp_path):
    with pytest.raises(ValueError, match=r"mask of é \(composed and decomposed letters look alike\): keep one"):
        matched(tmp_path, ["\xe9.png", "e\u0301.png"], [])


def test_missing_folders_and_folders_without_masks_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_masks(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no mask in"):
        find_masks(tmp_path)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        match_maps({}, tmp_path / "elsewhere")


def test_the_description_counts_all_and_names_a_few(tmp_path):
    masks = find_masks(touch(tmp_path / "masks", *(f"{index}.png" for index in range(9))))
    text = describe(match_maps(masks, touch(tmp_path / "maps", "8.png", "x.png")))
    assert text == "8 masks without a map (0, 1, 2, 3, 4, …) and 1 map without a mask (x.png)"


GRAY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (20, 30, 4), dtype=np.uint8)
BINARY = (GRAY > 128).astype(np.uint8)


def classes() -> Image.Image:
    """A palette with colors, as segmentation sets have: dark red and green on black."""
    image = Image.fromarray(GRAY // 86).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return image


MODES = {
    "L": Image.fromarray(GRAY),
    "RGB": Image.fromarray(COLOR[..., :3]),
    "RGBA": Image.fromarray(COLOR),
    "LA": Image.fromarray(COLOR).convert("LA"),
    "1": Image.fromarray(BINARY * 255).convert("1"),
    "P of grays": Image.fromarray(GRAY).convert("P"),
    "P of colors": classes(),
    "I;16": Image.fromarray(GRAY.astype(np.uint16) * 257),
    "I;16 up to 255": Image.fromarray(GRAY.astype(np.uint16)),
    "0 and 1": Image.fromarray(BINARY),
}


@pytest.mark.parametrize("mode", MODES)
def test_masks_of_every_mode_are_what_training_reads(tmp_path, mode):
    MODES[mode].save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.dtype == np.uint8
    assert mask.max() > 128
    np.testing.assert_array_equal(mask, np.asarray(open_mask(tmp_path / "mask.png")))


def test_color_becomes_luma_and_alpha_is_dropped(tmp_path):
    for mode in ("RGB", "RGBA"):
        MODES[mode].save(tmp_path / f"{mode}.png")
        luma = COLOR[..., :3] @ np.array([0.299, 0.587, 0.114])
        assert np.abs(read_mask(tmp_path / f"{mode}.png") - luma).max() <= 1
        np.testing.assert_array_equal(read_map(tmp_path / f"{mode}.png"), read_mask(tmp_path / f"{mode}.png"))


def test_faint_maps_are_not_taken_for_classes(tmp_path):
    Image.fromarray(BINARY).save(tmp_path / "map.png")
    np.testing.assert_array_equal(read_map(tmp_path / "map.png"), BINARY)


@pytest.mark.parametrize("content", [b"", b"no image", None, "truncated", "float"])
def test_unreadable_files_are_named(tmp_path, content):
    path = tmp_path / "0042.png"
    if content == "truncated":
        MODES["RGB"].save(path)
        content = path.read_bytes()[:-400]
    if content == "float":
        Image.fromarray(GRAY.astype(np.float32) / 2).save(path, format="tiff")
    elif content is not None:
        path.write_bytes(content)
    for read in (read_map, read_mask):
        with pytest.raises(ValueError, match=r"0042\.png (cannot be read|is not there|is empty)") as error:
            read(path)
        assert "\n" not in str(error.value)
