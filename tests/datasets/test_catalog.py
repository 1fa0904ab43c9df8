"""Every layout is recognized under every name; what does not match is named; links are followed."""

import warnings
from pathlib import Path

import pytest
from PIL import Image

from datasets.catalog import (
    DATASETS,
    dataset_name,
    find_images,
    find_pairs,
    image_files,
    pair_folders,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* found in .* expected")  # the sets here are all smaller

FLAT = ("0001", "0002", "0010")
BY_CLASS = ("plane/p1", "plane/p2", "ship/s.1")


def write(path: Path, gray: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 3), gray).save(path)


def lay_out(root: Path, images: str, masks: str, stems: tuple[str, ...], listing: str | None = None) -> Path:
    """A split in one layout, written from the published description, not by the catalog's own table."""
    for number, stem in enumerate(stems):
        write(root / images / f"{stem}.jpg", number)
        write(root / masks / f"{stem}.png", number)
    if listing:
        (root / listing).write_text("\n".join(stems) + "\n")
    return root


LAYOUTS = {
    "orssd": lambda root, split: lay_out(root, f"{split}-images", f"{split}-labels", FLAT),
    "orsi4199": lambda root, split: lay_out(root, f"{split}set/images", f"{split}set/gt", FLAT),
    "rsisod": lambda root, split: lay_out(root, f"{split}/images", f"{split}/labels", BY_CLASS),
    "authors": lambda root, split: lay_out(root, "images", "labels", FLAT, f"{split}.txt"),
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["ORSSD", "rsisod"])
def test_each_layout_is_recognized_under_any_name(tmp_path: Path, name: str, layout: str, split: str) -> None:
    root = LAYOUTS[layout](tmp_path, split)
    pairs = find_pairs(name, root, split)
    stems = BY_CLASS if layout == "rsisod" else FLAT
    assert tuple(pair.stem for pair in pairs) == stems
    for pair, stem in zip(pairs, stems, strict=True):
        assert pair.image.as_posix().endswith(f"/{stem}.jpg")
        assert pair.mask.as_posix().endswith(f"/{stem}.png")
        assert pair.image.is_file()
        assert pair.mask.is_file()
    assert find_images(name, root, split) == [(pair.stem, pair.image) for pair in pairs]


def test_both_splits_share_the_authors_folders(tmp_path: Path) -> None:
    lay_out(tmp_path, "images", "labels", ("a", "b", "c", "d"))
    (tmp_path / "train.txt").write_text("c\r\n\r\na.jpg\n")
    (tmp_path / "test.txt").write_text("\ufeffd\n", encoding="utf-8")
    assert [pair.stem for pair in find_pairs("RSSOD", tmp_path, "train")] == ["a", "c"]
    assert [pair.stem for pair in find_pairs("RSSOD", tmp_path, "test")] == ["d"]


def test_root_may_be_the_folder_above(tmp_path: Path) -> None:
    LAYOUTS["orssd"](tmp_path / "ORS_4199", "train")
    LAYOUTS["orssd"](tmp_path / "EORSSD", "train")
    assert {pair.image.parents[1].name for pair in find_pairs("ORSI4199", tmp_path, "train")} == {"ORS_4199"}
    assert {pair.image.parents[1].name for pair in find_pairs("eorssd", tmp_path, "train")} == {"EORSSD"}


@pytest.mark.parametrize("spelling", ["ORSI-4199", "ORS_4199", "ORSI4199", "orsi_4199", "ors-4199"])
def test_spellings(spelling: str) -> None:
    assert dataset_name(spelling) == "ORSI-4199"


def test_unknown_names_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'DUTS'.*ORSSD, EORSSD, ORSI-4199, RSISOD, RSSOD"):
        find_pairs("DUTS", tmp_path, "train")
    with pytest.raises(ValueError, match="unknown split 'val': choose train or test"):
        find_pairs("ORSSD", tmp_path, "val")


def test_published_counts() -> None:
    assert DATASETS["ORSSD"] == {"train": 600, "test": 200}
    assert DATASETS["EORSSD"] == {"train": 1400, "test": 600}
    assert DATASETS["ORSI-4199"] == {"train": 2000, "test": 2199}
    assert DATASETS["RSISOD"] == {"train": 3784, "test": 1270}


def test_another_count_is_one_warning(tmp_path: Path) -> None:
    LAYOUTS["orssd"](tmp_path, "train")
    with pytest.warns(UserWarning, match=r"^ORSSD train: 3 found in .*, 600 expected$") as caught:
        find_pairs("orssd", tmp_path, "train")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_pairs("RSSOD", tmp_path, "train")  # whose count is not known
        find_pairs("sample", tmp_path, "train")


def test_no_layout_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "notes.md").touch()
    with pytest.raises(ValueError, match="no known layout") as error:
        find_pairs("EORSSD", tmp_path, "test")
    text = str(error.value)
    assert "\n" not in text
    for part in ("EORSSD test", str(tmp_path), "test-images/", "testset/gt/", "test/labels/", "test.txt"):
        assert part in text
    assert text.endswith("There is: notes.md, pictures/")
    with pytest.raises(ValueError, match=r"the folder .*nowhere is not there"):
        find_pairs("EORSSD", tmp_path / "nowhere", "test")


