"""Near-duplicates: every symmetry, crops and edits are found, other images are not, and the lists are read back."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import check
from datasets.alignment import align
from datasets.check import check_dataset
from datasets.descriptors import describe, transformed, vectors
from datasets.leaks import as_configuration, as_lines
from datasets.near_duplicates import Entry, find_near_duplicates
from tests.helpers import scene_pixels
from training.config import parse


def turned(pixels: np.ndarray, symmetry: int) -> np.ndarray:
    return np.stack([transformed(pixels[..., channel], symmetry) for channel in range(3)], -1)


def save(path: Path, pixels: np.ndarray, quality: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=quality)
    return path


def entry(path: Path, pixels: np.ndarray, part: str = "train") -> Entry:
    save(path, pixels)
    return Entry(part, path.stem, path, describe(Image.open(path).convert("RGB")))


def names(found) -> set[tuple[str, str]]:
    return {(pair.first.stem, pair.second.stem) for pair in found}


def pair(root: Path, split: str, stem: str, pixels: np.ndarray) -> None:
    save(root / f"{split}-images" / f"{stem}.jpg", pixels)
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[20:50, 30:60] = 255
    save(root / f"{split}-labels" / f"{stem}.png", mask)


def run(monkeypatch: pytest.MonkeyPatch, *options: object) -> str | int | None:
    monkeypatch.setattr(sys, "argv", ["datasets.check", *map(str, options)])
    with pytest.raises(SystemExit) as stop:
        check.main()
    return stop.value.code


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ORSSD's layout: test a is training 1 mirrored and recompressed, training 3 is a crop of 2, 4 and b are alone."""
    root = tmp_path_factory.mktemp("leaky")
    for number in (1, 2, 4):
        pair(root, "train", f"000{number}", scene_pixels(number))
    pair(root, "train", "0003", scene_pixels(2)[10:138, 25:185])
    pair(root, "test", "a b'ü", turned(scene_pixels(1), 2))
    pair(root, "test", "b", scene_pixels(5))
    return root


def test_vectors_of_a_symmetry_are_those_of_the_transformed_image() -> None:
    pixels = scene_pixels(0, 160, 160)
    of = describe(Image.fromarray(pixels)).coefficients[:1]
    for symmetry in range(8):
        moved = describe(Image.fromarray(turned(pixels, symmetry))).coefficients[:1]
        assert float((vectors(of, symmetry) * vectors(moved)).sum()) > 0.995


def test_every_symmetry_is_found_and_named(tmp_path: Path) -> None:
    entries = [entry(tmp_path / f"{seed}.png", scene_pixels(seed)) for seed in range(8)]
    for symmetry in range(8):
        entries.append(entry(tmp_path / f"like{symmetry}.jpg", turned(scene_pixels(symmetry), symmetry), "test"))
    found = find_near_duplicates(entries)
    assert names(found) == {(str(number), f"like{number}") for number in range(8)}
    assert all(pair.similarity > 0.98 for pair in found)
    says = {pair.second.stem: pair.how for pair in found}
    assert says["like0"] == ""
    assert says["like1"] == "mirrored top to bottom"
    assert says["like2"] == "mirrored left to right"
    assert says["like3"] == "turned 180°"
    for number in (5, 6):  # counterclockwise, as numpy turns
        turns = 1 if np.array_equal(turned(scene_pixels(number), number), np.rot90(scene_pixels(number), 1)) else 3
        assert says[f"like{number}"] == f"turned {90 * turns}°"


def test_crops_edits_and_brightness_are_found(tmp_path: Path) -> None:
    entries = [entry(tmp_path / f"{seed}.jpg", scene_pixels(seed)) for seed in range(4)]
    crop, edited = scene_pixels(0)[20:148, 30:190], scene_pixels(1)
    edited[40:90, 60:120] = (90, 120, 100)
    entries.append(entry(tmp_path / "crop.jpg", turned(crop, 1), "test"))
    entries.append(entry(tmp_path / "edited.jpg", edited, "test"))
    entries.append(entry(tmp_path / "dark.jpg", (scene_pixels(2) * 0.6).astype(np.uint8), "test"))
    found = find_near_duplicates(entries)
    assert names(found) == {("0", "crop"), ("1", "edited"), ("2", "dark")}
    (how,) = [pair.how for pair in found if pair.second.stem == "crop"]
    assert how.startswith("mirrored top to bottom, overlap ")


def test_an_alignment_gives_turn_scale_and_overlap(tmp_path: Path) -> None:
    first = save(tmp_path / "a.png", scene_pixels(3))
    second = save(tmp_path / "b.png", np.ascontiguousarray(np.rot90(scene_pixels(3)[16:144, 20:180])))
    how = align(first, second, mirrored=False)
    assert how is not None
    assert abs(how.degrees - 90) < 1
    assert how.similarity > 0.9
    assert how.overlap > 0.97
    assert align(first, second, mirrored=True) is None