def test_two_layouts_at_once_are_an_error(tmp_path: Path) -> None:
    LAYOUTS["orssd"](tmp_path, "train")
    LAYOUTS["authors"](tmp_path, "train")
    with pytest.raises(ValueError, match=r"more than one layout: train-images/ \+ train-labels/; images/"):
        find_pairs("ORSSD", tmp_path, "train")


def test_images_without_masks_serve_for_maps_only(tmp_path: Path) -> None:
    write(tmp_path / "test-images" / "1.JPG")
    assert find_images("ORSSD", tmp_path, "test") == [("1", tmp_path / "test-images" / "1.JPG")]
    with pytest.raises(ValueError, match="test-images/ is there but its masks' folder test-labels/ is not"):
        find_pairs("ORSSD", tmp_path, "test")


@pytest.mark.parametrize(("gone", "what"), [("labels", "images without a mask"), ("images", "masks without an image")])
def test_mismatches_name_set_count_and_stems(tmp_path: Path, gone: str, what: str) -> None:
    stems = tuple(f"{number:02d}" for number in range(9))
    lay_out(tmp_path, "train-images", "train-labels", stems)
    for path in sorted((tmp_path / f"train-{gone}").iterdir())[1:8]:
        path.unlink()
    with pytest.raises(ValueError, match=rf"^ORSSD train \(.*\): {what} \(7\): 01, 02, 03, 04, 05, …$"):
        find_pairs("ORSSD", tmp_path, "train")


def test_listed_stems_without_files_and_twice(tmp_path: Path) -> None:
    lay_out(tmp_path, "images", "labels", ("a", "b"), "train.txt")
    (tmp_path / "train.txt").write_text("a\nz\n")
    with pytest.raises(ValueError, match=r"neither image nor mask, though in train.txt \(1\): z"):
        find_pairs("RSSOD", tmp_path, "train")
    with pytest.raises(ValueError, match=r"no image, though in train.txt \(1\): z"):
        find_images("RSSOD", tmp_path, "train")
    (tmp_path / "train.txt").write_text("a\nb\na\n")
    with pytest.raises(ValueError, match=r"listed more than once \(1\): a"):
        find_pairs("RSSOD", tmp_path, "train")


def test_pair_folders_take_any_suffix_and_skip_what_is_no_image(tmp_path: Path) -> None:
    images, masks = tmp_path / "im", tmp_path / "gt"
    for name in ("a.JPG", "b.tif", "c/d.webp", "c/e.jpeg", "f.BMP", "g.TIFF"):
        write(images / name)
        write((masks / name).with_suffix(".png"))
    for stray in ("Thumbs.db", "._a.jpg", ".cache/x.jpg", "readme.txt"):
        (images / stray).parent.mkdir(exist_ok=True)
        (images / stray).write_text("no image")
    assert [pair.stem for pair in pair_folders(images, masks)] == ["a", "b", "c/d", "c/e", "f", "g"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "x.jpg")
    write(tmp_path / "im" / "a.jpg")
    (tmp_path / "im" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "im" / "round").symlink_to(tmp_path / "im")
    found = sorted(path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path / "im"))
    assert found == ["im/a.jpg", "im/more/x.jpg"]
    (tmp_path / "im" / "again").symlink_to(tmp_path / "im" / "more")  # the same folder under two names is no circle
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path / "im"))
    assert found == ["im/a.jpg", "im/again/x.jpg", "im/more/x.jpg"]


def test_the_sample_set_is_there_and_others_need_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [len(find_pairs("sample", None, split)) for split in ("train", "test")] == [44, 16]
    assert len(find_images("sample", None, "test")) == 16
    with pytest.raises(ValueError, match="ORSSD: no root is given"):
        find_pairs("orssd", None, "train")
    for root in (tmp_path / "no", None):
        monkeypatch.setattr("datasets.catalog.SAMPLE_ROOT", tmp_path / "no")
        with pytest.raises(ValueError, match=r"no is not there: render .* python -m tools\.make_sample ROOT$"):
            find_pairs("sample", root, "train")


def test_pair_folders_name_what_is_wrong(tmp_path: Path) -> None:
    images, masks = tmp_path / "im", tmp_path / "gt"
    with pytest.raises(ValueError, match=r"folder of images .*im is not there"):
        pair_folders(images, masks)
    images.mkdir()
    masks.mkdir()
    with pytest.raises(ValueError, match="no images found"):
        pair_folders(images, masks)
    with pytest.raises(ValueError, match="two folders"):
        pair_folders(images, images)
    write(images / "a.jpg")
    write(images / "a.png")
    with pytest.raises(ValueError, match=r"two files are called a: a\.(jpg, a\.png|png, a\.jpg)"):
        pair_folders(images, masks)


def test_real_sets(shared: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(find_pairs("ORSSD", shared / "data" / "ORSSD", "train")) == 600
        assert len(find_pairs("orssd", shared / "data", "test")) == 200
        assert len(find_pairs("EORSSD", shared / "data" / "EORSSD", "train")) == 1400
    with pytest.raises(ValueError, match=r"EORSSD test: no known layout"):
        find_pairs("EORSSD", shared / "data" / "EORSSD", "test")