def test_other_textures_are_not_reported(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    entries = [entry(tmp_path / f"scene{seed}.jpg", scene_pixels(seed)) for seed in range(12)]
    noise = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(12)]
    entries += [entry(tmp_path / f"noise{number}.png", pixels) for number, pixels in enumerate(noise)]
    assert find_near_duplicates(entries) == []


def test_copies_are_a_chain_and_blank_images_are_named_once(tmp_path: Path) -> None:
    for number in range(30):
        pair(tmp_path, "train", f"black{number:02}", np.zeros((40, 50, 3), np.uint8))
        pair(tmp_path, "test", f"same{number:02}", scene_pixels(1))
    report = check_dataset("sample", tmp_path)
    assert len(report.near_duplicates) == 29
    (blank,) = [of for of in report.parts["train"].findings if of.what == "images of nearly one color, not compared"]
    assert len(blank.names) == 30


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(tmp_path: Path, count: int) -> None:
    assert find_near_duplicates([entry(tmp_path / "a.jpg", scene_pixels(0)) for _ in range(count)]) == []


def test_the_lists_and_pictures(leaky: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (leaky / "train-images" / "0004.jpg").rename(tmp_path / "kept.jpg")
    (leaky / "train-images" / "0004.jpg").write_bytes(b"\xff\xd8\xff broken")
    yaml, lines, pages, report = (tmp_path / name for name in ("x.yaml", "x.txt", "p.pdf", "r.json"))
    options = ("--dataset", "sample", "--root", leaky, "--write-exclude", yaml, "--write-exclude-test", lines)
    assert run(monkeypatch, *options, "--pictures", pages, "--json", report) == 1  # the broken one
    (tmp_path / "kept.jpg").rename(leaky / "train-images" / "0004.jpg")
    text = capsys.readouterr().out
    assert "0004.jpg cannot be read" in text
    assert "near-duplicates (1): train 0001 ~ test a b'ü (" in text
    assert "near-duplicates (1): 0002 ~ 0003 (" in text
    assert pages.read_bytes().startswith(b"%PDF")
    assert lines.read_text().splitlines()[1:] == ["a b'ü"]
    assert [of["second"] for of in json.loads(report.read_text())["near_duplicates"]].count(["test", "a b'ü"]) == 1
    arguments = ["--data.dataset=folders", "--data.images=a", "--data.masks=b"]
    assert parse([*arguments, "--config", str(yaml)]).settings.data.exclude == ("0001",)
    picture = tmp_path / "p.png"
    assert run(monkeypatch, *options, "--exclude-repeats", "--pictures", picture) == 0
    assert parse([*arguments, "--config", str(yaml)]).settings.data.exclude == ("0001", "0003")
    assert np.asarray(Image.open(picture).convert("L")).std() > 20


def test_against_another_folder(leaky: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    save(tmp_path / "other" / "sub" / "x.png", turned(scene_pixels(4), 3))
    (tmp_path / "other" / "broken.jpg").write_bytes(b"no image")
    options = ("--images", leaky / "train-images", "--masks", leaky / "train-labels", "--write-exclude")
    assert run(monkeypatch, *options, tmp_path / "x.yaml", "--against", tmp_path / "other") == 0
    text = capsys.readouterr().out
    assert f"folders 0004 ~ {tmp_path / 'other'} sub/x (" in text
    assert "that cannot be read (1): " in text
    assert '"0004"' in (tmp_path / "x.yaml").read_text()
    says = str(run(monkeypatch, *options, tmp_path / "x.yaml", "--against", tmp_path / "none"))
    assert says == f"error: --against {tmp_path / 'none'} holds no image: give a folder of images"


def test_stems_of_any_characters_come_back(tmp_path: Path) -> None:
    stems = ["0009", "yes", "1e3", "a: b # c", "ünï 😀", "line\nbreak", "'\"", "- x"]
    (tmp_path / "x.yaml").write_text(as_configuration(dict.fromkeys(stems, "test 1")))
    arguments = ["--data.dataset=folders", "--data.images=a", "--data.masks=b"]
    assert parse([*arguments, "--config", str(tmp_path / "x.yaml")]).settings.data.exclude == tuple(stems)
    (tmp_path / "x.yaml").write_text(as_configuration({}))
    assert parse([*arguments, "--config", str(tmp_path / "x.yaml")]).settings.data.exclude == ()
    with pytest.raises(ValueError, match="one stem a line"):
        as_lines({"line\nbreak": ""})


def test_the_known_pairs_of_orssd(shared: Path) -> None:
    wanted = {"0014": "0009", "0054": "0055", "0008": "0011", "0005": "0003"}
    entries = []
    for split, stems in (("train", wanted.values()), ("test", wanted)):
        for stem in stems:
            path = shared / "data" / "ORSSD" / f"{split}-images" / f"{stem}.jpg"
            entries.append(Entry(split, stem, path, describe(Image.open(path).convert("RGB"))))
    assert names(find_near_duplicates(entries)) == {(train, test) for test, train in wanted.items()}
